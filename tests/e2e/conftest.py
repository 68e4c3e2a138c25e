"""A sandbox with KubeRay and real Ray heads. Each test runs the installed program."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head
from sandbox.kuberay import KubeRay
from tests.support.operator_process import Operator, deploy, running_operator
from tests.support.workbench import Lab


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs this folder on two workers at most, each with its own sandbox and heads."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            half = "submit" if item.path.stem == "test_submit" else "others"
            item.add_marker(pytest.mark.xdist_group(f"e2e {half}"))


@pytest_asyncio.fixture(scope="package")
async def cluster() -> AsyncIterator[Cluster]:
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running


@pytest_asyncio.fixture(scope="package")
async def head(cluster: Cluster) -> Head:
    """A real head that tests share. Each test uses its own job IDs and leaves no job running."""
    return await cluster.heads.full("shared")


@pytest_asyncio.fixture(scope="package")
async def kubeconfig(cluster: Cluster) -> Path:
    """A kubeconfig of the operator's service account."""
    return await deploy(cluster)


@pytest_asyncio.fixture
async def operator(cluster: Cluster, kubeconfig: Path) -> AsyncIterator[Operator]:
    async with running_operator(cluster, kubeconfig) as running:
        yield running


@pytest_asyncio.fixture
async def opened(cluster: Cluster, head: Head) -> Lab:
    """A namespace that KubeRay does not watch yet."""
    return await Lab.open(cluster, head)


@pytest_asyncio.fixture
async def kuberay(cluster: Cluster, opened: Lab) -> AsyncIterator[KubeRay]:
    """The KubeRay operator of the test's own namespace."""
    operator = await cluster.start_kuberay(opened.namespace)
    yield operator
    await operator.stop()


@pytest_asyncio.fixture
async def lab(opened: Lab, kuberay: KubeRay) -> AsyncIterator[Lab]:
    """A namespace that KubeRay watches. Its heads end with the test."""
    yield opened
    await opened.delete_all()


@pytest_asyncio.fixture
async def quiet_lab(cluster: Cluster) -> Lab:
    """A namespace that KubeRay does not watch, and a read-only head."""
    is_there = "light" in cluster.heads
    light = cluster.heads["light"] if is_there else await cluster.heads.light("light")
    return await Lab.open(cluster, light)
