"""The work queues: turns by namespace, times of single and bulk uids, and delays after failures."""

import asyncio
from datetime import datetime, timedelta

import pytest

from raysweep.controller.workqueue import DelayingQueue, FairQueue, ItemBackoff, UniqueFairQueue
from tests.support.builders import END, HOUR, MOMENT

SECOND = timedelta(seconds=1)


def _fair_queue(*waiting: tuple[str, str, int]) -> UniqueFairQueue:
    queue = UniqueFairQueue()
    for namespace, uid, hours in waiting:
        queue.add(namespace, uid, END + hours * HOUR)
    return queue


def _order(queue: UniqueFairQueue) -> str:
    return "".join(queue.get()[1] for _ in range(len(queue)))


@pytest.mark.parametrize(
    ("waiting", "order"),
    [
        pytest.param(
            [("x", "c", 3), ("x", "a", 1), ("x", "b", 2)],
            "abc",
            id="within a namespace the oldest due first",
        ),
        pytest.param([("x", "b", 1), ("x", "a", 1)], "ab", id="equally due: in some fixed order"),
        pytest.param(
            [("x", "1", 1), ("x", "2", 2), ("x", "3", 3), ("y", "a", 9), ("z", "b", 9)],
            "1ab23",
            id="no namespace waits for another",
        ),
    ],
)
def test_namespaces_take_turns(waiting: list[tuple[str, str, int]], order: str) -> None:
    assert _order(_fair_queue(*waiting)) == order


def test_a_namespace_that_returns_comes_last() -> None:
    queue = _fair_queue(("x", "1", 1), ("y", "a", 1), ("y", "b", 2))
    assert queue.get()[1] == "1"
    queue.add("x", "2", END)
    assert _order(queue) == "a2b"


def test_a_uid_waits_once() -> None:
    queue = _fair_queue(("x", "a", 2), ("x", "a", 1), ("x", "b", 1))
    assert (len(queue), "a" in queue, _order(queue), "a" in queue) == (2, True, "ba", False)


async def test_a_waiter_wakes_when_a_rayjob_is_added() -> None:
    queue = UniqueFairQueue()
    waiting = asyncio.create_task(queue.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.add("x", "a", END)
    await asyncio.wait_for(waiting, 5)
    assert queue.get()[1] == "a"


def test_delays_double_up_to_the_longest_per_item() -> None:
    backoff = ItemBackoff(SECOND, 5 * SECOND)
    assert [backoff.after_failure("a") for _ in range(5)] == [
        SECOND,
        2 * SECOND,
        4 * SECOND,
        5 * SECOND,
        5 * SECOND,
    ]
    assert backoff.after_failure("b") == SECOND


def test_a_success_resets_the_delay() -> None:
    backoff = ItemBackoff(SECOND, 5 * SECOND)
    backoff.after_failure("a")
    backoff.forget("a")
    backoff.forget("never failed")
    assert backoff.after_failure("a") == SECOND


def test_retry_after_is_the_minimum() -> None:
    backoff = ItemBackoff(SECOND, 5 * SECOND)
    assert backoff.after_failure("a", 60 * SECOND) == 60 * SECOND
    assert backoff.after_failure("a", timedelta()) == 2 * SECOND


def test_many_failures_do_not_overflow() -> None:
    backoff = ItemBackoff(SECOND, 5 * SECOND)
    assert {backoff.after_failure("a") for _ in range(2000)} == {
        SECOND,
        2 * SECOND,
        4 * SECOND,
        5 * SECOND,
    }


async def test_a_namespace_at_its_limit_lets_others_pass() -> None:
    """Slow heads of one namespace do not take every worker."""
    queue = UniqueFairQueue(in_progress_per_namespace=2)
    for number in range(4):
        queue.add("slow", f"s{number}", END + number * HOUR)
    queue.add("other", "o", END + 9 * HOUR)
    assert [queue.get() for _ in range(3)] == [("slow", "s0"), ("other", "o"), ("slow", "s1")]
    waiting = asyncio.create_task(queue.wait())
    await asyncio.sleep(0)
    assert (waiting.done(), len(queue), "s2" in queue) == (False, 2, True)
    queue.done("slow")
    await asyncio.wait_for(waiting, 5)
    assert queue.get()[1] == "s2"


def test_a_rayjob_added_to_a_namespace_at_its_limit_waits() -> None:
    queue = UniqueFairQueue(in_progress_per_namespace=1)
    queue.add("x", "a", END)
    assert queue.get()[1] == "a"
    queue.add("x", "b", END)
    queue.add("y", "c", END)
    assert queue.get()[1] == "c"
    queue.done("x")
    assert queue.get()[1] == "b"


def _queue(at_most: int, *waiting: tuple[str, int]) -> FairQueue[int]:
    queue: FairQueue[int] = FairQueue(max_waiting=at_most)
    for key, item in waiting:
        queue.add(key, item)
    return queue


def test_a_full_queue_drops_an_item_of_the_longest_key() -> None:
    """The flood of one tenant drops nothing of another."""
    queue = _queue(4, ("flood", 1), ("flood", 2), ("flood", 3), ("flood", 4))
    assert not queue.add("flood", 5)
    assert not queue.add("other", 6)
    assert (len(queue), [queue.get() for _ in range(4)]) == (
        4,
        [("flood", 1), ("other", 6), ("flood", 2), ("flood", 3)],
    )


def test_a_full_queue_drops_the_new_item_if_no_key_has_more() -> None:
    queue = _queue(2, ("a", 1), ("b", 2))
    assert not queue.add("a", 3)
    assert [queue.get() for _ in range(2)] == [("a", 1), ("b", 2)]


def test_an_empty_queue_keeps_no_keys() -> None:
    queue: FairQueue[int] = FairQueue(in_progress_per_key=2)
    for number in range(1000):
        queue.add(f"key-{number}", number)
        queue.add(f"key-{number}", number)
        for _ in range(2):
            key, _ = queue.get()
            queue.done(key)
    assert (queue._ready, queue._paused, queue._in_progress) == ({}, {}, {})


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.time = END

    def __call__(self) -> datetime:
        return self.time


def _queue_and_clock() -> tuple[DelayingQueue, Clock]:
    clock = Clock()
    return DelayingQueue(clock), clock


async def test_the_earliest_uid_comes_first() -> None:
    queue, clock = _queue_and_clock()
    queue.add_at("late", END + HOUR)
    queue.add_at("early", END + HOUR / 2)
    clock.time = END + HOUR
    assert [await queue.get(), await queue.get(), len(queue)] == ["early", "late", 0]


async def test_equal_times_keep_the_order_of_adding() -> None:
    queue, _ = _queue_and_clock()
    for uid in "cab":
        queue.add(uid)
    assert [await queue.get() for _ in "cab"] == ["c", "a", "b"]


async def test_a_uid_is_released_exactly_at_its_time() -> None:
    queue, clock = _queue_and_clock()
    queue.add_at("a", END + HOUR)
    clock.time = END + HOUR - MOMENT
    assert queue.overdue() == timedelta()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.time = END + HOUR
    assert await waiting == "a"


async def test_a_new_time_replaces_an_earlier_or_later_one() -> None:
    queue, clock = _queue_and_clock()
    queue.add_at("postponed", END)
    queue.add_at("postponed", END + HOUR)
    queue.add_at("preponed", END + 2 * HOUR)
    queue.add_at("preponed", END)
    assert (await queue.get(), len(queue), "postponed" in queue) == ("preponed", 1, True)
    clock.time = END + HOUR
    assert await queue.get() == "postponed"


async def test_a_uid_that_is_added_twice_is_released_once() -> None:
    queue, _ = _queue_and_clock()
    queue.add("a")
    queue.add("a")
    assert (await queue.get(), len(queue), "a" in queue) == ("a", 0, False)


async def test_a_removed_uid_is_not_released() -> None:
    queue, _ = _queue_and_clock()
    queue.add("gone")
    queue.add("there")
    queue.remove("gone")
    queue.remove("never known")
    assert (await queue.get(), len(queue)) == ("there", 0)


async def test_a_waiter_wakes_for_an_earlier_time() -> None:
    queue, _ = _queue_and_clock()
    queue.add_at("late", END + HOUR)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("now")
    assert await asyncio.wait_for(waiting, 5) == "now"


async def test_a_waiter_of_an_empty_queue_wakes_for_the_first_uid() -> None:
    queue, _ = _queue_and_clock()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("now")
    assert await asyncio.wait_for(waiting, 5) == "now"


async def test_overdue_is_the_wait_of_the_first_uid() -> None:
    queue, clock = _queue_and_clock()
    assert queue.overdue() == timedelta()
    queue.add_at("a", END)
    queue.add_at("b", END - HOUR)
    queue.remove("b")
    clock.time = END + HOUR
    assert queue.overdue() == HOUR


async def test_bulk_uids_alternate_with_single_ones() -> None:
    """A changed default for 100,000 RayJobs does not delay a single RayJob."""
    queue, _ = _queue_and_clock()
    queue.add_all(f"many-{number}" for number in range(4))
    for name in ("a", "b"):
        queue.add(name)
    order = [await queue.get() for _ in range(6)]
    assert [name for name in order if name in "ab"] == ["a", "b"]
    assert {order.index("a"), order.index("b")} <= {0, 1, 2, 3}
    assert [name for name in order if name not in "ab"] == [f"many-{number}" for number in range(4)]


async def test_a_bulk_uid_is_released_once_and_loses_its_later_time() -> None:
    queue, clock = _queue_and_clock()
    queue.add_at("a", END + HOUR)
    queue.add_all(["a", "b", "a"])
    assert (len(queue), queue.due_at("a")) == (2, END)
    assert [await queue.get(), await queue.get(), len(queue)] == ["a", "b", 0]
    clock.time = END + HOUR
    assert queue.overdue() == timedelta()


async def test_a_new_time_takes_a_uid_out_of_the_bulk() -> None:
    queue, _ = _queue_and_clock()
    queue.add_all(["a", "b"])
    queue.add_at("a", END + HOUR)
    queue.remove("b")
    assert (len(queue), "a" in queue, "b" in queue, queue.due_at("a")) == (
        1,
        True,
        False,
        END + HOUR,
    )


async def test_bulk_uids_become_overdue() -> None:
    queue, clock = _queue_and_clock()
    queue.add_all(["a"])
    clock.time = END + HOUR
    queue.add_all(["a", "b"])  # who waits keeps the place
    assert queue.overdue() == HOUR


async def test_a_waiter_of_an_empty_queue_wakes_for_a_bulk() -> None:
    queue, _ = _queue_and_clock()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add_all(["now"])
    assert await asyncio.wait_for(waiting, 5) == "now"


async def test_replaced_times_are_dropped() -> None:
    """30,000 times for two RayJobs."""
    queue, _ = _queue_and_clock()
    for number in range(15_000):
        queue.add_at("a", END + number * MOMENT)
        queue.add_at("b", END + HOUR - number * MOMENT)
    assert len(queue._heap) <= 1100
    assert (queue.due_at("a"), queue.due_at("b")) == (
        END + 14_999 * MOMENT,
        END + HOUR - 14_999 * MOMENT,
    )
