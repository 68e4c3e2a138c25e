"""The metrics of the current state and of deletions, and their labels."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from prometheus_client import generate_latest

from raysweep.cleanup.act import DeletionResult
from raysweep.cleanup.circuit_breaker import CircuitBreaker
from raysweep.cleanup.observe import Observer
from raysweep.cleanup.reconcile import Pass
from raysweep.controller import snapshot
from raysweep.controller.cleaner import Cleaner
from raysweep.controller.metrics import Metrics
from raysweep.controller.reporter import Reporter
from raysweep.controller.store import Store
from raysweep.controller.workqueue import DelayingQueue
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Delete
from raysweep.core.model.facts import RayJob, Resources
from raysweep.core.model.parameters import Mode, Parameters
from raysweep.core.update_memory import update_memory
from sandbox.waiting import until
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    a_namespace,
    a_policy,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_running,
    a_silent_probe,
    an_assessment,
    says,
)

FOUR_GPUS = Resources(cpu=8, gpu=4, memory=1024)
BY_NAMESPACE = {
    "raysweep_deletions",
    "raysweep_rayjobs",
    "raysweep_held_resources",
    "raysweep_held_resource_seconds",
    "raysweep_still_held_resource_seconds",
    "raysweep_freed_resources",
    "raysweep_longest_overdue_seconds",
}


class World:
    """An operator without connections. The test supplies what it has observed and judged."""

    def __init__(
        self,
        *,
        at: datetime = DUE,
        by_namespace: bool = False,
        parameters: Parameters | None = None,
    ) -> None:
        self.metrics = Metrics(by_namespace=by_namespace)
        unused: Any = None
        schedule = DelayingQueue(lambda: at)
        self.store, self.at = Store(schedule.add), at
        reporter = Reporter(unused, self.metrics, lambda: at)
        observer = Observer(
            self.store,
            unused,
            unused,
            lambda: at,
            parameters or Parameters(),
            HOUR,
            lambda: HOUR,
            at,
            CircuitBreaker(lambda: HOUR),
        )
        self.cleaner = Cleaner(observer, self.store, schedule, reporter, lambda: at)
        self.metrics.watch(lambda: snapshot.take(self.cleaner, self.metrics))

    def knows(self, job: RayJob, *, with_cluster: bool = True) -> "World":
        """Stores the RayJob and its cluster."""
        self.store.upsert_rayjob(job)
        if with_cluster:
            cluster = a_raycluster(
                uid=f"{job.uid}-c", controller_uid=job.uid, namespace=job.namespace
            )
            self.store.upsert_raycluster(cluster)
        return self

    def judged(self, assessment: Assessment) -> "World":
        """Records a pass, with a successful deletion unless the mode is DryRun."""
        self.knows(assessment.rayjob)
        decision = decide(replace(assessment, now=self.at))
        self.store.update_memory(
            assessment.rayjob.uid, update_memory(replace(assessment, now=self.at), decision)
        )
        deletion = DeletionResult(
            decision.targets if isinstance(decision, Delete) and not assessment.dry_run_by else ()
        )
        self.cleaner.reporter.report(
            Pass(
                assessment.rayjob,
                decision,
                assessment.memory,
                deletion=deletion,
                dry_run_by=assessment.dry_run_by,
            )
        )
        return self

    def shows(self, name: str, **labels: str) -> float | None:
        """The value at a scrape; None where that series is not there."""
        return self.metrics.registry.get_sample_value(name, labels)

    def labels(self) -> dict[str, set[str]]:
        """The names of the labels that each metric has at a scrape."""
        return {
            family.name: {label for sample in family.samples for label in sample.labels}
            for family in self.metrics.registry.collect()
        }


def everything(world: World) -> World:
    """One RayJob of each kind: deleted, overdue with an unreachable head, kept without a TTL."""
    silent = a_rayjob(uid="uid-silent", desired=FOUR_GPUS)
    its_own = replace(a_silent_probe(), cluster=a_raycluster(controller_uid="uid-silent"))
    world.judged(an_assessment(rayjob=a_rayjob(desired=FOUR_GPUS), probe=a_probe()))
    world.judged(an_assessment(rayjob=silent, probe=its_own))
    return world.judged(
        an_assessment(rayjob=a_rayjob(uid="uid-no-ttl", desired=FOUR_GPUS, annotations={}))
    )


def test_rayjobs_are_counted_by_their_last_reason() -> None:
    world = World()
    world.judged(an_assessment(rayjob=a_rayjob(annotations={})))
    world.judged(an_assessment(rayjob=a_rayjob(uid="uid-2", annotations={})))
    world.judged(an_assessment(rayjob=a_running(uid="uid-3")))
    world.knows(a_rayjob(uid="uid-not-judged-yet"))
    assert world.shows("raysweep_rayjobs", reason="NoTTL") == 2
    assert world.shows("raysweep_rayjobs", reason="NotFinished") == 1
    world.store.remove_rayjob("uid-2")
    assert world.shows("raysweep_rayjobs", reason="NoTTL") == 1


def test_resources_that_clusters_of_finished_jobs_hold() -> None:
    world = World(at=END + 2 * HOUR)
    world.knows(a_rayjob(desired=FOUR_GPUS))
    world.knows(
        a_rayjob(uid="uid-2", desired=FOUR_GPUS, end_time=END + HOUR, status_written_at=END + HOUR)
    )
    world.knows(a_running(uid="uid-running", desired=FOUR_GPUS))
    world.knows(a_rayjob(uid="uid-cluster-is-gone", desired=FOUR_GPUS), with_cluster=False)
    assert [
        world.shows("raysweep_held_resources", resource=each) for each in ("cpu", "gpu", "memory")
    ] == [16, 8, 2048]
    assert (
        world.shows("raysweep_still_held_resource_seconds", resource="gpu") == 4 * 7200 + 4 * 3600
    )


def test_unheld_resources_are_zero() -> None:
    world = World()
    assert world.shows("raysweep_held_resources", resource="gpu") == 0
    assert world.shows("raysweep_still_held_resource_seconds", resource="gpu") == 0


def test_a_clock_that_lags_counts_no_negative_time() -> None:
    world = World(at=END - HOUR).knows(a_rayjob(desired=FOUR_GPUS))
    assert world.shows("raysweep_still_held_resource_seconds", resource="gpu") == 0


KEPT = a_rayjob(annotations=says(ttl="1h", keep_until="2027-01-01T00:00:00Z"))
DRY_RUN = Parameters(mode=Mode.DRY_RUN)


@pytest.mark.parametrize(
    ("assessment", "reason", "seconds"),
    [
        pytest.param(
            an_assessment(probe=a_silent_probe()),
            "HeadUnreachable",
            1800.0,
            id="an unreachable head: since the deadline",
        ),
        pytest.param(
            an_assessment(rayjob=KEPT), "KeptByUser", 1800.0, id="a hold has a reason of its own"
        ),
        pytest.param(an_assessment(rayjob=a_rayjob(annotations={})), "NoTTL", None, id="no TTL"),
        pytest.param(
            an_assessment(rayjob=a_rayjob(annotations=says(ttl="2h"))),
            "NotDue",
            None,
            id="not due yet",
        ),
        pytest.param(
            an_assessment(probe=a_probe(), parameters=DRY_RUN), "Expired", None, id="DryRun"
        ),
    ],
)
def test_how_long_a_cluster_is_overdue(
    assessment: Assessment, reason: str, seconds: float | None
) -> None:
    world = World(at=DUE + HOUR / 2).judged(assessment)
    assert world.shows("raysweep_rayjobs", reason=reason) == 1
    assert world.shows("raysweep_longest_overdue_seconds", reason=reason) == seconds


def test_the_longest_overdue_time_counts_while_a_cluster_exists() -> None:
    world = World(at=DUE + 2 * HOUR)
    later = a_rayjob(uid="uid-2", end_time=END + HOUR, status_written_at=END + HOUR)
    its_own = replace(a_silent_probe(), cluster=a_raycluster(controller_uid="uid-2"))
    world.judged(an_assessment(probe=a_silent_probe())).judged(
        an_assessment(rayjob=later, probe=its_own)
    )
    assert world.shows("raysweep_longest_overdue_seconds", reason="HeadUnreachable") == 7200
    world.store.remove_raycluster("uid-train-c")
    assert world.shows("raysweep_longest_overdue_seconds", reason="HeadUnreachable") == 3600


def test_bulk_expiry_queue_and_unknown_states() -> None:
    waits = an_assessment(
        namespace=a_namespace(ttl="1h"), rayjob=a_rayjob(annotations={}), started_at=DUE + HOUR
    )
    world = World(at=DUE + HOUR).judged(waits)
    world.knows(a_rayjob(uid="uid-odd", deployment_status="Pondering"))
    world.cleaner.cleanup_queue.add("team-a", "uid-train", DUE)
    assert world.shows("raysweep_rayjobs", reason="BulkExpiryDelay") == 1
    assert world.shows("raysweep_bulk_expiry_rayjobs") == 1
    assert world.shows("raysweep_queue_depth") == 1
    assert (
        world.shows("raysweep_scheduled") == 2
    )  # both were seen, and nothing has taken them off yet
    assert world.shows("raysweep_unknown_states") == 1


def test_policies_and_dry_run() -> None:
    world = World(parameters=Parameters(mode=Mode.DRY_RUN))
    assert world.shows("raysweep_policies", state="accepted") is None  # not read yet
    policies = (
        a_policy(),
        a_policy("stop", is_dry_run=True),
        a_policy("odd", errors=("spec.priority: 'x'",)),
    )
    world.store.replace_policies(policies, HOUR)
    assert [world.shows("raysweep_policies", state=state) for state in ("accepted", "invalid")] == [
        2,
        1,
    ]
    assert [world.shows("raysweep_dry_run", by=by) for by in ("setting", "policy")] == [1, 1]
    world.store.clear_policies()
    assert world.shows("raysweep_policies", state="invalid") is None
    assert World().shows("raysweep_dry_run", by="setting") == 0


def test_without_the_setting_no_metric_has_the_label_namespace() -> None:
    assert {
        name for name, labels in everything(World()).labels().items() if "namespace" in labels
    } == set()


def test_with_the_setting_these_metrics_have_the_label_namespace() -> None:
    world = everything(World(at=DUE + HOUR / 2, by_namespace=True))
    assert {
        name for name, labels in world.labels().items() if "namespace" in labels
    } == BY_NAMESPACE
    labels = {"kind": "RayJob", "reason": "Expired", "outcome": "succeeded", "namespace": "team-a"}
    assert world.shows("raysweep_deletions_total", **labels) == 1
    assert world.shows("raysweep_freed_resources_total", resource="gpu", namespace="team-a") == 4


@pytest.mark.parametrize(
    "by_namespace", [False, True], ids=["without namespaces", "with namespaces"]
)
def test_no_label_has_the_name_of_a_rayjob_or_a_cluster(by_namespace: bool) -> None:
    world = everything(World(at=DUE + HOUR / 2, by_namespace=by_namespace))
    text = generate_latest(world.metrics.registry).decode()
    assert ("team-a" in text) is by_namespace
    assert not [name for name in ("train", "uid-") if name in text]


def test_counters_start_at_zero() -> None:
    world = World()
    assert world.shows("raysweep_freed_resources_total", resource="gpu") == 0
    assert world.shows("raysweep_held_resource_seconds_total", resource="gpu") == 0
    assert world.shows("raysweep_head_probes_total", answer="unreachable") == 0
    before = {
        (s.name, *s.labels.values()) for f in world.metrics.registry.collect() for s in f.samples
    }
    everything(world)
    after = {
        (s.name, *s.labels.values()) for f in world.metrics.registry.collect() for s in f.samples
    }
    assert {name for name, *_ in after - before} == {"raysweep_rayjobs"}


def _stepping(step: timedelta) -> Callable[[], timedelta]:
    steps = count()
    return lambda: step * next(steps)


async def test_the_delay_of_the_event_loop_is_measured() -> None:
    world = World()
    measuring = asyncio.create_task(world.metrics.measure_loop(_stepping(timedelta(seconds=4))))
    await until(lambda: bool(world.shows("raysweep_event_loop_lag_seconds_count")), timeout=90)
    measuring.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await measuring
    assert world.shows("raysweep_event_loop_lag_seconds_sum") == 3
    assert world.shows("raysweep_event_loop_lag_seconds_bucket", le="2.5") == 0


def test_a_probe_through_the_api_server_is_counted_as_proxy() -> None:
    world = World()
    world.metrics.proxied_head_request("GET", 503)
    world.metrics.api_request("GET", 200)
    assert world.shows("raysweep_api_requests_total", verb="PROXY", code="503") == 1
    assert world.shows("raysweep_api_requests_total", verb="GET", code="503") is None


def test_a_policy_with_dry_run_does_not_count_as_overdue() -> None:
    stop = a_policy("stop", is_dry_run=True)
    world = World(at=DUE + HOUR).judged(replace(an_assessment(probe=a_probe()), policies=(stop,)))
    assert world.shows("raysweep_longest_overdue_seconds", reason="Expired") is None


def test_a_snapshot_of_many_rayjobs_is_computed_in_steps() -> None:
    """The event loop gets its turn after at most 500 RayJobs."""
    world = World()
    for number in range(5000):
        world.knows(a_rayjob(uid=f"uid-{number}", desired=FOUR_GPUS))
    steps = snapshot.take_in_steps(world.cleaner, world.metrics)
    assert sum(1 for _ in steps) == 10
    assert world.shows("raysweep_held_resources", resource="gpu") == 20_000
