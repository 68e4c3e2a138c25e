"""How long a re-judgement of so many RayJobs takes, what holds the event loop, and the memory.

The RayJobs are those recorded from a real KubeRay (tests/samples), each parsed anew under its own
name. Store, schedule, cleaner, relist and policy reader are the operator's; the API server is a
value in memory and no Ray head is asked. Each count runs in a process of its own.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import aiohttp

from benchmarks import recorded
from benchmarks.processes import resident_mib
from benchmarks.report import Cell, Plot, Ratio, Report, Series, arguments, finish
from raysweep.cleanup.circuit_breaker import CircuitBreaker
from raysweep.cleanup.observe import Observer
from raysweep.clients.kubernetes.client import PolicyList
from raysweep.clients.kubernetes.pages import Page
from raysweep.clients.parsing.rayjob import parse_rayjob
from raysweep.controller import garbage, health, kopf_watch, snapshot
from raysweep.controller.cleaner import Cleaner
from raysweep.controller.metrics import Metrics
from raysweep.controller.policy_reader import PolicyReader
from raysweep.controller.relist import Relist
from raysweep.controller.reporter import Reporter
from raysweep.controller.store import Store
from raysweep.controller.workqueue import DelayingQueue
from raysweep.core.model.facts import Namespace, Policy, RayCluster, RayJob
from raysweep.core.model.parameters import DEFAULTS
from sandbox.ports import free_port
from sandbox.waiting import until
from tests.support.builders import namespace_json

ROOT = Path(__file__).parent.parent
COUNTS = "25000,50000,100000"
CHECK_COUNTS = "10000"
KINDS = (*recorded.FINISHED, "running", "suspended")
"""None of them is due before the Namespace's TTL of 30 days, so no head has to be asked."""
NAMESPACES = 10
POLICIES = 20
HEADS = 3_000
"""Heads that answered within the circuit breaker's window."""
SELECTING = 20
"""One in so many RayJobs of a count, for the row in which all select one cluster."""
PAGE = 200
JUDGED_AT = datetime(2026, 11, 23, tzinfo=UTC)
"""Hours after the recorded jobs ended."""
HOLD_BOUND_MS = 100.0
LINEAR_BOUND = 1.5
"""CPU time per judgement of the largest count, as a multiple of the smallest count's."""
JSON_BOUND = 20.0
"""CPU time per judgement, as a multiple of json.loads of one RayJob."""
PARSED = 2_000

COLUMNS = (
    "RayJobs",
    "KiB each",
    "step",
    "seconds",
    "CPU per judgement (us)",
    "longest hold (ms)",
)


@dataclass
class Step:
    """One thing that happens: seconds until nothing is due, and the longest hold of the loop.

    CPU time is that of the event loop's thread: a busy machine does not change it much.
    """

    name: str
    seconds: float
    cpu_seconds: float
    judged: int
    hold_ms: float  # CPU time of one turn of the loop

    @property
    def us_per_judgement(self) -> float:
        """Microseconds of CPU; 0 if nothing is judged."""
        return self.cpu_seconds * 1e6 / self.judged if self.judged else 0.0


@dataclass
class Run:
    """One count."""

    rayjobs: int
    kib_per_rayjob: float
    steps: list[Step]


@dataclass
class Facts:
    """What the API server would list."""

    rayjobs: tuple[RayJob, ...]
    rayclusters: tuple[RayCluster, ...]
    namespaces: tuple[Namespace, ...]
    policies: tuple[Policy, ...] = ()

    @classmethod
    def of(cls, count: int, *, selecting: bool = False) -> "Facts":
        """So many RayJobs; one in ten has a RayCluster. selecting: all select one cluster."""
        kinds = KINDS[:1] if selecting else KINDS
        texts = recorded.texts(kinds)
        rayjobs = tuple(_rayjob(texts[n % len(texts)], n, selecting) for n in range(count))
        rayclusters = tuple(_raycluster(rayjob) for rayjob in rayjobs[::10] if not selecting)
        namespaces = tuple(_namespace(number, "30d") for number in range(NAMESPACES))
        policies = tuple(_policy(number) for number in range(POLICIES))
        return cls(rayjobs, rayclusters, namespaces, policies)


def _rayjob(text: str, number: int, selecting: bool) -> RayJob:
    content = recorded.copy(text, number, f"team-{number % NAMESPACES}")
    if selecting:
        content["status"]["rayClusterName"] = "shared"
        content["spec"]["clusterSelector"] = {"ray.io/cluster": "shared"}
    return parse_rayjob(content)


def _raycluster(rayjob: RayJob) -> RayCluster:
    uid = rayjob.uid.replace("-4000-", "-4001-")
    name = rayjob.cluster_name
    return RayCluster(rayjob.namespace, name, uid, "1", controller_uid=rayjob.uid)


def _namespace(number: int, ttl: str) -> Namespace:
    name = f"team-{number % NAMESPACES}"
    return Namespace(name, f"uid-{name}", str(number), {"raysweep.io/ttl": ttl})


def _policy(number: int) -> Policy:
    times = {"limits.rayJob.max": timedelta(days=90)}
    written_at = JUDGED_AT - timedelta(days=1)
    return Policy(f"policy-{number}", f"uid-{number}", "1", written_at=written_at, times=times)


@dataclass
class Listed:
    """The API server as a value: the requests of Relist and PolicyReader."""

    facts: Facts

    async def policies(self) -> PolicyList:
        return PolicyList(self.facts.policies, "1")

    async def wait_for_policy_change(self, since: str, within: timedelta) -> None:
        """Returns at once: the reader's turn ends."""

    async def set_policy_status(self, policy: Policy, status: Mapping[str, Any]) -> None:
        """A condition is written."""

    async def namespaces(self) -> AsyncIterator[Page[Namespace]]:
        yield Page(self.facts.namespaces)

    async def rayclusters(self) -> AsyncIterator[Page[RayCluster]]:
        for begin in range(0, len(self.facts.rayclusters), PAGE):
            await asyncio.sleep(0)
            yield Page(self.facts.rayclusters[begin : begin + PAGE])

    async def rayjobs(self) -> AsyncIterator[Page[RayJob]]:
        for begin in range(0, len(self.facts.rayjobs), PAGE):
            await asyncio.sleep(0)
            yield Page(self.facts.rayjobs[begin : begin + PAGE])


@dataclass
class LoopProbe:
    """Takes a turn in each turn of the loop and notes the longest time between two."""

    longest_s: float = 0.0

    async def run(self) -> None:
        """Until it is canceled."""
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest_s = max(self.longest_s, now - last)
            last = now


@dataclass
class Controller:
    """The operator's parts without an API server."""

    facts: Facts
    begun: float = field(default_factory=time.monotonic)
    judged: int = 0

    def __post_init__(self) -> None:
        nobody = cast("Any", None)
        listed = cast("Any", Listed(self.facts))
        schedule = DelayingQueue(self.now)
        self.store = Store(schedule.add, schedule.add_all)
        self.metrics = Metrics()
        self.circuit_breaker = CircuitBreaker(self.uptime)
        observer = Observer(
            self.store,
            nobody,
            nobody,
            self.now,
            DEFAULTS,
            timedelta(minutes=1),
            self.uptime,
            JUDGED_AT,
            self.circuit_breaker,
        )
        reporter = Reporter(nobody, self.metrics, self.now)
        self.cleaner = Cleaner(observer, self.store, schedule, reporter, self.now)
        every, after_round = timedelta(minutes=5), self.cleaner.after_relist
        self.relist = Relist(
            listed, self.store, self.metrics, self.now, every, after_round, self.uptime
        )
        self.reader = PolicyReader(listed, self.store, reporter, self.now, every, self.uptime)
        self.metrics.watch(lambda: snapshot.take(self.cleaner, self.metrics))

    def uptime(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self.begun)

    def now(self) -> datetime:
        return JUDGED_AT + self.uptime()

    async def step(self, name: str, act: Callable[[], Awaitable[object]], judged: int) -> Step:
        """Acts, and waits until nothing is due, beside the judging loop and a probe of the loop."""
        probe = LoopProbe()
        probing = asyncio.create_task(probe.run())
        await asyncio.sleep(0)
        begun, cpu_begun = time.perf_counter(), time.thread_time()
        await act()
        await until(lambda: not self.cleaner.delaying_queue.overdue(), timeout=None, every=0.01)
        seconds, cpu_seconds = time.perf_counter() - begun, time.thread_time() - cpu_begun
        probing.cancel()
        return Step(name, seconds, cpu_seconds, judged, probe.longest_s * 1000)


async def _run(count: int) -> Run:
    garbage.configure()
    gc.collect()
    before = resident_mib(os.getpid())
    controller = Controller(Facts.of(count))
    async with _judging(controller):
        steps = [await controller.step("complete list", controller.relist.run_once, count)]
        gc.collect()
        memory = (resident_mib(os.getpid()) - before) * 1024 / count
        steps += await _changes(controller, count)
    steps.append(await _selecting(count // SELECTING))
    return Run(count, memory, steps)


async def _changes(controller: Controller, count: int) -> list[Step]:
    """What makes many RayJobs due for a judgement at once."""
    facts, cleaner = controller.facts, controller.cleaner
    generations = iter(range(2, 100))

    async def judge_all() -> None:
        cleaner.judge_all()
        cleaner.delaying_queue.add_all(
            cleaner.store.rayjobs.uids()
        )  # those too that have a time of their own

    async def change_policy() -> None:
        first, *others = facts.policies
        facts.policies = (replace(first, generation=next(generations)), *others)
        await controller.reader.run_once()

    async def change_namespace() -> None:
        number = next(generations)
        content = namespace_json("team-0", ttl=f"{30 + number}d")
        content["metadata"]["resourceVersion"] = str(number + 100)
        kopf_watch.on_namespace_event(controller.store, "MODIFIED", content)

    async def fill_brake() -> None:
        for number in range(HEADS):
            controller.circuit_breaker.record(
                f"team-{number % NAMESPACES}", f"head-{number}", is_usable=True
            )
        await asyncio.sleep(0)  # answers come between judgements, not within one
        await judge_all()

    async with _metrics_served(controller) as scrape:
        return [
            await controller.step("judge_all", judge_all, count),
            await controller.step("a policy changes", change_policy, count),
            await controller.step("a Namespace changes", change_namespace, count // NAMESPACES),
            await controller.step("complete list, known", controller.relist.run_once, 0),
            await controller.step("/metrics", scrape, 0),
            await controller.step(f"judge_all, {HEADS} heads", fill_brake, count),
        ]


async def _selecting(count: int) -> Step:
    controller = Controller(Facts.of(count, selecting=True))
    async with _judging(controller):
        await controller.relist.run_once()

        async def judge_all() -> None:
            for rayjob in controller.facts.rayjobs:
                controller.cleaner.delaying_queue.add(rayjob.uid)

        return await controller.step("judge_all, one cluster", judge_all, count)


@contextlib.asynccontextmanager
async def _judging(controller: Controller) -> AsyncIterator[None]:
    judging = asyncio.create_task(controller.cleaner.run_judgements())
    try:
        yield
    finally:
        judging.cancel()


@contextlib.asynccontextmanager
async def _metrics_served(
    controller: Controller,
) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Reads /metrics once, on loopback."""

    def fine() -> None:
        return None

    port = free_port()
    probes = health.Probes(fine, fine, controller.metrics.registry)
    async with health.serve(probes, "127.0.0.1", port), aiohttp.ClientSession() as session:

        async def scrape() -> None:
            async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                await response.read()

        yield scrape


def _in_a_process_of_its_own(count: int) -> Run:
    command = (sys.executable, "-m", "benchmarks.judgement", "--one", str(count))
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    content = json.loads(output)
    steps = [Step(**step) for step in content.pop("steps")]
    return Run(**content, steps=steps)


def _json_us() -> float:
    """Microseconds of CPU for json.loads of one RayJob as it was recorded."""
    texts = recorded.texts(KINDS)
    begun = time.process_time()
    for number in range(PARSED):
        json.loads(texts[number % len(texts)])
    return (time.process_time() - begun) * 1e6 / PARSED


def _report(runs: list[Run], json_us: float) -> Report:
    report = Report("judgement", "Judgements in memory by number of RayJobs", COLUMNS)
    for run in runs:
        report.rows += [_row(run, step) for step in run.steps]
        report.ratios += [_hold(run), _beside_json(run, json_us)]
    if len(runs) > 1:
        report.ratios += _growth(runs[0], runs[-1])
    report.notes = [
        f"json.loads of one RayJob takes {json_us:.0f} us of CPU in this run.",
        "There is no API server, and no head is asked. The longest hold is the CPU time of the "
        "longest turn of the event loop.",
    ]
    counts = [run.rayjobs for run in runs]
    judging = [position for position, step in enumerate(runs[0].steps) if step.judged]
    lines = [
        Series(
            runs[0].steps[position].name,
            counts,
            [run.steps[position].us_per_judgement for run in runs],
        )
        for position in judging
    ]
    parsing = Series("json.loads of one RayJob", counts, [json_us] * len(runs), "--")
    report.plot = Plot("RayJobs", "CPU per judgement (us)", [*lines, parsing])
    return report


def _row(run: Run, step: Step) -> list[Cell]:
    each = step.us_per_judgement or None
    return [run.rayjobs, run.kib_per_rayjob, step.name, step.seconds, each, step.hold_ms]


def _hold(run: Run) -> Ratio:
    longest = max(run.steps, key=lambda step: step.hold_ms)
    name = f"longest hold at {run.rayjobs:,} ({longest.name}) / {HOLD_BOUND_MS:.0f} ms"
    return Ratio(name, longest.hold_ms / HOLD_BOUND_MS, 1)


def _beside_json(run: Run, json_us: float) -> Ratio:
    judged = next(step for step in run.steps if step.name == "judge_all")
    name = f"CPU per judgement at {run.rayjobs:,} / json.loads of one RayJob"
    return Ratio(name, judged.us_per_judgement / json_us, JSON_BOUND)


def _growth(first: Run, last: Run) -> list[Ratio]:
    """CPU per judgement of the largest count beside the smallest one's."""
    return [
        Ratio(
            f"{small.name}: CPU per judgement at {last.rayjobs:,} / at {first.rayjobs:,}",
            large.us_per_judgement / small.us_per_judgement,
            LINEAR_BOUND,
        )
        for small, large in zip(first.steps, last.steps, strict=True)
        if small.judged
    ]


def main() -> int:
    """Prints the report; 1 if a ratio is outside its bound."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--counts", help=f"numbers of RayJobs, ascending ({COUNTS})")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(asdict(asyncio.run(_run(options.one)))))
        return 0
    counts = options.counts or (CHECK_COUNTS if options.check else COUNTS)
    runs = [_in_a_process_of_its_own(int(count)) for count in counts.split(",")]
    return finish(_report(runs, _json_us()), options)


if __name__ == "__main__":
    sys.exit(main())
