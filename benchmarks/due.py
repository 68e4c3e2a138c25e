"""Lag from the due second to the DELETE of the RayCluster, at a steady rate of RayJobs.

`python -m benchmarks.due [--write] [--check]`. 60 RayJobs are due at 1 in each second, 120
at 5, and 200 at 20. The real KubeRay owns all of them, each with a head Pod and Services. The
yardstick is the TTL of KubeRay itself for as many others. Both delete the RayCluster and keep the
RayJob.

--check measures 5 a second for 10 seconds.
"""

import argparse
import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks import audit, filling, report
from benchmarks.audit import Key
from benchmarks.managed import CLUSTER_TTL, ManagedJobs
from benchmarks.report import Plot, Ratio, Report
from benchmarks.runs import Outcome, Run
from sandbox.cluster import Cluster
from tests.support.operator_process import deploy

P99_BOUND = 0.5
"""The p99 lag as a multiple of KubeRay's."""


@dataclass(frozen=True)
class Rate:
    """So many RayJobs are due in each second."""

    per_second: int
    seconds: int

    @property
    def count(self) -> int:
        return self.per_second * self.seconds

    def moments(self, names: list[str], start: datetime) -> dict[str, datetime]:
        """When each is due."""
        return {
            name: start + timedelta(seconds=number // self.per_second)
            for number, name in enumerate(names)
        }


RATES = (Rate(1, 60), Rate(5, 24), Rate(20, 10))
CHECKED = (Rate(5, 10),)


@dataclass
class Due:
    """One sandbox for all rates, and what was measured so far."""

    cluster: Cluster
    kubeconfig: Path
    by_raysweep: dict[Rate, Outcome] = field(default_factory=dict)
    by_kuberay: dict[Rate, Outcome] = field(default_factory=dict)

    async def measure(self, rates: tuple[Rate, ...]) -> None:
        """Each rate, first by Raysweep and then by KubeRay."""
        namespaces = [f"{kind}-{rate.per_second}" for rate in rates for kind in ("due", "kuberay")]
        kuberay = await self.cluster.start_kuberay(*namespaces)
        for rate in rates:
            self.by_raysweep[rate] = await self._outcome(rate, by_kuberay=False)
            self.by_kuberay[rate] = await self._outcome(rate, by_kuberay=True)
        await kuberay.stop()

    async def _outcome(self, rate: Rate, *, by_kuberay: bool) -> Outcome:
        name = f"{'kuberay' if by_kuberay else 'due'}-{rate.per_second}"
        annotation = None if by_kuberay else CLUSTER_TTL
        async with ManagedJobs.in_namespace(self.cluster, name, annotation) as jobs:
            await jobs.create(rate.count)

            async def set_due(start: datetime) -> dict[Key, datetime]:
                return await jobs.due_at(rate.moments(sorted(jobs.clusters), start))

            if by_kuberay:
                run = Run(self.cluster, audit.KUBERAY, lead=jobs.lead)
                outcome = await run.without_operator(set_due)
            else:
                run = Run(self.cluster, lead=jobs.lead)
                outcome = await run.with_operator(self.kubeconfig, set_due)
            await jobs.until_gone()
            return outcome


def as_report(due: Due) -> Report:
    """The table, the bounds and the plot."""
    result = Report(
        "due",
        "Lag from the due second to the DELETE of the RayCluster",
        ("run", "due per second", "RayJobs", "p50 s", "p99 s", "max s"),
    )
    lines = []
    for rate, ours in due.by_raysweep.items():
        theirs = due.by_kuberay[rate]
        for label, outcome, style in (("Raysweep", ours, "-"), ("KubeRay", theirs, "--")):
            cells = [label, rate.per_second, rate.count, *outcome.quantiles()]
            result.rows.append(cells)
            name = f"{label}, {rate.per_second} a second"
            lines.append(report.distribution(name, outcome.lags, style))
        share = report.quantile(ours.lags, 0.99) / report.quantile(theirs.lags, 0.99)
        name = f"{rate.per_second} due per second: p99 lag / KubeRay's"
        result.ratios.append(Ratio(name, share, P99_BOUND))
    result.plot = Plot("seconds from due to DELETE of the RayCluster", "% of RayClusters", lines)
    return result


async def run(options: argparse.Namespace) -> Report:
    """Measures everything."""
    async with filling.large_cluster() as cluster:
        due = Due(cluster, await deploy(cluster))
        await due.measure(CHECKED if options.check else RATES)
        return as_report(due)


if __name__ == "__main__":
    sys.exit(report.main(__doc__ or "", run))
