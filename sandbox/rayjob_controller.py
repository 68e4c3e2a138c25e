"""Reconciles RayJobs as KubeRay does, from one deployment status to the next.

rayjobs.py computes each status.
"""

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import aiohttp
import yaml

from sandbox import objects, rayjobs
from sandbox.api import Api, Body
from sandbox.heads import Head, Heads
from sandbox.raycluster_controller import GONE, RayClusters

POLL = 1.0


class RayJobs:
    """Reconciles one RayJob. The result is the delay of the next time, None: after an event."""

    def __init__(self, api: Api, heads: Heads, clusters: RayClusters) -> None:
        self._api = api
        self._heads = heads
        self._clusters = clusters

    async def reconcile(self, namespace: str, name: str) -> float | None:
        path = f"/apis/ray.io/v1/namespaces/{namespace}/rayjobs/{name}"
        job = await self._api.find(path)
        if job is None:
            return GONE
        if job["spec"].get("managedBy", "ray.io/kuberay-operator") != "ray.io/kuberay-operator":
            return None
        if "deletionTimestamp" in job["metadata"]:
            return await self._finalize(path, job)
        stage = rayjobs.stage(job)
        if stage != "ValidationFailed" and (problem := rayjobs.invalid(job["spec"])):
            return await self._write(path, job, rayjobs.validation_failed(job, problem))
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
            return await self._write(
                path, job, job["status"] | {"jobDeploymentStatus": "Suspending"}
            )
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
            return await self._write(
                path, job, job["status"] | {"jobDeploymentStatus": "Suspending"}
            )
        if failed := rayjobs.deadline(job, _now()):
            return await self._write(path, job, failed)
        cluster = await self._cluster(job)
        status = _with_cluster(job, cluster)
        if head := self._head(job):
            entry = await _query(head, job["status"]["jobId"])
            if entry and cluster and rayjobs.sidecar_ends(job, entry, cluster):
                await self._end_sidecar(cluster)
                return POLL / 4
            if entry:
                status = rayjobs.mirrored(job | {"status": status}, entry, _now())
            elif entry is not None and _submits_itself(job) and head.can_run:
                await _submit(head, job)
        if _without_times(status) != _without_times(job["status"]):
            await self._write(path, job, status)
        return POLL

    async def _end_sidecar(self, cluster: Body) -> None:
        """Makes the head Pod unready, because the container of the submitter ended with the job."""
        pod, metadata = await self._clusters.head_pod(cluster), cluster["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{pod['metadata']['name']}/status"
        await self._api.patch(
            path, {"status": objects.pod_status(pod["status"]["podIP"], ready=False)}
        )

    async def _wind_down(self, path: str, job: Body) -> float | None:
        """Suspending and Retrying: deletes the RayCluster, and clears its names after that."""
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
        policy, again = rayjobs.kuberay_cleanup(job, _now())
        if policy == "DeleteCluster" and (cluster := await self._find_cluster(job)):
            await self._delete(cluster)
        if policy == "DeleteSelf":
            await self._api.delete(path, job["metadata"]["uid"])
        return again

    async def _finalize(self, path: str, job: Body) -> float | None:
        """Handles a deletion: tries once to stop an unfinished job and removes the finalizer."""
        status, finalizers = job.get("status", {}), job["metadata"].get("finalizers", [])
        if rayjobs.FINALIZER not in finalizers:
            return None
        if (
            status.get("jobId")
            and status.get("jobStatus") not in rayjobs.TERMINAL
            and (head := self._head(job))
        ):
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with asyncio.timeout(2):
                    await head.post(f"/api/jobs/{status['jobId']}/stop", {})
        finalizers.remove(rayjobs.FINALIZER)
        await self._api.request("PUT", path, job)
        return None

    async def _write(self, path: str, job: Body, status: Body) -> float | None:
        """Writes a changed status. The watch event of the change triggers the next step."""
        if status != job.get("status"):
            await self._api.request("PUT", f"{path}/status", job | {"status": status})
        return None

    async def _cluster(self, job: Body) -> Body | None:
        """The RayCluster of the job. It is created if it is missing, unless the job selects it."""
        cluster = await self._find_cluster(job)
        if cluster is not None or job["spec"].get("clusterSelector"):
            return cluster
        body = objects.ray_cluster(job, job["status"]["rayClusterName"], rayjobs.mode(job))
        path = f"/apis/ray.io/v1/namespaces/{job['metadata']['namespace']}/rayclusters"
        created: Body = await self._api.request("POST", path, body)
        return created

    async def _find_cluster(self, job: Body) -> Body | None:
        namespace, name = job["metadata"]["namespace"], job.get("status", {}).get("rayClusterName")
        if not name:
            return None
        return await self._api.find(f"/apis/ray.io/v1/namespaces/{namespace}/rayclusters/{name}")

    async def _delete(self, cluster: Body) -> None:
        metadata = cluster["metadata"]
        path = f"/apis/ray.io/v1/namespaces/{metadata['namespace']}/rayclusters/{metadata['name']}"
        await self._api.delete(path, metadata["uid"])

    def _head(self, job: Body) -> Head | None:
        return self._heads.at(
            job["metadata"]["namespace"], f"{job['status'].get('rayClusterName')}-head-svc"
        )


def _with_cluster(job: Body, cluster: Body | None) -> Body:
    cluster_status = (cluster or {}).get("status")
    if not cluster_status:
        return dict(job["status"])
    return {**job["status"], "rayClusterStatus": cluster_status}


def _without_times(status: Body) -> Body:
    """A status without the fields whose change alone KubeRay does not write."""
    return {key: value for key, value in status.items() if key not in ("rayJobInfo", "message")}


def _submits_itself(job: Body) -> bool:
    """Whether to submit: HTTPMode always does, the submitters of the other modes only once."""
    mode = rayjobs.mode(job)
    return mode == "HTTPMode" or (mode != "InteractiveMode" and "jobStatus" not in job["status"])


async def _query(head: Head, job_id: str) -> dict[str, Any] | None:
    """The entry of a job in the head. {}: the head has no such job. None: no usable answer."""
    with contextlib.suppress(aiohttp.ClientError, OSError, ValueError):
        async with asyncio.timeout(5):
            code, answer = await head.get(f"/api/jobs/{job_id}")
        if code == 200:
            return dict(json.loads(answer))
        return {} if code == 404 else None
    return None


async def _submit(head: Head, job: Body) -> None:
    spec = job["spec"]
    extra: dict[str, Any] = {}
    if runtime_env := spec.get("runtimeEnvYAML"):
        extra["runtime_env"] = yaml.safe_load(runtime_env)
    if metadata := spec.get("metadata"):
        extra["metadata"] = metadata
    with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError):
        await head.submit(spec["entrypoint"], job["status"]["jobId"], **extra)


def _now() -> datetime:
    return datetime.now(UTC)
