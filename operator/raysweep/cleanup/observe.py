"""Observe: from what is known and a live look at the cluster and its head to a Case. Nothing is decided or changed here."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol
from weakref import WeakValueDictionary

from raysweep.clients.dashboard import Dashboard
from raysweep.clients.kubernetes import Kubernetes
from raysweep.core.case import Case
from raysweep.core.facts import HeadList, HeadSilent, Look, Namespace, RayCluster, RayJob
from raysweep.core.memory import Memory


class Known(Protocol):
    """What has been seen so far, and where a live look's findings go. The controller's store is one."""

    def rayjob(self, uid: str) -> RayJob | None:
        """The newest seen RayJob of this uid."""

    def namespace(self, name: str) -> tuple[Namespace, datetime] | None:
        """The Namespace, and when it was last confirmed to be so."""

    def owned_by(self, uid: str) -> tuple[RayCluster, ...]:
        """The RayClusters whose controller has this uid."""

    def selecting(self, rayjob: RayJob) -> tuple[str, ...]:
        """The unfinished RayJobs of its namespace whose clusterSelector names this RayJob's cluster."""

    def memory(self, uid: str) -> Memory:
        """What earlier passes saw."""

    def saw_rayjob(self, rayjob: RayJob) -> None: ...
    def lost_rayjob(self, uid: str) -> None: ...
    def saw_namespace(self, namespace: Namespace, at: datetime) -> None: ...
    def lost_namespace(self, name: str) -> None: ...
    def saw_raycluster(self, cluster: RayCluster) -> None: ...
    def lost_raycluster(self, uid: str) -> None: ...


@dataclass(frozen=True)
class Observer:
    """Builds Cases. namespace_max_age: how old a confirmation of a Namespace may be right before a deletion."""

    known: Known
    kubernetes: Kubernetes
    dashboard: Dashboard
    now: Callable[[], datetime]
    protected: frozenset[str]
    namespace_max_age: timedelta
    _one_read_at_a_time: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def recall(self, uid: str) -> Case | None:
        """The Case from what is known; None where that RayJob is not known any more. Asks nobody."""
        rayjob = self.known.rayjob(uid)
        if rayjob is None:
            return None
        found = self.known.namespace(rayjob.namespace)
        return Case(
            rayjob=rayjob,
            namespace=found[0] if found else None,
            owned=self.known.owned_by(uid),
            selected_by=self.known.selecting(rayjob),
            protected=self.protected,
            memory=self.known.memory(uid),
        )

    async def look(self, uid: str) -> Case | None:
        """The Case with a live look, on the newest RayJob and a Namespace confirmed just now. Raises ApiError."""
        rayjob = self.known.rayjob(uid)
        if rayjob is None:
            return None
        await self._confirm(rayjob.namespace)
        cluster = await self._named_cluster(rayjob)
        head = await self._ask(cluster, rayjob)
        case = self.recall(uid)  # the newest again: it may have changed while we were asking
        return replace(case, look=Look(cluster, head)) if case and case.rayjob.cluster_name == rayjob.cluster_name else None

    async def _confirm(self, name: str) -> None:
        lock = self._one_read_at_a_time.setdefault(name, asyncio.Lock())
        async with lock:
            found = self.known.namespace(name)
            if found and self.now() - found[1] <= self.namespace_max_age:
                return
            namespace = await self.kubernetes.namespace(name)
            if namespace is None:
                self.known.lost_namespace(name)
            else:
                self.known.saw_namespace(namespace, self.now())

    async def _named_cluster(self, rayjob: RayJob) -> RayCluster | None:
        """The RayCluster that the status names. That GET is the truth about it, whatever the last list said."""
        if not rayjob.cluster_name:
            return None
        cluster = await self.kubernetes.raycluster(rayjob.namespace, rayjob.cluster_name)
        for stale in self.known.owned_by(rayjob.uid):
            if stale.name == rayjob.cluster_name and (cluster is None or cluster.uid != stale.uid):
                self.known.lost_raycluster(stale.uid)
        if cluster:
            self.known.saw_raycluster(cluster)
        return cluster

    async def _ask(self, cluster: RayCluster | None, rayjob: RayJob) -> HeadList | HeadSilent | None:
        """The head of the owned cluster; somebody else's is none of our business, one that goes is past asking."""
        if cluster is None or cluster.deleting or cluster.unreadable or cluster.controller_uid != rayjob.uid:
            return None
        return await self.dashboard.jobs(cluster, rayjob.job_id)
