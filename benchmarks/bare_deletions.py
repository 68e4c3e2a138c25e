"""A bare client that deletes RayJobs with the requests of Raysweep and nothing else.

`python -m benchmarks.bare_deletions` runs it as a process of its own, so that its event loop is as
free as Raysweep's. It reads a Plan as JSON from standard input. It decides nothing and keeps no
state, which makes it the yardstick for a rate of deletions.
"""

import asyncio
import json
import ssl
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp

from sandbox.cluster import Cluster

CONCURRENCIES = (16, 32, 64)
RAY = "/apis/ray.io/v1"
DONE = (200, 404)
"""404: the garbage collector has deleted the RayCluster of a deleted RayJob first."""


@dataclass(frozen=True)
class Pair:
    """A RayJob with its RayCluster, and the Service of its head."""

    namespace: str
    rayjob: str
    rayjob_uid: str
    rayjob_version: str
    raycluster: str
    raycluster_uid: str
    head_service: str


@dataclass(frozen=True)
class Plan:
    """What one run of the client does. head_proxy: empty if heads are not asked."""

    server: str
    certificate: str
    token: str
    head_proxy: str
    concurrency: int
    pairs: Sequence[Pair]


async def delete(
    cluster: Cluster,
    pairs: Sequence[Pair],
    concurrency: int,
    *,
    heads: bool,
    server: str | None = None,
) -> None:
    """Runs the client as a process of its own.

    heads: whether it asks each head once. server: None for the address of the API server.
    """
    plan = Plan(
        server=server or cluster.server,
        certificate=str(cluster.certificate),
        token=cluster.token,
        head_proxy=cluster.head_proxy if heads else "",
        concurrency=concurrency,
        pairs=pairs,
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.bare_deletions"), stdin=asyncio.subprocess.PIPE
    )
    await process.communicate(json.dumps(asdict(plan)).encode())
    if process.returncode != 0:
        raise RuntimeError(f"the bare client ended with exit code {process.returncode}")


async def pairs(cluster: Cluster, namespace: str) -> list[Pair]:
    """All RayJobs of a namespace with their RayClusters."""
    base = f"{RAY}/namespaces/{namespace}"
    rayclusters = (await cluster.api.request("GET", f"{base}/rayclusters"))["items"]
    by_name = {each["metadata"]["name"]: each for each in rayclusters}
    rayjobs = (await cluster.api.request("GET", f"{base}/rayjobs"))["items"]
    return [_pair(each, by_name[each["status"]["rayClusterName"]]) for each in rayjobs]


def _pair(rayjob: dict[str, Any], raycluster: dict[str, Any]) -> Pair:
    metadata = rayjob["metadata"]
    return Pair(
        namespace=metadata["namespace"],
        rayjob=metadata["name"],
        rayjob_uid=metadata["uid"],
        rayjob_version=metadata["resourceVersion"],
        raycluster=raycluster["metadata"]["name"],
        raycluster_uid=raycluster["metadata"]["uid"],
        head_service=raycluster["status"]["head"]["serviceName"],
    )


@dataclass
class Client:
    """Two sessions: one for the API server, one for heads.

    Each head is another server, so each of its requests needs a connection of its own.
    """

    plan: Plan
    api: aiohttp.ClientSession
    heads: aiohttp.ClientSession

    async def run(self) -> None:
        """Deletes all pairs, on connections that were opened before."""
        url = f"{self.plan.server}/version"
        connecting = [self._send(self.api, "GET", url) for _ in range(self.plan.concurrency)]
        await asyncio.gather(*connecting)
        remaining = iter(self.plan.pairs)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.plan.concurrency):
                tasks.create_task(self._work(remaining))

    async def _work(self, remaining: Iterator[Pair]) -> None:
        for pair in remaining:
            await self._delete(pair)

    async def _delete(self, pair: Pair) -> None:
        base = f"{self.plan.server}{RAY}/namespaces/{pair.namespace}"
        rayjob = f"{base}/rayjobs/{pair.rayjob}"
        raycluster = f"{base}/rayclusters/{pair.raycluster}"
        await self._send(self.api, "GET", raycluster)
        if self.plan.head_proxy:
            host = f"{pair.head_service}.{pair.namespace}.svc.cluster.local"
            await self._send(self.heads, "GET", f"http://{host}:8265/api/jobs/")
        version = {"uid": pair.rayjob_uid, "resourceVersion": pair.rayjob_version}
        await self._send(self.api, "DELETE", rayjob, version)
        await self._send(self.api, "DELETE", raycluster, {"uid": pair.raycluster_uid})

    async def _send(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        preconditions: dict[str, str] | None = None,
    ) -> None:
        options = {"propagationPolicy": "Background", "preconditions": preconditions}
        body = json.dumps(options) if preconditions else None
        proxy = self.plan.head_proxy if session is self.heads else None
        async with session.request(method, url, data=body, proxy=proxy) as response:
            text = await response.read()
            if response.status not in DONE:
                raise RuntimeError(f"{method} {url}: {response.status} {text[:300]!r}")


async def main() -> None:
    fields = json.loads(sys.stdin.read())
    plan = Plan(**{**fields, "pairs": [Pair(**pair) for pair in fields["pairs"]]})
    headers = {
        "Authorization": f"Bearer {plan.token}",
        "User-Agent": "bare",
        "Content-Type": "application/json",
    }
    context = ssl.create_default_context(cafile=plan.certificate)
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as api,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as heads,
    ):
        await Client(plan, api, heads).run()


if __name__ == "__main__":
    asyncio.run(main())
