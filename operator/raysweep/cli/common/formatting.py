"""Answers as text, tables, JSON and YAML: nothing foreign reaches a terminal with control characters. No judgement enters."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from raysweep.core.durations import format_duration
from raysweep.core.model.facts import Resources
from raysweep.core.model.provenance import SourcedDuration
from raysweep.core.text import LONGEST_QUOTE, plain

API_VERSION = "cli.raysweep.io/v1"
SECOND = timedelta(seconds=1)
GIB = 2**30
NOTHING = "-"

Json = dict[str, Any]


def safe(text: object) -> str:
    """Without control characters, however long; what is foreign in it was cut and quoted where it was read."""
    whole = str(text)
    return "".join(
        plain(whole[at : at + LONGEST_QUOTE]) for at in range(0, len(whole), LONGEST_QUOTE)
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, as kubectl prints them."""
    lines = [head, *([safe(cell) or NOTHING for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def serialized(body: Json, output: str) -> str:
    """JSON or YAML. Beyond ASCII everything is escaped, so that a terminal is safe from it."""
    if output == "json":
        return json.dumps(body, indent=2)
    import yaml

    return str(yaml.safe_dump(body, sort_keys=False, default_flow_style=False)).rstrip("\n")


def json_line(body: Json) -> str:
    """JSON in one line, for a stream of documents (JSON lines)."""
    return json.dumps(body)


def rfc3339(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, whole seconds."""
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else None


def time_left(moment: datetime, now: datetime) -> timedelta:
    """How long it is till then, in whole seconds, never less than nothing; rounded up, so that nothing is promised early."""
    return -(-max(moment - now, timedelta()) // SECOND) * SECOND


def relative(moment: datetime, now: datetime) -> str:
    """`now`, `in 12m`, `in 3d4h`: the two largest units."""
    left = time_left(moment, now)
    if not left:
        return "now"
    for unit, smaller in (
        (timedelta(weeks=1), "1d"),
        (timedelta(days=1), "1h"),
        (timedelta(hours=1), "1m"),
    ):
        if left >= unit:
            step = {"1d": timedelta(days=1), "1h": timedelta(hours=1), "1m": timedelta(minutes=1)}[
                smaller
            ]
            left = left // step * step
            break
    return f"in {format_duration(left)}"


def resources_text(resources: Resources) -> str:
    """`2 GPU, 8 CPU, 32Gi`; a dash where nothing is."""
    told = [
        f"{_number(value)} {unit}"
        for value, unit in ((resources.gpu, "GPU"), (resources.cpu, "CPU"))
        if value
    ]
    told += [f"{_number(resources.memory / GIB)}Gi"] if resources.memory else []
    return ", ".join(told) or NOTHING


def resources_json(resources: Resources) -> Json:
    """Numbers: GPUs, cores, bytes."""
    found = {"gpu": resources.gpu, "cpu": resources.cpu, "memory": resources.memory}
    return {key: int(value) if value == int(value) else value for key, value in found.items()}


def sum_resources(many: Iterable[Resources]) -> Resources:
    """All of them together."""
    listed = list(many)
    return Resources(
        *(sum(getattr(one, what) for one in listed) for what in ("cpu", "gpu", "memory"))
    )


def duration_json(said: SourcedDuration | None) -> Json | None:
    """A TTL with the place that set it."""
    if said is None:
        return None
    return {
        "value": format_duration(said.value),
        "source": safe(said.source),
        "clamp": safe(said.clamp) or None,
    }


def duration_text(key: str, said: SourcedDuration, owner: str) -> str:
    """`ttl 1h, annotation raysweep.io/ttl`; owner is the RayJob, which need not be named in a row of its own."""
    return f"{key} {format_duration(said.value)}, {said.origin.removeprefix(f'RayJob {owner} ')}"


def key_value_lines(rows: Mapping[str, str]) -> list[str]:
    """Lines of key and value, the values below each other."""
    width = max((len(key) for key in rows), default=0)
    return [f"  {key.ljust(width)}  {safe(value)}" for key, value in rows.items()]


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.2f}".rstrip("0").rstrip(".")
