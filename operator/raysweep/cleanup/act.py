"""Executes decided deletions, in their order and with their preconditions. Judges nothing."""

from dataclasses import dataclass

from raysweep import names
from raysweep.cleanup.pods import PodDeletions, delete_pods
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import ApiError, ConflictError, NotFoundError
from raysweep.core.model.decisions import Delete, Target
from raysweep.core.model.facts import RayJob


@dataclass(frozen=True, slots=True)
class DeletionResult:
    """What was deleted, in order, the target that did not exist, and the error that stopped it.

    pods: how many Pods of the RayCluster were deleted, too.
    pod_errors: why its other Pods were left to the garbage collector.
    """

    deleted: tuple[Target, ...] = ()
    missing: Target | None = None
    stopped_by: ApiError | None = None
    pods: int = 0
    pod_errors: tuple[ApiError, ...] = ()


async def delete(
    kubernetes: Kubernetes, decision: Delete, judged: RayJob, *, with_pods: bool = False
) -> DeletionResult:
    """Deletes the targets one after the other, until one has changed or does not exist.

    The RayJob comes first, because a RayJob that is being deleted never recreates its cluster. A
    RayCluster alone is deleted only if its RayJob is still exactly the judged one: you may have
    asked to keep it a moment ago.

    with_pods: also deletes the Pods of a RayCluster that is gone. If a finalizer holds the
    RayCluster, whoever set it may still need the Pods.
    """
    deleted: list[Target] = []
    pods = PodDeletions()
    try:
        if decision.targets[0].kind == "RayCluster":
            await _confirm_unchanged(kubernetes, judged, decision.note)
        for target in decision.targets:
            is_gone = True
            try:
                is_gone = await kubernetes.delete(target)
            except NotFoundError:
                if not deleted:
                    return DeletionResult(missing=target)
            # After the RayJob, the garbage collector may have deleted the cluster first.
            deleted.append(target)
            if with_pods and is_gone and target.kind == "RayCluster":
                pods = await delete_pods(kubernetes, target)
    except ApiError as error:
        return DeletionResult(tuple(deleted), stopped_by=error)
    return DeletionResult(tuple(deleted), pods=pods.accepted, pod_errors=tuple(pods.errors))


async def _confirm_unchanged(kubernetes: Kubernetes, judged: RayJob, note: str) -> None:
    """Raises ConflictError if the RayJob has changed.

    If there is a note to write, the PATCH carries the resourceVersion and replaces the GET.
    """
    if note:
        await kubernetes.annotate(judged, names.OUTCOME, note)
        return
    current = await kubernetes.rayjob(judged.namespace, judged.name)
    version = (judged.uid, judged.resource_version)
    if current is None or (current.uid, current.resource_version) != version:
        raise ConflictError(
            f"RayJob {judged.key} changed after its cluster was judged and before its deletion",
            code=409,
        )
