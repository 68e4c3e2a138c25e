"""Makes the reference pages that the code knows by itself: reasons, settings, metrics. No person's prose enters a table here.

`python docs/generate.py` writes them; with --check it writes nothing and fails where a page differs from the code.
"""

import sys
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from enum import Enum
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from raysweep.controller.metrics import Metrics, Snapshot
from raysweep.core.durations import format_duration
from raysweep.core.facts import Resources
from raysweep.core.ladder import LADDER
from raysweep.core.reasons import Reason
from raysweep.settings import Settings, flag, variable

HERE = Path(__file__).parent
GENERATED = "<!-- made by `python docs/generate.py`; do not edit -->"
ENDING = {"counter": "_total", "info": "_info"}
"""What Prometheus' text form appends to the name."""

REASONS = """\
# Reasons

The closed vocabulary. The same word is the Event's reason, the metric's label and the log's field; it never means two things.
**keep** is silent: the RayJob stays, and `raysweep_rayjobs` counts it under this word. **warn** keeps too, and says so in a
Warning on the RayJob and a log line. **delete** goes with an Event and a log line."""

GUARDS = """\
## The ladder

The guards in their order, from `core/ladder.py`. The first that answers decides."""

SETTINGS = """\
# Settings of `raysweep run`

Every setting is a flag and an environment variable; the flag wins. Durations are written as in annotations (`30s`, `5m`,
`1h30m`), lists with commas. Wrong settings end the program with exit code 2, all named at once."""

METRICS = """\
# Metrics

Served at `/metrics`. Units are seconds, bytes, cores and GPUs; no label holds the name of a job, a namespace or a cluster."""


def main(arguments: list[str]) -> int:
    """0 where all pages are as the code says."""
    stale = [name for name, text in pages().items() if not _is(HERE / name, text)]
    if "--check" in arguments:
        sys.stdout.writelines(f"docs/{name} is not what the code says; run python docs/generate.py\n" for name in stale)
        return 1 if stale else 0
    for name in stale:
        (HERE / name).write_text(pages()[name])
        sys.stdout.write(f"wrote docs/{name}\n")
    return 0


def pages() -> dict[str, str]:
    """Every generated page by its file's name."""
    return {
        "reasons.md": _page(
            REASONS,
            _table("reason | kind | means | what to do", ((f"`{r}`", _kind(r), r.meaning, r.remedy) for r in Reason)),
            GUARDS,
            _table("guard | says", ((f"`{g.__name__}`", (g.__doc__ or "").strip().splitlines()[0]) for g in LADDER)),
        ),
        "settings.md": _page(SETTINGS, _table("flag | environment | default | means", _settings())),
        "metrics.md": _page(METRICS, _table("metric | type | labels | means", sorted(_metrics()))),
    }


def _kind(reason: Reason) -> str:
    return "delete" if reason.deletes else "warn" if reason.is_warning else "keep"


def _settings() -> Iterable[tuple[str, ...]]:
    for name, field in Settings.model_fields.items():
        yield f"`{flag(name)}`", f"`{variable(name)}`", _default(field.default), field.description or ""


def _default(value: object) -> str:
    if value in (None, "", frozenset()):
        return "none"
    text = format_duration(value) if isinstance(value, timedelta) else value.value if isinstance(value, Enum) else value
    return f"`{text}`"


def _metrics() -> Iterable[tuple[str, ...]]:
    metrics = Metrics()
    labels = {
        f.name: one._labelnames for one in vars(metrics).values() if isinstance(one, MetricWrapperBase) for f in one.describe()
    }
    metrics.watch(lambda: Snapshot(tracked=Counter(["any"]), held=Resources(), waiting=0, scheduled=0))
    for family in metrics.registry.collect():
        own = labels.get(family.name) or tuple(family.samples[0].labels) if family.type != "histogram" else ()
        yield f"`{family.name}{ENDING.get(family.type, '')}`", family.type, ", ".join(own) or "none", family.documentation


def _table(head: str, rows: Iterable[tuple[str, ...]]) -> str:
    columns = head.split(" | ")
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _page(*parts: str) -> str:
    return "\n\n".join((GENERATED, *parts)) + "\n"


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
