"""What has been seen so far, in memory: RayJobs, RayClusters and Namespaces by uid, policies, and what passes remembered.

Watch and relist both end here. A newer resourceVersion replaces an older one, never the other way round, and a complete
list forgets only what was last seen before it began. No request is made here and nothing is decided.
"""

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from raysweep.core.facts import Namespace, Policy, RayCluster, RayJob
from raysweep.core.finished import has_ended_by_its_own_word
from raysweep.core.memory import NOTHING, Memory

CLOCKS_DIFFER_BY = timedelta(minutes=1)
"""KubeRay's clock wrote the end of a job, ours when a list began."""

Thing = TypeVar("Thing", RayJob, RayCluster, Namespace)


class Shelf(Generic[Thing]):
    """Objects of one kind by uid, each with the round in which it was last seen."""

    def __init__(self, on_change: Callable[[Thing | None, Thing | None], object]) -> None:
        """on_change is told of the thing before and after; None: it was not, or is not any more."""
        self._things: dict[str, Thing] = {}
        self._round: dict[str, int] = {}
        self._on_change: Callable[[Thing | None, Thing | None], object] = on_change
        self._now = 0

    def __len__(self) -> int:
        return len(self._things)

    def get(self, uid: str) -> Thing | None:
        """The newest seen object of this uid."""
        return self._things.get(uid)

    def values(self) -> tuple[Thing, ...]:
        """All of them, as of now."""
        return tuple(self._things.values())

    def saw(self, thing: Thing) -> None:
        """An event or a list shows this object."""
        known = self._things.get(thing.uid)
        self._round[thing.uid] = self._now
        if known is not None and not _is_newer(thing.resource_version, known.resource_version):
            return
        self._things[thing.uid] = thing
        self._on_change(known, thing)

    def lost(self, uid: str) -> None:
        """An event or an answer says that this object is gone."""
        known = self._things.pop(uid, None)
        self._round.pop(uid, None)
        if known is not None:
            self._on_change(known, None)

    def begin(self) -> int:
        """Call before a complete list; give the answer to forget() after it."""
        self._now += 1
        return self._now

    def forget(self, began: int) -> None:
        """A list that began then is complete: what it did not show, and nothing showed since, is gone."""
        for uid in [uid for uid, seen in self._round.items() if seen < began]:
            self.lost(uid)


class Store:
    """Everything known. on_rayjob(uid): that RayJob, or something it rests on, changed or is gone; judge it again."""

    def __init__(self, on_rayjob: Callable[[str], None]) -> None:
        self._on_rayjob = on_rayjob
        self.rayjobs: Shelf[RayJob] = Shelf(self._rayjob_changed)
        self.rayclusters: Shelf[RayCluster] = Shelf(self._raycluster_changed)
        self.namespaces: Shelf[Namespace] = Shelf(self._namespace_changed)
        self._confirmed: dict[str, datetime] = {}
        self._memories: dict[str, Memory] = {}
        self._backlog: set[str] = set()
        self._jobs_in: defaultdict[str, set[str]] = defaultdict(set)
        self._clusters_of: defaultdict[str, set[str]] = defaultdict(set)
        self._selecting: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._namespace_uid: dict[str, str] = {}
        self._policies: tuple[tuple[Policy, ...], datetime] | None = None

    def rayjob(self, uid: str) -> RayJob | None:
        """The newest seen RayJob of this uid."""
        return self.rayjobs.get(uid)

    def namespace(self, name: str) -> tuple[Namespace, datetime] | None:
        """The Namespace, and when it was last confirmed to be so."""
        found = self.namespaces.get(self._namespace_uid.get(name, ""))
        return (found, self._confirmed[name]) if found else None

    def policies(self) -> tuple[tuple[Policy, ...], datetime] | None:
        """All RayJobCleanupPolicies, and when they were last confirmed to be so; None: they could not be read."""
        return self._policies

    def owned_by(self, uid: str) -> tuple[RayCluster, ...]:
        """The RayClusters whose controller has this uid."""
        found = (self.rayclusters.get(cluster) for cluster in self._clusters_of.get(uid, ()))
        return tuple(cluster for cluster in found if cluster)

    def selecting(self, rayjob: RayJob) -> tuple[str, ...]:
        """The unfinished RayJobs of its namespace whose clusterSelector names this RayJob's cluster."""
        found = (self.rayjobs.get(uid) for uid in self._selecting.get((rayjob.namespace, rayjob.cluster_name), ()))
        return tuple(sorted(job.name for job in found if job and not has_ended_by_its_own_word(job)))

    def memory(self, uid: str) -> Memory:
        """What earlier passes saw."""
        return self._memories.get(uid, NOTHING)

    def backlog_size(self) -> int:
        """How many RayJobs wait because a default, or our absence, made them due all at once."""
        return len(self._backlog)

    def remember(self, uid: str, memory: Memory) -> None:
        """Keeps what a pass saw, for as long as its RayJob is known."""
        if memory.in_backlog and self.rayjobs.get(uid):
            self._backlog.add(uid)
        else:
            self._backlog.discard(uid)
        if memory == NOTHING or self.rayjobs.get(uid) is None:
            self._memories.pop(uid, None)
        else:
            self._memories[uid] = memory

    def saw_rayjob(self, rayjob: RayJob) -> None:
        """A RayJob was seen."""
        self.rayjobs.saw(rayjob)

    def lost_rayjob(self, uid: str) -> None:
        """A RayJob is gone."""
        self.rayjobs.lost(uid)

    def saw_raycluster(self, cluster: RayCluster) -> None:
        """A RayCluster was seen."""
        self.rayclusters.saw(cluster)

    def lost_raycluster(self, uid: str) -> None:
        """A RayCluster is gone."""
        self.rayclusters.lost(uid)

    def saw_namespace(self, namespace: Namespace, at: datetime) -> None:
        """A Namespace was seen, at this time."""
        old = self._namespace_uid.get(namespace.name)
        if old and old != namespace.uid:
            self.namespaces.lost(old)
        self._namespace_uid[namespace.name] = namespace.uid
        self._confirmed[namespace.name] = at
        self.namespaces.saw(namespace)

    def saw_policies(self, policies: tuple[Policy, ...], at: datetime) -> None:
        """All of them were asked for at this time; where one changed, every RayJob is judged again."""
        before = self._policies
        self._policies = (policies, at)
        if before is None or _written(before[0]) != _written(policies):
            for rayjob in self.rayjobs.values():
                self._on_rayjob(rayjob.uid)

    def lost_policies(self) -> None:
        """They cannot be read."""
        self._policies = None

    def lost_namespace(self, name: str, uid: str = "") -> None:
        """A Namespace is gone; uid: that one, and not one that was made since under its name."""
        known = self._namespace_uid.get(name, "")
        if uid in ("", known):
            self.namespaces.lost(known)

    def listed_all(self, began: datetime) -> None:
        """Complete lists are there: of a job that had ended well before they began, a cluster that none shows is gone.

        Else each record whose cluster went long ago would count as overdue after a restart, and wait in the backlog. Of one
        that ends meanwhile the cluster may be too young for the list of clusters, which comes first.
        """
        named = {(cluster.namespace, cluster.name) for cluster in self.rayclusters.values()}
        for job in self.rayjobs.values():
            is_old = has_ended_by_its_own_word(job) and job.end_time is not None and job.end_time < began - CLOCKS_DIFFER_BY
            if is_old and job.uid not in self._memories and (job.namespace, job.cluster_name) not in named:
                self._memories[job.uid] = Memory(cluster_gone=True)

    def _rayjob_changed(self, old: RayJob | None, new: RayJob | None) -> None:
        uid = (new or old).uid  # type: ignore[union-attr]
        if old and old.selected_cluster:
            self._selecting[(old.namespace, old.selected_cluster)].discard(uid)
        if new is None:
            assert old is not None
            self._memories.pop(uid, None)
            self._backlog.discard(uid)
            self._jobs_in[old.namespace].discard(uid)
        else:
            self._jobs_in[new.namespace].add(uid)
            if new.selected_cluster:
                self._selecting[(new.namespace, new.selected_cluster)].add(uid)
        self._on_rayjob(uid)

    def _raycluster_changed(self, old: RayCluster | None, new: RayCluster | None) -> None:
        was, now = (((c.controller_uid, c.deleting) if c else ("", False)) for c in (old, new))
        if old and old.controller_uid:
            owned = self._clusters_of[old.controller_uid]
            owned.discard(old.uid)
            if not owned:
                del self._clusters_of[old.controller_uid]
        if new and new.controller_uid:
            self._clusters_of[new.controller_uid].add(new.uid)
        if was != now:  # a new resourceVersion alone changes nobody's case
            for owner in {was[0], now[0]} - {""}:
                self._on_rayjob(owner)

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        name = (new or old).name  # type: ignore[union-attr]
        if new is None:
            self._namespace_uid.pop(name, None)
            self._confirmed.pop(name, None)
        if old is None or new is None or _says(old) != _says(new):
            for uid in tuple(self._jobs_in.get(name, ())):
                self._on_rayjob(uid)


def _written(policies: tuple[Policy, ...]) -> set[tuple[str, int]]:
    """Which policies there are, and in what state of their specs; their status is ours and decides nothing."""
    return {(policy.uid, policy.generation) for policy in policies}


def _says(namespace: Namespace) -> tuple[object, ...]:
    """Everything in it that decisions rest on."""
    return namespace.annotations, namespace.labels, namespace.unreadable, namespace.more_unknown_keys


def _is_newer(one: str, other: str) -> bool:
    """resourceVersions of one resource are comparable numbers (KEP-5504); what is no number counts as news."""
    return not (one.isdecimal() and other.isdecimal()) or int(one) > int(other)
