"""The schedule: the first that is due comes first, a new time replaces the old, and sleepers wake early."""

import asyncio
from datetime import datetime, timedelta

from raysweep.controller.workqueue import DelayingQueue
from tests.support.builders import END, HOUR, MOMENT


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.time = END

    def __call__(self) -> datetime:
        return self.time


def _schedule() -> tuple[DelayingQueue, Clock]:
    clock = Clock()
    return DelayingQueue(clock), clock


async def test_the_first_that_is_due_comes_first() -> None:
    schedule, clock = _schedule()
    schedule.add_at("late", END + HOUR)
    schedule.add_at("early", END + HOUR / 2)
    clock.time = END + HOUR
    assert [await schedule.get(), await schedule.get(), len(schedule)] == ["early", "late", 0]


async def test_what_is_due_at_the_same_time_comes_in_the_order_in_which_it_was_said() -> None:
    schedule, _ = _schedule()
    for uid in "cab":
        schedule.add(uid)
    assert [await schedule.get() for _ in "cab"] == ["c", "a", "b"]


async def test_exactly_at_its_time_it_is_due_and_a_moment_before_it_is_not() -> None:
    schedule, clock = _schedule()
    schedule.add_at("a", END + HOUR)
    clock.time = END + HOUR - MOMENT
    assert schedule.overdue() == timedelta()
    waiting = asyncio.create_task(schedule.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.time = END + HOUR
    assert await waiting == "a"


async def test_a_new_time_replaces_the_old_one_in_both_directions() -> None:
    schedule, clock = _schedule()
    schedule.add_at("postponed", END)
    schedule.add_at("postponed", END + HOUR)
    schedule.add_at("preponed", END + 2 * HOUR)
    schedule.add_at("preponed", END)
    assert (await schedule.get(), len(schedule), "postponed" in schedule) == ("preponed", 1, True)
    clock.time = END + HOUR
    assert await schedule.get() == "postponed"


async def test_it_comes_once_however_often_it_was_said() -> None:
    schedule, _ = _schedule()
    schedule.add("a")
    schedule.add("a")
    assert (await schedule.get(), len(schedule), "a" in schedule) == ("a", 0, False)


async def test_what_is_forgotten_does_not_come() -> None:
    schedule, _ = _schedule()
    schedule.add("gone")
    schedule.add("there")
    schedule.remove("gone")
    schedule.remove("never known")
    assert (await schedule.get(), len(schedule)) == ("there", 0)


async def test_whoever_waits_wakes_when_something_earlier_is_said() -> None:
    schedule, _ = _schedule()
    schedule.add_at("late", END + HOUR)
    waiting = asyncio.create_task(schedule.get())
    await asyncio.sleep(0)
    schedule.add("now")
    assert await asyncio.wait_for(waiting, 5) == "now"


async def test_whoever_waits_for_nothing_wakes_at_the_first_word() -> None:
    schedule, _ = _schedule()
    waiting = asyncio.create_task(schedule.get())
    await asyncio.sleep(0)
    schedule.add("now")
    assert await asyncio.wait_for(waiting, 5) == "now"


async def test_how_long_the_first_has_been_waiting() -> None:
    schedule, clock = _schedule()
    assert schedule.overdue() == timedelta()
    schedule.add_at("a", END)
    schedule.add_at("b", END - HOUR)
    schedule.remove("b")
    clock.time = END + HOUR
    assert schedule.overdue() == HOUR


async def test_many_at_once_take_turns_with_what_is_due_one_by_one() -> None:
    """H17: a change of a default for 100,000 RayJobs does not hold up a single one."""
    schedule, _ = _schedule()
    schedule.add_all(f"many-{number}" for number in range(4))
    for name in ("a", "b"):
        schedule.add(name)
    order = [await schedule.get() for _ in range(6)]
    assert [name for name in order if name in "ab"] == ["a", "b"]
    assert {order.index("a"), order.index("b")} <= {0, 1, 2, 3}
    assert [name for name in order if name not in "ab"] == [f"many-{number}" for number in range(4)]


async def test_of_many_at_once_each_comes_once_and_its_later_time_counts_no_more() -> None:
    schedule, clock = _schedule()
    schedule.add_at("a", END + HOUR)
    schedule.add_all(["a", "b", "a"])
    assert (len(schedule), schedule.due_at("a")) == (2, END)
    assert [await schedule.get(), await schedule.get(), len(schedule)] == ["a", "b", 0]
    clock.time = END + HOUR
    assert schedule.overdue() == timedelta()


async def test_a_new_time_takes_one_out_of_the_many() -> None:
    schedule, _ = _schedule()
    schedule.add_all(["a", "b"])
    schedule.add_at("a", END + HOUR)
    schedule.remove("b")
    assert (len(schedule), "a" in schedule, "b" in schedule, schedule.due_at("a")) == (
        1,
        True,
        False,
        END + HOUR,
    )


async def test_many_that_wait_too_long_are_overdue() -> None:
    schedule, clock = _schedule()
    schedule.add_all(["a"])
    clock.time = END + HOUR
    schedule.add_all(["a", "b"])  # who waits keeps the place
    assert schedule.overdue() == HOUR


async def test_whoever_waits_for_nothing_wakes_for_many() -> None:
    schedule, _ = _schedule()
    waiting = asyncio.create_task(schedule.get())
    await asyncio.sleep(0)
    schedule.add_all(["now"])
    assert await asyncio.wait_for(waiting, 5) == "now"


async def test_times_that_were_replaced_are_not_kept() -> None:
    """H19: 30,000 times for two RayJobs."""
    schedule, _ = _schedule()
    for number in range(15_000):
        schedule.add_at("a", END + number * MOMENT)
        schedule.add_at("b", END + HOUR - number * MOMENT)
    assert len(schedule._heap) <= 1100
    assert (schedule.due_at("a"), schedule.due_at("b")) == (
        END + 14_999 * MOMENT,
        END + HOUR - 14_999 * MOMENT,
    )
