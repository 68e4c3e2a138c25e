"""What the models of all Kubernetes and Ray objects share: times, texts, metadata, how faults are worded. No object enters."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
)
from pydantic.alias_generators import to_camel

from raysweep.core.text import plain, quoted

Json = Mapping[str, Any]


LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""One DNS-1123 label: what a Service may be called. A tenant who writes the status may write anything."""
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""A DNS-1123 subdomain: what a RayCluster may be called (KubeRay up to 1.3 accepts UUIDs and dots). Check its length first."""
LONGEST_NAME = 253
LONGEST_TEXT = 4 * 2**10
"""Characters of one text field. No name, ID or status word is longer."""
HEAVIEST = 64 * 2**10
"""Characters of all labels, or all finalizers, of one object: they are kept in memory."""
FIRST_YEAR = 2000


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_YEAR_2000 = 946_684_800_000
"""In Unix milliseconds. A time before it comes from a clock that was never set."""
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([munkKMGTPE]i?|)")
_SCALE = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(1000),
}
_SCALE |= {unit: Decimal(1000) ** power for power, unit in enumerate("MGTPE", 2)}
_SCALE |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}


def time_of(value: object) -> datetime | None:
    """A time of a Kubernetes object. One before the year 2000 is not a time: Kubernetes is younger, and Go's zero is year 1."""
    found = any_time_of(value)
    if found and found.year < FIRST_YEAR:
        raise ValueError(f"before the year {FIRST_YEAR}, so not a time")
    return found


def any_time_of(value: object) -> datetime | None:
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


def _text(value: object) -> object:
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise ValueError(f"longer than {LONGEST_TEXT} characters")
    return "" if value is None else value


def texts(value: object) -> Mapping[str, str] | None:
    """A mapping of text to text as it was sent, not a copy; None where there is none. The first odd entry ends the search."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError("not a mapping")  # noqa: TRY004 - pydantic's word for a wrong value
    for key, one in value.items():
        if not isinstance(key, str) or not isinstance(one, str):
            raise ValueError(f"the value of {quoted(key)} is not a text")  # noqa: TRY004 - as above
    return value


def _labels(value: object) -> Mapping[str, str] | None:
    found = texts(value)
    if sum(len(key) + len(one) for key, one in (found or {}).items()) > HEAVIEST:
        raise ValueError(f"more than {HEAVIEST} characters in all")
    return found


def _finalizers(value: list[str]) -> list[str]:
    if sum(map(len, value)) > HEAVIEST:
        raise ValueError(f"more than {HEAVIEST} characters in all")
    return value


Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[Mapping[str, str] | None, PlainValidator(texts)]


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
    labels: Annotated[Mapping[str, str] | None, PlainValidator(_labels)] = None
    annotations: Texts = None
    finalizers: Annotated[list[str], Field(fail_fast=True), AfterValidator(_finalizers)] | None = (
        None
    )
    owner_references: Annotated[list[_Owner], Field(fail_fast=True)] | None = None
    deletion_timestamp: Time = None
    creation_timestamp: Time = None
    managed_fields: Annotated[list[_ManagedField], Field(fail_fast=True)] | None = None

    @property
    def controller(self) -> _Owner:
        return next((owner for owner in self.owner_references or () if owner.controller), _Owner())

    @property
    def status_written_at(self) -> datetime | None:
        times = (entry.time for entry in self.managed_fields or () if entry.subresource == "status")
        return max((time for time in times if time), default=None)


NAMES_IT = frozenset({"name", "uid", "namespace"})


def metadata_of(json: Json) -> tuple[Metadata, str]:
    """The metadata of one object, and what is wrong with it, "" where nothing is.

    A field that cannot be read is left out, so one odd field costs no other. ValueError where not even the name, namespace
    and uid can be read.
    """
    sent = json.get("metadata")
    try:
        return Metadata.model_validate(sent), ""
    except ValidationError as error:
        problem = f"metadata.{first_problem(error)}"
        broken = {str(place) for one in error.errors(include_url=False) for place in one["loc"][:1]}
    if not isinstance(sent, Mapping) or broken & NAMES_IT:
        raise ValueError(problem)
    readable = {key: value for key, value in sent.items() if key not in broken}
    return Metadata.model_validate({"resourceVersion": "", **readable}), problem


def first_problem(error: ValidationError, *, is_shown: bool = True) -> str:
    """`status.endTime: 'soon' is not an RFC 3339 time`; the input is quoted only where it is a plain value.

    is_shown: False for what a head sent, of which nothing may be shown: the place and what was expected there.
    """
    first = error.errors(include_url=False, include_context=False, include_input=is_shown)[0]
    place = plain(".".join(str(part) for part in first["loc"])) or "the whole"
    value = first.get("input")
    shown = f"{quoted(value)}: " if isinstance(value, str | int | float | bool) else ""
    return f"{place}: {shown}{first['msg']}"
