"""The metrics: prefix raysweep_, base units, and never the name of a RayJob. Decides nothing."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from itertools import product
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from raysweep.core.model.decisions import Explanation, Target
from raysweep.core.model.facts import Resources
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.reasons import Reason

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series each, of little use

RESOURCES = ("cpu", "gpu", "memory")
NAMESPACE = "namespace"
SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 6 * 3600, 24 * 3600)
LOOP_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LOOP_INTERVAL = timedelta(seconds=1)

Values = Mapping[tuple[str, ...], float]
"""By the values of the labels."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The current state, computed at each scrape."""

    rayjobs: Values = field(default_factory=dict)
    held: Values = field(default_factory=dict)
    held_seconds: Values = field(default_factory=dict)
    overdue: Values = field(default_factory=dict)
    unknown_states: Values = field(default_factory=dict)
    bulk_expiry: Values = field(default_factory=dict)
    queue: Values = field(default_factory=dict)
    scheduled: Values = field(default_factory=dict)
    policies: Values = field(default_factory=dict)
    dry_run: Values = field(default_factory=dict)


class _Gauge(NamedTuple):
    """How to expose a field of Snapshot. The label namespace is optional (metrics-namespaces)."""

    field: str
    name: str
    help: str
    labels: tuple[str, ...] = ()


GAUGES = (
    _Gauge(
        "rayjobs",
        "rayjobs",
        "RayJobs, by the reason of their last decision.",
        ("reason", NAMESPACE),
    ),
    _Gauge(
        "held",
        "held_resources",
        "Cores, GPUs and bytes of memory that clusters of finished jobs hold.",
        ("resource", NAMESPACE),
    ),
    _Gauge(
        "held_seconds",
        "still_held_resource_seconds",
        "Core-seconds, GPU-seconds and byte-seconds that existing clusters have held since the "
        "end of their job.",
        ("resource", NAMESPACE),
    ),
    _Gauge(
        "overdue",
        "longest_overdue_seconds",
        "Longest time that a cluster has existed past its deadline, by the reason that keeps its "
        "RayJob; without DryRun.",
        ("reason", NAMESPACE),
    ),
    _Gauge("unknown_states", "unknown_states", "RayJobs in a state that Raysweep does not know."),
    _Gauge(
        "bulk_expiry",
        "bulk_expiry_rayjobs",
        "RayJobs that wait because they became due all at once.",
    ),
    _Gauge("queue", "queue_depth", "RayJobs that are due and wait for their turn."),
    _Gauge("scheduled", "scheduled", "RayJobs with a scheduled next judgement."),
    _Gauge(
        "policies",
        "policies",
        "RayJobCleanupPolicies, accepted and invalid; absent if they cannot be read.",
        ("state",),
    ),
    _Gauge(
        "dry_run",
        "dry_run",
        "What sets DryRun: setting (0 or 1), policy (number of policies).",
        ("by",),
    ),
)


class _SnapshotCollector(Collector):
    def __init__(self, snapshot: Callable[[], Snapshot], *, by_namespace: bool) -> None:
        self._snapshot = snapshot
        self._by_namespace = by_namespace

    def describe(self) -> Iterable[Metric]:
        return self._families(Snapshot())

    def collect(self) -> Iterable[Metric]:
        return self._families(self._snapshot())

    def _families(self, snapshot: Snapshot) -> Iterable[Metric]:
        for gauge in GAUGES:
            labels = [label for label in gauge.labels if label != NAMESPACE or self._by_namespace]
            family = GaugeMetricFamily(f"raysweep_{gauge.name}", gauge.help, labels=labels)
            for values, value in sorted(getattr(snapshot, gauge.field).items()):
                family.add_metric(values, value)
            yield family


class Metrics:
    """All metrics, in a registry of their own.

    by_namespace: adds the label namespace. counts_pods: whether Pods are deleted, too.
    """

    def __init__(self, *, by_namespace: bool = False, counts_pods: bool = False) -> None:
        self.registry = CollectorRegistry()
        self._kinds = ("RayJob", "RayCluster", *(("Pod",) if counts_pods else ()))
        self.by_namespace = by_namespace
        namespace = [NAMESPACE] if by_namespace else []
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        self._deletions = counter(
            "raysweep_deletions",
            "Objects that Raysweep deleted.",
            ["kind", "reason", "outcome", *namespace],
        )
        self.deletion_lag = histogram(
            "raysweep_deletion_lag_seconds",
            "Time from the deadline, or from the end of a deliberate wait, to the deletion.",
            buckets=SECONDS,
        )
        self._held_seconds = counter(
            "raysweep_held_resource_seconds",
            "Core-seconds, GPU-seconds and byte-seconds that clusters held from the end of their "
            "job until Raysweep deleted them.",
            ["resource", *namespace],
        )
        self._freed = counter(
            "raysweep_freed_resources",
            "Cores, GPUs and bytes of memory of the clusters that Raysweep deleted.",
            ["resource", *namespace],
        )
        self._head_probes = counter(
            "raysweep_head_probes", "Probes of Ray heads, by result.", ["answer"]
        )
        self._api_requests = counter(
            "raysweep_api_requests",
            "Requests to the API server. Verb PROXY: probes of heads through it; LEASE: leader "
            "election. Code 0: no response.",
            ["verb", "code"],
        )
        self.internal_errors = counter("raysweep_internal_errors", "Errors in Raysweep itself.")
        self.events_dropped = counter(
            "raysweep_events_dropped", "Events that were dropped because too many waited."
        )
        self.relist_at = gauge(
            "raysweep_last_relist_timestamp_seconds",
            "When the last complete list of all objects ended; 0 if there was none.",
        )
        self.leader = gauge(
            "raysweep_leader",
            "1 if this replica is the leader or leader election is off, 0 if it is a standby.",
        )
        self.congestion_window = gauge(
            "raysweep_congestion_window",
            "How many requests of cleanups to the API server may be in flight; below 1, with "
            "pauses between them.",
        )
        self.loop_lag = histogram(
            "raysweep_event_loop_lag_seconds",
            "Delay of the event loop, measured once per second.",
            buckets=LOOP_SECONDS,
        )
        self.lease_failures = counter(
            "raysweep_lease_renewal_failures", "Failed renewals of the leader's Lease."
        )
        build = Info("raysweep_build", "Build information.", registry=self.registry)
        build.info({"version": version("raysweep")})
        ProcessCollector(registry=self.registry)
        self._initialize()

    def _initialize(self) -> None:
        """Starts known series at 0, so that increase() in Prometheus sees their first event."""
        for answer in ("answered", "unauthorized", "unreachable"):
            self._head_probes.labels(answer)
        if self.by_namespace:
            return  # the namespaces are not known yet
        for resource in RESOURCES:
            self._freed.labels(resource)
            self._held_seconds.labels(resource)
        reasons = [reason for reason in Reason if reason.deletes and reason is not Reason.SWEPT]
        for kind, reason, outcome in product(self._kinds, reasons, ("", *Outcome)):
            self._deletions.labels(kind, reason, outcome)

    def namespace_labels(self, namespace: str) -> tuple[str, ...]:
        """The value of the label namespace. Empty if metrics do not have this label."""
        return (namespace,) if self.by_namespace else ()

    def watch(self, snapshot: Callable[[], Snapshot]) -> None:
        """Exposes this snapshot at every scrape."""
        collector = _SnapshotCollector(snapshot, by_namespace=self.by_namespace)
        self.registry.register(collector)

    def api_request(self, verb: str, code: int) -> None:
        """Counts a request to the API server. code 0: it got no response."""
        self._api_requests.labels(verb, str(code)).inc()

    def lease_request(self, _verb: str, code: int) -> None:
        """Counts a request of the leader election. lease_failures counts failed renewals."""
        self.api_request("LEASE", code)

    def proxied_head_request(self, _verb: str, code: int) -> None:
        """Counts a probe through the API server. A code from 500 on may be the head's failure."""
        self.api_request("PROXY", code)

    def head_probe(self, answer: str) -> None:
        """Counts a probe of a head."""
        self._head_probes.labels(answer).inc()

    def deleted(self, target: Target, explanation: Explanation) -> None:
        """Counts an object that Raysweep deleted."""
        labels = (target.kind, explanation.reason, explanation.outcome or "")
        self._deletions.labels(*labels, *self.namespace_labels(target.namespace)).inc()

    def deleted_pods(self, namespace: str, number: int, explanation: Explanation) -> None:
        """Counts Pods of a deleted RayCluster that Raysweep deleted."""
        if number:
            labels = ("Pod", explanation.reason, explanation.outcome or "")
            self._deletions.labels(*labels, *self.namespace_labels(namespace)).inc(number)

    def freed(self, namespace: str, resources: Resources, held_for: timedelta) -> None:
        """Counts the resources of a deleted cluster. held_for: since the end of its job."""
        labels, seconds = self.namespace_labels(namespace), max(held_for.total_seconds(), 0)
        for resource in RESOURCES:
            amount = getattr(resources, resource)
            self._freed.labels(resource, *labels).inc(amount)
            self._held_seconds.labels(resource, *labels).inc(amount * seconds)

    async def measure_loop(self, uptime: Callable[[], timedelta]) -> None:
        """Measures the delay of the event loop, for ever.

        What blocks the loop delays probes, watches and the renewal of the Lease alike.
        """
        while True:
            began = uptime()
            await asyncio.sleep(LOOP_INTERVAL.total_seconds())
            delay = uptime() - began - LOOP_INTERVAL
            self.loop_lag.observe(max(delay.total_seconds(), 0))
