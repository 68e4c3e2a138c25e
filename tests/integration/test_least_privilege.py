"""The rights of the chart compared with the audit log: all are used, and no others."""

import asyncio
import base64
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox import objects
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support import helm
from tests.support.operator_process import Operator, running_operator, wait_for_policy_crd
from tests.support.workbench import Body, Lab

ACCOUNT = "system:serviceaccount:raysweep:raysweep"
RECORD = {"raysweep.io/ttl": "never", "raysweep.io/cluster-ttl": "0"}
DUE = {"raysweep.io/ttl": "0"}
FREE = {"selfsubjectaccessreviews"}
"""What every account may, without a grant of ours."""
OFTEN: Body = {"relistEvery": "2s", "confirmedWithin": "0.001s", "bulkExpiryWait": "1s"}
TWO = ["team-a", "team-b"]

INSTALLS: dict[str, helm.Values] = {
    "in the whole cluster": {"headTokens": {"namespaces": ["team-a"]}, "settings": OFTEN},
    "in the whole cluster, with the deletion of Pods": {"settings": {**OFTEN, "deletePods": True}},
    "in the whole cluster, heads through the API server": {
        "settings": {**OFTEN, "headAccess": "api-server"}
    },
    "in two namespaces": {
        "namespaces": TWO,
        "headTokens": {"namespaces": ["team-b"]},
        "settings": {**OFTEN, "deletePods": True},
    },
    "in two namespaces that may not be read, heads through the API server": {
        "namespaces": TWO,
        "readNamespaces": False,
        "settings": {**OFTEN, "headAccess": "api-server"},
    },
}


@dataclass(frozen=True, order=True, slots=True)
class Grant:
    """One verb of one rule. An empty namespace or name matches all."""

    resource: str
    verb: str
    namespace: str
    name: str
    by: str

    def covers(self, event: Body) -> bool:
        """Whether a right allows the request of an audit event."""
        ref = event["objectRef"]
        return (
            (self.resource, self.verb) == (_resource(ref), event["verb"])
            and self.namespace in ("", ref.get("namespace", ""))
            and self.name in ("", ref.get("name", ""))
        )


def grants(values: helm.Values) -> list[Grant]:
    """All rights that a release grants to the service account of the operator."""
    bodies = helm.documents(values)
    roles = {(body["kind"], _name(body)): body for body in bodies if "rules" in body}
    bound = [
        body
        for body in bodies
        if any(subject["kind"] == "ServiceAccount" for subject in body.get("subjects", ()))
    ]
    return sorted(
        Grant(
            resource,
            verb,
            body["metadata"].get("namespace", ""),
            name,
            f"{body['kind']} {_name(body)}",
        )
        for binding in bound
        for body in [
            roles[binding["roleRef"]["kind"], f"{_place(binding)}{binding['roleRef']['name']}"]
        ]
        for rule in body["rules"]
        for group in rule["apiGroups"]
        for plural in rule["resources"]
        for resource in [_written(plural, group)]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    )


def _name(body: Body) -> str:
    return f"{_place(body)}{body['metadata']['name']}"


def _place(body: Body) -> str:
    namespace = (
        body["metadata"].get("namespace", "") if not body["kind"].startswith("Cluster") else ""
    )
    return f"{namespace}/" if namespace else ""


def _resource(ref: Body) -> str:
    subresource = f"/{ref['subresource']}" if ref.get("subresource") else ""
    return _written(f"{ref['resource']}{subresource}", ref.get("apiGroup", ""))


def _written(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


@pytest_asyncio.fixture
async def alone() -> AsyncIterator[Cluster]:
    """A sandbox for one test."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running


@pytest.mark.parametrize("install", INSTALLS)
async def test_granted_and_used_rights_are_the_same(alone: Cluster, install: str) -> None:
    values = INSTALLS[install]
    head = await alone.heads.light("quiet")
    labs = [await Lab.open(alone, head, name=name) for name in (*TWO, "team-c")]
    with helm.connected(alone.kubeconfig) as release:
        await asyncio.to_thread(release.install, values, create_namespace=True)
    await wait_for_policy_crd(alone)
    kubeconfig, settings = (
        await alone.kubeconfig_for("raysweep", "raysweep"),
        await _settings(alone),
    )
    narrow = values.get("namespaces", [])
    async with running_operator(alone, kubeconfig, ready=True, **settings) as operator:
        await labs[2].create_finished(
            "elsewhere",
            annotations=DUE,
            with_cluster=False,
            head_status=None,
            status={"rayClusterName": ""},
        )
        for lab in labs:
            if lab.namespace in (narrow or TWO):
                await _every_way(lab, values)
        if not narrow:
            await labs[0].set_policy("here", {"retention": {"rayJob": {"default": "7d"}}})
            await labs[0].condition("here", "Accepted")
        await operator.wait_for_relist()
    assert ("rayjobs/elsewhere" in await labs[2].remaining()) is bool(narrow)

    asked = [
        event
        for event in await alone.audit()
        if event["user"]["username"] == ACCOUNT and event.get("objectRef")
    ]
    asked = [event for event in asked if event["objectRef"]["resource"] not in FREE]
    used = Counter(grant for event in asked for grant in grants(values) if grant.covers(event))
    _print(install, values, used)
    assert [
        _told(event) for event in asked if not any(grant.covers(event) for grant in grants(values))
    ] == []
    assert [grant for grant in grants(values) if not used[grant]] == []
    assert [_told(event) for event in asked if event["responseStatus"]["code"] == 403] == []
    if narrow:
        assert {event["objectRef"].get("namespace") for event in asked} == {*narrow, "raysweep"}
    probes = [
        event["requestURI"] for event in asked if event["objectRef"].get("subresource") == "proxy"
    ]
    assert bool(probes) is (settings.get("head_access") == "api-server")
    assert all(uri.endswith("-c-head-svc:8265/proxy/api/jobs/") for uri in probes)


async def test_without_the_right_to_get_a_namespace_its_rayjobs_are_kept(
    alone: Cluster,
) -> None:
    head = await alone.heads.light("quiet")
    mute, open_one = [await Lab.open(alone, head, name=name) for name in TWO]
    with helm.connected(alone.kubeconfig) as release:
        await asyncio.to_thread(
            release.install, {"namespaces": TWO, "settings": OFTEN}, create_namespace=True
        )
    kubeconfig, settings = (
        await alone.kubeconfig_for("raysweep", "raysweep"),
        await _settings(alone),
    )
    async with running_operator(alone, kubeconfig, ready=True, **settings) as operator:
        role = (
            f"/apis/rbac.authorization.k8s.io/v1/namespaces/{mute.namespace}/roles/raysweep-cleanup"
        )
        rules = (await alone.api.request("GET", role))["rules"]
        await alone.api.patch(
            role, {"rules": [rule for rule in rules if rule["resources"] != ["namespaces"]]}
        )
        await operator.wait_for_relist()
        for lab in (mute, open_one):
            await lab.create_finished("train", annotations=DUE)
        await open_one.expect_deleted("rayjobs", "train")
        await until(lambda: _counts(operator, "NamespaceUnknown"), timeout=90)
        await operator.wait_for_relist()
        assert await mute.remaining() == {"rayjobs/train", "rayclusters/train-c"}


async def _counts(operator: Operator, reason: str) -> bool:
    return await operator.metric("raysweep_rayjobs", reason=reason) == 1


async def _every_way(lab: Lab, values: helm.Values) -> None:
    """Creates RayJobs for every kind of write, and one whose head requires a token."""
    secured = lab.namespace in values.get("headTokens", {}).get("namespaces", [])
    by_proxy = values["settings"].get("headAccess") == "api-server"
    for name in ("train", "record", "noted"):
        if by_proxy:
            await lab.cluster.route_service(lab.namespace, f"{name}-c-head-svc", lab.head)
    await lab.create_finished("train", annotations=DUE)
    await lab.create_finished("record", annotations=RECORD)
    await lab.create_finished("noted", annotations=RECORD, head_status="FAILED")
    if secured:
        await lab.create_finished("guarded", annotations={})
        await _secure(lab, "guarded-c")
        await lab.annotate("guarded", DUE)
        await lab.expect_deleted("rayjobs", "guarded")
    if values["settings"].get("deletePods"):
        await lab.create_finished("busy", annotations={})
        await _add_pod(lab, "busy-c")
        with lab.cluster.without_controllers():  # the garbage collector would be first
            await lab.annotate("busy", DUE)
            await lab.expect_event("busy", "Expired")
    await lab.expect_deleted("rayjobs", "train")
    await lab.expect_deleted("rayclusters", "record-c")
    await lab.expect_deleted("rayclusters", "noted-c")
    await lab.expect_event("record", "Expired")


async def _add_pod(lab: Lab, name: str) -> None:
    """Creates a Pod of a RayCluster."""
    raycluster = await lab.get("rayclusters", name)
    assert raycluster is not None
    metadata = {
        "name": f"{name}-worker",
        "labels": {"ray.io/cluster": name},
        "ownerReferences": [_owner(raycluster)],
    }
    containers = [{"name": "ray-worker", "image": "sandbox"}]
    body = {
        "metadata": metadata,
        "spec": {"automountServiceAccountToken": False, "containers": containers},
    }
    await lab.cluster.api.request("POST", f"/api/v1/namespaces/{lab.namespace}/pods", body)


def _owner(raycluster: Body) -> Body:
    """The ownerReference that KubeRay writes."""
    metadata = raycluster["metadata"]
    owner = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "controller": True}
    return {**owner, "name": metadata["name"], "uid": metadata["uid"]}


async def _secure(lab: Lab, name: str) -> None:
    """Creates the auth mode, Secret and Service of a RayCluster as KubeRay does."""
    core = f"/api/v1/namespaces/{lab.namespace}"
    raycluster = await lab.cluster.api.patch(
        lab.path("rayclusters", name), {"spec": {"authOptions": {"mode": "token"}}}
    )
    token = {"auth_token": base64.b64encode(b"open-sesame").decode()}
    await lab.cluster.api.request(
        "POST",
        f"{core}/secrets",
        {"metadata": {"name": name}, "data": token},
    )
    service = objects.head_service(f"{name}-head-svc")
    service["metadata"]["ownerReferences"] = [_owner(raycluster)]
    await lab.cluster.api.request("POST", f"{core}/services", service)


async def _settings(cluster: Cluster) -> dict[str, str]:
    """The settings in the ConfigMap of the release, as the Pods read them."""
    data = (await cluster.api.request("GET", "/api/v1/namespaces/raysweep/configmaps/raysweep"))[
        "data"
    ]
    told = {key.removeprefix("RAYSWEEP_").lower(): value for key, value in data.items()}
    by_proxy = {"head_proxy": ""} if told.get("head_access") == "api-server" else {}
    return {name: value for name, value in told.items() if name != "log_format"} | by_proxy


def _told(event: Mapping[str, Any]) -> str:
    return f"{event['verb']} {event['requestURI']}"


def _print(install: str, values: helm.Values, used: Counter[Grant]) -> None:
    rows = [("resource", "verb", "granted by", "used")]
    for grant in grants(values):
        resource = f"{grant.resource} {grant.name}".strip()
        rows.append((resource, grant.verb, grant.by, str(used[grant])))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    sys.stdout.write("\n  ".join(["", f"Installed {install}:", *lines, ""]))
