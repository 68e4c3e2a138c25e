"""Decisions on a real API server: KubeRay's fields, suspension, GitOps, bulk expiry, dry run."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.kept_rayjobs import KEPT_RAYJOBS
from tests.support.operator_process import Operator, deploy, running_operator
from tests.support.workbench import Lab, rfc3339, utc_now

pytestmark = pytest.mark.every_kuberay_version

DUE = {"raysweep.io/ttl": "0"}
RULES = {
    "deletionRules": [
        {"policy": "DeleteCluster", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 3600}},
        {"policy": "DeleteCluster", "condition": {"jobStatus": "FAILED", "ttlSeconds": 3600}},
    ]
}
KEEPS_THE_CLUSTER = {
    "deletionRules": [
        {"policy": "DeleteWorkers", "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 0}}
    ]
}


@pytest_asyncio.fixture
async def alone() -> AsyncIterator[Cluster]:
    """A sandbox for one test."""
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running


async def test_a_kuberay_ttl_above_0_is_the_ttl_of_the_rayjob(lab: Lab) -> None:
    await lab.create_finished(
        "train", spec={"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 2}
    )

    await lab.expect_deleted("rayjobs", "train")
    assert "ttl 2s (RayJob" in await lab.expect_event("train", "Expired")


async def test_a_kuberay_ttl_of_0_deletes_no_rayjob(
    lab: Lab,
) -> None:
    await lab.create_finished("train", spec={"shutdownAfterJobFinishes": True})

    await lab.expect_deleted(
        "rayclusters", "train-c"
    )  # KubeRay does not act in this namespace: it missed its time
    await lab.expect_event("train", "KubeRayCleanupMissed")
    await lab.wait_until_judged()

    assert await lab.remaining() == {"rayjobs/train"}


async def test_raysweep_waits_for_the_cleanup_of_kuberay(lab: Lab, operator: Operator) -> None:
    before = await operator.metric("raysweep_rayjobs", reason="WaitingForKubeRay")
    spec = {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 3600}
    await lab.create_finished(
        "train", spec=spec, annotations={"raysweep.io/cluster-ttl": "0", "raysweep.io/ttl": "1d"}
    )

    await lab.wait_until_judged()

    assert await lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}
    assert await operator.metric("raysweep_rayjobs", reason="WaitingForKubeRay") == before + 1


async def test_the_namespace_default_applies_to_an_outcome_without_a_deletion_rule(
    lab: Lab,
) -> None:
    await lab.annotate_namespace(DUE)
    await lab.create_finished("train", outcome="STOPPED", spec={"deletionStrategy": RULES})

    await lab.expect_deleted("rayjobs", "train")


async def test_a_deletion_strategy_that_keeps_the_head_is_respected(lab: Lab) -> None:
    await lab.annotate_namespace(DUE)
    spec = {
        "deletionStrategy": KEEPS_THE_CLUSTER,
        "deletionPolicy": "DeleteWorkers",
    }  # the latter in KubeRay 1.4
    await lab.create_finished("train", spec=spec)

    await lab.wait_until_judged()

    assert await lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}


async def test_a_resumed_job_is_deleted_when_it_is_due(lab: Lab) -> None:
    spec = {"suspend": True, "shutdownAfterJobFinishes": True}
    await lab.create_finished(
        "train",
        annotations=DUE,
        spec=spec,
        status={"jobDeploymentStatus": "Suspended", "jobStatus": ""},
    )
    await lab.wait_until_judged()
    assert "rayjobs/train" in await lab.remaining()

    await lab.cluster.api.patch(lab.path("rayjobs", "train"), {"spec": {"suspend": False}})
    await lab.set_status("train", {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"})

    await lab.expect_deleted("rayjobs", "train")


async def test_only_the_cluster_of_a_gitops_rayjob_is_deleted(lab: Lab) -> None:
    await lab.annotate_namespace(DUE)
    await lab.create_finished(
        "tracked", annotations={"argocd.argoproj.io/tracking-id": "app:ray.io/RayJob:ns/tracked"}
    )
    await lab.create_finished(
        "says-so-itself", annotations=DUE, labels={"kustomize.toolkit.fluxcd.io/name": "jobs"}
    )

    await lab.expect_deleted("rayclusters", "tracked-c")
    await lab.expect_deleted("rayjobs", "says-so-itself")
    await lab.wait_until_judged()

    assert await lab.remaining() == {"rayjobs/tracked"}


async def test_an_outcome_of_the_head_is_recorded_before_its_cluster_is_deleted(lab: Lab) -> None:
    ended_at = utc_now().replace(microsecond=0)
    annotations = {
        "raysweep.io/cluster-ttl": "0",
        "raysweep.io/ttl-failed": "1d",
        "raysweep.io/ttl-succeeded": "0",
    }
    await lab.create_finished(
        "train", ended_at=ended_at, head_status="FAILED", annotations=annotations
    )

    await lab.expect_deleted("rayclusters", "train-c")
    await lab.wait_until_judged()

    rayjob = await lab.get("rayjobs", "train")
    assert rayjob is not None
    assert (
        rayjob["metadata"]["annotations"]["raysweep.io/outcome"]
        == f"failed {ended_at:%Y-%m-%dT%H:%M:%SZ}"
    )
    requests = [
        (event["verb"], event["objectRef"]["resource"]) for event in await lab.requests("train")
    ]
    assert requests[:3] == [("get", "rayclusters"), ("patch", "rayjobs"), ("delete", "rayclusters")]


async def test_a_selected_cluster_is_kept_and_the_finished_rayjob_is_deleted(lab: Lab) -> None:
    await lab.create_cluster(await lab.create("host"), "shared")
    spec = {"clusterSelector": {"ray.io/cluster": "shared"}, "rayClusterSpec": None}
    status = {"rayClusterName": "shared"}
    await lab.create_finished(
        "guest", annotations=DUE, spec=spec, with_cluster=False, status=status
    )

    await lab.expect_deleted("rayjobs", "guest")
    assert await lab.remaining() == {"rayjobs/host", "rayclusters/shared"}


async def test_an_interactive_rayjob_without_a_job_is_deleted(lab: Lab) -> None:
    annotations = {"raysweep.io/ttl-unsubmitted": "1s"}
    spec = {"submissionMode": "InteractiveMode", "entrypoint": None}
    own = await lab.cluster.heads.light(f"own-{lab.namespace}")
    rayjob = await lab.create("waiting", annotations=annotations, spec=spec)
    await lab.create_cluster(rayjob, "waiting-c", head=own)
    started_at = (utc_now() - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    await lab.set_status(
        "waiting",
        {"jobDeploymentStatus": "Waiting", "rayClusterName": "waiting-c", "startTime": started_at},
    )

    await lab.expect_deleted("rayjobs", "waiting")
    await lab.expect_event("waiting", "NeverSubmitted")
    await own.stop()


async def test_a_shortened_default_waits_and_is_blocked_by_bulk_expiry_max(
    alone: Cluster,
) -> None:
    head = await alone.heads.light("quiet")
    kubeconfig = await deploy(alone)
    lab = await Lab.open(alone, head, annotations={"raysweep.io/ttl": "24h"})
    many, ended_at = asyncio.Semaphore(16), utc_now() - timedelta(minutes=5)

    async def one(number: int) -> None:
        async with many:
            await lab.create_finished(
                f"job-{number}",
                ended_at=ended_at,
                with_cluster=False,
                head_status=None,
                status={"rayClusterName": ""},
            )

    await asyncio.gather(*(one(number) for number in range(150)))
    async with running_operator(alone, kubeconfig, bulk_expiry_wait="5s") as operator:
        await until(lambda: _reason_count(operator, "NotDue", 150), timeout=90)
        await lab.annotate_namespace({"raysweep.io/ttl": "1m"})
        await until(lambda: _reason_count(operator, "BulkExpiryBlocked", 150), timeout=60)
        assert len(await lab.remaining()) == 150
    async with running_operator(alone, kubeconfig, bulk_expiry_wait="1s", bulk_expiry_max="150"):

        async def is_empty() -> bool:
            return await lab.remaining() == set()

        await until(is_empty, timeout=90)


async def test_dry_run_deletes_nothing_and_reports_what_is_due(alone: Cluster) -> None:
    head = await alone.heads.light("quiet")
    kubeconfig = await deploy(alone)
    async with running_operator(
        alone, kubeconfig, mode="DryRun", bulk_expiry_wait="1s", kuberay_grace="1s"
    ):
        labs = [await Lab.open(alone, head) for _ in KEPT_RAYJOBS]
        for lab, (_, arrange) in zip(labs, KEPT_RAYJOBS, strict=True):
            await arrange(lab)
        due = await Lab.open(alone, head)
        expected = await everything_that_goes(due)

        notes = [
            await due.expect_event(name, reason, timeout=90) for name, reason in expected.items()
        ]

    assert all("DryRun" in note or "delete" in note for note in notes)
    verbs = {
        (event["verb"], event["objectRef"]["resource"])
        for event in await alone.audit("raysweep")
        if "objectRef" in event
    }
    assert {(verb, what) for verb, what in verbs if verb not in ("get", "list", "watch")} == {
        ("create", "events"),
        ("create", "selfsubjectaccessreviews"),
        ("create", "leases"),
        ("update", "leases"),
    }


async def test_the_deleted_cluster_of_an_earlier_attempt_delays_nothing(
    alone: Cluster,
) -> None:
    """It is in the first list, there is no later one, and RayClusters are not watched."""
    kubeconfig, lab = await deploy(alone), await Lab.open(alone, await alone.heads.light("quiet"))
    retried = await lab.create("train", annotations=DUE, spec={"backoffLimit": 1})
    await lab.create_cluster(retried, "first-attempt")
    await lab.set_status(
        "train",
        {
            "jobDeploymentStatus": "Running",
            "jobStatus": "RUNNING",
            "rayClusterName": "first-attempt",
        },
    )

    async with running_operator(alone, kubeconfig, relist_every="1h"):
        await alone.api.delete(lab.path("rayclusters", "first-attempt"))
        await lab.create_cluster(retried, "second-attempt")
        now = utc_now()
        await lab.head.put_record("train-2", status="SUCCEEDED", start_time=now, end_time=now)
        ended = {
            "jobDeploymentStatus": "Complete",
            "jobStatus": "SUCCEEDED",
            "jobId": "train-2",
            "endTime": rfc3339(now),
        }
        await lab.set_status("train", {**ended, "rayClusterName": "second-attempt"})

        await lab.expect_deleted("rayjobs", "train")
        await lab.expect_deleted("rayclusters", "second-attempt")
        await lab.expect_event("train", "Expired")
    assert [reason for _, reason, _ in await lab.events("train")] == ["Expired"]


async def test_a_cluster_that_kuberay_deletes_during_the_query_counts_as_deleted(
    alone: Cluster,
) -> None:
    kubeconfig, lab = await deploy(alone), await Lab.open(alone, await alone.heads.light("quiet"))
    lab.head.suspend()
    async with running_operator(alone, kubeconfig):
        await lab.create_finished("train", annotations=DUE, head_status=None)

        async def is_asked() -> bool:
            return await lab.requested("train-c", "get") != []

        await until(is_asked, timeout=90)
        await alone.api.delete(lab.path("rayclusters", "train-c"))
        await lab.expect_deleted("rayjobs", "train")
        await lab.expect_event("train", "Expired")
    assert [reason for _, reason, _ in await lab.events("train")] == ["Expired"]


async def everything_that_goes(lab: Lab) -> dict[str, str]:
    """Creates a RayJob for each reason of a deletion. Returns reasons by name."""
    shutdown, times = (
        {"shutdownAfterJobFinishes": True},
        {"raysweep.io/cluster-ttl": "0", "raysweep.io/ttl": "1d"},
    )
    await lab.annotate_namespace({"raysweep.io/ttl-stopped": "0"})
    await lab.create_finished("train", annotations=DUE)
    await lab.create_finished(
        "failed", outcome="FAILED", annotations={"raysweep.io/ttl-failed": "0"}
    )
    await lab.create_finished(
        "stopped-by-its-namespace", outcome="STOPPED", spec={"deletionStrategy": RULES}
    )
    await lab.create_finished("cluster-only", annotations={"raysweep.io/cluster-ttl": "0"})
    await lab.create_finished("head-says-failed", head_status="FAILED", annotations=times)
    await lab.create_finished("unknown-to-its-head", head_status=None, annotations=DUE)
    await lab.create_finished(
        "without-a-cluster", with_cluster=False, head_status=None, annotations=DUE
    )
    await lab.create_finished("kuberay-ttl", spec={**shutdown, "ttlSecondsAfterFinished": 1})
    await lab.create_finished("kuberay-missed", spec=shutdown)
    await lab.create_finished(
        "tracked", annotations={**times, "argocd.argoproj.io/tracking-id": "app"}
    )
    await lab.create_finished(
        "tracked-says-so", annotations=DUE, labels={"kustomize.toolkit.fluxcd.io/name": "jobs"}
    )
    await lab.create_cluster(await lab.create("host"), "shared")
    selects = {"clusterSelector": {"ray.io/cluster": "shared"}, "rayClusterSpec": None}
    await lab.create_finished(
        "guest",
        annotations=DUE,
        spec=selects,
        with_cluster=False,
        status={"rayClusterName": "shared"},
    )
    names = [
        "train",
        "failed",
        "stopped-by-its-namespace",
        "cluster-only",
        "head-says-failed",
        "unknown-to-its-head",
    ]
    names += ["without-a-cluster", "kuberay-ttl", "tracked", "tracked-says-so", "guest"]
    return {**dict.fromkeys(names, "Expired"), "kuberay-missed": "KubeRayCleanupMissed"}


async def _reason_count(operator: Operator, reason: str, wanted: int) -> bool:
    return await operator.metric("raysweep_rayjobs", reason=reason) == wanted
