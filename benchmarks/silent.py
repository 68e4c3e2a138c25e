"""What heads that hang cost the others: the lag of deletions whose heads answer.

`python -m benchmarks.silent [--write] [--check]`. A real operator works on a real API server,
without KubeRay. A head that hangs is a real Ray dashboard that is suspended: it accepts connections
and does not answer. The yardstick is the same run without heads that hang.

- 80 RayJobs of one namespace are due in the same second, and 20 of their heads hang. This runs
  three times in turn with the yardstick, and the run with the median p99 counts.
- 5,000 RayJobs of 50 namespaces are due, 20 in each second. More than the API server can delete in
  a second would only show the length of the queue. 5 % and 20 % of the heads hang.

--check runs the first part, and the second with 500 RayJobs of 5 namespaces.

KubeRay was measured once, in the same sandbox: with 20 of 80 heads hanging, its own TTL deletes the
other 60 RayClusters after 41 to 46 seconds.
"""

import argparse
import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks import report
from benchmarks.audit import Key
from benchmarks.finished import FinishedJobs, healthy
from benchmarks.report import Plot, Ratio, Report
from benchmarks.runs import Outcome, Run
from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.support.operator_process import deploy

ONE_NAMESPACE, HUNG = 80, 20
ROUNDS = 3
DIFFERENCE_BOUND = 100.0
"""Milliseconds that the p99 of the other 60 may be later than without heads that hang."""
KUBERAY_SECONDS = 44.0

PER_NAMESPACE = 100
SHARES = (0, 5, 20)
"""Percent of the heads that hang, in each namespace."""


@dataclass(frozen=True)
class Population:
    """RayJobs over many namespaces, due within so many seconds."""

    namespaces: int
    seconds: int

    @property
    def total(self) -> int:
        return self.namespaces * PER_NAMESPACE


FULL, CHECKED = Population(50, 250), Population(5, 25)


@dataclass
class Silent:
    """One sandbox for all runs, and what was measured so far, by percent of hung heads."""

    cluster: Cluster
    kubeconfig: Path
    hanging_head: Head
    population: Population
    at_once: dict[int, Outcome] = field(default_factory=dict)
    spread: dict[int, Outcome] = field(default_factory=dict)

    async def one_namespace(self) -> None:
        """60 RayJobs that are due in the same second, alone and with 20 whose heads hang."""
        outcomes: dict[int, list[Outcome]] = {0: [], HUNG: []}
        for number in range(ROUNDS):
            for hung, found in outcomes.items():
                namespace = f"once-{hung}-{number}"
                async with FinishedJobs.in_namespaces(self.cluster, [namespace]) as jobs:
                    count = ONE_NAMESPACE - HUNG + hung
                    await jobs.create(count, hung=hung, hanging_head=self.hanging_head)
                    found.append(await self._outcome(jobs))
        self.at_once = {
            hung: sorted(found, key=_p99)[ROUNDS // 2] for hung, found in outcomes.items()
        }

    async def many_namespaces(self) -> None:
        """The same population with each share of hung heads."""
        seconds = self.population.seconds
        for share in SHARES:
            names = [f"spread-{share}-{number}" for number in range(self.population.namespaces)]
            async with FinishedJobs.in_namespaces(self.cluster, names) as jobs:
                await jobs.create(
                    PER_NAMESPACE,
                    offset=lambda number: number * seconds // PER_NAMESPACE,
                    hung=share * PER_NAMESPACE // 100,
                    hanging_head=self.hanging_head,
                )
                self.spread[share] = await self._outcome(jobs)

    async def _outcome(self, jobs: FinishedJobs) -> Outcome:
        """Waits for the deletion of those whose heads answer."""

        async def set_due(start: datetime) -> dict[Key, datetime]:
            return healthy(await jobs.due_from(start))

        run = Run(self.cluster, lead=timedelta(seconds=10))
        return await run.with_operator(self.kubeconfig, set_due)


def as_report(silent: Silent) -> Report:
    """The table, the bounds and the plot."""
    result = Report(
        "silent",
        "Deletions whose heads answer, beside heads that hang",
        ("run", "heads that hang", "others", "p50 s", "p99 s", "max s"),
    )
    lines = []
    for hung, outcome in silent.at_once.items():
        name = "one namespace, all due at once"
        result.rows.append([name, hung, len(outcome.due), *outcome.quantiles()])
        lines.append(report.distribution(f"one namespace, {hung} hang", outcome.lags))
    for share, outcome in silent.spread.items():
        name = f"{silent.population.total:,} in {silent.population.namespaces} namespaces"
        hung = silent.population.total * share // 100
        result.rows.append([name, hung, len(outcome.due), *outcome.quantiles()])
        lines.append(report.distribution(f"{name}, {share} % hang", outcome.lags, "--"))
    result.rows.append(["KubeRay, measured once", HUNG, 60, None, KUBERAY_SECONDS, None])
    result.ratios = _ratios(silent)
    result.plot = Plot("seconds from due to DELETE of the RayCluster", "% of RayClusters", lines)
    return result


def _ratios(silent: Silent) -> list[Ratio]:
    ratios = [_difference("one namespace, 20 of 80 hang", silent.at_once[0], silent.at_once[HUNG])]
    for share in SHARES[1:]:
        name = f"{silent.population.total:,} RayJobs, {share} % hang"
        ratios.append(_difference(name, silent.spread[0], silent.spread[share]))
    return ratios


def _p99(outcome: Outcome) -> float:
    return report.quantile(outcome.lags, 0.99)


def _difference(name: str, without: Outcome, with_hung: Outcome) -> Ratio:
    later = _p99(with_hung) - _p99(without)
    return Ratio(f"{name}: p99 later than without, in ms", 1000 * later, DIFFERENCE_BOUND)


async def run(options: argparse.Namespace) -> Report:
    """Measures everything."""
    async with sandbox_cluster.start(say=lambda _: None) as cluster:
        hanging_head = await cluster.heads.light("hanging")
        hanging_head.suspend()
        population = CHECKED if options.check else FULL
        silent = Silent(cluster, await deploy(cluster), hanging_head, population)
        await silent.one_namespace()
        await silent.many_namespaces()
        return as_report(silent)


if __name__ == "__main__":
    sys.exit(report.main(__doc__ or "", run))
