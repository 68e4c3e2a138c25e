"""KubeRay's stand-in writes what a real KubeRay 1.7 wrote for the spec of each sample."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from sandbox.cluster import Cluster
from sandbox.heads import Head
from sandbox.waiting import until
from tests.support.sandbox import Body, create, find, normal, path, rayjob, sample, status

ENDS = (
    "succeeded",
    "failed",
    "k8sjobmode-succeeded",
    "k8sjobmode-failed",
    "sidecar-succeeded",
    "failed-after-retry",
)


async def started(cluster: Cluster, namespace: str, name: str, **changes: object) -> str:
    """Creates a RayJob with the spec and the name of the sample."""
    recorded = sample(f"rayjob-{name}")
    job = rayjob(recorded["metadata"]["name"], "name:full", recorded["spec"] | changes)
    await create(cluster, namespace, job)
    return str(recorded["metadata"]["name"])


async def until_status(
    cluster: Cluster,
    namespace: str,
    name: str,
    holds: Callable[[Body], bool],
    *,
    timeout: float = 40,
) -> Body:
    seen: Body = {}

    async def asked() -> bool:
        seen.clear()
        seen.update(await status(cluster, namespace, name))
        return holds(seen)

    try:
        await until(asked, timeout=timeout, every=0.1)
    except TimeoutError:
        pytest.fail(f"{name} in {namespace} stayed at {seen}")
    return seen


def is_at(stage: str) -> Callable[[Body], bool]:
    return lambda seen: seen.get("jobDeploymentStatus") == stage


def is_over(seen: Body) -> bool:
    return seen.get("jobDeploymentStatus") in ("Complete", "Failed")


def is_running(seen: Body) -> bool:
    return seen.get("jobStatus") == "RUNNING"


def expected(name: str) -> Any:
    return normal(sample(f"rayjob-{name}")["status"])


async def assert_cluster_as(cluster: Cluster, namespace: str, job: str, recorded: str) -> None:
    """Compares labels, owner, spec and status of the RayCluster with the recorded one."""
    owner = await find(cluster, namespace, job)
    assert owner is not None
    found = await find(cluster, namespace, owner["status"]["rayClusterName"], "rayclusters")
    assert found is not None
    wanted = sample(f"raycluster-{recorded}")
    assert found["metadata"]["annotations"].pop("sandbox/head") == "name:full"
    for key in ("labels", "annotations"):
        assert found["metadata"].get(key, {}) == wanted["metadata"].get(key, {})
    wanted["metadata"]["ownerReferences"][0]["uid"] = owner["metadata"]["uid"]
    assert found["metadata"]["ownerReferences"] == wanted["metadata"]["ownerReferences"]
    assert containers(found) == containers(wanted)
    assert normal(found["status"], namespace) == normal(wanted["status"])


def containers(cluster: Body) -> list[tuple[str, Body]]:
    """A spec without the command of the submitter, which the sandbox does not run."""
    pod = cluster["spec"]["headGroupSpec"]["template"]["spec"]
    return [(container["name"], container["resources"]) for container in pod["containers"]]


@pytest.mark.parametrize("name", ENDS)
async def test_a_job_that_ends_by_itself_ends_as_recorded(
    name: str, cluster: Cluster, full: Head, watched: str
) -> None:
    job = await started(cluster, watched, name)
    seen = await until_status(cluster, watched, job, is_over)
    assert normal(seen, watched) == expected(name)
    found = await find(cluster, watched, job)
    assert found is not None
    assert found["metadata"]["finalizers"] == sample(f"rayjob-{name}")["metadata"]["finalizers"]
    if name in ("succeeded", "sidecar-succeeded"):
        await assert_cluster_as(cluster, watched, job, name)


async def test_during_the_start_of_the_head_it_is_initializing_as_recorded(
    cluster: Cluster, watched: str
) -> None:
    job = sample("rayjob-initializing")
    await create(cluster, watched, rayjob(job["metadata"]["name"], "name:nobody", job["spec"]))
    has_cluster = lambda seen: "conditions" in seen.get("rayClusterStatus", {})  # noqa: E731
    seen = await until_status(cluster, watched, job["metadata"]["name"], has_cluster)
    assert normal(seen, watched) == expected("initializing")


async def test_a_running_job_is_stopped(cluster: Cluster, full: Head, watched: str) -> None:
    job = await started(cluster, watched, "running")
    seen = await until_status(cluster, watched, job, is_running)
    assert normal(seen, watched) == expected("running")
    await assert_cluster_as(cluster, watched, job, "running")
    await full.post(f"/api/jobs/{seen['jobId']}/stop", {})
    assert normal(await until_status(cluster, watched, job, is_over), watched) == expected(
        "stopped"
    )


async def test_interactive_waits_for_an_id(cluster: Cluster, watched: str) -> None:
    recorded = sample("rayjob-interactive-waiting")
    job = str(recorded["metadata"]["name"])
    await create(cluster, watched, rayjob(job, "light", recorded["spec"]))
    waiting = await until_status(cluster, watched, job, is_at("Waiting"))
    assert normal(waiting, watched) == expected("interactive-waiting")
    spec = sample("rayjob-interactive-succeeded")["spec"]
    moment = datetime(2026, 11, 22, 19, 38, 14, tzinfo=UTC)
    head = cluster.heads[f"{watched}/{waiting['rayClusterName']}"]
    await head.put_record(spec["jobId"], status="SUCCEEDED", start_time=moment, end_time=moment)
    await cluster.api.patch(path(watched, "rayjobs", job), {"spec": {"jobId": spec["jobId"]}})
    assert normal(await until_status(cluster, watched, job, is_over), watched) == expected(
        "interactive-succeeded"
    )


async def test_a_selected_cluster_is_used_and_never_owned(
    cluster: Cluster, full: Head, watched: str
) -> None:
    spec = sample("raycluster-succeeded")["spec"]
    shared = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "spec": spec}
    metadata = {"name": "shared", "annotations": {"sandbox/head": "name:full"}}
    await cluster.api.request("POST", path(watched, "rayclusters"), shared | {"metadata": metadata})
    job = await started(cluster, watched, "cluster-selector-succeeded")
    seen = await until_status(cluster, watched, job, is_over)
    assert normal(seen, watched) == expected("cluster-selector-succeeded")
    found = await find(cluster, watched, "shared", "rayclusters")
    assert found is not None
    assert "ownerReferences" not in found["metadata"]


async def test_a_passed_deadline_leaves_the_ray_job_running(
    cluster: Cluster, full: Head, watched: str
) -> None:
    job = await started(cluster, watched, "failed-active-deadline")
    await until_status(cluster, watched, job, is_running)
    await cluster.api.patch(path(watched, "rayjobs", job), {"spec": {"activeDeadlineSeconds": 1}})
    seen = await until_status(cluster, watched, job, is_over)
    assert normal(seen | {"message": seen["message"].replace(": 1", ": 60")}, watched) == expected(
        "failed-active-deadline"
    )
    assert await full.wait_for(seen["jobId"], "RUNNING") == "RUNNING"
    await full.post(f"/api/jobs/{seen['jobId']}/stop", {})


async def test_suspended_from_the_start_and_resumed(
    cluster: Cluster, full: Head, watched: str
) -> None:
    job = await started(cluster, watched, "suspended")
    seen = await until_status(cluster, watched, job, is_at("Suspended"))
    assert normal(seen, watched) == expected("suspended")
    await cluster.api.patch(path(watched, "rayjobs", job), {"spec": {"suspend": False}})
    assert (await until_status(cluster, watched, job, is_over))["jobStatus"] == "SUCCEEDED"


async def test_suspended_while_running_loses_its_cluster(
    cluster: Cluster, full: Head, watched: str
) -> None:
    job = await started(cluster, watched, "suspended-while-running", suspend=False)
    before = await until_status(cluster, watched, job, is_running)
    await cluster.api.patch(path(watched, "rayjobs", job), {"spec": {"suspend": True}})
    seen = await until_status(cluster, watched, job, is_at("Suspended"))
    assert normal(seen, watched) == expected("suspended-while-running")
    assert await find(cluster, watched, before["rayClusterName"], "rayclusters") is None
    await full.post(f"/api/jobs/{before['jobId']}/stop", {})


async def test_an_invalid_spec(cluster: Cluster, watched: str) -> None:
    job = await started(cluster, watched, "validation-failed")
    seen = await until_status(cluster, watched, job, is_at("ValidationFailed"))
    assert normal(seen, watched) == expected("validation-failed")
    found = await find(cluster, watched, job)
    assert found is not None
    assert "finalizers" not in found["metadata"]


@pytest.mark.parametrize(
    ("name", "changes"),
    [("succeeded-shutdown-ttl", {"ttlSecondsAfterFinished": 2}), ("succeeded-deletion-rules", {})],
)
async def test_kuberay_ttl_deletes_the_cluster_and_keeps_the_status(
    name: str, changes: Body, cluster: Cluster, full: Head, watched: str
) -> None:
    job = await started(cluster, watched, name, **changes)
    before = await until_status(cluster, watched, job, is_over)

    async def cluster_is_gone() -> bool:
        return await find(cluster, watched, before["rayClusterName"], "rayclusters") is None

    assert not await cluster_is_gone()
    await until(cluster_is_gone, timeout=90)
    after = await status(cluster, watched, job)
    assert after == before
    assert normal(after, watched) == expected(name)


async def test_the_order_of_the_transitions(cluster: Cluster, full: Head, watched: str) -> None:
    job = await started(cluster, watched, "succeeded")
    seen = [(stage, of_job) async for stage, of_job in transitions(cluster, watched, job)]
    assert list(dict.fromkeys(stage for stage, _ in seen)) == [
        "Initializing",
        "Running",
        "Complete",
    ]
    of_jobs = [of_job for _, of_job in seen]
    assert of_jobs == sorted(of_jobs, key=["", "PENDING", "RUNNING", "SUCCEEDED"].index)
    assert seen[-1] == ("Complete", "SUCCEEDED")
    assert all(of_job == "" for stage, of_job in seen if stage == "Initializing")


async def transitions(
    cluster: Cluster, namespace: str, name: str
) -> AsyncIterator[tuple[str, str]]:
    """(jobDeploymentStatus, jobStatus) of each watch event until the end."""
    async for kind, event in cluster.api.watch(path(namespace, "rayjobs")):
        if kind == "SYNCED" or "status" not in event or event["metadata"]["name"] != name:
            continue
        yield event["status"]["jobDeploymentStatus"], event["status"].get("jobStatus", "")
        if is_over(event["status"]):
            return


async def test_managed_fields_name_kuberay_for_the_status(cluster: Cluster, watched: str) -> None:
    job = await started(cluster, watched, "validation-failed")
    await until_status(cluster, watched, job, is_at("ValidationFailed"))
    found = await find(cluster, watched, job)
    assert found is not None
    wrote = {
        (f["manager"], f.get("subresource"), f["operation"])
        for f in found["metadata"]["managedFields"]
    }
    assert ("kuberay-operator", "status", "Update") in wrote
