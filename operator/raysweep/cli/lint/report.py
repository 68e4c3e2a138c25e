"""The report of `raysweep lint`: its lines, its JSON, its summary and its exit code."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from raysweep.cli.common.formatting import API_VERSION, rfc3339, safe, serialized
from raysweep.cli.common.options import EXIT_OK, EXIT_PROBLEMS, EXIT_USAGE
from raysweep.cli.lint.problems import ERROR, WARNING, Problem, Rule

UNCHECKED = (Rule.UNREADABLE_FILE, Rule.INVALID_YAML, Rule.TEMPLATE)
"""Rules about files that could not be checked."""


@dataclass(frozen=True, slots=True)
class Report:
    """All problems in order, and what was checked: files, or a cluster."""

    problems: tuple[Problem, ...]
    objects: int
    generated_at: datetime
    files: int | None = None
    server: str | None = None
    namespace: str | None = None
    selector: str | None = None
    notes: tuple[str, ...] = ()

    def count(self, severity: str) -> int:
        """The number of problems of this severity."""
        return sum(problem.rule.severity == severity for problem in self.problems)

    @property
    def unchecked(self) -> int:
        """The number of files that could not be checked."""
        return sum(problem.rule in UNCHECKED for problem in self.problems)

    def exit_code(self, *, strict: bool) -> int:
        """A file that could not be checked outweighs errors in others, since it may hold any."""
        if self.unchecked:
            return EXIT_USAGE
        failures = self.count(ERROR) + (self.count(WARNING) if strict else 0)
        return EXIT_PROBLEMS if failures else EXIT_OK

    def summary(self) -> str:
        """`12 objects in 3 files: 2 errors, 1 warning`."""
        scope = f"namespace {self.namespace}" if self.namespace else "all namespaces"
        if self.files is not None:
            scope = _count(self.files, "file")
        errors = _count(self.count(ERROR), ERROR)
        warnings = _count(self.count(WARNING), WARNING)
        summary = f"{_count(self.objects, 'object')} in {scope}: {errors}, {warnings}"
        if self.unchecked:
            summary += f"; {_count(self.unchecked, 'file')} could not be checked"
        return summary

    def as_json(self) -> dict[str, Any]:
        """docs/reference/json.md describes it field by field, and a test holds the two together."""
        return {
            "apiVersion": API_VERSION,
            "kind": "Lint",
            "generatedAt": rfc3339(self.generated_at),
            "server": self.server,
            "namespace": self.namespace,
            "selector": self.selector,
            "summary": {
                "files": self.files,
                "unchecked": self.unchecked,
                "objects": self.objects,
                "errors": self.count(ERROR),
                "warnings": self.count(WARNING),
            },
            "notes": [safe(note) for note in self.notes],
            "items": [_item(problem) for problem in self.problems],
        }


def print_report(report: Report, output: str, *, strict: bool) -> int:
    """Prints the report. Returns the exit code."""
    for note in report.notes:
        click.echo(safe(f"raysweep: {note}"), err=True)
    if output in ("json", "yaml"):
        click.echo(serialized(report.as_json(), output))
    else:
        for problem in report.problems:
            click.echo(safe(problem))
    click.echo(safe(report.summary()), err=True)
    return report.exit_code(strict=strict)


def _item(problem: Problem) -> dict[str, Any]:
    line, column = problem.position or (None, None)
    return {
        "file": safe(problem.file) or None,
        "line": line,
        "column": column,
        "severity": problem.rule.severity,
        "rule": problem.rule.value,
        "kind": safe(problem.kind) or None,
        "namespace": safe(problem.namespace) or None,
        "name": safe(problem.name) or None,
        "place": safe(problem.place) or None,
        "message": safe(problem.message),
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
