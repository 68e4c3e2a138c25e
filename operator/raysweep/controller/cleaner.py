"""The two loops that move everything: judge what is due on what is known, then clean, one token each, with a live look.

A RayJob is never in two hands at once. What one object does to us, an API error or a fault of ours, delays that one alone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from raysweep.cleanup import reconcile
from raysweep.cleanup.observe import Observer
from raysweep.cleanup.reconcile import Pass
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.controller import garbage
from raysweep.controller.rate_limit import TokenBucket
from raysweep.controller.reporter import Reporter
from raysweep.controller.store import Store
from raysweep.controller.workqueue import DelayingQueue, ItemBackoff, UniqueFairQueue
from raysweep.core.model.decisions import ProbeHead
from raysweep.core.model.facts import Namespace, ProbeKind, RayJob
from raysweep.core.retention import annotations

log = logging.getLogger("raysweep")

LOOKS_AT_ONCE, LOOKS_IN_ONE_NAMESPACE = 64, 16
POLLS_AT_ONCE, POLLS_IN_ONE_NAMESPACE = 16, 4
"""Slow heads of one namespace do not take every place."""

ProbeResult = Callable[[Observer, str], Awaitable[Pass | None]]


@dataclass
class Cleaner:
    """Everything a pass needs, and who is being cleaned right now."""

    observer: Observer
    store: Store
    delaying_queue: DelayingQueue
    reporter: Reporter
    bucket: TokenBucket
    now: Callable[[], datetime]
    cleanup_queue: UniqueFairQueue = field(
        default_factory=lambda: UniqueFairQueue(LOOKS_IN_ONE_NAMESPACE)
    )
    status_queue: UniqueFairQueue = field(
        default_factory=lambda: UniqueFairQueue(POLLS_IN_ONE_NAMESPACE)
    )
    backoffs: ItemBackoff = field(
        default_factory=lambda: ItemBackoff(timedelta(seconds=1), timedelta(minutes=5))
    )
    busy: dict[str, datetime] = field(default_factory=dict)
    _judged_at: timedelta | None = (
        None  # by observer.uptime; None: the first list is not complete yet, and judgements wait
    )
    _judged: int = (
        garbage.MANY
    )  # judgements since the last complete list; the first list is as much
    _again: set[str] = field(default_factory=set)
    _checked: dict[str, str] = field(
        default_factory=dict
    )  # resourceVersion whose annotations were checked, by uid

    def stands_still_for(self) -> timedelta:
        """For how long judgements have been due and none was taken; no long queue counts, nor an API server that is away."""
        if self._judged_at is None:
            return timedelta()
        return min(self.delaying_queue.overdue(), self.observer.uptime() - self._judged_at)

    def judge_all(self) -> None:
        """Judges again whatever has no time of its own: what it rests on may have changed without a sign.

        Forgets what was reported of objects that are not known any more.
        """
        uids = self.store.rayjobs.uids()
        line, status_probes = self.cleanup_queue, self.status_queue
        free = self.delaying_queue.missing(uids)
        self.delaying_queue.add_all(
            [uid for uid in free if uid not in line and uid not in status_probes]
        )
        policies = self.store.policies()
        known = {*uids, *self.store.namespaces.uids()}
        known |= {policy.uid for policy in policies[0]} if policies else set()
        self.reporter.forget_all_but(known)
        for uid in self._checked.keys() - known:
            del self._checked[uid]

    def after_round(self) -> None:
        """After each complete list."""
        self.judge_all()
        self._collect()

    async def collect_for_ever(self) -> None:
        """Collects garbage little by little: one event of a large object leaves megabytes."""
        while True:
            await asyncio.sleep(garbage.EVERY)
            self._collect()

    def _collect(self) -> None:
        garbage.collect(self._judged)
        self._judged = 0

    async def judge_for_ever(self) -> None:
        """Takes what is due off the schedule and judges it on what is known."""
        self._judged_at = self.observer.uptime()
        while True:
            uid = await self.delaying_queue.get()
            self._judged_at = self.observer.uptime()
            self._judged += 1
            if uid in self.busy:
                self._again.add(uid)
            else:
                self._judge(uid)
            await asyncio.sleep(0)  # ten thousand judgements in a row must not starve the probes

    async def clean_for_ever(self) -> None:
        """Takes whose turn it is, a token for it, and cleans it; many at once, since heads are slow."""
        await self._work_off(self.cleanup_queue, LOOKS_AT_ONCE, self._clean, self.bucket.take)

    async def poll_for_ever(self) -> None:
        """Takes jobs that seem to run for ever and asks their heads; no token, since nothing is deleted by it."""
        await self._work_off(self.status_queue, POLLS_AT_ONCE, self._status_probe)

    async def _work_off(
        self,
        line: UniqueFairQueue,
        at_once: int,
        work: Callable[[str], Coroutine[Any, Any, object]],
        token: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        places = asyncio.Semaphore(at_once)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await line.wait()
                await places.acquire()
                if token:
                    await token()
                namespace, uid = line.get()
                task = tasks.create_task(work(uid))
                task.add_done_callback(partial(_free, places, line, namespace))

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
        found = await self.probe_heads(uid, reconcile.clean)
        if found is None or not found.deletion.deleted:
            self.bucket.give_back()

    async def _status_probe(self, uid: str) -> None:
        await self.probe_heads(uid, reconcile.status_probe)

    async def probe_heads(self, uid: str, probe: ProbeResult) -> Pass | None:
        """One pass with a look; whatever it does to us is settled here. One in hand already is judged again after."""
        if uid in self.busy:  # polled and due at once, as after an edit
            self._again.add(uid)
            return None
        self.busy[uid] = self.now()
        try:
            found = await probe(self.observer, uid)
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
                self.delaying_queue.add(uid)
        return None

    def _settle(self, uid: str, found: Pass) -> None:
        self.store.update_memory(uid, found.memory)
        self.reporter.told(found)
        if found.deletion.stopped_by:
            self._refused(uid, found.deletion.stopped_by)
            return
        if isinstance(found.decision, ProbeHead):
            line = (
                self.status_queue if found.decision.kind is ProbeKind.STATUS else self.cleanup_queue
            )
            line.add(found.rayjob.namespace, uid, found.decision.explanation.due_at or self.now())
            return
        self.backoffs.forget(
            uid
        )  # not where the head has yet to be asked: looks that fail again and again come ever later
        if found.probe_again_at:
            self.delaying_queue.add_at(uid, found.probe_again_at)
        elif found.deletion.deleted or found.deletion.missing:
            self.delaying_queue.add(
                uid
            )  # the RayJob may have been left as the record, with a time of its own

    def _tell_faults(self, rayjob: RayJob) -> None:
        if rayjob.namespace in self.observer.parameters.protected_namespaces:
            return
        self._check(rayjob, f"RayJob {rayjob.key}")
        found = self.store.namespace(rayjob.namespace)
        if found:
            self._check(found[0], f"Namespace {rayjob.namespace}")

    def _check(self, thing: RayJob | Namespace, where: str) -> None:
        """Reports what is wrong with its annotations, once for each resourceVersion."""
        if self._checked.get(thing.uid) != thing.resource_version:
            self._checked[thing.uid] = thing.resource_version
            found = annotations.errors(thing.annotations, where, thing.more_unknown_keys)
            self.reporter.faulty(thing, found)

    def _refused(self, uid: str, error: ApiError) -> None:
        wait = self._wait_after_failure(uid, error.retry_after)
        log.warning(
            "%s; judged again in %s s",
            error,
            round(wait.total_seconds(), 1),
            extra={"fields": {"uid": uid}},
        )

    def _failed(self, uid: str, error: Exception) -> None:
        rayjob = self.store.rayjob(uid)
        if rayjob:
            self.reporter.failed(rayjob, error)
            self._wait_after_failure(uid)

    def _wait_after_failure(self, uid: str, at_least: timedelta | None = None) -> timedelta:
        """Judges it again after that time, and no earlier because it changed while it was in hand."""
        wait = self.backoffs.after_failure(uid, at_least)
        self._again.discard(uid)
        self.delaying_queue.add_at(uid, self.now() + wait)
        return wait

    def _forget(self, uid: str) -> None:
        self.backoffs.forget(uid)
        self._checked.pop(uid, None)
        self.reporter.forget(uid)


def _free(
    places: asyncio.Semaphore, line: UniqueFairQueue, namespace: str, _: asyncio.Task[object]
) -> None:
    places.release()
    line.done(namespace)
