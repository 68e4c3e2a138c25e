"""Everything a decision rests on, and what follows from it at once: when the job ended, and when it and its cluster are due."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from raysweep import names
from raysweep.core import retention
from raysweep.core.durations import Never
from raysweep.core.facts import Look, Namespace, RayCluster, RayJob
from raysweep.core.finished import Finish, Says, Testimony, finish, testify
from raysweep.core.memory import NOTHING, Memory
from raysweep.core.retention import Retention, Sourced

WHOLE_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Case:
    """Everything a decision rests on. `look` is None until the cluster and its head were looked at live."""

    rayjob: RayJob
    namespace: Namespace | None  # None: it could not be read
    owned: tuple[RayCluster, ...] = ()  # RayClusters whose controller is this RayJob's uid, from the last complete list
    selected_by: tuple[str, ...] = ()  # unfinished RayJobs whose clusterSelector names this RayJob's cluster
    protected: frozenset[str] = names.ALWAYS_PROTECTED_NAMESPACES
    memory: Memory = NOTHING
    look: Look | None = None

    @cached_property
    def testimony(self) -> Testimony:
        """What the look told; Says.NO_HEAD before any look."""
        return testify(self.rayjob, self.look) if self.look else Testimony(Says.NO_HEAD)

    @cached_property
    def cluster(self) -> RayCluster | None:
        """The owned RayCluster that is not on its way out: by the look where there was one, else by the last list."""
        seen = (self.look.cluster,) if self.look else self.owned
        mine = (c for c in seen if c and c.controller_uid == self.rayjob.uid and not c.deleting)
        return next(mine, None)

    @property
    def may_have_cluster(self) -> bool:
        """Whether there may be a RayCluster to delete. Lists are minutes old, so without a look the status counts too."""
        named = self.look is None and self.rayjob.cluster_name and not self.memory.cluster_gone
        return self.cluster is not None or bool(named)

    def finish(self, now: datetime) -> Finish:
        """How and when the job ended."""
        return finish(self.rayjob, self.look, self.memory.first_finished or now)

    def retention(self, now: datetime) -> Retention:
        """The two times, and where they come from. An unreadable Namespace is kept by a guard before this is asked."""
        assert self.namespace is not None
        return retention.resolve(self.rayjob, self.namespace, self.finish(now).outcomes)

    def rayjob_due_at(self, now: datetime) -> datetime | None:
        """When the RayJob may go: not before its cluster, while that is there. None: never."""
        ttl, cluster = _after(self.finish(now).at, self.retention(now).ttl), self.cluster_due_at(now)
        if self.cluster is None or ttl is None:
            return ttl
        return max(ttl, cluster) if cluster else None

    def cluster_due_at(self, now: datetime) -> datetime | None:
        """When the RayCluster may go, whether it is there or not. None: never."""
        return _after(self.finish(now).at, self.retention(now).cluster_ttl)

    def due_at(self, now: datetime) -> datetime | None:
        """When the first of them may go. None: nothing ever."""
        times = [self.rayjob_due_at(now), self.cluster_due_at(now) if self.may_have_cluster else None]
        return min((time for time in times if time), default=None)


def _after(start: datetime, ttl: Sourced) -> datetime | None:
    """Kubernetes writes whole seconds, cut off: the job may have ended almost a second later than the status says."""
    if isinstance(ttl.value, Never):
        return None
    try:
        return start + ttl.value + (WHOLE_SECOND if start.microsecond == 0 else timedelta())
    except OverflowError:  # beyond the year 9999
        return None
