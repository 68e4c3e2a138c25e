"""A burst of deletions at an API server that is slow: does Raysweep back off, and who pays?

`python -m benchmarks.slowed [--write] [--check]`. Many RayJobs are due in the same second, without
KubeRay.

- Slow connection: one second after the begin of a burst, a relay begins to hold each response to
  Raysweep for 500 ms, and ends 15 seconds later. A note has the requests in each second.
- Slow API server: it is stopped 300 of each 500 ms, for all clients. Another client
  reads one object 20 times a second. The yardsticks are its latencies without a burst, and beside a
  bare client that sends the same requests, 64 at once.

--check measures 300 at the slow API server.
"""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import mean

from benchmarks import bare_deletions, filling, report, steady
from benchmarks.audit import received_at
from benchmarks.finished import FinishedJobs
from benchmarks.report import Plot, Ratio, Report
from benchmarks.runs import Outcome, Run
from sandbox.cluster import Cluster
from tests.support.network_faults import Relay, through
from tests.support.operator_process import deploy

NAMESPACES = 10
LARGE, SMALL = 1000, 300
DELAY = 0.5
SLOW_AFTER, SLOW_FOR = 2.0, 15.0
"""Seconds. It begins so long after the second before the due time."""
SHOWN_SECONDS = 30
WINDOW = "raysweep_congestion_window"
STOPPED, RUNNING = 0.3, 0.2
"""Seconds of the cycle of the slow API server."""
QUIET = 15.0
"""Seconds that are measured without a burst."""
BARE_CONCURRENCY = 64
BARE = f"bare client, {BARE_CONCURRENCY} at once"
LATENCY_BOUND = 1.1
"""The other client's mean latency as a multiple of the one without a burst."""
MILLISECONDS = 1000


@dataclass
class Slowed:
    """One sandbox for all runs, and what was measured so far."""

    cluster: Cluster
    kubeconfig: Path
    count: int
    delayed: Outcome | None = None
    slowed: Outcome | None = None
    latencies: dict[str, list[float]] = field(default_factory=dict)
    """Of the other client in seconds, by what ran beside it."""

    async def slow_connection(self) -> None:
        """Delays the responses to Raysweep in the middle of its burst."""
        delayed_jobs = self._jobs("delayed", self.count)
        async with Relay.to(self.cluster.server) as relay, delayed_jobs as jobs:
            run = Run(self.cluster, metric=WINDOW, beside=lambda: delayed(relay))
            kubeconfig = through(relay, self.kubeconfig)
            self.delayed = await run.with_operator(kubeconfig, jobs.due_from)

    async def slow_server(self) -> None:
        """Measures the other client alone, beside Raysweep, and beside the bare client."""
        async with self._jobs("read", 1, 1) as others:
            path = others.labs[0].path("rayjobs", "job-0")
            async with self._measured("no burst", path):
                await asyncio.sleep(QUIET)
            async with self._jobs("slowed", self.count) as jobs:
                measured = self._measured("Raysweep", path)
                run = Run(self.cluster, metric=WINDOW, beside=lambda: measured)
                self.slowed = await run.with_operator(self.kubeconfig, jobs.due_from)
            async with self._jobs("bare", self.count) as jobs:
                namespaces = [lab.namespace for lab in jobs.labs]
                found = [await bare_deletions.pairs(self.cluster, each) for each in namespaces]
                pairs = [pair for some in found for pair in some]
                async with self._measured(BARE, path):
                    await bare_deletions.delete(self.cluster, pairs, BARE_CONCURRENCY, heads=True)

    @contextlib.asynccontextmanager
    async def _jobs(
        self, prefix: str, count: int, namespaces: int = NAMESPACES
    ) -> AsyncIterator[FinishedJobs]:
        names = [f"{prefix}-{number}" for number in range(namespaces)]
        async with FinishedJobs.in_namespaces(self.cluster, names) as jobs:
            await jobs.create(count // namespaces)
            yield jobs

    @contextlib.asynccontextmanager
    async def _measured(self, label: str, path: str) -> AsyncIterator[None]:
        """Slows the API server during the block, and measures the other client."""
        async with slow(self.cluster), steady.reading(self.cluster, path) as latencies:
            yield
        self.latencies[label] = latencies


@contextlib.asynccontextmanager
async def slow(cluster: Cluster) -> AsyncIterator[None]:
    """Stops the API server for most of the time, in short turns."""

    async def take_turns() -> None:
        while True:
            await cluster.suspend_apiserver()
            await asyncio.sleep(STOPPED)
            await cluster.resume_apiserver()
            await asyncio.sleep(RUNNING)

    turns = asyncio.create_task(take_turns())
    try:
        yield
    finally:
        turns.cancel()
        await cluster.resume_apiserver()


@contextlib.asynccontextmanager
async def delayed(relay: Relay) -> AsyncIterator[None]:
    """Delays the responses that pass a relay for SLOW_FOR, from SLOW_AFTER on."""

    async def begin() -> None:
        await asyncio.sleep(SLOW_AFTER)
        relay.answer_delay = DELAY
        await asyncio.sleep(SLOW_FOR)
        relay.answer_delay = 0.0

    beginning = asyncio.create_task(begin())
    try:
        yield
    finally:
        beginning.cancel()
        relay.answer_delay = 0.0


def as_report(slowed: Slowed) -> Report:
    """The table, the bounds and the plot."""
    result = Report(
        "slowed",
        "Another client's reads at a slow API server, beside a burst of deletions",
        ("beside", "reads", "mean ms", "p50 ms", "p99 ms"),
    )
    for label, latencies in slowed.latencies.items():
        values = [MILLISECONDS * each for each in latencies]
        middle = [mean(values), report.quantile(values, 0.5), report.quantile(values, 0.99)]
        result.rows.append([label, len(values), *middle])
    quiet = mean(slowed.latencies["no burst"])
    share = mean(slowed.latencies["Raysweep"]) / quiet
    name = "another client's mean latency beside Raysweep's burst / without a burst"
    result.ratios = [Ratio(name, share, LATENCY_BOUND)]
    assert slowed.slowed
    result.notes = [_smallest_note(slowed.slowed)]
    if slowed.delayed:
        result.notes += [_requests_note(slowed.delayed), _window_note(slowed.delayed)]
    lines = [
        report.distribution(label, [MILLISECONDS * each for each in latencies])
        for label, latencies in slowed.latencies.items()
    ]
    result.plot = Plot("milliseconds of a read of another client", "% of reads", lines)
    return result


def _smallest_note(outcome: Outcome) -> str:
    start = min(outcome.due.values())
    smallest = min(value for time, value in outcome.samples if time >= start)
    return f"At the slow API server the congestion window fell to {smallest:.1f}."


def _requests_note(outcome: Outcome) -> str:
    """Requests in each second of the burst, as the API server received them."""
    start = min(outcome.due.values())
    seconds = [int((received_at(each) - start).total_seconds()) for each in outcome.requests]
    counts = [seconds.count(second) for second in range(max(seconds) + 1)]
    shown = ", ".join(str(count) for count in counts[:SHOWN_SECONDS])
    return (
        f"With responses delayed by {DELAY * MILLISECONDS:.0f} ms for {SLOW_FOR:.0f} s from second "
        f"{SLOW_AFTER - 1:.0f} on, Raysweep sent so many requests in each second: {shown}."
    )


def _window_note(outcome: Outcome) -> str:
    """The congestion window before the delay, and how long after its begin it was half of that."""
    begin = min(outcome.due.values()) + timedelta(seconds=SLOW_AFTER - 1)
    before = [value for time, value in outcome.samples if time < begin]
    halved = [
        (time - begin).total_seconds()
        for time, value in outcome.samples
        if time >= begin and value <= before[-1] / 2
    ]
    after = f"half of it after {halved[0]:.1f} s" if halved else "never half of it"
    return f"The congestion window was {before[-1]:.1f} before the delay, and {after}."


async def run(options: argparse.Namespace) -> Report:
    """Measures everything."""
    async with filling.large_cluster() as cluster:
        count = SMALL if options.check else LARGE
        slowed = Slowed(cluster, await deploy(cluster), count)
        if not options.check:
            await slowed.slow_connection()
        await slowed.slow_server()
        return as_report(slowed)


if __name__ == "__main__":
    sys.exit(report.main(__doc__ or "", run))
