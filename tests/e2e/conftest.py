"""A sandbox with KubeRay's stand-in and real Ray heads; each test runs the installed program as it needs it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.support.kuberay_crds import newest_crds
from tests.support.operator_process import Operator, deploy, running_operator
from tests.support.workbench import Lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder in one process: its sandbox and its heads are too large to have twice."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("e2e"))


@pytest_asyncio.fixture(scope="session")
async def cluster() -> AsyncIterator[Cluster]:
    async with sandbox_cluster.start(say=lambda _: None, crds=newest_crds()) as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def head(cluster: Cluster) -> Head:
    """A real head that several tests share; each uses job IDs of its own and leaves nothing running."""
    return await cluster.heads.full("shared")


@pytest_asyncio.fixture(scope="session")
async def kubeconfig(cluster: Cluster) -> Path:
    """Of the operator's service account."""
    return await deploy(cluster)


@pytest_asyncio.fixture
async def operator(cluster: Cluster, kubeconfig: Path) -> AsyncIterator[Operator]:
    async with running_operator(cluster, kubeconfig) as running:
        yield running


@pytest_asyncio.fixture
async def lab(cluster: Cluster, head: Head) -> AsyncIterator[Lab]:
    """A namespace in which KubeRay's stand-in acts; its heads end with the test."""
    opened = await Lab.open(cluster, head)
    cluster.kuberay.watch(opened.namespace)
    yield opened
    await opened.delete_all()


@pytest_asyncio.fixture
async def quiet_lab(lab: Lab) -> Lab:
    """A namespace in which nobody acts, and a read-only head."""
    cluster = lab.cluster
    light = (
        cluster.heads["light"] if "light" in cluster.heads else await cluster.heads.light("light")
    )
    return replace(await Lab.open(cluster, light))
