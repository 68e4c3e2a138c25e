"""Who is in hand: one RayJob is never looked at twice at once, and what fails delays itself alone."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from raysweep.cleanup.brake import Brake
from raysweep.cleanup.observe import Observer
from raysweep.cleanup.reconcile import Pass
from raysweep.clients.errors import ApiError, BusyError
from raysweep.controller.cleaner import Cleaner
from raysweep.controller.metrics import Metrics
from raysweep.controller.pace import Bucket
from raysweep.controller.report import Reporter
from raysweep.controller.schedule import Schedule
from raysweep.controller.store import Store
from raysweep.core.rules import DEFAULTS
from sandbox.waiting import until
from tests.builders import DUE, a_namespace, a_rayjob

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def now() -> datetime:
    return NOW


def a_cleaner(now: Callable[[], datetime] = now) -> Cleaner:
    """Nothing in it can reach anything: the looks are the tests' own."""
    schedule = Schedule(now)
    nobody: Any = None
    reporter = Reporter(nobody, Metrics(), now)
    return Cleaner(nobody, Store(schedule.soon), schedule, reporter, Bucket(5, 20), now)


async def test_one_that_is_polled_and_due_at_once_is_in_one_hand_only() -> None:
    cleaner, begun, may_end, looks = a_cleaner(), asyncio.Event(), asyncio.Event(), 0

    async def look(_observer: Any, _uid: str) -> Pass | None:
        nonlocal looks
        looks += 1
        begun.set()
        await may_end.wait()
        return None

    first = asyncio.create_task(cleaner.look_at("uid-train", look))
    await begun.wait()
    assert await cleaner.look_at("uid-train", look) is None
    assert (looks, list(cleaner.busy)) == (1, ["uid-train"])

    may_end.set()
    await first
    assert cleaner.busy == {}
    assert "uid-train" in cleaner.schedule  # judged again, now that it is free


async def test_a_refused_look_is_taken_again_no_earlier_than_the_server_asked() -> None:
    cleaner = a_cleaner()
    cleaner.store.saw_rayjob(a_rayjob())

    async def look(_observer: Any, _uid: str) -> Pass | None:
        raise BusyError("429 slow down", code=429, retry_after=timedelta(seconds=40))

    await cleaner.look_at("uid-train", look)
    assert cleaner.schedule.at_of("uid-train") == NOW + timedelta(seconds=40)
    assert cleaner.busy == {}


async def test_looks_that_fail_again_and_again_come_ever_later() -> None:
    cleaner, nobody = a_cleaner(lambda: DUE), cast("Any", None)
    cleaner.store.saw_namespace(a_namespace(), timedelta())
    cleaner.store.saw_policies((), timedelta())
    cleaner.store.saw_rayjob(a_rayjob())
    minute, brake = timedelta(minutes=1), Brake(timedelta)
    cleaner.observer = Observer(cleaner.store, nobody, nobody, lambda: DUE, DEFAULTS, minute, timedelta, None, brake)

    async def look(_observer: Any, _uid: str) -> Pass | None:
        raise ApiError("500", code=500)

    waits = []
    judging = asyncio.create_task(cleaner.judge_for_ever())
    for _ in range(4):
        cleaner.schedule.soon("uid-train")
        await cleaner.line.wait()
        await cleaner.look_at(cleaner.line.next(), look)
        at = cleaner.schedule.at_of("uid-train")
        assert at is not None
        waits.append((at - DUE).total_seconds())
    judging.cancel()
    assert waits == [1, 2, 4, 8]


async def test_a_fault_of_ours_keeps_that_one_and_is_told() -> None:
    cleaner = a_cleaner()
    cleaner.store.saw_rayjob(a_rayjob())

    async def look(_observer: Any, _uid: str) -> Pass | None:
        raise ZeroDivisionError("ours")

    await cleaner.look_at("uid-train", look)
    assert cleaner.reporter.reason_of("uid-train") == "InternalError"
    assert cleaner.schedule.at_of("uid-train") == NOW + timedelta(seconds=1)


@dataclass
class Moment:
    """A clock that goes when it is told to, for the wall and for what is counted from the start."""

    passed: timedelta = timedelta()

    def now(self) -> datetime:
        return NOW + self.passed

    def uptime(self) -> timedelta:
        return self.passed


async def test_before_the_first_list_is_complete_judgements_wait_and_that_is_no_standstill() -> None:
    moment = Moment()
    cleaner = a_cleaner(moment.now)
    cleaner.store.saw_rayjob(a_rayjob())
    moment.passed = timedelta(hours=3)  # the API server was away
    assert (cleaner.schedule.overdue(), cleaner.stands_still_for()) == (timedelta(hours=3), timedelta())


async def test_a_long_queue_that_moves_is_no_standstill_and_one_that_does_not_is() -> None:
    moment = Moment()
    cleaner = a_cleaner(moment.now)
    cleaner.observer = cast("Any", moment)
    for number in range(3):
        cleaner.schedule.soon(f"uid-{number}")
    moment.passed = timedelta(hours=1)
    judging = asyncio.create_task(cleaner.judge_for_ever())
    await until(lambda: len(cleaner.schedule) == 1, timeout=90, every=0)
    assert (cleaner.schedule.overdue(), cleaner.stands_still_for()) == (timedelta(hours=1), timedelta())

    judging.cancel()
    await asyncio.wait([judging])
    moment.passed += timedelta(minutes=3)
    assert cleaner.stands_still_for() == timedelta(minutes=3)
