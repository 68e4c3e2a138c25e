"""The stand-in for the KubeRay operator: its side of the contract towards a cleaner, in the namespaces it was told of.

What it writes is worded in rayjobs.py and objects.py; how a head is run belongs to kubelet.py.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import yaml

from sandbox import objects, rayjobs
from sandbox.api import Api, ApiError, Body
from sandbox.heads import Head, Heads

POLL = 1.0
GONE = -1.0
Look = Callable[[str, str], Awaitable[float | None]]


class KubeRay:
    """One task for each RayJob and RayCluster; it looks when something happened, and again when its last look asked to."""

    def __init__(self, api: Api, heads: Heads) -> None:
        self._api = api
        self._heads = heads
        self._namespaces: list[str] = []
        self._runs = False
        self._watches: list[asyncio.Task[None]] = []
        self._tasks: dict[tuple[str, str, str], tuple[asyncio.Task[None], asyncio.Event]] = {}

    def watch(self, namespace: str) -> None:
        """From now on it acts there."""
        self._namespaces.append(namespace)
        if self._runs:
            self._begin(namespace)

    async def start(self) -> None:
        self._runs = True
        for namespace in self._namespaces:
            self._begin(namespace)

    async def stop(self) -> None:
        """KubeRay is down: nothing is reconciled, finalizers stay. Heads go on running."""
        self._runs = False
        tasks = [*self._watches, *(task for task, _ in self._tasks.values())]
        self._watches, self._tasks = [], {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, namespace: str) -> None:
        ray = f"/apis/ray.io/v1/namespaces/{namespace}"
        for path, selector in (
            (f"{ray}/rayjobs", ""),
            (f"{ray}/rayclusters", ""),
            (f"/api/v1/namespaces/{namespace}/pods", objects.IS_HEAD),
        ):
            self._watches.append(asyncio.create_task(self._follow(namespace, path, selector)))

    async def _follow(self, namespace: str, path: str, selector: str) -> None:
        async for kind, seen in self._api.watch(path, selector):
            if kind == "SYNCED":
                continue
            name, labels = seen["metadata"]["name"], seen["metadata"].get("labels", {})
            if path.endswith("rayjobs"):
                self._wake(namespace, "rayjobs", name)
            elif path.endswith("pods"):
                self._wake(namespace, "rayclusters", labels[objects.CLUSTER_LABEL])
            else:
                self._wake(namespace, "rayclusters", name)
                if originator := labels.get("ray.io/originated-from-cr-name"):
                    self._wake(namespace, "rayjobs", originator)

    def _wake(self, namespace: str, plural: str, name: str) -> None:
        key = (namespace, plural, name)
        if key not in self._tasks:
            event = asyncio.Event()
            look = self._look_at_job if plural == "rayjobs" else self._look_at_cluster
            task = asyncio.create_task(_keep_looking(look, namespace, name, event))
            task.add_done_callback(lambda done: self._forget(key, done))
            self._tasks[key] = (task, event)
        self._tasks[key][1].set()

    def _forget(self, key: tuple[str, str, str], done: asyncio.Task[None]) -> None:
        if key in self._tasks and self._tasks[key][0] is done:
            del self._tasks[key]

    # RayClusters

    async def _look_at_cluster(self, namespace: str, name: str) -> float | None:
        path = f"/apis/ray.io/v1/namespaces/{namespace}/rayclusters/{name}"
        cluster = await self._api.find(path)
        if cluster is None:
            return GONE
        if "deletionTimestamp" in cluster["metadata"]:
            return None
        pod = await self._head_pod(cluster)
        status = objects.cluster_status(cluster, pod, _now())
        if status != cluster.get("status"):
            await self._api.request("PUT", f"{path}/status", cluster | {"status": status})
        return None

    async def _head_pod(self, cluster: Body) -> Body:
        """There already, or made now together with the head Service."""
        name, namespace = cluster["metadata"]["name"], cluster["metadata"]["namespace"]
        core, service, owners = f"/api/v1/namespaces/{namespace}", f"{name}-head-svc", objects.owned_by(cluster)
        selector = {"labelSelector": f"{objects.IS_HEAD},{objects.CLUSTER_LABEL}={name}"}
        listed = await self._api.request("GET", f"{core}/pods", params=selector)
        for pod in listed["items"]:
            if pod["metadata"]["ownerReferences"][0]["uid"] == cluster["metadata"]["uid"]:
                return dict(pod)
        if not await self._api.find(f"{core}/services/{service}"):
            await self._api.request("POST", f"{core}/services", objects.head_service(service, name, owners))
        wanted = cluster["metadata"].get("annotations", {}).get(objects.HEAD, "full")
        made: Body = await self._api.request("POST", f"{core}/pods", objects.head_pod(name, service, wanted, owners))
        return made

    # RayJobs

    async def _look_at_job(self, namespace: str, name: str) -> float | None:
        path = f"/apis/ray.io/v1/namespaces/{namespace}/rayjobs/{name}"
        job = await self._api.find(path)
        if job is None:
            return GONE
        if job["spec"].get("managedBy", "ray.io/kuberay-operator") != "ray.io/kuberay-operator":
            return None
        if "deletionTimestamp" in job["metadata"]:
            return await self._let_go(path, job)
        stage = rayjobs.stage(job)
        if stage != "ValidationFailed" and (fault := rayjobs.invalid(job["spec"])):
            return await self._write(path, job, rayjobs.validation_failed(job, fault))
        step = {
            "": self._begin_job,
            "Initializing": self._initializing,
            "Waiting": self._waiting,
            "Running": self._running,
            "Suspending": self._wind_down,
            "Retrying": self._wind_down,
            "Suspended": self._suspended,
            "Complete": self._finished,
            "Failed": self._finished,
        }.get(stage)
        return await step(path, job) if step else None

    async def _begin_job(self, path: str, job: Body) -> float | None:
        finalizers = job["metadata"].setdefault("finalizers", [])
        if rayjobs.FINALIZER not in finalizers:
            finalizers.append(rayjobs.FINALIZER)
            job = await self._api.request("PUT", path, job)
        return await self._write(path, job, rayjobs.initializing(job, _now()))

    async def _initializing(self, path: str, job: Body) -> float | None:
        if job["spec"].get("suspend"):
            return await self._write(path, job, job["status"] | {"jobDeploymentStatus": "Suspending"})
        if failed := rayjobs.deadline(job, _now()):
            return await self._write(path, job, failed)
        cluster = await self._cluster(job)
        if cluster is None:
            return POLL
        if cluster.get("status", {}).get("state") == "ready":
            return await self._write(path, job, rayjobs.ready(job, cluster))
        return await self._write(path, job, _with_cluster(job, cluster)) or POLL

    async def _waiting(self, path: str, job: Body) -> float | None:
        await self._cluster(job)
        if failed := rayjobs.deadline(job, _now()):
            return await self._write(path, job, failed)
        if job_id := job["spec"].get("jobId"):
            chosen = {"jobId": job_id, "jobDeploymentStatus": "Running"}
            return await self._write(path, job, job["status"] | chosen)
        return POLL

    async def _running(self, path: str, job: Body) -> float | None:
        if job["spec"].get("suspend"):
            return await self._write(path, job, job["status"] | {"jobDeploymentStatus": "Suspending"})
        if failed := rayjobs.deadline(job, _now()):
            return await self._write(path, job, failed)
        cluster = await self._cluster(job)
        status = _with_cluster(job, cluster)
        if head := self._head(job):
            told = await _ask(head, job["status"]["jobId"])
            if told and cluster and rayjobs.sidecar_ends(job, told, cluster):
                await self._end_sidecar(cluster)
                return POLL / 4
            if told:
                status = rayjobs.mirrored(job | {"status": status}, told, _now())
            elif told is not None and _submits_itself(job) and head.can_run:
                await _submit(head, job)
        if _apart_from_times(status) != _apart_from_times(job["status"]):
            await self._write(path, job, status)
        return POLL

    async def _end_sidecar(self, cluster: Body) -> None:
        """The submitter's container ends with the job, and a Pod with an ended container is not ready."""
        pod, metadata = await self._head_pod(cluster), cluster["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{pod['metadata']['name']}/status"
        await self._api.patch(path, {"status": objects.pod_status(pod["status"]["podIP"], ready=False)})

    async def _wind_down(self, path: str, job: Body) -> float | None:
        """Suspending and Retrying: the RayCluster goes first, and its names are forgotten only then."""
        cluster = await self._find_cluster(job)
        if cluster is not None:
            await self._delete(cluster)
            return POLL / 4
        after = "Suspended" if rayjobs.stage(job) == "Suspending" else ""
        return await self._write(path, job, rayjobs.cleared(job, after))

    async def _suspended(self, path: str, job: Body) -> float | None:
        if job["spec"].get("suspend"):
            return None
        return await self._write(path, job, rayjobs.cleared(job, ""))

    async def _finished(self, path: str, job: Body) -> float | None:
        policy, again = rayjobs.native_cleanup(job, _now())
        if policy == "DeleteCluster" and (cluster := await self._find_cluster(job)):
            await self._delete(cluster)
        if policy == "DeleteSelf":
            await self._api.delete(path, job["metadata"]["uid"])
        return again

    async def _let_go(self, path: str, job: Body) -> float | None:
        """Being deleted: a job that is not over is stopped, tried once, and the finalizer goes."""
        status, finalizers = job.get("status", {}), job["metadata"].get("finalizers", [])
        if rayjobs.FINALIZER not in finalizers:
            return None
        if status.get("jobId") and status.get("jobStatus") not in rayjobs.TERMINAL and (head := self._head(job)):
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with asyncio.timeout(2):
                    await head.post(f"/api/jobs/{status['jobId']}/stop", {})
        finalizers.remove(rayjobs.FINALIZER)
        await self._api.request("PUT", path, job)
        return None

    async def _write(self, path: str, job: Body, status: Body) -> float | None:
        """The watch tells of it, and wakes the next step."""
        if status != job.get("status"):
            await self._api.request("PUT", f"{path}/status", job | {"status": status})
        return None

    async def _cluster(self, job: Body) -> Body | None:
        """The job's RayCluster, made (again) where it is missing; one that is only selected is never made."""
        cluster = await self._find_cluster(job)
        if cluster is not None or job["spec"].get("clusterSelector"):
            return cluster
        body = objects.ray_cluster(job, job["status"]["rayClusterName"], rayjobs.mode(job))
        path = f"/apis/ray.io/v1/namespaces/{job['metadata']['namespace']}/rayclusters"
        made: Body = await self._api.request("POST", path, body)
        return made

    async def _find_cluster(self, job: Body) -> Body | None:
        namespace, name = job["metadata"]["namespace"], job.get("status", {}).get("rayClusterName")
        return await self._api.find(f"/apis/ray.io/v1/namespaces/{namespace}/rayclusters/{name}") if name else None

    async def _delete(self, cluster: Body) -> None:
        metadata = cluster["metadata"]
        path = f"/apis/ray.io/v1/namespaces/{metadata['namespace']}/rayclusters/{metadata['name']}"
        await self._api.delete(path, metadata["uid"])

    def _head(self, job: Body) -> Head | None:
        return self._heads.at(job["metadata"]["namespace"], f"{job['status'].get('rayClusterName')}-head-svc")


async def _keep_looking(look: Look, namespace: str, name: str, happened: asyncio.Event) -> None:
    while True:
        happened.clear()
        try:
            again = await look(namespace, name)
        except (ApiError, aiohttp.ClientError, TimeoutError):  # a conflict, or the API server is away for a moment
            again = POLL / 2
        if again == GONE:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(happened.wait(), again)


def _with_cluster(job: Body, cluster: Body | None) -> Body:
    known = (cluster or {}).get("status")
    return job["status"] | {"rayClusterStatus": known} if known else dict(job["status"])


def _apart_from_times(status: Body) -> Body:
    """KubeRay does not write for rayJobInfo alone."""
    return {key: value for key, value in status.items() if key not in ("rayJobInfo", "message")}


def _submits_itself(job: Body) -> bool:
    """HTTPMode submits whatever the head does not know; the submitters of the other modes try only once."""
    mode = rayjobs.mode(job)
    return mode == "HTTPMode" or (mode != "InteractiveMode" and "jobStatus" not in job["status"])


async def _ask(head: Head, job_id: str) -> dict[str, Any] | None:
    """The head's entry; empty: no such job; None: no usable answer."""
    with contextlib.suppress(aiohttp.ClientError, OSError, ValueError):
        async with asyncio.timeout(2):
            code, answer = await head.get(f"/api/jobs/{job_id}")
        if code == 200:
            return dict(json.loads(answer))
        return {} if code == 404 else None
    return None


async def _submit(head: Head, job: Body) -> None:
    spec = job["spec"]
    extra = {"runtime_env": yaml.safe_load(spec["runtimeEnvYAML"])} if spec.get("runtimeEnvYAML") else {}
    extra |= {"metadata": spec["metadata"]} if spec.get("metadata") else {}
    with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError):
        await head.submit(spec["entrypoint"], job["status"]["jobId"], **extra)


def _now() -> datetime:
    return datetime.now(UTC)
