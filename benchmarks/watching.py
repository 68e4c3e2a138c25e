"""What a steady stream of watch events costs, beside a bare watch of the same events.

The events are changes of the status of finished RayJobs that are not due. Every five seconds a
RayJob is created that is due: the lag is the time from this write to its DELETE.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks import children, etcd, filling, recorded
from benchmarks.bare import WRITTEN_AT
from benchmarks.children import BareWatch
from benchmarks.filling import NAMESPACES, say
from benchmarks.processes import cpu_seconds, cpu_wait_seconds, resident_mib
from benchmarks.report import Cell, Plot, Ratio, Report, Series, arguments, finish, quantile
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.operator_process import Operator, deploy, running_operator
from tests.support.workbench import utc_now

RAYJOBS = 2_000
PER_SECOND = 50
CHANGED_ONCE = RAYJOBS / PER_SECOND
"""Seconds until each RayJob has changed, and what is kept of it has come from an event."""
SECONDS, CHECK_SECONDS = 300, 60
DUE_EVERY = 5.0
OVERDUE = timedelta(seconds=5)
SAMPLE_EVERY = 5.0
REST = 10.0
"""Seconds between the first judgements and the first event, and before the last look at memory."""

CPU_BOUND = 10.0
MEMORY_BOUND = 1.1
"""A complete list, which comes every five minutes, may add some."""
HOLD_BOUND_MS = 100
LAG_BOUND = 1.0


@dataclass
class Samples:
    """CPU in percent of a core and memory in MiB, by seconds since the first event."""

    at: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    bare_cpu: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)


@dataclass
class Run:
    """What was measured. The lags are in seconds, and `undeleted` RayJobs have none."""

    seconds: float
    events: int
    samples: Samples
    cpu_s: float
    bare_cpu_s: float
    without_cpu_s: float
    begin_mib: float
    end_mib: float
    bare_mib: float
    bare_lags: list[float]
    lags: list[float]
    undeleted: int
    hold_ms: float = 0.0

    @property
    def changed_mib(self) -> float:
        """Memory when each RayJob has changed once."""
        samples = zip(self.samples.at, self.samples.mib, strict=True)
        return next(mib for second, mib in samples if second >= CHANGED_ONCE)


async def _main(seconds: int) -> Run:
    async with filling.large_cluster() as cluster:
        kubeconfig = await deploy(cluster)
        await filling.serve_one_version(cluster)
        await filling.create_namespaces(cluster)
        await filling.create_policies(cluster)
        await filling.set_retention(cluster, "90d")
        await filling.create_rayjobs(cluster, range(RAYJOBS))
        async with _ready(cluster, kubeconfig) as operator, children.probe(operator) as samples:
            run = await _measured(cluster, operator, seconds)
        run.hold_ms = samples["hold_s"] * 1000
        say(f"probe: {samples}")
        return run


@contextlib.asynccontextmanager
async def _ready(cluster: Cluster, kubeconfig: Path) -> AsyncIterator[Operator]:
    """An operator that has judged all RayJobs and is idle."""
    async with running_operator(cluster, kubeconfig, leader_election="false") as operator:

        async def are_judged() -> bool:
            return await operator.metric("raysweep_rayjobs", reason="NotDue") >= RAYJOBS

        await until(are_judged, timeout=300, every=0.5)
        await asyncio.sleep(REST)
        yield operator


async def _measured(cluster: Cluster, operator: Operator, seconds: int) -> Run:
    pid, created_at, samples = operator.process.pid, dict[str, datetime](), Samples()
    async with children.bare_watch(cluster.kubeconfig) as bare:
        await asyncio.sleep(1)  # its imports
        begin_mib = resident_mib(pid)
        begun, cpu, bare_cpu = time.monotonic(), cpu_seconds(pid), cpu_seconds(bare.pid)
        without_cpu = cpu_wait_seconds(pid)
        sampling = asyncio.create_task(_sample(samples, pid, bare))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_change_statuses(cluster, seconds))
            tasks.create_task(_create_due(cluster, seconds, created_at))
        took = time.monotonic() - begun
        await asyncio.sleep(REST)
        sampling.cancel()
        cpu, bare_cpu = cpu_seconds(pid) - cpu, cpu_seconds(bare.pid) - bare_cpu
        without_cpu = cpu_wait_seconds(pid) - without_cpu
    assert bare.cost
    lags = await _lags(cluster, created_at)
    return Run(
        seconds=took,
        events=bare.cost.count,
        samples=samples,
        cpu_s=cpu,
        bare_cpu_s=bare_cpu,
        without_cpu_s=without_cpu,
        begin_mib=begin_mib,
        end_mib=resident_mib(pid),
        bare_mib=bare.cost.peak_mib,
        bare_lags=bare.cost.lags,
        lags=lags,
        undeleted=len(created_at) - len(lags),
    )


async def _change_statuses(cluster: Cluster, seconds: int) -> None:
    """Writes to etcd, since patches through the API server would keep this machine busy.

    Each change has a text of its own, from which the bare watch computes its lag.
    """
    begun = time.monotonic()
    bodies = list(recorded.copies(range(RAYJOBS), NAMESPACES))
    async with etcd.session() as session:
        for number in range(seconds * PER_SECOND):
            await asyncio.sleep(max(begun + number / PER_SECOND - time.monotonic(), 0))
            body = bodies[number % len(bodies)]
            body["status"]["message"] = f"{WRITTEN_AT}{time.time()}"
            await etcd.write(session, cluster.etcd, [body])


async def _create_due(cluster: Cluster, seconds: int, created_at: dict[str, datetime]) -> None:
    begun = time.monotonic()
    for number in range(RAYJOBS, RAYJOBS + round(seconds / DUE_EVERY)):
        await asyncio.sleep(max(begun + len(created_at) * DUE_EVERY - time.monotonic(), 0))
        created_at[f"train-{number}"] = utc_now()
        ended_at = utc_now() - OVERDUE
        rayjobs = recorded.due(range(number, number + 1), NAMESPACES, ended_at)
        await etcd.put(cluster.etcd, rayjobs)


async def _sample(samples: Samples, pid: int, bare: BareWatch) -> None:
    begun, cpu, bare_cpu = time.monotonic(), cpu_seconds(pid), cpu_seconds(bare.pid)
    while True:
        last = time.monotonic()
        await asyncio.sleep(SAMPLE_EVERY)
        percent = 100 / (time.monotonic() - last)
        before, bare_before = cpu, bare_cpu
        cpu, bare_cpu = cpu_seconds(pid), cpu_seconds(bare.pid)
        samples.at.append(time.monotonic() - begun)
        samples.cpu.append((cpu - before) * percent)
        samples.bare_cpu.append((bare_cpu - bare_before) * percent)
        samples.mib.append(resident_mib(pid))


async def _lags(cluster: Cluster, created_at: dict[str, datetime]) -> list[float]:
    """Of the RayJobs that were deleted, from the audit log of the API server."""
    deleted_at: dict[str, datetime] = {}
    for event in await cluster.audit("raysweep"):
        reference = event.get("objectRef", {})
        if event["verb"] == "delete" and reference.get("resource") == "rayjobs":
            received = datetime.fromisoformat(event["requestReceivedTimestamp"])
            deleted_at.setdefault(reference["name"], received)
    common = created_at.keys() & deleted_at.keys()
    return [(deleted_at[name] - created_at[name]).total_seconds() for name in common]


def _report(run: Run) -> Report:
    samples = run.samples
    cpu = [
        Series("Raysweep", samples.at, samples.cpu),
        Series("bare watch", samples.at, samples.bare_cpu, "--"),
    ]
    return Report(
        "watching",
        f"{PER_SECOND} watch events a second for {run.seconds:.0f} seconds, {RAYJOBS:,} RayJobs",
        ("figure", "Raysweep", "bare watch"),
        rows=_rows(run),
        ratios=_ratios(run),
        notes=_notes(run),
        plot=Plot("seconds", "CPU (% of a core)", cpu),
        second_plot=Plot("seconds", "MiB", [Series("memory", samples.at, samples.mib)]),
    )


def _rows(run: Run) -> list[Sequence[Cell]]:
    return [
        ("events", None, run.events),
        ("events a second", None, run.events / run.seconds),
        ("CPU (% of a core)", _percent(run.cpu_s, run), _percent(run.bare_cpu_s, run)),
        ("CPU for each event (ms)", *(_each(cpu, run) for cpu in (run.cpu_s, run.bare_cpu_s))),
        ("ready, but without a CPU (% of the time)", _percent(run.without_cpu_s, run), None),
        ("memory at the begin (MiB)", run.begin_mib, None),
        ("memory when each RayJob has changed (MiB)", run.changed_mib, None),
        ("memory at the end (MiB)", run.end_mib, run.bare_mib),
        ("longest hold (ms)", run.hold_ms, None),
        ("lag p50 (s)", _lag(run, 0.5), quantile(run.bare_lags, 0.5)),
        ("lag p99 (s)", _lag(run, 0.99), quantile(run.bare_lags, 0.99)),
        ("lag max (s)", _lag(run, 1), max(run.bare_lags)),
        ("not deleted", run.undeleted, None),
    ]


def _ratios(run: Run) -> list[Ratio]:
    beyond = _lag(run, 0.99) - quantile(run.bare_lags, 0.99)
    return [
        Ratio("CPU / CPU of the bare watch", run.cpu_s / run.bare_cpu_s, CPU_BOUND),
        Ratio(
            "memory at the end / when each RayJob has changed",
            run.end_mib / run.changed_mib,
            MEMORY_BOUND,
        ),
        Ratio(f"longest hold / {HOLD_BOUND_MS} ms", run.hold_ms / HOLD_BOUND_MS, 1),
        Ratio(f"lag p99 beyond that of the bare watch / {LAG_BOUND:g} s", beyond / LAG_BOUND, 1),
    ]


def _notes(run: Run) -> list[str]:
    return [
        f"The lag is that of {len(run.lags)} RayJobs that were due when they were created, one "
        f"every {DUE_EVERY:g} s, until their DELETE. They have no RayCluster. The lag of the bare "
        "watch is that of all events, until they are parsed.",
        "The bare watch parses the JSON of each event and keeps nothing.",
        "Longest hold: the longest wait of a process that asks for /livez every 20 ms, without the "
        "time for which one of both waited for a CPU.",
    ]


def _lag(run: Run, share: float) -> float:
    """Infinite if nothing was deleted."""
    return quantile(run.lags or [float("inf")], share)


def _percent(cpu_s: float, run: Run) -> float:
    return 100 * cpu_s / run.seconds


def _each(cpu_s: float, run: Run) -> float:
    return 1000 * cpu_s / run.events


def main() -> int:
    """Prints the report; 1 if a ratio is outside its bound."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--seconds", type=int, help=f"length of the run ({SECONDS})")
    options = parser.parse_args()
    seconds = options.seconds or (CHECK_SECONDS if options.check else SECONDS)
    return finish(_report(asyncio.run(_main(seconds))), options)


if __name__ == "__main__":
    sys.exit(main())
