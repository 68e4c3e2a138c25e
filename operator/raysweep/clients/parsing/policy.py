"""JSON to facts about RayJobCleanupPolicies, and everything that is wrong with one. Nothing is fetched or judged here.

The CRD's own schema refuses most of what is refused here; this is what holds where an older or changed CRD let it through.
What is wrong makes no exception but a policy with faults: every RayJob that it selects is kept.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import Enum
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from raysweep.clients.parsing.common import Json, Model, metadata_of
from raysweep.core.durations import GRAMMAR, Duration, Never, format_duration, parse_duration
from raysweep.core.model.facts import EVERYTHING, Policy, Requirement, Selector
from raysweep.core.model.parameters import Mode
from raysweep.core.text import quoted

LARGEST_PRIORITY = 1_000_000


def _a_time(value: object) -> object:
    """A duration; a whole number may stand without quotes."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(f"is no duration; write {GRAMMAR}")  # noqa: TRY004 - pydantic's word for a wrong value
    try:
        return parse_duration(value)
    except ValueError:
        raise ValueError(f"is no duration; write {GRAMMAR}") from None


def _a_limit(value: object) -> object:
    found = _a_time(value)
    if isinstance(found, Never):
        raise ValueError("is no limit; leave it out")  # noqa: TRY004 - as above
    return found


def _a_patience(value: object) -> object:
    found = _a_time(value)
    if not isinstance(found, Never) and not found:
        raise ValueError("would take jobs at once; write a time above 0, or never")
    return found


Time = Annotated[Duration | None, BeforeValidator(_a_time)]
Limit = Annotated[Duration | None, BeforeValidator(_a_limit)]
Patience = Annotated[Duration | None, BeforeValidator(_a_patience)]


class _Closed(Model):
    """A key that nobody knows may be a misspelt one, so it is refused; so is an object that says nothing."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _says_something(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and not any(one is not None for one in value.values()):
            raise ValueError("says nothing; leave it out")
        return value


class _Retention(_Closed):
    default: Time = None
    succeeded: Time = None
    failed: Time = None
    stopped: Time = None


class _Retentions(_Closed):
    ray_job: _Retention | None = None
    ray_cluster: _Retention | None = None


class _Range(_Closed):
    min: Limit = None
    max: Limit = None


class _KeepLimit(_Closed):
    max: Limit = None


class _Limits(_Closed):
    ray_job: _Range | None = None
    ray_cluster: _Range | None = None
    keep: _KeepLimit | None = None


class _Stuck(_Closed):
    never_submitted: Patience = None
    job_lost: Patience = None
    initializing: Patience = None
    still_running: Patience = None
    cluster_in_use: Patience = None
    head_unreachable: Patience = None


class _Operator(Enum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class _Requirement(Model):
    model_config = ConfigDict(extra="forbid", strict=False)

    key: str
    operator: _Operator
    values: list[str] | None = None

    @model_validator(mode="after")
    def _values_fit(self) -> "_Requirement":
        if (self.operator in (_Operator.IN, _Operator.NOT_IN)) != bool(self.values):
            raise ValueError("In and NotIn take values, Exists and DoesNotExist take none")
        return self


class _Selector(Model):
    model_config = ConfigDict(extra="forbid")

    match_labels: dict[str, str] | None = None
    match_expressions: list[_Requirement] | None = None


class _Spec(Model):
    model_config = ConfigDict(extra="forbid", strict=False)

    priority: int = Field(0, ge=-LARGEST_PRIORITY, le=LARGEST_PRIORITY, strict=True)
    mode: Mode = Mode.ENFORCE
    namespace_selector: _Selector | None = None
    ray_job_selector: _Selector | None = None
    retention: _Retentions | None = None
    limits: _Limits | None = None
    stuck: _Stuck | None = None


def parse_policy(json: Json) -> Policy:
    """A RayJobCleanupPolicy as the API server sends it. ValueError where it cannot even be named.

    Metadata that cannot be read is a fault as any other: the policy counts, and keeps what it may select.
    """
    metadata, problem = metadata_of(json)
    spec = json.get("spec")
    status = json.get("status")
    written = (
        entry.time for entry in metadata.managed_fields or () if entry.subresource != "status"
    )
    known = Policy(
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        generation=metadata.generation,
        written_at=max((time for time in written if time), default=metadata.creation_timestamp),
        status=status if isinstance(status, Mapping) else {},
    )
    found = _with_spec(known, spec)
    return replace(found, errors=(problem, *found.errors)) if problem else found


def problems(spec: object) -> tuple[str, ...]:
    """Everything wrong with the spec of a policy: place, value and remedy."""
    return _with_spec(Policy("", "", ""), spec).errors


def _with_spec(known: Policy, json: object) -> Policy:
    try:
        spec = _Spec.model_validate(json)
    except ValidationError as error:
        namespaces = _readable(json, "namespaceSelector")
        return replace(
            known,
            namespaces=namespaces,
            errors=tuple(_told(fault) for fault in error.errors(include_url=False)),
        )
    times = dict(_times(spec.model_dump(by_alias=True, include={"retention", "limits", "stuck"})))
    return replace(
        known,
        priority=spec.priority,
        is_dry_run=spec.mode is Mode.DRY_RUN,
        namespaces=_selector(spec.namespace_selector),
        rayjobs=_selector(spec.ray_job_selector),
        times=times,
        errors=tuple(_contradictions(spec, times)),
    )


def _readable(json: object, key: str) -> Selector:
    """That selector of a spec in which something else is wrong; one that cannot be read itself selects everything."""
    try:
        return _selector(
            _Selector.model_validate((json if isinstance(json, Mapping) else {}).get(key) or {})
        )
    except ValidationError:
        return EVERYTHING


def _selector(parsed: _Selector | None) -> Selector:
    if parsed is None:
        return EVERYTHING
    asked = parsed.match_expressions or ()
    requirements = (
        Requirement(one.key, one.operator.value, frozenset(one.values or ())) for one in asked
    )
    return Selector(parsed.match_labels or {}, tuple(requirements))


def _times(nested: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Duration]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _times(value, f"{path}{key}.")
        elif value is not None:
            yield f"{path}{key}", value


def _contradictions(spec: _Spec, times: Mapping[str, Duration]) -> Iterator[str]:
    if spec.limits and spec.ray_job_selector:
        yield "spec.rayJobSelector: limits cannot depend on labels that tenants choose themselves; remove it, or the limits"
    if not times and spec.mode is not Mode.DRY_RUN:
        yield "spec: it says nothing; set retention, limits or stuck, or the mode DryRun"
    for low, high in (
        ("limits.rayJob.min", "limits.rayJob.max"),
        ("limits.rayCluster.min", "limits.rayCluster.max"),
        ("limits.rayCluster.min", "limits.rayJob.max"),
    ):
        least, most = times.get(low), times.get(high)
        if (
            least is not None
            and most is not None
            and not isinstance(least, Never)
            and not isinstance(most, Never)
            and least > most
        ):
            yield f"spec.{low}: {format_duration(least)} is longer than {high} {format_duration(most)}; no time would be allowed"


def _told(fault: Any) -> str:
    """`spec.retention.rayJob.failed: 'soon' is no duration; ...`."""
    place = ".".join(("spec", *(str(part) for part in fault["loc"])))
    if fault["type"] == "extra_forbidden":
        return (
            f"{place}: unknown key; remove it, or see docs/reference/policies.md for the right one"
        )
    said = (
        "is no object"
        if fault["type"] in ("model_type", "model_attributes_type")
        else str(fault["msg"])
    )
    ours = said.removeprefix("Value error, ")
    value = fault["input"]
    shown = (
        f"{quoted(value)}{' ' if ours != said else ': '}"
        if isinstance(value, str | int | float | bool)
        else ""
    )
    return f"{place}: {shown}{ours}"
