"""RayJobs and Namespaces from JSON, checked by pydantic models. Pure.

A RayJob with a field of the wrong type does not raise. It is returned with `unreadable` set to its
first validation error. Unknown fields are not read. Neither are the entrypoint, the runtime_env
and Pod templates, since they may hold secrets.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from sys import intern
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, ValidationError

from raysweep import names
from raysweep.clients.parsing.common import (
    LONGEST_NAME,
    LONGEST_TEXT,
    NO_TEXTS,
    SUBDOMAIN,
    InvalidField,
    Json,
    Metadata,
    Model,
    Text,
    Time,
    first_error,
    metadata_of,
    quantity,
    shared,
    texts,
    time_of,
)
from raysweep.core.model.facts import DeletionRule, KubeRayCleanup, Namespace, RayJob, Resources

LONGEST_ANNOTATION = 2**10
"""Characters of one annotation that are kept. No duration or time is longer."""
UNKNOWN_KEYS = 5
"""How many unknown raysweep.io keys of one object are kept. The others are counted."""
RULES = 64
"""KubeRay refuses two rules of the same status and policy, so a valid strategy has fewer."""
SHARED_RULES = 4
"""Values with more rules may be large, and are seldom equal."""
FIRST_NODE_PORT = 30000
"""If a Service has a nodePort, KubeRay writes that port, which is not a port of the Service.

Source: raycluster_controller.go, updateEndpoints.
"""


def _cluster_name(value: object) -> object:
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or len(value) > LONGEST_NAME or not SUBDOMAIN.fullmatch(value):
        raise ValueError("not a valid name of a RayCluster")
    return value


def _selector(value: object) -> Mapping[str, str] | None:
    selector = texts(value)
    if len((selector or {}).get(names.CLUSTER_SELECTOR_KEY, "")) > LONGEST_TEXT:
        raise ValueError(f"longer than {LONGEST_TEXT} characters")
    return selector


class _Condition(Model):
    job_status: Text = ""
    job_deployment_status: Text = ""
    ttl_seconds: int | None = None


class _Rule(Model):
    policy: Text
    condition: _Condition


class _Policy(Model):
    policy: Text = ""


class _Strategy(Model):
    deletion_rules: Annotated[list[_Rule], Field(fail_fast=True, max_length=RULES)] | None = None
    on_success: _Policy | None = None
    on_failure: _Policy | None = None


class _RayJobSpec(Model):
    suspend: bool | None = None
    managed_by: Text = ""
    cluster_selector: Annotated[Mapping[str, str] | None, PlainValidator(_selector)] = None
    job_id: Text = ""
    submission_mode: Text = ""
    backoff_limit: int | None = None
    shutdown_after_job_finishes: bool | None = None
    ttl_seconds_after_finished: int | None = None
    deletion_strategy: _Strategy | None = None
    deletion_policy: Text = ""


class _RayJobInfo(Model):
    start_time: Time = None
    end_time: Time = None


class _RayJobStatus(Model):
    job_deployment_status: Text = ""
    job_status: Text = ""
    job_id: Text = ""
    ray_cluster_name: Annotated[str, BeforeValidator(_cluster_name)] = ""
    reason: Text = ""
    start_time: Time = None
    end_time: Time = None
    failed: int | None = None
    ray_job_info: _RayJobInfo | None = None


class _RayJob(Model):
    spec: _RayJobSpec | None = None
    status: _RayJobStatus | None = None


class _Page(Model):
    items: list[dict[str, Any]] | None  # an empty list of metadata has null


def parse_rayjob(json: Json, tracked: frozenset[str] = names.RECREATED_BY) -> RayJob:
    """A RayJob as the API server sends it.

    Raises ValueError if even the name, the namespace or the uid is invalid. tracked: keys of other
    tools. Those that are among the labels and annotations are in `keys`.
    """
    metadata, problem = metadata_of(json)
    identity = _identity(metadata, tracked)
    try:
        parsed = _RayJob.model_validate(json)
    except ValidationError as error:
        return RayJob(**identity, **_selection(json), unreadable=problem or str(first_error(error)))
    spec, status = parsed.spec or _RayJobSpec(), parsed.status or _RayJobStatus()
    info = status.ray_job_info or _RayJobInfo()
    return RayJob(
        **identity,
        suspend=bool(spec.suspend),
        managed_by=spec.managed_by,
        has_selector=bool(spec.cluster_selector),
        selected_cluster=(spec.cluster_selector or {}).get(names.CLUSTER_SELECTOR_KEY, ""),
        deployment_status=intern(status.job_deployment_status),
        job_status=intern(status.job_status),
        job_id=status.job_id or spec.job_id,
        cluster_name=status.ray_cluster_name,
        reason=status.reason,
        start_time=status.start_time,
        end_time=status.end_time,
        ray_start_time=info.start_time,
        ray_end_time=info.end_time,
        failed=status.failed or 0,
        submission_mode=intern(spec.submission_mode),
        backoff_limit=spec.backoff_limit or 0,
        kuberay_cleanup=_kuberay_cleanup(spec),
        cron_tick=_cron_tick(metadata),
        status_written_at=metadata.status_written_at,
        desired=shared(_desired(json)),
        unreadable=problem,
        **_head(json),
    )


def invalid_spec_field(spec: object) -> InvalidField | None:
    """The first validation error of a RayJob's spec, with a path that begins with `spec`."""
    try:
        _RayJob.model_validate({"spec": spec})
    except ValidationError as error:
        return first_error(error)
    return None


def parse_namespace(json: Json) -> Namespace:
    """A Namespace as the API server sends it. Raises ValueError like parse_rayjob."""
    metadata, problem = metadata_of(json)
    own, more_unknown = _own_annotations(metadata.annotations)
    return Namespace(
        metadata.name,
        metadata.uid,
        metadata.resource_version,
        own,
        metadata.labels or {},
        unreadable=problem,
        more_unknown_keys=more_unknown,
    )


def parse_items(json: object) -> list[dict[str, Any]]:
    """The objects of a Kubernetes list. Raises ValueError for anything else."""
    try:
        return _Page.model_validate(json).items or []
    except ValidationError as error:
        raise ValueError(str(first_error(error))) from None


def _identity(metadata: Metadata, tracked: frozenset[str]) -> dict[str, Any]:
    own, more_unknown = _own_annotations(metadata.annotations)
    return {
        "namespace": intern(metadata.namespace),
        "name": metadata.name,
        "uid": metadata.uid,
        "resource_version": metadata.resource_version,
        "labels": metadata.labels or NO_TEXTS,
        "annotations": own or NO_TEXTS,
        "more_unknown_keys": more_unknown,
        "keys": shared(_keys(metadata, tracked)),
        "finalizers": tuple(map(intern, metadata.finalizers or ())),
        "controller_kind": metadata.controller.kind,
        "controller_group": metadata.controller.group,
        "deleting_since": metadata.deletion_timestamp,
    }


def _kuberay_cleanup(spec: _RayJobSpec) -> KubeRayCleanup:
    strategy = spec.deletion_strategy or _Strategy()
    cleanup = KubeRayCleanup(
        shutdown=bool(spec.shutdown_after_job_finishes),
        seconds=spec.ttl_seconds_after_finished or 0,
        has_strategy=spec.deletion_strategy is not None or bool(spec.deletion_policy),
        rules=tuple(
            DeletionRule(
                policy=rule.policy,
                seconds=rule.condition.ttl_seconds or 0,
                job_status=rule.condition.job_status,
                deployment_status=rule.condition.job_deployment_status,
            )
            for rule in strategy.deletion_rules or ()
        ),
        on_success=strategy.on_success.policy if strategy.on_success else "",
        on_failure=strategy.on_failure.policy if strategy.on_failure else "",
        policy=spec.deletion_policy,
    )
    return shared(cleanup) if len(cleanup.rules) <= SHARED_RULES else cleanup


def _cron_tick(metadata: Metadata) -> datetime | None:
    """The tick of the RayCronJob that created the RayJob. None if no RayCronJob did.

    It is in an annotation. Else the end of the name is its Unix minute. Else the creation counts.
    """
    if not names.is_raycronjob(metadata.controller.group, metadata.controller.kind):
        return None
    created = metadata.creation_timestamp
    tick = _annotated_tick(metadata) or _tick_in_name(metadata.name) or created
    # A RayJob is created at its tick or later. A later tick is not KubeRay's.
    return min(tick, created) if tick and created else tick


def _annotated_tick(metadata: Metadata) -> datetime | None:
    try:
        return time_of((metadata.annotations or {}).get(names.CRON_TIMESTAMP))
    except ValueError:
        return None


def _tick_in_name(name: str) -> datetime | None:
    minute = name.rpartition("-")[2]
    if not minute.isdecimal() or len(minute) != 8:
        return None
    return datetime.fromtimestamp(int(minute) * 60, UTC)


def _keys(metadata: Metadata, tracked: frozenset[str]) -> frozenset[str]:
    """The tracked keys among the labels and annotations, and those that help to interpret them.

    Keys with a value that means "not managed" are left out.
    """
    relevant = tracked | {names.INSTANCE_LABEL, names.HELM_RELEASE}
    pairs = [*(metadata.labels or {}).items(), *(metadata.annotations or {}).items()]
    return frozenset(
        key for key, value in pairs if key in relevant and (key, value) not in names.NOT_MANAGED
    )


def _own_annotations(annotations: Mapping[str, str] | None) -> tuple[dict[str, str], int]:
    """The raysweep.io annotations that are kept, and how many unknown ones are not.

    Annotations of other tools take memory and may hold secrets, such as kubectl's copy of the
    whole object.
    """
    kept: dict[str, str] = {}
    unknown = 0
    for key, value in (annotations or {}).items():
        if not key.startswith(names.ANNOTATION_PREFIX):
            continue
        unknown += key not in names.ANNOTATIONS
        if key in names.ANNOTATIONS or unknown <= UNKNOWN_KEYS:
            kept[_cut(key)] = _cut(value)
    return kept, max(unknown - UNKNOWN_KEYS, 0)


def _cut(text: str) -> str:
    """The text, cut to its maximum length.

    The mark at its end keeps a cut text invalid. Without it, "00...05" would become a zero.
    """
    if len(text) <= LONGEST_ANNOTATION:
        return text
    return f"{text[:LONGEST_ANNOTATION]}…"


def _selection(json: Json) -> dict[str, Any]:
    """The RayCluster that an unreadable RayJob selects. It may run there, so it is in use."""
    spec = json.get("spec")
    selector = spec.get("clusterSelector") if isinstance(spec, Mapping) else None
    if not isinstance(selector, Mapping) or not selector:
        return {}
    name = _short_text(selector.get(names.CLUSTER_SELECTOR_KEY))
    return {"has_selector": True, "selected_cluster": name}


def _short_text(value: object) -> str:
    """The text, or "" if it is none or is longer than a name."""
    return value if isinstance(value, str) and len(value) <= LONGEST_NAME else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _cluster_status(json: Json) -> Mapping[str, Any]:
    """status.rayClusterStatus, KubeRay's copy of the RayCluster's status. Empty if invalid."""
    return _mapping(_mapping(json.get("status")).get("rayClusterStatus"))


def _head(json: Json) -> dict[str, Any]:
    """The Service and port of the head in status.rayClusterStatus, which save a GET."""
    status = _cluster_status(json)
    service = _mapping(status.get("head")).get("serviceName")
    port = _mapping(status.get("endpoints")).get("dashboard")
    return {"head_service": _short_text(service), "dashboard_port": _port(port)}


def _port(value: object) -> int | None:
    if not isinstance(value, str) or not value.isascii() or not value.isdecimal():
        return None
    if len(value) > len("65535"):
        return None
    return int(value) if 0 < int(value) < FIRST_NODE_PORT else None


def _desired(json: Json) -> Resources:
    """The resources of the RayCluster. An invalid one counts as 0: they only feed metrics."""
    status = _cluster_status(json)
    cpu, gpu, memory = (quantity(status.get(f"desired{kind}")) for kind in ("CPU", "GPU", "Memory"))
    return Resources(cpu, gpu, memory)
