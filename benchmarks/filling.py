"""Starts a sandbox for many RayJobs, and fills it with Namespaces, policies and RayJobs."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator

from benchmarks import etcd, recorded
from benchmarks.processes import cpu_seconds
from benchmarks.recorded import Body
from sandbox import cluster as sandbox_cluster
from sandbox.api import ApiError
from sandbox.cluster import Cluster
from sandbox.controlplane import DEFAULT
from sandbox.waiting import until
from tests.support.operator_process import POLICIES

NAMESPACES = 50
RETENTION = "retention"
"""The policy that sets a TTL for all RayJobs, or none."""
OTHER_POLICIES = 19
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rayjobs.ray.io"
IDLE_PERCENT = 10.0
REST = 5.0
BEHIND = 504
"""The status of "Too large resource version"."""
LISTED_WITHIN = 3600.0
"""Seconds. The API server decodes what was written to etcd."""


def say(text: str) -> None:
    """Prints progress, which is no part of the report."""
    print(text, file=sys.stderr, flush=True)


@contextlib.asynccontextmanager
async def large_cluster() -> AsyncIterator[Cluster]:
    """A sandbox with the memory and the rates of a usual cluster.

    100,000 RayJobs are about 6 GiB of decoded objects in the API server.
    """
    async with sandbox_cluster.start(say=say, tuning=DEFAULT) as cluster:
        yield cluster


async def serve_one_version(cluster: Cluster) -> None:
    """Removes v1alpha1 from the CRD of RayJobs.

    The API server keeps a decoded copy of each RayJob for each version, so it then needs half of
    the memory and CPU time.
    """
    crd = await cluster.api.request("GET", CRD)
    crd["spec"]["versions"] = [each for each in crd["spec"]["versions"] if each["name"] == "v1"]
    await cluster.api.request("PUT", CRD, crd)


async def create_namespaces(cluster: Cluster) -> None:
    """Creates team-0, team-1 and so on."""
    for number in range(NAMESPACES):
        body = {"metadata": {"name": f"team-{number}"}}
        await cluster.api.request("POST", "/api/v1/namespaces", body)


async def create_policies(cluster: Cluster) -> None:
    """Creates 20 policies that select all Namespaces. None of them sets a TTL."""
    for name in (RETENTION, *(f"limits-{number}" for number in range(OTHER_POLICIES))):
        body = {
            "apiVersion": "raysweep.io/v1alpha1",
            "kind": "RayJobCleanupPolicy",
            "metadata": {"name": name},
            "spec": {"limits": {"keep": {"max": "30d"}}},
        }
        await cluster.api.request("POST", POLICIES, body)


async def set_retention(cluster: Cluster, ttl: str | None) -> None:
    """Changes the TTL of all RayJobs by a policy. None: they have none."""
    retention = {"rayJob": {"default": ttl}} if ttl else None
    await cluster.api.patch(f"{POLICIES}/{RETENTION}", {"spec": {"retention": retention}})


async def create_rayjobs(cluster: Cluster, numbers: range) -> None:
    """Writes recorded RayJobs and waits until the API server has numbers.stop and is idle.

    Its watch cache needs longer for each RayJob than etcd does.
    """
    begun = time.monotonic()
    await etcd.put(cluster.etcd, recorded.copies(numbers, NAMESPACES))
    await until(lambda: _are_listed(cluster, numbers.stop), timeout=LISTED_WITHIN, every=0.5)
    await until_idle(cluster.apiserver_pid)
    say(f"{len(numbers):,} RayJobs created in {time.monotonic() - begun:.1f} s")


async def until_idle(pid: int) -> None:
    """Waits until a process has used less than IDLE_PERCENT of a core for REST seconds."""
    used = cpu_seconds(pid)
    while True:
        await asyncio.sleep(REST)
        previous, used = used, cpu_seconds(pid)
        if used - previous < REST * IDLE_PERCENT / 100:
            return


async def listed(cluster: Cluster) -> int:
    """How many RayJobs the API server lists."""
    page = await _page(cluster, {"limit": "1"})
    return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))


async def _are_listed(cluster: Cluster, count: int) -> bool:
    """Whether two pages can be read: the second one fails while the watch cache is behind."""
    if await listed(cluster) != count:
        return False
    try:
        first = await _page(cluster, {"limit": "1"})
        await _page(cluster, {"limit": "1", "continue": first["metadata"]["continue"]})
    except ApiError as error:
        if error.status != BEHIND:
            raise
        return False
    return True


async def _page(cluster: Cluster, params: dict[str, str]) -> Body:
    page: Body = await cluster.api.request("GET", "/apis/ray.io/v1/rayjobs", params=params)
    return page
