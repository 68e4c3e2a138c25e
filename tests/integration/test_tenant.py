"""With limits and the admission policies no tenant keeps a RayCluster beyond its limit."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.admission import (
    FORGED,
    LATER,
    MULTIKUEUE,
    ORIGIN,
    PEOPLE,
    SELECTS,
    TRACKED,
    Bundle,
    Write,
    controlled_by,
    ours,
)
from tests.support.operator_process import running_operator
from tests.support.workbench import Body, Lab, utc_now

pytestmark = pytest.mark.xdist_group("admission")

FAR = {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 2**31 - 1}
REFUSED, TAKEN = True, False

WAYS: dict[str, tuple[Body, bool]] = {
    "keep-until": ({"metadata": {"annotations": ours({"keep_until": LATER})}}, REFUSED),
    "keep-oddly": ({"metadata": {"annotations": ours({"keep_until": "for ever"})}}, REFUSED),
    "never": (
        {"metadata": {"annotations": ours({"ttl": "never", "cluster_ttl": "never"})}},
        REFUSED,
    ),
    "long": ({"metadata": {"annotations": ours({"ttl": "5000w", "cluster_ttl": "5000w"})}}, TAKEN),
    "invalid": (
        {"metadata": {"annotations": ours({"ttl": "soon", "cluster_ttl": "later"})}},
        TAKEN,
    ),
    "misspelt": ({"metadata": {"annotations": ours({"clutser_ttl": "1h"})}}, TAKEN),
    "outcome": ({"metadata": {"annotations": ours({"outcome": f"failed {LATER}"})}}, REFUSED),
    "multikueue": ({"metadata": {"labels": ORIGIN}}, REFUSED),
    "tracked": ({"metadata": {"annotations": TRACKED}}, REFUSED),
    "owned": ({"metadata": {"ownerReferences": [controlled_by("Workflow")]}}, REFUSED),
    "orphan": ({"metadata": {"finalizers": ["orphan"]}}, REFUSED),
    "finalizer": ({"metadata": {"finalizers": ["example.com/hold"]}}, REFUSED),
    "forged": ({"metadata": {"managedFields": [FORGED]}}, REFUSED),
    "label": ({"metadata": {"labels": {"team": "other"}}}, TAKEN),
    "managed-by": ({"spec": MULTIKUEUE}, REFUSED),
    "selector": ({"spec": SELECTS}, REFUSED),
    "suspend": ({"spec": {"suspend": True}}, TAKEN),
    "kuberay-ttl": ({"spec": FAR}, TAKEN),
    "running": ({"status": {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}}, REFUSED),
    "suspended": ({"status": {"jobDeploymentStatus": "Suspended"}}, REFUSED),
    "renamed": ({"status": {"rayClusterName": "Not A Name"}}, REFUSED),
    "ended-later": ({"status": {"endTime": LATER}}, REFUSED),
}
"""By the name of the RayJob: what the tenant writes, and whether it is rejected."""


@pytest_asyncio.fixture
async def lab(bundle: Bundle) -> AsyncIterator[Lab]:
    """A namespace with limits in which the tenant has all rights on RayJobs."""
    lab = await Lab.open(bundle.cluster, await bundle.cluster.heads.light("quiet"))
    namespace, _, name = PEOPLE["a tenant"].partition("/")
    binding = {
        "metadata": {"name": "rayjobs"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "rayjobs",
        },
        "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": name}],
    }
    await lab.cluster.api.request(
        "POST",
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{lab.namespace}/rolebindings",
        binding,
    )
    limits = {"rayCluster": {"max": "1s"}, "keep": {"max": "1s"}}
    await lab.set_policy("bounds", {"retention": {"rayJob": {"default": "1w"}}, "limits": limits})
    yield lab
    await lab.delete_policy("bounds")


def _write(lab: Lab, name: str, body: Body) -> Write:
    path = lab.path("rayjobs", name) + ("/status" if "status" in body else "")
    return Write("PATCH", path, body, params={})


async def test_no_write_of_a_tenant_keeps_a_finished_cluster_beyond_its_limit(
    bundle: Bundle, lab: Lab
) -> None:
    refused: dict[str, str] = {}

    async def one(name: str, body: Body) -> None:
        await lab.create_finished(name, ended_at=utc_now())
        refused[name] = await bundle.refusal("a tenant", _write(lab, name, body))

    kubeconfig = await bundle.cluster.kubeconfig_for("raysweep", "raysweep")
    settings: dict[str, Any] = {"bulk_expiry_wait": "1s", "kuberay_grace": "1s"}
    await asyncio.gather(*(one(name, body) for name, (body, _) in WAYS.items()))
    async with running_operator(bundle.cluster, kubeconfig, **settings):
        for name in WAYS:
            await lab.expect_deleted("rayclusters", f"{name}-c", timeout=90)

    assert {name: answer != "" for name, answer in refused.items()} == {
        name: is_refused for name, (_, is_refused) in WAYS.items()
    }


async def test_an_orphaning_deletion_is_refused_and_the_cluster_is_deleted_in_time(
    bundle: Bundle, lab: Lab
) -> None:
    kubeconfig = await bundle.cluster.kubeconfig_for("raysweep", "raysweep")
    await lab.create_finished("train", ended_at=utc_now())
    orphan = Write(
        "DELETE", lab.path("rayjobs", "train"), {"propagationPolicy": "Orphan"}, params={}
    )
    assert "denied request" in await bundle.refusal("a tenant", orphan)
    async with running_operator(bundle.cluster, kubeconfig, bulk_expiry_wait="1s"):
        await lab.expect_deleted("rayclusters", "train-c", timeout=60)
