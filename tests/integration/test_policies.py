"""RayJobCleanupPolicies on a real API server, also invalid and deleted policies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest_asyncio
import yaml

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.operator_process import (
    CRDS,
    POLICIES,
    Operator,
    deploy,
    running_operator,
    wait_for_policy_crd,
)
from tests.support.workbench import Body, Lab, utc_now

DUE = {"raysweep.io/ttl": "0"}
AT_ONCE: Body = {"retention": {"rayJob": {"default": 0}}}
NO_CLUSTER: dict[str, Any] = {
    "with_cluster": False,
    "head_status": None,
    "status": {"rayClusterName": ""},
}


@pytest_asyncio.fixture
async def policies(lab: Lab) -> AsyncIterator[Lab]:
    """The lab. All policies, which are cluster-scoped, are deleted after the test."""
    yield lab
    for item in (await lab.cluster.api.request("GET", POLICIES))["items"]:
        await lab.delete_policy(item["metadata"]["name"])


@pytest_asyncio.fixture
async def alone() -> AsyncIterator[Cluster]:
    """A sandbox for one test."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running


async def test_the_retention_of_a_policy_applies_to_finished_jobs(
    policies: Lab,
) -> None:
    retention = {
        "rayJob": {"default": "1d", "failed": "1h"},
        "rayCluster": {"default": 0, "failed": "never"},
    }
    await policies.create_finished("train")
    await policies.create_finished("failed", outcome="FAILED")
    await policies.set_policy("defaults", {"retention": retention})

    await policies.expect_deleted("rayclusters", "train-c")
    note = await policies.expect_event("train", "Expired")
    assert "RayJobCleanupPolicy defaults spec.retention.rayCluster.default" in note
    status, reason, _ = await policies.condition("defaults", "Accepted")
    assert (status, reason) == ("True", "Accepted")
    await policies.wait_until_judged()
    assert await policies.remaining() == {"rayjobs/train", "rayjobs/failed", "rayclusters/failed-c"}


async def test_limits_hold_against_every_annotation(policies: Lab) -> None:
    limits = {"rayCluster": {"max": 0}, "rayJob": {"max": "1d"}, "keep": {"max": 0}}
    await policies.set_policy("bounds", {"limits": limits})
    await policies.condition("bounds", "Accepted")
    far = "2099-01-01T00:00:00Z"
    tenant_annotations: dict[str, dict[str, str]] = {
        "never": {"raysweep.io/ttl": "never"},
        "long": {"raysweep.io/ttl": "52w", "raysweep.io/cluster-ttl": "52w"},
        "invalid": {"raysweep.io/ttl": "soon"},
        "misspelt": {"raysweep.io/tll": "1h"},
        "outcome": {"raysweep.io/ttl": "1h", "raysweep.io/outcome": "running for ever"},
        "kept": {"raysweep.io/ttl": "0", "raysweep.io/keep-until": far},
        "kept-oddly": {"raysweep.io/ttl": "0", "raysweep.io/keep-until": "for ever"},
    }
    for name, annotations in tenant_annotations.items():
        await policies.create_finished(name, annotations=annotations)

    for name in tenant_annotations:
        await policies.expect_deleted("rayclusters", f"{name}-c", timeout=60)
    await policies.wait_until_judged()
    # The limit of a hold counts from the due time, and a ttl of 0 makes the RayJob due too.
    kept = {
        "rayjobs/never",
        "rayjobs/long",
        "rayjobs/invalid",
        "rayjobs/misspelt",
        "rayjobs/outcome",
    }
    assert await policies.remaining() == kept


async def test_a_limit_alone_deletes_nothing(policies: Lab) -> None:
    await policies.set_policy("bounds", {"limits": {"rayJob": {"max": 0}}})
    status, reason, _ = await policies.condition("bounds", "Accepted")
    assert (status, reason) == ("True", "Accepted")
    await policies.create_finished("train")
    await policies.wait_until_judged()
    assert await policies.remaining() == {"rayjobs/train", "rayclusters/train-c"}


async def test_contradictory_limits_keep_the_rayjob_and_policies_name_each_other(
    policies: Lab,
) -> None:
    await policies.set_policy("long", {"limits": {"rayJob": {"min": "1d"}}})
    await policies.set_policy("short", {"limits": {"rayJob": {"max": "1h"}}})
    status, reason, message = await policies.condition("short", "Overlaps", status="True")
    assert (status, reason) == ("True", "LimitsConflict")
    assert "RayJobCleanupPolicy long spec.limits.rayJob.min" in message

    await policies.create_finished("train", annotations=DUE)
    await policies.expect_event("train", "LimitsConflict")
    assert await policies.remaining() == {"rayjobs/train", "rayclusters/train-c"}
    await policies.delete_policy("long")
    await policies.expect_deleted("rayjobs", "train")


async def test_of_two_policies_with_equal_priority_the_first_by_name_applies(
    policies: Lab,
) -> None:
    await policies.set_policy("b", AT_ONCE)
    await policies.set_policy("a", {"retention": {"rayJob": {"default": "never"}}})
    _, reason, message = await policies.condition("b", "Overlaps", status="True")
    assert reason == "SamePriority"
    assert "RayJobCleanupPolicy a" in message
    assert "retention.rayJob.default" in message

    await policies.create_finished("train")
    await policies.wait_until_judged()
    assert "rayjobs/train" in await policies.remaining()


async def test_dry_run_of_one_policy_deletes_nothing_that_it_selects(
    policies: Lab, operator: Operator
) -> None:
    await policies.set_policy("stop", {"mode": "DryRun"})
    await policies.condition("stop", "Accepted")
    await policies.create_finished("train", annotations=DUE)

    note = await policies.expect_event("train", "Expired")
    for part in ("RayJob train", "RayCluster train-c", "RayJobCleanupPolicy stop", "DryRun"):
        assert part in note
    assert await policies.remaining() == {"rayjobs/train", "rayclusters/train-c"}
    (line,) = [
        entry
        for entry in operator.log()
        if entry.get("dry_run_by") and entry["namespace"] == policies.namespace
    ]
    assert line["dry_run_by"] == "RayJobCleanupPolicy stop"
    await policies.delete_policy("stop")
    await policies.expect_deleted("rayjobs", "train")


async def test_a_policy_selects_rayjobs_by_label(policies: Lab) -> None:
    selector = {
        "matchExpressions": [{"key": "team", "operator": "In", "values": ["vision", "speech"]}]
    }
    await policies.set_policy("vision", {**AT_ONCE, "rayJobSelector": selector})
    await policies.create_finished("vision", labels={"team": "vision"})
    await policies.create_finished("nlp", labels={"team": "nlp"})

    await policies.expect_deleted("rayjobs", "vision")
    await policies.wait_until_judged()
    assert await policies.remaining() == {"rayjobs/nlp", "rayclusters/nlp-c"}


async def test_a_policy_applies_once_the_namespace_has_its_label(policies: Lab) -> None:
    await policies.create_finished("train")
    await policies.set_policy(
        "tier",
        {**AT_ONCE, "namespaceSelector": {"matchLabels": {f"tier-{policies.namespace}": "short"}}},
    )
    await policies.wait_until_judged()
    assert "rayjobs/train" in await policies.remaining()

    path = f"/api/v1/namespaces/{policies.namespace}"
    await policies.cluster.api.patch(
        path, {"metadata": {"labels": {f"tier-{policies.namespace}": "short"}}}
    )

    await policies.expect_deleted("rayjobs", "train")


async def test_stuck_jobs_are_deleted_by_a_policy(policies: Lab) -> None:
    started_at = (utc_now() - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    busy, used = [
        await policies.cluster.heads.light(f"{kind}-{policies.namespace}")
        for kind in ("busy", "used")
    ]
    await used.put_record("other", status="RUNNING", start_time=utc_now(), end_time=None)
    await policies.create_finished("runs-on", annotations=DUE, head_status="RUNNING", head=busy)
    await policies.create_finished("used", annotations=DUE, head=used)
    rayjob = await policies.create("not-ready", spec={"submissionMode": "K8sJobMode"})
    await policies.create_cluster(rayjob, "not-ready-c")
    initializing = {
        "jobDeploymentStatus": "Initializing",
        "jobId": "not-ready-x",
        "rayClusterName": "not-ready-c",
    }
    await policies.set_status("not-ready", initializing | {"startTime": started_at})
    await policies.expect_event("runs-on", "StillRunning")
    await policies.expect_event("used", "ClusterInUse")
    assert "rayjobs/not-ready" in await policies.remaining()

    await policies.set_policy(
        "stuck", {"stuck": {"stillRunning": "1s", "clusterInUse": "1s", "initializing": "1s"}}
    )

    for name, reason in (
        ("runs-on", "StuckRunning"),
        ("used", "StuckInUse"),
        ("not-ready", "StuckInitializing"),
    ):
        await policies.expect_deleted("rayjobs", name, timeout=60)
        await policies.expect_event(name, reason)
    assert await policies.remaining() == set()
    await busy.stop()
    await used.stop()


async def _create_finished_jobs(lab: Lab, count: int) -> None:
    """Creates RayJobs that finished five minutes ago."""
    at_once, ended_at = asyncio.Semaphore(16), utc_now() - timedelta(minutes=5)

    async def create(number: int) -> None:
        async with at_once:
            await lab.create_finished(f"job-{number}", ended_at=ended_at, **NO_CLUSTER)

    await asyncio.gather(*(create(number) for number in range(count)))


async def _wait_for_count(operator: Operator, reason: str, count: int) -> None:
    """Waits until so many RayJobs have a reason."""

    async def is_reached() -> bool:
        return await operator.metric("raysweep_rayjobs", reason=reason) == count

    await until(is_reached, timeout=60)


async def _deletes(cluster: Cluster) -> int:
    requests = await cluster.audit("raysweep")
    return sum(request["verb"] == "delete" for request in requests)


async def test_a_shortened_policy_waits_and_a_dry_run_stops_its_deletions(
    alone: Cluster,
) -> None:
    head = await alone.heads.light("quiet")
    kubeconfig = await deploy(alone)
    lab = await Lab.open(alone, head)
    await lab.set_policy("defaults", {"retention": {"rayJob": {"default": "24h"}}})
    await _create_finished_jobs(lab, 80)
    async with running_operator(alone, kubeconfig, bulk_expiry_wait="6s") as operator:
        await _wait_for_count(operator, "NotDue", 80)
        await lab.set_policy("defaults", {"retention": {"rayJob": {"default": "1m"}}})
        await _wait_for_count(operator, "BulkExpiryDelay", 80)

        await lab.set_policy("stop", {"mode": "DryRun", "namespaceSelector": {}})
        await lab.condition("stop", "Accepted")
        # The delay is over, and the dry run reports all of them.
        await _wait_for_count(operator, "Expired", 80)
        assert await _deletes(alone) == 0
        assert len(await lab.remaining()) == 80

        await lab.delete_policy("stop")

        async def is_empty() -> bool:
            return await lab.remaining() == set()

        await until(is_empty, timeout=60)


async def test_after_the_deletion_of_a_policy_or_the_crd_the_bulk_expiry_delay_applies(
    alone: Cluster,
) -> None:
    head = await alone.heads.light("quiet")
    kubeconfig = await deploy(alone)
    lab = await Lab.open(alone, head)
    await lab.create_finished("by-annotation", annotations=DUE)
    await lab.create_finished("by-nobody")
    await lab.set_policy(
        "least", {"limits": {"rayJob": {"min": "1d"}, "rayCluster": {"min": "1d"}}}
    )
    await lab.set_policy("defaults", {"retention": {"rayJob": {"default": "2d"}}})
    async with running_operator(
        alone, kubeconfig, bulk_expiry_wait="8s", relist_every="2s"
    ) as operator:
        await _wait_for_count(operator, "NotDue", 2)
        await lab.delete_policy("least")
        await _wait_for_count(operator, "BulkExpiryDelay", 1)
        await lab.set_policy(
            "least", {"limits": {"rayJob": {"min": "1d"}, "rayCluster": {"min": "1d"}}}
        )
        await _wait_for_count(operator, "NotDue", 2)

        await alone.api.delete(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rayjobcleanuppolicies.raysweep.io"
        )
        await _wait_for_count(operator, "BulkExpiryDelay", 1)
        await _wait_for_count(operator, "NoTTL", 1)
        assert await _deletes(alone) == 0

        await lab.expect_deleted("rayjobs", "by-annotation")
        await lab.wait_until_judged()
        assert await lab.remaining() == {"rayjobs/by-nobody", "rayclusters/by-nobody-c"}
        assert operator.process.returncode is None  # a restart would forget the delay


async def test_without_the_crd_it_runs_and_logs_once_until_policies_exist(
    alone: Cluster,
) -> None:
    head = await alone.heads.light("quiet")
    kubeconfig = await deploy(alone, crds=False)
    lab = await Lab.open(alone, head)
    async with running_operator(
        alone, kubeconfig, bulk_expiry_wait="1s", relist_every="2s", policies_every="1s"
    ) as operator:
        await lab.create_finished("train", annotations=DUE)
        await lab.expect_deleted("rayjobs", "train")
        await lab.create_finished("kept")
        for _ in range(3):
            await operator.wait_for_relist()
        messages = [line["msg"] for line in operator.log() if "RayJobCleanupPolic" in line["msg"]]
        assert len(messages) == 1

        await deploy(alone)
        await lab.set_policy("defaults", AT_ONCE)

        await lab.expect_deleted("rayjobs", "kept", timeout=60)
        assert operator.process.returncode is None


async def _rule_for_policies(cluster: Cluster, verbs: list[str]) -> None:
    """Sets the rights of the operator and of all users on policies."""
    for name in ("raysweep", "raysweep-policy-reader"):
        path = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}"
        role = await cluster.api.request("GET", path)
        for rule in role["rules"]:
            if rule["resources"] == ["rayjobcleanuppolicies"]:
                rule["verbs"] = verbs
        await cluster.api.request("PUT", path, role)


async def test_without_the_right_to_list_policies_everything_is_kept(alone: Cluster) -> None:
    head = await alone.heads.light("quiet")
    kubeconfig = await deploy(alone)
    lab = await Lab.open(alone, head)
    fresh: dict[str, Any] = {
        "confirmed_within": "0.001s",
        "relist_every": "1s",
        "policies_every": "1s",
    }
    async with running_operator(alone, kubeconfig, bulk_expiry_wait="1s", **fresh) as operator:
        await _rule_for_policies(alone, ["watch"])
        await lab.create_finished("train", annotations=DUE)
        await _wait_for_count(operator, "PoliciesUnknown", 1)
        assert await lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}
        assert operator.process.returncode is None

        await _rule_for_policies(alone, ["list", "watch"])
        await lab.expect_deleted("rayjobs", "train", timeout=90)


def _lax(body: Any) -> Any:
    """A schema that accepts every value, as an older or changed CRD could."""
    if isinstance(body, dict):
        left = {
            key: _lax(value)
            for key, value in body.items()
            if key not in ("x-kubernetes-validations", "pattern", "enum")
        }
        return {
            key: value
            for key, value in left.items()
            if key not in ("maximum", "maxLength", "minProperties")
        }
    return [_lax(item) for item in body] if isinstance(body, list) else body


@contextlib.asynccontextmanager
async def _lax_crd(cluster: Cluster) -> AsyncIterator[None]:
    (path,) = CRDS.glob("*.yaml")
    crd = yaml.safe_load(path.read_text())
    for version in crd["spec"]["versions"]:
        properties = version["schema"]["openAPIV3Schema"]["properties"]
        properties["spec"] = _lax(properties["spec"])
    await cluster.api.request(
        "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd
    )
    await wait_for_policy_crd(cluster)
    yield


WRONG: dict[str, Body] = {
    "a-duration": {"retention": {"rayJob": {"default": "soon"}}},
    "a-limit": {"limits": {"rayJob": {"min": "2d", "max": "1d"}}},
    "a-mode": {"mode": "Stop"},
    "a-selector": {
        "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Like"}]},
        **AT_ONCE,
    },
    "limits-by-label": {
        "limits": {"rayJob": {"max": "1d"}},
        "rayJobSelector": {"matchLabels": {"a": "b"}},
    },
    "nothing": {"retention": {}},
}


async def test_an_invalid_policy_keeps_what_it_selects_and_reports_itself(
    alone: Cluster,
) -> None:
    head = await alone.heads.light("quiet")
    kubeconfig = await deploy(alone, crds=False)
    async with (
        _lax_crd(alone),
        running_operator(alone, kubeconfig, bulk_expiry_wait="1s", policies_every="1s") as operator,
    ):
        for name, spec in WRONG.items():
            lab = await Lab.open(alone, head)
            await lab.set_policy(name, spec)
            status, reason, _ = await lab.condition(name, "Accepted")
            assert (status, reason) == ("False", "Invalid"), name
            await lab.create_finished("train", annotations=DUE)
            await _wait_for_count(operator, "Invalid", 1)
            assert await lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}, name
            events = await alone.api.request(
                "GET", "/apis/events.k8s.io/v1/namespaces/default/events"
            )
            assert any(
                e["regarding"]["name"] == name and e["reason"] == "Invalid" for e in events["items"]
            ), name

            await lab.delete_policy(name)
            await lab.expect_deleted("rayjobs", "train")
