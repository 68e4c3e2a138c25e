"""KubeRay's part for RayJobs: from one stage to the next, with the head's own word for the job's state.

How each status is worded belongs to rayjobs.py.
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
    """`look` brings one RayJob a step further and says in how many seconds to look again, None: when told to."""

    def __init__(self, api: Api, heads: Heads, clusters: RayClusters) -> None:
        self._api = api
        self._heads = heads
        self._clusters = clusters

    async def look(self, namespace: str, name: str) -> float | None:
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
        pod, metadata = await self._clusters.head_pod(cluster), cluster["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{pod['metadata']['name']}/status"
        await self._api.patch(
            path, {"status": objects.pod_status(pod["status"]["podIP"], ready=False)}
        )

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
        return (
            await self._api.find(f"/apis/ray.io/v1/namespaces/{namespace}/rayclusters/{name}")
            if name
            else None
        )

    async def _delete(self, cluster: Body) -> None:
        metadata = cluster["metadata"]
        path = f"/apis/ray.io/v1/namespaces/{metadata['namespace']}/rayclusters/{metadata['name']}"
        await self._api.delete(path, metadata["uid"])

    def _head(self, job: Body) -> Head | None:
        return self._heads.at(
            job["metadata"]["namespace"], f"{job['status'].get('rayClusterName')}-head-svc"
        )


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
        async with asyncio.timeout(5):
            code, answer = await head.get(f"/api/jobs/{job_id}")
        if code == 200:
            return dict(json.loads(answer))
        return {} if code == 404 else None
    return None


async def _submit(head: Head, job: Body) -> None:
    spec = job["spec"]
    extra = (
        {"runtime_env": yaml.safe_load(spec["runtimeEnvYAML"])}
        if spec.get("runtimeEnvYAML")
        else {}
    )
    extra |= {"metadata": spec["metadata"]} if spec.get("metadata") else {}
    with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError):
        await head.submit(spec["entrypoint"], job["status"]["jobId"], **extra)


def _now() -> datetime:
    return datetime.now(UTC)
