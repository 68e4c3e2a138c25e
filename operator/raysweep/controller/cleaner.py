"""The loops that process RayJobs: judge those that are due, delete, and probe status.

A RayJob is never processed twice at the same time. An API error, or an error in Raysweep itself,
delays only the RayJob that it concerns.
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
from raysweep.controller.reporter import Reporter
from raysweep.controller.store import Store
from raysweep.controller.workqueue import DelayingQueue, ItemBackoff, UniqueFairQueue
from raysweep.core.model.decisions import ProbeHead
from raysweep.core.model.facts import Namespace, ProbeKind, RayJob
from raysweep.core.retention import annotations

log = logging.getLogger("raysweep")

MAX_CLEANUPS, MAX_CLEANUPS_PER_NAMESPACE = 1024, 128
MAX_STATUS_PROBES, MAX_STATUS_PROBES_PER_NAMESPACE = 64, 16
"""In progress at the same time. A pass with a hung head lasts 15 s and must not delay others.

clients/ray/probe_limits.py limits how many heads are asked at once.
"""

PassFunction = Callable[[Observer, str], Awaitable[Pass | None]]


@dataclass
class Cleaner:
    """Moves RayJobs from queue to queue, and runs a pass for each."""

    observer: Observer
    store: Store
    delaying_queue: DelayingQueue
    reporter: Reporter
    now: Callable[[], datetime]
    cleanup_queue: UniqueFairQueue = field(
        default_factory=lambda: UniqueFairQueue(MAX_CLEANUPS_PER_NAMESPACE)
    )
    status_queue: UniqueFairQueue = field(
        default_factory=lambda: UniqueFairQueue(MAX_STATUS_PROBES_PER_NAMESPACE)
    )
    backoff: ItemBackoff = field(
        default_factory=lambda: ItemBackoff(timedelta(seconds=1), timedelta(minutes=5))
    )
    in_progress: dict[str, datetime] = field(default_factory=dict)
    """Since when each RayJob is being probed or deleted, by uid."""
    _judged_at: timedelta | None = None
    """The uptime of the last judgement. None: the first complete list is not done."""
    _judgements: int = garbage.MANY
    """Since the last garbage collection. The first list counts as many."""
    _changed_in_progress: set[str] = field(default_factory=set)
    """RayJobs to judge again when their pass ends."""
    _validated: dict[str, str] = field(default_factory=dict)
    """resourceVersion whose annotations were validated, by uid."""

    def stuck_for(self) -> timedelta:
        """How long RayJobs have been due while none was judged.

        A long queue does not count, nor an API server that does not respond.
        """
        if self._judged_at is None:
            return timedelta()
        return min(self.delaying_queue.overdue(), self.observer.uptime() - self._judged_at)

    def after_relist(self) -> None:
        """Called after each complete list."""
        self.judge_all()
        self._collect_garbage()

    def judge_all(self) -> None:
        """Judges every RayJob that is in no queue: what it depends on may have changed unnoticed.

        Forgets what was reported about objects that no longer exist.
        """
        uids = self.store.rayjobs.uids()
        idle = self.delaying_queue.missing(uids)
        self.delaying_queue.add_all(
            [uid for uid in idle if uid not in self.cleanup_queue and uid not in self.status_queue]
        )
        existing = {*uids, *self.store.namespaces.uids()}
        if policies := self.store.policies():
            existing |= {policy.uid for policy in policies[0]}
        self.reporter.forget_all_but(existing)
        for uid in [uid for uid in self._validated if uid not in existing]:
            del self._validated[uid]

    async def collect_garbage(self) -> None:
        """Collects garbage in small steps: one event of a large object leaves megabytes."""
        while True:
            await asyncio.sleep(garbage.EVERY)
            self._collect_garbage()

    def _collect_garbage(self) -> None:
        garbage.collect(self._judgements)
        self._judgements = 0

    async def run_judgements(self) -> None:
        """Judges each RayJob when it is due, on cached state."""
        self._judged_at = self.observer.uptime()
        while True:
            uid = await self.delaying_queue.get()
            self._judged_at = self.observer.uptime()
            self._judgements += 1
            if uid in self.in_progress:
                self._changed_in_progress.add(uid)
            else:
                self._judge(uid)
            await asyncio.sleep(0)  # ten thousand judgements in a row must not block /livez

    async def run_deletions(self) -> None:
        """Cleans RayJobs. Many run at the same time, because heads are slow."""
        await self._run_queue(self.cleanup_queue, MAX_CLEANUPS, self._clean)

    async def run_status_probes(self) -> None:
        """Asks the heads of jobs that never seem to end. It deletes nothing."""
        await self._run_queue(self.status_queue, MAX_STATUS_PROBES, self._probe_status)

    async def _run_queue(
        self,
        queue: UniqueFairQueue,
        max_in_progress: int,
        process: Callable[[str], Coroutine[Any, Any, object]],
    ) -> None:
        workers = asyncio.Semaphore(max_in_progress)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await queue.wait()
                await workers.acquire()
                namespace, uid = queue.get()
                task = tasks.create_task(process(uid))
                task.add_done_callback(partial(_finish, workers, queue, namespace))

    def _judge(self, uid: str) -> None:
        rayjob = self.store.rayjob(uid)
        if rayjob is None:
            self._forget(uid)
            return
        try:
            self._report_invalid(rayjob)
            result = reconcile.judge(self.observer, uid)
        except Exception as error:  # noqa: BLE001 - one bad object must not stop the others
            self._on_internal_error(uid, error)
            return
        if result is not None:
            self._apply(uid, result)

    async def _clean(self, uid: str) -> None:
        await self.run_pass(uid, reconcile.clean)

    async def _probe_status(self, uid: str) -> None:
        await self.run_pass(uid, reconcile.status_probe)

    async def run_pass(self, uid: str, pass_function: PassFunction) -> Pass | None:
        """Runs one pass with a probe, and handles every error. None if it failed or did not run.

        A RayJob that is in progress already is judged again when that pass ends. This happens if
        its status is being probed and it becomes due, for example after an edit.
        """
        if uid in self.in_progress:
            self._changed_in_progress.add(uid)
            return None
        self.in_progress[uid] = self.now()
        try:
            result = await pass_function(self.observer, uid)
            if result:
                self._apply(uid, result)
        except ApiError as error:
            self._on_api_error(uid, error)
        except Exception as error:  # noqa: BLE001 - as in _judge
            self._on_internal_error(uid, error)
        else:
            return result
        finally:
            del self.in_progress[uid]
            if uid in self._changed_in_progress:
                self._changed_in_progress.discard(uid)
                self.delaying_queue.add(uid)
        return None

    def _apply(self, uid: str, result: Pass) -> None:
        """Stores and reports the result of a pass, and queues what comes next."""
        self.store.update_memory(uid, result.memory)
        self.reporter.report(result)
        if result.deletion.stopped_by:
            self._on_api_error(uid, result.deletion.stopped_by)
            return
        decision = result.decision
        if isinstance(decision, ProbeHead):
            is_status = decision.kind is ProbeKind.STATUS
            queue = self.status_queue if is_status else self.cleanup_queue
            due_at = decision.explanation.due_at or self.now()
            queue.add(result.rayjob.namespace, uid, due_at)
            return
        # Not before the head has answered: probes that keep failing are delayed longer each time.
        self.backoff.forget(uid)
        if result.probe_again_at:
            self.delaying_queue.add_at(uid, result.probe_again_at)
        elif result.deletion.deleted or result.deletion.missing:
            # The RayJob may still exist, with a deadline of its own.
            self.delaying_queue.add(uid)

    def _report_invalid(self, rayjob: RayJob) -> None:
        """Reports invalid annotations of the RayJob and its Namespace."""
        if rayjob.namespace in self.observer.parameters.protected_namespaces:
            return
        self._validate(rayjob, f"RayJob {rayjob.key}")
        entry = self.store.namespace(rayjob.namespace)
        if entry:
            self._validate(entry[0], f"Namespace {rayjob.namespace}")

    def _validate(self, owner: RayJob | Namespace, description: str) -> None:
        """Reports invalid annotations once for each resourceVersion."""
        if self._validated.get(owner.uid) != owner.resource_version:
            self._validated[owner.uid] = owner.resource_version
            errors = annotations.errors(owner.annotations, description, owner.more_unknown_keys)
            self.reporter.report_invalid(owner, errors)

    def _on_api_error(self, uid: str, error: ApiError) -> None:
        delay = round(self._retry_later(uid, error.retry_after).total_seconds(), 1)
        log.warning("%s; retrying in %s s", error, delay, extra={"fields": {"uid": uid}})

    def _on_internal_error(self, uid: str, error: Exception) -> None:
        rayjob = self.store.rayjob(uid)
        if rayjob:
            self.reporter.report_internal_error(rayjob, error)
            self._retry_later(uid)

    def _retry_later(self, uid: str, at_least: timedelta | None = None) -> timedelta:
        """Judges the RayJob again after a delay, and not earlier because of a change meanwhile."""
        delay = self.backoff.after_failure(uid, at_least)
        self._changed_in_progress.discard(uid)
        self.delaying_queue.add_at(uid, self.now() + delay)
        return delay

    def _forget(self, uid: str) -> None:
        self.backoff.forget(uid)
        self._validated.pop(uid, None)
        self.reporter.forget(uid)


def _finish(
    workers: asyncio.Semaphore, queue: UniqueFairQueue, namespace: str, _: asyncio.Task[object]
) -> None:
    workers.release()
    queue.done(namespace)
