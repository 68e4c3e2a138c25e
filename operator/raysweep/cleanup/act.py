"""Executes decided deletions, in their order and with their preconditions. Judges nothing."""

from dataclasses import dataclass

from raysweep import names
from raysweep.cleanup.congestion import CongestionWindow
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import ApiError, ConflictError, NotFoundError
from raysweep.core.model.decisions import Delete, Target
from raysweep.core.model.facts import RayJob


@dataclass(frozen=True, slots=True)
class DeletionResult:
    """What was deleted, in order, the target that did not exist, and the error that stopped it.

    gone_cluster: the RayCluster that is gone. None if a finalizer holds it: whoever set that may
    still need its Pods.
    pods: how many of its Pods were deleted, too (cleanup/pods.py).
    pod_errors: why its other Pods were left to the garbage collector.
    """

    deleted: tuple[Target, ...] = ()
    missing: Target | None = None
    stopped_by: ApiError | None = None
    gone_cluster: Target | None = None
    pods: int = 0
    pod_errors: tuple[ApiError, ...] = ()


async def delete(
    kubernetes: Kubernetes, congestion: CongestionWindow, decision: Delete, judged: RayJob
) -> DeletionResult:
    """Deletes the targets one after the other, until one has changed or does not exist.

    The RayJob comes first, because a RayJob that is being deleted never recreates its cluster. A
    RayCluster alone is deleted only if its RayJob is still exactly the judged one: you may have
    asked to keep it a moment ago. The caller holds a place of the congestion window, so that
    nothing delays the second deletion of a pair.
    """
    deleted: list[Target] = []
    gone_cluster = None
    try:
        if decision.targets[0].kind == "RayCluster":
            await _confirm_unchanged(kubernetes, congestion, judged, decision.note)
        for target in decision.targets:
            is_gone = True
            try:
                with congestion.measure(f"DELETE {target.kind}"):
                    is_gone = await kubernetes.delete(target)
            except NotFoundError:
                if not deleted:
                    return DeletionResult(missing=target)
            # After the RayJob, the garbage collector may have deleted the cluster first.
            deleted.append(target)
            if is_gone and target.kind == "RayCluster":
                gone_cluster = target
    except ApiError as error:
        return DeletionResult(tuple(deleted), stopped_by=error)
    return DeletionResult(tuple(deleted), gone_cluster=gone_cluster)


async def _confirm_unchanged(
    kubernetes: Kubernetes, congestion: CongestionWindow, judged: RayJob, note: str
) -> None:
    """Raises ConflictError if the RayJob has changed.

    If there is a note to write, the PATCH carries the resourceVersion and replaces the GET.
    """
    if note:
        with congestion.measure("PATCH RayJob"):
            await kubernetes.annotate(judged, names.OUTCOME, note)
        return
    with congestion.measure("GET RayJob"):
        current = await kubernetes.rayjob(judged.namespace, judged.name)
    version = (judged.uid, judged.resource_version)
    if current is None or (current.uid, current.resource_version) != version:
        raise ConflictError(
            f"RayJob {judged.key} changed after its cluster was judged and before its deletion",
            code=409,
        )
