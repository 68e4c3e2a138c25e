"""What is counted and measured, under the prefix raysweep_, in base units and never with a job's name. Nothing is decided."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from raysweep.core.facts import Resources


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is so right now; taken at each scrape."""

    tracked: Tally[str]  # RayJobs by the reason they are kept or wait for
    held: Resources  # by the clusters of finished jobs
    waiting: int  # for their turn to be looked at and deleted
    scheduled: int


class _Now(Collector):
    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        now = self._snapshot()
        tracked = GaugeMetricFamily("raysweep_rayjobs", "RayJobs by the reason of their last judgement.", labels=["reason"])
        for reason, count in sorted(now.tracked.items()):
            tracked.add_metric([reason], count)
        held = GaugeMetricFamily(
            "raysweep_held_resources", "What the clusters of finished jobs hold: cores, GPUs, bytes.", labels=["resource"]
        )
        for resource in ("cpu", "gpu", "memory"):
            held.add_metric([resource], getattr(now.held, resource))
        queue = GaugeMetricFamily("raysweep_queue_depth", "RayJobs due that wait for their turn.", value=now.waiting)
        scheduled = GaugeMetricFamily("raysweep_scheduled", "RayJobs that will be judged at a known time.", value=now.scheduled)
        return (tracked, held, queue, scheduled)


class Metrics:
    """One registry per process, so that tests can have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.deletions = Counter("raysweep_deletions", "Objects deleted by us.", ["kind", "reason", "outcome"], registry=r)
        self.deletion_lag = Histogram(
            "raysweep_deletion_lag_seconds",
            "From the time a RayJob or RayCluster was due to its deletion.",
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 86400),
            registry=r,
        )
        self.resource_seconds_held = Counter(
            "raysweep_held_resource_seconds",
            "Core-, GPU- and byte-seconds that clusters held from the end of their job to their deletion by us.",
            ["resource"],
            registry=r,
        )
        self.resources_freed = Counter(
            "raysweep_freed_resources", "Cores, GPUs and bytes of the clusters deleted by us.", ["resource"], registry=r
        )
        self.head_looks = Counter("raysweep_head_looks", "Questions to Ray heads by their end.", ["answer"], registry=r)
        self.api_requests = Counter(
            "raysweep_api_requests", "Requests to the API server; code 0: no answer.", ["verb", "code"], registry=r
        )
        self.unknown_status = Counter(
            "raysweep_unknown_status_words", "RayJob states that KubeRay is not known to use.", registry=r
        )
        self.internal_errors = Counter("raysweep_internal_errors", "Failures of Raysweep itself.", registry=r)
        self.events_dropped = Counter("raysweep_events_dropped", "Events not posted, there were too many.", registry=r)
        self.relist_at = Gauge(
            "raysweep_last_relist_timestamp_seconds", "When everything was last listed completely.", registry=r
        )
        self.build = Info("raysweep_build", "This program.", registry=r)
        self.build.info({"version": version("raysweep")})

    def watch(self, snapshot: Callable[[], Snapshot]) -> None:
        """Ask this at every scrape."""
        self.registry.register(_Now(snapshot))

    def api_request(self, verb: str, code: int) -> None:
        """One answer, or failure (code 0), of the API server."""
        self.api_requests.labels(verb, str(code)).inc()

    def head_look(self, answer: str) -> None:
        """One question to a head."""
        self.head_looks.labels(answer).inc()

    def freed(self, resources: Resources, held_since: datetime, now: datetime) -> None:
        """A cluster of these resources was deleted, once per uid."""
        seconds = max((now - held_since).total_seconds(), 0)
        for resource in ("cpu", "gpu", "memory"):
            amount = getattr(resources, resource)
            self.resources_freed.labels(resource).inc(amount)
            self.resource_seconds_held.labels(resource).inc(amount * seconds)
