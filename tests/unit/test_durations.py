"""Durations: what is read, what is refused, and what is written."""

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


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        pytest.param("0", timedelta(), id="0 is at once"),
        pytest.param(
            "90",
            timedelta(seconds=90),
            id="a bare number is seconds, as in ttlSecondsAfterFinished",
        ),
        pytest.param("15s", timedelta(seconds=15), id="seconds"),
        pytest.param("1h30m", timedelta(minutes=90), id="units combine"),
        pytest.param("2w1d", timedelta(days=15), id="weeks and days"),
        pytest.param("1.5h", timedelta(minutes=90), id="a fraction of a unit"),
        pytest.param("0.000001s", timedelta(microseconds=1), id="down to a microsecond"),
        pytest.param("36525d", LONGEST, id="100 years, exactly"),
        pytest.param("never", NEVER, id="never has no end"),
    ],
)
def test_a_duration_is_read(text: str, duration: Duration) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("soon", id="a word"),
        pytest.param("Never", id="never in capitals"),
        pytest.param("-5", id="negative"),
        pytest.param("1h ", id="a blank behind"),
        pytest.param(" 1h", id="a blank before"),
        pytest.param("1h\n", id="a line break"),
        pytest.param("1m1h", id="units in the wrong order"),
        pytest.param("1h1h", id="a unit twice"),
        pytest.param("1y", id="an unknown unit"),
        pytest.param("h", id="a unit alone"),
        pytest.param("1.h", id="a point without a fraction"),
        pytest.param("1.5", id="a bare fraction"),
        pytest.param("1e3", id="an exponent"),
        pytest.param("\u0661h", id="digits of another script"),
        pytest.param("36525d0.000001s", id="a moment longer than 100 years"),
        pytest.param("999999999999w", id="longer than any calendar"),
        pytest.param("140000000w999999999d", id="longer than any calendar in sum only"),
        pytest.param("9" * 5000, id="more digits than Python converts"),
    ],
)
def test_what_is_no_duration_is_refused_with_the_grammar(text: str) -> None:
    with pytest.raises(ValueError, match=r"write .*as in 1h30m.*100 years"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        pytest.param(timedelta(), "0s", id="nothing"),
        pytest.param(timedelta(seconds=90), "1m30s", id="no unit that is empty"),
        pytest.param(timedelta(days=14), "2w", id="no seconds where there are none"),
        pytest.param(timedelta(milliseconds=1500), "1.5s", id="no zeros at the end of a fraction"),
        pytest.param(NEVER, "never", id="never"),
    ],
)
def test_a_duration_is_written_in_the_shortest_way(duration: Duration, text: str) -> None:
    assert format_duration(duration) == text


@pytest.mark.parametrize(
    ("one", "other", "longer"),
    [
        pytest.param(timedelta(1), timedelta(2), timedelta(2), id="the longer of two"),
        pytest.param(timedelta(1), NEVER, NEVER, id="never is longer than any"),
        pytest.param(NEVER, timedelta(1), NEVER, id="in either order"),
    ],
)
def test_the_longer_duration_counts(one: Duration, other: Duration, longer: Duration) -> None:
    assert longest(one, other) == longer
