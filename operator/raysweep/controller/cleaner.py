"""The two loops that move everything: judge what is due on what is known, then clean, one token each, with a live look.

A RayJob is never in two hands at once. What one object does to us, an API error or a fault of ours, delays that one alone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from raysweep.cleanup import reconcile
from raysweep.cleanup.observe import Observer
from raysweep.cleanup.reconcile import Pass
from raysweep.clients.errors import ApiError
from raysweep.controller.pace import Backoffs, Bucket, Line
from raysweep.controller.report import Reporter
from raysweep.controller.schedule import Schedule
from raysweep.controller.store import Store
from raysweep.core import annotations
from raysweep.core.decisions import AskHead, Question
from raysweep.core.facts import RayJob

log = logging.getLogger("raysweep")

LOOKS_AT_ONCE = 64
POLLS_AT_ONCE = 16

Look = Callable[[Observer, str], Awaitable[Pass | None]]


@dataclass
class Cleaner:
    """Everything a pass needs, and who is being cleaned right now."""

    observer: Observer
    store: Store
    schedule: Schedule
    reporter: Reporter
    bucket: Bucket
    now: Callable[[], datetime]
    line: Line = field(default_factory=Line)
    polls: Line = field(default_factory=Line)
    backoffs: Backoffs = field(default_factory=lambda: Backoffs(timedelta(seconds=1), timedelta(minutes=5)))
    busy: dict[str, datetime] = field(default_factory=dict)
    _judged_at: timedelta | None = None  # by observer.uptime; None: the first list is not complete yet, and judgements wait
    _again: set[str] = field(default_factory=set)

    def stands_still_for(self) -> timedelta:
        """For how long judgements have been due and none was taken; no long queue counts, nor an API server that is away."""
        if self._judged_at is None:
            return timedelta()
        return min(self.schedule.overdue(), self.observer.uptime() - self._judged_at)

    def longest_busy(self) -> timedelta:
        """For how long the slowest has been in hand."""
        return max((self.now() - since for since in self.busy.values()), default=timedelta())

    def judge_all(self) -> None:
        """Judges again whatever has no time of its own: what it rests on may have changed without a sign."""
        for rayjob in self.store.rayjobs.values():
            if not any(rayjob.uid in waiting for waiting in (self.schedule, self.line, self.polls)):
                self.schedule.soon(rayjob.uid)

    async def judge_for_ever(self) -> None:
        """Takes what is due off the schedule and judges it on what is known."""
        self._judged_at = self.observer.uptime()
        while True:
            uid = await self.schedule.next()
            self._judged_at = self.observer.uptime()
            if uid in self.busy:
                self._again.add(uid)
            else:
                self._judge(uid)
            await asyncio.sleep(0)  # ten thousand judgements in a row must not starve the probes

    async def clean_for_ever(self) -> None:
        """Takes whose turn it is, a token for it, and cleans it; many at once, since heads are slow."""
        places = asyncio.Semaphore(LOOKS_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self.line.wait()
                await places.acquire()
                await self.bucket.take()
                self._start(tasks, self._clean(self.line.next()), places)

    async def poll_for_ever(self) -> None:
        """Takes jobs that seem to run for ever and asks their heads; no token, since nothing is deleted by it."""
        places = asyncio.Semaphore(POLLS_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self.polls.wait()
                await places.acquire()
                self._start(tasks, self.look_at(self.polls.next(), reconcile.poll), places)

    def _start(self, tasks: asyncio.TaskGroup, work: Coroutine[Any, Any, object], places: asyncio.Semaphore) -> None:
        tasks.create_task(work).add_done_callback(lambda _: places.release())

    def _judge(self, uid: str) -> None:
        rayjob = self.store.rayjob(uid)
        if rayjob is None:
            self._forget(uid)
            return
        try:
            self._tell_faults(rayjob)
            found = reconcile.judge(self.observer, uid)
        except Exception as error:  # noqa: BLE001 - one poisonous object keeps itself, the others go on
            self._failed(uid, error)
            return
        if found is not None:
            self._settle(uid, found)

    async def _clean(self, uid: str) -> None:
        found = await self.look_at(uid, reconcile.clean)
        if found is None or not found.done.deleted:
            self.bucket.give_back()

    async def look_at(self, uid: str, look: Look) -> Pass | None:
        """One pass with a look; whatever it does to us is settled here. One in hand already is judged again after."""
        if uid in self.busy:  # polled and due at once, as after an edit
            self._again.add(uid)
            return None
        self.busy[uid] = self.now()
        try:
            found = await look(self.observer, uid)
            if found:
                self._settle(uid, found)
        except ApiError as error:
            self._refused(uid, error)
        except Exception as error:  # noqa: BLE001 - as in _judge
            self._failed(uid, error)
        else:
            return found
        finally:
            del self.busy[uid]
            if uid in self._again:
                self._again.discard(uid)
                self.schedule.soon(uid)
        return None

    def _settle(self, uid: str, found: Pass) -> None:
        self.store.remember(uid, found.memory)
        self.reporter.told(found)
        if found.done.stopped_by:
            self._refused(uid, found.done.stopped_by)
            return
        if isinstance(found.decision, AskHead):
            line = self.polls if found.decision.question is Question.POLL else self.line
            line.join(found.rayjob.namespace, uid, found.decision.why.due_at or self.now())
            return
        self.backoffs.forget(uid)  # not where the head has yet to be asked: looks that fail again and again come ever later
        if found.look_again_at:
            self.schedule.at(uid, found.look_again_at)
        elif found.done.deleted or found.done.missing:
            self.schedule.soon(uid)  # the RayJob may have been left as the record, with a time of its own

    def _tell_faults(self, rayjob: RayJob) -> None:
        if rayjob.namespace in self.observer.rules.protected_namespaces:
            return
        self.reporter.faulty(rayjob, annotations.faults(rayjob.annotations, f"RayJob {rayjob.key}"))
        found = self.store.namespace(rayjob.namespace)
        if found:
            self.reporter.faulty(found[0], annotations.faults(found[0].annotations, f"Namespace {rayjob.namespace}"))

    def _refused(self, uid: str, error: ApiError) -> None:
        wait = self.backoffs.after_failure(uid, error.retry_after)
        log.warning("%s; judged again in %s s", error, round(wait.total_seconds(), 1), extra={"fields": {"uid": uid}})
        self.schedule.at(uid, self.now() + wait)

    def _failed(self, uid: str, error: Exception) -> None:
        rayjob = self.store.rayjob(uid)
        if rayjob:
            self.reporter.failed(rayjob, error)
            self.schedule.at(uid, self.now() + self.backoffs.after_failure(uid))

    def _forget(self, uid: str) -> None:
        self.reporter.forget(uid)
        self.backoffs.forget(uid)
