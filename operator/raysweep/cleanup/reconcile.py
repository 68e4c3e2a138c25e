"""One RayJob, one pass: observe, decide, act, and when to look again. Read this file first."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from datetime import datetime

from raysweep.cleanup import act
from raysweep.cleanup.observe import Observer
from raysweep.clients.kubernetes.errors import ApiError, ConflictError, UnreachableError
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.durations import format_duration
from raysweep.core.model.decisions import Decision, Delete, Keep, ProbeHead, Wait
from raysweep.core.model.facts import RayJob
from raysweep.core.model.memory import Memory
from raysweep.core.update_memory import update_memory

NOTHING_DONE = act.DeletionResult()


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass came to: the decision about this very RayJob, what to remember, and what was deleted."""

    rayjob: RayJob
    decision: Decision
    memory: Memory
    probe_again_at: datetime | None = None  # None: when something about it changes
    deletion: act.DeletionResult = NOTHING_DONE
    dry_run_by: str = ""  # it would have been deleted, but for this mode or policy


def judge(observer: Observer, uid: str) -> Pass | None:
    """A pass on what is known, without a request; it ends at AskHead where only a live look can tell. None: it is gone."""
    assessment = observer.assess(uid)
    return _pass(assessment) if assessment else None


async def clean(observer: Observer, uid: str) -> Pass | None:
    """A pass with a live look: asks the head and judges again, with the same ladder, before anything is deleted.

    What would be deleted is judged once more on a Namespace and policies confirmed after the head
    has answered. Raises ApiError where the look fails. None: the RayJob is gone, or became another while we looked.
    """
    assessment = await _in_time(observer, observer.probe(uid))
    if assessment is None:
        return None
    found = _pass(assessment)
    if not isinstance(found.decision, Delete):
        return found
    assessment = await _in_time(observer, observer.confirm(assessment))
    if assessment is None:
        return None
    found = _pass(assessment)
    if not isinstance(found.decision, Delete):
        return found
    if assessment.dry_run_by:
        return replace(
            found, probe_again_at=found.memory.probe_again_at, dry_run_by=assessment.dry_run_by
        )
    deletion = await act.delete(observer.kubernetes, found.decision, assessment.rayjob)
    await _learn(observer, assessment, deletion)
    is_cluster_gone = found.memory.cluster_gone or any(
        target.kind == "RayCluster" for target in deletion.deleted
    )
    memory = replace(
        found.memory,
        probe_again_at=None,
        kept_by_probe=None,
        cluster_gone=is_cluster_gone,
        half_deleted=_half_deleted(found.decision, deletion),
    )
    return replace(found, memory=memory, deletion=deletion)


async def status_probe(observer: Observer, uid: str) -> Pass | None:
    """A pass with the head's word on a job that seems to run for ever; it ends at AskHead at the most."""
    assessment = await _in_time(observer, observer.status_probe(uid))
    return _pass(assessment) if assessment else None


def _pass(assessment: Assessment) -> Pass:
    decision = decide(assessment)
    memory = update_memory(assessment, decision)
    match decision:
        case Wait(until=until):
            return Pass(assessment.rayjob, decision, memory, until)
        case Keep() if assessment.probe is not None:
            return Pass(
                assessment.rayjob,
                decision,
                memory,
                memory.status_probe_at
                if assessment.deletion_probe is None
                else memory.probe_again_at,
            )
        case ProbeHead() | Delete() | Keep():
            return Pass(assessment.rayjob, decision, memory)


def _half_deleted(decision: Delete, deletion: act.DeletionResult) -> str:
    """The uid of the RayCluster that is left of a pair whose RayJob may be deleted; "" if none is."""
    left = [target for target in decision.targets if target not in deletion.deleted]
    is_pair = len(decision.targets) > 1 and left and left[-1].kind == "RayCluster"
    return left[-1].uid if is_pair and deletion.stopped_by else ""


async def _in_time(observer: Observer, probe: Awaitable[Assessment | None]) -> Assessment | None:
    """What the look sees. Raises UnreachableError if it takes too long: then this RayJob alone waits.

    The deletions that follow are not cut short: each is a few requests with timeouts of their own.
    """
    try:
        async with asyncio.timeout(observer.look_within.total_seconds()):
            return await probe
    except TimeoutError as error:
        limit = format_duration(observer.look_within)
        raise UnreachableError(f"the look took longer than {limit}") from error


async def _learn(observer: Observer, assessment: Assessment, deletion: act.DeletionResult) -> None:
    """What the API server just told us is newer than what is known.

    A RayJob is gone only if it was not there any more, or if its whole pair is deleted: one that a
    finalizer holds is seen again by watch. If something stopped the deletion, it is read, so that
    the retry finds it as it is now; if that fails too, it stays known as it was.
    """
    for target in (*deletion.deleted, *([deletion.missing] if deletion.missing else [])):
        if target.kind == "RayCluster":
            observer.state.remove_raycluster(target.uid)
        elif deletion.stopped_by is None:
            observer.state.remove_rayjob(target.uid)
    was_halfway = deletion.stopped_by is not None and deletion.deleted
    if was_halfway or isinstance(deletion.stopped_by, ConflictError):
        await _read_again(observer, assessment.rayjob)


async def _read_again(observer: Observer, rayjob: RayJob) -> None:
    try:
        current = await observer.kubernetes.rayjob(rayjob.namespace, rayjob.name)
    except ApiError:
        return  # the watch will tell of it; what was deleted must be told now
    if current and current.uid == rayjob.uid:
        observer.state.upsert_rayjob(current)
    else:
        observer.state.remove_rayjob(rayjob.uid)
