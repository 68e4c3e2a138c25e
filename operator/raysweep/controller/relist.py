"""The periodic complete list, which is the truth: a watch never reports what vanished while it was away."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.controller.metrics import Metrics
from raysweep.controller.store import Store
from raysweep.controller.workqueue import ItemBackoff

log = logging.getLogger("raysweep")


@dataclass
class Relist:
    """Lists everything into the store, again and again. `complete`: the first round is done. on_round: called by each."""

    kubernetes: Kubernetes
    store: Store
    metrics: Metrics
    now: Callable[[], datetime]
    every: timedelta
    on_round: Callable[[], None]
    uptime: Callable[[], timedelta]
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    _backoffs: ItemBackoff = field(
        default_factory=lambda: ItemBackoff(timedelta(seconds=1), timedelta(minutes=1))
    )
    _unnamed: int = 0  # RayJobs of the latest list that cannot be named

    async def for_ever(self) -> None:
        """A round, then a pause; after a failure a shorter one."""
        while True:  # noqa: ASYNC110 - a pause, not a wait for something
            await asyncio.sleep((await self.once()).total_seconds())

    async def once(self) -> timedelta:
        """One round. How long to wait for the next; a failed round changes only what it saw and forgets nothing."""
        try:
            await self._round()
        except ApiError as error:
            log.warning("relist failed, what is known stays: %s", error)
            return self._backoffs.after_failure("relist", error.retry_after)
        self._backoffs.forget("relist")
        self.metrics.relist_at.set(self.now().timestamp())
        self.complete.set()
        self.on_round()
        return self.every

    async def _policies(self) -> None:
        """Where they cannot be read nothing goes; the other lists go on, once everything was there."""
        began = self.uptime()
        try:
            self.store.replace_policies((await self.kubernetes.policies()).policies, began)
        except ApiError as error:
            self.store.clear_policies()
            if not self.complete.is_set():
                raise
            log.warning("policies cannot be read: %s", error)

    async def _round(self) -> None:
        """Policies, Namespaces and clusters first, so that a RayJob is never judged against less than its list."""
        store, started = self.store, self.now()
        await self._policies()
        began, at = store.namespaces.begin(), self.uptime()
        async for namespaces in self.kubernetes.namespaces():
            for namespace in namespaces:
                store.upsert_listed_namespace(namespace, at)
        await _in_turns(store.namespaces.forget_in_steps(began))
        began = store.rayclusters.begin()
        async for clusters in self.kubernetes.rayclusters():
            for cluster in clusters:
                store.upsert_listed_raycluster(cluster)
        await _in_turns(store.rayclusters.forget_in_steps(began))
        began, unnamed = store.rayjobs.begin(), 0
        async for rayjobs in self.kubernetes.rayjobs():
            unnamed += rayjobs.unnamed
            for rayjob in rayjobs:
                store.upsert_listed_rayjob(rayjob)
        self._tell_unnamed(unnamed)
        if not unnamed:
            await _in_turns(store.rayjobs.forget_in_steps(began))
        await _in_turns(store.mark_deleted_clusters_in_steps(started))

    def _tell_unnamed(self, unnamed: int) -> None:
        """Such a list is not complete, so what is known stays: a RayJob that it does not name may use another's cluster."""
        if unnamed and not self._unnamed:
            log.warning(
                "%d RayJobs in the list have no readable name and uid; they are kept, and so is what is known",
                unnamed,
            )
        self._unnamed = unnamed


async def _in_turns(steps: Iterator[None]) -> None:
    """Does all steps, and lets the event loop do something else in between."""
    for _ in steps:
        await asyncio.sleep(0)
