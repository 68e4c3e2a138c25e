"""The stand-in for the kubelet: it runs a real Ray head for each head Pod.

What KubeRay does must not enter here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import aiohttp

from sandbox.api import Api, ApiError, Body
from sandbox.heads import Head, Heads
from sandbox.lifetime import watched
from sandbox.network import Network
from sandbox.objects import CLUSTER_LABEL, HEAD, IS_HEAD, NODE, SERVICE, pod_status
from sandbox.processes import ProgramDiedError, SandboxError
from sandbox.waiting import until

log = logging.getLogger("sandbox.kubelet")

ATTEMPTS = 3
AFTER_AN_ERROR = 0.5


class Kubelet:
    """Starts a head for each head Pod of the cluster and stops it with the Pod."""

    def __init__(
        self, api: Api, heads: Heads, network: Network, on_lost: Callable[[Exception], None]
    ) -> None:
        """Calls `on_lost` when a head exits or cannot start. Its errors end the kubelet."""
        self._api = api
        self._heads = heads
        self._network = network
        self._on_lost = on_lost
        self._pods: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Runs until it is canceled. The heads of its Pods end with it."""
        await self._api.request("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
        async with watched() as pods:
            async for kind, item in self._api.watch("/api/v1/pods", selector=IS_HEAD):
                gone = self._pods.keys() - item["uids"] if kind == "SYNCED" else set()
                if kind == "ADDED" and item["metadata"]["uid"] not in self._pods:
                    self._pods[item["metadata"]["uid"]] = pods.create_task(self._keep(item))
                if kind == "DELETED":
                    gone = {item["metadata"]["uid"]} & self._pods.keys()
                for uid in gone:
                    self._pods.pop(uid).cancel()

    async def _keep(self, pod: Body) -> None:
        namespace, annotations = pod["metadata"]["namespace"], pod["metadata"]["annotations"]
        service, kind = annotations[SERVICE], annotations.get(HEAD, "full")
        try:
            cluster = pod["metadata"]["labels"][CLUSTER_LABEL]
            head = await self._head(kind, f"{namespace}/{cluster}")
        except (SandboxError, OSError, ValueError) as error:  # OSError: TimeoutError too
            self._on_lost(error)
            await self._report(pod, {"phase": "Failed", "message": str(error)[:2000]})
            return
        try:
            address = self._network.address(namespace, service)
            self._heads.route(namespace, service, head)
            await self._report(pod, pod_status(address, ready=True))
            await head.ended()
            try:
                head.check()
            except ProgramDiedError as error:
                self._on_lost(error)
            await self._report(pod, pod_status(address, ready=False))
            await asyncio.Event().wait()
        finally:
            self._network.unroute(namespace, service, head.socket)
            if not kind.startswith("name:"):
                await self._heads.stop(head)

    async def _head(self, kind: str, own_name: str) -> Head:
        match kind.partition(":"):
            case ("full", "", ""):
                return await _restarted(lambda: self._heads.full(own_name))
            case ("light", "", ""):
                return await _restarted(lambda: self._heads.light(own_name))
            case ("name", ":", name):
                await until(lambda: name in self._heads, timeout=None)
                return self._heads[name]
        raise ValueError(f"invalid annotation {HEAD}={kind}: use full, light or name:X")

    async def _report(self, pod: Body, status: Body) -> None:
        """Writes the status of a Pod. It retries until this succeeds or the Pod does not exist."""
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        while True:
            try:
                await self._api.patch(path, {"status": status})
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                if isinstance(error, ApiError) and error.status == HTTPStatus.NOT_FOUND:
                    return
                log.warning("retrying PATCH %s: %r", path, error)
                await asyncio.sleep(AFTER_AN_ERROR)
            else:
                return


async def _restarted(start: Callable[[], Awaitable[Head]]) -> Head:
    """Starts a head and retries as a kubelet does. Raises the error of the last attempt."""
    for _ in range(ATTEMPTS - 1):
        try:
            return await start()
        except (ProgramDiedError, OSError) as error:
            log.warning("retrying after a head did not start: %r", error)
    return await start()
