"""Builds the objects of a head and the status of a RayCluster as KubeRay 1.7 does.

Pure: requests and clocks must not enter here.
"""

import copy
import random
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

Body = dict[str, Any]

NODE = "sandbox"
HEAD = "sandbox/head"
SERVICE = "sandbox/service"
CLUSTER_LABEL = "ray.io/cluster"
IS_HEAD = "ray.io/node-type=head"
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # of Kubernetes, for generated names
SUBMITTER = {
    "name": "ray-job-submitter",
    "resources": {
        "limits": {"cpu": "1", "memory": "1Gi"},
        "requests": {"cpu": "500m", "memory": "200Mi"},
    },
}
UNITS: dict[str, Fraction | int] = {
    "m": Fraction(1, 1000),
    "k": 10**3,
    "M": 10**6,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
}


def suffixed(name: str) -> str:
    return f"{name}-{''.join(random.choices(ALPHABET, k=5))}"


def timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_milliseconds(value: int | None) -> str | None:
    """A timestamp. None for None and for 0, which Ray writes for an absent time."""
    return timestamp(datetime.fromtimestamp(value / 1000, UTC)) if value else None


def seconds_after(text: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(text)) / timedelta(seconds=1)


def owned_by(owner: Body) -> list[Body]:
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
    }
    return [
        reference
        | {"uid": owner["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}
    ]


def ray_cluster(job: Body, name: str, mode: str) -> Body:
    """The RayCluster of a RayJob, with a copy of all labels and annotations."""
    metadata = job["metadata"]
    originated = {
        "ray.io/originated-from-cr-name": metadata["name"],
        "ray.io/originated-from-crd": "RayJob",
    }
    annotations = metadata.get("annotations", {})
    spec = copy.deepcopy(job["spec"].get("rayClusterSpec", {}))
    if mode == "SidecarMode":
        annotations = annotations | {"ray.io/disable-provisioned-head-restart": "true"}
        spec["headGroupSpec"]["template"]["spec"]["containers"].append(SUBMITTER)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {
            "name": name,
            "labels": metadata.get("labels", {})
            | originated
            | {"ray.io/job-submission-mode": mode},
            "annotations": annotations,
            "ownerReferences": owned_by(job),
        },
        "spec": spec,
    }


def head_service(name: str, cluster: str, owners: list[Body] | None = None) -> Body:
    ports = [("gcs-server", 6379), ("dashboard", 8265), ("client", 10001)]
    return {
        "metadata": {"name": name, "labels": _labels(cluster), "ownerReferences": owners or []},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {CLUSTER_LABEL: cluster, "ray.io/node-type": "head"},
            "ports": [{"name": port, "port": number, "protocol": "TCP"} for port, number in ports],
        },
    }


def head_pod(cluster: str, service: str, head: str, owners: list[Body] | None = None) -> Body:
    """A head Pod. `head` chooses the head that the kubelet runs for it.

    Without a real kubelet only a grace period of 0 allows its deletion.
    """
    return {
        "metadata": {
            "name": suffixed(f"{cluster}-head"),
            "labels": _labels(cluster),
            "annotations": {HEAD: head, SERVICE: service},
            "ownerReferences": owners or [],
        },
        "spec": {
            "nodeName": NODE,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [{"name": "ray-head", "image": "sandbox"}],
        },
    }


def pod_status(address: str, *, ready: bool) -> Body:
    container = {
        "name": "ray-head",
        "image": "sandbox",
        "imageID": "",
        "restartCount": 0,
        "ready": ready,
        "started": ready,
    }
    return {
        "phase": "Running",
        "containerStatuses": [container | {"state": {"running": {}}}],
        "hostIP": "127.0.0.1",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [
            {"type": kind, "status": str(ready)} for kind in ("Ready", "ContainersReady")
        ],
    }


def cluster_status(cluster: Body, pod: Body, now: datetime) -> Body:
    """The status of a RayCluster while its head starts and after that."""
    before, moment = cluster.get("status", {}), timestamp(now)
    name, address = cluster["metadata"]["name"], pod.get("status", {}).get("podIP")
    ready = any(
        c["type"] == "Ready" and c["status"] == "True"
        for c in pod.get("status", {}).get("conditions", [])
    )
    was_ready = "state" in before
    addresses = {"podIP": address, "serviceIP": address} if address else {}
    conditions = [
        _condition(
            "HeadPodReady", holds=ready, reason="HeadPodRunningAndReady" if ready else "Unknown"
        ),
        _provisioned(holds=ready or was_ready),
        _condition("RayClusterSuspended", holds=False, reason="RayClusterSuspended"),
        _condition("RayClusterSuspending", holds=False, reason="RayClusterSuspending"),
    ]
    status = {
        "conditions": [_since(c, before.get("conditions", []), moment) for c in conditions],
        **desired(cluster["spec"]),
        "endpoints": {
            "client": "10001",
            "dashboard": "8265",
            "gcs-server": "6379",
            "metrics": "8080",
        },
        "head": {
            "podName": pod["metadata"]["name"],
            "serviceName": f"{name}-head-svc",
            **addresses,
        },
        "observedGeneration": cluster["metadata"]["generation"],
    }
    if ready or was_ready:
        since = before.get("stateTransitionTimes", {}).get("ready", moment)
        status |= {"state": "ready", "stateTransitionTimes": {"ready": since}}
    unchanged = {key: value for key, value in before.items() if key != "lastUpdateTime"} == status
    return before if unchanged else status | {"lastUpdateTime": moment}


def no_cluster_status() -> Body:
    """The zero value that KubeRay writes in a RayJob without a RayCluster."""
    return {**desired({}), "head": {}}


def desired(spec: Body) -> dict[str, str]:
    """The resource requests of the head and of the replicas of all worker groups."""
    groups = [(1, spec["headGroupSpec"])] if "headGroupSpec" in spec else []
    groups += [(group.get("replicas", 0), group) for group in spec.get("workerGroupSpecs", [])]
    resources = {
        "desiredCPU": "cpu",
        "desiredGPU": "/gpu",
        "desiredMemory": "memory",
        "desiredTPU": "/tpu",
    }
    return {
        key: _format_quantity(_total(groups, suffix), binary=suffix == "memory")
        for key, suffix in resources.items()
    }


def _total(groups: list[tuple[int, Body]], suffix: str) -> Fraction:
    return sum(
        (
            count * _quantity(str(value))
            for count, group in groups
            for container in group.get("template", {}).get("spec", {}).get("containers", [])
            for name, value in _requests(container.get("resources", {})).items()
            if name.endswith(suffix)
        ),
        Fraction(),
    )


def _requests(resources: Body) -> Body:
    return {**resources.get("limits", {}), **resources.get("requests", {})}


def _quantity(text: str) -> Fraction:
    number = text.rstrip("kKmMGi")
    return Fraction(number) * (UNITS[text[len(number) :]] if number != text else 1)


def _format_quantity(total: Fraction, *, binary: bool) -> str:
    for unit in ("Gi", "Mi") if binary and total else ():
        if (total / UNITS[unit]).denominator == 1:
            return f"{total / UNITS[unit]}{unit}"
    return str(total) if total.denominator == 1 else f"{round(total * 1000)}m"


def _labels(cluster: str) -> dict[str, str]:
    kuberay = {
        "app.kubernetes.io/name": "kuberay",
        "app.kubernetes.io/created-by": "kuberay-operator",
    }
    return {
        CLUSTER_LABEL: cluster,
        "ray.io/node-type": "head",
        "ray.io/identifier": f"{cluster}-head",
    } | kuberay


def _condition(kind: str, *, holds: bool, reason: str, message: str = "") -> Body:
    return {"type": kind, "status": str(holds), "reason": reason, "message": message}


def _provisioned(*, holds: bool) -> Body:
    if holds:
        reason, message = (
            "AllPodRunningAndReadyFirstTime",
            "All Ray Pods are ready for the first time",
        )
    else:
        reason, message = (
            "RayClusterPodsProvisioning",
            "RayCluster Pods are being provisioned for first time",
        )
    return _condition("RayClusterProvisioned", holds=holds, reason=reason, message=message)


def _since(condition: Body, before: list[Body], moment: str) -> Body:
    same = (
        c for c in before if c["type"] == condition["type"] and c["status"] == condition["status"]
    )
    return condition | {"lastTransitionTime": next(same, {}).get("lastTransitionTime", moment)}
