"""Observes one RayJob: builds an Assessment from cached state, and on demand from a live probe.

Nothing is decided or changed here.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Protocol

from raysweep.cleanup.circuit_breaker import CircuitBreaker
from raysweep.cleanup.clock import WallClock
from raysweep.cleanup.confirmation import Confirmations
from raysweep.cleanup.congestion import CongestionWindow
from raysweep.cleanup.probed_clusters import ProbedClusters
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.clients.ray.dashboard import Dashboard
from raysweep.core.assessment import Assessment
from raysweep.core.model.facts import (
    HeadList,
    HeadSilent,
    Namespace,
    Policy,
    ProbeKind,
    ProbeResult,
    RayCluster,
    RayJob,
)
from raysweep.core.model.memory import Memory
from raysweep.core.model.parameters import Parameters
from raysweep.core.retention import policies

PROBE_TIMEOUT = timedelta(minutes=5)
"""For all requests about one RayJob. Each request has a much shorter timeout of its own."""


class ClusterState(Protocol):
    """The last known state of the cluster. The store of the controller implements it.

    All uptimes are those at which a request was sent.
    """

    def rayjob(self, uid: str) -> RayJob | None:
        """The newest version of this RayJob."""

    def namespace(self, name: str) -> tuple[Namespace, timedelta | None] | None:
        """The Namespace, and the uptime of the request that last confirmed it, if any has."""

    def policies(self) -> tuple[tuple[Policy, ...], timedelta] | None:
        """All policies, and the uptime of the request that last confirmed them.

        None if they could not be read.
        """

    def owned_by(self, uid: str) -> tuple[RayCluster, ...]:
        """The RayClusters whose controller has this uid."""

    def selecting(self, rayjob: RayJob) -> tuple[str, ...]:
        """Names of the unfinished RayJobs whose clusterSelector names this RayJob's cluster."""

    def memory(self, uid: str) -> Memory:
        """What earlier passes observed of this RayJob."""

    def bulk_expiry_size(self, namespace: str) -> int:
        """How many RayJobs count toward the bulk expiry of this namespace."""

    def upsert_rayjob(self, rayjob: RayJob) -> None: ...
    def remove_rayjob(self, uid: str) -> None: ...
    def upsert_namespace(self, namespace: Namespace, sent_at: timedelta | None) -> None:
        """sent_at: None if a watch reported it, perhaps late."""

    def remove_namespace(self, name: str) -> None: ...
    def replace_policies(self, policies: tuple[Policy, ...], sent_at: timedelta) -> None:
        """Keeps the current policies if a later request has read them."""

    def clear_policies(self) -> None:
        """The policies could not be read."""

    def upsert_raycluster(self, cluster: RayCluster) -> None: ...
    def remove_raycluster(self, uid: str) -> None: ...


async def _no_ceiling() -> None:
    """Does not limit how many deletions start, as in a command."""


@dataclass(frozen=True)
class Observer:
    """Builds Assessments.

    max_age: how old the answer of the head, and the last read of Namespace and policies, may be
    right before a deletion.
    congestion: limits the requests of cleanups to what the API server can handle.
    before_deletion: waits until one more deletion may start.
    """

    state: ClusterState
    kubernetes: Kubernetes
    dashboard: Dashboard
    now: Callable[[], datetime]
    parameters: Parameters
    max_age: timedelta
    uptime: Callable[[], timedelta]
    started_at: datetime | None
    circuit_breaker: CircuitBreaker
    swept: bool = False  # whether a person asked to delete now what is observed
    clock: WallClock | None = None  # None: the wall clock is trusted, as in a command
    confirmations: Confirmations = field(default_factory=Confirmations)
    probe_timeout: timedelta = PROBE_TIMEOUT
    congestion: CongestionWindow = field(default_factory=CongestionWindow)
    before_deletion: Callable[[], Awaitable[None]] = _no_ceiling
    deletes_pods: bool = False  # the setting delete_pods; a command never deletes Pods

    def assess(self, uid: str) -> Assessment | None:
        """Assesses a RayJob on cached state, without a request. None if it does not exist."""
        rayjob = self.state.rayjob(uid)
        if rayjob is None:
            return None
        namespace_entry = self.state.namespace(rayjob.namespace)
        namespace = namespace_entry[0] if namespace_entry else None
        return Assessment(
            now=self.now(),
            rayjob=rayjob,
            namespace=namespace,
            policies=self._policies_for(rayjob, namespace),
            owned=self.state.owned_by(uid),
            selected_by=self.state.selecting(rayjob),
            parameters=self.parameters,
            memory=self.state.memory(uid),
            uptime=self.uptime(),
            started_at=self.started_at,
            heads_fail=self.circuit_breaker.is_open(rayjob.namespace),
            bulk_expiry_size=self.state.bulk_expiry_size(rayjob.namespace),
            clock_settles_at=self.clock.settles_at() if self.clock else None,
            swept=self.swept,
        )

    async def probe(self, uid: str) -> Assessment | None:
        """Assesses a RayJob with a probe of its cluster and head. Raises ApiError."""
        rayjob = self.state.rayjob(uid)
        if rayjob is None:
            return None
        await self._refresh_other_clusters(rayjob)
        cluster = await self._read_own_cluster(rayjob)
        head = await self._ask_head(cluster, rayjob)
        if isinstance(head, HeadSilent):
            # KubeRay may have deleted the cluster meanwhile.
            cluster = await self._read_own_cluster(rayjob)
            head = None if cluster is None or cluster.deleting else head
        probe_result = ProbeResult(cluster, head)
        self._record_probe(rayjob, probe_result)
        return self._reassess(rayjob, probe_result)

    async def status_probe(self, uid: str) -> Assessment | None:
        """Assesses a RayJob with its head's report on this one job. Raises ApiError."""
        rayjob = self.state.rayjob(uid)
        if rayjob is None or not rayjob.cluster_name:
            return None
        named = RayCluster(rayjob.namespace, rayjob.cluster_name, "", "", controller_uid=uid)
        cluster = await self._cluster_for_status(rayjob, named)
        head: HeadList | HeadSilent
        if cluster is None:
            # A status probe deletes nothing, so this counts as one more failed probe.
            head = HeadSilent(f"RayCluster {rayjob.cluster_name} does not exist")
        elif cluster.unreadable:
            head = HeadSilent(f"RayCluster {cluster.name}: {cluster.unreadable}")
        elif rayjob.job_id:
            head = await self.dashboard.job(cluster, rayjob.job_id)
        else:
            head = await self.dashboard.jobs(cluster, only_decisive=True)
        probe_result = ProbeResult(cluster or named, head, kind=ProbeKind.STATUS)
        return self._reassess(rayjob, probe_result)

    async def confirm(self, assessment: Assessment) -> Assessment | None:
        """Repeats an assessment on a Namespace and policies confirmed after its head has answered.

        Raises ApiError. The RayJob needs no read of its own, because a deletion is bound to the
        resourceVersion that was judged.
        """
        assert assessment.probe is not None
        await self._confirm_namespace(assessment.rayjob.namespace)
        await self._confirm_policies()
        return self._reassess(assessment.rayjob, assessment.probe)

    def _policies_for(
        self, rayjob: RayJob, namespace: Namespace | None
    ) -> tuple[Policy, ...] | None:
        entry = self.state.policies()
        if entry is None or namespace is None:
            return None
        return policies.selecting(entry[0], rayjob, namespace)

    def _reassess(self, rayjob: RayJob, probe_result: ProbeResult) -> Assessment | None:
        """Assesses the newest version. None if it names another cluster or job than the probed."""
        assessment = self.assess(rayjob.uid)
        if assessment is None:
            return None
        newest = assessment.rayjob
        if (newest.cluster_name, newest.job_id) != (rayjob.cluster_name, rayjob.job_id):
            return None
        return replace(assessment, probe=probe_result)

    async def _cluster_for_status(self, rayjob: RayJob, named: RayCluster) -> RayCluster | None:
        """The cluster with the address of its head. None if it does not exist.

        The status of the RayJob has the address, or else one GET that is remembered. With tokens
        the cluster is always read, because a token needs its spec and uid.
        """
        if rayjob.head_service and rayjob.dashboard_port and not self.dashboard.reads_tokens:
            owned = {cluster.name: cluster for cluster in self.state.owned_by(rayjob.uid)}
            return replace(
                owned.get(rayjob.cluster_name, named),
                head_service=rayjob.head_service,
                dashboard_port=rayjob.dashboard_port,
            )
        if cluster := self._probed_clusters.get(rayjob):
            return cluster
        cluster = await self.kubernetes.raycluster(rayjob.namespace, rayjob.cluster_name)
        if cluster and not cluster.deleting and not cluster.unreadable:
            self._probed_clusters.add(rayjob, cluster)
        return cluster

    @cached_property
    def _probed_clusters(self) -> ProbedClusters:
        return ProbedClusters(lambda uid: self.state.rayjob(uid) is not None)

    async def _confirm_namespace(self, name: str) -> None:
        entry = self.state.namespace(name)
        await self.confirmations.confirm(
            f"Namespace {name}",
            lambda sent_at: self._read_namespace(name, sent_at),
            confirmed_at=entry[1] if entry else None,
            now=self.uptime(),
            max_age=self.max_age,
        )

    async def _confirm_policies(self) -> None:
        entry = self.state.policies()
        await self.confirmations.confirm(
            "policies",
            self._read_policies,
            confirmed_at=entry[1] if entry else None,
            now=self.uptime(),
            max_age=self.max_age,
        )

    async def _read_namespace(self, name: str, sent_at: timedelta) -> None:
        namespace = await self.kubernetes.namespace(name)
        if namespace is None:
            self.state.remove_namespace(name)
        else:
            self.state.upsert_namespace(namespace, sent_at)

    async def _read_policies(self, sent_at: timedelta) -> None:
        """Reads the policies. Nothing is deleted while they cannot be read.

        Without their CRD there are no policies.
        """
        try:
            listed = await self.kubernetes.policies()
        except ApiError:
            self.state.clear_policies()
        else:
            self.state.replace_policies(listed.policies, sent_at)

    async def _refresh_other_clusters(self, rayjob: RayJob) -> None:
        """Reads clusters of earlier attempts: the last list may be minutes old."""
        for cluster in self.state.owned_by(rayjob.uid):
            if cluster.name != rayjob.cluster_name:
                await self._read_cluster(rayjob, cluster.name)

    async def _read_own_cluster(self, rayjob: RayJob) -> RayCluster | None:
        """The RayCluster that the status names."""
        if not rayjob.cluster_name:
            return None
        return await self._read_cluster(rayjob, rayjob.cluster_name)

    async def _read_cluster(self, rayjob: RayJob, name: str) -> RayCluster | None:
        """Reads a RayCluster, and updates the cached state with the result."""
        async with self.congestion.request(rayjob.namespace, "GET RayCluster"):
            cluster = await self.kubernetes.raycluster(rayjob.namespace, name)
        for cached in self.state.owned_by(rayjob.uid):
            if cached.name == name and (cluster is None or cluster.uid != cached.uid):
                self.state.remove_raycluster(cached.uid)
        if cluster:
            self.state.upsert_raycluster(cluster)
        return cluster

    async def _ask_head(
        self, cluster: RayCluster | None, rayjob: RayJob
    ) -> HeadList | HeadSilent | None:
        """Asks the head of the owned cluster for its jobs, or that of a selected one for this job.

        None if the cluster belongs to another RayJob or cannot be asked.
        """
        if cluster is None or cluster.deleting or cluster.unreadable:
            return None
        if rayjob.has_selector:
            return await self.dashboard.job(cluster, rayjob.job_id)
        if cluster.controller_uid != rayjob.uid:
            return None
        return await self.dashboard.jobs(cluster, rayjob.job_id, only_decisive=True)

    def _record_probe(self, rayjob: RayJob, probe_result: ProbeResult) -> None:
        """Records the probe of a ready head in the circuit breaker."""
        cluster, head = probe_result.cluster, probe_result.head
        if cluster is None or head is None:
            return
        if cluster.controller_uid != rayjob.uid or cluster.head_ready is not True:
            return
        # A head that reports its node as dead has answered.
        is_usable = isinstance(head, HeadList) or head.node_is_dead
        self.circuit_breaker.record(cluster.namespace, cluster.name, is_usable=is_usable)
