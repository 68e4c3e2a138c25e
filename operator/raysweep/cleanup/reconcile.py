"""One pass over one RayJob: observe, decide, act, and when to probe again. Read this file first."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from datetime import datetime

from raysweep.cleanup import act
from raysweep.cleanup.observe import Observer
from raysweep.cleanup.pods import with_pods
from raysweep.clients.kubernetes.errors import ApiError, ConflictError, UnreachableError
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.durations import format_duration
from raysweep.core.model.decisions import Decision, Delete, Keep, ProbeHead, Wait
from raysweep.core.model.facts import RayJob
from raysweep.core.model.memory import Memory
from raysweep.core.update_memory import update_memory

NOTHING_DELETED = act.DeletionResult()


@dataclass(frozen=True, slots=True)
class Pass:
    """The result of a pass: the decision, the memory to keep, and what was deleted.

    probe_again_at: None if the RayJob is judged again only when it changes.
    dry_run_by: the mode or the policy that prevented the deletion, "" if none did.
    """

    rayjob: RayJob
    decision: Decision
    memory: Memory
    probe_again_at: datetime | None = None
    deletion: act.DeletionResult = NOTHING_DELETED
    dry_run_by: str = ""


def judge(observer: Observer, uid: str) -> Pass | None:
    """Runs a pass on cached state, without a request. None if the RayJob does not exist.

    It ends at ProbeHead if the decision depends on the head.
    """
    assessment = observer.assess(uid)
    return _pass(assessment) if assessment else None


async def clean(observer: Observer, uid: str) -> Pass | None:
    """Runs a pass with a probe, and deletes what is decided.

    The same checks judge again after the probe, and once more on a Namespace and policies that are
    confirmed after the head has answered. If the deletion had to wait for so long that the answer
    is old, the head is probed again. Raises ApiError if the probe fails. None if the RayJob does
    not exist, or named another cluster meanwhile.
    """
    may_start = False
    while True:
        assessment = await _with_timeout(observer, observer.probe(uid))
        if assessment is None:
            return None
        result = _pass(assessment)
        if not isinstance(result.decision, Delete):
            return result
        probed_at = observer.uptime()
        if not may_start and not assessment.dry_run_by:  # in DryRun nothing is deleted
            await observer.before_deletion()
            may_start = True
        async with observer.congestion.place(assessment.rayjob.namespace, urgent=True):
            if observer.uptime() - probed_at <= observer.max_age:
                final = await _confirm_and_delete(observer, assessment)
                break
    return await _with_pods(observer, final) if final else None


async def _with_pods(observer: Observer, result: Pass) -> Pass:
    """Deletes the Pods of the deleted RayCluster, too, if the setting delete_pods is on."""
    if not observer.deletes_pods:
        return result
    deletion = await with_pods(observer.kubernetes, observer.congestion, result.deletion)
    return replace(result, deletion=deletion)


async def _confirm_and_delete(observer: Observer, probed: Assessment) -> Pass | None:
    """Judges once more on a confirmed Namespace and confirmed policies, and deletes."""
    assessment = await _with_timeout(observer, observer.confirm(probed))
    if assessment is None:
        return None
    result = _pass(assessment)
    decision = result.decision
    if not isinstance(decision, Delete):
        return result
    if assessment.dry_run_by:
        probe_again_at, dry_run_by = result.memory.probe_again_at, assessment.dry_run_by
        return replace(result, probe_again_at=probe_again_at, dry_run_by=dry_run_by)
    deletion = await act.delete(
        observer.kubernetes, observer.congestion, decision, assessment.rayjob
    )
    await _update_state(observer, assessment, deletion)
    memory = _memory_after(result.memory, decision, deletion)
    return replace(result, memory=memory, deletion=deletion)


async def status_probe(observer: Observer, uid: str) -> Pass | None:
    """Runs a pass with the head's report on one job. It deletes nothing: it ends at ProbeHead."""
    assessment = await _with_timeout(observer, observer.status_probe(uid))
    return _pass(assessment) if assessment else None


def _pass(assessment: Assessment) -> Pass:
    decision = decide(assessment)
    memory = update_memory(assessment, decision)
    probe_again_at = None
    match decision:
        case Wait(until=until):
            probe_again_at = until
        case Keep() if assessment.deletion_probe is not None:
            probe_again_at = memory.probe_again_at
        case Keep() if assessment.probe is not None:
            probe_again_at = memory.status_probe_at
        case ProbeHead() | Delete() | Keep():
            pass
    return Pass(assessment.rayjob, decision, memory, probe_again_at)


def _memory_after(memory: Memory, decision: Delete, deletion: act.DeletionResult) -> Memory:
    deleted_cluster = any(target.kind == "RayCluster" for target in deletion.deleted)
    return replace(
        memory,
        probe_again_at=None,
        kept_by_probe=None,
        cluster_gone=memory.cluster_gone or deleted_cluster,
        half_deleted=_half_deleted(decision, deletion),
    )


def _half_deleted(decision: Delete, deletion: act.DeletionResult) -> str:
    """The uid of a RayCluster that is left although its RayJob may be deleted. "" if none is."""
    left = [target for target in decision.targets if target not in deletion.deleted]
    is_pair = len(decision.targets) > 1 and left and left[-1].kind == "RayCluster"
    return left[-1].uid if is_pair and deletion.stopped_by else ""


async def _with_timeout(
    observer: Observer, probe: Awaitable[Assessment | None]
) -> Assessment | None:
    """Limits the time of a probe. Raises UnreachableError after it, which delays this RayJob only.

    Deletions are not limited here: each is a few requests with timeouts of their own.
    """
    try:
        async with asyncio.timeout(observer.probe_timeout.total_seconds()):
            return await probe
    except TimeoutError as error:
        limit = format_duration(observer.probe_timeout)
        raise UnreachableError(f"the probe took longer than {limit}") from error


async def _update_state(
    observer: Observer, assessment: Assessment, deletion: act.DeletionResult
) -> None:
    """Updates the cached state with the responses of the API server.

    A RayJob is removed only if it did not exist, or if its whole pair was deleted. The watch shows
    one that a finalizer holds again. If an error stopped the deletion, the RayJob is read, so that
    the retry judges its current version. If that read fails too, the cached version stays.
    """
    deleted = [*deletion.deleted, *([deletion.missing] if deletion.missing else [])]
    for target in deleted:
        if target.kind == "RayCluster":
            observer.state.remove_raycluster(target.uid)
        elif deletion.stopped_by is None:
            observer.state.remove_rayjob(target.uid)
    is_half_done = deletion.stopped_by is not None and deletion.deleted
    if is_half_done or isinstance(deletion.stopped_by, ConflictError):
        await _refresh(observer, assessment.rayjob)


async def _refresh(observer: Observer, rayjob: RayJob) -> None:
    try:
        with observer.congestion.measure("GET RayJob"):
            current = await observer.kubernetes.rayjob(rayjob.namespace, rayjob.name)
    except ApiError:
        return  # the watch will show it, and what was deleted must be reported now
    if current and current.uid == rayjob.uid:
        observer.state.upsert_rayjob(current)
    else:
        observer.state.remove_rayjob(rayjob.uid)
