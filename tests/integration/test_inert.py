"""Without any TTL Raysweep writes only its Lease, as the audit log shows."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from tests.support.operator_process import deploy, running_operator
from tests.support.workbench import Body, Lab, utc_now

SAMPLES = Path(__file__).parents[1] / "samples"
RELISTS = 4
MORE = 500


@pytest_asyncio.fixture
async def inert(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """A sandbox for this test, with the newest CRDs."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running


async def test_it_writes_only_the_lease_and_changes_no_object(inert: Cluster) -> None:
    head = await inert.heads.light("quiet")
    lab = await Lab.open(inert, head)
    samples = [await _restore(lab, name, recorded) for name, recorded in _samples().items()]
    at_once = asyncio.Semaphore(16)

    async def create(number: int) -> None:
        async with at_once:
            ended_at = utc_now() - timedelta(hours=number)
            outcome = ("SUCCEEDED", "FAILED", "STOPPED")[number % 3]
            await lab.create_finished(
                f"job-{number}",
                outcome=outcome,
                ended_at=ended_at,
                with_cluster=number % 5 == 0,
                head_status=None,
            )

    await asyncio.gather(*(create(number) for number in range(MORE)))
    before = await _states(lab)
    kubeconfig = await deploy(inert)

    settings: Any = {"relist_every": "3s", "policies_every": "3s", "lease_name": "raysweep"}
    async with running_operator(inert, kubeconfig, **settings) as operator:
        for _ in range(RELISTS):
            await operator.wait_for_relist()
        judged = await operator.metric("raysweep_rayjobs", reason="NoTTL")

    requests = await inert.audit("raysweep")
    writes = [
        r
        for r in requests
        if r["verb"] not in ("get", "list", "watch") and r["objectRef"]["resource"] != SELF_REVIEW
    ]
    leases = [
        r["verb"]
        for r in writes
        if r["objectRef"]["resource"] == "leases" and r["objectRef"]["namespace"] == "raysweep"
    ]
    assert leases[0] == "create"
    assert set(leases[1:]) == {"update"}
    assert len(leases) == len(writes)
    assert await _states(lab) == before
    assert len(before) == MORE + len(samples)
    assert judged >= MORE


SELF_REVIEW = "selfsubjectaccessreviews"
"""A question about rights. Its verb is create, and the API server stores nothing."""


async def _states(lab: Lab) -> dict[str, Any]:
    listed = await lab.cluster.api.request("GET", lab.path("rayjobs"))
    return {item["metadata"]["name"]: item["metadata"] for item in listed["items"]}


def _samples() -> dict[str, Body]:
    return {
        path.stem: json.loads(path.read_text()) for path in sorted(SAMPLES.glob("rayjob-*.json"))
    }


async def _restore(lab: Lab, name: str, recorded: Body) -> Body:
    """A recorded RayJob without the fields that the API server sets."""
    metadata = {
        key: recorded["metadata"][key]
        for key in ("labels", "annotations")
        if key in recorded["metadata"]
    }
    body = {**recorded, "metadata": {**metadata, "name": name}}
    await lab.cluster.api.request(
        "POST", lab.path("rayjobs"), {key: value for key, value in body.items() if key != "status"}
    )
    return await lab.set_status(name, recorded["status"])
