"""The Pods of a deleted RayCluster on a real API server, before its garbage collector acts."""

from collections.abc import AsyncIterator

import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.operator_process import deploy, running_operator
from tests.support.workbench import Body, Lab

ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/raysweep"
RULE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "delete"]}
OWN = {f"train-{number}" for number in range(6)}


@pytest_asyncio.fixture
async def alone() -> AsyncIterator[Cluster]:
    """A sandbox for one test."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running


async def _create_pod(lab: Lab, name: str, raycluster: Body | None) -> None:
    """Creates a Pod with the label of train-c, and with a controller if one is given."""
    owners = []
    if raycluster:
        metadata = raycluster["metadata"]
        owner = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "controller": True}
        owners = [{**owner, "name": metadata["name"], "uid": metadata["uid"]}]
    body = {
        "metadata": {
            "name": name,
            "labels": {"ray.io/cluster": "train-c"},
            "ownerReferences": owners,
        },
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [{"name": "ray-worker", "image": "sandbox"}],
        },
    }
    path = f"/api/v1/namespaces/{lab.namespace}/pods"
    await lab.cluster.api.request("POST", path, body)


async def _pods(lab: Lab) -> set[str]:
    path = f"/api/v1/namespaces/{lab.namespace}/pods"
    items = (await lab.cluster.api.request("GET", path))["items"]
    return {item["metadata"]["name"] for item in items}


async def test_the_operator_deletes_the_pods_of_exactly_the_deleted_cluster(
    alone: Cluster,
) -> None:
    lab = await Lab.open(alone, await alone.heads.light("quiet"))
    kubeconfig = await deploy(alone)
    rules = (await alone.api.request("GET", ROLE))["rules"]
    async with running_operator(alone, kubeconfig, ready=False, delete_pods="true") as operator:

        async def names_the_rights() -> bool:
            return "permission to list pods, delete pods" in (await operator.get("/readyz"))[1]

        await until(names_the_rights, timeout=90)
    await alone.api.patch(ROLE, {"rules": [*rules, RULE]})

    await lab.create_finished("train")
    await lab.create_finished("other")
    for name in OWN:
        await _create_pod(lab, name, await lab.get("rayclusters", "train-c"))
    await _create_pod(lab, "of-another", await lab.get("rayclusters", "other-c"))
    await _create_pod(lab, "of-nobody", None)
    async with running_operator(alone, kubeconfig, delete_pods="true") as running:
        with alone.without_controllers():  # the garbage collector would be first
            await lab.annotate("train", {"raysweep.io/ttl": "0"})
            note = await lab.expect_event("train", "Expired")
            assert await _pods(lab) == {"of-another", "of-nobody"}
        assert await running.metric("raysweep_deletions_total", kind="Pod") == len(OWN)
    assert f"RayJob train and RayCluster train-c and its {len(OWN)} Pods" in note
    deletions = [
        event["objectRef"]["name"]
        for event in await alone.audit("raysweep")
        if event["verb"] == "delete" and event["objectRef"]["resource"] == "pods"
    ]
    assert sorted(deletions) == sorted(OWN)
