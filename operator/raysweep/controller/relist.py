"""Lists all objects periodically, and when a watch may have missed something."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.controller.metrics import Metrics
from raysweep.controller.store import Store
from raysweep.controller.workqueue import ItemBackoff

log = logging.getLogger("raysweep")

SHORTEST_PAUSE = timedelta(seconds=5)
"""Between the end of a list and the next one, even if a watch begins anew again and again."""


@dataclass
class Relist:
    """Lists all objects into the store, again and again.

    every: the pause between two lists. A `request` shortens it to SHORTEST_PAUSE. after_relist:
    called after each complete list. complete: set after the first one.
    """

    kubernetes: Kubernetes
    store: Store
    metrics: Metrics
    now: Callable[[], datetime]
    every: timedelta
    after_relist: Callable[[], None]
    uptime: Callable[[], timedelta]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    _requested: asyncio.Event = field(default_factory=asyncio.Event)
    _backoff: ItemBackoff = field(
        default_factory=lambda: ItemBackoff(timedelta(seconds=1), timedelta(minutes=1))
    )
    _has_failed: bool = False  # whether the last list failed
    _has_unreadable: bool = False  # whether the last list had RayJobs without readable metadata

    def request(self) -> None:
        """Requests a list that begins after now. One that is in progress does not count."""
        self._requested.set()

    async def run(self, first_pause: timedelta) -> None:
        """Lists for ever, first after this pause."""
        pause = first_pause
        while True:
            await self._wait(pause)
            pause = await self.run_once()

    async def _wait(self, pause: timedelta) -> None:
        """Waits for the next list. A request does not shorten a pause after a failure."""
        at_least = pause if self._has_failed else min(pause, SHORTEST_PAUSE)
        await self.sleep(at_least.total_seconds())
        try:
            async with asyncio.timeout((pause - at_least).total_seconds()):
                await self._requested.wait()
        except TimeoutError:
            return

    async def run_once(self) -> timedelta:
        """Lists once and returns the pause until the next list.

        A failed list updates what it has read, and removes nothing.
        """
        self._requested.clear()
        try:
            await self._list_all()
        except ApiError as error:
            log.warning("relist failed, the last known state stays in use: %s", error)
            self._has_failed = True
            return self._backoff.after_failure("relist", error.retry_after)
        self._backoff.forget("relist")
        self._has_failed = False
        self.metrics.relist_at.set(self.now().timestamp())
        self.complete.set()
        self.after_relist()
        return self.every

    async def _list_all(self) -> None:
        """Lists RayJobs last, so that each is judged with everything that it depends on."""
        began_at = self.now()
        await self._list_policies()
        await self._list_namespaces()
        await self._list_rayclusters()
        await self._list_rayjobs()
        await _run_steps(self.store.mark_deleted_clusters_in_steps(began_at))

    async def _list_policies(self) -> None:
        """Without policies nothing is deleted. After the first complete list the others go on."""
        sent_at = self.uptime()
        try:
            listed = await self.kubernetes.policies()
        except ApiError as error:
            self.store.clear_policies()
            if not self.complete.is_set():
                raise
            log.warning("cannot read policies: %s", error)
        else:
            self.store.replace_policies(listed.policies, sent_at)

    async def _list_namespaces(self) -> None:
        cache, sent_at = self.store.namespaces, self.uptime()
        list_round = cache.begin_list()
        async for namespaces in self.kubernetes.namespaces():
            for namespace in namespaces:
                self.store.upsert_listed_namespace(namespace, sent_at)
        await _run_steps(cache.end_list_in_steps(list_round))

    async def _list_rayclusters(self) -> None:
        cache = self.store.rayclusters
        list_round = cache.begin_list()
        async for clusters in self.kubernetes.rayclusters():
            for cluster in clusters:
                cache.upsert_listed(cluster)
        await _run_steps(cache.end_list_in_steps(list_round))

    async def _list_rayjobs(self) -> None:
        """Removes no RayJob if some have no readable metadata: they may use another's cluster."""
        cache, unreadable = self.store.rayjobs, 0
        list_round = cache.begin_list()
        async for rayjobs in self.kubernetes.rayjobs():
            unreadable += rayjobs.unnamed
            for rayjob in rayjobs:
                cache.upsert_listed(rayjob)
        if not unreadable:
            await _run_steps(cache.end_list_in_steps(list_round))
        elif not self._has_unreadable:
            log.warning(
                "%d RayJobs of the list have no readable name or uid: no RayJob is removed from "
                "the cache until they are fixed",
                unreadable,
            )
        self._has_unreadable = unreadable > 0


async def _run_steps(steps: Iterator[None]) -> None:
    """Runs all steps, and lets other tasks run in between."""
    for _ in steps:
        await asyncio.sleep(0)
