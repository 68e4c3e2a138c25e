"""The stand-in for the KubeRay operator, with the behavior on which a cleanup tool depends.

This module decides when an object is reconciled. rayjob_controller.py and
raycluster_controller.py reconcile.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import aiohttp

from sandbox.api import Api, ApiError
from sandbox.heads import Heads
from sandbox.objects import CLUSTER_LABEL, IS_HEAD
from sandbox.raycluster_controller import GONE, RayClusters
from sandbox.rayjob_controller import RayJobs

log = logging.getLogger("sandbox.kuberay")

AFTER_AN_ERROR = 0.5
Reconcile = Callable[[str, str], Awaitable[float | None]]


class KubeRay:
    """Runs one task per RayJob and RayCluster, which reconciles after events and when it is due."""

    def __init__(self, api: Api, heads: Heads, tasks: asyncio.TaskGroup) -> None:
        self._api = api
        self._group = tasks
        clusters = RayClusters(api)
        self._reconcilers: dict[str, Reconcile] = {
            "rayjobs": RayJobs(api, heads, clusters).reconcile,
            "rayclusters": clusters.reconcile,
        }
        self._namespaces: list[str] = []
        self._runs = False
        self._watches: list[asyncio.Task[None]] = []
        self._tasks: dict[tuple[str, str, str], tuple[asyncio.Task[None], asyncio.Event]] = {}

    def watch(self, namespace: str) -> None:
        """Reconciles a namespace from now on."""
        self._namespaces.append(namespace)
        if self._runs:
            self._begin(namespace)

    async def start(self) -> None:
        self._runs = True
        for namespace in self._namespaces:
            self._begin(namespace)

    async def stop(self) -> None:
        """Stops reconciling. Finalizers stay and heads continue to run, as without KubeRay."""
        self._runs = False
        tasks = [*self._watches, *(task for task, _ in self._tasks.values())]
        self._watches, self._tasks = [], {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, namespace: str) -> None:
        ray = f"/apis/ray.io/v1/namespaces/{namespace}"
        for path, selector in (
            (f"{ray}/rayjobs", ""),
            (f"{ray}/rayclusters", ""),
            (f"/api/v1/namespaces/{namespace}/pods", IS_HEAD),
        ):
            self._watches.append(self._group.create_task(self._follow(namespace, path, selector)))

    async def _follow(self, namespace: str, path: str, selector: str) -> None:
        async for kind, item in self._api.watch(path, selector):
            if kind == "SYNCED":
                continue
            name, labels = item["metadata"]["name"], item["metadata"].get("labels", {})
            if path.endswith("rayjobs"):
                self._wake(namespace, "rayjobs", name)
            elif path.endswith("pods"):
                self._wake(namespace, "rayclusters", labels[CLUSTER_LABEL])
            else:
                self._wake(namespace, "rayclusters", name)
                if originator := labels.get("ray.io/originated-from-cr-name"):
                    self._wake(namespace, "rayjobs", originator)

    def _wake(self, namespace: str, plural: str, name: str) -> None:
        key = (namespace, plural, name)
        if key not in self._tasks or self._tasks[key][0].done():
            event = asyncio.Event()
            task = self._group.create_task(
                keep_reconciling(self._reconcilers[plural], namespace, name, event)
            )
            task.add_done_callback(lambda done: self._forget(key, done))
            self._tasks[key] = (task, event)
        self._tasks[key][1].set()

    def _forget(self, key: tuple[str, str, str], done: asyncio.Task[None]) -> None:
        if key in self._tasks and self._tasks[key][0] is done:
            del self._tasks[key]


async def keep_reconciling(
    reconcile: Reconcile, namespace: str, name: str, event: asyncio.Event
) -> None:
    while True:
        event.clear()
        try:
            again = await reconcile(namespace, name)
        except (ApiError, aiohttp.ClientError, TimeoutError):
            again = AFTER_AN_ERROR  # a conflict, or the API server does not answer
        except Exception:  # as in KubeRay, an error in one object does not stop the others
            log.exception("%s/%s", namespace, name)
            again = AFTER_AN_ERROR
        if again == GONE and not event.is_set():  # an event: a new object has the same name
            return
        # asyncio.wait_for of Python 3.11 loses a cancellation that comes with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if again == GONE else again):
                await event.wait()
