"""Builds docs/explanation/performance.md and figures of the README from results of `make bench`.

benchmarks/report.py describes the JSON files.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]

SECTIONS = {
    "due": "How late deletions are at a steady rate, beside KubeRay's own TTL.",
    "bursts": "How late they are if many RayJobs are due in the same second, and when Pods end.",
    "silent": "What heads that hang cost the other RayJobs.",
    "slowed": "Whether Raysweep backs off from a slow API server, and who else pays.",
    "traffic": "What Raysweep asks the API server for.",
    "start": "What an operator needs until it has judged all RayJobs, and after a changed policy.",
    "judgement": "What decisions cost without an API server, and what holds the event loop.",
    "watching": "What a steady stream of changed RayJobs costs.",
    "waves": "Whether memory stays flat when many RayJobs come and go.",
}
"""The benchmarks in the order of the page, each with its introduction."""

FIGURES = (
    ("5 RayClusters due in each second", "due", ("KubeRay", "5"), ("Raysweep", "5")),
    ("200 due in the same second", "bursts", ("KubeRay",), ("Raysweep, RayClusters",)),
    (
        "60 due in the same second, beside 20 whose heads hang (KubeRay: measured once)",
        "silent",
        ("KubeRay, measured once",),
        ("60 beside 20 that hang",),
    ),
)
"""The figures of the README: a description, the benchmark, and the first cells of two rows."""

INTRODUCTION = """\
# Performance

This page shows figures of the benchmarks that `make bench` runs. A figure alone says more about the
machine than about Raysweep, so each benchmark measures a yardstick in the same run. Only ratios
have bounds.
`make bench-check` runs short forms of some benchmarks. It fails if a ratio is 1.5 times worse than
its bound, since other programs disturb a short run more.
[Sizing and isolation](sizing-and-isolation.md) says what follows for your cluster.

All programs of a cluster share the two cores: the API server, etcd, KubeRay, the garbage collector,
the Ray heads, Raysweep, and the benchmark. kube-controller-manager has its default rates."""


def page(results: Path) -> str:
    """The page without its mark. Raises FileNotFoundError if a benchmark has no JSON file."""
    read = [json.loads((results / f"{name}.json").read_text()) for name in SECTIONS]
    parts = [INTRODUCTION, *_machines(read)]
    for result in read:
        parts += _section(result)
    return "\n\n".join(parts)


def beside_kuberay(results: Path) -> list[tuple[str, str, str]]:
    """Descriptions, KubeRay's p99 lag, and that of Raysweep, in seconds."""
    rows = []
    for description, name, *keys in FIGURES:
        result = json.loads((results / f"{name}.json").read_text())
        theirs, ours = (_cell(result, key, "p99 s") for key in keys)
        rows.append((description, f"{theirs} s", f"{ours} s"))
    return rows


def _cell(result: Result, key: Sequence[str], column: str) -> str:
    """The cell of the only row that begins with these cells."""
    [row] = [row for row in result["rows"] if tuple(row[: len(key)]) == tuple(key)]
    cell: str = row[result["columns"].index(column)]
    return cell


def _machines(results: Sequence[Result]) -> Iterator[str]:
    """Each machine once: usually all results are from the same one."""
    for machine in dict.fromkeys(_machine(result["machine"]) for result in results):
        yield f"Machine: {machine}."


def _machine(machine: Mapping[str, Any]) -> str:
    cores, memory = machine["cores"], machine["memoryGiB"]
    versions = f"Linux {machine['kernel']}, Python {machine['python']}"
    return f"{cores} cores ({machine['processor']}), {memory} GiB of memory, {versions}"


def _section(result: Result) -> Iterator[str]:
    name, title = result["name"], result["title"]
    yield f"## {title}"
    yield SECTIONS[name]
    yield f"`{result['command']}` measured this on {result['measuredAt']}."
    yield table(result["columns"], result["rows"])
    yield table(("ratio", "value", "bound", "met"), map(_ratio, result["ratios"]))
    yield f"![{title}](../assets/benchmarks/{name}.png)"
    yield "\n".join(f"- {note}" for note in result["notes"])


def _ratio(ratio: Mapping[str, Any]) -> tuple[str, ...]:
    relation = "at least" if ratio["is_minimum"] else "at most"
    return (
        ratio["name"],
        f"{ratio['value']:.2f}",
        f"{relation} {ratio['bound']:g}",
        "yes" if ratio["is_met"] else "**no**",
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(_line(cells) for cells in [columns, ["---"] * len(columns), *rows])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
