"""Makes the reference pages that the code knows by itself, and the table of recorded RayJobs. No person's prose enters a table.

`python docs/generate.py` writes them; with --check it writes nothing and fails where a page differs from the code.
"""

import json
import sys
from collections.abc import Iterable
from datetime import timedelta
from enum import Enum
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.metrics import MetricWrapperBase

from raysweep.clients.parsing import parse_rayjob
from raysweep.controller.metrics import NAMESPACE, Metrics, Snapshot
from raysweep.core.case import Case
from raysweep.core.decisions import AskHead, Decision, Question
from raysweep.core.durations import format_duration
from raysweep.core.facts import Namespace
from raysweep.core.ladder import LADDER, decide
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

SAMPLES = HERE.parent / "tests" / "unit" / "samples"
SAMPLES_BEGIN = "<!-- samples: made by `python docs/generate.py`; do not edit up to the end of the table -->"
SAMPLES_END = "<!-- end of samples -->"
SAMPLES_HEAD = (
    "recorded | its status | RayCluster goes after | RayJob goes after | "
    "when written | just before due | due | 62 s later | 10 years later"
)

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
        "concept.md": _filled((HERE / "concept.md").read_text(), _table(SAMPLES_HEAD, _samples())),
        "metrics.md": _page(METRICS, _table("metric | type | labels | means", sorted(_metrics()))),
    }


def _samples() -> Iterable[tuple[str, ...]]:
    """Each recorded RayJob in a Namespace with a ttl of an hour: what it is, when what goes by whose word, and five answers."""
    for path in sorted(SAMPLES.glob("rayjob-*.json")):
        rayjob = parse_rayjob(json.loads(path.read_text()))
        case = Case(rayjob, Namespace(rayjob.namespace, "", "", {"raysweep.io/ttl": "1h"}))
        written = rayjob.status_written_at
        assert written is not None, path
        due = case.due_at(written) if case.conclusion(written) else None
        due = due or written + timedelta(hours=1)
        points = (written, due - timedelta(microseconds=1), due, due + timedelta(seconds=62), due + timedelta(days=3650))
        status = f"{rayjob.deployment_status} {rayjob.job_status}".strip()
        answers = (_answer(decide(case, point)) for point in points)
        yield path.stem.removeprefix("rayjob-"), status, *_goes(case), *answers


def _goes(case: Case) -> tuple[str, str]:
    """cluster-ttl and ttl with the kind of their source."""
    written = case.rayjob.status_written_at
    if written is None or case.conclusion(written) is None:
        return "", ""
    kept = case.retention(written)
    told = [f"{format_duration(one.value)} ({_kind_of(one.source)})" for one in (kept.cluster_ttl, kept.ttl)]
    return ("" if case.rayjob.has_selector else told[0]), told[1]


def _kind_of(source: str) -> str:
    return "spec" if " spec." in source else "built in" if source.startswith("built in") else source.partition(" ")[0]


def _answer(decision: Decision) -> str:
    if isinstance(decision, AskHead):
        return "poll" if decision.question is Question.POLL else "AskHead"
    return f"`{decision.why.reason}`"


def _filled(text: str, table: str) -> str:
    """The page with the table between its two marks, whatever stood there."""
    before, begin, rest = text.partition(SAMPLES_BEGIN)
    _, end, after = rest.partition(SAMPLES_END)
    assert begin, "docs/concept.md lacks the mark where the table begins"
    assert end, "docs/concept.md lacks the mark where the table ends"
    return f"{before}{begin}\n{table}\n{end}{after}"


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
    metrics = Metrics(by_namespace=True)
    labels = {
        f.name: one._labelnames for one in vars(metrics).values() if isinstance(one, MetricWrapperBase) for f in one.describe()
    }
    metrics.watch(Snapshot)
    for family in metrics.registry.collect():
        own = labels.get(family.name) or getattr(family, "_labelnames", ()) or _of_info(family)
        told = ", ".join(f"({label})" if label == NAMESPACE else label for label in own)
        yield f"`{family.name}{ENDING.get(family.type, '')}`", family.type, told or "none", family.documentation


def _of_info(family: Metric) -> tuple[str, ...]:
    return tuple(family.samples[0].labels) if family.type == "info" else ()


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
