"""The Lease of the leader election: parses it and writes it."""

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from raysweep import names
from raysweep.clients.parsing.common import (
    Json,
    Model,
    Text,
    any_time_of,
    first_error,
    metadata_of,
)

_Time = Annotated[datetime | None, BeforeValidator(any_time_of)]
"""A time of any year. It is never compared with the clock, so a wrong clock does no harm."""
_Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


@dataclass(frozen=True, slots=True)
class LeaseName:
    """The namespace and name of a Lease."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Term:
    """The holder of a Lease and its times, as client-go's leader election writes them."""

    holder: str = ""
    """Empty after the holder released the Lease."""
    duration: timedelta = timedelta()
    """Another replica may take the Lease if it does not change for that time."""
    acquired_at: datetime | None = None
    renewed_at: datetime | None = None
    transitions: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease as the API server returned it."""

    term: Term
    resource_version: str
    json: Json = field(repr=False, compare=False)
    """The whole object. A replacement keeps what others wrote in it."""


class _Spec(Model):
    holder_identity: Text = ""
    lease_duration_seconds: _Count | None = None
    acquire_time: _Time = None
    renew_time: _Time = None
    lease_transitions: _Count | None = None


class _Lease(Model):
    spec: _Spec | None = None


def parse_lease(json: Json) -> Lease:
    """Parses a Lease. Raises ValueError if it is invalid or has no resourceVersion for writes."""
    metadata, problem = metadata_of(json)
    if not metadata.resource_version:
        raise ValueError(problem or "metadata.resourceVersion: empty")
    try:
        spec = _Lease.model_validate(json).spec or _Spec()
    except ValidationError as error:
        raise ValueError(str(first_error(error))) from None
    duration = timedelta(seconds=spec.lease_duration_seconds or 0)
    term = Term(
        spec.holder_identity,
        duration,
        spec.acquire_time,
        spec.renew_time,
        spec.lease_transitions or 0,
    )
    return Lease(term, metadata.resource_version, json)


def new_lease(name: LeaseName, term: Term) -> dict[str, Any]:
    """The body of a new Lease."""
    metadata = {
        "name": name.name,
        "namespace": name.namespace,
        "labels": {"app.kubernetes.io/name": names.APP_NAME},
    }
    return {
        "apiVersion": f"{names.LEASE_GROUP}/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": _spec(term),
    }


def changed_lease(lease: Lease, term: Term) -> dict[str, Any]:
    """The body of an existing Lease, with its uid and resourceVersion, and with another term."""
    spec = lease.json.get("spec") or {}
    return {**lease.json, "spec": {**spec, **_spec(term)}}


def _spec(term: Term) -> dict[str, Any]:
    return {
        "holderIdentity": term.holder,
        "leaseDurationSeconds": max(math.ceil(term.duration.total_seconds()), 1),
        "acquireTime": _micro_time(term.acquired_at),
        "renewTime": _micro_time(term.renewed_at),
        "leaseTransitions": term.transitions,
    }


def _micro_time(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None
