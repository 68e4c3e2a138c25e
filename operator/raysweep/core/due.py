"""When a finished RayJob and its RayCluster become due, and what ends a wait for the head. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from raysweep.core.durations import after
from raysweep.core.finish import WHOLE_SECOND, JobEnd
from raysweep.core.inputs import Inputs
from raysweep.core.model.provenance import BUILT_IN, InvalidValue, SourcedDuration
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import policies, resolve
from raysweep.core.retention.resolve import Retention


@dataclass(frozen=True, slots=True)
class DueTimes:
    """The due times of a RayJob that has ended or is stuck. None: never.

    rayjob_at: not before the RayCluster while that exists. cluster_at: whether it exists or not.
    first_at: the first of the two. is_cluster_alone: only the RayCluster is due, and its RayJob
    stays as the record.
    """

    end: JobEnd
    retention: Retention
    rayjob_at: datetime | None
    cluster_at: datetime | None
    first_at: datetime | None
    is_cluster_due: bool
    is_cluster_alone: bool


def due_times(inputs: Inputs, end: JobEnd, retention: Retention) -> DueTimes:
    """The due times that follow from the end of the job and its retention."""
    cluster_at = _ttl_ends(inputs, end, retention.cluster_ttl)
    rayjob_at = _ttl_ends(inputs, end, retention.ttl)
    if inputs.cluster is not None:
        rayjob_at = max(rayjob_at, cluster_at) if rayjob_at and cluster_at else None
    times = [rayjob_at, cluster_at] if inputs.may_have_cluster else [rayjob_at]
    first_at = min((time for time in times if time), default=None)
    is_rayjob_due = rayjob_at is not None and rayjob_at <= inputs.now
    return DueTimes(
        end,
        retention,
        rayjob_at,
        cluster_at,
        first_at=None if retention.keeps_all else first_at,
        is_cluster_due=cluster_at is not None and cluster_at <= inputs.now,
        is_cluster_alone=not inputs.swept and inputs.may_have_cluster and not is_rayjob_due,
    )


def cluster_limit(inputs: Inputs, due: DueTimes) -> datetime | None:
    """When a limit of the policies ends the life of the RayCluster at the latest."""
    if due.retention.cluster_ttl == BUILT_IN:
        return None
    limit = policies.longest_for_cluster(inputs.policies or (), due.retention.ttl)
    return _expiry(due.end.time, limit) if limit else None


def kept_until(inputs: Inputs, due: DueTimes) -> datetime | InvalidValue | None:
    """Until when a user keeps the RayJob, within the limits of policies.

    A sweep ignores these limits. An invalid value keeps the RayJob forever.
    """
    first_at = None if inputs.swept else due.first_at
    return resolve.keep_until(inputs.sources, first_at, inputs.parameters.bulk_expiry_wait)


def stuck_limit(inputs: Inputs, due: DueTimes, reason: Reason) -> datetime | None:
    """When a time of spec.stuck ends what a probe keeps the RayJob for. A sweep ignores it."""
    if inputs.swept:
        return None
    match reason:
        case Reason.STILL_RUNNING:
            return _still_running_limit(inputs)
        case Reason.CLUSTER_IN_USE:
            return _stuck_time(inputs, "clusterInUse", due.first_at)
        case Reason.HEAD_UNREACHABLE | Reason.HEAD_UNAUTHORIZED:
            return _unreachable_limit(inputs, due)
        case _:
            return None


def _still_running_limit(inputs: Inputs) -> datetime | None:
    if not inputs.status_reports_end:
        return None
    since = inputs.rayjob.end_time or inputs.rayjob.status_written_at
    return _stuck_time(inputs, "stillRunning", since)


def _unreachable_limit(inputs: Inputs, due: DueTimes) -> datetime | None:
    """Only an answer of its head ends the wait for a lost job.

    A job on a dead node is kept no longer than a running one.
    """
    if due.end.reason is Reason.JOB_LOST:
        return None
    limits = [_stuck_time(inputs, "headUnreachable", due.first_at)]
    if inputs.is_on_dead_node:
        limits.append(_still_running_limit(inputs))
    return min((limit for limit in limits if limit), default=None)


def _stuck_time(inputs: Inputs, kind: str, since: datetime | None) -> datetime | None:
    return resolve.stuck_deadline(inputs.sources, kind, since, inputs.parameters.bulk_expiry_wait)


def _ttl_ends(inputs: Inputs, end: JobEnd, ttl: SourcedDuration) -> datetime | None:
    """When the TTL has passed since the end.

    By the wall clock, and also by uptime if this process observed the end.
    """
    expiry, ended_at = _expiry(end.time, ttl), _ended_at_uptime(inputs, end)
    if expiry is None or ended_at is None or not isinstance(ttl.value, timedelta):
        return expiry
    left = ended_at + ttl.value - inputs.uptime
    return max(expiry, inputs.now + left) if left > timedelta() else expiry


def _ended_at_uptime(inputs: Inputs, end: JobEnd) -> timedelta | None:
    """The uptime at which this process first observed the end. None: it may be earlier."""
    memory = inputs.memory
    if end.outcome is None:
        return None
    if memory.first_seen_ended is not None:
        return memory.first_seen_ended
    if memory.last_seen_active is None or not inputs.head_confirms_end:
        return None
    return inputs.uptime if memory.terminal_since is None else memory.terminal_since


def _expiry(start: datetime, ttl: SourcedDuration) -> datetime | None:
    """The end of the TTL.

    Kubernetes truncates to whole seconds, so the job may have ended almost a second later than
    the status says.
    """
    expiry = after(start, ttl.value)
    if expiry is None or start.microsecond:
        return expiry
    return after(expiry, WHOLE_SECOND)
