"""A RayJob's status, step by step, as KubeRay 1.7 writes it. Pure: no request, no clock, no head may enter here."""

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
DELAY = 2.0  # KubeRay looks again this long after the moment that a TTL names
DESTRUCTIVE = ("DeleteNone", "DeleteWorkers", "DeleteCluster", "DeleteSelf")


def stage(job: Body) -> str:
    return str(job.get("status", {}).get("jobDeploymentStatus", ""))


def mode(job: Body) -> str:
    return str(job["spec"].get("submissionMode", "K8sJobMode"))


def invalid(spec: Body) -> str | None:
    """The rules that a user meets most."""
    shutdown, ttl = (
        spec.get("shutdownAfterJobFinishes", False),
        spec.get("ttlSecondsAfterFinished", 0),
    )
    if ttl < 0:
        return "ttlSecondsAfterFinished must be a non-negative integer"
    if ttl > 0 and not shutdown:
        return "a RayJob with shutdownAfterJobFinishes set to false cannot have TTLSecondsAfterFinished"
    if spec.get("suspend") and not shutdown:
        return "a RayJob with shutdownAfterJobFinishes set to false is not allowed to be suspended"
    if shutdown and spec.get("deletionStrategy", {}).get("deletionRules"):
        return "spec.shutdownAfterJobFinishes and spec.deletionStrategy.deletionRules are mutually exclusive"
    return None


def _blank(job: Body) -> Body:
    status = job.get("status", {})
    counters = {"succeeded": status.get("succeeded", 0), "failed": status.get("failed", 0)}
    return {"rayClusterStatus": no_cluster_status(), "rayJobInfo": {}, **counters}


def validation_failed(job: Body, fault: str) -> Body:
    message = f"The RayJob spec is invalid: {fault}"
    told = {
        "jobDeploymentStatus": "ValidationFailed",
        "reason": "ValidationFailed",
        "message": message,
    }
    return {**_blank(job), **job.get("status", {}), **told}


def initializing(job: Body, now: datetime) -> Body:
    """The names of what is to come. Each attempt has its own."""
    spec, name = job["spec"], job["metadata"]["name"]
    cluster = spec.get("clusterSelector", {}).get(SELECTOR) or suffixed(name)
    job_id = spec.get("jobId") or (None if mode(job) == "InteractiveMode" else suffixed(name))
    chosen = {"jobId": job_id} if job_id else {}
    moment = {"startTime": timestamp(now), "jobDeploymentStatus": "Initializing"}
    return _blank(job) | moment | chosen | {"rayClusterName": cluster}


def ready(job: Body, cluster: Body) -> Body:
    """The head is up."""
    after = (
        "Waiting"
        if mode(job) == "InteractiveMode" and not job["status"].get("jobId")
        else "Running"
    )
    host = f"{cluster['status']['head']['serviceName']}.{job['metadata']['namespace']}"
    known = job["status"]["rayClusterStatus"]
    seen = {
        "rayClusterStatus": known if "conditions" in known else cluster["status"]
    }  # as it was a moment before
    return {
        **job["status"],
        **seen,
        "dashboardURL": f"{host}.svc.cluster.local:8265",
        "jobDeploymentStatus": after,
    }


def sidecar_ends(job: Body, told: Body, cluster: Body) -> bool:
    """Whether the submitter's container has yet to end: KubeRay waits for it, and the Pod is then no longer ready."""
    is_ready = any(
        c["type"] == "HeadPodReady" and c["status"] == "True"
        for c in cluster["status"]["conditions"]
    )
    return mode(job) == "SidecarMode" and told["status"] in TERMINAL and is_ready


def mirrored(job: Body, told: dict[str, Any], now: datetime) -> Body:
    """What the head says of the job, and the end if that is one."""
    status = dict(job["status"])
    times = {
        "startTime": from_milliseconds(told["start_time"]),
        "endTime": from_milliseconds(told["end_time"]),
    }
    info = {key: value for key, value in times.items() if value}
    status |= {"jobStatus": told["status"], "message": told["message"] or "", "rayJobInfo": info}
    if told["status"] not in TERMINAL:
        return status
    status |= {"endTime": timestamp(now), "jobDeploymentStatus": "Complete"}
    if told["status"] == "SUCCEEDED":
        status["succeeded"] += 1
    if told["status"] == "FAILED":
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
    """The status once a deadline has passed. The job's own status stays as it was, and the job goes on."""
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
    """Suspended, or new again for the next attempt: what belonged to this attempt is forgotten."""
    start = {"startTime": job["status"]["startTime"]}
    return _blank(job) | start | ({"jobDeploymentStatus": after} if after else {})


def native_cleanup(job: Body, now: datetime) -> tuple[str, float | None]:
    """KubeRay's own cleanup: what is due (a policy's name), and in how many seconds to look again."""
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
