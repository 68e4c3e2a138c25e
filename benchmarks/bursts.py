"""Many RayJobs that become due in the same second: lag of each deletion, and when the Pods end.

`python -m benchmarks.bursts [--write] [--check]`. A real operator works on a real API server.

- 200 RayJobs that the real KubeRay owns, each with a head Pod and Services. The yardstick is the
  TTL of KubeRay itself for 200 others. It keeps the RayJobs, as Raysweep does in one of its runs.
- 1,000 RayJobs with RayClusters in 10 namespaces, without KubeRay, which would need half an hour to
  create them. The yardstick is a bare client that deletes as many with the same requests, 16, 32
  and 64 at once. Raysweep runs before each of these runs. The best run of both counts. Each of them
  begins when the garbage collector is idle.

--check measures 300 without KubeRay beside the bare client.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks import audit, bare_deletions, filling, report
from benchmarks.audit import AuditLog, Event, Key
from benchmarks.finished import FinishedJobs
from benchmarks.managed import CLUSTER_TTL, TTL, ManagedJobs
from benchmarks.report import Plot, Ratio, Report
from benchmarks.runs import Outcome, Run
from sandbox.cluster import Cluster
from tests.support.operator_process import deploy

MANAGED = 200
NAMESPACES = 10
LARGE, SMALL = 1000, 300
"""RayJobs of the burst without KubeRay, and those of --check."""
LEAD, SHORT_LEAD = timedelta(seconds=20), timedelta(seconds=8)

P99_BOUND, LAST_POD_BOUND = 3.0, 5.0
"""Seconds, for 200 at once."""
RATE_BOUND, SHORT_RATE_BOUND = 0.8, 0.6
"""The second is for --check: runs of a second differ by half."""


@dataclass(frozen=True)
class ManagedRun:
    """Who deletes 200 RayClusters of KubeRay, and what else. annotation: see ManagedJobs."""

    label: str
    namespace: str
    annotation: str | None
    deletes_pods: bool = False


KUBERAY = "KubeRay"
UNMANAGED = "Raysweep, without KubeRay"
MANAGED_RUNS = (
    ManagedRun("Raysweep, RayClusters", "burst-clusters", CLUSTER_TTL),
    ManagedRun("Raysweep, RayJobs and RayClusters", "burst", TTL),
    ManagedRun("Raysweep, RayJobs, RayClusters and Pods", "burst-pods", TTL, deletes_pods=True),
    ManagedRun(KUBERAY, "burst-kuberay", None),
)


@dataclass
class Bursts:
    """One sandbox for all runs, and what was measured so far."""

    cluster: Cluster
    kubeconfig: Path
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    unmanaged: list[Outcome] = field(default_factory=list)
    """Raysweep's runs without KubeRay."""
    bare_rates: dict[int, float] = field(default_factory=dict)

    async def managed(self) -> None:
        """200 RayJobs of KubeRay: by Raysweep in three ways, and by KubeRay itself."""
        kuberay = await self.cluster.start_kuberay(*(each.namespace for each in MANAGED_RUNS))
        await allow_pods(self.cluster)
        for each in MANAGED_RUNS:
            self.outcomes[each.label] = await self._managed(each)
        await kuberay.stop()

    async def _managed(self, each: "ManagedRun") -> Outcome:
        async with ManagedJobs.in_namespace(self.cluster, each.namespace, each.annotation) as jobs:
            await jobs.create(MANAGED)

            async def set_due(start: datetime) -> dict[Key, datetime]:
                return await jobs.due_at(dict.fromkeys(jobs.clusters, start))

            if each.annotation:
                run = Run(self.cluster, pods=True, lead=jobs.lead)
                settings = {"delete_pods": "true"} if each.deletes_pods else {}
                outcome = await run.with_operator(self.kubeconfig, set_due, **settings)
            else:
                run = Run(self.cluster, audit.KUBERAY, pods=True, lead=jobs.lead)
                outcome = await run.without_operator(set_due)
            await jobs.until_gone()
            return outcome

    async def without_kuberay(
        self, count: int, lead: timedelta, concurrencies: Sequence[int]
    ) -> None:
        """Raysweep and the bare client in turn, once for each concurrency of the bare client."""
        for concurrency in concurrencies:
            self.unmanaged.append(await self._unmanaged(count, lead))
            self.bare_rates[concurrency] = await self._bare(count, concurrency)
        self.outcomes[UNMANAGED] = max(self.unmanaged, key=lambda outcome: outcome.per_second)

    async def _unmanaged(self, count: int, lead: timedelta) -> Outcome:
        names = [f"unmanaged-{len(self.unmanaged)}-{number}" for number in range(NAMESPACES)]
        async with FinishedJobs.in_namespaces(self.cluster, names) as jobs:
            await jobs.create(count // NAMESPACES)
            await filling.until_idle(self.cluster.controllers_pid)
            run = Run(self.cluster, lead=lead)
            return await run.with_operator(self.kubeconfig, jobs.due_from)

    async def _bare(self, count: int, concurrency: int) -> float:
        names = [f"bare-{concurrency}-{number}" for number in range(NAMESPACES)]
        async with FinishedJobs.in_namespaces(self.cluster, names) as jobs:
            await jobs.create(count // NAMESPACES)
            pairs = [
                pair for name in names for pair in await bare_deletions.pairs(self.cluster, name)
            ]
            await filling.until_idle(self.cluster.controllers_pid)
            log = AuditLog(self.cluster)
            await bare_deletions.delete(self.cluster, pairs, concurrency, heads=True)
            return _rate(log.read(f'"userAgent":"{audit.BARE}'))


def _rate(events: Sequence[Event]) -> float:
    """RayClusters deleted per second, from the first request to the last DELETE."""
    deleted = [
        audit.received_at(event)
        for event in events
        if event["verb"] == "delete" and event["objectRef"]["resource"] == "rayclusters"
    ]
    return audit.per_second(deleted, min(map(audit.received_at, events)))


async def allow_pods(cluster: Cluster) -> None:
    """Grants the operator what the setting delete-pods needs."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "delete"]}
    role = {"metadata": {"name": "raysweep-pods"}, "rules": [rule]}
    subject = {"kind": "ServiceAccount", "name": "raysweep", "namespace": "raysweep"}
    binding = {
        "metadata": {"name": "raysweep-pods"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "raysweep-pods",
        },
        "subjects": [subject],
    }
    await cluster.api.request("POST", f"{rbac}/clusterroles", role)
    await cluster.api.request("POST", f"{rbac}/clusterrolebindings", binding)


def as_report(bursts: Bursts) -> Report:
    """The table, the bounds and the plot."""
    result = Report(
        "bursts",
        "RayJobs that are due in the same second",
        ("run", "RayJobs", "p50 s", "p99 s", "max s", "deletions per second", "last Pod ended s"),
    )
    for label, outcome in bursts.outcomes.items():
        cells = [label, len(outcome.due), *outcome.quantiles()]
        result.rows.append([*cells, outcome.per_second, outcome.last_pod])
    for concurrency, rate in bursts.bare_rates.items():
        result.rows.append([f"bare client, {concurrency} at once", *[None] * 4, rate, None])
    result.ratios = _ratios(bursts)
    result.notes = [_requests_note(label, each) for label, each in bursts.outcomes.items()]
    if bursts.unmanaged:
        rates = ", ".join(f"{outcome.per_second:.0f}" for outcome in bursts.unmanaged)
        result.notes.append(f"{UNMANAGED}: {rates} deletions per second in its runs.")
    lines = [
        report.distribution(label, outcome.lags, "--" if label == KUBERAY else "-")
        for label, outcome in bursts.outcomes.items()
    ]
    result.plot = Plot("seconds from due to DELETE of the RayCluster", "% of RayClusters", lines)
    return result


def _ratios(bursts: Bursts) -> list[Ratio]:
    ratios: list[Ratio] = []
    for each in MANAGED_RUNS if KUBERAY in bursts.outcomes else ():
        outcome = bursts.outcomes[each.label]
        if each.label == KUBERAY:
            continue
        p99 = report.quantile(outcome.lags, 0.99)
        ratios.append(Ratio(f"{each.label}: p99 lag of 200 at once in seconds", p99, P99_BOUND))
        theirs = report.quantile(bursts.outcomes[KUBERAY].lags, 0.99)
        ratios.append(Ratio(f"{each.label}: p99 lag / KubeRay's", p99 / theirs, 1.0))
        if each.deletes_pods and outcome.last_pod:
            name = f"{each.label}: last Pod of 200 in seconds"
            ratios.append(Ratio(name, outcome.last_pod, LAST_POD_BOUND))
    if bursts.bare_rates:
        outcome = bursts.outcomes[UNMANAGED]
        share = outcome.per_second / max(bursts.bare_rates.values())
        name = f"deletions per second of {len(outcome.due):,} at once / bare client at its best"
        bound = RATE_BOUND if KUBERAY in bursts.outcomes else SHORT_RATE_BOUND
        ratios.append(Ratio(name, share, bound, is_minimum=True))
    return ratios


def _requests_note(label: str, outcome: Outcome) -> str:
    counts = audit.by_verb(outcome.requests)
    text = ", ".join(f"{count:,} {name}" for name, count in counts.most_common())
    most = audit.most_in_flight(outcome.requests)
    cpu = ", ".join(f"{program} {seconds:.1f}" for program, seconds in outcome.cpu.most_common(6))
    return f"{label}: {text}; at most {most} requests at once. CPU seconds until then: {cpu}."


async def run(options: argparse.Namespace) -> Report:
    """Measures everything."""
    async with filling.large_cluster() as cluster:
        bursts = Bursts(cluster, await deploy(cluster))
        if options.check:
            await bursts.without_kuberay(SMALL, SHORT_LEAD, (16, 32))
        else:
            await bursts.managed()
            await bursts.without_kuberay(LARGE, LEAD, bare_deletions.CONCURRENCIES)
        return as_report(bursts)


if __name__ == "__main__":
    sys.exit(report.main(__doc__ or "", run))
