"""Heads without a usable answer, and job ends that KubeRay does not report."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from sandbox import cluster as sandbox_cluster
from tests.support.operator_process import deploy, running_operator
from tests.support.workbench import Body, Lab, rfc3339, utc_now

pytestmark = pytest.mark.timeout(300)
DUE = {"raysweep.io/ttl": "0"}
IMPATIENT: dict[str, Any] = {
    "silent_probe_after": "1s",
    "silent_probe_at_most": "1s",
    "unconfirmed_after": "3s",
    "unchanged_after": "2s",
    "status_probe_after": "1s",
    "bulk_expiry_wait": "1s",
    "relist_every": "5s",
}
GAVE_UP = {"jobStatus": "RUNNING", "reason": "SubmissionFailed"}


@pytest_asyncio.fixture
async def lab() -> AsyncIterator[Lab]:
    """A namespace in its own sandbox, with an operator that waits seconds instead of minutes."""
    async with sandbox_cluster.start(say=lambda _: None) as alone:
        kubeconfig = await deploy(alone)
        async with running_operator(alone, kubeconfig, **IMPATIENT):
            yield await Lab.open(alone, await alone.heads.light("quiet"))


async def _set_head(lab: Lab, cluster: str, *, status: str, reason: str, **head: str) -> None:
    """The condition that KubeRay writes about the head Pod."""
    condition = {
        "type": "HeadPodReady",
        "status": status,
        "reason": reason,
        "message": "",
        "lastTransitionTime": rfc3339(utc_now()),
    }
    said = {
        "state": "ready",
        "head": {"serviceName": f"{cluster}-head-svc", **head},
        "conditions": [condition],
    }
    await lab.cluster.api.patch(f"{lab.path('rayclusters', cluster)}/status", {"status": said})


async def _unfinished(lab: Lab, name: str, mode: str, status: Body, **options: Any) -> None:
    """Creates an unfinished RayJob that started a minute ago, with its RayCluster."""
    started_at = utc_now() - timedelta(minutes=1)
    rayjob = await lab.create(
        name, spec={"submissionMode": mode}, annotations=options.pop("annotations", {})
    )
    await lab.create_cluster(rayjob, f"{name}-c", **options)
    begun = {"jobId": f"{name}-x", "rayClusterName": f"{name}-c", "startTime": rfc3339(started_at)}
    await lab.set_status(name, begun | status)


async def _silent_head(lab: Lab, name: str) -> Any:
    head = await lab.cluster.heads.light(name)
    head.suspend()
    return head


async def test_a_rayjob_with_an_unready_head_is_kept_and_one_without_a_head_is_not(
    lab: Lab,
) -> None:
    silent = await _silent_head(lab, "silent")
    for name in ("unready", "gone"):
        await lab.create_finished(
            name, outcome="FAILED", head=silent, head_status=None, status=GAVE_UP
        )
    pod = {"podName": "head-x", "podIP": "10.0.0.1"}
    await _set_head(lab, "unready-c", status="False", reason="ContainersNotReady", **pod)
    await _set_head(lab, "gone-c", status="False", reason="HeadPodNotFound")

    await lab.annotate_namespace(DUE)

    await lab.expect_deleted("rayjobs", "gone")
    await lab.expect_event("gone", "Unconfirmed")
    await lab.expect_event("unready", "HeadUnreachable")
    assert await lab.remaining() == {"rayjobs/unready", "rayclusters/unready-c"}


async def test_rayjobs_with_silent_heads_are_kept_until_a_policy_deletes_them(lab: Lab) -> None:
    """The job of a SidecarMode RayJob runs while its status is Initializing."""
    silent = await _silent_head(lab, "silent")
    await lab.set_policy(
        "stuck", {"stuck": {"initializing": "1s", "stillRunning": "1s", "clusterInUse": "1s"}}
    )
    initializing: Body = {"jobDeploymentStatus": "Initializing"}
    await _unfinished(lab, "sidecar", "SidecarMode", initializing, head=silent)
    await _unfinished(lab, "k8s", "K8sJobMode", initializing, head=silent)
    await lab.create_finished(
        "failed", outcome="FAILED", annotations=DUE, head=silent, head_status=None
    )

    await lab.expect_deleted("rayjobs", "k8s")
    await lab.expect_event("k8s", "StuckInitializing")
    for name in ("sidecar", "failed"):
        await lab.expect_event(name, "HeadUnreachable")
        assert f"rayjobs/{name}" in await lab.remaining()

    await lab.set_policy("stuck", {"stuck": {"initializing": "1s", "headUnreachable": "1s"}})

    for name in ("sidecar", "failed"):
        await lab.expect_deleted("rayjobs", name)
        await lab.expect_event(name, "StuckUnreachable")
    assert await lab.remaining() == set()


async def test_a_job_without_a_record_in_its_restarted_head_is_lost_in_every_mode(
    lab: Lab,
) -> None:
    await lab.set_policy("stuck", {"stuck": {"jobLost": "2s"}})
    silent = await _silent_head(lab, "silent")
    runs: Body = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
    await _unfinished(lab, "silent", "K8sJobMode", runs, head=silent)
    for mode in ("K8sJobMode", "SidecarMode", "HTTPMode"):
        await _unfinished(lab, mode.lower(), mode, runs)

    for mode in ("K8sJobMode", "SidecarMode", "HTTPMode"):
        await lab.expect_deleted("rayjobs", mode.lower())
        await lab.expect_event(mode.lower(), "JobLost")
    assert await lab.remaining() == {"rayjobs/silent", "rayclusters/silent-c"}


async def test_a_job_end_of_the_head_counts_while_kuberay_reports_running(
    lab: Lab,
) -> None:
    silent = await _silent_head(lab, "silent")
    ended_at = rfc3339(utc_now())
    info = {"rayJobInfo": {"startTime": ended_at, "endTime": ended_at}}
    for name, status in (
        ("running", "Running"),
        ("initializing", "Initializing"),
        ("unsaid", "Running"),
    ):
        said: Body = {
            "jobDeploymentStatus": status,
            "jobStatus": "SUCCEEDED",
            **({} if name == "unsaid" else info),
        }
        await _unfinished(lab, name, "SidecarMode", said, head=silent, annotations=DUE)

    for name in ("running", "initializing"):
        await lab.expect_deleted("rayjobs", name)
        await lab.expect_event(name, "FinishedUnreported")
    assert await lab.remaining() == {"rayjobs/unsaid", "rayclusters/unsaid-c"}
