"""One run of an operator: it starts, RayJobs become due, and all of them are deleted."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks import audit
from benchmarks.audit import AuditLog, Deletions, Event, Key
from benchmarks.finished import pause_until, whole_second
from benchmarks.processes import cpu_by_program
from benchmarks.report import Cell, quantile
from benchmarks.sampling import Samples, sampled
from sandbox.cluster import Cluster
from tests.support.operator_process import Operator, running_operator
from tests.support.workbench import utc_now

LEAD = timedelta(seconds=20)
TOLERANCE = timedelta(milliseconds=1)

SetDue = Callable[[datetime], Awaitable[dict[Key, datetime]]]
"""Makes RayJobs due from a time on. Returns when each RayCluster is due."""


@dataclass(frozen=True)
class Outcome:
    """When each RayCluster was due, and when its DELETE arrived at the API server."""

    due: Mapping[Key, datetime]
    deleted: Mapping[Key, datetime]
    pods: Mapping[Key, datetime] = field(default_factory=dict)
    """When each Pod ended, if the kubelet runs Pods."""
    requests: tuple[Event, ...] = ()
    """All requests of the agent from the first due time to its last DELETE."""
    samples: Samples = field(default_factory=list)
    """The values of one metric of the operator, with their times."""
    cpu: Counter[str] = field(default_factory=Counter)
    """CPU seconds by program, from a second before the first due time to the last DELETE."""

    @property
    def lags(self) -> list[float]:
        """Seconds from due to DELETE."""
        return audit.lags(self.deleted, self.due)

    @property
    def per_second(self) -> float:
        """Deletions per second, from the first due time to the last DELETE."""
        return audit.per_second(self.deleted.values(), min(self.due.values()))

    @property
    def last_pod(self) -> float | None:
        """Seconds from the first due time to the end of the last Pod."""
        if not self.pods:
            return None
        return (max(self.pods.values()) - min(self.due.values())).total_seconds()

    def quantiles(self) -> list[Cell]:
        """p50, p99 and maximum of the lags."""
        lags = self.lags
        return [quantile(lags, 0.5), quantile(lags, 0.99), max(lags)]


@dataclass
class Run:
    """One run.

    agent: who deletes. pods: whether each RayCluster has one Pod, which ends too. lead: from
    setting the TTLs to the first due time, in which all of them are written and observed. metric:
    one of the operator that is sampled. beside: what happens from a second before the first due
    time to the last DELETE.
    """

    cluster: Cluster
    agent: str = audit.OPERATOR
    pods: bool = False
    within: float = 300.0
    lead: timedelta = LEAD
    metric: str = ""
    beside: Callable[[], AbstractAsyncContextManager[object]] = nullcontext

    async def with_operator(self, kubeconfig: Path, set_due: SetDue, **settings: str) -> Outcome:
        """Runs Raysweep. Checks that it agrees about the due times, which its log names."""
        async with running_operator(self.cluster, kubeconfig, ready=True, **settings) as operator:
            async with sampled(operator, self.metric) as samples:
                outcome = await self.without_operator(set_due)
            _check_due_times(operator, outcome)
            return replace(outcome, samples=samples)

    async def without_operator(self, set_due: SetDue) -> Outcome:
        """Waits until the agent has deleted everything that becomes due."""
        start = whole_second(utc_now()) + self.lead
        due = await set_due(start)
        if utc_now() >= start:
            raise RuntimeError(f"the TTLs were not written within {self.lead}")
        namespaces = {namespace for namespace, _ in due}
        deletions = Deletions.by(self.cluster, self.agent, "rayclusters", namespaces)
        ended = Deletions.by(self.cluster, audit.KUBELET, "pods", namespaces)
        requests = AuditLog(self.cluster)
        await pause_until(start - timedelta(seconds=1))
        cpu = cpu_by_program()
        async with self.beside():
            await pause_until(max(due.values()))
            await deletions.until(len(due), self.within)
        cpu = cpu_by_program() - cpu
        if self.pods:
            await ended.until(len(due), self.within)
        last = max(deletions.times.values())
        sent = requests.read(f'"userAgent":"{self.agent}')
        during = tuple(each for each in sent if start <= audit.received_at(each) <= last)
        return Outcome(due, deletions.times, ended.times, during, cpu=cpu)


def _check_due_times(operator: Operator, outcome: Outcome) -> None:
    """Raises ValueError if the operator logged another due time for a deletion."""
    for line in operator.log():
        for target in line.get("deleted", ()):
            expected = outcome.due.get((line["namespace"], target["name"]))
            if expected is None:
                continue
            logged = datetime.fromisoformat(line["due_at"])
            if abs(logged - expected) > TOLERANCE:
                name = f"{line['namespace']}/{target['name']}"
                raise ValueError(f"{name} was due at {logged}, not at {expected}")
