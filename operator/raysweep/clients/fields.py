"""What the models of all Kubernetes and Ray objects share: times, texts, metadata, how faults are worded. No object enters."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from raysweep.core.text import quoted

Json = Mapping[str, Any]


LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
"""One DNS-1035 label: what a Service or RayCluster may be called. A tenant who writes the status may write anything."""


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_YEAR_2000 = 946_684_800_000
"""In Unix milliseconds. A time before it comes from a clock that was never set."""
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([munkKMGTPE]i?|)")
_SCALE = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1), "k": Decimal(1000)}
_SCALE |= {unit: Decimal(1000) ** power for power, unit in enumerate("MGTPE", 2)}
_SCALE |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}


def time_of(value: object) -> datetime | None:
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
    """Ray's times: Unix milliseconds; 0 and null mean that there is none, and so does a time before 2000."""
    if value is None or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 253_402_300_800_000:
        raise ValueError("not Unix milliseconds")
    return None if value < _YEAR_2000 else datetime.fromtimestamp(value / 1000, UTC)


def quantity(value: object) -> float:
    """A Kubernetes quantity (`500m`, `2Gi`) in base units; 0.0 where it is none, since it only feeds metrics."""
    match = _QUANTITY.fullmatch(str(value))
    if match is None or match[2] not in _SCALE:
        return 0.0
    return float(Decimal(match[1]) * _SCALE[match[2]])


Time = Annotated[datetime | None, BeforeValidator(time_of)]
Milliseconds = Annotated[datetime | None, BeforeValidator(_milliseconds)]


Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]


class Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, alias_generator=to_camel)


class _Owner(Model):
    api_version: Text = ""
    kind: Text = ""
    uid: Text = ""
    controller: bool | None = None

    @property
    def group(self) -> str:
        """The API group of apiVersion (meta/v1 OwnerReference); "" for the core group."""
        return self.api_version.rpartition("/")[0]


class _ManagedField(Model):
    subresource: Text = ""
    time: Time = None


class Metadata(Model):
    name: str
    uid: str
    resource_version: str
    generation: int = 0
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


def metadata_of(json: Json) -> Metadata:
    try:
        return Metadata.model_validate(json.get("metadata"))
    except ValidationError as error:
        raise ValueError(f"metadata.{first_problem(error)}") from None


def first_problem(error: ValidationError, *, is_shown: bool = True) -> str:
    """`status.endTime: 'soon' is not an RFC 3339 time`; the input is quoted only where it is a plain value.

    is_shown: False for what a head sent, of which nothing may be shown: the place and what was expected there.
    """
    first = error.errors(include_url=False, include_context=False, include_input=is_shown)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole"
    value = first.get("input")
    shown = f"{quoted(value)}: " if isinstance(value, str | int | float | bool) else ""
    return f"{place}: {shown}{first['msg']}"
