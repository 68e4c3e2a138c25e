"""What earlier passes observed of one RayJob. Each pass takes a Memory and returns the next one.

Two laws hold. Without memory no grace period has passed, and a lost memory never leads to an
earlier deletion. Grace periods between two probes use uptime, a monotonic clock, because the wall
clock may be set.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from raysweep.core.model.decisions import Explanation
from raysweep.core.model.facts import JobEntry
from raysweep.core.model.own_times import OwnTimes
from raysweep.core.model.reasons import Reason


@dataclass(frozen=True, slots=True)
class Observation:
    """A moment of this process by both of its clocks."""

    time: datetime
    uptime: timedelta


@dataclass(frozen=True, slots=True)
class Memory:
    """What earlier passes observed of one RayJob, by its uid."""

    # the end of the job
    first_finished: datetime | None = None
    last_seen_unfinished: Observation | None = None  # by the status
    last_seen_active: Observation | None = None  # by the head
    reported_end: datetime | None = None  # the latest one by the head
    first_seen_ended: timedelta | None = None  # uptime, if it was observed unfinished before

    # probes before a deletion that led to none
    fruitless_probes: int = 0
    last_probe_at: datetime | None = None
    probe_again_at: datetime | None = None
    kept_by_probe: Explanation | None = None
    probed_version: str = ""  # resourceVersion of the RayJob at the last probe
    cluster_gone: bool = False  # a probe found no RayCluster, or Raysweep deleted it
    half_deleted: str = ""  # uid of the RayCluster that is left of a pair being deleted

    # heads that give no usable answer
    silent_probes: int = 0
    silent_since: timedelta | None = None  # uptime

    # jobs that seem to run forever
    status: tuple[str, str] = ("", "")  # (jobDeploymentStatus, jobStatus)
    status_since: timedelta | None = None  # uptime
    status_probes: int = 0
    status_probe_at: datetime | None = None
    terminal: JobEntry | None = None  # the head's entry of an ended job
    terminal_since: timedelta | None = None  # uptime of the first such answer
    missing_since: datetime | None = None  # when the head first did not know the job

    # due times that were moved into the past
    own_times: OwnTimes | None = None  # when the due time was last computed
    due_at: datetime | None = None
    bulk_expiry_until: datetime | None = None
    in_bulk_expiry: bool = False  # it waits, or has waited and is about to be deleted


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
"""Only another probe of the cluster and its head can end these."""
