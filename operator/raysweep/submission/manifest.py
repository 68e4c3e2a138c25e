"""The RayJob that a submission makes, from flags, from a file, or from both. Pure: nothing is read, sent or chosen at random.

Native fields are written so that KubeRay alone never deletes a cluster earlier than was asked for any outcome, for it knows
one time for all of them; annotations say exactly what was asked (kuberay rayjob_types.go, validation.go).
"""

import copy
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from raysweep import names
from raysweep.clients.parsing import yaml_text
from raysweep.core.durations import GRAMMAR, NEVER, Duration, format_duration, parse_duration
from raysweep.core.retention import annotations
from raysweep.core.text import quoted
from raysweep.core.validation.validate import validate
from raysweep.core.validation.violation import Path, Severity

INT32 = 2**31 - 1
UNSUBMITTED_MARGIN = timedelta(minutes=10)
"""How much longer than all waits of a submit the RayJob without a job stays."""
API_VERSION = f"{names.RAY_GROUP}/{names.RAY_VERSION}"
NATIVE = ("shutdownAfterJobFinishes", "ttlSecondsAfterFinished")
PORTS = {"gcs": 6379, "dashboard": names.DASHBOARD_PORT, "client": 10001}

_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?([munkMGTPE]|[KMGTPE]i)?")

SHUTDOWN = "--shutdown-after-job-finishes"

Json = dict[str, Any]
_Flags = Mapping[Path, str]
_Asked = Sequence[Duration | None]
_Times = Mapping[str, Duration | None]


class ManifestError(Exception):
    """What is wrong with flags or file, all of it; each problem names the value, the place and the remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Cleanup:
    """The cleanup flags as they were typed; durations by annotation key.

    waits: how long this submit may wait for the head, the upload and the submission together.
    """

    shutdown: bool | None = None
    ttl_seconds: int | None = None
    durations: Mapping[str, str] = field(default_factory=dict)
    ttl_unsubmitted: str = "1h"
    waits: timedelta = timedelta()

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


def from_flags(
    name: str, entrypoint: str, shape: Shape, cleanup: Cleanup, *, labels: Mapping[str, str]
) -> Manifest:
    """Raises ManifestError."""
    spec = {
        "entrypoint": entrypoint,
        "submissionMode": names.INTERACTIVE_MODE,
        "rayClusterSpec": _cluster(shape),
    }
    metadata = {"name": name, **({"labels": dict(labels)} if labels else {})}
    body = {"apiVersion": API_VERSION, "kind": "RayJob", "metadata": metadata, "spec": spec}
    return _checked(body, cleanup, _shape_problems(shape), _flags(name, labels, cleanup))


def from_file(
    document: Mapping[str, Any],
    cleanup: Cleanup,
    *,
    name: str | None,
    entrypoint: str | None,
    labels: Mapping[str, str],
) -> Manifest:
    """The flags laid over a RayJob as `kubectl apply` takes it. Raises ManifestError."""
    body = copy.deepcopy(dict(document))
    _check_kind(body)
    body.pop("status", None)
    metadata, spec = body.setdefault("metadata", {}), body.setdefault("spec", {})
    places = {"metadata": metadata, "spec": spec}
    if isinstance(metadata, dict):
        places |= {f"metadata.{key}": metadata.get(key) or {} for key in ("labels", "annotations")}
    odd = [place for place, found in places.items() if not isinstance(found, dict)]
    if odd:
        raise ManifestError(*(f"{place} of the file: write a mapping" for place in odd))
    metadata |= {"name": name} if name else {}
    metadata |= {"labels": {**(metadata.get("labels") or {}), **labels}} if labels else {}
    problems = [*_name_problems(metadata), *_annotation_problems(metadata)]
    problems += _spec_problems(spec, cleanup)
    spec |= {"submissionMode": names.INTERACTIVE_MODE} | (
        {"entrypoint": entrypoint} if entrypoint else {}
    )
    spec.pop("jobId", None)  # told to KubeRay once the head has confirmed it
    return _checked(body, cleanup, problems, _flags(name, labels, cleanup))


def _check_kind(body: Json) -> None:
    if (body.get("apiVersion"), body.get("kind")) != (API_VERSION, "RayJob"):
        found = f"{body.get('apiVersion')} {body.get('kind')}"
        raise ManifestError(
            f"the file holds {quoted(found)}, and what can be submitted is a {API_VERSION} RayJob"
        )


def _name_problems(metadata: Json) -> list[str]:
    has_name = metadata.get("name") or metadata.get("generateName")
    return [] if has_name else ["metadata.name of the file is missing; or give --name"]


def _annotation_problems(metadata: Json) -> list[str]:
    name = metadata.get("name") or metadata.get("generateName")
    return [str(fault) for fault in annotations.errors(_texts(metadata), f"RayJob {name}")]


def _texts(metadata: Json) -> dict[str, str]:
    """Its annotations, but for those that are not texts."""
    found = metadata.get("annotations") or {}
    return {key: value for key, value in found.items() if isinstance(value, str)}


def _spec_problems(spec: Json, cleanup: Cleanup) -> list[str]:
    """What submit cannot do with a file, whatever KubeRay says to it."""
    mode, problems = spec.get("submissionMode"), []
    if mode not in (None, "", names.INTERACTIVE_MODE):
        hint = "submit posts the job itself: take the field out, or use kubectl apply"
        problems.append(f"spec.submissionMode is {quoted(mode)}; {hint}")
    strategy = next((key for key in ("deletionStrategy", "deletionPolicy") if spec.get(key)), "")
    if strategy and (cleanup.sets_times or cleanup.shutdown is not None):
        hint = "KubeRay takes one or the other; leave out the flags or the field"
        problems.append(f"spec.{strategy} and cleanup flags: {hint}")
    return problems


def _flags(name: str | None, labels: Mapping[str, str], cleanup: Cleanup) -> dict[Path, str]:
    """The flags that set a field of the RayJob, by its path."""
    found: dict[Path, str] = {("metadata", "labels", key): f"--label {key}" for key in labels}
    if name:
        found["metadata", "name"] = "--name"
    if cleanup.shutdown is not None:
        found["spec", "shutdownAfterJobFinishes"] = SHUTDOWN
    return found


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
    return problems + (
        [f"--worker-replicas: {shape.worker_replicas} is less than 0"]
        if shape.worker_replicas < 0
        else []
    )


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
        worker = _container(
            "ray-worker", image, (shape.worker_cpu, shape.worker_memory, shape.worker_gpu)
        )
        count = dict.fromkeys(("replicas", "minReplicas", "maxReplicas"), shape.worker_replicas)
        template = {"spec": _pod(worker, shape.worker_node_selectors)}
        cluster["workerGroupSpecs"] = [
            {"groupName": "default-group", **count, "rayStartParams": {}, "template": template}
        ]
    return cluster


def _pod(container: Json, selectors: Mapping[str, str]) -> Json:
    return {"containers": [container], **({"nodeSelector": dict(selectors)} if selectors else {})}


def _container(name: str, image: str, size: tuple[str, str, str]) -> Json:
    cpu, memory, gpu = size
    resources = {
        "cpu": cpu,
        "memory": memory,
        **({"nvidia.com/gpu": gpu} if gpu.strip("0") else {}),
    }
    return {
        "name": name,
        "image": image,
        "resources": {"requests": dict(resources), "limits": resources},
    }


def _checked(body: Json, cleanup: Cleanup, problems: Sequence[str], flags: _Flags) -> Manifest:
    """The RayJob with its cleanup. Raises ManifestError with every problem.

    flags: which flag set what, by its path in the RayJob.
    """
    refusals = [*problems, *_duration_problems(cleanup)]
    notes: list[str] = []
    try:
        made = _with_cleanup(body, cleanup)
    except (ManifestError, ValueError) as error:  # a ValueError is that of a duration, named above
        refusals += error.problems if isinstance(error, ManifestError) else ()
        made = Manifest(body | {"spec": body["spec"] | _assumed_shutdown(cleanup)})
    for problem in validate(made.body, yaml_text.load):
        told = f"{flags.get(problem.path, problem.place)}: {problem.message}"
        is_error = problem.rule.severity is Severity.ERROR
        (refusals if is_error else notes).append(told)
    if refusals:
        raise ManifestError(*refusals)
    return Manifest(made.body, (*made.notes, *notes))


def _assumed_shutdown(cleanup: Cleanup) -> Json:
    is_asked = cleanup.shutdown is not False and (cleanup.shutdown or cleanup.sets_times)
    return {"shutdownAfterJobFinishes": True} if is_asked else {}


def _with_cleanup(body: Json, cleanup: Cleanup) -> Manifest:
    """The flags as native fields and as annotations, over what the file says with either.

    Raises ManifestError; ValueError for a duration that is invalid.
    """
    metadata, spec = body["metadata"], body["spec"]
    before = _texts(metadata)
    said = {names.TTL: str(cleanup.ttl_seconds)} if cleanup.ttl_seconds is not None else {}
    said |= dict(cleanup.durations)
    if cleanup.sets_times and cleanup.shutdown is not False:
        said = {**_unnamed(spec, before | said), **said}
    queue = _queue_of(body)
    kuberay_cleanup, notes = _kuberay_cleanup(cleanup, _cluster_times(before | said), queue)
    unsubmitted, more = _unsubmitted(cleanup, before.get(names.TTL_UNSUBMITTED))
    said |= {names.TTL_UNSUBMITTED: unsubmitted}
    if (
        cleanup.sets_times
    ):  # the file's own would stand beside what the flags ask for, and KubeRay heeds them
        spec = {key: value for key, value in spec.items() if key not in NATIVE}
    if queue and "shutdownAfterJobFinishes" not in spec | kuberay_cleanup:
        kuberay_cleanup |= {"shutdownAfterJobFinishes": True}
        notes = [*notes, f"shutdownAfterJobFinishes is set to true: {_kueue_requires(queue)}"]
    annotated = metadata | {"annotations": {**(metadata.get("annotations") or {}), **said}}
    made = body | {"metadata": annotated, "spec": spec | kuberay_cleanup}
    return Manifest(made, (*notes, *more, *_more_notes(made["spec"], before | said)))


def _queue_of(body: Json) -> str:
    """The queue of Kueue that it waits in; "" if none, or if it has what Kueue cannot queue."""
    spec = body["spec"]
    strategy = spec.get("deletionStrategy")
    has_rules = isinstance(strategy, Mapping) and "deletionRules" in strategy
    if spec.get("clusterSelector") or has_rules:
        return ""
    return str((body["metadata"].get("labels") or {}).get(names.KUEUE_QUEUE_LABEL) or "")


def _kueue_requires(queue: str) -> str:
    return f"Kueue requires it of every RayJob in a queue (label {names.KUEUE_QUEUE_LABEL}={queue})"


def _unsubmitted(cleanup: Cleanup, of_file: str | None) -> tuple[str, list[str]]:
    """How long the RayJob stays without a job: never shorter than this submit may wait."""
    is_default = cleanup.ttl_unsubmitted == Cleanup().ttl_unsubmitted
    text = of_file if of_file is not None and is_default else cleanup.ttl_unsubmitted
    least = cleanup.waits + UNSUBMITTED_MARGIN if cleanup.waits else timedelta()
    given = parse_duration(text)
    if not isinstance(given, timedelta) or given >= least:
        return text, []
    waits = f"this submit may wait {format_duration(cleanup.waits)}"
    longer = format_duration(least)
    return longer, [f"{names.TTL_UNSUBMITTED} is {longer} and not {text}: {waits}"]


def _duration_problems(cleanup: Cleanup) -> list[str]:
    problems, seconds = [], cleanup.ttl_seconds
    if seconds is not None and not 0 <= seconds <= INT32:
        problems.append(
            f"--ttl-seconds-after-finished: {seconds} is not between 0 and {INT32} seconds"
        )
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
            f"{names.TTL}-{one}": str(seconds)
            for one in names.OUTCOMES
            if not {names.TTL, f"{names.TTL}-{one}"} & said.keys()
        }
    kinds = (names.TTL, names.CLUSTER_TTL)
    named = {
        one: {*kinds, *(f"{kind}-{one}" for kind in kinds)} & said.keys() for one in names.OUTCOMES
    }
    return {f"{names.CLUSTER_TTL}-{one}": "0" for one, keys in named.items() if not keys}


def _cluster_times(annotations: Mapping[str, str]) -> dict[str, Duration | None]:
    """When the cluster may go after each outcome, None where nothing says so; as core/retention/resolve.py reads one source."""
    read = {
        key: parse_duration(text)
        for key, text in annotations.items()
        if key in names.DURATION_ANNOTATIONS
    }
    ttl = {one: read.get(f"{names.TTL}-{one}", read.get(names.TTL)) for one in names.OUTCOMES}
    return {
        one: read.get(f"{names.CLUSTER_TTL}-{one}", read.get(names.CLUSTER_TTL, ttl[one]))
        for one in names.OUTCOMES
    }


def _kuberay_cleanup(cleanup: Cleanup, times: _Times, queue: str) -> tuple[Json, list[str]]:
    """KubeRay's two fields, and what the person should know. Raises ManifestError."""
    if cleanup.shutdown is False:
        if cleanup.sets_times:
            said = "and a TTL contradict each other; leave out one of them"
            raise ManifestError(f"{SHUTDOWN}=false {said}")
        return {"shutdownAfterJobFinishes": False}, []
    asked = list(times.values())
    is_asked = any(one is not None for one in asked)
    if not cleanup.sets_times and not (cleanup.shutdown and is_asked):
        return {"shutdownAfterJobFinishes": True} if cleanup.shutdown else {}, []
    for_ever = [outcome for outcome, one in times.items() if one is NEVER]
    if queue and for_ever:
        said = "KubeRay deletes it after every outcome by shutdownAfterJobFinishes"
        raise ManifestError(
            f"the RayCluster would stay for ever after: {', '.join(for_ever)}, but {said}; "
            f"{_kueue_requires(queue)}: give a time with --cluster-ttl"
        )
    kept = [outcome for outcome, one in times.items() if one is None or one is NEVER]
    if kept and not queue:
        return {}, _kept_by_kuberay(cleanup, kept)
    return _one_time(cleanup, asked, queue)


def _kept_by_kuberay(cleanup: Cleanup, kept: Sequence[str]) -> list[str]:
    outcomes = ", ".join(kept)
    if cleanup.shutdown:
        raise ManifestError(
            f"{SHUTDOWN}: KubeRay would delete the cluster after every outcome, and nothing says "
            f"when it may go after: {outcomes}; leave that flag out, or give --cluster-ttl"
        )
    said = "KubeRay's own fields are left out, since it knows one time for all outcomes"
    return [f"{said}, and kept is: {outcomes}"]


def _one_time(cleanup: Cleanup, asked: _Asked, queue: str) -> tuple[Json, list[str]]:
    """The longest time that was asked for any outcome: KubeRay knows one for all of them."""
    times = [one for one in asked if isinstance(one, timedelta)]
    last = max(times)
    seconds = math.ceil(last.total_seconds())
    if seconds > INT32:
        said = f"KubeRay reckons {INT32} seconds at most"
        raise ManifestError(f"the cluster would stay for {format_duration(last)}, and {said}")
    notes = [] if cleanup.shutdown else [_IMPLIED]
    if queue and not cleanup.shutdown:
        notes = [f"shutdownAfterJobFinishes is set to true: {_kueue_requires(queue)}"]
    if len(set(asked)) > 1:
        notes.append(
            f"KubeRay alone would delete the cluster {format_duration(last)} after every outcome; Raysweep as asked for each"
        )
    return {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": seconds}, notes


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
        and not said.keys() & set(names.DURATION_ANNOTATIONS)
    ):
        notes.append(_CLUSTER_ONLY)
    if said.get(names.TTL_UNSUBMITTED) == "never":
        notes.append(
            "with --ttl-unsubmitted never, a submit that is killed leaves its cluster for ever"
        )
    return notes


def _flag(key: str) -> str:
    return f"--{key.removeprefix(names.ANNOTATION_PREFIX)}"
