"""The RayJob of a submission, from flags, from a file, or from both.

Pure: nothing is read, sent or chosen at random. cleanup_fields.py translates the cleanup flags.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raysweep import names
from raysweep.clients.parsing import yaml_text
from raysweep.core.retention import annotations
from raysweep.core.text import quoted
from raysweep.core.validation.validate import validate
from raysweep.core.validation.violation import Path, Severity
from raysweep.submission.cleanup_fields import (
    KUBERAY_FIELDS,
    SHUTDOWN,
    SHUTDOWN_FLAG,
    CleanupError,
    CleanupFlags,
    cleanup_fields,
    general_notes,
)
from raysweep.submission.cluster_spec import ClusterShape, cluster_spec

API_VERSION = f"{names.RAY_GROUP}/{names.RAY_VERSION}"
STRATEGIES = ("deletionStrategy", "deletionPolicy")

Json = dict[str, Any]


class ManifestError(Exception):
    """Problems of the flags or the file. Each names the value, the place and the remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Manifest:
    """The RayJob to create, without its submission ID, and notes about its cleanup."""

    body: Json
    notes: tuple[str, ...] = ()


def from_flags(
    name: str,
    entrypoint: str,
    shape: ClusterShape,
    cleanup: CleanupFlags,
    *,
    labels: Mapping[str, str],
) -> Manifest:
    """Builds a RayJob from flags alone. Raises ManifestError."""
    metadata: Json = {"name": name}
    if labels:
        metadata["labels"] = dict(labels)
    spec = {
        "entrypoint": entrypoint,
        "submissionMode": names.INTERACTIVE_MODE,
        "rayClusterSpec": cluster_spec(shape),
    }
    body = {"apiVersion": API_VERSION, "kind": "RayJob", "metadata": metadata, "spec": spec}
    return _complete(body, cleanup, shape.problems(), _flags_by_path(name, labels, cleanup))


def from_file(
    document: Mapping[str, Any],
    cleanup: CleanupFlags,
    *,
    name: str | None,
    entrypoint: str | None,
    labels: Mapping[str, str],
) -> Manifest:
    """Lays the flags over a RayJob as `kubectl apply` accepts it. Raises ManifestError."""
    body = copy.deepcopy(dict(document))
    _check_kind(body)
    body.pop("status", None)
    metadata, spec = body.setdefault("metadata", {}), body.setdefault("spec", {})
    _check_mappings(metadata, spec)
    if name:
        metadata["name"] = name
    if labels:
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    problems = [*_metadata_problems(metadata), *_spec_problems(spec, cleanup)]
    spec["submissionMode"] = names.INTERACTIVE_MODE
    if entrypoint:
        spec["entrypoint"] = entrypoint
    spec.pop("jobId", None)  # set once the head has confirmed it
    return _complete(body, cleanup, problems, _flags_by_path(name, labels, cleanup))


def _check_kind(body: Json) -> None:
    if (body.get("apiVersion"), body.get("kind")) != (API_VERSION, "RayJob"):
        kind = quoted(f"{body.get('apiVersion')} {body.get('kind')}")
        raise ManifestError(f"the file has {kind}: use a file with a {API_VERSION} RayJob")


def _check_mappings(metadata: object, spec: object) -> None:
    places = {"metadata": metadata, "spec": spec}
    if isinstance(metadata, dict):
        for key in ("labels", "annotations"):
            places[f"metadata.{key}"] = metadata.get(key) or {}
    odd = [place for place, value in places.items() if not isinstance(value, dict)]
    if odd:
        raise ManifestError(*(f"{place} of the file: write a mapping" for place in odd))


def _metadata_problems(metadata: Json) -> list[str]:
    name = metadata.get("name") or metadata.get("generateName")
    problems = [] if name else ["metadata.name of the file is missing: set it, or use --name"]
    invalid = annotations.errors(_text_annotations(metadata), f"RayJob {name}")
    return [*problems, *map(str, invalid)]


def _text_annotations(metadata: Json) -> dict[str, str]:
    """The annotations whose value is a text. A rule reports the others."""
    pairs = (metadata.get("annotations") or {}).items()
    return {key: value for key, value in pairs if isinstance(value, str)}


def _spec_problems(spec: Json, cleanup: CleanupFlags) -> list[str]:
    """What submit does not support, although KubeRay does."""
    problems = []
    mode = spec.get("submissionMode")
    if mode not in (None, "", names.INTERACTIVE_MODE):
        hint = "remove the field, since submit posts the job itself, or use kubectl apply"
        problems.append(f"spec.submissionMode is {quoted(mode)}: {hint}")
    has_cleanup_flags = cleanup.sets_ttl or cleanup.shutdown is not None
    for strategy in STRATEGIES:
        if spec.get(strategy) and has_cleanup_flags:
            hint = "KubeRay accepts only one of them: remove the flags or the field"
            problems.append(f"spec.{strategy} and cleanup flags: {hint}")
            break
    return problems


def _flags_by_path(
    name: str | None, labels: Mapping[str, str], cleanup: CleanupFlags
) -> dict[Path, str]:
    """The flags that set a field of the RayJob, by the path of the field."""
    flags: dict[Path, str] = {("metadata", "labels", key): f"--label {key}" for key in labels}
    if name:
        flags["metadata", "name"] = "--name"
    if cleanup.shutdown is not None:
        flags["spec", SHUTDOWN] = SHUTDOWN_FLAG
    return flags


def _complete(
    body: Json, cleanup: CleanupFlags, problems: Iterable[str], flags: Mapping[Path, str]
) -> Manifest:
    """Adds the cleanup and checks the RayJob. Raises ManifestError with every problem.

    flags: the flags that set a field, by its path.
    """
    errors = [*problems, *cleanup.problems()]
    try:
        manifest = _with_cleanup(body, cleanup)
    except CleanupError as error:
        errors.append(str(error))
        manifest = _with_shutdown(body, cleanup)
    except ValueError:  # an invalid duration, which cleanup.problems() has reported
        manifest = _with_shutdown(body, cleanup)
    notes = [*manifest.notes]
    for problem in validate(manifest.body, yaml_text.load):
        place = flags.get(problem.path, problem.place)
        messages = errors if problem.rule.severity is Severity.ERROR else notes
        messages.append(f"{place}: {problem.message}")
    if errors:
        raise ManifestError(*errors)
    return Manifest(manifest.body, tuple(notes))


def _with_shutdown(body: Json, cleanup: CleanupFlags) -> Manifest:
    """The RayJob with problems, with the shutdown that the flags imply, for the rules."""
    if not cleanup.implied_shutdown:
        return Manifest(body)
    return Manifest(body | {"spec": body["spec"] | {SHUTDOWN: True}})


def _with_cleanup(body: Json, cleanup: CleanupFlags) -> Manifest:
    """The RayJob with the cleanup flags. Raises CleanupError, ValueError."""
    metadata, spec = body["metadata"], body["spec"]
    before = _text_annotations(metadata)
    fields = cleanup_fields(spec, before, _kueue_queue(body), cleanup)
    if cleanup.sets_ttl:
        spec = {key: value for key, value in spec.items() if key not in KUBERAY_FIELDS}
    spec = spec | fields.spec
    all_annotations = {**(metadata.get("annotations") or {}), **fields.annotations}
    completed = body | {"metadata": metadata | {"annotations": all_annotations}, "spec": spec}
    notes = (*fields.notes, *general_notes(spec, before | fields.annotations))
    return Manifest(completed, notes)


def _kueue_queue(body: Json) -> str:
    """The Kueue queue of the RayJob; "" if it has none, or has a field that Kueue excludes."""
    spec = body["spec"]
    strategy = spec.get("deletionStrategy")
    has_rules = isinstance(strategy, Mapping) and "deletionRules" in strategy
    if spec.get("clusterSelector") or has_rules:
        return ""
    return str((body["metadata"].get("labels") or {}).get(names.KUEUE_QUEUE_LABEL) or "")
