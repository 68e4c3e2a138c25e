"""What heads that hang cost the others: the lag of deletions whose heads answer.

`python -m benchmarks.silent [--write] [--check]`. A real operator works on a real API server,
without KubeRay. A head that hangs is a real Ray dashboard that is suspended: it accepts connections
and does not answer. The yardstick is the same run without heads that hang.

- 60 RayJobs of one namespace are due in the same second: alone, beside 20 whose heads answer, and
  beside 20 whose heads hang. This runs three times in turn, and the run with the median p99 counts.
- 5,000 RayJobs of 50 namespaces are due, 40 in each second. More than the API server can delete in
  a second would only show the length of the queue. 5 % and 20 % of the heads hang.

--check runs the first part once.
"""

import argparse
import sys
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks import filling, report
from benchmarks.audit import Key
from benchmarks.finished import FinishedJobs, healthy
from benchmarks.report import Plot, Ratio, Report
from benchmarks.runs import Outcome, Run
from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.support.operator_process import deploy

MEASURED, BESIDE = 60, 20
"""RayJobs of one namespace that are measured, and those beside them."""
ALONE, ANSWER, HANG = "60 alone", "60 beside 20 that answer", "60 beside 20 that hang"
ROUNDS = 3
DIFFERENCE_BOUND = 100.0
"""Milliseconds that the p99 may be later than without heads that hang."""
RATIO_BOUND = 1.25

NAMESPACES, PER_NAMESPACE = 50, 100
TOTAL = NAMESPACES * PER_NAMESPACE
SECONDS = 125
"""In which all of them become due."""
SHARES = (0, 5, 20)
"""Percent of the heads that hang, in each namespace."""


@dataclass
class Silent:
    """One sandbox for all runs, and what was measured so far.

    at_once: by label. spread: by percent of hung heads.
    """

    cluster: Cluster
    kubeconfig: Path
    hanging_head: Head
    at_once: dict[str, Outcome] = field(default_factory=dict)
    spread: dict[int, Outcome] = field(default_factory=dict)

    async def one_namespace(self, rounds: int) -> None:
        """60 RayJobs that are due in the same second, with each kind of company."""
        outcomes: dict[str, list[Outcome]] = {ALONE: [], ANSWER: [], HANG: []}
        for number in range(rounds):
            for label, found in outcomes.items():
                namespace = f"{label.replace(' ', '-')}-{number}"
                found.append(await self._beside(namespace, label))
        self.at_once = {
            label: sorted(found, key=_p99)[rounds // 2] for label, found in outcomes.items()
        }

    async def _beside(self, namespace: str, label: str) -> Outcome:
        beside = 0 if label == ALONE else BESIDE
        hanging_head = self.hanging_head if label == HANG else None
        async with FinishedJobs.in_namespaces(self.cluster, [namespace]) as jobs:
            await jobs.create(MEASURED + beside, hung=beside, hanging_head=hanging_head)
            return await self._outcome(jobs)

    async def many_namespaces(self) -> None:
        """The same RayJobs with each share of hung heads."""
        for share in SHARES:
            names = [f"spread-{share}-{number}" for number in range(NAMESPACES)]
            async with FinishedJobs.in_namespaces(self.cluster, names) as jobs:
                await jobs.create(
                    PER_NAMESPACE,
                    offset=lambda number: number * SECONDS // PER_NAMESPACE,
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
        ("run", "heads that hang", "measured", "p50 s", "p99 s", "max s"),
    )
    lines = []
    for label, outcome in silent.at_once.items():
        hung = BESIDE if label == HANG else 0
        result.rows.append([label, hung, len(outcome.due), *outcome.quantiles()])
        lines.append(report.distribution(label, outcome.lags))
    for share, outcome in silent.spread.items():
        name = f"{TOTAL:,} in {NAMESPACES} namespaces"
        hung = TOTAL * share // 100
        result.rows.append([name, hung, len(outcome.due), *outcome.quantiles()])
        lines.append(report.distribution(f"{name}, {share} % hang", outcome.lags, "--"))
    result.ratios = _ratios(silent)
    result.plot = Plot("seconds from due to DELETE of the RayCluster", "% of RayClusters", lines)
    return result


def _ratios(silent: Silent) -> list[Ratio]:
    alone, beside = _p99(silent.at_once[ALONE]), _p99(silent.at_once[HANG])
    ratios = [Ratio(f"p99 of {HANG} / of {ALONE}", beside / alone, RATIO_BOUND)]
    if silent.spread:
        ratios.append(_difference(HANG, silent.at_once[ALONE], silent.at_once[HANG]))
    for share in SHARES[1:]:
        if share in silent.spread:
            name = f"{TOTAL:,} RayJobs, {share} % hang"
            ratios.append(_difference(name, silent.spread[0], silent.spread[share]))
    return ratios


def _p99(outcome: Outcome) -> float:
    return report.quantile(outcome.lags, 0.99)


def _difference(name: str, without: Outcome, with_hung: Outcome) -> Ratio:
    later = _p99(with_hung) - _p99(without)
    return Ratio(f"{name}: p99 later than without, in ms", 1000 * later, DIFFERENCE_BOUND)


async def run(options: argparse.Namespace) -> Report:
    """Measures everything."""
    async with filling.large_cluster() as cluster:
        hanging_head = await cluster.heads.light("hanging")
        hanging_head.suspend()
        silent = Silent(cluster, await deploy(cluster), hanging_head)
        await silent.one_namespace(rounds=1 if options.check else ROUNDS)
        if not options.check:
            await silent.many_namespaces()
        return as_report(silent)


if __name__ == "__main__":
    sys.exit(report.main(__doc__ or "", run))
