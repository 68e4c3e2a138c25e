"""What one command has listed, for as long as it runs: the command line's counterpart of the operator's store."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from raysweep.core.job_status import kuberay_reports_end
from raysweep.core.model.facts import Namespace, Policy, RayCluster, RayJob
from raysweep.core.model.memory import Memory


@dataclass
class Listed:
    """Satisfies cleanup.observe.ClusterState. Lists here are of this very moment, and nothing is remembered from before."""

    rayjobs: dict[str, RayJob] = field(default_factory=dict)
    rayclusters: dict[str, RayCluster] = field(default_factory=dict)
    namespaces: dict[str, tuple[Namespace, timedelta | None]] = field(default_factory=dict)
    known_policies: tuple[tuple[Policy, ...], timedelta] | None = None
    selected: set[str] = field(default_factory=set)  # uids that the label selector selects
    _owned: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _names: set[tuple[str, str]] = field(default_factory=set)
    _selecting: defaultdict[tuple[str, str], set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )

    def rayjob(self, uid: str) -> RayJob | None:
        """The RayJob of this uid."""
        return self.rayjobs.get(uid)

    def namespace(self, name: str) -> tuple[Namespace, timedelta | None] | None:
        """The Namespace, and the uptime at which it was asked for."""
        return self.namespaces.get(name)

    def policies(self) -> tuple[tuple[Policy, ...], timedelta] | None:
        """All RayJobCleanupPolicies, and the uptime at which they were asked for; None: they could not be read."""
        return self.known_policies

    def owned_by(self, uid: str) -> tuple[RayCluster, ...]:
        """The RayClusters whose controller has this uid."""
        known = (self.rayclusters.get(cluster) for cluster in sorted(self._owned[uid]))
        return tuple(cluster for cluster in known if cluster and cluster.controller_uid == uid)

    def selecting(self, rayjob: RayJob) -> tuple[str, ...]:
        """The unfinished RayJobs of its namespace whose clusterSelector names this RayJob's cluster."""
        found = (
            self.rayjobs.get(uid)
            for uid in self._selecting[(rayjob.namespace, rayjob.cluster_name)]
        )
        selecting = (job for job in found if job and job.selected_cluster == rayjob.cluster_name)
        return tuple(sorted(job.name for job in selecting if not kuberay_reports_end(job)))

    def memory(self, uid: str) -> Memory:
        """Nothing was seen before; but what a list of this moment does not show is as good as looked for."""
        rayjob = self.rayjobs.get(uid)
        return Memory(
            cluster_gone=rayjob is not None
            and (rayjob.namespace, rayjob.cluster_name) not in self._names
        )

    def bulk_expiry_size(self, namespace: str) -> int:  # noqa: ARG002 - it satisfies ClusterState
        """Only the running operator has a backlog."""
        return 0

    def replace_rayjobs(self, rayjobs: Iterable[RayJob]) -> None:
        """They were listed: there are no others."""
        self.rayjobs.clear()
        self._selecting.clear()
        for rayjob in rayjobs:
            self.upsert_rayjob(rayjob)

    def replace_rayclusters(self, clusters: Iterable[RayCluster]) -> None:
        """They were listed: there are no others."""
        self.rayclusters.clear()
        self._owned.clear()
        self._names.clear()
        for cluster in clusters:
            self.upsert_raycluster(cluster)

    def replace_namespaces(self, namespaces: Iterable[Namespace], at: timedelta) -> None:
        """They were listed, asked for at this uptime: there are no others."""
        self.namespaces.clear()
        for namespace in namespaces:
            self.upsert_namespace(namespace, at)

    def upsert_rayjob(self, rayjob: RayJob) -> None:
        """A RayJob was seen."""
        self.rayjobs[rayjob.uid] = rayjob
        if rayjob.selected_cluster:
            self._selecting[(rayjob.namespace, rayjob.selected_cluster)].add(rayjob.uid)

    def remove_rayjob(self, uid: str) -> None:
        """A RayJob is gone."""
        self.rayjobs.pop(uid, None)

    def upsert_raycluster(self, cluster: RayCluster) -> None:
        """A RayCluster was seen."""
        self.rayclusters[cluster.uid] = cluster
        self._names.add((cluster.namespace, cluster.name))
        if cluster.controller_uid:
            self._owned[cluster.controller_uid].add(cluster.uid)

    def remove_raycluster(self, uid: str) -> None:
        """A RayCluster is gone."""
        gone = self.rayclusters.pop(uid, None)
        if gone:
            self._names.discard((gone.namespace, gone.name))

    def upsert_namespace(self, namespace: Namespace, at: timedelta | None) -> None:
        """A Namespace was read, asked for at this uptime."""
        self.namespaces[namespace.name] = (namespace, at)

    def replace_policies(self, policies: tuple[Policy, ...], at: timedelta) -> None:
        """All of them were read, asked for at this uptime."""
        self.known_policies = (policies, at)

    def clear_policies(self) -> None:
        """They cannot be read."""
        self.known_policies = None

    def remove_namespace(self, name: str) -> None:
        """A Namespace is gone."""
        self.namespaces.pop(name, None)
