"""Rights and CRDs that are missing are named, and waited for. That none is granted in vain is in test_least_privilege.py."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import yaml

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.integration.conftest import crd_versions
from tests.lab import MANIFESTS, Body, Operator, deploy, running_operator


@pytest_asyncio.fixture
async def alone() -> AsyncIterator[Cluster]:
    """A sandbox that nothing else uses."""
    async with sandbox_cluster.start(say=lambda _: None, crds=crd_versions()[-1]) as running:
        yield running


def role(kind: str) -> Body:
    """The one that the manifests bring."""
    documents = yaml.safe_load_all((MANIFESTS / "20-rbac.yaml").read_text())
    return next(document for document in documents if document["kind"] == kind)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kind", "where", "lacking", "named"),
    [
        pytest.param("ClusterRole", "clusterroles", "rayclusters", "list rayclusters.ray.io", id="on a resource of Ray's"),
        pytest.param(
            "Role",
            "namespaces/raysweep/roles",
            "leases",
            "update leases.coordination.k8s.io raysweep in namespace raysweep; apply the Role",
            id="on its Lease",
        ),
    ],
)
async def test_without_a_right_it_is_not_ready_and_names_it_and_starts_once_it_is_granted(
    alone: Cluster, kind: str, where: str, lacking: str, named: str
) -> None:
    kubeconfig = await deploy(alone)
    path, rules = f"/apis/rbac.authorization.k8s.io/v1/{where}/raysweep", role(kind)["rules"]
    await alone.api.patch(path, {"rules": [rule for rule in rules if rule["resources"] != [lacking]]})

    async with running_operator(alone, kubeconfig, ready=False, preflight_every="1s", lease_name="raysweep") as operator:
        await until(lambda: _says(operator, "/readyz", named), timeout=90)
        assert (await operator.get("/livez"))[0] == 200
        await alone.api.patch(path, {"rules": rules})
        await until(operator.is_ready, timeout=90)


@pytest.mark.timeout(300)
async def test_without_kuberay_it_is_not_ready_and_says_so_and_starts_once_it_is_there(alone: Cluster) -> None:
    kubeconfig = await deploy(alone)
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    crd = await alone.api.request("GET", f"{definitions}/rayjobs.ray.io")
    await alone.api.request("DELETE", f"{definitions}/rayjobs.ray.io")

    async def is_gone() -> bool:
        served = await alone.api.request("GET", "/apis/ray.io/v1")
        return "rayjobs" not in {resource["name"] for resource in served["resources"]}

    await until(is_gone, timeout=60)
    async with running_operator(alone, kubeconfig, ready=False, preflight_every="1s") as operator:
        await until(lambda: _says(operator, "/readyz", "the CRD rayjobs.ray.io is not there"), timeout=60)
        fresh = {"apiVersion": crd["apiVersion"], "kind": crd["kind"], "spec": crd["spec"]}
        await alone.api.request("POST", definitions, {**fresh, "metadata": {"name": "rayjobs.ray.io"}})
        await until(operator.is_ready, timeout=60)


async def _says(operator: Operator, path: str, text: str) -> bool:
    return text in (await operator.get(path))[1]
