"""JSON to facts about RayJobs and Namespaces, checked by pydantic models. Nothing is fetched or judged here.

A RayJob whose fields have odd types still yields a RayJob: one that is `unreadable` and says where. Unknown fields are not
read at all; entrypoint, runtime_env and Pod templates carry secrets and have no place here.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationError

from raysweep import names
from raysweep.clients.fields import LABEL, Json, Metadata, Model, Text, Time, first_problem, metadata_of, quantity, time_of
from raysweep.core.facts import DeletionRule, Namespace, NativeCleanup, RayJob, Resources


def _cluster_name(value: object) -> object:
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or not LABEL.fullmatch(value):
        raise ValueError("not a name that a RayCluster can have")
    return value


class _Condition(Model):
    job_status: Text = ""
    job_deployment_status: Text = ""
    ttl_seconds: int | None = None


class _Rule(Model):
    policy: str
    condition: _Condition


class _Policy(Model):
    policy: Text = ""


class _Strategy(Model):
    deletion_rules: list[_Rule] | None = None
    on_success: _Policy | None = None
    on_failure: _Policy | None = None


class _RayJobSpec(Model):
    suspend: bool | None = None
    managed_by: Text = ""
    cluster_selector: dict[str, str] | None = None
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


def parse_rayjob(json: Json) -> RayJob:
    """A RayJob as the API server sends it. Metadata that is none raises ValueError: it cannot even be named."""
    metadata = metadata_of(json)
    known = _identity(metadata)
    try:
        parsed = _RayJob.model_validate(json)
    except ValidationError as error:
        return RayJob(**known, unreadable=first_problem(error))
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
        native=_native(spec),
        cron_tick=_cron_tick(metadata),
        status_written_at=metadata.status_written_at,
        desired=_desired(json),
    )


def parse_namespace(json: Json) -> Namespace:
    """A Namespace. ValueError as for parse_rayjob."""
    metadata = metadata_of(json)
    ours, labels = _ours(metadata.annotations), metadata.labels or {}
    return Namespace(metadata.name, metadata.uid, metadata.resource_version, ours, labels)


def parse_items(json: object) -> list[dict[str, Any]]:
    """The objects of a Kubernetes list; ValueError where it is none."""
    try:
        return _Page.model_validate(json).items or []
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None


def _identity(metadata: Metadata) -> dict[str, Any]:
    return {
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
        "resource_version": metadata.resource_version,
        "labels": metadata.labels or {},
        "annotations": _ours(metadata.annotations),
        "keys": _keys(metadata),
        "finalizers": tuple(metadata.finalizers or ()),
        "controller_kind": metadata.controller.kind,
        "controller_group": metadata.controller.group,
        "deleting_since": metadata.deletion_timestamp,
    }


def _native(spec: _RayJobSpec) -> NativeCleanup:
    strategy = spec.deletion_strategy or _Strategy()
    return NativeCleanup(
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
        said = time_of((metadata.annotations or {}).get(names.CRON_TICK))
    except ValueError:
        said = None
    minute = metadata.name.rpartition("-")[2]
    named = datetime.fromtimestamp(int(minute) * 60, UTC) if minute.isdecimal() and len(minute) == 8 else None
    made = metadata.creation_timestamp
    tick = said or named or made
    return min(tick, made) if tick and made else tick  # it is made at its tick; a later one would be somebody's invention


def _keys(metadata: Metadata) -> frozenset[str]:
    """The keys of all labels and annotations, without those whose value says that nothing is meant."""
    pairs = {*(metadata.labels or {}).items(), *(metadata.annotations or {}).items()}
    return frozenset(key for key, _ in pairs - names.NO_MARKS)


def _ours(annotations: Mapping[str, str] | None) -> dict[str, str]:
    """Only our own keys: others' (kubectl's copy of the whole object among them) cost memory and may hold secrets."""
    return {key: value for key, value in (annotations or {}).items() if key.startswith(names.ANNOTATION_PREFIX)}


def _desired(json: Json) -> Resources:
    """Feeds metrics only, so what is odd here counts as nothing and stops nobody."""
    status = json.get("status")
    desired = status.get("rayClusterStatus") if isinstance(status, Mapping) else None
    if not isinstance(desired, Mapping):
        return Resources()
    return Resources(*(quantity(desired.get(f"desired{what}")) for what in ("CPU", "GPU", "Memory")))
