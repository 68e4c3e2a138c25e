"""The table of refused RayJobs, for docs/reference/refused.md and for the tests of the rules."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

BASE: Json = {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {"name": "train", "namespace": "team-a"},
    "spec": {
        "entrypoint": "python train.py",
        "rayClusterSpec": {
            "rayVersion": "2.52.0",
            "headGroupSpec": {
                "rayStartParams": {},
                "template": {
                    "spec": {"containers": [{"name": "ray-head", "image": "rayproject/ray:2.52.0"}]}
                },
            },
        },
    },
}
"""A valid RayJob."""


@dataclass(frozen=True, slots=True)
class RefusedSpec:
    """A RayJob, the rule that reports it, and who refuses it; see refused_specs.yaml."""

    rule: str
    patch: Json
    says: str
    crd: tuple[str, ...] = ()
    kuberay: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    kueue: str = ""

    @property
    def body(self) -> Json:
        """The RayJob."""
        body: Json = merge(BASE, self.patch)
        return body


def merge(value: Any, patch: Any) -> Any:
    """Applies a JSON merge patch (RFC 7386) to a copy of the value."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = copy.deepcopy(value) if isinstance(value, dict) else {}
    for key, inner in patch.items():
        if inner is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), inner)
    return result


def refused_specs() -> list[RefusedSpec]:
    """The rows of the table, in the order of the rules."""
    rows = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    return [
        RefusedSpec(**{key: _as_tuple_if_list(value) for key, value in row.items()}) for row in rows
    ]


def _as_tuple_if_list(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
