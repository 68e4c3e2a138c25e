"""Manifests as YAML, in which every line and column is known, and policies as JSON."""

from typing import Any

RAYJOB = """\
apiVersion: ray.io/v1
kind: RayJob
metadata:
  name: train
  annotations:
"""
POLICY = """\
apiVersion: raysweep.io/v1alpha1
kind: RayJobCleanupPolicy
metadata: {{name: {name}}}
spec: {spec}
"""
CREATED_AT = "2026-11-20T10:00:00Z"


def rayjob_yaml(*annotations: str, labels: str = "", spec: str = "") -> str:
    """A RayJob whose annotations begin in line 6, column 5, each on its own line."""
    lines = [f"    {annotation}\n" for annotation in annotations]
    if labels:
        lines.append(f"  labels: {labels}\n")
    if spec:
        lines.append(f"spec: {spec}\n")
    return RAYJOB + "".join(lines)


def policy_yaml(spec: str, *, name: str = "base") -> str:
    """A policy whose spec begins in line 4, column 7."""
    return POLICY.format(name=name, spec=spec)


def documents(*texts: str) -> str:
    """One file of several documents."""
    return "---\n".join(texts)


def policy_json(spec: Any, **metadata: Any) -> dict[str, Any]:
    """A policy as the API server sends it."""
    defaults = {
        "name": "base",
        "uid": "uid-base",
        "resourceVersion": "50",
        "generation": 3,
        "creationTimestamp": CREATED_AT,
    }
    return {
        "apiVersion": "raysweep.io/v1alpha1",
        "kind": "RayJobCleanupPolicy",
        "metadata": defaults | metadata,
        "spec": spec,
    }
