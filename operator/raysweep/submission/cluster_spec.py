"""The spec.rayClusterSpec of a RayJob from flags such as --worker-replicas. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from raysweep import names
from raysweep.core.text import quoted

PORTS = {"gcs": 6379, "dashboard": names.DASHBOARD_PORT, "client": 10001}
DASHBOARD_HOST = "0.0.0.0"  # noqa: S104 - other Pods and the API server's proxy must reach it
QUANTITY_FLAGS = ("head_cpu", "head_memory", "worker_cpu", "worker_memory")
GPU_FLAGS = ("head_gpu", "worker_gpu")

_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?([munkMGTPE]|[KMGTPE]i)?")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ClusterShape:
    """The flags about the cluster, as in `kubectl ray job submit`."""

    image: str | None = None
    ray_version: str = "2.52.0"
    head_cpu: str = "2"
    head_memory: str = "4Gi"
    head_gpu: str = "0"
    worker_replicas: int = 1
    worker_cpu: str = "2"
    worker_memory: str = "4Gi"
    worker_gpu: str = "0"
    head_node_selectors: Mapping[str, str] = field(default_factory=dict)
    worker_node_selectors: Mapping[str, str] = field(default_factory=dict)

    def problems(self) -> Iterator[str]:
        """Yields each invalid flag."""
        for name in QUANTITY_FLAGS:
            value = getattr(self, name)
            if not _QUANTITY.fullmatch(value):
                hint = "use a value such as 2, 500m or 4Gi"
                yield f"{_flag(name)}: invalid quantity {quoted(value)}: {hint}"
        for name in GPU_FLAGS:
            value = getattr(self, name)
            if not value.isdecimal():
                yield f"{_flag(name)}: invalid number of GPUs {quoted(value)}: use 0, 1, 2 or more"
        if self.worker_replicas < 0:
            yield f"--worker-replicas: {self.worker_replicas} is negative: use 0 or more"


def cluster_spec(shape: ClusterShape) -> Json:
    """Returns the spec of a RayCluster with one head and one group of workers."""
    image = shape.image or f"rayproject/ray:{shape.ray_version}"
    head_resources = _resources(shape.head_cpu, shape.head_memory, shape.head_gpu)
    head = _container("ray-head", image, head_resources)
    head["ports"] = [{"name": name, "containerPort": port} for name, port in PORTS.items()]
    spec: Json = {
        "rayVersion": shape.ray_version,
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": DASHBOARD_HOST},
            "template": {"spec": _pod(head, shape.head_node_selectors)},
        },
    }
    if shape.worker_replicas > 0:
        spec["workerGroupSpecs"] = [_worker_group(shape, image)]
    return spec


def _worker_group(shape: ClusterShape, image: str) -> Json:
    resources = _resources(shape.worker_cpu, shape.worker_memory, shape.worker_gpu)
    worker = _container("ray-worker", image, resources)
    return {
        "groupName": "default-group",
        **dict.fromkeys(("replicas", "minReplicas", "maxReplicas"), shape.worker_replicas),
        "rayStartParams": {},
        "template": {"spec": _pod(worker, shape.worker_node_selectors)},
    }


def _pod(container: Json, selectors: Mapping[str, str]) -> Json:
    pod: Json = {"containers": [container]}
    if selectors:
        pod["nodeSelector"] = dict(selectors)
    return pod


def _container(name: str, image: str, resources: Json) -> Json:
    return {
        "name": name,
        "image": image,
        "resources": {"requests": dict(resources), "limits": resources},
    }


def _resources(cpu: str, memory: str, gpu: str) -> Json:
    resources = {"cpu": cpu, "memory": memory}
    if gpu.strip("0"):
        resources["nvidia.com/gpu"] = gpu
    return resources


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
