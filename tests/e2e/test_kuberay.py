"""What the real KubeRay operator makes of a RayJob, and what Raysweep then deletes."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from sandbox import binaries
from sandbox.cluster import Cluster
from sandbox.heads import Head
from sandbox.kuberay import KubeRay
from sandbox.waiting import until
from tests.support.network_faults import Gateway
from tests.support.operator_process import Operator, running_operator
from tests.support.real_jobs import RUNS_ON, cluster_name, reaches
from tests.support.workbench import Body, Lab

SUCCEEDS, FAILS = "true", "false"
"""Without quotes, which the submitters of Ray 2.46 and older lose."""
OWN_HEAD = {"sandbox/head": "full"}
MODES_AND_ENDS = [
    pytest.param("K8sJobMode", SUCCEEDS, "succeeded", id="K8sJobMode, success"),
    pytest.param("SidecarMode", SUCCEEDS, "succeeded", id="SidecarMode, success"),
    pytest.param("HTTPMode", SUCCEEDS, "succeeded", id="HTTPMode, success"),
    pytest.param("K8sJobMode", FAILS, "failed", id="K8sJobMode, failure"),
]


def has_field(name: str) -> bool:
    """Whether this version of KubeRay has a field. `make matrix` runs these tests with others."""
    return f" {name}:" in (binaries.kuberay_crds() / "ray.io_rayjobs.yaml").read_text()


def needs_kuberay_1_5() -> None:
    if not has_field("deletionRules"):
        pytest.skip("KubeRay has SidecarMode and deletionRules since 1.5")


async def deleters(lab: Lab, plural: str) -> list[str]:
    """The programs that deleted objects of this kind, without versions, in order."""
    return [
        event["userAgent"].partition("/")[0]
        for event in await lab.cluster.audit()
        if event["verb"] == "delete"
        and event["responseStatus"]["code"] == 200
        and event["objectRef"].get("namespace") == lab.namespace
        and event["objectRef"]["resource"] == plural
    ]


async def until_empty(lab: Lab, path: str) -> None:
    async def is_empty() -> bool:
        return not (await lab.cluster.api.request("GET", path))["items"]

    await until(is_empty, timeout=120)


async def expect_nothing_left(lab: Lab) -> None:
    """Waits until RayJob, RayCluster, their Pods and batch Jobs are gone."""
    await until_empty(lab, lab.path("rayjobs"))
    await until_empty(lab, lab.path("rayclusters"))
    await until_empty(lab, f"/api/v1/namespaces/{lab.namespace}/pods")
    await until_empty(lab, f"/apis/batch/v1/namespaces/{lab.namespace}/jobs")


def logged_deletions(operator: Operator) -> list[Body]:
    return [dict(line) for line in operator.log() if "deleted" in line]


@pytest.mark.parametrize(("mode", "entrypoint", "outcome"), MODES_AND_ENDS)
async def test_a_job_of_every_submission_mode_is_deleted_after_its_ttl(
    lab: Lab, operator: Operator, mode: str, entrypoint: str, outcome: str
) -> None:
    if mode == "SidecarMode":
        needs_kuberay_1_5()
    annotations = OWN_HEAD | {"raysweep.io/ttl": "1d", f"raysweep.io/ttl-{outcome}": "4s"}
    spec = {"entrypoint": entrypoint, "submissionMode": mode}
    await lab.create("train", annotations=annotations, spec=spec)

    await expect_nothing_left(lab)
    (deletion,) = logged_deletions(operator)
    assert deletion["outcome"] == outcome
    ended = datetime.fromisoformat(deletion["finished_at"])
    requested = [at for _, at in await lab.requested("train", "delete")]
    assert min(requested) >= datetime.fromisoformat(deletion["due_at"])
    ttl = (datetime.fromisoformat(deletion["due_at"]) - ended).total_seconds()
    assert 4 <= ttl <= 5, "times of KubeRay are whole seconds"
    assert len(requested) <= 2, "one DELETE for each of the two objects"


async def test_an_interactive_job_is_deleted_after_its_ttl(lab: Lab, operator: Operator) -> None:
    await lab.create(
        "train",
        annotations=OWN_HEAD | {"raysweep.io/ttl": "4s"},
        spec={"submissionMode": "InteractiveMode", "entrypoint": ""},
    )
    await reaches(lab, "train", ("Waiting", ""))
    head = lab.cluster.heads[f"{lab.namespace}/{await cluster_name(lab, 'train')}"]
    await head.submit(SUCCEEDS, "by-hand")
    await lab.cluster.api.patch(lab.path("rayjobs", "train"), {"spec": {"jobId": "by-hand"}})

    await expect_nothing_left(lab)
    (deletion,) = logged_deletions(operator)
    assert deletion["outcome"] == "succeeded"


async def test_a_job_is_kept_during_its_retries(lab: Lab, operator: Operator) -> None:
    spec = {"entrypoint": FAILS, "submissionMode": "HTTPMode", "backoffLimit": 1}
    await lab.create("train", annotations=OWN_HEAD | {"raysweep.io/ttl": "4s"}, spec=spec)
    await reaches(lab, "train", ("Failed", "FAILED"))
    rayjob = await lab.get("rayjobs", "train")
    assert rayjob is not None
    ended = datetime.fromisoformat(rayjob["status"]["endTime"])

    await expect_nothing_left(lab)
    assert rayjob["status"]["failed"] == 2
    assert min(at for _, at in await lab.requested("train", "delete")) >= ended
    assert (await deleters(lab, "rayjobs")) == ["raysweep"]


async def test_a_job_is_deleted_after_its_active_deadline(lab: Lab, operator: Operator) -> None:
    """KubeRay reports Failed and does not stop the job, which Ray still runs."""
    spec = {"entrypoint": RUNS_ON, "submissionMode": "HTTPMode", "activeDeadlineSeconds": 60}
    await lab.create("train", annotations=OWN_HEAD | {"raysweep.io/ttl": "2s"}, spec=spec)
    await reaches(lab, "train", ("Running", "RUNNING"))
    rayjob = await lab.get("rayjobs", "train")
    assert rayjob is not None
    deadline = datetime.fromisoformat(rayjob["status"]["startTime"]) + timedelta(seconds=60)

    await expect_nothing_left(lab)
    (deletion,) = logged_deletions(operator)
    assert deletion["outcome"] == "failed"
    assert min(at for _, at in await lab.requested("train", "delete")) >= deadline


async def test_with_the_ttl_of_kuberay_the_cluster_is_deleted_by_kuberay(
    lab: Lab, operator: Operator
) -> None:
    spec = {
        "entrypoint": SUCCEEDS,
        "submissionMode": "HTTPMode",
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 3,
    }
    annotations = OWN_HEAD | {"raysweep.io/ttl": "15s", "raysweep.io/cluster-ttl": "0"}
    await lab.create("train", annotations=annotations, spec=spec)

    await expect_nothing_left(lab)
    assert await deleters(lab, "rayclusters") == ["kuberay-operator"]
    assert await deleters(lab, "rayjobs") == ["raysweep"]


@pytest.mark.parametrize("form", ["rules", "legacy"])
async def test_with_a_deletion_strategy_the_cluster_is_deleted_by_kuberay(
    lab: Lab, operator: Operator, form: str
) -> None:
    policy = {"policy": "DeleteCluster"}
    cleanup: Body = {"deletionStrategy": {"onSuccess": policy, "onFailure": policy}}
    if form == "rules":
        needs_kuberay_1_5()
        rule = {"condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 3}, **policy}
        cleanup = {"deletionStrategy": {"deletionRules": [rule]}}
    elif not has_field("onSuccess"):
        cleanup = {"deletionPolicy": "DeleteCluster"}  # KubeRay 1.4
    spec = {"entrypoint": SUCCEEDS, "submissionMode": "HTTPMode", **cleanup}
    await lab.create("train", annotations=OWN_HEAD | {"raysweep.io/ttl": "15s"}, spec=spec)

    await expect_nothing_left(lab)
    assert await deleters(lab, "rayclusters") == ["kuberay-operator"]
    assert await deleters(lab, "rayjobs") == ["raysweep"]


async def test_the_cluster_of_a_selector_is_never_deleted(
    lab: Lab, quiet_lab: Lab, operator: Operator, head: Head
) -> None:
    container = {"name": "ray-head", "image": "rayproject/ray:2.60.0"}
    template = {"spec": {"containers": [container]}}
    shared = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "shared", "annotations": {"sandbox/head": f"name:{head.name}"}},
        "spec": {"headGroupSpec": {"rayStartParams": {}, "template": template}},
    }
    await lab.cluster.api.request("POST", lab.path("rayclusters"), shared)
    rayjob = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "train", "annotations": {"raysweep.io/ttl": "3s"}},
        "spec": {
            "entrypoint": SUCCEEDS,
            "submissionMode": "HTTPMode",
            "clusterSelector": {"ray.io/cluster": "shared"},
        },
    }
    await lab.cluster.api.request("POST", lab.path("rayjobs"), rayjob)

    await until_empty(lab, lab.path("rayjobs"))
    await quiet_lab.wait_until_judged()
    assert await lab.remaining() == {"rayclusters/shared"}
    assert await deleters(lab, "rayclusters") == []


@pytest.mark.parametrize("stopped", ["before both deletions", "between the two deletions"])
async def test_with_kuberay_stopped_the_gpus_are_freed(
    lab: Lab, kuberay: KubeRay, cluster: Cluster, kubeconfig: Path, stopped: str
) -> None:
    """The RayJob may wait on its finalizer until KubeRay is back."""

    def late(request: web.Request) -> float:
        return 5 if request.method == "DELETE" and "/rayclusters/" in request.path else 0

    await lab.create(
        "train",
        annotations=OWN_HEAD | {"raysweep.io/ttl": "5s"},
        spec={"entrypoint": SUCCEEDS, "submissionMode": "HTTPMode"},
    )
    await reaches(lab, "train", ("Complete", "SUCCEEDED"))
    name = await cluster_name(lab, "train")
    if stopped == "before both deletions":
        await kuberay.stop()
    async with (
        Gateway.before(kubeconfig, late=late) as (_, detour),
        running_operator(cluster, detour),
    ):

        async def is_being_deleted() -> bool:
            rayjob = await lab.get("rayjobs", "train")
            return rayjob is None or "deletionTimestamp" in rayjob["metadata"]

        await until(is_being_deleted, timeout=90)
        if stopped == "between the two deletions":
            await kuberay.stop()
        await lab.expect_deleted("rayclusters", name)
        await kuberay.start()
        await expect_nothing_left(lab)


async def test_a_job_that_kuberay_submits_again_after_a_lost_head_is_kept(
    lab: Lab, quiet_lab: Lab, cluster: Cluster, kubeconfig: Path
) -> None:
    if has_field("deletionRules") and not has_field("preRunningDeadlineSeconds"):
        pytest.skip("KubeRay 1.5 does not replace the head of a RayJob")
    spec = {"entrypoint": RUNS_ON, "submissionMode": "HTTPMode"}
    await lab.create("train", annotations=OWN_HEAD | {"raysweep.io/ttl": "0"}, spec=spec)
    await reaches(lab, "train", ("Running", "RUNNING"))
    rayjob = await lab.get("rayjobs", "train")
    assert rayjob is not None
    job_id = rayjob["status"]["jobId"]
    name = f"{lab.namespace}/{rayjob['status']['rayClusterName']}"
    lost = cluster.heads[name]
    async with running_operator(
        cluster, kubeconfig, unchanged_after="2s", unreported_after="1s", status_probe_after="1s"
    ):
        lost.kill()
        await until(lambda: name in cluster.heads and cluster.heads[name] is not lost, timeout=90)
        await cluster.heads[name].wait_for(job_id, "RUNNING")
        await quiet_lab.wait_until_judged()
    assert await lab.requested("train", "delete") == []
