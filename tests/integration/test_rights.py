"""Missing rights and CRDs are reported until they exist."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import yaml

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.operator_process import MANIFESTS, Operator, deploy, running_operator
from tests.support.workbench import Body


@pytest_asyncio.fixture
async def alone() -> AsyncIterator[Cluster]:
    """A sandbox for one test."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running


def role(kind: str) -> Body:
    """The role of the manifests."""
    documents = yaml.safe_load_all((MANIFESTS / "20-rbac.yaml").read_text())
    return next(document for document in documents if document["kind"] == kind)


@pytest.mark.parametrize(
    ("kind", "where", "lacking", "named"),
    [
        pytest.param(
            "ClusterRole",
            "clusterroles",
            "rayclusters",
            "list rayclusters.ray.io",
            id="on a resource of Ray's",
        ),
        pytest.param(
            "Role",
            "namespaces/raysweep/roles",
            "leases",
            "update leases.coordination.k8s.io raysweep in namespace raysweep: apply the Role",
            id="on its Lease",
        ),
    ],
)
async def test_without_a_right_it_is_not_ready_and_names_the_right_until_it_is_granted(
    alone: Cluster, kind: str, where: str, lacking: str, named: str
) -> None:
    kubeconfig = await deploy(alone)
    path, rules = f"/apis/rbac.authorization.k8s.io/v1/{where}/raysweep", role(kind)["rules"]
    await alone.api.patch(
        path, {"rules": [rule for rule in rules if rule["resources"] != [lacking]]}
    )

    async with running_operator(
        alone, kubeconfig, ready=False, preflight_every="1s", lease_name="raysweep"
    ) as operator:
        await until(lambda: _says(operator, "/readyz", named), timeout=90)
        assert (await operator.get("/livez"))[0] == 200
        await alone.api.patch(path, {"rules": rules})
        await until(operator.is_ready, timeout=90)


async def test_without_the_crds_of_kuberay_it_is_not_ready_until_they_exist(
    alone: Cluster,
) -> None:
    kubeconfig = await deploy(alone)
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    crd = await alone.api.request("GET", f"{definitions}/rayjobs.ray.io")
    await alone.api.request("DELETE", f"{definitions}/rayjobs.ray.io")

    async def is_gone() -> bool:
        served = await alone.api.request("GET", "/apis/ray.io/v1")
        return "rayjobs" not in {resource["name"] for resource in served["resources"]}

    await until(is_gone, timeout=60)
    async with running_operator(alone, kubeconfig, ready=False, preflight_every="1s") as operator:
        await until(
            lambda: _says(operator, "/readyz", "the CRD rayjobs.ray.io is not installed"),
            timeout=60,
        )
        fresh = {"apiVersion": crd["apiVersion"], "kind": crd["kind"], "spec": crd["spec"]}
        await alone.api.request(
            "POST", definitions, {**fresh, "metadata": {"name": "rayjobs.ray.io"}}
        )
        await until(operator.is_ready, timeout=60)


NAMESPACE, LEASES = (
    "/api/v1/namespaces/raysweep",
    "/apis/coordination.k8s.io/v1/namespaces/raysweep/leases",
)
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
OFTEN = {"retry_period": "0.1s", "preflight_every": "1s"}
"""A request at every retry would be ten times as many as one per preflight."""
HINT = "create the namespace and apply the Role in deploy/manifests"


async def test_without_the_namespace_of_its_lease_it_is_not_ready_until_it_exists(
    alone: Cluster,
) -> None:
    """`raysweep run` outside a cluster, as an administrator and without the manifests."""
    async with running_operator(
        alone, alone.kubeconfig, ready=False, lease_name="raysweep", **OFTEN
    ) as operator:
        await until(
            lambda: _says(operator, "/readyz", f'namespaces "raysweep" not found; {HINT}'),
            timeout=90,
        )
        await until(lambda: _has_asked(alone, "create", LEASES, times=4), timeout=90)
        preflights = len(await _asked(alone, "get", "/apis/ray.io/v1")) / 2  # once for each CRD
        assert len(await _asked(alone, "create", LEASES)) <= preflights + 1
        assert len([line for line in operator.log() if HINT in line["msg"]]) == 1
        assert (await operator.get("/livez"))[0] == 200
        await alone.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": "raysweep"}})
        await until(operator.is_ready, timeout=90)


async def test_a_standby_without_the_right_to_its_lease_reports_it_until_it_is_granted(
    alone: Cluster,
) -> None:
    kubeconfig = await deploy(alone)
    path, rules = (
        "/apis/rbac.authorization.k8s.io/v1/namespaces/raysweep/roles/raysweep",
        role("Role")["rules"],
    )
    held = {
        "holderIdentity": "other",
        "leaseDurationSeconds": 3600,
        "renewTime": "2026-11-24T12:00:00.000000Z",
    }
    await alone.api.request("POST", LEASES, {"metadata": {"name": "raysweep"}, "spec": held})
    async with running_operator(
        alone, kubeconfig, ready=True, lease_name="raysweep", **OFTEN
    ) as operator:
        await until(lambda: _says(operator, "/readyz", "standby; the leader is other"), timeout=90)
        await alone.api.patch(path, {"rules": []})
        await until(
            lambda: _says(
                operator, "/readyz", "get leases.coordination.k8s.io raysweep in namespace"
            ),
            timeout=90,
        )
        assert [
            line
            for line in operator.log()
            if 'cannot get resource "leases"' in line["msg"] and HINT in line["msg"]
        ]
        probes = len(await _asked(alone, "get", f"{LEASES}/raysweep"))
        reviews = len(await _asked(alone, "create", REVIEWS))
        await until(lambda: _has_asked(alone, "create", REVIEWS, times=reviews + 30), timeout=90)
        assert len(await _asked(alone, "get", f"{LEASES}/raysweep")) == probes
        await alone.api.patch(path, {"rules": rules})
        await until(lambda: _says(operator, "/readyz", "standby; the leader is other"), timeout=90)


async def test_a_standby_whose_namespace_is_deleted_reports_it_and_leads_later(
    alone: Cluster,
) -> None:
    await alone.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": "raysweep"}})
    held = {
        "holderIdentity": "other",
        "leaseDurationSeconds": 3600,
        "renewTime": "2026-11-24T12:00:00.000000Z",
    }
    await alone.api.request("POST", LEASES, {"metadata": {"name": "raysweep"}, "spec": held})
    async with running_operator(
        alone, alone.kubeconfig, ready=True, lease_name="raysweep", **OFTEN
    ) as operator:
        await until(lambda: _says(operator, "/readyz", "standby; the leader is other"), timeout=90)
        await alone.api.delete(NAMESPACE)
        await until(
            lambda: _says(operator, "/readyz", f'namespaces "raysweep" not found; {HINT}'),
            timeout=90,
        )
        await alone.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": "raysweep"}})
        await until(operator.is_ready, timeout=90)
        assert await operator.metric("raysweep_leader") == 1


async def _asked(cluster: Cluster, verb: str, path: str) -> list[Body]:
    """The requests of the operator for a path."""
    events = await cluster.audit("raysweep")
    return [event for event in events if (event["verb"], event["requestURI"]) == (verb, path)]


async def _has_asked(cluster: Cluster, verb: str, path: str, *, times: int) -> bool:
    return len(await _asked(cluster, verb, path)) >= times


async def _says(operator: Operator, path: str, text: str) -> bool:
    return text in (await operator.get(path))[1]
