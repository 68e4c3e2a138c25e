"""Parses and formats durations such as `90`, `1h30m` and `never`. Pure."""

import re
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache


class Never(Enum):
    """The duration without an end."""

    NEVER = "never"

    def __repr__(self) -> str:
        return "NEVER"


NEVER = Never.NEVER
Duration = timedelta | Never

LONGEST = timedelta(days=36525)
"""100 years. A longer duration is most likely a mistake."""

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


@lru_cache(maxsize=1024)
def parse_duration(text: str) -> Duration:
    """The duration. Raises ValueError if the text is invalid."""
    if text == NEVER.value:
        return NEVER
    if re.fullmatch(r"[0-9]{1,12}", text):
        return _bounded(int(text) * _UNITS["s"], text)
    match = _COMBINED.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"invalid duration {text!r}: use {GRAMMAR}")
    numbers = [(unit, number) for unit, number in match.groupdict().items() if number]
    try:
        total = sum((_multiply(number, _UNITS[unit]) for unit, number in numbers), timedelta())
    except OverflowError:  # more than a timedelta holds, 2.7 million years
        total = timedelta.max
    return _bounded(total, text)


def format_duration(duration: Duration) -> str:
    """The shortest text that parse_duration reads as the same duration."""
    if isinstance(duration, Never):
        return duration.value
    parts, rest = [], duration
    for unit in ("w", "d", "h", "m"):
        count, rest = divmod(rest, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    if rest or not parts:
        parts.append(f"{_format_seconds(rest)}s")
    return "".join(parts)


def _format_seconds(rest: timedelta) -> str:
    if not rest.microseconds:
        return str(rest.seconds)
    return f"{rest.seconds}.{rest.microseconds:06d}".rstrip("0")


def after(start: datetime, duration: Duration) -> datetime | None:
    """The end of the duration. None: never, or beyond the year 9999."""
    if isinstance(duration, Never):
        return None
    try:
        return start + duration
    except OverflowError:
        return None


def longest(first: Duration, second: Duration) -> Duration:
    """The longer of two durations. `never` is the longest."""
    if isinstance(first, Never) or isinstance(second, Never):
        return NEVER
    return max(first, second)


def _multiply(number: str, unit: timedelta) -> timedelta:
    """The product in whole microseconds.

    No floating point, so that a duration stays the same when it is formatted and parsed again.
    """
    whole, _, fraction = number.partition(".")
    return int(whole) * unit + int(fraction or 0) * unit // int("1" + "0" * len(fraction))


def _bounded(duration: timedelta, text: str) -> timedelta:
    if duration > LONGEST:
        raise ValueError(f"invalid duration {text!r}: it is longer than 100 years, use never")
    return duration
