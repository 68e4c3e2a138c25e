"""The answer of `raysweep lint`: its lines, its JSON, its summary and its exit code. What is wrong is found elsewhere."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from raysweep.cli.common.formatting import API_VERSION, rfc3339, safe, serialized
from raysweep.cli.common.options import EXIT_OK, EXIT_USAGE, EXIT_WRONG
from raysweep.cli.lint.problems import ERROR, WARNING, Problem, Rule

UNCHECKED = (Rule.UNREADABLE_FILE, Rule.INVALID_YAML, Rule.TEMPLATE)
"""Of a file that was not looked into."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found, in order, and what was looked at: so many files, or what lies at `server`."""

    problems: tuple[Problem, ...]
    objects: int
    at: datetime
    files: int | None = None
    server: str | None = None
    namespace: str | None = None
    selector: str | None = None
    notes: tuple[str, ...] = ()

    def count(self, severity: str) -> int:
        """How many findings there are of it."""
        return sum(problem.rule.severity == severity for problem in self.problems)

    @property
    def unchecked(self) -> int:
        """How many files were not looked into."""
        return sum(problem.rule in UNCHECKED for problem in self.problems)

    def exit_code(self, *, strict: bool) -> int:
        """A file that was not looked into is worse than any finding: anything may be wrong in it."""
        if self.unchecked:
            return EXIT_USAGE
        return EXIT_WRONG if self.count(ERROR) or (strict and self.count(WARNING)) else EXIT_OK

    def summary(self) -> str:
        """`12 objects in 3 files: 2 errors, 1 warning`."""
        where = f"namespace {self.namespace}" if self.namespace else "all namespaces"
        where = where if self.files is None else _many(self.files, "file")
        counts = ", ".join(_many(self.count(severity), severity) for severity in (ERROR, WARNING))
        told = f"{_many(self.objects, 'object')} in {where}: {counts}"
        return told + (
            f"; {_many(self.unchecked, 'file')} could not be checked" if self.unchecked else ""
        )

    def as_json(self) -> dict[str, Any]:
        """docs/reference/json.md describes it field by field, and a test holds the two together."""
        return {
            "apiVersion": API_VERSION,
            "kind": "Lint",
            "generatedAt": rfc3339(self.at),
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


def answer(report: Report, output: str, *, strict: bool) -> int:
    """Prints it; the exit code."""
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
    line, column = problem.at or (None, None)
    return {
        "file": safe(problem.file) or None,
        "line": line,
        "column": column,
        "severity": problem.rule.severity,
        "check": problem.rule.value,
        "kind": safe(problem.kind) or None,
        "namespace": safe(problem.namespace) or None,
        "name": safe(problem.name) or None,
        "place": safe(problem.place) or None,
        "message": safe(problem.message),
    }


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
