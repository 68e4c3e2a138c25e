"""Deletes the Pods of a deleted RayCluster, before the garbage collector does (delete_pods).

What fails here is left to the garbage collector, so it neither fails nor repeats a deletion.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

from raysweep.cleanup.act import DeletionResult
from raysweep.cleanup.congestion import CongestionWindow
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import (
    ApiError,
    ConflictError,
    NotFoundError,
    UnreachableError,
)
from raysweep.core.durations import format_duration
from raysweep.core.model.decisions import Target

MAX_CONCURRENT = 8
"""How many Pods of one RayCluster are deleted at the same time."""
TIME_LIMIT = timedelta(seconds=10)
"""For all Pods of one RayCluster. It is shorter than the default of `termination_grace`."""


@dataclass(slots=True)
class PodDeletions:
    """How many deletions of Pods the API server accepted, and the errors that ended them."""

    accepted: int = 0
    errors: list[ApiError] = field(default_factory=list)


async def with_pods(
    kubernetes: Kubernetes, congestion: CongestionWindow, deletion: DeletionResult
) -> DeletionResult:
    """Deletes the Pods of the RayCluster that this deletion has removed, if it has."""
    if deletion.gone_cluster is None:
        return deletion
    pods = await delete_pods(kubernetes, congestion, deletion.gone_cluster)
    return replace(deletion, pods=pods.accepted, pod_errors=tuple(pods.errors))


async def delete_pods(
    kubernetes: Kubernetes,
    congestion: CongestionWindow,
    cluster: Target,
    time_limit: timedelta = TIME_LIMIT,
) -> PodDeletions:
    """Deletes the Pods whose only owner and controller is exactly this RayCluster, by their uid.

    Each request takes a place of the congestion window, so the caller must hold none. After the
    first error no more Pods are deleted.
    """
    sender, result = _Sender(kubernetes, congestion, cluster), PodDeletions()
    try:
        async with asyncio.timeout(time_limit.total_seconds()):
            await _delete_all(sender, await sender.owned_pods(), result)
    except ApiError as error:
        result.errors.append(error)
    except TimeoutError:
        limit = format_duration(time_limit)
        message = f"deleting the Pods of RayCluster {cluster.name} took longer than {limit}"
        result.errors.append(UnreachableError(message))
    return result


@dataclass(frozen=True, slots=True)
class _Sender:
    kubernetes: Kubernetes
    congestion: CongestionWindow
    cluster: Target

    async def owned_pods(self) -> list[Target]:
        """The Pods that the garbage collector would delete for this RayCluster.

        The label in the request is only a filter. A Pod with a second owner stays, as it does for
        the garbage collector. A Pod that is being deleted needs no request.
        """
        namespace, name = self.cluster.namespace, self.cluster.name
        async with self.congestion.place(namespace, urgent=True):
            with self.congestion.measure("LIST Pods"):
                pages = [page async for page in self.kubernetes.pods(namespace, name)]
        pods = [pod for page in pages for pod in page]
        return [
            Target("Pod", namespace, pod.name, pod.uid)
            for pod in pods
            if pod.raycluster_uid == self.cluster.uid and not pod.deleting
        ]

    async def delete(self, pod: Target, result: PodDeletions) -> None:
        """Sends one deletion. A Pod that is gone or was replaced needs none."""
        try:
            async with self.congestion.place(pod.namespace, urgent=True):
                if result.errors:
                    return
                with self.congestion.measure("DELETE Pod"):
                    await self.kubernetes.delete_pod(pod)
        except (NotFoundError, ConflictError):
            return
        result.accepted += 1


async def _delete_all(sender: _Sender, pods: list[Target], result: PodDeletions) -> None:
    waiting = iter(pods)
    async with asyncio.TaskGroup() as workers:
        for _ in range(min(MAX_CONCURRENT, len(pods))):
            workers.create_task(_delete_waiting(sender, waiting, result))


async def _delete_waiting(sender: _Sender, waiting: Iterator[Target], result: PodDeletions) -> None:
    for pod in waiting:
        try:
            await sender.delete(pod, result)
        except ApiError as error:
            result.errors.append(error)
        if result.errors:
            return
