"""One sandbox per worker with the operator in it, and a namespace for each test.

A module marked `every_kuberay_version` runs on the CRDs of every KubeRay version. All other tests
run on those of the pinned KubeRay.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.support.admission import Bundle, applied
from tests.support.kuberay_crds import crd_versions, version_name
from tests.support.operator_process import (
    PROTECTED_NAMESPACE,
    Operator,
    deploy,
    running_operator,
)
from tests.support.workbench import Lab


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "crds" in metafunc.fixturenames:
        in_matrix = metafunc.definition.get_closest_marker("every_kuberay_version")
        versions = crd_versions() if in_matrix else [None]
        metafunc.parametrize("crds", versions, ids=version_name, indirect=True, scope="package")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the tests of a KubeRay version, and else those of a module, on one worker."""
    for item in items:
        is_here = Path(__file__).parent in item.path.parents
        if not is_here or item.get_closest_marker("xdist_group"):
            continue
        group = item.path.stem
        callspec = getattr(item, "callspec", None)
        if item.get_closest_marker("every_kuberay_version") and callspec:
            group = version_name(callspec.params.get("crds"))
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="package")
def crds(request: pytest.FixtureRequest) -> Path | None:
    """The folder of the CRDs in the sandbox. None: those of the pinned KubeRay."""
    folder: Path | None = request.param
    return folder


@pytest.fixture
def kuberay_version(crds: Path | None) -> str:
    """The minor version of KubeRay's CRDs, such as `1.7`."""
    version = re.match(r"v(\d+\.\d+)", version_name(crds))
    assert version is not None
    return version[1]


@pytest_asyncio.fixture(scope="package")
async def cluster(crds: Path | None) -> AsyncIterator[Cluster]:
    async with sandbox_cluster.start(say=lambda _: None, crds=crds) as running:
        yield running


@pytest_asyncio.fixture(scope="package")
async def head(cluster: Cluster) -> Head:
    """A read-only head that knows finished jobs only."""
    return await cluster.heads.light("quiet")


@pytest_asyncio.fixture(scope="package")
async def operator(cluster: Cluster) -> AsyncIterator[Operator]:
    kubeconfig = await deploy(cluster)
    async with running_operator(
        cluster,
        kubeconfig,
        protected_namespaces=PROTECTED_NAMESPACE,
        relist_every="5s",
        bulk_expiry_wait="2s",
        kuberay_grace="3s",
    ) as running:
        yield running


@pytest_asyncio.fixture
async def lab(cluster: Cluster, head: Head, operator: Operator) -> Lab:
    """The test's own namespace, with the operator running."""
    return await Lab.open(cluster, head)


@pytest_asyncio.fixture(scope="package")
async def bundle() -> AsyncIterator[Bundle]:
    """A separate sandbox with the admission policies, which would reject what other tests write."""
    async with (
        sandbox_cluster.start(say=lambda _: None) as running,
        applied(running) as installed,
    ):
        yield installed
