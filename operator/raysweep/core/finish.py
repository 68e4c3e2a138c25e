"""Has the job finished, how, and when? Evidence in, verdict out; how long a finished job is kept is retention.py.

Two witnesses: the RayJob's status, which can be stuck or wrong, and the Ray head, which ran the job. A RayJob that says it
has ended is believed until the head is asked; then the head has the last word.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from raysweep.core.head_report import read_report
from raysweep.core.job_status import TERMINAL_JOB_STATUS, is_unfinished
from raysweep.core.model.facts import HeadList, JobEntry, ProbeResult, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.reasons import Reason

WHOLE_SECOND = timedelta(seconds=1)
CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far ahead of the clock beside it a written time may be and still be believed."""


@dataclass(frozen=True, slots=True)
class JobEnd:
    """The end of a job: how, when, the other outcome where head and RayJob disagree, and what a deletion is called then.

    A job that never ran, or got lost, has no outcome; `at` is then the time from which its stuck TTL counts.
    """

    outcome: Outcome | None
    at: datetime
    reported: Outcome | None
    by: Reason = Reason.EXPIRED

    @property
    def outcomes(self) -> frozenset[Outcome]:
        """Every outcome that was claimed; the longer retention of the two counts."""
        return frozenset(one for one in (self.outcome, self.reported) if one)


Written = tuple[Outcome, datetime]
"""What the annotation raysweep.io/outcome says the head had said."""


def finish(
    rayjob: RayJob,
    probe: ProbeResult | None,
    first_finished: datetime,
    written: Written | None = None,
    *,
    not_before: datetime | None = None,
) -> JobEnd:
    """How and when the job ended. first_finished: when it was first seen finished, the time of last resort.

    written: what raysweep.io/outcome says, where no cluster is left to ask. not_before: when the
    job was last seen unfinished.
    """
    reported = TERMINAL_JOB_STATUS.get(rayjob.job_status, Outcome.FAILED)
    own = read_report(rayjob, probe).own if probe else None
    outcome = (
        TERMINAL_JOB_STATUS.get(own.status, reported)
        if own
        else written[0]
        if written
        else reported
    )
    at = _finished_at(rayjob, own, probe, first_finished)
    if written:
        at = max(at, written[1])
    return JobEnd(
        outcome, not_earlier(at, earliest_ends(rayjob, not_before, first_finished)), reported
    )


def not_earlier(end: datetime, earliest: Iterable[datetime]) -> datetime:
    """The end, or a later one of these times. Within a second they agree: KubeRay writes whole seconds, cut off."""
    latest = max(earliest, default=end)
    return latest if latest > end + WHOLE_SECOND else end


def earliest_ends(rayjob: RayJob, not_before: datetime | None, clock: datetime) -> list[datetime]:
    """Times before which the job cannot have ended, whatever the clock of its head or of KubeRay said.

    status.startTime of the attempt (KubeRay's clock), and when this process last saw it unfinished.
    """
    return [*plausible((rayjob.start_time,), clock), *([not_before] if not_before else [])]


def knows_more(rayjob: RayJob, end: JobEnd) -> bool:
    """Whether the head told an outcome or a later second than the status, so that it must be written down."""
    told = [time for time in (rayjob.end_time, rayjob.ray_end_time) if time]
    return end.outcome is not end.reported or not told or end.at.replace(microsecond=0) > max(told)


def _finished_at(
    rayjob: RayJob, own: JobEntry | None, probe: ProbeResult | None, first_finished: datetime
) -> datetime:
    """The latest plausible end. A clock that runs ahead must not keep a job, nor one that lags hasten its deletion.

    When the status was written stands in metadata.managedFields, which whoever writes the RayJob can forge: it had ended when
    it was first seen so, whatever stands there.
    """
    written_at = min(rayjob.status_written_at or first_finished, first_finished)
    by_status = plausible((rayjob.end_time, rayjob.ray_end_time), written_at)
    by_head: list[datetime] = []
    if own and not is_unfinished(own) and probe and isinstance(probe.head, HeadList):
        by_head = plausible((own.end_time,), probe.head.answered_at)
    return max([*by_status, *by_head], default=written_at)


def plausible(times: Iterable[datetime | None], clock: datetime) -> list[datetime]:
    """Those that do not lie far ahead of the clock beside them."""
    return [time for time in times if time is not None and time <= clock + CLOCK_TOLERANCE]
