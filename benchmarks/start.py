"""What a start costs by the number of recorded RayJobs, beside a bare list of the same RayJobs.

The RayJobs have finished and are not due, so no head is asked. Each count is measured by an
operator of its own. When it has judged all RayJobs and is idle, a changed policy makes it judge
them all again.
"""

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import children, filling, recorded
from benchmarks.bare import Cost
from benchmarks.filling import NAMESPACES, say
from benchmarks.processes import cpu_seconds, cpu_wait_seconds, peak_mib, resident_mib
from benchmarks.report import Plot, Ratio, Report, Series, arguments, finish
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.operator_process import Operator, deploy, running_operator

COUNTS = "1000,10000,30000,100000"
CHECK_COUNTS = "2000"
LISTS = 3
WITHIN = 3600.0
"""Seconds after which a run fails."""

START_BOUND = 4.0
SMALL, SETTLED_BOUND, PEAK_BOUND = 10_000, 120, 135
LARGE, LARGE_BOUND = 100_000, 700
HOLD_BOUND_MS = 100
JUDGEMENT_BOUND_MS = 1
CHECK_CPU_BOUND = 10.0
"""CPU seconds until all are judged, as a multiple of a bare list's. Only for --check, in which the
start of the program is a large part of the time."""

COLUMNS = (
    "RayJobs",
    "bare list (s)",
    "its CPU (s)",
    "ready (s)",
    "all judged (s)",
    "CPU until then (s)",
    "without a CPU (s)",
    "CPU until idle (s)",
    "peak (MiB)",
    "settled (MiB)",
    "longest hold (ms)",
    "judged again (s)",
    "CPU each (ms)",
)


@dataclass
class Start:
    """One operator: seconds since its start, CPU seconds, MiB."""

    ready_s: float = 0.0
    judged_s: float = 0.0
    judged_cpu_s: float = 0.0
    without_cpu_s: float = 0.0
    idle_cpu_s: float = 0.0
    peak_mib: float = 0.0
    settled_mib: float = 0.0
    hold_ms: float = 0.0
    again_s: float = 0.0
    again_cpu_s: float = 0.0


@dataclass
class Run:
    """One count: the operator and its yardstick."""

    rayjobs: int
    bare: Cost
    start: Start

    @property
    def again_ms(self) -> float:
        """CPU milliseconds for each RayJob that is judged again."""
        return self.start.again_cpu_s * 1000 / self.rayjobs


async def _main(counts: list[int]) -> list[Run]:
    async with filling.large_cluster() as cluster:
        kubeconfig = await deploy(cluster)
        await filling.serve_one_version(cluster)
        await filling.create_namespaces(cluster)
        await filling.create_policies(cluster)
        runs = []
        for previous, count in zip([0, *counts], counts, strict=False):
            await filling.create_rayjobs(cluster, range(previous, count))
            runs.append(await _run(cluster, kubeconfig, count))
        return runs


async def _run(cluster: Cluster, kubeconfig: Path, count: int) -> Run:
    await filling.set_retention(cluster, "90d")
    costs = [await children.bare_list(cluster.kubeconfig) for _ in range(LISTS)]
    assert {cost.count for cost in costs} == {count}
    costs.sort(key=lambda cost: cost.seconds)
    bare = costs[len(costs) // 2]
    say(f"bare list: {bare}, CPU {median(cost.cpu_seconds for cost in costs):.2f} s")
    begun, start = time.monotonic(), Start()
    starting = running_operator(cluster, kubeconfig, ready=False, leader_election="false")
    async with starting as operator, children.probe(operator) as samples:
        await _start(operator, start, count, begun)
        await _judge_again(cluster, operator, start, count)
    start.hold_ms = samples["hold_s"] * 1000
    say(f"probe: {samples}")
    say(str(start))
    return Run(count, bare, start)


async def _start(operator: Operator, start: Start, count: int, begun: float) -> None:
    pid = operator.process.pid
    await until(operator.is_ready, timeout=WITHIN)
    start.ready_s = time.monotonic() - begun
    say(f"ready after {start.ready_s:.1f} s")
    await _until_judged(operator, "NotDue", count)
    start.judged_s, start.judged_cpu_s = time.monotonic() - begun, cpu_seconds(pid)
    start.without_cpu_s = cpu_wait_seconds(pid)
    say(f"all judged after {start.judged_s:.1f} s")
    await filling.until_idle(pid)
    start.idle_cpu_s = cpu_seconds(pid)
    start.peak_mib, start.settled_mib = peak_mib(pid), resident_mib(pid)


async def _judge_again(cluster: Cluster, operator: Operator, start: Start, count: int) -> None:
    begun, cpu_begun = time.monotonic(), cpu_seconds(operator.process.pid)
    await filling.set_retention(cluster, None)
    await _until_judged(operator, "NoTTL", count)
    start.again_s = time.monotonic() - begun
    start.again_cpu_s = cpu_seconds(operator.process.pid) - cpu_begun


async def _until_judged(operator: Operator, reason: str, count: int) -> None:
    """Asks more rarely if there are many RayJobs, since each answer counts all of them."""

    async def are_judged() -> bool:
        return await operator.metric("raysweep_rayjobs", reason=reason) >= count

    await until(are_judged, timeout=WITHIN, every=max(0.1, count / 50_000))


def _report(runs: list[Run], *, is_check: bool) -> Report:
    report = Report("start", "Start, memory and a changed policy by number of RayJobs", COLUMNS)
    report.rows = [_row(run) for run in runs]
    for run in runs:
        report.ratios += _check_ratios(run) if is_check else _ratios(run)
    samples = list(recorded.copies(range(len(recorded.FINISHED)), NAMESPACES))
    report.notes = [
        f"A RayJob has {recorded.kib(samples):.1f} KiB of JSON on average, of which half is "
        "managedFields. There are 50 Namespaces and 20 policies.",
        f"The bare list reads pages of 500, parses their JSON and keeps nothing. It is the median "
        f"of {LISTS} lists. Its time starts after its imports, that of the operator before the "
        "start of its process.",
        "Longest hold: the longest wait of a process that asks for /livez every 20 ms, without the "
        "time for which one of both waited for a CPU.",
        "The operator shares the cores with the API server, etcd and the process that measures. "
        "Without a CPU: how long it was ready to work until all were judged, and had no core.",
    ]
    report.plot = Plot(
        "RayJobs",
        "seconds",
        [
            Series("all judged", *_points(runs, lambda run: run.start.judged_s)),
            Series("ready", *_points(runs, lambda run: run.start.ready_s)),
            Series("judged again", *_points(runs, lambda run: run.start.again_s)),
            Series("bare list", *_points(runs, lambda run: run.bare.seconds), "--"),
        ],
        log=True,
    )
    report.second_plot = Plot(
        "RayJobs",
        "MiB",
        [
            Series("peak", *_points(runs, lambda run: run.start.peak_mib)),
            Series("settled", *_points(runs, lambda run: run.start.settled_mib)),
            Series("peak of the bare list", *_points(runs, lambda run: run.bare.peak_mib), "--"),
        ],
        log=True,
    )
    return report


def _points(runs: list[Run], value: Any) -> tuple[list[float], list[float]]:
    return [run.rayjobs for run in runs], [value(run) for run in runs]


def _row(run: Run) -> list[float | int]:
    start = run.start
    return [
        run.rayjobs,
        run.bare.seconds,
        run.bare.cpu_seconds,
        start.ready_s,
        start.judged_s,
        start.judged_cpu_s,
        start.without_cpu_s,
        start.idle_cpu_s,
        start.peak_mib,
        start.settled_mib,
        start.hold_ms,
        start.again_s,
        run.again_ms,
    ]


def _ratios(run: Run) -> list[Ratio]:
    count, start = f"{run.rayjobs:,}", run.start
    ratios = [
        Ratio(f"longest hold at {count} / {HOLD_BOUND_MS} ms", start.hold_ms / HOLD_BOUND_MS, 1),
        Ratio(
            f"CPU for each RayJob judged again at {count} / {JUDGEMENT_BOUND_MS} ms",
            run.again_ms / JUDGEMENT_BOUND_MS,
            1,
        ),
    ]
    if run.rayjobs >= SMALL:
        speed = start.judged_s / run.bare.seconds
        ratios.append(Ratio(f"all judged / bare list of {count}", speed, START_BOUND))
    if run.rayjobs == SMALL:
        settled, peak = start.settled_mib / SETTLED_BOUND, start.peak_mib / PEAK_BOUND
        ratios.append(Ratio(f"settled memory at {count} / {SETTLED_BOUND} MiB", settled, 1))
        ratios.append(Ratio(f"peak memory at {count} / {PEAK_BOUND} MiB", peak, 1))
    if run.rayjobs == LARGE:
        peak = start.peak_mib / LARGE_BOUND
        ratios.append(Ratio(f"peak memory at {count} / {LARGE_BOUND} MiB", peak, 1))
    return ratios


def _check_ratios(run: Run) -> list[Ratio]:
    """CPU time, because it depends less than time on what else the machine does."""
    count, bare = f"{run.rayjobs:,}", run.bare.cpu_seconds
    start = Ratio(
        f"CPU until all judged / CPU of a bare list of {count}",
        run.start.judged_cpu_s / bare,
        CHECK_CPU_BOUND,
    )
    return [start]


def main() -> int:
    """Prints the report; 1 if a ratio is outside its bound."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--counts", help=f"numbers of RayJobs, ascending ({COUNTS})")
    options = parser.parse_args()
    counts = options.counts or (CHECK_COUNTS if options.check else COUNTS)
    runs = asyncio.run(_main([int(count) for count in counts.split(",")]))
    return finish(_report(runs, is_check=options.check), options)


if __name__ == "__main__":
    sys.exit(main())
