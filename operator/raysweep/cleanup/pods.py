"""Deletes the Pods of a deleted RayCluster, before the garbage collector does (delete_pods).

What fails here is left to the garbage collector, so it neither fails nor repeats a deletion.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

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


async def delete_pods(
    kubernetes: Kubernetes, cluster: Target, time_limit: timedelta = TIME_LIMIT
) -> PodDeletions:
    """Deletes the Pods whose only owner and controller is exactly this RayCluster, by their uid.

    After the first error no more Pods are deleted.
    """
    result = PodDeletions()
    try:
        async with asyncio.timeout(time_limit.total_seconds()):
            pods = await _owned_pods(kubernetes, cluster)
            await _delete_all(kubernetes, pods, result)
    except ApiError as error:
        result.errors.append(error)
    except TimeoutError:
        limit = format_duration(time_limit)
        message = f"deleting the Pods of RayCluster {cluster.name} took longer than {limit}"
        result.errors.append(UnreachableError(message))
    return result


async def _owned_pods(kubernetes: Kubernetes, cluster: Target) -> list[Target]:
    """The Pods that the garbage collector would delete for this RayCluster.

    The label in the request is only a filter. A Pod with a second owner stays, as it does for the
    garbage collector. A Pod that is being deleted needs no request.
    """
    return [
        Target("Pod", cluster.namespace, pod.name, pod.uid)
        async for page in kubernetes.pods(cluster.namespace, cluster.name)
        for pod in page
        if pod.raycluster_uid == cluster.uid and not pod.deleting
    ]


async def _delete_all(kubernetes: Kubernetes, pods: list[Target], result: PodDeletions) -> None:
    waiting = iter(pods)
    async with asyncio.TaskGroup() as workers:
        for _ in range(min(MAX_CONCURRENT, len(pods))):
            workers.create_task(_delete_waiting(kubernetes, waiting, result))


async def _delete_waiting(
    kubernetes: Kubernetes, waiting: Iterator[Target], result: PodDeletions
) -> None:
    for pod in waiting:
        try:
            await _delete_pod(kubernetes, pod, result)
        except ApiError as error:
            result.errors.append(error)
        if result.errors:
            return


async def _delete_pod(kubernetes: Kubernetes, pod: Target, result: PodDeletions) -> None:
    """Sends one deletion. A Pod that is gone or was replaced needs none."""
    try:
        await kubernetes.delete_pod(pod)
    except (NotFoundError, ConflictError):
        return
    result.accepted += 1
