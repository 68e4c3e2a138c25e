"""Namespace and policies are read again after the answer of the head."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.network_faults import Relay, through
from tests.support.operator_process import deploy, running_operator
from tests.support.workbench import Lab

LATER = "2199-01-01T00:00:00Z"


@pytest_asyncio.fixture
async def alone() -> AsyncIterator[Cluster]:
    """A sandbox for one test."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running


async def test_a_hold_of_the_namespace_during_the_queries_of_heads_keeps_all_rayjobs(
    alone: Cluster,
) -> None:
    """The watches stall, and the answers of the heads arrive after the hold is set."""
    lab = await Lab.open(alone, await alone.heads.light("slow"))
    kubeconfig = await deploy(alone)
    settings: dict[str, Any] = {
        "confirmed_within": "1s",
        "relist_every": "15s",
        "bulk_expiry_wait": "1s",
    }
    async with Relay.to(alone.server) as api, Relay.to(alone.head_proxy) as heads:
        proxy = f"http://127.0.0.1:{heads.port}"
        kubeconfig = through(api, kubeconfig)
        async with running_operator(alone, kubeconfig, head_proxy=proxy, **settings) as operator:
            api.freeze_open_connections()
            await operator.wait_for_relist()
            heads.hold_answers()
            names = [f"train-{number}" for number in range(4)]
            for name in names:
                await lab.create_finished(name, annotations={"raysweep.io/ttl": "0"})

            async def all_are_asked() -> bool:
                return heads.received >= len(names)

            await until(all_are_asked, timeout=90)
            await lab.annotate_namespace({"raysweep.io/keep-until": LATER})
            await asyncio.sleep(2)  # what was confirmed before is older than confirmed_within now
            heads.let_answers_through()

            async def all_are_kept() -> bool:
                return await operator.metric("raysweep_rayjobs", reason="KeptByUser") == len(names)

            await until(all_are_kept, timeout=90)
        assert {f"rayjobs/{name}" for name in names} <= await lab.remaining()
