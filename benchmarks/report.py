"""The result of a benchmark: a table, ratios with bounds, a plot, and a JSON file.

Each benchmark compares its figures with a yardstick of the same run, because a figure alone says
more about the machine than about Raysweep. Only ratios have bounds.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "docs" / "assets" / "benchmarks"
"""Where `make bench` writes JSON and plots. docs/performance.py builds a page from them."""

CHECK_SLACK = 1.5
"""How much worse a ratio of a short run may be than its bound: other programs disturb it more."""

Cell = str | float | int | None


@dataclass(frozen=True)
class Ratio:
    """A figure as a multiple of its yardstick, measured in the same run.

    name: a sentence such as "all judged / bare list of 10,000". bound: the largest accepted value,
    or the smallest if is_minimum.
    """

    name: str
    value: float
    bound: float
    is_minimum: bool = False

    @property
    def is_met(self) -> bool:
        return self.value >= self.bound if self.is_minimum else self.value <= self.bound

    def with_slack(self, slack: float) -> "Ratio":
        """The same ratio with a bound that is so many times easier to meet."""
        return replace(self, bound=self.bound / slack if self.is_minimum else self.bound * slack)

    def __str__(self) -> str:
        relation = "at least" if self.is_minimum else "at most"
        outcome = "" if self.is_met else "  MISSED"
        return f"{self.name}: {self.value:.2f} ({relation} {self.bound:g}){outcome}"


@dataclass(frozen=True)
class Series:
    """A line of a plot. Its style tells Raysweep ("-") and yardsticks ("--") apart."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    style: str = "-"


@dataclass(frozen=True)
class Plot:
    """A plot of a report. Axes are linear unless `log` is true."""

    x_label: str
    y_label: str
    series: Sequence[Series]
    log: bool = False


@dataclass
class Report:
    """What one benchmark has measured.

    name: the module, such as `start`. Each row has one cell for each column. notes: sentences
    about what the figures do not show by themselves. second_plot: drawn beside `plot`.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plot: Plot | None = None
    second_plot: Plot | None = None

    @property
    def plots(self) -> list[Plot]:
        return [plot for plot in (self.plot, self.second_plot) if plot]

    @property
    def is_met(self) -> bool:
        return all(ratio.is_met for ratio in self.ratios)

    def as_json(self, command: str) -> dict[str, Any]:
        """The content of the JSON file."""
        return {
            "name": self.name,
            "title": self.title,
            "command": command,
            "measuredAt": datetime.now(UTC).strftime("%Y-%m-%d"),
            "machine": machine(),
            "columns": list(self.columns),
            "rows": [[_written(cell) for cell in row] for row in self.rows],
            "ratios": [asdict(ratio) | {"is_met": ratio.is_met} for ratio in self.ratios],
            "notes": self.notes,
        }

    def as_text(self) -> str:
        """The table, the ratios and the notes, for a terminal."""
        rows = [list(self.columns), *([_written(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.columns))]
        lines = [self.title, ""]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            lines.append("  ".join(cells).rstrip())
        lines += ["", *(str(ratio) for ratio in self.ratios), *self.notes]
        return "\n".join(lines)


def machine() -> dict[str, Any]:
    """The machine of a run: cores, memory in GiB, kernel and Python."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memoryGiB": round(memory / 2**30),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
    }


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the flags that all benchmarks share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--write", action="store_true", help="write JSON and plot in docs/assets/benchmarks"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help=f"a short run; its ratios may be {CHECK_SLACK:g} times worse than their bounds",
    )
    return parser


def main(
    description: str, measure: Callable[[argparse.Namespace], Coroutine[Any, Any, Report]]
) -> int:
    """Runs a benchmark that has only the shared flags. Returns the exit code."""
    options = arguments(description).parse_args()
    return finish(asyncio.run(measure(options)), options)


def finish(report: Report, options: argparse.Namespace) -> int:
    """Prints the report, writes its files if --write is given, and returns the exit code."""
    if options.check:
        report.ratios = [ratio.with_slack(CHECK_SLACK) for ratio in report.ratios]
    print(report.as_text(), flush=True)
    if options.write:
        write(report, command=_command())
    return 0 if report.is_met else 1


def write(report: Report, command: str, folder: Path = RESULTS) -> None:
    """Writes NAME.json, and NAME.png if the report has a plot."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report.as_json(command), indent=2, ensure_ascii=False)
    (folder / f"{report.name}.json").write_text(f"{text}\n")
    if report.plots:
        _draw(report.plots, report.title, folder / f"{report.name}.png")


def _draw(plots: Sequence[Plot], title: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8 if len(plots) == 1 else 11, 4.5), dpi=120, layout="constrained")
    figure.suptitle(title)
    for plot, axes in zip(plots, figure.subplots(1, len(plots), squeeze=False)[0], strict=True):
        _draw_lines(plot, axes)
    figure.savefig(path)


def _draw_lines(plot: Plot, axes: Any) -> None:
    for series in plot.series:
        axes.plot(series.x, series.y, series.style, label=series.label)
    if plot.log:
        _scale_logarithmically(axes)
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()


def _scale_logarithmically(axes: Any) -> None:
    """With plain numbers such as 2,000 at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axis.set_minor_formatter(NullFormatter())


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * share // 1))
    return ordered[int(rank) - 1]


def distribution(label: str, values: Sequence[float], style: str = "-") -> Series:
    """A line that shows which share of the values (y, in percent) is at most x."""
    ordered = sorted(values)
    shares = [100 * (index + 1) / len(ordered) for index in range(len(ordered))]
    return Series(label, ordered, shares, style)


def _written(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:,.2f}" if abs(cell) < 10 else f"{cell:,.1f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _command() -> str:
    module = Path(sys.argv[0]).stem
    given = [word for word in sys.argv[1:] if word != "--write"]
    return " ".join(["python -m", f"benchmarks.{module}", *given])
