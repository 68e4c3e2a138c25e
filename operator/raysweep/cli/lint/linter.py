"""Applies every rule to objects and collects the problems and notes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from raysweep.cli.lint import policy_rules
from raysweep.cli.lint.kuberay_rules import refused, violations_of
from raysweep.cli.lint.object_rules import Context, is_mark_ambiguous, object_problems
from raysweep.cli.lint.problems import Problem
from raysweep.cli.lint.subjects import Kind, Subject
from raysweep.core import recreation
from raysweep.core.model.facts import Namespace
from raysweep.core.validation.violation import Severity, Violation


@dataclass
class Linter:
    """The problems of all objects so far. Policies are kept, since finish() compares them."""

    context: Context
    problems: list[Problem] = field(default_factory=list)
    objects: int = 0
    notes: list[str] = field(default_factory=list)
    _policies: list[Subject] = field(default_factory=list)
    _ambiguous: list[str] = field(default_factory=list)
    _notes_about: dict[str, list[str]] = field(default_factory=dict)

    def check(self, subject: Subject, violations: Iterable[Violation] | None = None) -> None:
        """Checks one object by itself. violations: the result of violations_of(), if known."""
        found = list(violations_of(subject) if violations is None else violations)
        self.objects += subject.kind is not Kind.OTHER
        self.problems += policy_rules.misplaced(subject)
        self.problems += object_problems(subject, self.context)
        self.problems += refused(subject, found)
        for violation in found:
            if violation.rule.severity is Severity.NOTE:
                note = f"{violation.place}: {violation.message}"
                self._notes_about.setdefault(note, []).append(subject.title)
        if subject.kind is Kind.POLICY:
            self._policies.append(subject)
        if is_mark_ambiguous(subject, self.context):
            self._ambiguous.append(subject.title)

    def finish(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Compares the policies and completes the notes.

        namespaces: all Namespaces of the cluster. None if they are unknown.
        """
        if self._ambiguous:
            self.notes.append(f"{_first_and_more(self._ambiguous)}: {recreation.AMBIGUOUS}")
        for note, titles in self._notes_about.items():
            self.notes.append(f"{_first_and_more(titles)}: {note}")
        policies = policy_rules.parse(self._policies)
        for each in policies:
            self.problems += policy_rules.invalid(each)
            self.problems += policy_rules.outside_own_limits(each)
            self.problems += policy_rules.ttl_before_cluster(each)
        if len(policies) > policy_rules.MOST_COMPARED:
            self.notes.append(
                f"there are {len(policies)} policies, too many to compare them with each other"
            )
            return
        self.problems += policy_rules.overlapping(policies, namespaces, self.context.now)


def _first_and_more(titles: Sequence[str]) -> str:
    return f"{titles[0]} and {len(titles) - 1} more" if len(titles) > 1 else titles[0]
