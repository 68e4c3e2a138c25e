"""What the models of all Kubernetes and Ray objects share: times, texts, metadata, errors."""

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

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
from pydantic_core import ErrorDetails, PydanticCustomError

from raysweep.core.text import plain, quoted

Json = Mapping[str, Any]

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A DNS-1123 label: the name of a Service. A tenant who writes the status may write anything."""
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""A DNS-1123 subdomain without its limit of length: the name of a RayCluster.

KubeRay up to 1.3 accepts UUIDs and dots. Check the length first.
"""
LONGEST_NAME = 253
LONGEST_TEXT = 4 * 2**10
"""Characters of one text field. No name, ID or status word is longer."""
HEAVIEST = 64 * 2**10
"""Characters of all labels, or all finalizers, of one object. They are kept in memory."""
FIRST_YEAR = 2000


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_YEAR_2000 = 946_684_800_000
"""In Unix milliseconds. An earlier time comes from a clock that was never set."""
_YEAR_10000 = 253_402_300_800_000
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
    """A time of a Kubernetes object. None if there is none.

    Raises ValueError for any other value, and for a time before the year 2000: Kubernetes is
    younger, and the zero value of Go's times is in the year 1.
    """
    time = any_time_of(value)
    if time and time.year < FIRST_YEAR:
        raise ValueError(f"the time is before the year {FIRST_YEAR}")
    return time


def any_time_of(value: object) -> datetime | None:
    """An RFC 3339 time, as the API server writes it. None if there is none.

    Raises ValueError for any other value, which a CRD without a schema lets through.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("not an RFC 3339 time")
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC the time is before the year 1 or after the year 9999") from None


def _milliseconds(value: object) -> datetime | None:
    """A time of Ray, in Unix milliseconds. None for 0, null, and any time before the year 2000."""
    if value is None or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _YEAR_10000:
        raise ValueError("not Unix milliseconds")
    return None if value < _YEAR_2000 else datetime.fromtimestamp(value / 1000, UTC)


def quantity(value: object) -> float:
    """A Kubernetes quantity (`500m`, `2Gi`) in base units.

    0.0 for any other value: it only feeds metrics.
    """
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
    """A mapping of texts to texts, the same object. None if there is none.

    Raises ValueError at the first entry of another type.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValueError("not a mapping")  # noqa: TRY004 - pydantic expects a ValueError
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise ValueError(f"the value of {quoted(key)} is not a text")  # noqa: TRY004 - as above
    return value


def _labels(value: object) -> Mapping[str, str] | None:
    labels = texts(value)
    if sum(len(key) + len(text) for key, text in (labels or {}).items()) > HEAVIEST:
        raise ValueError(f"more than {HEAVIEST} characters in all")
    return labels


def _finalizers(value: list[str]) -> list[str]:
    if sum(map(len, value)) > HEAVIEST:
        raise ValueError(f"more than {HEAVIEST} characters in all")
    return value


Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[Mapping[str, str] | None, PlainValidator(texts)]


class Model(BaseModel):
    """A model of a Kubernetes object. Unknown fields are not read."""

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
    """The metadata of an object (meta/v1 ObjectMeta)."""

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
        """The owner that controls the object; an empty one if there is none."""
        return next((owner for owner in self.owner_references or () if owner.controller), _Owner())

    @property
    def status_written_at(self) -> datetime | None:
        """When the status was last written, by managedFields."""
        times = (entry.time for entry in self.managed_fields or () if entry.subresource == "status")
        return max((time for time in times if time), default=None)


Shared = TypeVar("Shared", bound=Hashable)
NO_TEXTS: Mapping[str, str] = MappingProxyType({})
"""For all objects without labels or annotations."""


@lru_cache(maxsize=256)
def shared(value: Shared) -> Shared:
    """An equal value that other objects already hold, since most objects differ in few fields.

    The latest values stay in memory, so they must be small.
    """
    return value


IDENTITY = frozenset({"name", "uid", "namespace"})


def metadata_of(json: Json) -> tuple[Metadata, str]:
    """The metadata of one object, and its first validation error, or "".

    An invalid field is left out, so that it costs no other field. Raises ValueError if the name,
    the namespace or the uid is invalid.
    """
    sent = json.get("metadata")
    try:
        return Metadata.model_validate(sent), ""
    except ValidationError as error:
        problem = f"metadata.{first_error(error)}"
        locations = [details["loc"] for details in error.errors(include_url=False)]
    invalid = {str(location[0]) for location in locations if location}
    if not isinstance(sent, Mapping) or invalid & IDENTITY:
        raise ValueError(problem)
    valid = {key: value for key, value in sent.items() if key not in invalid}
    return Metadata.model_validate({"resourceVersion": "", **valid}), problem


@dataclass(frozen=True, slots=True)
class InvalidField:
    """A validation error of one field: its path, and a value with a hint."""

    path: tuple[str | int, ...]
    message: str
    is_unknown_key: bool = False

    def __str__(self) -> str:
        """`status.endTime: invalid value 'soon': not an RFC 3339 time`."""
        place = plain(".".join(map(str, self.path))) or "the whole"
        return f"{place}: {self.message}"


_HINTS = {
    "string_type": "use a text in quotes",
    "int_type": "use a whole number without quotes",
    "bool_type": "use true or false without quotes",
    "list_type": "use a list",
    "dict_type": "use a mapping",
    "mapping_type": "use a mapping",
    "model_type": "use a mapping",
    "model_attributes_type": "use a mapping",
}
"""What to write instead, by the type of pydantic's error."""


def whole_message(message: str) -> PydanticCustomError:
    """An error for a validator to raise, whose message says everything about the value."""
    return PydanticCustomError("whole_message", "{message}", {"message": message})


def first_error(error: ValidationError, *, is_shown: bool = True) -> InvalidField:
    """The first validation error.

    is_shown: whether the message may show the value. No value that a head sent is shown.
    """
    (details, *_) = error.errors(include_url=False, include_input=is_shown)
    return invalid_field(details)


def invalid_field(details: ErrorDetails) -> InvalidField:
    """One of pydantic's errors, in words for readers who do not know pydantic."""
    is_unknown_key = details["type"] == "extra_forbidden"
    return InvalidField(tuple(details["loc"]), _message(details), is_unknown_key)


def _message(details: ErrorDetails) -> str:
    kind, message = details["type"], details["msg"].removeprefix("Value error, ")
    if kind == "whole_message":
        return message
    if kind == "missing":
        return "missing field: add it"
    if kind == "extra_forbidden":
        return "unknown key: remove it, or correct its name"
    hint = _HINTS.get(kind) or message.replace("Input should be", "it must be")
    value = details.get("input")
    if isinstance(value, str | int | float | bool):
        return f"invalid value {quoted(value)}: {hint}"
    return f"invalid value: {hint}"
