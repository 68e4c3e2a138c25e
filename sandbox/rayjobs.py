"""Computes the status of a RayJob as KubeRay 1.7 writes it.

Pure: requests, clocks and heads must not enter here.
"""

from datetime import datetime
from typing import Any

from sandbox.objects import (
    Body,
    from_milliseconds,
    no_cluster_status,
    seconds_after,
    suffixed,
    timestamp,
)

FINALIZER = "ray.io/rayjob-finalizer"
SELECTOR = "ray.io/cluster"
TERMINAL = ("SUCCEEDED", "FAILED", "STOPPED")
DELAY = 2.0  # seconds from the end of a TTL to the next reconciliation of KubeRay
DESTRUCTIVE = ("DeleteNone", "DeleteWorkers", "DeleteCluster", "DeleteSelf")


def stage(job: Body) -> str:
    return str(job.get("status", {}).get("jobDeploymentStatus", ""))


def mode(job: Body) -> str:
    return str(job["spec"].get("submissionMode", "K8sJobMode"))


def invalid(spec: Body) -> str | None:
    """The reason why KubeRay rejects a spec, by the most common rules. None: it is valid."""
    shutdown = spec.get("shutdownAfterJobFinishes", False)
    ttl = spec.get("ttlSecondsAfterFinished", 0)
    if ttl < 0:
        return "ttlSecondsAfterFinished must be a non-negative integer"
    if ttl > 0 and not shutdown:
        return (
            "a RayJob with shutdownAfterJobFinishes set to false "
            "cannot have TTLSecondsAfterFinished"
        )
    if spec.get("suspend") and not shutdown:
        return "a RayJob with shutdownAfterJobFinishes set to false is not allowed to be suspended"
    if shutdown and spec.get("deletionStrategy", {}).get("deletionRules"):
        return (
            "spec.shutdownAfterJobFinishes and spec.deletionStrategy.deletionRules "
            "are mutually exclusive"
        )
    return None


def _blank(job: Body) -> Body:
    status = job.get("status", {})
    counters = {"succeeded": status.get("succeeded", 0), "failed": status.get("failed", 0)}
    return {"rayClusterStatus": no_cluster_status(), "rayJobInfo": {}, **counters}


def validation_failed(job: Body, problem: str) -> Body:
    message = f"The RayJob spec is invalid: {problem}"
    failure = {
        "jobDeploymentStatus": "ValidationFailed",
        "reason": "ValidationFailed",
        "message": message,
    }
    return {**_blank(job), **job.get("status", {}), **failure}


def initializing(job: Body, now: datetime) -> Body:
    """The status with the names of the RayCluster and the job. Each attempt has new names."""
    spec, name = job["spec"], job["metadata"]["name"]
    cluster = spec.get("clusterSelector", {}).get(SELECTOR) or suffixed(name)
    job_id = spec.get("jobId") or (None if mode(job) == "InteractiveMode" else suffixed(name))
    chosen = {"jobId": job_id} if job_id else {}
    moment = {"startTime": timestamp(now), "jobDeploymentStatus": "Initializing"}
    return _blank(job) | moment | chosen | {"rayClusterName": cluster}


def ready(job: Body, cluster: Body) -> Body:
    """The status once the head is ready."""
    is_waiting = mode(job) == "InteractiveMode" and not job["status"].get("jobId")
    host = f"{cluster['status']['head']['serviceName']}.{job['metadata']['namespace']}"
    cluster_status = job["status"]["rayClusterStatus"]  # KubeRay keeps the status before
    if "conditions" not in cluster_status:
        cluster_status = cluster["status"]
    return {
        **job["status"],
        "rayClusterStatus": cluster_status,
        "dashboardURL": f"{host}.svc.cluster.local:8265",
        "jobDeploymentStatus": "Waiting" if is_waiting else "Running",
    }


def sidecar_ends(job: Body, entry: Body, cluster: Body) -> bool:
    """Whether the container of the submitter must end now. KubeRay waits until it has ended."""
    is_ready = any(
        c["type"] == "HeadPodReady" and c["status"] == "True"
        for c in cluster["status"]["conditions"]
    )
    return mode(job) == "SidecarMode" and entry["status"] in TERMINAL and is_ready


def mirrored(job: Body, entry: dict[str, Any], now: datetime) -> Body:
    """The status with the head's entry of the job, and with its end if it has ended."""
    status = dict(job["status"])
    times = {
        "startTime": from_milliseconds(entry["start_time"]),
        "endTime": from_milliseconds(entry["end_time"]),
    }
    info = {key: value for key, value in times.items() if value}
    status |= {"jobStatus": entry["status"], "message": entry["message"] or "", "rayJobInfo": info}
    if entry["status"] not in TERMINAL:
        return status
    status |= {"endTime": timestamp(now), "jobDeploymentStatus": "Complete"}
    if entry["status"] == "SUCCEEDED":
        status["succeeded"] += 1
    if entry["status"] == "FAILED":
        status |= {
            "failed": status["failed"] + 1,
            "reason": "AppFailed",
            "jobDeploymentStatus": "Failed",
        }
        if status["failed"] <= job["spec"].get("backoffLimit", 0):
            del status["endTime"]
            status["jobDeploymentStatus"] = "Retrying"
    return status


def deadline(job: Body, now: datetime) -> Body | None:
    """The status after a deadline. None: no deadline has passed. jobStatus stays unchanged."""
    status: Body = job["status"]
    spec = job["spec"]
    for field, reason, ignored_in in (
        ("activeDeadlineSeconds", "", "Waiting"),
        ("preRunningDeadlineSeconds", "PreRunning", "Running"),
    ):
        limit = spec.get(field)
        if (
            limit is None
            or stage(job) == ignored_in
            or seconds_after(status["startTime"], now) < limit
        ):
            continue
        start = datetime.fromisoformat(status["startTime"]).strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
        label = field[0].upper() + field[1:]
        return status | {
            "jobDeploymentStatus": "Failed",
            "reason": f"{reason}DeadlineExceeded",
            "message": f"The RayJob has passed the {field}. StartTime: {start}. {label}: {limit}",
            "endTime": timestamp(now),
            "failed": status["failed"] + 1,
        }
    return None


def cleared(job: Body, after: str) -> Body:
    """The status without the fields of this attempt, before the next attempt or when suspended."""
    start = {"startTime": job["status"]["startTime"]}
    stage_after = {"jobDeploymentStatus": after} if after else {}
    return _blank(job) | start | stage_after


def kuberay_cleanup(job: Body, now: datetime) -> tuple[str, float | None]:
    """The deletion policy that is due, and the seconds until the next one is due."""
    spec, status = job["spec"], job["status"]
    if spec.get("clusterSelector"):
        return "DeleteNone", None
    rules = [
        (rule["policy"], rule["condition"].get("ttlSeconds", 0)) for rule in _matching(spec, status)
    ]
    if not rules and spec.get("shutdownAfterJobFinishes") and "deletionStrategy" not in spec:
        rules = [("DeleteCluster", spec.get("ttlSecondsAfterFinished", 0))]
    since = seconds_after(status["endTime"], now) - DELAY
    overdue = [policy for policy, ttl in rules if since >= ttl]
    waiting = [ttl - since for _, ttl in rules if since < ttl]
    return max(overdue, key=DESTRUCTIVE.index, default="DeleteNone"), min(waiting, default=None)


def _matching(spec: Body, status: Body) -> list[Body]:
    rules: list[Body] = spec.get("deletionStrategy", {}).get("deletionRules", [])
    fields = ("jobStatus", "jobDeploymentStatus")
    return [
        r
        for r in rules
        if any(f in r["condition"] and r["condition"][f] == status.get(f) for f in fields)
    ]
