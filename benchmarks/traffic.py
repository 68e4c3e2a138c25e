"""Requests and bytes of the operator: for each deletion, and for an hour in which nothing is due.

`python -m benchmarks.traffic [--write] [--check]`. A relay between operator and API server counts
the bytes on the wire, with TLS. The audit log counts the requests. The yardstick for a deletion is
a bare client that sends one GET and two DELETEs.

The idle hour is measured with 1,000 RayJobs at default settings, for the 10 minutes until the
second complete list has ended, and multiplied by 6. A deletion has its share of all requests in the
time of 200 deletions, also of those that renew the Lease and read policies. --check measures only
deletions.
"""

import argparse
import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from benchmarks import audit, bare_deletions, filling, report
from benchmarks.audit import AuditLog, Deletions
from benchmarks.finished import FinishedJobs, pause_until, whole_second
from benchmarks.report import Plot, Ratio, Report, Series
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.network_faults import Relay, through
from tests.support.operator_process import Operator, deploy, running_operator
from tests.support.workbench import utc_now

IDLE_RAYJOBS = 1000
DELETED = 200
PER_SECOND = 10
"""Deletions, so slow that nothing is requested for several at once."""
BARE_CONCURRENCY = 8
BYTES_BOUND, REQUESTS_BOUND = 5.0, 2.0
"""Of a deletion, as multiples of the bare client's."""
RELIST_WITHIN = 600.0
LEAD = timedelta(seconds=15)
HOUR = timedelta(hours=1)
KIB = 1024
SAMPLE_EVERY = 10.0
"""Seconds."""
NOT_DELETED = "idle"


@dataclass
class Traffic:
    """Requests by verb and resource, and bytes, in a time. `samples` has the KiB so far."""

    requests: Counter[str]
    sent: float
    received: float
    duration: timedelta
    samples: Sequence[float] = ()

    def share(self, factor: float) -> "Traffic":
        """This traffic multiplied by a factor. Requests become fractions."""
        requests: Counter[str] = Counter()
        for name, count in self.requests.items():
            requests[name] = count * factor  # type: ignore[assignment]
        return Traffic(requests, self.sent * factor, self.received * factor, self.duration * factor)

    @property
    def total(self) -> float:
        return sum(self.requests.values())


@dataclass
class Meter:
    """Counts what passes a relay, and the requests of one program."""

    relay: Relay
    cluster: Cluster
    agent: str

    async def during(self, wait: "asyncio.Future[None] | asyncio.Task[None]") -> Traffic:
        """The traffic until a task ends."""
        log, began = AuditLog(self.cluster), utc_now()
        sent, received = self.relay.sent_bytes, self.relay.answered_bytes
        async with self._sampled() as samples:
            await wait
        await asyncio.sleep(1)  # the audit log is written after the response
        requests = audit.by_verb(log.read(f'"userAgent":"{self.agent}'))
        return Traffic(
            requests,
            self.relay.sent_bytes - sent,
            self.relay.answered_bytes - received,
            utc_now() - began,
            samples,
        )

    @contextlib.asynccontextmanager
    async def _sampled(self) -> AsyncIterator[list[float]]:
        """The KiB on the wire since the begin, every SAMPLE_EVERY seconds."""
        samples: list[float] = []
        begin = self.relay.sent_bytes + self.relay.answered_bytes

        async def sample() -> None:
            while True:
                samples.append((self.relay.sent_bytes + self.relay.answered_bytes - begin) / KIB)
                await asyncio.sleep(SAMPLE_EVERY)

        sampling = asyncio.create_task(sample())
        try:
            yield samples
        finally:
            sampling.cancel()


@dataclass
class Bench:
    """One sandbox for all measurements."""

    cluster: Cluster
    kubeconfig: Path
    is_full: bool
    idle: Traffic | None = None
    deletion: Traffic | None = None
    bare: Traffic | None = None

    async def measure(self) -> None:
        """First the idle time, then deletions, then those of the bare client."""
        async with Relay.to(self.cluster.server) as relay:
            kubeconfig = through(relay, self.kubeconfig)
            async with (
                FinishedJobs.in_namespaces(self.cluster, [NOT_DELETED]) as others,
                FinishedJobs.in_namespaces(self.cluster, ["deleted"]) as jobs,
            ):
                if self.is_full:
                    await others.create(IDLE_RAYJOBS - DELETED)
                await jobs.create(DELETED, offset=lambda number: number // PER_SECOND)
                async with running_operator(self.cluster, kubeconfig) as operator:
                    meter = Meter(relay, self.cluster, audit.OPERATOR)
                    if self.is_full:
                        self.idle = await meter.during(asyncio.create_task(_two_relists(operator)))
                    deleting = await meter.during(asyncio.create_task(self._deleted(jobs)))
                    self.deletion = deleting.share(1 / DELETED)
        await self._bare()

    async def _deleted(self, jobs: FinishedJobs) -> None:
        deletions = Deletions.by(self.cluster, audit.OPERATOR, "rayclusters", ["deleted"])
        due = await jobs.due_from(whole_second(utc_now()) + LEAD)
        await pause_until(max(due.values()))
        await deletions.until(len(due), timeout=120)
        await asyncio.sleep(10)  # Events and the watch follow

    async def _bare(self) -> None:
        async with (
            Relay.to(self.cluster.server) as relay,
            FinishedJobs.in_namespaces(self.cluster, ["bare"]) as jobs,
        ):
            await jobs.create(DELETED)
            pairs = await bare_deletions.pairs(self.cluster, "bare")
            meter = Meter(relay, self.cluster, audit.BARE)
            deleting = bare_deletions.delete(
                self.cluster,
                pairs,
                BARE_CONCURRENCY,
                heads=False,
                server=f"https://127.0.0.1:{relay.port}",
            )
            self.bare = (await meter.during(asyncio.create_task(deleting))).share(1 / DELETED)


async def _two_relists(operator: Operator) -> None:
    """Waits for the end of the next two relists, which come at regular times."""
    metric = "raysweep_last_relist_timestamp_seconds"
    for _ in range(2):
        previous = await operator.metric(metric)

        async def is_newer(previous: float = previous) -> bool:
            return await operator.metric(metric) > previous

        await until(is_newer, timeout=RELIST_WITHIN, every=1)


def as_report(bench: Bench) -> Report:
    """The table and the bounds."""
    assert bench.deletion
    assert bench.bare
    result = Report(
        "traffic",
        "Requests to the API server, and bytes on the wire",
        ("run", "requests", "KiB sent", "KiB received", "requests by verb and resource"),
    )
    rows = {"one deletion": bench.deletion, "one deletion, bare client": bench.bare}
    if bench.idle:
        hour = bench.idle.share(HOUR / bench.idle.duration)
        rows[f"an idle hour, {IDLE_RAYJOBS:,} RayJobs"] = hour
        seconds = [number * SAMPLE_EVERY for number in range(len(bench.idle.samples))]
        idle = Series(f"idle, {IDLE_RAYJOBS:,} RayJobs", seconds, bench.idle.samples)
        result.plot = Plot("seconds", "KiB on the wire so far", [idle])
    for label, traffic in rows.items():
        counts = ", ".join(
            f"{count:.2f} {name}" for name, count in traffic.requests.most_common() if count > 0.01
        )
        sizes = [traffic.sent / KIB, traffic.received / KIB]
        result.rows.append([label, float(traffic.total), *sizes, counts])
    ours, theirs = bench.deletion, bench.bare
    size = (ours.sent + ours.received) / (theirs.sent + theirs.received)
    result.ratios = [
        Ratio("requests per deletion / bare client", ours.total / theirs.total, REQUESTS_BOUND),
        Ratio("bytes per deletion / bare client", size, BYTES_BOUND),
    ]
    return result


async def run(options: argparse.Namespace) -> Report:
    """Measures everything."""
    async with filling.large_cluster() as cluster:
        kubeconfig = await deploy(cluster)
        bench = Bench(cluster, kubeconfig, is_full=not options.check)
        await bench.measure()
        return as_report(bench)


if __name__ == "__main__":
    sys.exit(report.main(__doc__ or "", run))
