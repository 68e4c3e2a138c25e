"""One sandbox for all tests of this folder, and a namespace for each test."""

import itertools
from collections.abc import AsyncIterator

import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="package")
async def cluster() -> AsyncIterator[Cluster]:
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running


@pytest_asyncio.fixture(scope="package")
async def full(cluster: Cluster) -> Head:
    return await cluster.heads.full("full")


@pytest_asyncio.fixture(scope="package")
async def light(cluster: Cluster) -> Head:
    return await cluster.heads.light("light")


@pytest_asyncio.fixture
async def namespace(cluster: Cluster) -> str:
    """The test's own namespace, which no KubeRay operator watches."""
    name = f"test-{next(_numbers)}"
    await cluster.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return name
