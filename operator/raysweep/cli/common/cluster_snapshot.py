"""What a command has read from the API server. The operator's counterpart is its store."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from raysweep.cleanup.relation_index import RelationIndex
from raysweep.core.model.facts import Namespace, Policy, RayCluster, RayJob
from raysweep.core.model.memory import Memory


@dataclass
class ClusterSnapshot:
    """A cleanup.observe.ClusterState for one command. It remembers nothing of earlier commands."""

    rayjobs: dict[str, RayJob] = field(default_factory=dict)
    rayclusters: dict[str, RayCluster] = field(default_factory=dict)
    namespaces: dict[str, tuple[Namespace, timedelta | None]] = field(default_factory=dict)
    listed_policies: tuple[tuple[Policy, ...], timedelta] | None = None
    selected: set[str] = field(default_factory=set)  # uids that match the label selector
    _cluster_uids: dict[tuple[str, str], str] = field(default_factory=dict)  # by namespace, name
    _index: RelationIndex = field(default_factory=RelationIndex, compare=False)

    def rayjob(self, uid: str) -> RayJob | None:
        """The RayJob with this uid."""
        return self.rayjobs.get(uid)

    def rayjob_named(self, name: str) -> RayJob | None:
        """The RayJob with this name, if the snapshot is of one namespace."""
        return next((rayjob for rayjob in self.rayjobs.values() if rayjob.name == name), None)

    def namespace(self, name: str) -> tuple[Namespace, timedelta | None] | None:
        """The Namespace, and the uptime at which the request for it was sent."""
        return self.namespaces.get(name)

    def policies(self) -> tuple[tuple[Policy, ...], timedelta] | None:
        """All RayJobCleanupPolicies, and the uptime at which the request for them was sent.

        None means that they could not be read.
        """
        return self.listed_policies

    def owned_by(self, uid: str) -> tuple[RayCluster, ...]:
        """The RayClusters whose controller has this uid."""
        return self._index.owned_by(uid)

    def selecting(self, rayjob: RayJob) -> tuple[str, ...]:
        """The unfinished RayJobs whose clusterSelector names this RayJob's RayCluster."""
        return self._index.selecting(rayjob)

    def memory(self, uid: str) -> Memory:
        """Only whether the RayCluster is gone: a list that was just read shows it if it exists."""
        rayjob = self.rayjobs.get(uid)
        if rayjob is None:
            return Memory()
        is_listed = (rayjob.namespace, rayjob.cluster_name) in self._cluster_uids
        return Memory(cluster_gone=not is_listed)

    def bulk_expiry_size(self, namespace: str) -> int:  # noqa: ARG002 - it satisfies ClusterState
        """Always 0: only the running operator counts RayJobs that expire in bulk."""
        return 0

    def replace_rayjobs(self, rayjobs: Iterable[RayJob]) -> None:
        """Replaces all RayJobs by those of a complete list."""
        for uid in list(self.rayjobs):
            self.remove_rayjob(uid)
        for rayjob in rayjobs:
            self.upsert_rayjob(rayjob)

    def replace_rayclusters(self, clusters: Iterable[RayCluster]) -> None:
        """Replaces all RayClusters by those of a complete list."""
        for uid in list(self.rayclusters):
            self.remove_raycluster(uid)
        for cluster in clusters:
            self.upsert_raycluster(cluster)

    def replace_namespaces(self, namespaces: Iterable[Namespace], sent_at: timedelta) -> None:
        """Replaces all Namespaces by those of a list. sent_at: the uptime of its request."""
        self.namespaces.clear()
        for namespace in namespaces:
            self.upsert_namespace(namespace, sent_at)

    def replace_policies(self, policies: tuple[Policy, ...], sent_at: timedelta) -> None:
        """Replaces all policies by those of a complete list. sent_at: the uptime of its request."""
        self.listed_policies = (policies, sent_at)

    def clear_policies(self) -> None:
        """Records that the policies cannot be read."""
        self.listed_policies = None

    def upsert_rayjob(self, rayjob: RayJob) -> None:
        """Adds or replaces a RayJob."""
        self._index.on_rayjob_change(self.rayjobs.get(rayjob.uid), rayjob)
        self.rayjobs[rayjob.uid] = rayjob

    def remove_rayjob(self, uid: str) -> None:
        """Removes a RayJob that does not exist anymore."""
        self._index.on_rayjob_change(self.rayjobs.pop(uid, None), None)

    def upsert_raycluster(self, cluster: RayCluster) -> None:
        """Adds or replaces a RayCluster."""
        self._index.on_raycluster_change(self.rayclusters.get(cluster.uid), cluster)
        self.rayclusters[cluster.uid] = cluster
        self._cluster_uids[(cluster.namespace, cluster.name)] = cluster.uid

    def remove_raycluster(self, uid: str) -> None:
        """Removes a RayCluster that does not exist anymore."""
        cluster = self.rayclusters.pop(uid, None)
        self._index.on_raycluster_change(cluster, None)
        if cluster and self._cluster_uids.get((cluster.namespace, cluster.name)) == uid:
            del self._cluster_uids[(cluster.namespace, cluster.name)]

    def upsert_namespace(self, namespace: Namespace, sent_at: timedelta | None) -> None:
        """Adds or replaces a Namespace. sent_at: the uptime of the request, None for an event."""
        self.namespaces[namespace.name] = (namespace, sent_at)

    def remove_namespace(self, name: str) -> None:
        """Removes a Namespace that does not exist anymore."""
        self.namespaces.pop(name, None)
