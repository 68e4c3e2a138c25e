"""Durations: which texts are valid, and how they are formatted."""

from datetime import timedelta

import pytest

from raysweep.core.durations import (
    LONGEST,
    NEVER,
    Duration,
    format_duration,
    longest,
    parse_duration,
)


def test_parse_duration() -> None:
    rows: dict[str, Duration] = {
        "0": timedelta(),
        "90": timedelta(seconds=90),
        "15s": timedelta(seconds=15),
        "1h30m": timedelta(minutes=90),
        "2w1d": timedelta(days=15),
        "1.5h": timedelta(minutes=90),
        "0.000001s": timedelta(microseconds=1),
        "36525d": LONGEST,
        "never": NEVER,
    }
    for text, duration in rows.items():
        assert parse_duration(text) == duration, text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("soon", id="a word"),
        pytest.param("Never", id="never in capitals"),
        pytest.param("-5", id="negative"),
        pytest.param("1h ", id="a space after it"),
        pytest.param(" 1h", id="a space before it"),
        pytest.param("1h\n", id="a line break"),
        pytest.param("1m1h", id="units in the wrong order"),
        pytest.param("1h1h", id="a unit twice"),
        pytest.param("1y", id="an unknown unit"),
        pytest.param("h", id="a unit without a number"),
        pytest.param("1.h", id="a point without a fraction"),
        pytest.param("1.5", id="a fraction without a unit"),
        pytest.param("1e3", id="an exponent"),
        pytest.param("\u0661h", id="digits of another script"),
        pytest.param("36525d0.000001s", id="a microsecond longer than 100 years"),
        pytest.param("999999999999w", id="longer than a timedelta"),
        pytest.param("140000000w999999999d", id="longer than a timedelta in sum only"),
        pytest.param("9" * 5000, id="more digits than Python converts"),
    ],
)
def test_an_invalid_duration_raises_an_error_that_names_it_and_a_valid_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid duration .*(use .*1h30m|use never)") as error:
        parse_duration(text)
    assert repr(text) in str(error.value)


def test_format_duration_is_the_shortest_form() -> None:
    rows: tuple[tuple[Duration, str], ...] = (
        (timedelta(), "0s"),
        (timedelta(seconds=90), "1m30s"),
        (timedelta(days=14), "2w"),
        (timedelta(milliseconds=1500), "1.5s"),
        (NEVER, "never"),
    )
    for duration, text in rows:
        assert format_duration(duration) == text, text


def test_longest() -> None:
    assert longest(timedelta(1), timedelta(2)) == timedelta(2)
    assert longest(timedelta(1), NEVER) is NEVER
    assert longest(NEVER, timedelta(1)) is NEVER
