"""A sandbox with KubeRay and Kueue, and the operator with short TTLs."""

from collections.abc import AsyncIterator

import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from tests.support.kueue import running_kueue
from tests.support.operator_process import Operator, deploy, running_operator


@pytest_asyncio.fixture(scope="package")
async def cluster() -> AsyncIterator[Cluster]:
    async with sandbox_cluster.start(say=lambda _: None) as running, running_kueue(running):
        await running.start_kuberay()
        yield running


@pytest_asyncio.fixture(scope="package")
async def operator(cluster: Cluster) -> AsyncIterator[Operator]:
    async with running_operator(cluster, await deploy(cluster), kuberay_grace="3s") as running:
        yield running
