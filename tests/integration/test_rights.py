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

Grant = tuple[str, str, str, str, str]
"""Verb, group, resource; namespace and name, "" where any will do."""
DUE = {"raysweep.io/ttl": "0"}
PROXY_RULE: Body = {"apiGroups": [""], "resources": ["services/proxy"], "verbs": ["get"]}


@pytest_asyncio.fixture
async def alone() -> AsyncIterator[Cluster]:
    """A sandbox that nothing else uses."""
    async with sandbox_cluster.start(say=lambda _: None, crds=crd_versions()[-1]) as running:
        yield running


def role(kind: str) -> Body:
    """The one that the manifests bring."""
    documents = yaml.safe_load_all((MANIFESTS / "20-rbac.yaml").read_text())
    return next(document for document in documents if document["kind"] == kind)


def granted() -> set[Grant]:
    every = [(role("ClusterRole"), ""), (role("Role"), role("Role")["metadata"]["namespace"])]
    return {
        (verb, group, resource, namespace, name)
        for document, namespace in every
        for rule in document["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def allowing(ref: Body, verb: str) -> set[Grant]:
    """What of the grants allows a request."""
    asked = (verb, ref.get("apiGroup", ""), ref["resource"])
    where = ({"", ref.get("namespace", "")}, {"", ref.get("name", "")})
    return {each for each in granted() if each[:3] == asked and each[3] in where[0] and each[4] in where[1]}


@pytest.mark.timeout(120)
async def test_what_is_granted_is_used_and_what_is_used_is_granted(alone: Cluster) -> None:
    head = await alone.heads.light("quiet")
    lab = await Lab.open(alone, head, annotations=DUE)
    async with running_operator(
        alone, await deploy(alone), relist_every="2s", confirmed_within="0.001s", lease_name="raysweep"
    ) as operator:
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

    used = [
        (ref, e["verb"])
        for e in await alone.audit("raysweep")
        if (ref := e.get("objectRef")) and ref["resource"] != "selfsubjectaccessreviews"
    ]
    assert [each for each in used if not allowing(*each)] == []
    assert sorted(granted() - set().union(*(allowing(*each) for each in used))) == []
    assert all(e["responseStatus"]["code"] != 403 for e in await alone.audit("raysweep"))


@pytest.mark.timeout(120)
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
        await until(lambda: _says(operator, "/readyz", named), timeout=30)
        assert (await operator.get("/livez"))[0] == 200
        await alone.api.patch(path, {"rules": rules})
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
    rules = [*role("ClusterRole")["rules"], PROXY_RULE]
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
