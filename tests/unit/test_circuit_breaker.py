"""The circuit breaker: when so many heads are silent that Raysweep is the likely cause."""

from datetime import timedelta

import pytest

from raysweep.cleanup.circuit_breaker import CircuitBreaker

MINUTE = timedelta(minutes=1)


class Clock:
    """A monotonic clock that tests set."""

    def __init__(self) -> None:
        self.now = timedelta()

    def __call__(self) -> timedelta:
        return self.now


def probe_heads(circuit_breaker: CircuitBreaker, namespace: str, heads: int, silent: int) -> None:
    """So many heads of a namespace are probed, and so many of them give no usable answer."""
    for number in range(heads):
        circuit_breaker.record(namespace, f"head-{number}", is_usable=number >= silent)


@pytest.mark.parametrize(
    ("heads", "silent", "is_on"),
    [
        pytest.param(9, 9, False, id="all of nine heads"),
        pytest.param(10, 3, False, id="three of ten are not more than 30 %"),
        pytest.param(10, 4, True, id="four of ten"),
        pytest.param(100, 30, False, id="30 of 100"),
        pytest.param(100, 31, True, id="31 of 100"),
        pytest.param(0, 0, False, id="no head was probed"),
    ],
)
def test_how_many_heads_of_a_namespace_open_it(heads: int, silent: int, is_on: bool) -> None:
    circuit_breaker = CircuitBreaker(Clock())
    probe_heads(circuit_breaker, "team-a", heads, silent)
    assert circuit_breaker.is_open("team-a") is is_on


@pytest.mark.parametrize(
    ("namespaces", "is_on"),
    [
        pytest.param({"hostile": (1000, 1000)}, False, id="the silent heads of one namespace"),
        pytest.param(
            {"hostile": (1000, 1000), "a": (1, 0), "b": (1, 0)},
            False,
            id="one of three namespaces fails",
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
def test_only_a_widespread_failure_opens_it_for_another_namespace(
    namespaces: dict[str, tuple[int, int]], is_on: bool
) -> None:
    circuit_breaker = CircuitBreaker(Clock())
    for namespace, (heads, silent) in namespaces.items():
        probe_heads(circuit_breaker, namespace, heads, silent)
    assert circuit_breaker.is_open("never-asked") is is_on


def test_only_the_last_answer_of_a_head_counts() -> None:
    circuit_breaker = CircuitBreaker(Clock())
    probe_heads(circuit_breaker, "team-a", 10, 10)
    probe_heads(circuit_breaker, "team-a", 10, 0)
    assert not circuit_breaker.is_open("team-a")


def test_a_head_counts_once_however_often_it_is_probed() -> None:
    circuit_breaker = CircuitBreaker(Clock())
    for _ in range(100):
        circuit_breaker.record("team-a", "head", is_usable=False)
    assert not circuit_breaker.is_open("team-a")


def test_heads_of_the_same_name_in_two_namespaces_count_twice() -> None:
    circuit_breaker = CircuitBreaker(Clock(), at_least=2)
    circuit_breaker.record("team-a", "head", is_usable=False)
    circuit_breaker.record("team-b", "head", is_usable=False)
    assert circuit_breaker.is_open("team-c")


def test_answers_count_for_ten_minutes() -> None:
    clock = Clock()
    circuit_breaker = CircuitBreaker(clock)
    probe_heads(circuit_breaker, "team-a", 10, 10)
    clock.now = 10 * MINUTE
    assert circuit_breaker.is_open("team-a")
    clock.now = 10 * MINUTE + timedelta(microseconds=1)
    assert not circuit_breaker.is_open("team-a")


def test_only_the_heads_of_the_window_are_kept() -> None:
    """H19: nothing is kept of a head that is no longer probed, or of its namespace."""
    clock = Clock()
    circuit_breaker = CircuitBreaker(clock)
    for minute in range(1000):
        clock.now = minute * MINUTE
        circuit_breaker.record(f"team-{minute}", f"head-{minute}", is_usable=minute % 2 == 0)
    assert (len(circuit_breaker._last), len(circuit_breaker._counts)) == (11, 11)
    assert len(circuit_breaker._failing) <= 11


class Counting(Clock):
    """A clock whose times count their comparisons."""

    comparisons = 0

    def __call__(self) -> timedelta:
        return Moment(seconds=self.now.total_seconds())


class Moment(timedelta):
    """A time that counts its comparisons."""

    def __ge__(self, other: timedelta) -> bool:
        Counting.comparisons += 1
        return super().__ge__(other)


def test_h17_is_on_does_not_iterate_over_all_heads() -> None:
    circuit_breaker = CircuitBreaker(Counting())
    probe_heads(circuit_breaker, "team-a", 3000, 3000)
    Counting.comparisons = 0
    for _ in range(100):
        circuit_breaker.is_open("team-b")
    assert Counting.comparisons <= 200
