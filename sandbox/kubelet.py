"""The stand-in for the kubelet: behind a head Pod runs a real Ray head. KubeRay's part must not enter here."""

import asyncio
import contextlib

from sandbox.api import Api, ApiError, Body
from sandbox.heads import Head, Heads
from sandbox.network import Network
from sandbox.objects import CLUSTER_LABEL, HEAD, IS_HEAD, NODE, SERVICE, pod_status
from sandbox.waiting import until


class Kubelet:
    """Starts a head for each head Pod of the cluster, and ends it with the Pod."""

    def __init__(self, api: Api, heads: Heads, network: Network) -> None:
        self._api = api
        self._heads = heads
        self._network = network
        self._pods: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled; its heads are then ended by whoever stops all heads."""
        await self._api.request("POST", "/api/v1/nodes", {"metadata": {"name": NODE}})
        try:
            async for kind, seen in self._api.watch("/api/v1/pods", selector=IS_HEAD):
                gone = self._pods.keys() - seen["uids"] if kind == "SYNCED" else set()
                if kind == "ADDED" and seen["metadata"]["uid"] not in self._pods:
                    self._pods[seen["metadata"]["uid"]] = asyncio.create_task(self._keep(seen))
                if kind == "DELETED":
                    gone = {seen["metadata"]["uid"]} & self._pods.keys()
                for uid in gone:
                    self._pods.pop(uid).cancel()
        finally:
            for task in self._pods.values():
                task.cancel()
            await asyncio.gather(*self._pods.values(), return_exceptions=True)

    async def _keep(self, pod: Body) -> None:
        namespace, annotations = pod["metadata"]["namespace"], pod["metadata"]["annotations"]
        service, wanted = annotations[SERVICE], annotations.get(HEAD, "full")
        head = own = None
        try:
            if wanted.startswith("name:"):
                head = await self._named(wanted.removeprefix("name:"))
            else:
                start = {"full": self._heads.full, "light": self._heads.light}[wanted]
                head = own = await start(f"{namespace}/{pod['metadata']['labels'][CLUSTER_LABEL]}")
            address = self._network.address(namespace, service)
            self._heads.route(namespace, service, head)
            await self._report(pod, address, ready=True)
            await head.ended()
            await self._report(pod, address, ready=False)
            await asyncio.Event().wait()
        finally:
            if head is not None:
                self._network.unroute(namespace, service, head.socket)
            if own is not None:
                await self._heads.stop(own)

    async def _named(self, name: str) -> Head:
        await until(lambda: name in self._heads, timeout=None)
        return self._heads[name]

    async def _report(self, pod: Body, address: str, *, ready: bool) -> None:
        path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/status"
        with contextlib.suppress(ApiError):  # deleted meanwhile
            await self._api.patch(path, {"status": pod_status(address, ready=ready)})
