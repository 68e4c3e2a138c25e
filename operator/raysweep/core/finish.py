"""Has the job finished, how, and when? Evidence in, verdict out; how long a finished job is kept is retention.py.

Two witnesses: the RayJob's status, which can be stuck or wrong, and the Ray head, which ran the job. A RayJob that says it
has ended is believed until the head is asked; then the head has the last word.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum

from raysweep.core.model.facts import HeadList, JobEntry, ProbeResult, RayJob
from raysweep.core.model.reasons import Reason


class Outcome(StrEnum):
    """How a job ended; also the suffix of the annotations that are for this outcome only."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


TERMINAL_JOB_STATUS = {
    "SUCCEEDED": Outcome.SUCCEEDED,
    "FAILED": Outcome.FAILED,
    "STOPPED": Outcome.STOPPED,
}
"""Ray's words for a job that has ended (ray.job_submission.JobStatus); every other word means that it has not."""
KNOWN_JOB_STATUS = frozenset({"PENDING", "RUNNING", *TERMINAL_JOB_STATUS})
FINAL_DEPLOYMENT_STATUS = frozenset({"Complete", "Failed", "ValidationFailed"})
"""KubeRay acts on these no more: it neither runs the job again nor rebuilds its cluster."""
KNOWN_DEPLOYMENT_STATUS = FINAL_DEPLOYMENT_STATUS | {
    "", "Initializing", "Waiting", "Running", "Retrying", "Suspending", "Suspended",
}  # fmt: skip
"""All of KubeRay's words (rayjob_types.go); any other is counted, and means that the job has not finished."""
WANTED_AN_END = frozenset({"DeadlineExceeded", "PreRunningDeadlineExceeded"})
"""status.reason where somebody set a deadline; KubeRay leaves the Ray job running there, and its status at RUNNING."""

WHOLE_SECOND = timedelta(seconds=1)
CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far ahead of the clock beside it a written time may be and still be believed."""


class ReportedState(Enum):
    """What the head says about the RayJob's own job."""

    TERMINAL = "terminal"
    ACTIVE = "active"
    NOT_FOUND = "no such job"
    AMBIGUOUS = "several jobs"
    NOTHING = "no usable answer"
    NO_HEAD = "no cluster to ask"


@dataclass(frozen=True, slots=True)
class HeadReport:
    """What a look told about the RayJob's own job: the word, its entry where there is one, and everything else there."""

    state: ReportedState
    own: JobEntry | None = None
    others: tuple[JobEntry, ...] = ()


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


def has_ended_by_its_own_word(rayjob: RayJob) -> bool:
    """Whether the RayJob's status alone says that KubeRay is done with the job."""
    return rayjob.deployment_status in FINAL_DEPLOYMENT_STATUS


def has_ended_by_rays_word(rayjob: RayJob) -> bool:
    """Whether the status holds Ray's own word that the job has ended: a terminal jobStatus and rayJobInfo.endTime.

    KubeRay writes jobStatus FAILED by itself too, after a broken log stream; without Ray's end time it proves nothing.
    """
    return rayjob.job_status in TERMINAL_JOB_STATUS and rayjob.ray_end_time is not None


def read_report(rayjob: RayJob, probe: ProbeResult) -> HeadReport:
    """What the head's list says about this RayJob's job. Without an ID the list's only submission is it."""
    if probe.cluster is None or probe.cluster.deleting:
        return HeadReport(ReportedState.NO_HEAD)
    if not isinstance(probe.head, HeadList):
        listed = (probe.head.listed if probe.head else None) or ()
        mine = _own(rayjob, listed)
        return HeadReport(
            ReportedState.NOTHING, others=tuple(entry for entry in listed if entry not in mine)
        )
    own = _own(rayjob, probe.head.entries)
    if len(own) > 1:
        return HeadReport(ReportedState.AMBIGUOUS, others=probe.head.entries)
    others = tuple(entry for entry in probe.head.entries if entry not in own)
    if not own:
        return HeadReport(ReportedState.NOT_FOUND, others=others)
    says = ReportedState.TERMINAL if own[0].status in TERMINAL_JOB_STATUS else ReportedState.ACTIVE
    return HeadReport(says, own[0], others)


def _own(rayjob: RayJob, entries: Iterable[JobEntry]) -> list[JobEntry]:
    submitted = (entry for entry in entries if entry.type == "SUBMISSION")
    return [entry for entry in submitted if rayjob.job_id in ("", entry.submission_id)]


def is_unfinished(entry: JobEntry) -> bool:
    """Whether a head's entry, a driver's too, may still be at work; an unknown word counts as at work."""
    return entry.status not in TERMINAL_JOB_STATUS


def shown_status(entry: JobEntry) -> str:
    """The status of a head's entry as it may be shown: Ray's words only, since anything may stand in a foreign body."""
    return entry.status if entry.status in KNOWN_JOB_STATUS else "an unknown status"


def shown_type(entry: JobEntry) -> str:
    """The type of a head's entry as it may be shown."""
    return {"SUBMISSION": "submission", "DRIVER": "driver"}.get(entry.type, "entry")


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
    return [*believable((rayjob.start_time,), clock), *([not_before] if not_before else [])]


def knows_more(rayjob: RayJob, end: JobEnd) -> bool:
    """Whether the head told an outcome or a later second than the status, so that it must be written down."""
    told = [time for time in (rayjob.end_time, rayjob.ray_end_time) if time]
    return end.outcome is not end.reported or not told or end.at.replace(microsecond=0) > max(told)


def retries_are_left(rayjob: RayJob, outcome: Outcome) -> bool:
    """Whether KubeRay would run a failed job again, this attempt counted (spec.backoffLimit)."""
    return outcome is Outcome.FAILED and rayjob.failed + 1 < rayjob.backoff_limit + 1


def _finished_at(
    rayjob: RayJob, own: JobEntry | None, probe: ProbeResult | None, first_finished: datetime
) -> datetime:
    """The latest believable end. A clock that runs ahead must not keep a job, nor one that lags hasten its deletion.

    When the status was written stands in metadata.managedFields, which whoever writes the RayJob can forge: it had ended when
    it was first seen so, whatever stands there.
    """
    written_at = min(rayjob.status_written_at or first_finished, first_finished)
    by_status = believable((rayjob.end_time, rayjob.ray_end_time), written_at)
    by_head: list[datetime] = []
    if own and not is_unfinished(own) and probe and isinstance(probe.head, HeadList):
        by_head = believable((own.end_time,), probe.head.answered_at)
    return max([*by_status, *by_head], default=written_at)


def believable(times: Iterable[datetime | None], clock: datetime) -> list[datetime]:
    """Those that do not lie far ahead of the clock beside them."""
    return [time for time in times if time is not None and time <= clock + CLOCK_TOLERANCE]
