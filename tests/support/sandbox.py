"""RayJobs that several tests of the sandbox share."""

import json
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parents[1] / "samples"
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
