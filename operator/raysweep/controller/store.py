"""Caches of RayJobs, RayClusters, Namespaces and policies, and the memory of earlier passes.

Both the watch and the relist write here. A newer resourceVersion replaces an older one, and a
complete list removes only objects that were last seen before it began. Nothing is requested or
decided here.

A complete list is the truth. It replaces whatever nothing has shown since it began, even if
resourceVersions went backwards, as they do when etcd is restored from a backup.

A late event about a deleted object is ignored, unless it shows a newer resourceVersion.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from operator import eq
from typing import Generic, TypeVar

from raysweep.cleanup.relation_index import RelationIndex
from raysweep.core.job_status import kuberay_reports_end
from raysweep.core.model.facts import Namespace, Policy, RayCluster, RayJob
from raysweep.core.model.memory import NOTHING, Memory

COUNTED_ELSEWHERE = 10
"""At most this many RayJobs of each other namespace count toward a namespace's bulk expiry."""
CLOCK_SKEW = timedelta(minutes=1)
"""KubeRay's clock sets the end of a job, and the clock of this process the beginning of a list."""
STEP = 1000
"""How many objects are processed before the event loop gets its turn."""
MAX_DELETED = 1000
"""How many deleted objects of one kind are remembered. Late events are at most seconds late."""

Object = TypeVar("Object", RayJob, RayCluster, Namespace)


class Cache(Generic[Object]):
    """Objects of one kind by uid, each with the list round in which it was last seen."""

    def __init__(
        self,
        on_change: Callable[[Object | None, Object | None], object],
        is_same: Callable[[Object, Object], bool] = eq,
    ) -> None:
        """on_change: receives the old and the new object. None means that it does not exist.

        is_same: whether a listed object shows nothing that differs from the cached one.
        """
        self._objects: dict[str, Object] = {}
        self._last_seen: dict[str, int] = {}  # list round, by uid
        self._deleted: dict[str, str] = {}  # since the last list began: resourceVersion by uid
        self._on_change: Callable[[Object | None, Object | None], object] = on_change
        self._is_same: Callable[[Object, Object], bool] = is_same
        self._round = 0

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, uid: str) -> Object | None:
        """The newest version of this object."""
        return self._objects.get(uid)

    def values(self) -> tuple[Object, ...]:
        """All objects, as of now."""
        return tuple(self._objects.values())

    def uids(self) -> tuple[str, ...]:
        """The uids of all objects, as of now."""
        return tuple(self._objects)

    def upsert(self, new: Object) -> None:
        """Stores an object from a watch event or a GET, unless it is older than the cached one."""
        old = self._objects.get(new.uid)
        deleted_version = self._deleted.get(new.uid)
        if deleted_version is not None and not _is_newer(new.resource_version, deleted_version):
            return
        self._last_seen[new.uid] = self._round
        if old is not None and not _is_newer(new.resource_version, old.resource_version):
            return
        self._objects[new.uid] = new
        self._on_change(old, new)

    def upsert_listed(self, new: Object) -> None:
        """Stores an object of the list that began last.

        It replaces what nothing has shown since the list began, whatever the resourceVersions.
        """
        old = self._objects.get(new.uid)
        if old is new:
            self._last_seen[new.uid] = self._round
            return
        if old is None or self._last_seen[new.uid] == self._round:
            self.upsert(new)
            return
        self._last_seen[new.uid] = self._round
        if old.resource_version == new.resource_version and self._is_same(old, new):
            return
        self._objects[new.uid] = new
        self._on_change(old, new)

    def remove(self, uid: str, resource_version: str = "") -> None:
        """Removes an object that an event or a response reports as deleted.

        resource_version: that of the event. A list in progress may still show an object of which
        nothing else is known.
        """
        cached = self._objects.get(uid)
        last_version = resource_version or (cached.resource_version if cached else "")
        if last_version:
            self._deleted[uid] = last_version
        if len(self._deleted) > MAX_DELETED:
            del self._deleted[next(iter(self._deleted))]
        self._drop(uid)

    def begin_list(self) -> int:
        """Starts a list round. Pass the result to `end_list` when the list is complete."""
        self._round += 1
        self._deleted.clear()
        return self._round

    def end_list(self, list_round: int) -> None:
        """Removes what neither this complete list nor anything since its beginning has shown."""
        for _ in self.end_list_in_steps(list_round):
            pass

    def end_list_in_steps(self, list_round: int) -> Iterator[None]:
        """Does the same as `end_list`, and yields so that the event loop can get its turn."""
        unseen = [uid for uid, seen in self._last_seen.items() if seen < list_round]
        for position, uid in enumerate(unseen, 1):
            if self._last_seen.get(uid, list_round) < list_round:  # an event may have shown it
                self._drop(uid)
            if position % STEP == 0:
                yield

    def _drop(self, uid: str) -> None:
        cached = self._objects.pop(uid, None)
        self._last_seen.pop(uid, None)
        if cached is not None:
            self._on_change(cached, None)


class BulkExpiry:
    """Counts the RayJobs that wait because they became due all at once, by namespace."""

    def __init__(self) -> None:
        self._namespaces: dict[str, str] = {}  # by uid
        self._counts: Counter[str] = Counter()
        self._capped_total = 0

    def __len__(self) -> int:
        return len(self._namespaces)

    def size_for(self, namespace: str) -> int:
        """All RayJobs of this namespace, and at most COUNTED_ELSEWHERE of each other namespace.

        A mistake in a cluster-wide default is noticed, and no single tenant can block the others.
        """
        own = self._counts[namespace]
        return own + self._capped_total - min(own, COUNTED_ELSEWHERE)

    def add(self, uid: str, namespace: str) -> None:
        """Counts this RayJob, once."""
        if uid not in self._namespaces:
            self._namespaces[uid] = namespace
            self._change(namespace, 1)

    def remove(self, uid: str) -> None:
        """Counts this RayJob no longer."""
        namespace = self._namespaces.pop(uid, None)
        if namespace is not None:
            self._change(namespace, -1)

    def _change(self, namespace: str, change: int) -> None:
        before = self._counts[namespace]
        after = before + change
        self._capped_total += min(after, COUNTED_ELSEWHERE) - min(before, COUNTED_ELSEWHERE)
        self._counts[namespace] = after
        if not after:
            del self._counts[namespace]


class Store:
    """All caches. Satisfies cleanup.observe.ClusterState.

    on_rayjob: called with the uid of a RayJob that must be judged again, because it or something
    that its decision depends on has changed. on_rayjobs: the same for many. By default on_rayjob is
    called for each.
    """

    def __init__(
        self,
        on_rayjob: Callable[[str], None],
        on_rayjobs: Callable[[Iterable[str]], None] | None = None,
    ) -> None:
        self._on_rayjob = on_rayjob
        self._on_rayjobs = on_rayjobs or self._on_each_rayjob
        self.rayjobs: Cache[RayJob] = Cache(self._on_rayjob_change)
        self.rayclusters: Cache[RayCluster] = Cache(self._on_raycluster_change, _is_same_metadata)
        self.namespaces: Cache[Namespace] = Cache(self._on_namespace_change)
        self.bulk_expiry = BulkExpiry()
        self._confirmed_at: dict[str, timedelta] = {}  # by the name of the Namespace
        self._memories: dict[str, Memory] = {}
        self._jobs_in: defaultdict[str, set[str]] = defaultdict(set)  # uids by namespace
        self._relations = RelationIndex()
        self._namespace_uid: dict[str, str] = {}
        self._policies: tuple[tuple[Policy, ...], timedelta] | None = None

    def rayjob(self, uid: str) -> RayJob | None:
        return self.rayjobs.get(uid)

    def namespace(self, name: str) -> tuple[Namespace, timedelta | None] | None:
        namespace = self.namespaces.get(self._namespace_uid.get(name, ""))
        return (namespace, self._confirmed_at.get(name)) if namespace else None

    def policies(self) -> tuple[tuple[Policy, ...], timedelta] | None:
        return self._policies

    def owned_by(self, uid: str) -> tuple[RayCluster, ...]:
        return self._relations.owned_by(uid)

    def selecting(self, rayjob: RayJob) -> tuple[str, ...]:
        return self._relations.selecting(rayjob)

    def memory(self, uid: str) -> Memory:
        return self._memories.get(uid, NOTHING)

    def bulk_expiry_size(self, namespace: str) -> int:
        return self.bulk_expiry.size_for(namespace)

    def update_memory(self, uid: str, memory: Memory) -> None:
        """Keeps the memory of a RayJob until the RayJob is removed."""
        rayjob = self.rayjobs.get(uid)
        if memory.in_bulk_expiry and rayjob:
            self.bulk_expiry.add(uid, rayjob.namespace)
        else:
            self.bulk_expiry.remove(uid)
        if memory == NOTHING or rayjob is None:
            self._memories.pop(uid, None)
        else:
            self._memories[uid] = memory

    def upsert_rayjob(self, rayjob: RayJob) -> None:
        self.rayjobs.upsert(rayjob)

    def remove_rayjob(self, uid: str, resource_version: str = "") -> None:
        """Removes a RayJob. resource_version: that of the event, if one reports the deletion."""
        self.rayjobs.remove(uid, resource_version)

    def upsert_raycluster(self, cluster: RayCluster) -> None:
        self.rayclusters.upsert(cluster)

    def remove_raycluster(self, uid: str) -> None:
        self.rayclusters.remove(uid)

    def upsert_namespace(self, namespace: Namespace, sent_at: timedelta | None) -> None:
        self._index_namespace(namespace, sent_at)
        self.namespaces.upsert(namespace)

    def upsert_listed_namespace(self, namespace: Namespace, sent_at: timedelta) -> None:
        """Stores a Namespace of the list that began last, requested at this uptime."""
        self._index_namespace(namespace, sent_at)
        self.namespaces.upsert_listed(namespace)

    def remove_namespace(self, name: str, uid: str | None = None) -> None:
        """Removes a Namespace. uid: only if it is this one, not a new one of the same name."""
        current_uid = self._namespace_uid.get(name, "")
        if uid in (None, current_uid):
            self.namespaces.remove(current_uid)

    def replace_policies(self, policies: tuple[Policy, ...], sent_at: timedelta) -> None:
        before = self._policies
        if before and sent_at < before[1]:
            return
        self._policies = (policies, sent_at)
        if before is None or _generations(before[0]) != _generations(policies):
            self._on_rayjobs(self.rayjobs.uids())

    def clear_policies(self) -> None:
        self._policies = None

    def mark_deleted_clusters(self, lists_began: datetime) -> None:
        """Notes which clusters of finished jobs no longer exist, once all lists are complete.

        Without this, each RayJob whose cluster was deleted long ago would count as overdue after
        a restart and become part of a bulk expiry. A job that ended shortly before the lists began
        is left out: its cluster may be too new for the list of clusters, which comes first.
        """
        for _ in self.mark_deleted_clusters_in_steps(lists_began):
            pass

    def mark_deleted_clusters_in_steps(self, lists_began: datetime) -> Iterator[None]:
        """Does the same, and yields so that the event loop can get its turn."""
        existing = {(cluster.namespace, cluster.name) for cluster in self.rayclusters.values()}
        latest_end = lists_began - CLOCK_SKEW
        for position, rayjob in enumerate(self.rayjobs.values(), 1):
            if position % STEP == 0:
                yield
            if rayjob.uid in self._memories or self.rayjobs.get(rayjob.uid) is None:
                continue
            if (rayjob.namespace, rayjob.cluster_name) in existing:
                continue
            if (
                kuberay_reports_end(rayjob)
                and rayjob.end_time is not None
                and rayjob.end_time < latest_end
            ):
                self._memories[rayjob.uid] = Memory(cluster_gone=True)

    def _index_namespace(self, namespace: Namespace, sent_at: timedelta | None) -> None:
        name = namespace.name
        old_uid = self._namespace_uid.get(name)
        if old_uid and old_uid != namespace.uid:
            self.namespaces.remove(old_uid)
        self._namespace_uid[name] = namespace.uid
        if sent_at is not None:
            self._confirmed_at[name] = max(sent_at, self._confirmed_at.get(name, sent_at))

    def _on_each_rayjob(self, uids: Iterable[str]) -> None:
        for uid in uids:
            self._on_rayjob(uid)

    def _on_rayjob_change(self, old: RayJob | None, new: RayJob | None) -> None:
        self._relations.on_rayjob_change(old, new)
        if new:
            self._jobs_in[new.namespace].add(new.uid)
            self._on_rayjob(new.uid)
        elif old:
            self._memories.pop(old.uid, None)
            self.bulk_expiry.remove(old.uid)
            uids = self._jobs_in[old.namespace]
            uids.discard(old.uid)
            if not uids:
                del self._jobs_in[old.namespace]
            self._on_rayjob(old.uid)

    def _on_raycluster_change(self, old: RayCluster | None, new: RayCluster | None) -> None:
        self._relations.on_raycluster_change(old, new)
        old_owner = old.controller_uid if old else ""
        new_owner = new.controller_uid if new else ""
        was_deleting = old is not None and old.deleting
        is_deleting = new is not None and new.deleting
        # A new resourceVersion alone changes no decision.
        if (old_owner, was_deleting) != (new_owner, is_deleting):
            for owner in {old_owner, new_owner} - {""}:
                self._on_rayjob(owner)

    def _on_namespace_change(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is None:
            assert old is not None
            self._namespace_uid.pop(old.name, None)
            self._confirmed_at.pop(old.name, None)
            self._on_rayjobs(tuple(self._jobs_in.get(old.name, ())))
        elif old is None or _relevant_fields(old) != _relevant_fields(new):
            self._on_rayjobs(tuple(self._jobs_in.get(new.name, ())))


def _is_same_metadata(left: RayCluster, right: RayCluster) -> bool:
    """Whether all fields agree that a list of metadata shows. A GET shows more."""
    return _metadata(left) == _metadata(right)


def _metadata(cluster: RayCluster) -> tuple[object, ...]:
    return cluster.namespace, cluster.name, cluster.controller_uid, cluster.deleting


def _generations(policies: tuple[Policy, ...]) -> set[tuple[str, int]]:
    """Identifies the specs of these policies. Their status decides nothing."""
    return {(policy.uid, policy.generation) for policy in policies}


def _relevant_fields(namespace: Namespace) -> tuple[object, ...]:
    """Everything that decisions depend on."""
    return (
        namespace.annotations,
        namespace.labels,
        namespace.unreadable,
        namespace.more_unknown_keys,
    )


def _is_newer(left: str, right: str) -> bool:
    """Compares resourceVersions, which are numbers (KEP-5504). Anything else counts as newer."""
    return not (left.isdecimal() and right.isdecimal()) or int(left) > int(right)
