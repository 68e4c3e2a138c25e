"""Builders of facts, assessments and JSON as the API server sends it. They contain no expectation.

By default the RayJob succeeded at END, owns its cluster, and is due an hour later, at DUE.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from raysweep.core.assessment import Assessment
from raysweep.core.model.facts import (
    HeadList,
    HeadSilent,
    JobEntry,
    Namespace,
    Policy,
    ProbeKind,
    ProbeResult,
    RayCluster,
    RayJob,
)

END = datetime(2026, 11, 22, 18, 0, 0, 250_000, UTC)
"""With a fraction, so that due times are exact. A whole second counts as truncated."""
HOUR = timedelta(hours=1)
MOMENT = timedelta(microseconds=1)
DUE = END + HOUR

Body = dict[str, Any]


def says(**values: str) -> dict[str, str]:
    """`says(cluster_ttl="1h")` is the annotation raysweep.io/cluster-ttl: 1h."""
    return {f"raysweep.io/{key.replace('_', '-')}": value for key, value in values.items()}


def a_rayjob(**fields: Any) -> RayJob:
    """It succeeded at END, with a TTL of an hour."""
    job = RayJob(
        namespace="team-a",
        name="train",
        uid="uid-train",
        resource_version="100",
        annotations=says(ttl="1h"),
        deployment_status="Complete",
        job_status="SUCCEEDED",
        job_id="train-x7k2p",
        cluster_name="train-cluster",
        end_time=END,
        status_written_at=END,
    )
    return replace(job, **fields)


def a_running(**fields: Any) -> RayJob:
    """a_rayjob() while its status is Running."""
    return replace(
        a_rayjob(deployment_status="Running", job_status="RUNNING", end_time=None, start_time=END),
        **fields,
    )


def an_interactive(**fields: Any) -> RayJob:
    """It has waited for a submission since END, and is due an hour later, at DUE."""
    waiting = a_running(
        deployment_status="Waiting", job_status="", job_id="", submission_mode="InteractiveMode"
    )
    return replace(waiting, **({"annotations": says(ttl_unsubmitted="1h")} | fields))


def a_raycluster(**fields: Any) -> RayCluster:
    """The cluster that a_rayjob() owns and its status names."""
    return replace(
        RayCluster("team-a", "train-cluster", "uid-cluster", "90", controller_uid="uid-train"),
        **fields,
    )


def a_namespace(**annotations: str) -> Namespace:
    """The Namespace of a_rayjob(), with these raysweep.io annotations."""
    return Namespace("team-a", "uid-team-a", "7", says(**annotations))


def a_headless_raycluster(**fields: Any) -> RayCluster:
    """a_raycluster() without a head Pod, by its status."""
    return a_raycluster(
        **({"has_status": True, "head_ready": False, "head_reason": "HeadPodNotFound"} | fields)
    )


def a_submission(
    status: str = "SUCCEEDED", submission_id: str = "train-x7k2p", end_time: datetime | None = None
) -> JobEntry:
    """An entry of the head's list, by default that of a_rayjob()'s own job."""
    return JobEntry("SUBMISSION", submission_id, status, end_time=end_time)


def a_driver(status: str = "RUNNING") -> JobEntry:
    """The entry of a driver such as a notebook."""
    return JobEntry("DRIVER", "", status, job_id="02000000")


def a_list(*entries: JobEntry, unreadable: str = "", answered_at: datetime = DUE) -> HeadList:
    """A head's answer."""
    return HeadList(entries, answered_at, unreadable)


def a_probe(
    *entries: JobEntry, cluster: RayCluster | None = None, unreadable: str = ""
) -> ProbeResult:
    """The cluster exists. Its head answers these entries; by default a_rayjob()'s own, ended."""
    return ProbeResult(
        cluster or a_raycluster(), a_list(*(entries or (a_submission(),)), unreadable=unreadable)
    )


def a_silent_probe(
    detail: str = "connection refused",
    *,
    unauthorized: bool = False,
    cluster: RayCluster | None = None,
) -> ProbeResult:
    """The cluster exists, and its head gives no usable answer."""
    return ProbeResult(cluster or a_raycluster(), HeadSilent(detail, unauthorized=unauthorized))


def a_dead_node_probe(*others: JobEntry) -> ProbeResult:
    """The head reports a_rayjob()'s own job as RUNNING on a dead node, beside these entries."""
    listed = (a_submission("RUNNING"), *others)
    return ProbeResult(
        a_raycluster(), HeadSilent("its node is DEAD", node_is_dead=True, listed=listed)
    )


def a_status_probe(*entries: JobEntry) -> ProbeResult:
    """A status probe: the head answers about this job only."""
    return ProbeResult(a_raycluster(), HeadList(entries, DUE, whole=False), kind=ProbeKind.STATUS)


def a_policy(name: str = "base", *, priority: int = 0, **fields: Any) -> Policy:
    """A RayJobCleanupPolicy for every RayJob, written a day ago. `times`: by path below spec."""
    return Policy(
        name, f"uid-{name}", "50", written_at=END - timedelta(days=1), priority=priority, **fields
    )


def an_assessment(**fields: Any) -> Assessment:
    """a_rayjob() with its cluster and Namespace at DUE, without a probe."""
    facts = Assessment(DUE, a_rayjob(), a_namespace(), owned=(a_raycluster(),))
    return replace(facts, **fields)


def written(moment: datetime) -> str:
    """The time as Kubernetes writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def rayjob_json(
    *, metadata: Body | None = None, spec: Body | None = None, status: Body | None = None
) -> Body:
    """a_rayjob() as the API server sends it, with these fields."""
    known = {
        "name": "train",
        "namespace": "team-a",
        "uid": "uid-train",
        "resourceVersion": "100",
        "annotations": says(ttl="1h"),
        "managedFields": [
            {"manager": "kuberay-operator", "subresource": "status", "time": written(END)}
        ],
    }
    ended = {
        "jobDeploymentStatus": "Complete",
        "jobStatus": "SUCCEEDED",
        "jobId": "train-x7k2p",
        "rayClusterName": "train-cluster",
        "endTime": written(END),
    }
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": known | (metadata or {}),
        "spec": {"entrypoint": "python train.py"} | (spec or {}),
        "status": ended | (status or {}),
    }


def raycluster_json(
    *, metadata: Body | None = None, ports: Any = None, status: Body | None = None
) -> Body:
    """a_raycluster() as the API server sends it."""
    owner = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "name": "train",
        "uid": "uid-train",
        "controller": True,
    }
    known = {
        "name": "train-cluster",
        "namespace": "team-a",
        "uid": "uid-cluster",
        "resourceVersion": "90",
    }
    ports = [{"name": "dashboard", "containerPort": 8265}] if ports is None else ports
    template = {"spec": {"containers": [{"name": "ray-head", "ports": ports}]}}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": known | {"ownerReferences": [owner]} | (metadata or {}),
        "spec": {"headGroupSpec": {"template": template}},
        "status": status or {},
    }


def namespace_json(name: str = "team-a", **annotations: str) -> Body:
    """A Namespace as the API server sends it."""
    metadata = {
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": "7",
        "annotations": says(**annotations),
    }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
