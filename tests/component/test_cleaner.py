"""The loops of the cleaner: one pass at a time for part RayJob, retries, and limited memory."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import FunctionType
from typing import Any, cast

import pytest

from raysweep.cleanup.circuit_breaker import CircuitBreaker
from raysweep.cleanup.observe import Observer
from raysweep.cleanup.reconcile import Pass
from raysweep.clients.kubernetes.errors import ApiError, BusyError
from raysweep.clients.ray.probe_limits import SILENT, SILENT_PER_NAMESPACE
from raysweep.controller.cleaner import (
    MAX_CLEANUPS,
    MAX_CLEANUPS_PER_NAMESPACE,
    MAX_STATUS_PROBES,
    MAX_STATUS_PROBES_PER_NAMESPACE,
    Cleaner,
)
from raysweep.controller.metrics import Metrics
from raysweep.controller.reporter import Reporter
from raysweep.controller.store import Store
from raysweep.controller.workqueue import DelayingQueue
from raysweep.core.model.parameters import DEFAULTS
from sandbox.waiting import until
from tests.support.builders import DUE, a_namespace, a_rayjob, says

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def now() -> datetime:
    return NOW


def a_cleaner(now: Callable[[], datetime] = now) -> Cleaner:
    """A cleaner without connections. The tests supply the pass functions."""
    schedule = DelayingQueue(now)
    unused: Any = None
    reporter = Reporter(unused, Metrics(), now)
    return Cleaner(unused, Store(schedule.add), schedule, reporter, now)


async def test_a_rayjob_whose_status_is_being_probed_is_not_cleaned_at_the_same_time() -> None:
    cleaner, begun, may_end, probes = a_cleaner(), asyncio.Event(), asyncio.Event(), 0

    async def probe(_observer: Any, _uid: str) -> Pass | None:
        nonlocal probes
        probes += 1
        begun.set()
        await may_end.wait()
        return None

    first = asyncio.create_task(cleaner.run_pass("uid-train", probe))
    await begun.wait()
    assert await cleaner.run_pass("uid-train", probe) is None
    assert (probes, list(cleaner.in_progress)) == (1, ["uid-train"])

    may_end.set()
    await first
    assert cleaner.in_progress == {}
    assert "uid-train" in cleaner.delaying_queue  # judged again, now that it is free


async def test_retry_after_delays_the_next_pass() -> None:
    cleaner = a_cleaner()
    cleaner.store.upsert_rayjob(a_rayjob())

    async def probe(_observer: Any, _uid: str) -> Pass | None:
        raise BusyError("429 slow down", code=429, retry_after=timedelta(seconds=40))

    await cleaner.run_pass("uid-train", probe)
    assert cleaner.delaying_queue.due_at("uid-train") == NOW + timedelta(seconds=40)
    assert cleaner.in_progress == {}


async def test_repeated_failures_increase_the_delay() -> None:
    cleaner, unused = a_cleaner(lambda: DUE), cast("Any", None)
    cleaner.store.upsert_namespace(a_namespace(), timedelta())
    cleaner.store.replace_policies((), timedelta())
    cleaner.store.upsert_rayjob(a_rayjob())
    minute, circuit_breaker = timedelta(minutes=1), CircuitBreaker(timedelta)
    cleaner.observer = Observer(
        cleaner.store,
        unused,
        unused,
        lambda: DUE,
        DEFAULTS,
        minute,
        timedelta,
        None,
        circuit_breaker,
    )

    async def probe(_observer: Any, _uid: str) -> Pass | None:
        raise ApiError("500", code=500)

    waits = []
    judging = asyncio.create_task(cleaner.run_judgements())
    for _ in range(4):
        cleaner.delaying_queue.add("uid-train")
        await cleaner.cleanup_queue.wait()
        await cleaner.run_pass(cleaner.cleanup_queue.get()[1], probe)
        at = cleaner.delaying_queue.due_at("uid-train")
        assert at is not None
        waits.append((at - DUE).total_seconds())
    judging.cancel()
    assert waits == [1, 2, 4, 8]


async def test_an_internal_error_keeps_the_rayjob_and_is_reported() -> None:
    cleaner = a_cleaner()
    cleaner.store.upsert_rayjob(a_rayjob())

    async def probe(_observer: Any, _uid: str) -> Pass | None:
        raise ZeroDivisionError("ours")

    await cleaner.run_pass("uid-train", probe)
    assert cleaner.reporter.reason_of("uid-train") == "InternalError"
    assert cleaner.delaying_queue.due_at("uid-train") == NOW + timedelta(seconds=1)


@dataclass
class Moment:
    """A wall clock and an uptime that the test sets."""

    passed: timedelta = timedelta()

    def now(self) -> datetime:
        return NOW + self.passed

    def uptime(self) -> timedelta:
        return self.passed


async def test_before_the_first_list_nothing_is_judged_and_the_cleaner_is_not_stuck() -> None:
    moment = Moment()
    cleaner = a_cleaner(moment.now)
    cleaner.store.upsert_rayjob(a_rayjob())
    moment.passed = timedelta(hours=3)  # the API server was away
    assert (cleaner.delaying_queue.overdue(), cleaner.stuck_for()) == (
        timedelta(hours=3),
        timedelta(),
    )


async def test_the_cleaner_is_stuck_only_if_no_rayjob_of_the_queue_is_judged() -> None:
    moment = Moment()
    cleaner = a_cleaner(moment.now)
    cleaner.observer = cast("Any", moment)
    for number in range(3):
        cleaner.delaying_queue.add(f"uid-{number}")
    moment.passed = timedelta(hours=1)
    judging = asyncio.create_task(cleaner.run_judgements())
    await until(lambda: len(cleaner.delaying_queue) == 1, timeout=90, every=0)
    assert (cleaner.delaying_queue.overdue(), cleaner.stuck_for()) == (
        timedelta(hours=1),
        timedelta(),
    )

    judging.cancel()
    await asyncio.wait([judging])
    moment.passed += timedelta(minutes=3)
    assert cleaner.stuck_for() == timedelta(minutes=3)


def _at_work(*, now: Callable[[], datetime] = lambda: DUE) -> Cleaner:
    """A cleaner without connections, which judges on cached state."""
    schedule, unused = DelayingQueue(now), cast("Any", None)
    store, metrics = Store(schedule.add, schedule.add_all), Metrics()
    circuit_breaker = CircuitBreaker(timedelta)
    observer = Observer(
        store, unused, unused, now, DEFAULTS, timedelta(minutes=1), timedelta, None, circuit_breaker
    )
    cleaner = Cleaner(observer, store, schedule, Reporter(unused, metrics, now), now)
    store.upsert_namespace(a_namespace(), timedelta())
    store.replace_policies((), timedelta())
    return cleaner


class CountedKeys(dict[str, str]):
    """Annotations that count how often all of their keys are read."""

    walks = 0

    def __iter__(self) -> Iterator[str]:
        CountedKeys.walks += 1
        return super().__iter__()


def test_annotations_are_validated_once_per_resource_version() -> None:
    """Those of the RayJob and of its Namespace, however often the RayJob is judged."""
    cleaner, counted = _at_work(), CountedKeys(says(ttl="1h"))
    cleaner.store.upsert_namespace(
        replace(a_namespace(), annotations=CountedKeys(), resource_version="8"), timedelta()
    )
    cleaner.store.upsert_rayjob(a_rayjob(annotations=counted))
    CountedKeys.walks = 0
    cleaner._judge("uid-train")
    first = CountedKeys.walks
    for _ in range(10):
        cleaner._judge("uid-train")
    again = CountedKeys.walks - first
    cleaner.store.upsert_rayjob(a_rayjob(annotations=CountedKeys(counted), resource_version="101"))
    CountedKeys.walks = 0
    cleaner._report_invalid(a_rayjob(annotations=counted, resource_version="101"))
    assert (first - again / 10, CountedKeys.walks) == (2, 1)


def _entries(part: object, visited: set[int]) -> int:
    """How many entries all containers hold that are reachable from here."""
    if id(part) in visited or isinstance(part, (str, bytes, int, float, type, FunctionType)):
        return 0
    visited.add(id(part))
    inner: list[object] = []
    if isinstance(part, Mapping):
        inner += [*part.keys(), *part.values()]
    elif isinstance(part, (list, tuple, set, frozenset, deque)):
        inner += part
    count = len(inner)
    if type(part).__module__.startswith("raysweep"):
        inner += vars(part).values() if hasattr(part, "__dict__") else []
    return count + sum(_entries(part, visited) for part in inner)


async def _writes(cleaner: Cleaner, count: int) -> int:
    """Writes two RayJobs and their Namespace, judging part, and counts the entries in memory."""
    for version in range(count):
        for uid in ("uid-a", "uid-b"):
            odd = says(ttl="1h", odd=str(version))
            job = a_rayjob(uid=uid, name=uid, resource_version=str(version + 1), annotations=odd)
            selects: dict[str, Any] = {
                "selected_cluster": f"cluster-{version}",
                "deployment_status": "Running",
            }
            cleaner.store.upsert_rayjob(replace(job, **selects) if version % 2 else job)
        namespace = replace(
            a_namespace(), resource_version=str(version + 10), annotations=says(ttl=f"{version}s")
        )
        cleaner.store.upsert_namespace(namespace, timedelta())
        while cleaner.delaying_queue.overdue() >= timedelta() and len(cleaner.delaying_queue):
            cleaner._judge(await cleaner.delaying_queue.get())
            while len(cleaner.cleanup_queue):
                cleaner.cleanup_queue.done(cleaner.cleanup_queue.get()[0])
                cleaner._on_api_error("uid-a", ApiError("503", code=503))
                cleaner.delaying_queue.remove("uid-a")
    return _entries(cleaner, set())


async def test_memory_does_not_grow_with_the_number_of_writes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Store, queues, reports and backoffs. Only waiting Events grow, up to their limit."""
    caplog.set_level(logging.CRITICAL, "raysweep")
    cleaner = _at_work()
    early = await _writes(cleaner, 1500)
    late = await _writes(cleaner, 6000)
    assert late <= early + 200


async def test_deleted_objects_leave_nothing_in_memory() -> None:
    """RayJobs, clusters that they select, and Namespaces, after the next list has begun."""
    cleaner = _at_work()
    before = _entries(cleaner, set())
    for number in range(300):
        uid, name = f"uid-{number}", f"team-{number}"
        cleaner.store.upsert_namespace(
            replace(a_namespace(), name=name, uid=f"uid-{name}"), timedelta()
        )
        job = a_rayjob(uid=uid, namespace=name, selected_cluster=name, deployment_status="Running")
        cleaner.store.upsert_rayjob(job)
        cleaner._judge(await cleaner.delaying_queue.get())
        cleaner.store.remove_rayjob(uid)
        cleaner.store.remove_namespace(name)
        while len(cleaner.delaying_queue):
            cleaner._judge(await cleaner.delaying_queue.get())
    cleaner.store.rayjobs.begin_list()
    cleaner.store.namespaces.begin_list()
    cleaner.judge_all()
    assert (
        cleaner.delaying_queue.overdue() == timedelta()
    )  # and what is stale at the front of its heap is dropped
    assert _entries(cleaner, set()) <= before + 50


def test_every_probe_in_progress_finds_a_place_for_silent_heads() -> None:
    """Otherwise a hung head would keep its place among those that are asked."""
    assert MAX_CLEANUPS + MAX_STATUS_PROBES <= SILENT
    assert MAX_CLEANUPS_PER_NAMESPACE + MAX_STATUS_PROBES_PER_NAMESPACE <= SILENT_PER_NAMESPACE


async def test_slow_heads_of_one_namespace_do_not_take_every_worker() -> None:
    """Passes of one namespace take at most an eighth of the workers."""
    cleaner, in_progress, may_end = _at_work(), list[str](), asyncio.Event()

    async def slow(uid: str) -> None:
        in_progress.append(uid)
        await may_end.wait()

    for number in range(MAX_CLEANUPS):
        cleaner.cleanup_queue.add("slow", f"uid-{number}", DUE)
    working = asyncio.create_task(cleaner._run_queue(cleaner.cleanup_queue, MAX_CLEANUPS, slow))
    await until(lambda: len(in_progress) == MAX_CLEANUPS // 8, timeout=90, every=0)
    cleaner.cleanup_queue.add("other", "uid-other", DUE)
    await until(lambda: "uid-other" in in_progress, timeout=90, every=0)
    may_end.set()
    await until(lambda: len(in_progress) == MAX_CLEANUPS + 1, timeout=90, every=0)
    working.cancel()
