"""One client or one failing request affects only itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.support.network_faults import Gateway
from tests.support.operator_process import Operator, deploy, running_operator
from tests.support.workbench import Lab, utc_now

SCRAPERS = 200
RAYJOBS = 1000
QUICK: dict[str, Any] = {"lease_duration": "8s", "renew_deadline": "5s", "retry_period": "1s"}
HELD = {"finalizers": ["ray.io/rayjob-finalizer"]}
"""KubeRay is down: nobody takes its finalizer off."""


@pytest_asyncio.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    """A sandbox for this module, without the operator that other tests share."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def kubeconfig(cluster: Cluster) -> Path:
    return await deploy(cluster)


@pytest_asyncio.fixture(scope="module")
async def head(cluster: Cluster) -> Head:
    return await cluster.heads.light("quiet")


@pytest_asyncio.fixture
async def lab(cluster: Cluster, head: Head) -> Lab:
    return await Lab.open(cluster, head)


async def test_two_hundred_scrapers_affect_neither_lease_nor_probes_nor_deletions(
    lab: Lab, cluster: Cluster, kubeconfig: Path
) -> None:
    """Every client scrapes continuously. The probes of the kubelet are answered meanwhile."""
    for begin in range(0, RAYJOBS, 20):
        await asyncio.gather(*(lab.create(f"job-{number}") for number in range(begin, begin + 20)))

    async with running_operator(cluster, kubeconfig, **QUICK) as operator:
        scrapers = [asyncio.create_task(_scrape(operator)) for _ in range(SCRAPERS)]
        await lab.create_finished(
            "train", ended_at=utc_now(), annotations={"raysweep.io/ttl": "1s"}
        )
        await lab.expect_deleted("rayclusters", "train-c")
        statuses = {
            (await _probe(operator, path))[0] for _ in range(20) for path in ("/livez", "/readyz")
        }
        for scraper in scrapers:
            scraper.cancel()
        assert statuses == {200}
        assert operator.process.returncode is None
        assert await operator.metric("raysweep_lease_renewal_failures_total") == 0


async def _probe(operator: Operator, path: str) -> tuple[int, str]:
    """The timeout of the probes in the manifests."""
    await asyncio.sleep(1)
    async with asyncio.timeout(5):
        return await operator.get(path)


async def _scrape(operator: Operator) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{operator.url}/metrics") as response:
                    await response.read()


@pytest.mark.parametrize(
    "reads", ["the RayJob can be read after that", "its GET is answered 503 too"]
)
async def test_the_second_deletion_of_a_pair_is_retried_while_kuberay_is_down(
    lab: Lab, cluster: Cluster, kubeconfig: Path, reads: str
) -> None:
    """The DELETE of the RayCluster is answered with 503 once. Relists are 10 minutes apart."""
    refused: list[str] = []

    def spoil(request: web.Request) -> web.Response | None:
        kind = request.path.rsplit("/", 2)[-2]
        is_second = request.method == "DELETE" and kind == "rayclusters"
        is_read = request.method == "GET" and kind == "rayjobs" and "503" in reads and bool(refused)
        what = f"{request.method} {kind}"
        if not (is_second or is_read) or what in refused:
            return None
        refused.append(what)
        return web.json_response(
            {"kind": "Status", "message": "etcd is away", "code": 503}, status=503
        )

    async with (
        Gateway.before(kubeconfig, spoil) as (_, detour),
        running_operator(cluster, detour, relist_every="10m") as operator,
    ):
        await lab.create_finished("train", annotations={"raysweep.io/ttl": "0"}, metadata=HELD)
        await lab.expect_deleted("rayclusters", "train-c", timeout=60)
        await lab.expect_event("train", "DeletionUnfinished")
        await lab.expect_event("train", "Expired")
        assert await operator.metric("raysweep_deletions_total", kind="RayJob") == 1
        assert await operator.metric("raysweep_deletions_total", kind="RayCluster") == 1

    assert "DELETE rayclusters" in refused
    reasons = [reason for _, reason, _ in await lab.events("train")]
    assert sorted(reasons) == ["DeletionUnfinished", "Expired"]
    await cluster.api.patch(lab.path("rayjobs", "train"), {"metadata": {"finalizers": None}})


async def test_slow_lists_of_policies_delay_a_deletion_by_one_list_at_most(
    lab: Lab, cluster: Cluster, kubeconfig: Path
) -> None:
    """A list takes 11 s, longer than a confirmation is valid. All deletions that wait share it."""
    lists: list[str] = []

    def late(request: web.Request) -> float:
        is_list = request.path.endswith("/rayjobcleanuppolicies") and "watch" not in request.query
        lists.extend([request.path] if is_list else [])
        return 11 if is_list else 0

    names = [f"train-{number}" for number in range(12)]
    async with (
        Gateway.before(kubeconfig, late=late) as (_, detour),
        running_operator(cluster, detour, relist_every="10m", policies_every="10m") as operator,
    ):
        before = len(lists)
        ended_at = utc_now()
        for name in names:
            await lab.create_finished(
                name, ended_at=ended_at, annotations={"raysweep.io/ttl": "1s"}
            )
        for name in names:
            await lab.expect_deleted("rayjobs", name)
        assert len(lists) - before <= 4
        assert (await operator.get("/livez"))[0] == 200


@pytest.mark.parametrize(
    "kind", ["tracked by Argo CD", "running on by their heads' word", "in dry run"]
)
async def test_after_a_restart_a_hundred_undeletable_rayjobs_block_no_others(
    lab: Lab, cluster: Cluster, head: Head, kubeconfig: Path, kind: str
) -> None:
    """They are as overdue as the healthy RayJob, and there are more than bulk-expiry-max."""
    healthy = await Lab.open(cluster, head)
    ended_at = utc_now() - timedelta(minutes=10)
    due = {"raysweep.io/ttl": "1m"}
    few: dict[str, Any] = {
        "with_cluster": False,
        "head_status": None,
        "status": {"rayClusterName": ""},
    }
    if kind == "tracked by Argo CD":
        await lab.annotate_namespace(due)
        due = {"argocd.argoproj.io/tracking-id": "app:ray.io/RayJob:team/train"}
    elif kind == "in dry run":
        await lab.set_policy("stop", {"mode": "DryRun"})
    else:
        few = {"head_status": "RUNNING", "head": await cluster.heads.light("busy")}
    for begin in range(0, 105, 15):
        together = range(begin, begin + 15)
        await asyncio.gather(
            *(
                lab.create_finished(f"job-{n}", ended_at=ended_at, annotations=due, **few)
                for n in together
            )
        )
    for number in range(3):
        await healthy.create_finished(
            f"train-{number}", ended_at=ended_at, annotations={"raysweep.io/ttl": "1m"}
        )

    async with running_operator(cluster, kubeconfig, bulk_expiry_wait="3s"):
        for number in range(3):
            await healthy.expect_deleted("rayjobs", f"train-{number}")
        assert len([one for one in await lab.remaining() if one.startswith("rayjobs/")]) == 105
    await lab.delete_policy("stop") if kind == "in dry run" else None
    await lab.delete_all()


LARGE, WEIGHT = 40, 10**6


async def test_large_objects_use_memory_for_one_page(
    lab: Lab, cluster: Cluster, kubeconfig: Path
) -> None:
    """40 RayJobs of 1 MB each."""
    async with running_operator(cluster, kubeconfig, relist_every="2s") as operator:
        await operator.wait_for_relist()
        before = _peak(operator)
    for number in range(LARGE):
        await lab.create(f"large-{number}", spec={"runtimeEnvYAML": "x" * WEIGHT})
    async with running_operator(cluster, kubeconfig, relist_every="2s") as operator:
        await operator.wait_for_relist()
        after = _peak(operator)
        assert await operator.metric("raysweep_rayjobs", reason="NotFinished") >= LARGE
    await lab.delete_all()
    assert after - before < 64 * 2**20


def _peak(operator: Operator) -> int:
    """The peak memory of a process in bytes."""
    status = Path(f"/proc/{operator.process.pid}/status").read_text()
    return (
        int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        * 1024
    )
