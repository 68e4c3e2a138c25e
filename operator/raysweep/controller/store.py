"""What has been seen so far, in memory: RayJobs, RayClusters and Namespaces by uid, policies, and what passes remembered.

Watch and relist both end here. A newer resourceVersion replaces an older one, never the other way round, and a complete
list forgets only what was last seen before it began. No request is made here and nothing is decided.

A complete list is the truth: what it shows replaces whatever nothing has shown since it began, also if
resourceVersions went backwards, as they do when etcd is restored from a backup.

An event that was already on its way when its object was deleted is ignored, unless it shows a newer resourceVersion.
"""

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from operator import eq
from typing import Generic, TypeVar

from raysweep.core.job_status import kuberay_reports_end
from raysweep.core.model.facts import Namespace, Policy, RayCluster, RayJob
from raysweep.core.model.memory import NOTHING, Memory

COUNTED_ELSEWHERE = 10
"""So many of another namespace's RayJobs in the backlog count at the most."""
CLOCKS_DIFFER_BY = timedelta(minutes=1)
"""KubeRay's clock wrote the end of a job, ours when a list began."""
STEP = 1000
"""How many objects are walked before the event loop gets its turn."""
SELECTING_AT_MOST = 10
"""How many RayJobs that select one cluster are named."""
DELETED_AT_MOST = 1000
"""How many deleted objects of one kind are remembered: events about them are at most seconds late."""

Thing = TypeVar("Thing", RayJob, RayCluster, Namespace)


class Shelf(Generic[Thing]):
    """Objects of one kind by uid, each with the round in which it was last seen."""

    def __init__(
        self,
        on_change: Callable[[Thing | None, Thing | None], object],
        is_same: Callable[[Thing, Thing], bool] = eq,
    ) -> None:
        """on_change is told of the thing before and after; None: it was not, or is not any more.

        is_same: whether a list shows of an object what is known of it.
        """
        self._things: dict[str, Thing] = {}
        self._round: dict[str, int] = {}
        self._deleted: dict[str, str] = {}  # since the latest list began: uid to resourceVersion
        self._on_change: Callable[[Thing | None, Thing | None], object] = on_change
        self._is_same: Callable[[Thing, Thing], bool] = is_same
        self._now = 0

    def __len__(self) -> int:
        return len(self._things)

    def get(self, uid: str) -> Thing | None:
        """The newest seen object of this uid."""
        return self._things.get(uid)

    def values(self) -> tuple[Thing, ...]:
        """All of them, as of now."""
        return tuple(self._things.values())

    def uids(self) -> tuple[str, ...]:
        """The uids of all of them, as of now."""
        return tuple(self._things)

    def saw(self, thing: Thing) -> None:
        """An event, or an answer to a GET, shows this object."""
        known = self._things.get(thing.uid)
        deleted = self._deleted.get(thing.uid)
        if deleted is not None and not _is_newer(thing.resource_version, deleted):
            return
        self._round[thing.uid] = self._now
        if known is not None and not _is_newer(thing.resource_version, known.resource_version):
            return
        self._things[thing.uid] = thing
        self._on_change(known, thing)

    def listed(self, thing: Thing) -> None:
        """The list that began last shows this object.

        It replaces what nothing has shown since the list began, whatever the resourceVersions.
        """
        known = self._things.get(thing.uid)
        if known is None or self._round[thing.uid] == self._now:
            self.saw(thing)
            return
        self._round[thing.uid] = self._now
        is_same = known.resource_version == thing.resource_version and self._is_same(known, thing)
        if not is_same:
            self._things[thing.uid] = thing
            self._on_change(known, thing)

    def lost(self, uid: str) -> None:
        """An event or an answer says that this object is gone."""
        if known := self._things.get(uid):
            self._deleted[uid] = known.resource_version
        if len(self._deleted) > DELETED_AT_MOST:
            del self._deleted[next(iter(self._deleted))]
        self._drop(uid)

    def _drop(self, uid: str) -> None:
        known = self._things.pop(uid, None)
        self._round.pop(uid, None)
        if known is not None:
            self._on_change(known, None)

    def begin(self) -> int:
        """Call before a complete list; give the answer to forget() after it."""
        self._now += 1
        self._deleted.clear()
        return self._now

    def forget(self, began: int) -> None:
        """A list that began then is complete: what it did not show, and nothing showed since, is gone."""
        for _ in self.forget_in_steps(began):
            pass

    def forget_in_steps(self, began: int) -> Iterator[None]:
        """As forget(), but yields now and then, so that the event loop can get its turn."""
        unseen = [uid for uid, seen in self._round.items() if seen < began]
        for position, uid in enumerate(unseen, 1):
            if self._round.get(uid, began) < began:  # something may have shown it meanwhile
                self._drop(uid)
            if position % STEP == 0:
                yield


class Store:
    """Everything known. on_rayjob(uid): that RayJob, or something it rests on, changed or is gone; judge it again.

    on_rayjobs(uids): the same for many at once; without it on_rayjob is called for each.
    """

    def __init__(
        self,
        on_rayjob: Callable[[str], None],
        on_rayjobs: Callable[[Iterable[str]], None] | None = None,
    ) -> None:
        self._on_rayjob = on_rayjob
        self._on_rayjobs = on_rayjobs or self._each
        self.rayjobs: Shelf[RayJob] = Shelf(self._rayjob_changed)
        self.rayclusters: Shelf[RayCluster] = Shelf(self._raycluster_changed, _is_same_metadata)
        self.namespaces: Shelf[Namespace] = Shelf(self._namespace_changed)
        self._confirmed: dict[str, timedelta] = {}
        self._memories: dict[str, Memory] = {}
        self._backlog: dict[str, str] = {}  # uid to namespace
        self._backlog_in: Counter[str] = Counter()
        self._backlog_elsewhere = 0
        self._jobs_in: defaultdict[str, set[str]] = defaultdict(set)  # by namespace
        self._clusters_of: defaultdict[str, set[str]] = defaultdict(set)
        self._selecting: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        self._namespace_uid: dict[str, str] = {}
        self._policies: tuple[tuple[Policy, ...], timedelta] | None = None

    def rayjob(self, uid: str) -> RayJob | None:
        """The newest seen RayJob of this uid."""
        return self.rayjobs.get(uid)

    def namespace(self, name: str) -> tuple[Namespace, timedelta | None] | None:
        """The Namespace, and the uptime at which the request was sent that last confirmed it; None: none has."""
        found = self.namespaces.get(self._namespace_uid.get(name, ""))
        return (found, self._confirmed.get(name)) if found else None

    def policies(self) -> tuple[tuple[Policy, ...], timedelta] | None:
        """All RayJobCleanupPolicies, and the uptime of the request that last confirmed them; None: they could not be read."""
        return self._policies

    def owned_by(self, uid: str) -> tuple[RayCluster, ...]:
        """The RayClusters whose controller has this uid."""
        found = (self.rayclusters.get(cluster) for cluster in self._clusters_of.get(uid, ()))
        return tuple(cluster for cluster in found if cluster)

    def selecting(self, rayjob: RayJob) -> tuple[str, ...]:
        """The unfinished RayJobs of its namespace whose clusterSelector names this RayJob's cluster.

        Of many the first SELECTING_AT_MOST by name: thousands may select one cluster.
        """
        found = self._selecting.get((rayjob.namespace, rayjob.cluster_name), ())
        return tuple(name for name, _ in found[:SELECTING_AT_MOST])

    def memory(self, uid: str) -> Memory:
        """What earlier passes saw."""
        return self._memories.get(uid, NOTHING)

    def bulk_expiry_size(self, namespace: str = "") -> int:
        """How many RayJobs wait because a default, or our absence, made them due all at once.

        As one namespace counts them: all of its own, and of every other a few, so that a mistake
        in a default of the whole cluster is noticed while no single tenant can block the others.
        "": all of them.
        """
        if not namespace:
            return len(self._backlog)
        own = self._backlog_in[namespace]
        return own + self._backlog_elsewhere - min(own, COUNTED_ELSEWHERE)

    def update_memory(self, uid: str, memory: Memory) -> None:
        """Keeps what a pass saw, for as long as its RayJob is known."""
        rayjob = self.rayjobs.get(uid)
        if memory.in_bulk_expiry and rayjob:
            self._join_backlog(uid, rayjob.namespace)
        else:
            self._leave_backlog(uid)
        if memory == NOTHING or self.rayjobs.get(uid) is None:
            self._memories.pop(uid, None)
        else:
            self._memories[uid] = memory

    def upsert_rayjob(self, rayjob: RayJob) -> None:
        """A RayJob was seen."""
        self.rayjobs.saw(rayjob)

    def remove_rayjob(self, uid: str) -> None:
        """A RayJob is gone."""
        self.rayjobs.lost(uid)

    def upsert_listed_rayjob(self, rayjob: RayJob) -> None:
        """The complete list that began last shows a RayJob."""
        self.rayjobs.listed(rayjob)

    def upsert_raycluster(self, cluster: RayCluster) -> None:
        """A RayCluster was seen."""
        self.rayclusters.saw(cluster)

    def upsert_listed_raycluster(self, cluster: RayCluster) -> None:
        """The complete list that began last shows a RayCluster."""
        self.rayclusters.listed(cluster)

    def remove_raycluster(self, uid: str) -> None:
        """A RayCluster is gone."""
        self.rayclusters.lost(uid)

    def upsert_namespace(self, namespace: Namespace, at: timedelta | None) -> None:
        """A Namespace was seen. at: the uptime when it was asked for; None: nobody asked, a watch told it, maybe late."""
        self._name_namespace(namespace, at)
        self.namespaces.saw(namespace)

    def upsert_listed_namespace(self, namespace: Namespace, at: timedelta) -> None:
        """The complete list that began last, asked for at this uptime, shows a Namespace."""
        self._name_namespace(namespace, at)
        self.namespaces.listed(namespace)

    def replace_policies(self, policies: tuple[Policy, ...], at: timedelta) -> None:
        """All of them, asked for at this uptime; where one changed, every RayJob is judged again.

        An answer that was asked for before the known one may be older, and does not replace it.
        """
        before = self._policies
        if before and at < before[1]:
            return
        self._policies = (policies, at)
        if before is None or _written(before[0]) != _written(policies):
            self._on_rayjobs(self.rayjobs.uids())

    def clear_policies(self) -> None:
        """They cannot be read."""
        self._policies = None

    def remove_namespace(self, name: str, uid: str = "") -> None:
        """A Namespace is gone; uid: that one, and not one that was made since under its name."""
        known = self._namespace_uid.get(name, "")
        if uid in ("", known):
            self.namespaces.lost(known)

    def mark_deleted_clusters(self, began: datetime) -> None:
        """Complete lists are there: of a job that had ended well before they began, a cluster that none shows is gone.

        Else each record whose cluster went long ago would count as overdue after a restart, and wait in the backlog. Of one
        that ends meanwhile the cluster may be too young for the list of clusters, which comes first.
        """
        for _ in self.mark_deleted_clusters_in_steps(began):
            pass

    def mark_deleted_clusters_in_steps(self, began: datetime) -> Iterator[None]:
        """As mark_deleted_clusters(), but yields now and then, so that the event loop can get its turn."""
        named = {(cluster.namespace, cluster.name) for cluster in self.rayclusters.values()}
        for position, job in enumerate(self.rayjobs.values(), 1):
            if position % STEP == 0:
                yield
            is_old = (
                kuberay_reports_end(job)
                and job.end_time is not None
                and job.end_time < began - CLOCKS_DIFFER_BY
            )
            is_known = self.rayjobs.get(job.uid) is not None and job.uid not in self._memories
            if is_old and is_known and (job.namespace, job.cluster_name) not in named:
                self._memories[job.uid] = Memory(cluster_gone=True)

    def _name_namespace(self, namespace: Namespace, at: timedelta | None) -> None:
        old = self._namespace_uid.get(namespace.name)
        if old and old != namespace.uid:
            self.namespaces.lost(old)
        self._namespace_uid[namespace.name] = namespace.uid
        if at is not None:
            self._confirmed[namespace.name] = max(at, self._confirmed.get(namespace.name, at))

    def _each(self, uids: Iterable[str]) -> None:
        for uid in uids:
            self._on_rayjob(uid)

    def _join_backlog(self, uid: str, namespace: str) -> None:
        if uid not in self._backlog:
            self._backlog[uid] = namespace
            self._count_backlog(namespace, 1)

    def _leave_backlog(self, uid: str) -> None:
        namespace = self._backlog.pop(uid, None)
        if namespace is not None:
            self._count_backlog(namespace, -1)

    def _count_backlog(self, namespace: str, change: int) -> None:
        before = self._backlog_in[namespace]
        after = before + change
        self._backlog_elsewhere += min(after, COUNTED_ELSEWHERE) - min(before, COUNTED_ELSEWHERE)
        self._backlog_in[namespace] = after
        if not after:
            del self._backlog_in[namespace]

    def _rayjob_changed(self, old: RayJob | None, new: RayJob | None) -> None:
        uid = (new or old).uid  # type: ignore[union-attr]
        if old and (new is None or _selection(old) != _selection(new)):
            self._selects_no_more(old)
        if new and (old is None or _selection(old) != _selection(new)):
            self._selects(new)
        if new:
            self._jobs_in[new.namespace].add(uid)
        elif old:
            self._memories.pop(uid, None)
            self._leave_backlog(uid)
            _discard(self._jobs_in, old.namespace, uid)
        self._on_rayjob(uid)

    def _selects(self, job: RayJob) -> None:
        """Indexes an unfinished RayJob under the cluster that it selects."""
        if key := _selection(job):
            insort(self._selecting[key], (job.name, job.uid))

    def _selects_no_more(self, job: RayJob) -> None:
        if key := _selection(job):
            names = self._selecting[key]
            del names[bisect_left(names, (job.name, job.uid))]
            if not names:
                del self._selecting[key]

    def _raycluster_changed(self, old: RayCluster | None, new: RayCluster | None) -> None:
        was, now = (((c.controller_uid, c.deleting) if c else ("", False)) for c in (old, new))
        if old and old.controller_uid:
            _discard(self._clusters_of, old.controller_uid, old.uid)
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
            self._on_rayjobs(tuple(self._jobs_in.get(name, ())))


def _selection(job: RayJob) -> tuple[str, str] | None:
    """The namespace and name of the cluster that an unfinished RayJob selects; None: it uses none."""
    is_using = job.selected_cluster and not kuberay_reports_end(job)
    return (job.namespace, job.selected_cluster) if is_using else None


def _discard(sets: dict[str, set[str]], key: str, uid: str) -> None:
    """Takes a uid out of one of the sets, and leaves no empty set behind."""
    members = sets.get(key, set())
    members.discard(uid)
    if not members:
        sets.pop(key, None)


def _is_same_metadata(one: RayCluster, other: RayCluster) -> bool:
    """Whether two facts agree in all that a list of metadata shows; a GET shows more."""
    return (one.namespace, one.name, one.controller_uid, one.deleting) == (
        other.namespace,
        other.name,
        other.controller_uid,
        other.deleting,
    )


def _written(policies: tuple[Policy, ...]) -> set[tuple[str, int]]:
    """Which policies there are, and in what state of their specs; their status is ours and decides nothing."""
    return {(policy.uid, policy.generation) for policy in policies}


def _says(namespace: Namespace) -> tuple[object, ...]:
    """Everything in it that decisions rest on."""
    return (
        namespace.annotations,
        namespace.labels,
        namespace.unreadable,
        namespace.more_unknown_keys,
    )


def _is_newer(one: str, other: str) -> bool:
    """resourceVersions of one resource are comparable numbers (KEP-5504); what is no number counts as news."""
    return not (one.isdecimal() and other.isdecimal()) or int(one) > int(other)
