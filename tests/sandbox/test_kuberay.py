"""What KubeRay's stand-in does after deletions, while it is down, and with foreign RayJobs."""

import asyncio
import os
import signal

from sandbox.cluster import Cluster
from sandbox.heads import Head
from sandbox.kuberay import keep_reconciling
from sandbox.processes import descendants
from sandbox.waiting import until
from tests.support.sandbox import create, find, path, rayjob, sample, status

SPEC = sample("rayjob-succeeded")["spec"] | {"entrypoint": "sleep 300"}


async def until_at(cluster: Cluster, namespace: str, name: str, stage: str) -> None:
    async def is_there() -> bool:
        return (await status(cluster, namespace, name)).get("jobDeploymentStatus") == stage

    await until(is_there, timeout=120, every=0.1)


async def until_gone(cluster: Cluster, namespace: str, name: str, plural: str = "rayjobs") -> None:
    async def is_gone() -> bool:
        return await find(cluster, namespace, name, plural) is None

    await until(is_gone, timeout=60, every=0.1)


async def test_labels_and_annotations_of_the_job_are_copied(cluster: Cluster, watched: str) -> None:
    given = rayjob("copied", "name:nobody", SPEC, labels={"team": "a"}, annotations={"note": "b"})
    await create(cluster, watched, given)

    async def has_cluster() -> bool:
        return bool((await cluster.api.request("GET", path(watched, "rayclusters")))["items"])

    await until(has_cluster, timeout=90)
    metadata = (await cluster.api.request("GET", path(watched, "rayclusters")))["items"][0][
        "metadata"
    ]
    assert metadata["labels"]["team"] == "a"
    assert metadata["annotations"] == {"sandbox/head": "name:nobody", "note": "b"}


async def test_the_deleted_cluster_of_a_running_job_is_created_again(
    cluster: Cluster, watched: str
) -> None:
    await create(cluster, watched, rayjob("rebuilt", "light", SPEC))
    await until_at(cluster, watched, "rebuilt", "Running")
    name = (await status(cluster, watched, "rebuilt"))["rayClusterName"]
    first = await find(cluster, watched, name, "rayclusters")
    assert first is not None
    head = cluster.heads[f"{watched}/{name}"]
    await cluster.api.delete(path(watched, "rayclusters", name))

    async def is_back() -> bool:
        found = await find(cluster, watched, name, "rayclusters")
        another = found is not None and found["metadata"]["uid"] != first["metadata"]["uid"]
        return another and cluster.heads.at(watched, f"{name}-head-svc") not in (None, head)

    await until(is_back, timeout=90)
    assert not head.is_alive()


async def test_a_deleted_job_is_stopped_and_its_objects_are_deleted(
    cluster: Cluster, full: Head, watched: str
) -> None:
    await create(cluster, watched, rayjob("deleted", "name:full", SPEC))
    await until_at(cluster, watched, "deleted", "Running")
    before = await status(cluster, watched, "deleted")
    await full.wait_for(before["jobId"], "RUNNING")
    await cluster.api.delete(path(watched, "rayjobs", "deleted"))
    await until_gone(cluster, watched, "deleted")
    await until_gone(cluster, watched, before["rayClusterName"], "rayclusters")
    assert await full.wait_for(before["jobId"]) == "STOPPED"
    pods = f"/api/v1/namespaces/{watched}/pods"

    async def pods_are_gone() -> bool:
        return not (await cluster.api.request("GET", pods))["items"]

    await until(pods_are_gone, timeout=90)


async def test_kuberay_down_leaves_the_finalizer_until_it_is_back(
    cluster: Cluster, watched: str
) -> None:
    await create(cluster, watched, rayjob("down", "light", SPEC))
    await until_at(cluster, watched, "down", "Running")
    name = (await status(cluster, watched, "down"))["rayClusterName"]
    await cluster.kuberay.stop()
    try:
        await cluster.api.delete(path(watched, "rayjobs", "down"))
        await cluster.api.delete(path(watched, "rayclusters", name))
        await until_gone(cluster, watched, name, "rayclusters")
        waiting = await find(cluster, watched, "down")
        assert waiting is not None
        assert waiting["metadata"]["finalizers"] == ["ray.io/rayjob-finalizer"]
    finally:
        await cluster.kuberay.start()
    await until_gone(cluster, watched, "down")


async def test_a_head_that_cannot_start_fails_its_pod(cluster: Cluster, watched: str) -> None:
    await create(cluster, watched, rayjob("odd", "biggest", SPEC))

    async def has_failed() -> bool:
        pods = (await cluster.api.request("GET", f"/api/v1/namespaces/{watched}/pods"))["items"]
        return [pod["status"].get("phase") for pod in pods] == ["Failed"]

    await until(has_failed, timeout=90)
    await until_at(cluster, watched, "odd", "Initializing")


async def test_a_head_that_exits_during_its_start_is_started_again(
    cluster: Cluster, watched: str
) -> None:
    before = set(descendants(os.getpid()))
    await create(cluster, watched, rayjob("restarted", "light", SPEC))
    await until(lambda: bool(set(descendants(os.getpid())) - before), timeout=60)
    for process in set(descendants(os.getpid())) - before:
        process.signal(signal.SIGKILL)
    await until_at(cluster, watched, "restarted", "Running")


async def test_an_error_does_not_end_the_reconciliations() -> None:
    event, count = asyncio.Event(), 0

    async def reconcile(namespace: str, name: str) -> float:
        nonlocal count
        count += 1
        raise KeyError(name)

    task = asyncio.create_task(keep_reconciling(reconcile, "team-a", "train", event))
    await until(lambda: count > 1, timeout=90)
    task.cancel()


async def test_other_namespaces_and_managers_are_ignored(cluster: Cluster, watched: str) -> None:
    elsewhere = f"{watched}-unwatched"
    await cluster.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": elsewhere}})
    await create(cluster, elsewhere, rayjob("own", "name:nobody", SPEC))
    foreign = SPEC | {"managedBy": "kueue.x-k8s.io/multikueue"}
    await create(cluster, watched, rayjob("foreign", "full", foreign))
    await create(cluster, watched, rayjob("own", "name:nobody", SPEC))
    await until_at(cluster, watched, "own", "Initializing")
    assert await status(cluster, watched, "foreign") == {}
    assert await status(cluster, elsewhere, "own") == {}


async def test_without_an_annotation_a_full_head_runs_the_job(
    cluster: Cluster, watched: str
) -> None:
    job = rayjob("own-head", "full", SPEC | {"entrypoint": "true"})
    del job["metadata"]["annotations"]
    await create(cluster, watched, job)
    await until_at(cluster, watched, "own-head", "Complete")
    name = (await status(cluster, watched, "own-head"))["rayClusterName"]
    head = cluster.heads[f"{watched}/{name}"]
    await cluster.api.delete(path(watched, "rayjobs", "own-head"))
    await until(lambda: not head.is_alive(), timeout=90)


async def test_a_reconciliation_can_be_canceled_at_the_moment_of_an_event() -> None:
    event = asyncio.Event()

    async def reconcile(namespace: str, name: str) -> float:
        return 600

    task = asyncio.create_task(keep_reconciling(reconcile, "team", "train", event))
    await asyncio.sleep(0)
    event.set()
    task.cancel()

    done, _ = await asyncio.wait({task}, timeout=5)
    assert done
    assert task.cancelled()
