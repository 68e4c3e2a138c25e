"""Durations as people write them, and back: `90`, `1h30m`, `never`. No clock enters."""

import re
from datetime import datetime, timedelta
from enum import Enum


class Never(Enum):
    """The duration that has no end."""

    NEVER = "never"

    def __repr__(self) -> str:
        return "NEVER"


NEVER = Never.NEVER
Duration = timedelta | Never

LONGEST = timedelta(days=36525)
"""100 years: what is longer is taken for a mistake, not for a wish."""

GRAMMAR = "seconds, a value such as 1h30m (w, d, h, m, s), or never (at most 100 years)"

_UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,6})?"
_COMBINED = re.compile("".join(rf"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in _UNITS))


def parse_duration(text: str) -> Duration:
    """The duration that text means; ValueError where it means none."""
    if text == NEVER.value:
        return NEVER
    if re.fullmatch(r"[0-9]{1,12}", text):
        return _bounded(int(text) * _UNITS["s"], text)
    match = _COMBINED.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"invalid duration {text!r}: use {GRAMMAR}")
    try:
        total = sum(
            (_exactly(n, _UNITS[u]) for u, n in match.groupdict().items() if n), timedelta()
        )
    except OverflowError:  # beyond what a timedelta holds, 2.7 million years
        total = timedelta.max
    return _bounded(total, text)


def format_duration(duration: Duration) -> str:
    """The shortest text that parse_duration reads as the same duration."""
    if isinstance(duration, Never):
        return duration.value
    parts, rest = [], duration
    for unit, length in _UNITS.items():
        if unit == "s":
            break
        count, rest = divmod(rest, length)
        parts += [f"{count}{unit}"] if count else []
    seconds = (
        f"{rest.seconds}.{rest.microseconds:06d}".rstrip("0").rstrip(".")
        if rest.microseconds
        else str(rest.seconds)
    )
    return "".join(parts) + (f"{seconds}s" if rest or not parts else "")


def after(start: datetime, duration: Duration) -> datetime | None:
    """So long after that time; None: never, or beyond the year 9999."""
    if isinstance(duration, Never):
        return None
    try:
        return start + duration
    except OverflowError:
        return None


def longest(one: Duration, other: Duration) -> Duration:
    """The longer of two durations; never is the longest of all."""
    if isinstance(one, Never) or isinstance(other, Never):
        return NEVER
    return max(one, other)


def _exactly(number: str, unit: timedelta) -> timedelta:
    """Whole microseconds, computed without floating point so that a duration survives being written and read."""
    whole, _, fraction = number.partition(".")
    return int(whole) * unit + int(fraction or 0) * unit // int("1" + "0" * len(fraction))


def _bounded(duration: timedelta, text: str) -> timedelta:
    if duration > LONGEST:
        raise ValueError(f"invalid duration {text!r}: it is longer than 100 years, use never")
    return duration
