"""One sandbox for all tests of this folder, a namespace for each test. What is expected of it must not enter here."""

import itertools
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head

_numbers = itertools.count(1)


def newest_crds() -> Path | None:
    """KubeRay's own, where KUBERAY_CRDS names a folder with one subfolder per version; else the minimal pair."""
    folder = os.environ.get("KUBERAY_CRDS")
    versions = [each for each in Path(folder).iterdir() if each.is_dir()] if folder else []
    return max(
        versions,
        key=lambda each: [int(part) for part in re.findall(r"\d+", each.name)],
        default=None,
    )


@pytest_asyncio.fixture(scope="session")
async def cluster() -> AsyncIterator[Cluster]:
    async with sandbox_cluster.start(say=lambda _: None, crds=newest_crds()) as running:
        yield running


@pytest_asyncio.fixture(scope="session")
async def full(cluster: Cluster) -> Head:
    return await cluster.heads.full("full")


@pytest_asyncio.fixture(scope="session")
async def light(cluster: Cluster) -> Head:
    return await cluster.heads.light("light")


@pytest_asyncio.fixture
async def namespace(cluster: Cluster) -> str:
    """A namespace of the test's own, in which nobody acts."""
    name = f"test-{next(_numbers)}"
    await cluster.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return name


@pytest_asyncio.fixture
async def watched(cluster: Cluster, namespace: str) -> str:
    """A namespace in which KubeRay's stand-in acts."""
    cluster.kuberay.watch(namespace)
    return namespace
