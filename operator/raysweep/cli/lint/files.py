"""`raysweep lint FILE...`: checks manifests without a connection."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from raysweep.cli.lint import yaml_positions
from raysweep.cli.lint.inputs import Manifest, manifests
from raysweep.cli.lint.kuberay_rules import violations_of
from raysweep.cli.lint.linter import Linter
from raysweep.cli.lint.object_rules import Context, has_placeholders
from raysweep.cli.lint.problems import Problem, Rule
from raysweep.cli.lint.report import Report, print_report
from raysweep.cli.lint.subjects import subjects


def run(paths: Iterable[Path], output: str, *, strict: bool) -> int:
    """Checks the files and prints the report. Returns the exit code."""
    now = datetime.now(UTC)  # noqa: TID251 - the clock of session.py would load all clients
    return print_report(lint_files(paths, now), output, strict=strict)


def lint_files(paths: Iterable[Path], now: datetime) -> Report:
    """The problems of every file, and of all policies together."""
    linter = Linter(Context(now))
    order: dict[str, int] = {}
    for manifest in manifests(paths):
        order[manifest.name] = len(order)
        _check(manifest, linter)
    linter.finish()
    problems = sorted(
        dict.fromkeys(linter.problems),
        key=lambda problem: (order[problem.file], problem.position or (0, 0)),
    )
    notes = tuple(linter.notes)
    return Report(tuple(problems), linter.objects, now, files=len(order), notes=notes)


def _check(manifest: Manifest, linter: Linter) -> None:
    name = manifest.name
    if manifest.problem:
        rule, position = Rule.UNREADABLE_FILE, manifest.position
        linter.problems.append(Problem(rule, manifest.problem, file=name, position=position))
        return
    try:
        documents = yaml_positions.read(manifest.text)
        objects = [
            (subject, violations_of(subject))
            for document in documents
            for subject in subjects(document, name)
        ]
        if any(has_placeholders(subject, violations) for subject, violations in objects):
            raise yaml_positions.template(manifest.text)
    except yaml_positions.UnreadableTextError as error:
        rule = Rule.TEMPLATE if error.is_template else Rule.INVALID_YAML
        problem = Problem(rule, str(error), file=name, position=error.position)
        linter.problems.append(problem)
        return
    for subject, violations in objects:
        linter.check(subject, violations)
