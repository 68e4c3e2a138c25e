"""Whether, how and when a job ended. Pure.

Two sources: the RayJob's status, which can be stuck or wrong, and the Ray head, which ran the job.
The status counts until the head is probed. Then the head decides.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from raysweep import names
from raysweep.core.head_report import ReportedState
from raysweep.core.inputs import Inputs
from raysweep.core.job_status import (
    MAY_HANG,
    TERMINAL_JOB_STATUS,
    is_unfinished,
    kuberay_reports_end,
    retries_are_left,
)
from raysweep.core.model.facts import JobEntry, RayJob
from raysweep.core.model.memory import Observation
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import InvalidValue
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import annotations

WHOLE_SECOND = timedelta(seconds=1)
CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far a written time may be ahead of the clock it is compared with."""


@dataclass(frozen=True, slots=True)
class JobEnd:
    """The end of a job.

    A job that never ran or was lost has no outcome. Its `time` is then the start of the TTL for
    stuck jobs. status_outcome: the outcome by the status, which can differ from the head's.
    reason: the reason of a deletion, unless a check knows a better one.
    """

    outcome: Outcome | None
    time: datetime
    status_outcome: Outcome | None
    reason: Reason = Reason.EXPIRED

    @property
    def outcomes(self) -> frozenset[Outcome]:
        """Every reported outcome. The longest retention of them counts."""
        return frozenset(each for each in (self.outcome, self.status_outcome) if each)


def job_end(inputs: Inputs) -> JobEnd | None:
    """How and when the job ended, or since when it is stuck. None: it has not ended."""
    if kuberay_reports_end(inputs.rayjob):
        return _finished(inputs)
    end = _unreported_by_status(inputs) or _unreported_by_kuberay(inputs)
    if end or inputs.swept:
        return end
    return _stuck(inputs)


def reported_end(rayjob: RayJob, clock: datetime) -> datetime:
    """When the job ended, by the status alone. clock: when it was first observed finished."""
    return _not_earlier(_latest_end(rayjob, clock), plausible((rayjob.start_time,), clock))


def plausible(times: Iterable[datetime | None], clock: datetime) -> list[datetime]:
    """The times that are not far ahead of the clock."""
    return [time for time in times if time is not None and time <= clock + CLOCK_TOLERANCE]


def adds_to_status(rayjob: RayJob, end: JobEnd) -> bool:
    """Whether the end has another outcome or a later second than the status holds."""
    if end.outcome is not end.status_outcome:
        return True
    times = [time for time in (rayjob.end_time, rayjob.ray_end_time) if time]
    return not times or end.time.replace(microsecond=0) > max(times)


def _finished(inputs: Inputs) -> JobEnd:
    """The end of a job that KubeRay finished.

    The outcome of the head's entry counts most. When no cluster is left to probe, the annotation
    raysweep.io/outcome holds what the head reported before.
    """
    end = _reported(inputs)
    recorded = _recorded_outcome(inputs)
    if recorded:
        outcome, time = recorded
        end = replace(end, time=max(end.time, time))
        if inputs.head_report.own is None:
            end = replace(end, outcome=outcome)
    return replace(end, time=_not_earlier(end.time, _earliest_ends(inputs, _observed_at(inputs))))


def _recorded_outcome(inputs: Inputs) -> tuple[Outcome, datetime] | None:
    if inputs.may_have_cluster:
        return None
    recorded = annotations.recorded_outcome(inputs.rayjob)
    if recorded is None or isinstance(recorded, InvalidValue):
        return None
    return recorded if plausible((recorded[1],), inputs.now) else None


def _reported(inputs: Inputs) -> JobEnd:
    """The end by the status, and by the head's own entry if there is one."""
    status_outcome = TERMINAL_JOB_STATUS.get(inputs.rayjob.job_status, Outcome.FAILED)
    outcome, head_ends = status_outcome, list[datetime]()
    entry = inputs.head_report.own
    if entry and inputs.head_list and not is_unfinished(entry):
        outcome = TERMINAL_JOB_STATUS[entry.status]
        head_ends = plausible((entry.end_time,), inputs.head_list.answered_at)
    time = _latest_end(inputs.rayjob, _observed_at(inputs), head_ends)
    return JobEnd(outcome, time, status_outcome)


def _latest_end(rayjob: RayJob, clock: datetime, head_ends: Iterable[datetime] = ()) -> datetime:
    """The latest plausible end.

    A clock that runs ahead must not keep a job, and one that lags must not delete it early. The
    time of the last write comes from metadata.managedFields, which every author of the RayJob can
    forge. So `clock`, when the job was first observed finished, limits it.
    """
    written_at = min(rayjob.status_written_at or clock, clock)
    status_ends = plausible((rayjob.end_time, rayjob.ray_end_time), written_at)
    return max([*status_ends, *head_ends], default=written_at)


def _observed_at(inputs: Inputs) -> datetime:
    return inputs.memory.first_finished or inputs.now


def _unreported_by_status(inputs: Inputs) -> JobEnd | None:
    """FinishedUnreported by the head: the status hangs, and two probes found that the job ended.

    The two probes must be some time apart.
    """
    job, memory = inputs.rayjob, inputs.memory
    if job.deployment_status not in MAY_HANG or not _has_hung(inputs):
        return None
    entry, since = _terminal_entry(inputs), memory.terminal_since
    if entry is None or since is None:
        return None
    outcome = TERMINAL_JOB_STATUS[entry.status]
    is_confirmed = inputs.uptime - since >= inputs.parameters.unreported_after
    if not is_confirmed or retries_are_left(job, outcome):
        return None
    answered_at = inputs.head_list.answered_at if inputs.head_list else inputs.now
    times = plausible((entry.end_time, job.ray_end_time), answered_at)
    time = max(times, default=_observed_at(inputs))
    status_outcome = TERMINAL_JOB_STATUS.get(job.job_status, outcome)
    return JobEnd(
        outcome,
        _not_earlier(time, _earliest_unreported(inputs)),
        status_outcome,
        Reason.FINISHED_UNREPORTED,
    )


def _unreported_by_kuberay(inputs: Inputs) -> JobEnd | None:
    """FinishedUnreported by the status: it holds Ray's report of the end, and has not changed.

    A head that answers is stronger: its entry gives the outcome, or keeps the job as running.
    """
    if not inputs.has_unreported_end or not _has_hung(inputs):
        return None
    end = _reported(inputs)
    if end.outcome and retries_are_left(inputs.rayjob, end.outcome):
        return None
    time = _not_earlier(end.time, _earliest_unreported(inputs))
    return replace(end, time=time, reason=Reason.FINISHED_UNREPORTED)


def _has_hung(inputs: Inputs) -> bool:
    return inputs.unchanged_for >= inputs.parameters.unchanged_after


def _terminal_entry(inputs: Inputs) -> JobEntry | None:
    """The head's entry of the ended job; an earlier one if the head gives no answer now."""
    if inputs.probe is None or inputs.head_report.state is ReportedState.NO_ANSWER:
        return inputs.memory.terminal
    if inputs.head_report.state is ReportedState.TERMINAL:
        return inputs.head_report.own
    return None


def _not_earlier(end: datetime, earliest: Iterable[datetime]) -> datetime:
    """The end, or the latest of the earliest possible ends if it is later.

    A difference within a second does not count: Kubernetes writes truncated whole seconds.
    """
    latest = max(earliest, default=end)
    return latest if latest > end + WHOLE_SECOND else end


def _earliest_ends(inputs: Inputs, clock: datetime) -> list[datetime]:
    """Times before which the job cannot have ended, whatever other clocks say.

    The start of the attempt by KubeRay's clock, and the last time it was observed unfinished.
    """
    return [*plausible((inputs.rayjob.start_time,), clock), *_observed_unfinished(inputs)]


def _earliest_unreported(inputs: Inputs) -> list[datetime]:
    """A status that is not final was last written before the end: by the API server's clock."""
    written_at = plausible((inputs.rayjob.status_written_at,), inputs.now)
    return [*_earliest_ends(inputs, inputs.now), *written_at]


def _observed_unfinished(inputs: Inputs) -> list[datetime]:
    """When this process last observed the job unfinished, and the latest end by its head.

    Before a probe confirms the end, only the status counts. A hanging status says nothing by
    calling the job unfinished. The head's report counts after the head has forgotten the job.
    """
    memory = inputs.memory
    is_final = kuberay_reports_end(inputs.rayjob)
    observations: list[Observation | None] = []
    if is_final:
        observations.append(memory.last_seen_unfinished)
    if inputs.head_confirms_end or not is_final:
        observations.append(memory.last_seen_active)
    times = [_by_wall_clock(each, inputs) for each in observations if each]
    return [*times, memory.reported_end] if memory.reported_end else times


def _by_wall_clock(observation: Observation, inputs: Inputs) -> datetime:
    """The time of the observation; by the monotonic clock if the wall clock was set back since."""
    return min(observation.time, inputs.now - (inputs.uptime - observation.uptime))


def _stuck(inputs: Inputs) -> JobEnd | None:
    """A cluster that never became ready, a lost job, or an interactive job never submitted."""
    job = inputs.rayjob
    if inputs.has_unreported_end:
        return None
    if job.deployment_status == "Initializing":
        return _stuck_end(job.start_time, Reason.STUCK_INITIALIZING)
    if job.deployment_status not in MAY_HANG or inputs.head_report.own is not None:
        return None
    if job.job_status or job.ray_start_time:
        return _stuck_end(_missing_since(inputs), Reason.JOB_LOST)
    if job.submission_mode == names.INTERACTIVE_MODE:
        return _stuck_end(_unused_since(inputs), Reason.NEVER_SUBMITTED)
    return None


def _stuck_end(since: datetime | None, reason: Reason) -> JobEnd | None:
    return JobEnd(None, since, None, reason) if since else None


def _missing_since(inputs: Inputs) -> datetime | None:
    """When the head first did not know the job, while the status stayed the same."""
    if inputs.is_status_unchanged and inputs.memory.missing_since:
        return inputs.memory.missing_since
    return inputs.now if inputs.is_missing else None


def _unused_since(inputs: Inputs) -> datetime | None:
    """Since when a user could submit to the cluster, and nothing ran in it. None: not known.

    KubeRay writes the status Waiting once the cluster is ready, and nothing after it. A head that
    became ready later counts from then.
    """
    cluster = inputs.probe.cluster if inputs.probe else None
    head_ready_since = cluster.head_ready_since if cluster else None
    ready = plausible((inputs.rayjob.status_written_at, head_ready_since), inputs.now)
    if not ready:
        return None
    started = [inputs.rayjob.start_time] if inputs.rayjob.start_time else []
    ends = [entry.end_time for entry in inputs.head_entries if entry.end_time]
    return max([*ready, *started, *ends])
