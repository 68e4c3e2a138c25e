"""What was seen before, as a value: a pass takes a Memory and yields the next one. The controller's store keeps it.

Two laws: without memory nothing is trusted to a grace, and forgetting never hastens a deletion. Graces between two looks of
ours are reckoned in uptime, a monotonic clock, since the wall clock may be set; times of the world are datetimes.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from raysweep.core.model.decisions import Explanation
from raysweep.core.model.facts import JobEntry
from raysweep.core.model.own_times import OwnTimes
from raysweep.core.model.reasons import Reason


@dataclass(frozen=True, slots=True)
class Observation:
    """A moment of this process on both of its clocks: the wall clock, which may be set, and uptime."""

    at: datetime
    uptime: timedelta


@dataclass(frozen=True, slots=True)
class Memory:
    """What earlier passes saw of one RayJob (by uid)."""

    first_finished: datetime | None = None
    # what bounds the end of the job from below, whatever other clocks say
    last_seen_unfinished: Observation | None = None  # the status last called it unfinished
    last_seen_active: Observation | None = None  # the Ray head last called it pending or running
    reported_end: datetime | None = None  # the latest end that the Ray head told of
    first_seen_ended: timedelta | None = (
        None  # uptime: first seen finished after it was seen unfinished
    )
    # looks that did not lead to a deletion
    fruitless_probes: int = 0
    last_probe_at: datetime | None = None
    probe_again_at: datetime | None = None
    kept_by_probe: Explanation | None = None
    looked_at: str = ""  # resourceVersion of the RayJob then; another one may answer differently
    cluster_gone: bool = (
        False  # a look found no RayCluster of the name in the status, or we deleted it
    )
    half_deleted: str = ""  # uid of the RayCluster that is left of a pair which was being deleted
    # heads that give no usable answer
    silent_probes: int = 0
    silent_since: timedelta | None = None  # uptime
    # jobs that seem to run for ever
    status: tuple[str, str] = ("", "")  # (jobDeploymentStatus, jobStatus)
    status_since: timedelta | None = None  # uptime
    status_probes: int = 0
    status_probe_at: datetime | None = None
    terminal: JobEntry | None = None  # what the head said of a job that the RayJob calls running
    terminal_since: timedelta | None = None  # uptime of the first such answer
    missed_since: datetime | None = None  # when the head first did not know it
    # due times that were moved into the past
    own_times: OwnTimes | None = None  # of the RayJob when its due time was last reckoned
    due_at: datetime | None = None
    bulk_expiry_until: datetime | None = None
    in_bulk_expiry: bool = False  # it waits there, or came through and is on its way; kept for another reason it does not count


NOTHING = Memory()


SILENCE = frozenset({Reason.HEAD_UNREACHABLE, Reason.HEAD_UNAUTHORIZED, Reason.HEADS_UNREACHABLE})
PROBE_AGAIN = SILENCE | {
    Reason.STILL_RUNNING,
    Reason.CLUSTER_IN_USE,
    Reason.AMBIGUOUS,
    Reason.NOT_OWNED,
    Reason.OTHER_CLUSTER,
    Reason.WILL_BE_RECREATED,
    Reason.BULK_EXPIRY_BLOCKED,
}
"""What only another look at the cluster and its head can change."""
