"""JSON to facts: what KubeRay, Kubernetes and Ray send, checked by pydantic models. Nothing is fetched or judged here.

A RayJob whose fields have odd types still yields a RayJob: one that is `unreadable` and says where. Unknown fields are not
read at all; entrypoint, runtime_env and Pod templates carry secrets and have no place here.
"""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic.alias_generators import to_camel

from raysweep import names
from raysweep.core.facts import DeletionRule, JobEntry, Namespace, NativeCleanup, RayCluster, RayJob, Resources, Service
from raysweep.core.text import quoted

Json = Mapping[str, Any]

LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
"""One DNS-1035 label: what a Service or RayCluster may be called. A tenant who writes the status may write anything."""

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([munkKMGTPE]i?|)")
_SCALE = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1), "k": Decimal(1000)}
_SCALE |= {unit: Decimal(1000) ** power for power, unit in enumerate("MGTPE", 2)}
_SCALE |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}


def _time(value: object) -> datetime | None:
    """RFC 3339, as the API server writes it; the CRD says date-time, but a lenient CRD lets anything through."""
    if value is None:
        return None
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("not an RFC 3339 time")
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except OverflowError:  # in UTC it is before the year 1 or after 9999
        raise ValueError("not a time that can be reckoned with") from None


def _milliseconds(value: object) -> datetime | None:
    """Ray's times: Unix milliseconds; 0 and null mean that there is none."""
    if value is None or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 253_402_300_800_000:
        raise ValueError("not Unix milliseconds")
    return datetime.fromtimestamp(value / 1000, UTC)


def quantity(value: object) -> float:
    """A Kubernetes quantity (`500m`, `2Gi`) in base units; 0.0 where it is none, since it only feeds metrics."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None or match[2] not in _SCALE:
        return 0.0
    return float(Decimal(match[1]) * _SCALE[match[2]])


Time = Annotated[datetime | None, BeforeValidator(_time)]
Milliseconds = Annotated[datetime | None, BeforeValidator(_milliseconds)]


def _cluster_name(value: object) -> object:
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or not LABEL.fullmatch(value):
        raise ValueError("not a name that a RayCluster can have")
    return value


Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, alias_generator=to_camel)


class _Owner(_Model):
    kind: Text = ""
    uid: Text = ""
    controller: bool | None = None


class _ManagedField(_Model):
    subresource: Text = ""
    time: Time = None


class _Metadata(_Model):
    name: str
    uid: str
    resource_version: str
    namespace: Text = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None
    owner_references: list[_Owner] | None = None
    deletion_timestamp: Time = None
    creation_timestamp: Time = None
    managed_fields: list[_ManagedField] | None = None

    @property
    def controller(self) -> _Owner:
        return next((owner for owner in self.owner_references or () if owner.controller), _Owner())

    @property
    def status_written_at(self) -> datetime | None:
        times = (entry.time for entry in self.managed_fields or () if entry.subresource == "status")
        return max((time for time in times if time), default=None)


class _Condition(_Model):
    job_status: Text = ""
    job_deployment_status: Text = ""
    ttl_seconds: int | None = None


class _Rule(_Model):
    policy: str
    condition: _Condition


class _Policy(_Model):
    policy: Text = ""


class _Strategy(_Model):
    deletion_rules: list[_Rule] | None = None
    on_success: _Policy | None = None
    on_failure: _Policy | None = None


class _RayJobSpec(_Model):
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


class _RayJobInfo(_Model):
    start_time: Time = None
    end_time: Time = None


class _RayJobStatus(_Model):
    job_deployment_status: Text = ""
    job_status: Text = ""
    job_id: Text = ""
    ray_cluster_name: Annotated[str, BeforeValidator(_cluster_name)] = ""
    reason: Text = ""
    start_time: Time = None
    end_time: Time = None
    failed: int | None = None
    ray_job_info: _RayJobInfo | None = None


class _RayJob(_Model):
    spec: _RayJobSpec | None = None
    status: _RayJobStatus | None = None


class _Head(_Model):
    service_name: Text = ""


class _Said(_Model):
    type: Text = ""
    status: Text = ""


class _RayClusterStatus(_Model):
    head: _Head | None = None
    conditions: list[_Said] | None = None

    @property
    def head_ready(self) -> bool | None:
        said = (condition.status for condition in self.conditions or () if condition.type == "HeadPodReady")
        return {"True": True, "False": False}.get(next(said, ""))


class _Port(_Model):
    name: Text = ""
    container_port: int


class _Container(_Model):
    ports: list[_Port] | None = None


class _PodSpec(_Model):
    containers: list[_Container] = Field(min_length=1)


class _Template(_Model):
    spec: _PodSpec


class _HeadGroup(_Model):
    template: _Template


class _AuthOptions(_Model):
    mode: Text = ""
    secret_name: Text = ""


class _RayClusterSpec(_Model):
    head_group_spec: _HeadGroup
    auth_options: _AuthOptions | None = None


class _RayCluster(_Model):
    spec: _RayClusterSpec
    status: _RayClusterStatus | None = None


class _JobEntry(BaseModel):
    """ray.dashboard.modules.job.pydantic_models.JobDetails, of which only what a decision needs."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    type: str
    status: str
    submission_id: Text = ""
    job_id: Text = ""
    end_time: Milliseconds = None
    driver_node_id: Text = ""


class _Node(BaseModel):
    """ray.util.state.common.NodeState."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    node_id: str
    state: str


class _NodePage(BaseModel):
    result: list[_Node]


class _NodeData(BaseModel):
    result: _NodePage


class _NodeAnswer(BaseModel):
    """The envelope of Ray's state API, ray.dashboard.state_api_utils.do_reply."""

    data: _NodeData


class _ServiceSpec(_Model):
    type: Text = ""
    selector: dict[str, str] | None = None


class _Service(_Model):
    spec: _ServiceSpec


class _Page(_Model):
    items: list[dict[str, Any]] | None  # null where a list of metadata is empty


def parse_rayjob(json: Json) -> RayJob:
    """A RayJob as the API server sends it. Metadata that is none raises ValueError: it cannot even be named."""
    metadata = _metadata(json)
    known = _identity(metadata)
    try:
        parsed = _RayJob.model_validate(json)
    except ValidationError as error:
        return RayJob(**known, unreadable=_first_problem(error))
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


def parse_raycluster(json: Json) -> RayCluster:
    """A RayCluster, whole or its metadata alone (PartialObjectMetadata). ValueError as for parse_rayjob."""
    metadata = _metadata(json)
    known: dict[str, Any] = {
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
        "resource_version": metadata.resource_version,
        "controller_uid": metadata.controller.uid,
        "deleting": metadata.deletion_timestamp is not None,
    }
    if "spec" not in json:
        return RayCluster(**known)
    try:
        parsed = _RayCluster.model_validate(json)
    except ValidationError as error:
        return RayCluster(**known, unreadable=_first_problem(error))
    ports = parsed.spec.head_group_spec.template.spec.containers[0].ports or ()
    named = (port.container_port for port in ports if port.name == names.DASHBOARD_PORT_NAME)
    status = parsed.status or _RayClusterStatus()
    return RayCluster(
        **known,
        head_service=status.head.service_name if status.head else "",
        dashboard_port=next(named, None),
        head_ready=status.head_ready,
        auth_secret=_auth_secret(metadata.name, parsed.spec.auth_options or _AuthOptions()),
    )


def _auth_secret(cluster: str, options: _AuthOptions) -> str:
    """KubeRay's default is the cluster's name, cut to its end as all of its names (utils.CheckName)."""
    if options.mode != "token":
        return ""
    name = cluster[-50:]
    return options.secret_name or (name if name[:1].isalpha() else f"r{name[1:]}")


def parse_namespace(json: Json) -> Namespace:
    """A Namespace. ValueError as for parse_rayjob."""
    metadata = _metadata(json)
    return Namespace(metadata.name, metadata.uid, metadata.resource_version, _ours(metadata.annotations))


def parse_entry(json: object) -> JobEntry:
    """One entry of Ray's job list; ValueError where it is none. Unknown words of status are kept as they are."""
    try:
        entry = _JobEntry.model_validate(json)
    except ValidationError as error:
        raise ValueError(_first_problem(error)) from None
    return JobEntry(entry.type, entry.submission_id, entry.status, entry.job_id, entry.end_time, entry.driver_node_id)


def parse_node_states(json: object) -> dict[str, str]:
    """The state of each node in an answer of Ray's GET /api/v0/nodes; ValueError where it is none."""
    try:
        nodes = _NodeAnswer.model_validate(json).data.result.result
    except ValidationError as error:
        raise ValueError(_first_problem(error)) from None
    return {node.node_id: node.state for node in nodes}


def parse_service(json: Json) -> Service:
    """A Service. ValueError as for parse_rayjob, and where its spec is odd."""
    metadata = _metadata(json)
    try:
        spec = _Service.model_validate(json).spec
    except ValidationError as error:
        raise ValueError(_first_problem(error)) from None
    return Service(metadata.controller.uid, leads_to_pods=bool(spec.selector) and spec.type != "ExternalName")


def parse_head_token(json: Json) -> SecretStr | None:
    """auth_token of a Secret, which no repr shows; None where it has none, empty where it is no text in base64."""
    data = json.get("data")
    encoded = data.get("auth_token") if isinstance(data, Mapping) else None
    if encoded is None:
        return None
    try:
        return SecretStr(base64.b64decode(encoded, validate=True).decode())
    except (ValueError, TypeError):
        return SecretStr("")


def parse_items(json: object) -> list[dict[str, Any]]:
    """The objects of a Kubernetes list; ValueError where it is none."""
    try:
        return _Page.model_validate(json).items or []
    except ValidationError as error:
        raise ValueError(_first_problem(error)) from None


def _metadata(json: Json) -> _Metadata:
    try:
        return _Metadata.model_validate(json.get("metadata"))
    except ValidationError as error:
        raise ValueError(f"metadata.{_first_problem(error)}") from None


def _identity(metadata: _Metadata) -> dict[str, Any]:
    return {
        "namespace": metadata.namespace,
        "name": metadata.name,
        "uid": metadata.uid,
        "resource_version": metadata.resource_version,
        "labels": metadata.labels or {},
        "annotations": _ours(metadata.annotations),
        "keys": frozenset((*(metadata.labels or ()), *(metadata.annotations or ()))),
        "finalizers": tuple(metadata.finalizers or ()),
        "controller_kind": metadata.controller.kind,
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


def _cron_tick(metadata: _Metadata) -> datetime | None:
    """When a RayCronJob made this: its annotation, else the Unix minute at the end of the name, else its creation."""
    if metadata.controller.kind != names.CRON_KIND:
        return None
    try:
        said = _time((metadata.annotations or {}).get(names.CRON_TICK))
    except ValueError:
        said = None
    minute = metadata.name.rpartition("-")[2]
    named = datetime.fromtimestamp(int(minute) * 60, UTC) if minute.isdecimal() and len(minute) == 8 else None
    return said or named or metadata.creation_timestamp


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


def _first_problem(error: ValidationError) -> str:
    """`status.endTime: 'soon' is not an RFC 3339 time`; the input is quoted only where it is a plain value."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole"
    value = first["input"]
    shown = f"{quoted(value)}: " if isinstance(value, str | int | float | bool) else ""
    return f"{place}: {shown}{first['msg']}"
