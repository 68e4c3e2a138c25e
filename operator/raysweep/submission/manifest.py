"""The RayJob that a submission makes, from flags, from a file, or from both. Pure: nothing is read, sent or chosen at random.

Native fields are written so that KubeRay alone never deletes a cluster earlier than was asked for any outcome, for it knows
one time for all of them; annotations say exactly what was asked (kuberay rayjob_types.go, validation.go).
"""

import copy
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from raysweep import names
from raysweep.core import annotations
from raysweep.core.durations import GRAMMAR, NEVER, Duration, format_duration, parse_duration
from raysweep.core.text import quoted

INT32 = 2**31 - 1
LONGEST_NAME = 47
"""KubeRay's own limit for a RayJob's name: those of its RayCluster and Services are made from it (validation.go)."""
API_VERSION = f"{names.RAY_GROUP}/{names.RAY_VERSION}"
NATIVE = ("shutdownAfterJobFinishes", "ttlSecondsAfterFinished")
PORTS = {"gcs": 6379, "dashboard": names.DASHBOARD_PORT, "client": 10001}

_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?([munkMGTPE]|[KMGTPE]i)?")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")

Json = dict[str, Any]


class ManifestError(Exception):
    """What is wrong with flags or file, all of it; each problem names the value, the place and the remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Cleanup:
    """The cleanup flags as they were typed; durations by annotation key."""

    shutdown: bool | None = None
    ttl_seconds: int | None = None
    durations: Mapping[str, str] = field(default_factory=dict)
    ttl_unsubmitted: str = "1h"

    @property
    def sets_times(self) -> bool:
        """Whether a time for RayJob or RayCluster was asked for."""
        return self.ttl_seconds is not None or bool(self.durations)


@dataclass(frozen=True, slots=True)
class Shape:
    """The cluster, as `kubectl ray job submit` shapes it."""

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


@dataclass(frozen=True, slots=True)
class Manifest:
    """The RayJob to make, without its submission ID, and what the person should know about its cleanup."""

    body: Json
    notes: tuple[str, ...] = ()


def from_flags(name: str, entrypoint: str, shape: Shape, cleanup: Cleanup, *, labels: Mapping[str, str]) -> Manifest:
    """Raises ManifestError."""
    problems = [*_name_problems(name, "--name"), *_label_problems(labels), *_shape_problems(shape)]
    spec = {"entrypoint": entrypoint, "submissionMode": names.INTERACTIVE, "rayClusterSpec": _cluster(shape)}
    metadata = {"name": name, **({"labels": dict(labels)} if labels else {})}
    return _with_cleanup({"apiVersion": API_VERSION, "kind": "RayJob", "metadata": metadata, "spec": spec}, cleanup, problems)


def from_file(
    document: Mapping[str, Any], cleanup: Cleanup, *, name: str | None, entrypoint: str | None, labels: Mapping[str, str]
) -> Manifest:
    """The flags laid over a RayJob as `kubectl apply` takes it. Raises ManifestError."""
    body = copy.deepcopy(dict(document))
    _check_kind(body)
    body.pop("status", None)
    metadata, spec = body.setdefault("metadata", {}), body.setdefault("spec", {})
    odd = [place for place, found in (("metadata", metadata), ("spec", spec)) if not isinstance(found, dict)]
    if odd:
        raise ManifestError(*(f"{place} of the file: write a mapping" for place in odd))
    metadata |= {"name": name} if name else {}
    problems = [*_metadata_problems(metadata), *_spec_problems(spec, cleanup), *_label_problems(labels)]
    if problems:
        raise ManifestError(*problems)
    metadata |= {"labels": {**(metadata.get("labels") or {}), **labels}} if labels else {}
    spec |= {"submissionMode": names.INTERACTIVE} | ({"entrypoint": entrypoint} if entrypoint else {})
    spec.pop("jobId", None)  # told to KubeRay once the head has confirmed it
    return _with_cleanup(body, cleanup, [])


def _check_kind(body: Json) -> None:
    if (body.get("apiVersion"), body.get("kind")) != (API_VERSION, "RayJob"):
        found = f"{body.get('apiVersion')} {body.get('kind')}"
        raise ManifestError(f"the file holds {quoted(found)}, and what can be submitted is a {API_VERSION} RayJob")


def _metadata_problems(metadata: Json) -> list[str]:
    name, prefix = metadata.get("name"), metadata.get("generateName")
    problems = [
        f"metadata.{key} of the file: write a mapping of texts"
        for key in ("labels", "annotations")
        if not _is_texts(metadata.get(key))
    ]
    if name is not None or not prefix:
        problems += _name_problems(name, "metadata.name") if name else ["metadata.name of the file is missing; or give --name"]
    elif not isinstance(prefix, str) or not _LABEL.fullmatch(f"{prefix}x") or len(prefix) > LONGEST_NAME - 5:
        problems.append(f"metadata.generateName: {quoted(prefix)} begins no name of at most {LONGEST_NAME} characters")
    if not problems:
        found = annotations.faults(metadata.get("annotations") or {}, f"RayJob {name or prefix}")
        problems += [str(fault) for fault in found]
    return problems


def _is_texts(found: object) -> bool:
    return found is None or (isinstance(found, dict) and all(isinstance(one, str) for pair in found.items() for one in pair))


def _spec_problems(spec: Json, cleanup: Cleanup) -> list[str]:
    """What KubeRay would refuse only after the RayJob was made, and then for good (ValidationFailed)."""
    mode, retries = spec.get("submissionMode"), spec.get("backoffLimit") or 0
    shutdown, ttl = spec.get("shutdownAfterJobFinishes"), spec.get("ttlSecondsAfterFinished") or 0
    is_on = shutdown if cleanup.shutdown is None else cleanup.shutdown
    problems = []
    if mode not in (None, "", names.INTERACTIVE):
        remedy = "submit posts the job itself: take the field out, or use kubectl apply"
        problems.append(f"spec.submissionMode is {quoted(mode)}; {remedy}")
    if retries:
        problems.append(f"spec.backoffLimit is {quoted(retries)}; KubeRay allows none in InteractiveMode: take it out")
    if shutdown not in (None, True, False):
        problems.append(f"spec.shutdownAfterJobFinishes is {quoted(shutdown)}; write true or false")
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not 0 <= ttl <= INT32:
        problems.append(f"spec.ttlSecondsAfterFinished is {quoted(ttl)}; write whole seconds, 0 to {INT32}")
    elif ttl and not is_on and not cleanup.sets_times:
        problems.append(f"spec.ttlSecondsAfterFinished is {ttl} without shutdownAfterJobFinishes: true, which KubeRay refuses")
    strategy = next((key for key in ("deletionStrategy", "deletionPolicy") if spec.get(key)), "")
    if strategy and (cleanup.sets_times or cleanup.shutdown is not None):
        problems.append(f"spec.{strategy} and cleanup flags: KubeRay takes one or the other; leave out the flags or the field")
    if spec.get("entrypoint") is not None and not isinstance(spec["entrypoint"], str):
        problems.append(f"spec.entrypoint is {quoted(spec['entrypoint'])}; write a text")
    return problems


def _name_problems(name: object, place: str) -> list[str]:
    if isinstance(name, str) and _LABEL.fullmatch(name) and len(name) <= LONGEST_NAME:
        return []
    how = f"lower-case letters, digits and '-', a letter first, at most {LONGEST_NAME} characters"
    return [f"{place}: {quoted(name)} is no name that KubeRay takes; write {how}"]


def _label_problems(labels: Mapping[str, str]) -> list[str]:
    return [
        f"--label: {quoted(f'{key}={value}')} is no label; write KEY=VALUE, as team=vision"
        for key, value in labels.items()
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value)
    ]


def _shape_problems(shape: Shape) -> list[str]:
    flags = ("head_cpu", "head_memory", "worker_cpu", "worker_memory")
    problems = [
        f"--{flag.replace('_', '-')}: {quoted(value)} is no quantity; write 2, 500m or 4Gi"
        for flag in flags
        if not _QUANTITY.fullmatch(value := getattr(shape, flag))
    ]
    problems += [
        f"--{flag.replace('_', '-')}: {quoted(value)} is no number of GPUs; write 0, 1, 2"
        for flag in ("head_gpu", "worker_gpu")
        if not (value := getattr(shape, flag)).isdecimal()
    ]
    return problems + ([f"--worker-replicas: {shape.worker_replicas} is less than 0"] if shape.worker_replicas < 0 else [])


def _cluster(shape: Shape) -> Json:
    image = shape.image or f"rayproject/ray:{shape.ray_version}"
    head = _container("ray-head", image, (shape.head_cpu, shape.head_memory, shape.head_gpu))
    head["ports"] = [{"name": name, "containerPort": port} for name, port in PORTS.items()]
    cluster: Json = {
        "rayVersion": shape.ray_version,
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": "0.0.0.0"},  # noqa: S104 - Pods and the API server's proxy reach it so
            "template": {"spec": _pod(head, shape.head_node_selectors)},
        },
    }
    if shape.worker_replicas > 0:
        worker = _container("ray-worker", image, (shape.worker_cpu, shape.worker_memory, shape.worker_gpu))
        count = dict.fromkeys(("replicas", "minReplicas", "maxReplicas"), shape.worker_replicas)
        template = {"spec": _pod(worker, shape.worker_node_selectors)}
        cluster["workerGroupSpecs"] = [{"groupName": "default-group", **count, "rayStartParams": {}, "template": template}]
    return cluster


def _pod(container: Json, selectors: Mapping[str, str]) -> Json:
    return {"containers": [container], **({"nodeSelector": dict(selectors)} if selectors else {})}


def _container(name: str, image: str, size: tuple[str, str, str]) -> Json:
    cpu, memory, gpu = size
    resources = {"cpu": cpu, "memory": memory, **({"nvidia.com/gpu": gpu} if gpu.strip("0") else {})}
    return {"name": name, "image": image, "resources": {"requests": dict(resources), "limits": resources}}


def _with_cleanup(body: Json, cleanup: Cleanup, problems: list[str]) -> Manifest:
    """The flags as native fields and as annotations, over what the file says with either."""
    problems = [*problems, *_duration_problems(cleanup)]
    if problems:
        raise ManifestError(*problems)
    metadata, spec = body["metadata"], body["spec"]
    before = dict(metadata.get("annotations") or {})
    said = {names.TTL: str(cleanup.ttl_seconds)} if cleanup.ttl_seconds is not None else {}
    said |= dict(cleanup.durations)
    unsubmitted = cleanup.ttl_unsubmitted
    if unsubmitted != Cleanup().ttl_unsubmitted or names.TTL_UNSUBMITTED not in before:
        said[names.TTL_UNSUBMITTED] = unsubmitted
    if cleanup.sets_times and cleanup.shutdown is not False:
        said = {**_unnamed(spec, before | said), **said}
    native, refused, notes = _native(cleanup, _cluster_times(before | said))
    if refused:
        raise ManifestError(*refused)
    if cleanup.sets_times:  # the file's own would stand beside what the flags ask for, and KubeRay heeds them
        spec = {key: value for key, value in spec.items() if key not in NATIVE}
    body["metadata"] = metadata | {"annotations": before | said}
    body["spec"] = spec | native
    return Manifest(body, (*notes, *_more_notes(body["spec"], before | said)))


def _duration_problems(cleanup: Cleanup) -> list[str]:
    problems, seconds = [], cleanup.ttl_seconds
    if seconds is not None and not 0 <= seconds <= INT32:
        problems.append(f"--ttl-seconds-after-finished: {seconds} is not between 0 and {INT32} seconds")
    for key, text in {**cleanup.durations, names.TTL_UNSUBMITTED: cleanup.ttl_unsubmitted}.items():
        try:
            parse_duration(text)
        except ValueError:
            problems.append(f"{_flag(key)}: {quoted(text)} is no duration; write {GRAMMAR}")
    return problems


def _unnamed(spec: Json, said: Mapping[str, str]) -> dict[str, str]:
    """The file's native time, for the outcomes that no annotation names, as annotations: the flags replace the field itself."""
    if not spec.get("shutdownAfterJobFinishes") or spec.get("deletionStrategy"):
        return {}
    seconds = spec.get("ttlSecondsAfterFinished") or 0
    if seconds:
        return {
            f"{names.TTL}-{one}": str(seconds) for one in names.OUTCOMES if not {names.TTL, f"{names.TTL}-{one}"} & said.keys()
        }
    kinds = (names.TTL, names.CLUSTER_TTL)
    named = {one: {*kinds, *(f"{kind}-{one}" for kind in kinds)} & said.keys() for one in names.OUTCOMES}
    return {f"{names.CLUSTER_TTL}-{one}": "0" for one, keys in named.items() if not keys}


def _cluster_times(annotations: Mapping[str, str]) -> dict[str, Duration | None]:
    """When the cluster may go after each outcome, None where nothing says so; as core/retention.py reads one source."""
    read = {key: parse_duration(text) for key, text in annotations.items() if key in names.DURATION_KEYS}
    ttl = {one: read.get(f"{names.TTL}-{one}", read.get(names.TTL)) for one in names.OUTCOMES}
    return {one: read.get(f"{names.CLUSTER_TTL}-{one}", read.get(names.CLUSTER_TTL, ttl[one])) for one in names.OUTCOMES}


def _native(cleanup: Cleanup, times: Mapping[str, Duration | None]) -> tuple[Json, list[str], list[str]]:
    """KubeRay's two fields, what is refused, and what the person should know."""
    if cleanup.shutdown is False:
        refusal = "--shutdown-after-job-finishes=false and a TTL contradict each other; leave out one of them"
        return {"shutdownAfterJobFinishes": False}, [refusal] if cleanup.sets_times else [], []
    asked = list(times.values())
    if not cleanup.sets_times and not (cleanup.shutdown and any(one is not None for one in asked)):
        return {"shutdownAfterJobFinishes": True} if cleanup.shutdown else {}, [], []
    if any(one is None or one is NEVER for one in asked):
        kept = ", ".join(outcome for outcome, one in times.items() if one is None or one is NEVER)
        if cleanup.shutdown:
            said = "KubeRay would delete the cluster after every outcome, and nothing says when it may go after"
            return {}, [f"--shutdown-after-job-finishes: {said}: {kept}; leave that flag out, or give --cluster-ttl"], []
        return {}, [], [f"KubeRay's own fields are left out, since it knows one time for all outcomes, and kept is: {kept}"]
    last = max(one for one in asked if isinstance(one, timedelta))
    seconds = math.ceil(last.total_seconds())
    if seconds > INT32:
        return {}, [f"the cluster would stay for {format_duration(last)}, and KubeRay reckons {INT32} seconds at most"], []
    notes = [] if cleanup.shutdown else [_IMPLIED]
    if len(set(asked)) > 1:
        notes.append(
            f"KubeRay alone would delete the cluster {format_duration(last)} after every outcome; Raysweep as asked for each"
        )
    return {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": seconds}, [], notes


_IMPLIED = "a TTL implies --shutdown-after-job-finishes, which KubeRay requires with it"
_CLUSTER_ONLY = (
    "the RayCluster goes as soon as the job has ended; the RayJob stays as the record until its Namespace says otherwise "
    "(--ttl-seconds-after-finished 0 takes it too)"
)


def _more_notes(spec: Json, said: Mapping[str, str]) -> list[str]:
    notes = []
    if spec.get("clusterSelector"):
        notes.append(
            "with a clusterSelector KubeRay deletes nothing, and the selected RayCluster stays; Raysweep deletes the RayJob alone"
        )
    if (
        spec.get("shutdownAfterJobFinishes")
        and not spec.get("ttlSecondsAfterFinished")
        and not said.keys() & set(names.DURATION_KEYS)
    ):
        notes.append(_CLUSTER_ONLY)
    if said.get(names.TTL_UNSUBMITTED) == "never":
        notes.append("with --ttl-unsubmitted never, a submit that is killed leaves its cluster for ever")
    return notes


def _flag(key: str) -> str:
    return f"--{key.removeprefix(names.ANNOTATION_PREFIX)}"
