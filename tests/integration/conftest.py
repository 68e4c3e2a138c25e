"""One sandbox per version of KubeRay's CRDs, the operator in it under its own service account, a namespace for each test."""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.support.admission import Bundle, applied
from tests.support.workbench import Lab, Operator, deploy, running_operator

PROTECTED = "protected-by-setting"


def crd_versions() -> list[Path | None]:
    """KubeRay's own, oldest first, where KUBERAY_CRDS names a folder with one subfolder per version; else the minimal pair."""
    folder = os.environ.get("KUBERAY_CRDS")
    versions = [each for each in Path(folder).iterdir() if each.is_dir()] if folder else []
    by_number = sorted(
        versions, key=lambda each: [int(part) for part in re.findall(r"\d+", each.name)]
    )
    return [*by_number] or [None]


def version_name(version: Path | None) -> str:
    return version.name if version else "minimal-crds"


ONE_WORKER_EACH = [
    pytest.param(each, marks=pytest.mark.xdist_group(version_name(each))) for each in crd_versions()
]


@pytest_asyncio.fixture(scope="session", params=ONE_WORKER_EACH, ids=version_name)
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    async with sandbox_cluster.start(say=lambda _: None, crds=request.param) as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def head(cluster: Cluster) -> Head:
    """A read-only head that knows finished jobs only."""
    return await cluster.heads.light("quiet")


@pytest_asyncio.fixture(scope="session")
async def operator(cluster: Cluster) -> AsyncIterator[Operator]:
    kubeconfig = await deploy(cluster)
    async with running_operator(
        cluster,
        kubeconfig,
        protected_namespaces=PROTECTED,
        relist_every="20s",
        bulk_expiry_wait="2s",
        kuberay_grace="3s",
    ) as running:
        yield running


@pytest_asyncio.fixture
async def lab(cluster: Cluster, head: Head, operator: Operator) -> Lab:
    """A namespace of the test's own, with the operator at work."""
    return await Lab.open(cluster, head)


@pytest_asyncio.fixture(scope="session")
async def bundle() -> AsyncIterator[Bundle]:
    """A sandbox of its own with the admission bundle in force, which would be in the way of other tests."""
    async with (
        sandbox_cluster.start(say=lambda _: None, crds=crd_versions()[-1]) as running,
        applied(running) as made,
    ):
        yield made


@pytest.fixture
def crds(request: pytest.FixtureRequest) -> str:
    """The minor version of the CRDs in the sandbox, as `1.7`; `minimal` for the hand-written pair."""
    found = re.match(r"v(\d+\.\d+)", version_name(request.node.callspec.params["cluster"]))
    return found[1] if found else "minimal"
