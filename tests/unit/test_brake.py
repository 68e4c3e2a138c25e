"""The brake: when so many heads are silent at once that the fault is probably ours."""

from datetime import timedelta

import pytest

from raysweep.cleanup.brake import Brake

MINUTE = timedelta(minutes=1)


class Clock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = timedelta()

    def __call__(self) -> timedelta:
        return self.now


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
def test_how_many_heads_must_be_silent(heads: int, silent: int, is_on: bool) -> None:
    brake = Brake(Clock())
    for number in range(heads):
        brake.answered(f"head-{number}", usable=number >= silent)
    assert brake.is_on() is is_on


def test_only_the_last_answer_of_a_head_counts() -> None:
    brake = Brake(Clock())
    for usable in (False, True):
        for number in range(10):
            brake.answered(f"head-{number}", usable=usable)
    assert not brake.is_on()


def test_one_head_asked_often_is_one_head() -> None:
    brake = Brake(Clock())
    for _ in range(100):
        brake.answered("head", usable=False)
    assert not brake.is_on()


def test_answers_count_for_ten_minutes() -> None:
    clock = Clock()
    brake = Brake(clock)
    for number in range(10):
        brake.answered(f"head-{number}", usable=False)
    clock.now = 10 * MINUTE
    assert brake.is_on()
    clock.now = 10 * MINUTE + timedelta(microseconds=1)
    assert not brake.is_on()
