"""One RayJob, one pass: observe, decide, act, and when to look again. Read this file first."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from datetime import datetime

from raysweep.cleanup import act
from raysweep.cleanup.observe import Observer
from raysweep.clients.kubernetes.errors import ApiError, ConflictError, UnreachableError
from raysweep.core.assessment import Case
from raysweep.core.decide import decide
from raysweep.core.durations import format_duration
from raysweep.core.model.decisions import AskHead, Decision, Delete, Keep, Wait
from raysweep.core.model.facts import RayJob
from raysweep.core.model.memory import Memory
from raysweep.core.update_memory import remember

NOTHING_DONE = act.Done()


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass came to: the decision about this very RayJob, what to remember, and what was deleted."""

    rayjob: RayJob
    decision: Decision
    memory: Memory
    look_again_at: datetime | None = None  # None: when something about it changes
    done: act.Done = NOTHING_DONE
    observed_by: str = ""  # it would have been deleted, but for this mode or policy


def judge(observer: Observer, uid: str) -> Pass | None:
    """A pass on what is known, without a request; it ends at AskHead where only a live look can tell. None: it is gone."""
    case = observer.recall(uid)
    return _pass(case, observer.now()) if case else None


async def clean(observer: Observer, uid: str) -> Pass | None:
    """A pass with a live look: asks the head and judges again, with the same ladder, before anything is deleted.

    What would be deleted is judged once more on a Namespace and policies confirmed after the head
    has answered. Raises ApiError where the look fails. None: the RayJob is gone, or became another while we looked.
    """
    case = await _in_time(observer, observer.look(uid))
    if case is None:
        return None
    found = _pass(case, observer.now())
    if not isinstance(found.decision, Delete):
        return found
    case = await _in_time(observer, observer.confirm(case))
    if case is None:
        return None
    found = _pass(case, observer.now())
    if not isinstance(found.decision, Delete):
        return found
    if case.observed_by:
        return replace(found, look_again_at=found.memory.look_again_at, observed_by=case.observed_by)
    done = await act.delete(observer.kubernetes, found.decision, case.rayjob)
    await _learn(observer, case, done)
    is_cluster_gone = found.memory.cluster_gone or any(target.kind == "RayCluster" for target in done.deleted)
    memory = replace(
        found.memory,
        look_again_at=None,
        kept_by_look=None,
        cluster_gone=is_cluster_gone,
        half_deleted=_half_deleted(found.decision, done),
    )
    return replace(found, memory=memory, done=done)


async def poll(observer: Observer, uid: str) -> Pass | None:
    """A pass with the head's word on a job that seems to run for ever; it ends at AskHead at the most."""
    case = await _in_time(observer, observer.poll(uid))
    return _pass(case, observer.now()) if case else None


def _pass(case: Case, now: datetime) -> Pass:
    decision = decide(case, now)
    memory = remember(case, decision, now)
    match decision:
        case Wait(until=until):
            return Pass(case.rayjob, decision, memory, until)
        case Keep() if case.look is not None:
            return Pass(case.rayjob, decision, memory, memory.poll_again_at if case.look.is_poll else memory.look_again_at)
        case AskHead() | Delete() | Keep():
            return Pass(case.rayjob, decision, memory)


def _half_deleted(decision: Delete, done: act.Done) -> str:
    """The uid of the RayCluster that is left of a pair whose RayJob may be deleted; "" if none is."""
    left = [target for target in decision.targets if target not in done.deleted]
    is_pair = len(decision.targets) > 1 and left and left[-1].kind == "RayCluster"
    return left[-1].uid if is_pair and done.stopped_by else ""


async def _in_time(observer: Observer, look: Awaitable[Case | None]) -> Case | None:
    """What the look sees. Raises UnreachableError if it takes too long: then this RayJob alone waits.

    The deletions that follow are not cut short: each is a few requests with timeouts of their own.
    """
    try:
        async with asyncio.timeout(observer.look_within.total_seconds()):
            return await look
    except TimeoutError as error:
        limit = format_duration(observer.look_within)
        raise UnreachableError(f"the look took longer than {limit}") from error


async def _learn(observer: Observer, case: Case, done: act.Done) -> None:
    """What the API server just told us is newer than what is known.

    A RayJob is gone only if it was not there any more, or if its whole pair is deleted: one that a
    finalizer holds is seen again by watch. If something stopped the deletion, it is read, so that
    the retry finds it as it is now; if that fails too, it stays known as it was.
    """
    for target in (*done.deleted, *([done.missing] if done.missing else [])):
        if target.kind == "RayCluster":
            observer.known.lost_raycluster(target.uid)
        elif done.stopped_by is None:
            observer.known.lost_rayjob(target.uid)
    was_halfway = done.stopped_by is not None and done.deleted
    if was_halfway or isinstance(done.stopped_by, ConflictError):
        await _read_again(observer, case.rayjob)


async def _read_again(observer: Observer, rayjob: RayJob) -> None:
    try:
        current = await observer.kubernetes.rayjob(rayjob.namespace, rayjob.name)
    except ApiError:
        return  # the watch will tell of it; what was deleted must be told now
    if current and current.uid == rayjob.uid:
        observer.known.saw_rayjob(current)
    else:
        observer.known.lost_rayjob(rayjob.uid)
