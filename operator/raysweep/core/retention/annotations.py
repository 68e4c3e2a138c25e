"""What the raysweep.io annotations of one RayJob or Namespace say, value by value. Which source counts is retention.py's."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from raysweep import names
from raysweep.core.durations import GRAMMAR, parse_duration
from raysweep.core.model.facts import Namespace, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import InvalidValue, SourcedDuration, place
from raysweep.core.text import quoted

TIME_GRAMMAR = "an RFC 3339 time with its zone, as 2026-11-22T18:00:00Z"
UNKNOWN_AT_MOST = 5
"""How many unknown keys of one object are named; an object may carry 16,000 of them."""
_KNOWN_KEYS = ", ".join(
    sorted(key.removeprefix(names.ANNOTATION_PREFIX) for key in names.ANNOTATIONS)
)
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
)


def errors(
    annotations: Mapping[str, str], where: str, more_unknown_keys: int = 0
) -> tuple[InvalidValue, ...]:
    """Everything wrong with the raysweep.io annotations of one object; where names it, as `RayJob team-a/train`.

    Of unknown keys the first UNKNOWN_AT_MOST are named, and the rest are counted. more_unknown_keys:
    those that are not in `annotations`.
    """
    unknown = [key for key in annotations if _is_unknown(key)]
    found = [_unknown_key(key, where) for key in unknown[:UNKNOWN_AT_MOST]]
    more = len(unknown) + more_unknown_keys - UNKNOWN_AT_MOST
    if more > 0:
        found.append(
            InvalidValue(
                f"{where} annotations", f"{more} more unknown keys of {names.ANNOTATION_PREFIX}"
            )
        )
    keys = (*names.DURATION_ANNOTATIONS, names.TTL_UNSUBMITTED)
    found += [
        said for key in keys if isinstance(said := _read(annotations, key, where), InvalidValue)
    ]
    found += [until] if isinstance(until := _keep_until(annotations, where), InvalidValue) else []
    return tuple(found)


def first_unknown_key(thing: RayJob | Namespace) -> InvalidValue | None:
    """The first key of ours that is none: it may be a misspelt one of any time."""
    return next(
        (_unknown_key(key, place(thing)) for key in thing.annotations if _is_unknown(key)), None
    )


def duration(thing: RayJob | Namespace, key: str) -> SourcedDuration | InvalidValue | None:
    """What that annotation says; None where it is not there."""
    return _read(thing.annotations, key, place(thing), inherited=isinstance(thing, Namespace))


def duration_for(
    thing: RayJob | Namespace, key: str, outcome: Outcome
) -> SourcedDuration | InvalidValue | None:
    """The outcome's own key beats the general one."""
    return duration(thing, f"{key}-{outcome}") or duration(thing, key)


def keep_until(thing: RayJob | Namespace) -> datetime | InvalidValue | None:
    """Until when somebody asked to keep it."""
    return _keep_until(thing.annotations, place(thing))


def has_own_ttl(rayjob: RayJob, outcome: Outcome) -> bool:
    """Whether the RayJob's own annotations set the time after which it goes itself."""
    return any(key in rayjob.annotations for key in (names.TTL, f"{names.TTL}-{outcome}"))


def recorded_outcome(rayjob: RayJob) -> tuple[Outcome, datetime] | InvalidValue | None:
    """What the head said before its cluster was deleted: `failed 2026-11-22T19:38:36Z` in raysweep.io/outcome."""
    text = rayjob.annotations.get(names.OUTCOME)
    if text is None:
        return None
    word, _, time = text.partition(" ")
    at = _read_time(time, "", "")
    if word not in set(Outcome) or not isinstance(at, datetime):
        where = f"{place(rayjob)} annotation {names.OUTCOME}"
        return InvalidValue(
            where, f"{quoted(text)} is no outcome and time; only Raysweep writes it, remove it"
        )
    return Outcome(word), at


def _read(
    annotations: Mapping[str, str], key: str, where: str, *, inherited: bool = False
) -> SourcedDuration | InvalidValue | None:
    if key not in annotations:
        return None
    try:
        return SourcedDuration(
            parse_duration(annotations[key]), f"{where} annotation {key}", inherited
        )
    except ValueError:
        return InvalidValue(
            f"{where} annotation {key}",
            f"{quoted(annotations[key])} is no duration; write {GRAMMAR}",
        )


def _keep_until(annotations: Mapping[str, str], where: str) -> datetime | InvalidValue | None:
    text = annotations.get(names.KEEP_UNTIL)
    return None if text is None else _read_time(text, where, names.KEEP_UNTIL)


def _read_time(text: str, where: str, key: str) -> datetime | InvalidValue:
    try:
        if not _RFC3339.fullmatch(text):
            raise ValueError(text)
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return InvalidValue(
            f"{where} annotation {key}", f"{quoted(text)} is no time; write {TIME_GRAMMAR}"
        )


def _is_unknown(key: str) -> bool:
    return key.startswith(names.ANNOTATION_PREFIX) and key not in names.ANNOTATIONS


def _unknown_key(key: str, where: str) -> InvalidValue:
    place_of_key = f"{where} annotation {quoted(key)}"
    return InvalidValue(place_of_key, f"unknown key; {names.ANNOTATION_PREFIX} has {_KNOWN_KEYS}")
