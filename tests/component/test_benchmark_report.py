"""The pure parts of a benchmark's report."""

import argparse
from pathlib import Path

import pytest

from benchmarks.report import Plot, Ratio, Report, Series, distribution, finish, quantile, write


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([7.0], 0.5, 7.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([4.0, 3.0, 2.0, 1.0], 0.5, 2.0),
        ([float(number) for number in range(1, 101)], 0.99, 99.0),
        ([float(number) for number in range(1, 102)], 0.99, 100.0),
        ([1.0, 2.0], 1.0, 2.0),
        ([1.0, 2.0], 0.0, 1.0),
    ],
)
def test_a_quantile_is_the_nearest_rank(values: list[float], share: float, expected: float) -> None:
    assert quantile(values, share) == expected


@pytest.mark.parametrize(
    ("ratio", "is_met", "text"),
    [
        (Ratio("a / b", 4.0, 4.0), True, "a / b: 4.00 (at most 4)"),
        (Ratio("a / b", 4.01, 4.0), False, "a / b: 4.01 (at most 4)  MISSED"),
        (Ratio("a / b", 0.8, 0.8, is_minimum=True), True, "a / b: 0.80 (at least 0.8)"),
        (Ratio("a / b", 0.7, 0.8, is_minimum=True), False, "a / b: 0.70 (at least 0.8)  MISSED"),
        (Ratio("a / b", float("nan"), 4.0), False, "a / b: nan (at most 4)  MISSED"),
    ],
)
def test_a_ratio_is_met_up_to_its_bound(ratio: Ratio, is_met: bool, text: str) -> None:
    assert ratio.is_met is is_met
    assert str(ratio) == text


def report() -> Report:
    return Report(
        "start",
        "Start",
        ("RayJobs", "seconds", "step"),
        rows=[(10_000, 9.5, "list"), (100, 123.456, None)],
        ratios=[Ratio("a / b", 5.0, 4.0)],
        notes=["A note."],
        plot=Plot("RayJobs", "seconds", [Series("a", [1, 2], [3, 4])]),
    )


def test_the_text_aligns_the_columns_and_ends_with_ratios_and_notes() -> None:
    assert report().as_text().splitlines() == [
        "Start",
        "",
        "RayJobs  seconds  step",
        "10,000   9.50     list",
        "100      123.5",
        "",
        "a / b: 5.00 (at most 4)  MISSED",
        "A note.",
    ]


@pytest.mark.parametrize(
    ("ratio", "measured", "checked"),
    [
        (Ratio("a / b", 4.0, 4.0), 0, 0),
        (Ratio("a / b", 6.0, 4.0), 1, 0),
        (Ratio("a / b", 6.1, 4.0), 1, 1),
        (Ratio("a / b", 0.6, 0.9, is_minimum=True), 1, 0),
        (Ratio("a / b", 0.5, 0.9, is_minimum=True), 1, 1),
    ],
)
def test_a_short_run_fails_only_if_a_ratio_is_far_outside_its_bound(
    ratio: Ratio, measured: int, checked: int
) -> None:
    codes = []
    for check in (False, True):
        result = report()
        result.ratios = [ratio]
        codes.append(finish(result, argparse.Namespace(write=False, check=check)))
    assert codes == [measured, checked]


def test_a_report_is_written_as_json_and_plot(tmp_path: Path) -> None:
    write(report(), "python -m benchmarks.start", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["start.json", "start.png"]


def test_a_distribution_ends_at_all_values() -> None:
    line = distribution("lag", [3.0, 1.0])
    assert (line.x, line.y) == ([1.0, 3.0], [50.0, 100.0])
