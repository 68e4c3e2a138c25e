"""Act: the deletions that were decided, in their order and with their preconditions. Nothing is judged here."""

from dataclasses import dataclass

from raysweep import names
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import ApiError, ConflictError, NotFoundError
from raysweep.core.model.decisions import Delete, Target
from raysweep.core.model.facts import RayJob


@dataclass(frozen=True, slots=True)
class DeletionResult:
    """What we deleted ourselves, in order; what was not there any more; and what stopped us where something did."""

    deleted: tuple[Target, ...] = ()
    missing: Target | None = None
    stopped_by: ApiError | None = None


async def delete(kubernetes: Kubernetes, decision: Delete, judged: RayJob) -> DeletionResult:
    """Deletes the targets one after the other; what is gone or is another object by now ends it.

    The RayJob goes first, since one that is being deleted never rebuilds its cluster. A RayCluster that goes alone is deleted
    only while its RayJob is still exactly what was judged: somebody may have asked to keep it a moment ago.
    """
    deleted: list[Target] = []
    try:
        if decision.targets[0].kind == "RayCluster":
            await _still_as_judged(kubernetes, judged, decision.note)
        for target in decision.targets:
            try:
                await kubernetes.delete(target)
            except NotFoundError:
                if not deleted:
                    return DeletionResult(missing=target)
            deleted.append(
                target
            )  # also where the garbage collector was quicker, once its RayJob had gone by our hand
    except ApiError as error:
        return DeletionResult(tuple(deleted), stopped_by=error)
    return DeletionResult(tuple(deleted))


async def _still_as_judged(kubernetes: Kubernetes, judged: RayJob, note: str) -> None:
    """Where something is to be written down, that write bears the resourceVersion and takes the GET's place."""
    if note:
        await kubernetes.annotate(judged, names.OUTCOME, note)
        return
    current = await kubernetes.rayjob(judged.namespace, judged.name)
    if (
        current is None
        or current.uid != judged.uid
        or current.resource_version != judged.resource_version
    ):
        raise ConflictError(
            f"RayJob {judged.key} changed between the judgement and the deletion of its cluster",
            code=409,
        )
