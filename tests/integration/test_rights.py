"""Rights and CRDs: exactly what is granted is used, and what is missing is named; and the way through the API server."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import yaml

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.integration.conftest import crd_versions
from tests.lab import MANIFESTS, Body, Lab, Operator, deploy, running_operator

DUE = {"raysweep.io/ttl": "0"}
PROXY_RULE: Body = {"apiGroups": [""], "resources": ["services/proxy"], "verbs": ["get"]}


@pytest_asyncio.fixture
async def alone() -> AsyncIterator[Cluster]:
    """A sandbox that nothing else uses."""
    async with sandbox_cluster.start(say=lambda _: None, crds=crd_versions()[-1]) as running:
        yield running


def cluster_role() -> Body:
    documents = yaml.safe_load_all((MANIFESTS / "20-rbac.yaml").read_text())
    return next(document for document in documents if document["kind"] == "ClusterRole")


def granted() -> set[tuple[str, str, str]]:
    rules = cluster_role()["rules"]
    return {
        (verb, group, r) for rule in rules for group in rule["apiGroups"] for r in rule["resources"] for verb in rule["verbs"]
    }


@pytest.mark.timeout(120)
async def test_what_is_granted_is_used_and_what_is_used_is_granted(alone: Cluster) -> None:
    head = await alone.heads.light("quiet")
    lab = await Lab.open(alone, head, annotations=DUE)
    async with running_operator(alone, await deploy(alone), relist_every="2s", confirmed_within="0.001s") as operator:
        await lab.finished("train")
        await lab.expect_gone("rayjobs", "train")
        await lab.finished("record", annotations={"raysweep.io/ttl": "never", "raysweep.io/cluster-ttl": "0"})
        await lab.expect_gone("rayclusters", "record-c")
        await lab.expect_event("record", "Expired")
        annotations = {"raysweep.io/ttl": "never", "raysweep.io/cluster-ttl": "0"}
        await lab.finished("noted", recorded="FAILED", annotations=annotations)  # the head's outcome is written down
        await lab.expect_gone("rayclusters", "noted-c")
        await lab.set_policy("defaults", {"retention": {"rayJob": {"default": "1d"}}})
        await lab.condition("defaults", "Accepted")
        await operator.relisted()

    used = {
        (e["verb"], ref.get("apiGroup", ""), "/".join(part for part in (ref["resource"], ref.get("subresource")) if part))
        for e in await alone.audit("raysweep")
        if (ref := e.get("objectRef")) and ref["resource"] != "selfsubjectaccessreviews"
    }
    assert sorted(used ^ granted()) == []
    assert all(e["responseStatus"]["code"] != 403 for e in await alone.audit("raysweep"))


@pytest.mark.timeout(120)
async def test_without_a_right_it_is_not_ready_and_names_it_and_starts_once_it_is_granted(alone: Cluster) -> None:
    kubeconfig = await deploy(alone)
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/raysweep"
    rules = cluster_role()["rules"]
    await alone.api.patch(role, {"rules": [rule for rule in rules if rule["resources"] != ["rayclusters"]]})

    async with running_operator(alone, kubeconfig, ready=False, preflight_every="1s") as operator:
        await until(lambda: _says(operator, "/readyz", "list rayclusters.ray.io"), timeout=30)
        assert (await operator.get("/livez"))[0] == 200
        await alone.api.patch(role, {"rules": rules})
        await until(operator.is_ready, timeout=30)


@pytest.mark.timeout(120)
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


@pytest.mark.timeout(120)
async def test_heads_can_be_asked_through_the_api_server(alone: Cluster) -> None:
    head = await alone.heads.light("quiet")
    kubeconfig = await deploy(alone)
    rules = [*cluster_role()["rules"], PROXY_RULE]
    await alone.api.patch("/apis/rbac.authorization.k8s.io/v1/clusterroles/raysweep", {"rules": rules})
    lab = await Lab.open(alone, head)
    await alone.route_service(lab.namespace, "train-c-head-svc", head)

    async with running_operator(alone, kubeconfig, head_access="api-server", head_proxy=""):
        await lab.finished("train", annotations=DUE)
        await lab.expect_gone("rayjobs", "train")

    asked = [e for e in await alone.audit("raysweep") if e.get("objectRef", {}).get("subresource") == "proxy"]
    assert [event["verb"] for event in asked] == ["get"]
    assert asked[0]["requestURI"].endswith("/services/train-c-head-svc:8265/proxy/api/jobs/")


async def _says(operator: Operator, path: str, text: str) -> bool:
    return text in (await operator.get(path))[1]
