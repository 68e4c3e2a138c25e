"""RayJobCleanupPolicies from JSON, with every validation error of one. Pure.

The schema of the CRD refuses most of these errors. They remain possible under an older or changed
CRD. An invalid policy does not raise. It is returned with its errors, and every RayJob that it
selects is kept.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from raysweep.clients.parsing.common import (
    InvalidField,
    Json,
    Metadata,
    Model,
    invalid_field,
    metadata_of,
    whole_message,
)
from raysweep.core.durations import GRAMMAR, Duration, Never, format_duration, parse_duration
from raysweep.core.model.facts import EVERYTHING, Policy, Requirement, Selector
from raysweep.core.model.parameters import Mode
from raysweep.core.retention.policies import LIMIT_PAIRS
from raysweep.core.text import quoted

LARGEST_PRIORITY = 1_000_000


def _duration(value: object) -> Duration:
    """A whole number needs no quotes."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    text = str(value) if is_number else value
    if isinstance(text, str):
        try:
            return parse_duration(text)
        except ValueError:
            pass
    shown = f" {quoted(value)}" if isinstance(value, str | int | float) else ""
    raise whole_message(f"invalid duration{shown}: use {GRAMMAR}")


def _limit(value: object) -> Duration:
    limit = _duration(value)
    if isinstance(limit, Never):
        raise whole_message("invalid limit 'never': leave the field out for no limit")
    return limit


def _patience(value: object) -> Duration:
    patience = _duration(value)
    if not isinstance(patience, Never) and not patience:
        raise whole_message(f"invalid duration {quoted(value)}: use a time above 0, or never")
    return patience


Time = Annotated[Duration | None, BeforeValidator(_duration)]
Limit = Annotated[Duration | None, BeforeValidator(_limit)]
Patience = Annotated[Duration | None, BeforeValidator(_patience)]


class _Closed(Model):
    """An object that refuses unknown keys, since each may be misspelled, and that is not empty."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _is_not_empty(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and all(member is None for member in value.values()):
            raise whole_message("empty object: set one of its fields, or leave it out")
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
    def _has_values_if_needed(self) -> "_Requirement":
        needs_values = self.operator in (_Operator.IN, _Operator.NOT_IN)
        if needs_values != bool(self.values):
            raise whole_message("In and NotIn need values, Exists and DoesNotExist take none")
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
    """A RayJobCleanupPolicy as the API server sends it.

    Invalid metadata is a validation error like any other. Raises ValueError if even the name or
    the uid cannot be read.
    """
    metadata, problem = metadata_of(json)
    status = json.get("status")
    policy = Policy(
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        generation=metadata.generation,
        written_at=_spec_written_at(metadata),
        status=status if isinstance(status, Mapping) else {},
    )
    parsed, invalid = _with_spec(policy, json.get("spec"))
    errors = tuple(map(str, invalid))
    return replace(parsed, errors=(problem, *errors) if problem else errors)


def invalid_fields(spec: object) -> tuple[InvalidField, ...]:
    """Every validation error of the spec of a policy, with paths that begin with `spec`."""
    return _with_spec(Policy("", "", ""), spec)[1]


def _spec_written_at(metadata: Metadata) -> datetime | None:
    entries = metadata.managed_fields or ()
    times = (entry.time for entry in entries if entry.subresource != "status")
    return max((time for time in times if time), default=metadata.creation_timestamp)


def _with_spec(policy: Policy, json: object) -> tuple[Policy, tuple[InvalidField, ...]]:
    """The policy with what its spec sets, and the validation errors of the spec."""
    try:
        spec = _Spec.model_validate({} if json is None else json)
    except ValidationError as error:
        fields = map(invalid_field, error.errors(include_url=False))
        invalid = tuple(replace(each, path=("spec", *each.path)) for each in fields)
        return replace(policy, namespaces=_namespaces_of_invalid(json)), invalid
    fields_with_times = spec.model_dump(by_alias=True, include={"retention", "limits", "stuck"})
    times = dict(_times(fields_with_times))
    parsed = replace(
        policy,
        priority=spec.priority,
        is_dry_run=spec.mode is Mode.DRY_RUN,
        namespaces=_selector(spec.namespace_selector),
        rayjobs=_selector(spec.ray_job_selector),
        times=times,
    )
    return parsed, tuple(_contradictions(spec, times))


def _namespaces_of_invalid(spec: object) -> Selector:
    """The namespaceSelector of an invalid spec. If it is invalid itself, it selects everything."""
    selector = spec.get("namespaceSelector") if isinstance(spec, Mapping) else None
    try:
        return _selector(_Selector.model_validate(selector or {}))
    except ValidationError:
        return EVERYTHING


def _selector(parsed: _Selector | None) -> Selector:
    if parsed is None:
        return EVERYTHING
    requirements = (
        Requirement(each.key, each.operator.value, frozenset(each.values or ()))
        for each in parsed.match_expressions or ()
    )
    return Selector(parsed.match_labels or {}, tuple(requirements))


def _times(nested: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Duration]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from _times(value, f"{path}{key}.")
        elif value is not None:
            yield f"{path}{key}", value


def _contradictions(spec: _Spec, times: Mapping[str, Duration]) -> Iterator[InvalidField]:
    if spec.limits and spec.ray_job_selector:
        message = (
            "not allowed beside limits, since tenants choose these labels themselves:"
            " remove it, or the limits"
        )
        yield InvalidField(("spec", "rayJobSelector"), message)
    if not times and spec.mode is not Mode.DRY_RUN:
        message = "the policy has no effect: set retention, limits or stuck, or the mode DryRun"
        yield InvalidField(("spec",), message)
    for low, high in LIMIT_PAIRS:
        minimum, maximum = times.get(low), times.get(high)
        # A limit is never `never`, see _limit().
        if isinstance(minimum, timedelta) and isinstance(maximum, timedelta) and minimum > maximum:
            message = (
                f"{format_duration(minimum)} is longer than {high} {format_duration(maximum)}:"
                " lower it, or raise the other"
            )
            yield InvalidField(("spec", *low.split(".")), message)
