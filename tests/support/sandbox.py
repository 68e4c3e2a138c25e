"""RayJobs and requests that several tests of the sandbox share."""

import json
import re
from pathlib import Path
from typing import Any

from sandbox.cluster import Cluster

SAMPLES = Path(__file__).parents[1] / "sandbox" / "samples"
Body = dict[str, Any]


def sample(name: str) -> Body:
    body: Body = json.loads((SAMPLES / f"{name}.json").read_text())
    return body


def path(namespace: str, plural: str, name: str = "") -> str:
    return f"/apis/ray.io/v1/namespaces/{namespace}/{plural}/{name}".rstrip("/")


def rayjob(name: str, head: str, spec: Body, **metadata: Any) -> Body:
    annotations = {"sandbox/head": head} | metadata.pop("annotations", {})
    identity = {"apiVersion": "ray.io/v1", "kind": "RayJob"}
    return {
        **identity,
        "metadata": {"name": name, "annotations": annotations, **metadata},
        "spec": spec,
    }


async def create(cluster: Cluster, namespace: str, job: Body) -> Body:
    created: Body = await cluster.api.request("POST", path(namespace, "rayjobs"), job)
    return created


async def find(cluster: Cluster, namespace: str, name: str, plural: str = "rayjobs") -> Body | None:
    return await cluster.api.find(path(namespace, plural, name))


async def status(cluster: Cluster, namespace: str, name: str) -> Body:
    return dict((await find(cluster, namespace, name) or {}).get("status", {}))


def normal(value: object, namespace: str = "default") -> Any:
    """Replaces what differs between runs: times, generated names and addresses."""
    text = json.dumps(value, sort_keys=True).replace(f".{namespace}.svc", ".default.svc")
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(Z|,\d+)?", "TIME", text)
    text = re.sub(r"-[bcdfghjklmnpqrstvwxz24-9]{5}\b", "-RANDOM", text)
    return json.loads(re.sub(r"10\.244\.\d+\.\d+", "ADDRESS", text))
