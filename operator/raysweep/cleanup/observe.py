"""DryRun: from what is known and a live look at the cluster and its head to a Case. Nothing is decided or changed here."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Protocol

from raysweep.cleanup.circuit_breaker import CircuitBreaker
from raysweep.cleanup.clock import WallClock
from raysweep.cleanup.confirmation import Confirmations
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

PROBE_WITHIN = timedelta(minutes=5)
"""How long a look at one RayJob may take in all; each of its requests has a timeout far below."""


class ClusterState(Protocol):
    """What has been seen so far, and where a live look's findings go. The controller's store is one."""

    def rayjob(self, uid: str) -> RayJob | None:
        """The newest seen RayJob of this uid."""

    def namespace(self, name: str) -> tuple[Namespace, timedelta | None] | None:
        """The Namespace, and the uptime at which the request was sent that last confirmed it; None: none has."""

    def policies(self) -> tuple[tuple[Policy, ...], timedelta] | None:
        """All RayJobCleanupPolicies, and the uptime of the request that last confirmed them; None: they could not be read."""

    def owned_by(self, uid: str) -> tuple[RayCluster, ...]:
        """The RayClusters whose controller has this uid."""

    def selecting(self, rayjob: RayJob) -> tuple[str, ...]:
        """The unfinished RayJobs of its namespace whose clusterSelector names this RayJob's cluster."""

    def memory(self, uid: str) -> Memory:
        """What earlier passes saw."""

    def bulk_expiry_size(self, namespace: str) -> int:
        """How many RayJobs wait because a default, or our absence, made them due all at once, as that namespace counts them."""

    def upsert_rayjob(self, rayjob: RayJob) -> None: ...
    def remove_rayjob(self, uid: str) -> None: ...
    def upsert_namespace(self, namespace: Namespace, at: timedelta | None) -> None:
        """at: the uptime when that was asked for; None: nobody asked, a watch told it, maybe late."""

    def remove_namespace(self, name: str) -> None: ...
    def replace_policies(self, policies: tuple[Policy, ...], at: timedelta) -> None:
        """at: likewise. An answer that was asked for before the known one does not replace it."""

    def clear_policies(self) -> None: ...
    def upsert_raycluster(self, cluster: RayCluster) -> None: ...
    def remove_raycluster(self, uid: str) -> None: ...


@dataclass(frozen=True)
class Observer:
    """Builds Cases. max_age: how old a confirmation of Namespace and policies may be right before a deletion."""

    state: ClusterState
    kubernetes: Kubernetes
    dashboard: Dashboard
    now: Callable[[], datetime]
    parameters: Parameters
    max_age: timedelta
    uptime: Callable[[], timedelta]
    started_at: datetime | None
    circuit_breaker: CircuitBreaker
    swept: bool = False  # a person asked for what is looked at to go now
    clock: WallClock | None = None  # None: the wall clock is trusted, as by a command
    reads: Confirmations = field(default_factory=Confirmations)
    look_within: timedelta = PROBE_WITHIN  # how long one look may take

    def assess(self, uid: str) -> Assessment | None:
        """The Case from what is known; None where that RayJob is not known any more. Asks nobody."""
        rayjob = self.state.rayjob(uid)
        if rayjob is None:
            return None
        found, known = self.state.namespace(rayjob.namespace), self.state.policies()
        namespace = found[0] if found else None
        return Assessment(
            now=self.now(),
            rayjob=rayjob,
            namespace=namespace,
            policies=policies.selecting(known[0], rayjob, namespace)
            if known and namespace
            else None,
            owned=self.state.owned_by(uid),
            selected_by=self.state.selecting(rayjob),
            parameters=self.parameters,
            memory=self.state.memory(uid),
            uptime=self.uptime(),
            started_at=self.started_at,
            heads_fail=self.circuit_breaker.is_on(rayjob.namespace),
            bulk_expiry_size=self.state.bulk_expiry_size(rayjob.namespace),
            clock_settles_at=self.clock.settles_at() if self.clock else None,
            swept=self.swept,
        )

    async def probe(self, uid: str) -> Assessment | None:
        """The Case with a live look, on the newest RayJob. Raises ApiError."""
        rayjob = self.state.rayjob(uid)
        if rayjob is None:
            return None
        await self._confirm_other_clusters(rayjob)
        cluster = await self._named_cluster(rayjob)
        head = await self._ask(cluster, rayjob)
        if isinstance(
            head, HeadSilent
        ):  # KubeRay may have deleted the cluster while its head was asked
            cluster = await self._named_cluster(rayjob)
            head = None if cluster is None or cluster.deleting else head
        probe = ProbeResult(cluster, head)
        self._tell_brake(rayjob, probe)
        return self._with(rayjob, probe)

    async def status_probe(self, uid: str) -> Assessment | None:
        """The Case with the head's word on this one job, asked where a deletion would ask. Raises ApiError."""
        rayjob = self.state.rayjob(uid)
        if rayjob is None or not rayjob.cluster_name:
            return None
        named = RayCluster(rayjob.namespace, rayjob.cluster_name, "", "", controller_uid=uid)
        cluster = await self._cluster_of_probe(rayjob, named)
        if cluster is None:  # a poll deletes nothing, so this is only one more silent head
            head: HeadList | HeadSilent = HeadSilent(
                f"there is no RayCluster {rayjob.cluster_name}"
            )
        elif cluster.unreadable:
            head = HeadSilent(f"RayCluster {cluster.name}: {cluster.unreadable}")
        elif rayjob.job_id:
            head = await self.dashboard.job(cluster, rayjob.job_id)
        else:
            head = await self.dashboard.jobs(cluster)
        return self._with(rayjob, ProbeResult(cluster or named, head, kind=ProbeKind.STATUS))

    async def _cluster_of_probe(self, rayjob: RayJob, named: RayCluster) -> RayCluster | None:
        """With where its head is: by the RayJob's own status, else by one GET that is kept. None: there is none.

        A token needs the RayCluster's spec and uid, so there it is always read.
        """
        if rayjob.head_service and rayjob.dashboard_port and not self.dashboard.reads_tokens:
            owned = {cluster.name: cluster for cluster in self.state.owned_by(rayjob.uid)}
            known = owned.get(rayjob.cluster_name, named)
            return replace(
                known, head_service=rayjob.head_service, dashboard_port=rayjob.dashboard_port
            )
        if kept := self._probed_clusters.get(rayjob):
            return kept
        read = await self.kubernetes.raycluster(rayjob.namespace, rayjob.cluster_name)
        if read and not read.deleting and not read.unreadable:
            self._probed_clusters.keep(rayjob, read)
        return read

    @cached_property
    def _probed_clusters(self) -> ProbedClusters:
        return ProbedClusters(lambda uid: self.state.rayjob(uid) is not None)

    def _with(self, rayjob: RayJob, probe: ProbeResult) -> Assessment | None:
        """The newest again: it may have changed while we were asking, and then another cluster may be meant."""
        assessment = self.assess(rayjob.uid)
        return (
            replace(assessment, probe=probe)
            if assessment and assessment.rayjob.cluster_name == rayjob.cluster_name
            else None
        )

    async def confirm(self, assessment: Assessment) -> Assessment | None:
        """The same Case on a Namespace and policies that are confirmed now, after its head has answered. Raises ApiError.

        The RayJob needs no read of its own: a deletion is bound to the resourceVersion that was judged.
        """
        assert assessment.probe is not None
        await self._confirm_namespace(assessment.rayjob.namespace)
        await self._confirm_policies()
        return self._with(assessment.rayjob, assessment.probe)

    async def _confirm_namespace(self, name: str) -> None:
        known = self.state.namespace(name)
        await self.reads.confirm(
            f"Namespace {name}",
            lambda sent: self._read_namespace(name, sent),
            confirmed_at=known[1] if known else None,
            now=self.uptime(),
            max_age=self.max_age,
        )

    async def _confirm_policies(self) -> None:
        known = self.state.policies()
        await self.reads.confirm(
            "policies",
            self._read_policies,
            confirmed_at=known[1] if known else None,
            now=self.uptime(),
            max_age=self.max_age,
        )

    async def _read_namespace(self, name: str, sent: timedelta) -> None:
        namespace = await self.kubernetes.namespace(name)
        if namespace is None:
            self.state.remove_namespace(name)
        else:
            self.state.upsert_namespace(namespace, sent)

    async def _read_policies(self, sent: timedelta) -> None:
        """What cannot be read may say keep, so then nothing goes; a CRD that is not there means that there are none."""
        try:
            listed = await self.kubernetes.policies()
        except ApiError:
            self.state.clear_policies()
        else:
            self.state.replace_policies(listed.policies, sent)

    async def _confirm_other_clusters(self, rayjob: RayJob) -> None:
        """A list that is minutes old may tell of an earlier attempt's cluster, long gone."""
        for listed in self.state.owned_by(rayjob.uid):
            if listed.name != rayjob.cluster_name:
                await self._read_cluster(rayjob, listed.name)

    async def _named_cluster(self, rayjob: RayJob) -> RayCluster | None:
        """The RayCluster that the status names."""
        return (
            await self._read_cluster(rayjob, rayjob.cluster_name) if rayjob.cluster_name else None
        )

    async def _read_cluster(self, rayjob: RayJob, name: str) -> RayCluster | None:
        """That GET is the truth about it, whatever the last list said."""
        cluster = await self.kubernetes.raycluster(rayjob.namespace, name)
        for stale in self.state.owned_by(rayjob.uid):
            if stale.name == name and (cluster is None or cluster.uid != stale.uid):
                self.state.remove_raycluster(stale.uid)
        if cluster:
            self.state.upsert_raycluster(cluster)
        return cluster

    async def _ask(
        self, cluster: RayCluster | None, rayjob: RayJob
    ) -> HeadList | HeadSilent | None:
        """The head of the owned cluster, or of the selected one by ID; somebody else's is none of our business."""
        if cluster is None or cluster.deleting or cluster.unreadable:
            return None
        if rayjob.has_selector:
            return await self.dashboard.job(cluster, rayjob.job_id)
        if cluster.controller_uid != rayjob.uid:
            return None
        return await self.dashboard.jobs(cluster, rayjob.job_id)

    def _tell_brake(self, rayjob: RayJob, probe: ProbeResult) -> None:
        cluster, head = probe.cluster, probe.head
        if (
            cluster
            and head is not None
            and cluster.controller_uid == rayjob.uid
            and cluster.head_ready is True
        ):
            is_usable = isinstance(head, HeadList) or head.node_is_dead  # it answered, if only that
            self.circuit_breaker.answered(cluster.namespace, cluster.name, usable=is_usable)
