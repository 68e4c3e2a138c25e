"""The raysweep.io annotations of one RayJob or Namespace, value by value.

`resolve.py` decides which source of a time takes precedence.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from raysweep import names
from raysweep.core.durations import GRAMMAR, parse_duration
from raysweep.core.model.facts import Namespace, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import InvalidValue, SourcedDuration, place
from raysweep.core.text import quoted

TIME_GRAMMAR = "an RFC 3339 time with its zone, as 2026-11-22T18:00:00Z"
MAX_NAMED_UNKNOWN_KEYS = 5
"""How many unknown keys of one object are named. An object may have 16,000 of them."""
_KNOWN_KEYS = ", ".join(
    sorted(key.removeprefix(names.ANNOTATION_PREFIX) for key in names.ANNOTATIONS)
)
_DURATION_KEYS = (*names.DURATION_ANNOTATIONS, names.TTL_UNSUBMITTED)
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
)


def errors(
    annotations: Mapping[str, str], owner: str, more_unknown_keys: int = 0
) -> tuple[InvalidValue, ...]:
    """Every invalid raysweep.io annotation of one object.

    owner: the object in words, as `RayJob team-a/train`. more_unknown_keys: how many unknown keys
    were left out of `annotations`. Only the first MAX_NAMED_UNKNOWN_KEYS unknown keys are named.
    """
    values = [_duration(annotations, key, owner) for key in _DURATION_KEYS]
    invalid = [value for value in values if isinstance(value, InvalidValue)]
    until = _keep_until(annotations, owner)
    if isinstance(until, InvalidValue):
        invalid.append(until)
    return (*_unknown_keys(annotations, owner, more_unknown_keys), *invalid)


def _unknown_keys(
    annotations: Mapping[str, str], owner: str, more_unknown_keys: int
) -> Iterator[InvalidValue]:
    unknown = [key for key in annotations if _is_unknown(key)]
    for key in unknown[:MAX_NAMED_UNKNOWN_KEYS]:
        yield _unknown_key(key, owner)
    unnamed = len(unknown) + more_unknown_keys - MAX_NAMED_UNKNOWN_KEYS
    if unnamed > 0:
        problem = f"{unnamed} more unknown keys that begin with {names.ANNOTATION_PREFIX}"
        yield InvalidValue(owner, problem, "annotations", "remove them")


def first_unknown_key(owner: RayJob | Namespace) -> InvalidValue | None:
    """The first raysweep.io key that Raysweep does not know. It may be any key, misspelled."""
    keys = (key for key in owner.annotations if _is_unknown(key))
    return next((_unknown_key(key, place(owner)) for key in keys), None)


def duration(owner: RayJob | Namespace, key: str) -> SourcedDuration | InvalidValue | None:
    """The duration that this annotation sets. None if the annotation is absent."""
    if key not in owner.annotations:
        return None  # of most keys: their place need not be named
    is_inherited = isinstance(owner, Namespace)
    return _duration(owner.annotations, key, place(owner), inherited=is_inherited)


def duration_for(
    owner: RayJob | Namespace, key: str, outcome: Outcome
) -> SourcedDuration | InvalidValue | None:
    """The duration for this outcome. The key of the outcome beats the general key."""
    return duration(owner, f"{key}-{outcome}") or duration(owner, key)


def keep_until(owner: RayJob | Namespace) -> datetime | InvalidValue | None:
    """The time in raysweep.io/keep-until. None if the annotation is absent."""
    return _keep_until(owner.annotations, place(owner))


def has_own_ttl(rayjob: RayJob, outcome: Outcome) -> bool:
    """Whether the RayJob's own annotations set a TTL of the RayJob for this outcome."""
    return any(key in rayjob.annotations for key in (names.TTL, f"{names.TTL}-{outcome}"))


def recorded_outcome(rayjob: RayJob) -> tuple[Outcome, datetime] | InvalidValue | None:
    """The outcome that Raysweep recorded before it deleted the RayCluster.

    raysweep.io/outcome holds a word and a time, as `failed 2026-11-22T19:38:36Z`.
    """
    text = rayjob.annotations.get(names.OUTCOME)
    if text is None:
        return None
    word, _, time_text = text.partition(" ")
    time = _parse_time(time_text)
    if word in set(Outcome) and time is not None:
        return Outcome(word), time
    hint = "remove it, only Raysweep writes this annotation"
    return _invalid(names.OUTCOME, place(rayjob), f"invalid outcome {quoted(text)}", hint)


def _duration(
    annotations: Mapping[str, str], key: str, owner: str, *, inherited: bool = False
) -> SourcedDuration | InvalidValue | None:
    if key not in annotations:
        return None
    text = annotations[key]
    try:
        return SourcedDuration(parse_duration(text), f"{owner} annotation {key}", inherited)
    except ValueError:
        return _invalid(key, owner, f"invalid duration {quoted(text)}", f"use {GRAMMAR}")


def _keep_until(annotations: Mapping[str, str], owner: str) -> datetime | InvalidValue | None:
    text = annotations.get(names.KEEP_UNTIL)
    if text is None:
        return None
    time = _parse_time(text)
    if time is not None:
        return time
    hint = f"use {TIME_GRAMMAR}"
    return _invalid(names.KEEP_UNTIL, owner, f"invalid time {quoted(text)}", hint)


def _parse_time(text: str) -> datetime | None:
    if not _RFC3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _is_unknown(key: str) -> bool:
    return key.startswith(names.ANNOTATION_PREFIX) and key not in names.ANNOTATIONS


def _unknown_key(key: str, owner: str) -> InvalidValue:
    return _invalid(quoted(key), owner, "unknown key", f"use one of {_KNOWN_KEYS}")


def _invalid(key: str, owner: str, problem: str, hint: str) -> InvalidValue:
    return InvalidValue(owner, problem, f"annotation {key}", hint)
