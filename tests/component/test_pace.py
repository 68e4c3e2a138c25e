"""How fast and who is next: tokens, turns and waits after failures."""

import asyncio
import time
from datetime import timedelta

import pytest

from raysweep.controller.rate_limit import TokenBucket
from raysweep.controller.workqueue import FairQueue, ItemBackoff, UniqueFairQueue
from tests.support.builders import END, HOUR

SLOW = 1e-6
"""Tokens a second, so few that none comes during a test."""


def _taken(bucket: TokenBucket) -> int:
    count = 0
    while bucket.try_take():
        count += 1
    return count


def test_so_many_at_once_and_no_more() -> None:
    assert _taken(TokenBucket(SLOW, 20)) == 20


def test_a_token_that_was_not_needed_can_be_given_back() -> None:
    bucket = TokenBucket(SLOW, 3)
    _taken(bucket)
    bucket.give_back()
    assert _taken(bucket) == 1


def test_more_than_the_burst_is_never_there() -> None:
    bucket = TokenBucket(SLOW, 3)
    bucket.give_back()
    assert _taken(bucket) == 3


async def test_after_the_burst_tokens_come_with_time() -> None:
    bucket = TokenBucket(200, 1)
    began = time.monotonic()
    for _ in range(11):
        await bucket.take()
    assert time.monotonic() - began >= 10 / 200 * 0.99


def _line(*waiting: tuple[str, str, int]) -> UniqueFairQueue:
    line = UniqueFairQueue()
    for namespace, uid, hours in waiting:
        line.add(namespace, uid, END + hours * HOUR)
    return line


def _order(line: UniqueFairQueue) -> str:
    return "".join(line.get()[1] for _ in range(len(line)))


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
def test_whose_turn_it_is(waiting: list[tuple[str, str, int]], order: str) -> None:
    assert _order(_line(*waiting)) == order


def test_a_namespace_that_comes_back_waits_for_the_others() -> None:
    line = _line(("x", "1", 1), ("y", "a", 1), ("y", "b", 2))
    assert line.get()[1] == "1"
    line.add("x", "2", END)
    assert _order(line) == "a2b"


def test_a_uid_stands_in_line_once() -> None:
    line = _line(("x", "a", 2), ("x", "a", 1), ("x", "b", 1))
    assert (len(line), "a" in line, _order(line), "a" in line) == (2, True, "ba", False)


async def test_whoever_waits_for_the_line_wakes_when_somebody_joins() -> None:
    line = UniqueFairQueue()
    waiting = asyncio.create_task(line.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    line.add("x", "a", END)
    await asyncio.wait_for(waiting, 5)
    assert line.get()[1] == "a"


SECOND = timedelta(seconds=1)


def test_waits_after_failures_double_up_to_the_last_and_per_object() -> None:
    backoffs = ItemBackoff(SECOND, 5 * SECOND)
    assert [backoffs.after_failure("a") for _ in range(5)] == [
        SECOND,
        2 * SECOND,
        4 * SECOND,
        5 * SECOND,
        5 * SECOND,
    ]
    assert backoffs.after_failure("b") == SECOND


def test_a_success_forgets_them() -> None:
    backoffs = ItemBackoff(SECOND, 5 * SECOND)
    backoffs.after_failure("a")
    backoffs.forget("a")
    backoffs.forget("never failed")
    assert backoffs.after_failure("a") == SECOND


def test_what_the_server_asks_for_is_the_least() -> None:
    backoffs = ItemBackoff(SECOND, 5 * SECOND)
    assert backoffs.after_failure("a", 60 * SECOND) == 60 * SECOND
    assert backoffs.after_failure("a", timedelta()) == 2 * SECOND


def test_failing_for_ever_does_not_overflow() -> None:
    backoffs = ItemBackoff(SECOND, 5 * SECOND)
    assert {backoffs.after_failure("a") for _ in range(2000)} == {
        SECOND,
        2 * SECOND,
        4 * SECOND,
        5 * SECOND,
    }


async def test_a_namespace_with_as_many_in_progress_as_it_may_lets_others_pass() -> None:
    """Slow heads of one namespace do not take every place."""
    line = UniqueFairQueue(in_progress_per_namespace=2)
    for number in range(4):
        line.add("slow", f"s{number}", END + number * HOUR)
    line.add("other", "o", END + 9 * HOUR)
    assert [line.get() for _ in range(3)] == [("slow", "s0"), ("other", "o"), ("slow", "s1")]
    waiting = asyncio.create_task(line.wait())
    await asyncio.sleep(0)
    assert (waiting.done(), len(line), "s2" in line) == (False, 2, True)
    line.done("slow")
    await asyncio.wait_for(waiting, 5)
    assert line.get()[1] == "s2"


def test_who_joins_while_as_many_are_in_progress_as_may_be_waits_with_the_others() -> None:
    line = UniqueFairQueue(in_progress_per_namespace=1)
    line.add("x", "a", END)
    assert line.get()[1] == "a"
    line.add("x", "b", END)
    line.add("y", "c", END)
    assert line.get()[1] == "c"
    line.done("x")
    assert line.get()[1] == "b"


def _queue(at_most: int, *waiting: tuple[str, int]) -> FairQueue[int]:
    queue: FairQueue[int] = FairQueue(max_waiting=at_most)
    for key, item in waiting:
        queue.add(key, item)
    return queue


def test_a_full_queue_drops_of_whoever_has_most() -> None:
    """H20: one tenant's flood drops nothing of another."""
    queue = _queue(4, ("flood", 1), ("flood", 2), ("flood", 3), ("flood", 4))
    assert not queue.add("flood", 5)
    assert not queue.add("other", 6)
    assert (len(queue), [queue.get() for _ in range(4)]) == (
        4,
        [("flood", 1), ("other", 6), ("flood", 2), ("flood", 3)],
    )


def test_a_queue_full_of_many_keys_drops_the_newcomer_if_nobody_has_more() -> None:
    queue = _queue(2, ("a", 1), ("b", 2))
    assert not queue.add("a", 3)
    assert [queue.get() for _ in range(2)] == [("a", 1), ("b", 2)]


def test_a_queue_whose_keys_have_gone_keeps_nothing_of_them() -> None:
    """H19."""
    queue: FairQueue[int] = FairQueue(in_progress_per_key=2)
    for number in range(1000):
        queue.add(f"key-{number}", number)
        queue.add(f"key-{number}", number)
        for _ in range(2):
            key, _ = queue.get()
            queue.done(key)
    assert (queue._ready, queue._paused, queue._in_progress) == ({}, {}, {})
