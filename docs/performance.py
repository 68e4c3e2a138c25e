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

LIMITS = {
    "bursts": """\
What limits it: all programs together use both cores the whole time, as the CPU seconds below show.
KubeRay's TTL sends one request for each RayCluster. With Pods, Raysweep sends five. For each of the
1,000 it needs 2.4 ms of CPU. A profile of that burst (py-spy 0.4, 250 samples a second) has no
large part: requests to the API server take 24 %, probes of heads 21 %, the watch 14 %, decisions
11 %, answers and TLS 9 %, the rest is the event loop. uvloop 0.23 in place of asyncio made the
burst 4 to 8 % faster, which does not justify a second event loop.""",
    "slowed": """\
What limits it: the burst needs CPU time of the same two cores. In seven runs on 2026-12-01 the
ratio was 1.11 to 1.25. In three of them 100 or 150 ms counted as slow instead of 300 ms. The
smaller windows (down to 8) made it no better.""",
}
"""What limits missed goals, by benchmark. The page shows it only if a goal is missed."""

KUBERAY = "1.6.2"
"""The version of the real KubeRay that the results were measured with."""
P99, LAST_POD = "p99 s", "last Pod ended s"
FIGURES = (
    ("5 due in each second: 99 % deleted", "due", P99, ("KubeRay", "5"), ("Raysweep", "5")),
    ("200 due at once: 99 % deleted", "bursts", P99, ("KubeRay",), ("Raysweep, RayClusters",)),
    (
        "200 due at once: last Pod gone (with `delete-pods`)",
        "bursts",
        LAST_POD,
        ("KubeRay",),
        ("Raysweep, RayJobs, RayClusters and Pods",),
    ),
)
"""The figures of the README: a description, the benchmark, the column, and how two rows begin."""

INTRODUCTION = f"""\
# Performance

This page shows figures of the benchmarks that `make bench` runs. A figure alone says more about the
machine than about Raysweep, so each benchmark measures a yardstick in the same run. Only ratios
have bounds.
`make bench-check` runs short forms of some benchmarks, with looser bounds, since other programs
disturb a short run more.
[Sizing and isolation](sizing-and-isolation.md) says what follows for your cluster.

All programs of a cluster share the two cores: the API server, etcd, KubeRay, the garbage collector,
the Ray heads, Raysweep, and the benchmark. kube-controller-manager has its default rates. KubeRay
is version {KUBERAY}."""


def page(results: Path) -> str:
    """The page without its mark. Raises FileNotFoundError if a benchmark has no JSON file."""
    read = [json.loads((results / f"{name}.json").read_text()) for name in SECTIONS]
    parts = [INTRODUCTION, *_machines(read)]
    for result in read:
        parts += _section(result)
    return "\n\n".join(parts)


def beside_kuberay(results: Path) -> list[tuple[str, str, str]]:
    """Descriptions, KubeRay's time after the due second, and that of Raysweep."""
    rows = []
    for description, name, column, *keys in FIGURES:
        result = json.loads((results / f"{name}.json").read_text())
        theirs, ours = (_cell(result, key, column) for key in keys)
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
    if name in LIMITS and not all(ratio["is_met"] for ratio in result["ratios"]):
        yield LIMITS[name]
    yield f"![{title}](../assets/benchmarks/{name}.png)"
    if result["notes"]:
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
