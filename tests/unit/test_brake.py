"""The circuit breaker: when so many heads are silent at once that the fault is probably ours."""

from datetime import timedelta

import pytest

from raysweep.cleanup.circuit_breaker import CircuitBreaker

MINUTE = timedelta(minutes=1)


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = timedelta()

    def __call__(self) -> timedelta:
        return self.now


def asked(circuit_breaker: CircuitBreaker, namespace: str, heads: int, silent: int) -> None:
    """So many heads of a namespace are asked, and so many of them say nothing usable."""
    for number in range(heads):
        circuit_breaker.answered(namespace, f"head-{number}", usable=number >= silent)


@pytest.mark.parametrize(
    ("heads", "silent", "is_on"),
    [
        pytest.param(9, 9, False, id="nine heads are too few, though all are silent"),
        pytest.param(10, 3, False, id="three of ten: 30 % is not more than 30 %"),
        pytest.param(10, 4, True, id="four of ten"),
        pytest.param(100, 30, False, id="thirty of a hundred"),
        pytest.param(100, 31, True, id="one more"),
        pytest.param(0, 0, False, id="nobody was asked"),
    ],
)
def test_how_many_heads_of_a_namespace_must_be_silent(heads: int, silent: int, is_on: bool) -> None:
    circuit_breaker = CircuitBreaker(Clock())
    asked(circuit_breaker, "team-a", heads, silent)
    assert circuit_breaker.is_on("team-a") is is_on


@pytest.mark.parametrize(
    ("namespaces", "is_on"),
    [
        pytest.param({"hostile": (1000, 1000)}, False, id="one tenant's dead heads alone"),
        pytest.param(
            {"hostile": (1000, 1000), "a": (1, 0), "b": (1, 0)},
            False,
            id="one tenant's dead heads beside two that answer: a third of the namespaces",
        ),
        pytest.param({"x": (1, 1), "y": (8, 8)}, False, id="two namespaces, nine heads in all"),
        pytest.param({"x": (1, 1), "y": (9, 9)}, True, id="two namespaces, ten heads in all"),
        pytest.param(
            {"x": (5, 2), "y": (5, 2)} | dict.fromkeys("abcd", (1, 0)),
            True,
            id="two of six namespaces fail",
        ),
        pytest.param(
            {"x": (5, 2), "y": (5, 2)} | dict.fromkeys("abcde", (1, 0)),
            False,
            id="two of seven are not more than 30 %",
        ),
        pytest.param(
            {"x": (10, 3), "y": (10, 3)},
            False,
            id="no namespace has more than 30 % of silent heads",
        ),
        pytest.param(
            {"healthy": (1000, 0), "x": (10, 10), "y": (10, 10)},
            True,
            id="the heads of a large namespace do not outweigh two that fail",
        ),
    ],
)
def test_a_failure_counts_for_another_namespace_only_if_it_is_widespread(
    namespaces: dict[str, tuple[int, int]], is_on: bool
) -> None:
    circuit_breaker = CircuitBreaker(Clock())
    for namespace, (heads, silent) in namespaces.items():
        asked(circuit_breaker, namespace, heads, silent)
    assert circuit_breaker.is_on("never-asked") is is_on


def test_only_the_last_answer_of_a_head_counts() -> None:
    circuit_breaker = CircuitBreaker(Clock())
    asked(circuit_breaker, "team-a", 10, 10)
    asked(circuit_breaker, "team-a", 10, 0)
    assert not circuit_breaker.is_on("team-a")


def test_one_head_asked_often_is_one_head() -> None:
    circuit_breaker = CircuitBreaker(Clock())
    for _ in range(100):
        circuit_breaker.answered("team-a", "head", usable=False)
    assert not circuit_breaker.is_on("team-a")


def test_heads_of_one_name_in_two_namespaces_are_two() -> None:
    circuit_breaker = CircuitBreaker(Clock(), at_least=2)
    circuit_breaker.answered("team-a", "head", usable=False)
    circuit_breaker.answered("team-b", "head", usable=False)
    assert circuit_breaker.is_on("team-c")


def test_answers_count_for_ten_minutes() -> None:
    clock = Clock()
    circuit_breaker = CircuitBreaker(clock)
    asked(circuit_breaker, "team-a", 10, 10)
    clock.now = 10 * MINUTE
    assert circuit_breaker.is_on("team-a")
    clock.now = 10 * MINUTE + timedelta(microseconds=1)
    assert not circuit_breaker.is_on("team-a")


def test_only_the_heads_of_the_window_are_kept() -> None:
    """H19: a head that is not asked any more leaves nothing behind, nor does its namespace."""
    clock = Clock()
    circuit_breaker = CircuitBreaker(clock)
    for minute in range(1000):
        clock.now = minute * MINUTE
        circuit_breaker.answered(f"team-{minute}", f"head-{minute}", usable=minute % 2 == 0)
    assert (len(circuit_breaker._last), len(circuit_breaker._counts)) == (11, 11)
    assert len(circuit_breaker._failing) <= 11


class Counting(Clock):
    """A clock that counts how many answers are compared with it."""

    comparisons = 0

    def __call__(self) -> timedelta:
        return Moment(seconds=self.now.total_seconds())


class Moment(timedelta):
    """A time that counts its comparisons."""

    def __ge__(self, other: timedelta) -> bool:
        Counting.comparisons += 1
        return super().__ge__(other)


def test_a_question_does_not_walk_all_heads() -> None:
    """H17: 3,000 heads in the circuit breaker, and a judgement asks about one namespace."""
    circuit_breaker = CircuitBreaker(Counting())
    asked(circuit_breaker, "team-a", 3000, 3000)
    Counting.comparisons = 0
    for _ in range(100):
        circuit_breaker.is_on("team-b")
    assert Counting.comparisons <= 200
