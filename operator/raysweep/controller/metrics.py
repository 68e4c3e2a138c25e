"""What is counted and measured, under the prefix raysweep_, in base units and never with a job's name. Nothing is decided."""

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

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each, telling when it was born

RESOURCES = ("cpu", "gpu", "memory")
NAMESPACE = "namespace"
LAG = "From the time a RayJob or RayCluster was due, or from the end of a wait that was wanted, to its deletion."
HELD_SECONDS = "Core-, GPU- and byte-seconds that clusters held from the end of their job to their deletion by us."
API_REQUESTS = "Requests to the API server; verb PROXY: looks at heads through it, LEASE: leader election; code 0: no answer."
SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 6 * 3600, 24 * 3600)
LOOP_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LOOP_LOOKED_AT_EVERY = timedelta(seconds=1)

Values = Mapping[tuple[str, ...], float]
"""By the values of the labels."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is so right now; taken at each scrape."""

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


class _Shown(NamedTuple):
    """How a field of the Snapshot is shown; the label namespace only where the setting says so."""

    field: str
    name: str
    means: str
    labels: tuple[str, ...] = ()


SHOWN = (
    _Shown(
        "rayjobs",
        "rayjobs",
        "RayJobs by the reason of their last judgement.",
        ("reason", NAMESPACE),
    ),
    _Shown(
        "held",
        "held_resources",
        "What the clusters of finished jobs hold: cores, GPUs, bytes.",
        ("resource", NAMESPACE),
    ),
    _Shown(
        "held_seconds",
        "still_held_resource_seconds",
        "Core-, GPU- and byte-seconds that clusters still there have held since the end of their job.",
        ("resource", NAMESPACE),
    ),
    _Shown(
        "overdue",
        "longest_overdue_seconds",
        "For how long past its time the longest held cluster has been there, by what its RayJob is kept by; DryRun apart.",
        ("reason", NAMESPACE),
    ),
    _Shown(
        "unknown_states", "unknown_states", "RayJobs in a state that KubeRay is not known to use."
    ),
    _Shown(
        "bulk_expiry",
        "bulk_expiry_rayjobs",
        "RayJobs that wait because a default, or our absence, made them due all at once.",
    ),
    _Shown("queue", "queue_depth", "RayJobs due that wait for their turn."),
    _Shown("scheduled", "scheduled", "RayJobs that will be judged at a known time."),
    _Shown(
        "policies",
        "policies",
        "RayJobCleanupPolicies: accepted, invalid; none where they cannot be read.",
        ("state",),
    ),
    _Shown(
        "dry_run",
        "dry_run",
        "What lets nothing go: setting (0 or 1), policy (how many are on DryRun).",
        ("by",),
    ),
)


class _Now(Collector):
    def __init__(self, snapshot: Callable[[], Snapshot], *, by_namespace: bool) -> None:
        self._snapshot = snapshot
        self._by_namespace = by_namespace

    def describe(self) -> Iterable[Metric]:
        return self._families(Snapshot())

    def collect(self) -> Iterable[Metric]:
        return self._families(self._snapshot())

    def _families(self, now: Snapshot) -> Iterable[Metric]:
        for shown in SHOWN:
            labels = [label for label in shown.labels if label != NAMESPACE or self._by_namespace]
            family = GaugeMetricFamily(f"raysweep_{shown.name}", shown.means, labels=labels)
            for place, value in sorted(getattr(now, shown.field).items()):
                family.add_metric(place, value)
            yield family


class Metrics:
    """One registry per process, so that tests can have many. by_namespace: the label namespace where it tells most."""

    def __init__(self, *, by_namespace: bool = False) -> None:
        self.registry = CollectorRegistry()
        self.by_namespace = by_namespace
        where = [NAMESPACE] if by_namespace else []
        counter, histogram = (
            partial(Counter, registry=self.registry),
            partial(Histogram, registry=self.registry),
        )
        gauge = partial(Gauge, registry=self.registry)
        self._deletions = counter(
            "raysweep_deletions", "Objects deleted by us.", ["kind", "reason", "outcome", *where]
        )
        self.deletion_lag = histogram("raysweep_deletion_lag_seconds", LAG, buckets=SECONDS)
        self._held_seconds = counter(
            "raysweep_held_resource_seconds", HELD_SECONDS, ["resource", *where]
        )
        self._freed = counter(
            "raysweep_freed_resources",
            "Cores, GPUs and bytes of the clusters deleted by us.",
            ["resource", *where],
        )
        self._head_probes = counter(
            "raysweep_head_probes", "Questions to Ray heads by their end.", ["answer"]
        )
        self._api_requests = counter("raysweep_api_requests", API_REQUESTS, ["verb", "code"])
        self.internal_errors = counter("raysweep_internal_errors", "Failures of Raysweep itself.")
        self.events_dropped = counter(
            "raysweep_events_dropped", "Events not posted, there were too many."
        )
        self.relist_at = gauge(
            "raysweep_last_relist_timestamp_seconds",
            "When everything was last listed completely; 0: not yet.",
        )
        self.leader = gauge(
            "raysweep_leader", "1: this replica leads, or leader election is off; 0: it stands by."
        )
        self.loop_lag = histogram(
            "raysweep_event_loop_lag_seconds",
            "How late the event loop woke us, once a second.",
            buckets=LOOP_SECONDS,
        )
        self.lease_failures = counter(
            "raysweep_lease_renewal_failures",
            "Renewals of the leader's Lease that did not succeed.",
        )
        Info("raysweep_build", "This program.", registry=self.registry).info(
            {"version": version("raysweep")}
        )
        ProcessCollector(registry=self.registry)
        self._begin()

    def _begin(self) -> None:
        """What begins at 0 is seen by Prometheus' increase() from its first event on; namespaces are not known beforehand."""
        for answer in ("answered", "unauthorized", "unreachable"):
            self._head_probes.labels(answer)
        if self.by_namespace:
            return
        for resource in RESOURCES:
            self._freed.labels(resource)
            self._held_seconds.labels(resource)
        ours = [reason for reason in Reason if reason.deletes and reason is not Reason.SWEPT]
        for kind, reason, outcome in product(("RayJob", "RayCluster"), ours, ("", *Outcome)):
            self._deletions.labels(kind, reason, outcome)

    def place(self, namespace: str) -> tuple[str, ...]:
        """The last of an object's labels: its namespace, where the setting says so."""
        return (namespace,) if self.by_namespace else ()

    def watch(self, snapshot: Callable[[], Snapshot]) -> None:
        """Ask this at every scrape."""
        self.registry.register(_Now(snapshot, by_namespace=self.by_namespace))

    def api_request(self, verb: str, code: int) -> None:
        """One answer, or failure (code 0), of the API server."""
        self._api_requests.labels(verb, str(code)).inc()

    def lease_request(self, _verb: str, code: int) -> None:
        """One request of the leader election; what becomes of renewals is raysweep_lease_renewal_failures."""
        self.api_request("LEASE", code)

    def head_by_api_server(self, _verb: str, code: int) -> None:
        """One look at a head through the API server: a code of 500 and more is the head's silence rather than a fault there."""
        self.api_request("PROXY", code)

    def head_probe(self, answer: str) -> None:
        """One question to a head."""
        self._head_probes.labels(answer).inc()

    def deleted(self, target: Target, why: Explanation) -> None:
        """One object was deleted by us."""
        self._deletions.labels(
            target.kind, why.reason, why.outcome or "", *self.place(target.namespace)
        ).inc()

    def freed(self, namespace: str, resources: Resources, held: timedelta) -> None:
        """A cluster of these resources was deleted, once per uid; held: for how long after the end of its job."""
        for resource in RESOURCES:
            amount, place = getattr(resources, resource), self.place(namespace)
            self._freed.labels(resource, *place).inc(amount)
            self._held_seconds.labels(resource, *place).inc(amount * max(held.total_seconds(), 0))

    async def measure_loop(self, uptime: Callable[[], timedelta]) -> None:
        """How late the event loop is, for ever: what blocks it delays probes, watches and the Lease alike."""
        while True:
            began = uptime()
            await asyncio.sleep(LOOP_LOOKED_AT_EVERY.total_seconds())
            self.loop_lag.observe(max((uptime() - began - LOOP_LOOKED_AT_EVERY).total_seconds(), 0))
