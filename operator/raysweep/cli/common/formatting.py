"""Text, tables, JSON and YAML of answers. Foreign text is printed without control characters."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import yaml

from raysweep.core.durations import format_duration
from raysweep.core.model.facts import Resources
from raysweep.core.model.provenance import SourcedDuration
from raysweep.core.text import LONGEST_QUOTE, plain

API_VERSION = "cli.raysweep.io/v1"
SECOND = timedelta(seconds=1)
ROUNDED_TO = {
    timedelta(weeks=1): timedelta(days=1),
    timedelta(days=1): timedelta(hours=1),
    timedelta(hours=1): timedelta(minutes=1),
}
"""From this length on, a relative time is rounded down to this unit."""
GIB = 2**30
EMPTY_CELL = "-"

Json = dict[str, Any]


def safe(text: object) -> str:
    """The text without control characters, whatever its length."""
    whole = str(text)
    starts = range(0, len(whole), LONGEST_QUOTE)
    return "".join(plain(whole[start : start + LONGEST_QUOTE]) for start in starts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as kubectl prints it: each column is as wide as its widest cell."""
    lines = [head, *([safe(cell) or EMPTY_CELL for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(_table_line(line, widths) for line in lines)


def _table_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "   ".join(padded).rstrip()


def serialized(body: Json, output: str) -> str:
    """JSON or YAML. Characters beyond ASCII are escaped, so a terminal can show the text."""
    if output == "json":
        return json.dumps(body, indent=2)
    return str(yaml.safe_dump(body, sort_keys=False, default_flow_style=False)).rstrip("\n")


def json_line(body: Json) -> str:
    """JSON on one line, for a stream of documents (JSON lines)."""
    return json.dumps(body)


def rfc3339(moment: datetime | None) -> str | None:
    """The time in UTC, in whole seconds."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else None


def time_left(moment: datetime, now: datetime) -> timedelta:
    """The time until the moment in whole seconds, rounded up and never negative."""
    left = max(moment - now, timedelta())
    return -(-left // SECOND) * SECOND


def relative(moment: datetime, now: datetime) -> str:
    """`now`, `in 12m` or `in 3d4h`: at most the two largest units."""
    left = time_left(moment, now)
    if not left:
        return "now"
    unit = next((unit for length, unit in ROUNDED_TO.items() if left >= length), SECOND)
    return f"in {format_duration(left // unit * unit)}"


def resources_text(resources: Resources) -> str:
    """`2 GPU, 8 CPU, 32Gi`, or a dash for no resources."""
    amounts = []
    if resources.gpu:
        amounts.append(f"{_number(resources.gpu)} GPU")
    if resources.cpu:
        amounts.append(f"{_number(resources.cpu)} CPU")
    if resources.memory:
        amounts.append(f"{_number(resources.memory / GIB)}Gi")
    return ", ".join(amounts) or EMPTY_CELL


def resources_json(resources: Resources) -> Json:
    """Numbers: GPUs, CPU cores and bytes of memory."""
    amounts = {"gpu": resources.gpu, "cpu": resources.cpu, "memory": resources.memory}
    return {key: int(value) if value == int(value) else value for key, value in amounts.items()}


def sum_resources(items: Iterable[Resources]) -> Resources:
    """The sum of all of them."""
    listed = list(items)
    return Resources(
        cpu=sum(resources.cpu for resources in listed),
        gpu=sum(resources.gpu for resources in listed),
        memory=sum(resources.memory for resources in listed),
    )


def duration_json(duration: SourcedDuration | None) -> Json | None:
    """A TTL with the place that sets it."""
    if duration is None:
        return None
    return {
        "value": format_duration(duration.value),
        "source": safe(duration.source),
        "clamp": safe(duration.clamp) or None,
    }


def duration_text(key: str, duration: SourcedDuration, owner: str) -> str:
    """`ttl 1h, annotation raysweep.io/ttl`. The RayJob `owner` is not named in the source."""
    origin = duration.origin.removeprefix(f"RayJob {owner} ")
    return f"{key} {format_duration(duration.value)}, {origin}"


def key_value_lines(values: Mapping[str, str]) -> list[str]:
    """One indented line for each key, with aligned values."""
    width = max((len(key) for key in values), default=0)
    return [f"  {key.ljust(width)}  {safe(value)}" for key, value in values.items()]


def _number(value: float) -> str:
    if value == int(value):
        return str(int(value))
    return f"{value:.2f}".rstrip("0").rstrip(".")
