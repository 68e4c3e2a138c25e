"""The control plane is real: rights, garbage collection, tokens, audit log, two at once."""

import asyncio
import json
import os
from pathlib import Path

import pytest
import yaml

from sandbox import cluster as sandbox_cluster
from sandbox.api import Api, ApiError
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.sandbox import path, sample

SPEC = sample("raycluster-succeeded")["spec"]


async def kubectl(cluster: Cluster, *words: str, kubeconfig: os.PathLike[str] | None = None) -> str:
    command = (str(cluster.kubectl), f"--kubeconfig={kubeconfig or cluster.kubeconfig}", *words)
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-2)
    output, _ = await process.communicate()
    return output.decode()


def ray_cluster(name: str, **metadata: object) -> dict[str, object]:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": name, **metadata},
        "spec": SPEC,
    }


async def test_a_service_account_has_no_rights_by_default(cluster: Cluster, namespace: str) -> None:
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    await cluster.api.request("POST", accounts, {"metadata": {"name": "poor"}})
    kubeconfig = await cluster.kubeconfig_for(namespace, "poor")
    config = yaml.safe_load(kubeconfig.read_text())
    token = Path(config["users"][0]["user"]["tokenFile"]).read_text()  # noqa: ASYNC240 - a few bytes
    certificate = config["clusters"][0]["cluster"]["certificate-authority"]
    async with Api(cluster.server, token, certificate, user_agent="poor") as poor:
        with pytest.raises(ApiError) as refused:
            await poor.request("GET", path(namespace, "rayjobs"))
    assert (refused.value.status, refused.value.reason) == (403, "Forbidden")
    assert "Forbidden" in await kubectl(cluster, "get", "rayjobs", kubeconfig=kubeconfig)


async def test_an_owned_object_is_deleted_with_its_owner(cluster: Cluster, namespace: str) -> None:
    owner = await cluster.api.request("POST", path(namespace, "rayclusters"), ray_cluster("owner"))
    reference = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "name": "owner",
        "uid": owner["metadata"]["uid"],
    }
    owned = ray_cluster("owned", ownerReferences=[reference])
    await cluster.api.request("POST", path(namespace, "rayclusters"), owned)
    await cluster.api.delete(path(namespace, "rayclusters", "owner"))

    async def is_deleted() -> bool:
        return await cluster.api.find(path(namespace, "rayclusters", "owned")) is None

    await until(is_deleted, timeout=90)


async def test_the_audit_log_holds_requests_by_user_agent(cluster: Cluster, namespace: str) -> None:
    await kubectl(cluster, "get", "rayjobs", "-n", namespace)
    events = [
        e
        for e in await cluster.audit("kubectl")
        if e.get("objectRef", {}).get("namespace") == namespace
    ]
    assert [(e["verb"], e["objectRef"]["resource"], e["stage"]) for e in events] == [
        ("list", "rayjobs", "ResponseComplete")
    ]


async def test_kubectl_and_the_server_have_a_version(cluster: Cluster) -> None:
    versions = json.loads(await kubectl(cluster, "version", "--output=json"))
    assert (
        versions["serverVersion"]["gitVersion"]
        == versions["clientVersion"]["gitVersion"]
        != "v0.0.0"
    )


async def test_a_suspended_api_server_hangs_until_it_is_resumed(cluster: Cluster) -> None:
    await cluster.suspend_apiserver()
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await cluster.api.request("GET", "/readyz")
    finally:
        await cluster.resume_apiserver()
    assert await cluster.api.request("GET", "/readyz") == "ok"


async def test_two_sandboxes_side_by_side(cluster: Cluster, namespace: str) -> None:
    async with sandbox_cluster.start(say=lambda _: None) as other:
        assert other.server != cluster.server
        assert other.folder != cluster.folder
        assert await other.api.find(f"/api/v1/namespaces/{namespace}") is None
        assert await cluster.api.find(f"/api/v1/namespaces/{namespace}") is not None
    assert not other.folder.exists()
    assert await cluster.api.request("GET", "/readyz") == "ok"
