"""JSON to facts about RayJobs and Namespaces, checked by pydantic models. Nothing is fetched or judged here.

A RayJob whose fields have odd types still yields a RayJob: one that is `unreadable` and says where. Unknown fields are not
read at all; entrypoint, runtime_env and Pod templates carry secrets and have no place here.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, ValidationError

from raysweep import names
from raysweep.clients.parsing.common import (
    LONGEST_NAME,
    LONGEST_TEXT,
    SUBDOMAIN,
    Json,
    Metadata,
    Model,
    Text,
    Time,
    first_problem,
    metadata_of,
    quantity,
    texts,
    time_of,
)
from raysweep.core.model.facts import DeletionRule, KubeRayCleanup, Namespace, RayJob, Resources

LONGEST_ANNOTATION = 2**10
"""Characters of one value that are kept. No duration or time is longer."""
UNKNOWN_KEYS = 5
"""So many unknown raysweep.io keys of one object are kept; the others are counted."""
RULES = 64
"""KubeRay refuses two rules for the same status and policy, so no valid strategy has as many."""
FIRST_NODE_PORT = 30000
"""Where a Service has a nodePort KubeRay writes that one (raycluster_controller.go, updateEndpoints): no port of its name."""


def _cluster_name(value: object) -> object:
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or len(value) > LONGEST_NAME or not SUBDOMAIN.fullmatch(value):
        raise ValueError("not a name that a RayCluster can have")
    return value


def _selector(value: object) -> Mapping[str, str] | None:
    found = texts(value)
    if len((found or {}).get(names.CLUSTER_SELECTOR_KEY, "")) > LONGEST_TEXT:
        raise ValueError(f"longer than {LONGEST_TEXT} characters")
    return found


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
    items: list[dict[str, Any]] | None  # null where a list of metadata is empty


def parse_rayjob(json: Json, tracked: frozenset[str] = names.RECREATED_BY) -> RayJob:
    """A RayJob as the API server sends it. ValueError where it cannot even be named.

    tracked: the labels and annotations of others that matter, of which `keys` holds those that are there.
    """
    metadata, problem = metadata_of(json)
    known = _identity(metadata, tracked)
    try:
        parsed = _RayJob.model_validate(json)
    except ValidationError as error:
        return RayJob(**known, **_selection(json), unreadable=problem or first_problem(error))
    spec, status = parsed.spec or _RayJobSpec(), parsed.status or _RayJobStatus()
    info = status.ray_job_info or _RayJobInfo()
    return RayJob(
        **known,
        suspend=bool(spec.suspend),
        managed_by=spec.managed_by,
        has_selector=bool(spec.cluster_selector),
        selected_cluster=(spec.cluster_selector or {}).get(names.CLUSTER_SELECTOR_KEY, ""),
        deployment_status=status.job_deployment_status,
        job_status=status.job_status,
        job_id=status.job_id or spec.job_id,
        cluster_name=status.ray_cluster_name,
        reason=status.reason,
        start_time=status.start_time,
        end_time=status.end_time,
        ray_start_time=info.start_time,
        ray_end_time=info.end_time,
        failed=status.failed or 0,
        submission_mode=spec.submission_mode,
        backoff_limit=spec.backoff_limit or 0,
        kuberay_cleanup=_kuberay_cleanup(spec),
        cron_tick=_cron_tick(metadata),
        status_written_at=metadata.status_written_at,
        desired=_desired(json),
        unreadable=problem,
        **_head(json),
    )


def parse_namespace(json: Json) -> Namespace:
    """A Namespace. ValueError as for parse_rayjob."""
    metadata, problem = metadata_of(json)
    ours, more = _ours(metadata.annotations)
    return Namespace(
        metadata.name,
        metadata.uid,
        metadata.resource_version,
        ours,
        metadata.labels or {},
        unreadable=problem,
        more_unknown_keys=more,
    )


def parse_items(json: object) -> list[dict[str, Any]]:
    """The objects of a Kubernetes list; ValueError where it is none."""
    try:
        return _Page.model_validate(json).items or []
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None


def _identity(metadata: Metadata, tracked: frozenset[str]) -> dict[str, Any]:
    ours, more = _ours(metadata.annotations)
    return {
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
        "resource_version": metadata.resource_version,
        "labels": metadata.labels or {},
        "annotations": ours,
        "more_unknown_keys": more,
        "keys": _keys(metadata, tracked),
        "finalizers": tuple(metadata.finalizers or ()),
        "controller_kind": metadata.controller.kind,
        "controller_group": metadata.controller.group,
        "deleting_since": metadata.deletion_timestamp,
    }


def _kuberay_cleanup(spec: _RayJobSpec) -> KubeRayCleanup:
    strategy = spec.deletion_strategy or _Strategy()
    return KubeRayCleanup(
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


def _cron_tick(metadata: Metadata) -> datetime | None:
    """When a RayCronJob made this: its annotation, else the Unix minute at the end of the name, else its creation."""
    if not names.is_raycronjob(metadata.controller.group, metadata.controller.kind):
        return None
    try:
        said = time_of((metadata.annotations or {}).get(names.CRON_TIMESTAMP))
    except ValueError:
        said = None
    minute = metadata.name.rpartition("-")[2]
    named = (
        datetime.fromtimestamp(int(minute) * 60, UTC)
        if minute.isdecimal() and len(minute) == 8
        else None
    )
    made = metadata.creation_timestamp
    tick = said or named or made
    return (
        min(tick, made) if tick and made else tick
    )  # it is made at its tick; a later one would be somebody's invention


def _keys(metadata: Metadata, tracked: frozenset[str]) -> frozenset[str]:
    """Which of these keys, and of those that tell an ambiguous mark apart, stand on labels or annotations.

    Left out are those whose value says that nothing is meant.
    """
    wanted = tracked | {names.INSTANCE_LABEL, names.HELM_RELEASE}
    pairs = [*(metadata.labels or {}).items(), *(metadata.annotations or {}).items()]
    return frozenset(
        key for key, value in pairs if key in wanted and (key, value) not in names.NOT_MANAGED
    )


def _ours(annotations: Mapping[str, str] | None) -> tuple[dict[str, str], int]:
    """The raysweep.io annotations that are kept, and how many unknown ones are not.

    Others' keys (kubectl's copy of the whole object among them) cost memory and may hold secrets.
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
    """What is cut ends with a mark that no duration or time has, so it stays invalid: the start of "00...05" is a zero."""
    return text if len(text) <= LONGEST_ANNOTATION else f"{text[:LONGEST_ANNOTATION]}…"


def _selection(json: Json) -> dict[str, Any]:
    """Which RayCluster a RayJob that cannot be read selects: it may be at work there, so that one is in use."""
    spec = json.get("spec")
    selector = spec.get("clusterSelector") if isinstance(spec, Mapping) else None
    if not isinstance(selector, Mapping) or not selector:
        return {}
    named = selector.get(names.CLUSTER_SELECTOR_KEY)
    is_name = isinstance(named, str) and len(named) <= LONGEST_NAME
    return {"has_selector": True, "selected_cluster": named if is_name else ""}


def _cluster_status(json: Json) -> Mapping[str, Any]:
    """status.rayClusterStatus, KubeRay's copy of the RayCluster's status; what is odd in it counts as nothing."""
    status = json.get("status")
    found = status.get("rayClusterStatus") if isinstance(status, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _head(json: Json) -> dict[str, Any]:
    """head.serviceName and endpoints.dashboard of status.rayClusterStatus: where the head may be asked without another GET."""
    status = _cluster_status(json)
    head, endpoints = status.get("head"), status.get("endpoints")
    service = head.get("serviceName") if isinstance(head, Mapping) else None
    port = endpoints.get("dashboard") if isinstance(endpoints, Mapping) else None
    is_service = isinstance(service, str) and len(service) <= LONGEST_NAME
    return {"head_service": service if is_service else "", "dashboard_port": _port(port)}


def _port(value: object) -> int | None:
    if (
        not isinstance(value, str)
        or not value.isascii()
        or not value.isdecimal()
        or len(value) > len("65535")
    ):
        return None
    return int(value) if 0 < int(value) < FIRST_NODE_PORT else None


def _desired(json: Json) -> Resources:
    """Feeds metrics only, so what is odd here counts as nothing and stops nobody."""
    desired = _cluster_status(json)
    return Resources(
        *(quantity(desired.get(f"desired{what}")) for what in ("CPU", "GPU", "Memory"))
    )
