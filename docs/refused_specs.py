"""The table of RayJobs that somebody refuses, for docs/reference/refused.md and for the tests of the rules."""

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
"""A RayJob that nobody refuses."""


@dataclass(frozen=True, slots=True)
class RefusedSpec:
    """One RayJob, the rule that finds it, and who refuses it; see refused_specs.yaml."""

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
        whole: Json = merged(BASE, self.patch)
        return whole


def merged(value: Any, patch: Any) -> Any:
    """A value with a JSON merge patch (RFC 7386) laid over it."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    found = copy.deepcopy(value) if isinstance(value, dict) else {}
    for key, one in patch.items():
        if one is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), one)
    return found


def refused_specs() -> list[RefusedSpec]:
    """The table in its order, which is that of the rules."""
    rows = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    return [RefusedSpec(**{key: _frozen(value) for key, value in row.items()}) for row in rows]


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
