"""Files for `raysweep lint`: what is read from them, and everything that is found in it. No connection is opened here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from raysweep.cli.lint import policy_rules, yaml_positions
from raysweep.cli.lint.inputs import Manifest, manifests
from raysweep.cli.lint.kuberay_rules import problems_of, refused
from raysweep.cli.lint.object_rules import Situation, checked, is_mark_ambiguous, unwritten
from raysweep.cli.lint.problems import Kind, Problem, Rule, Subject, subjects
from raysweep.cli.lint.report import Report
from raysweep.core import recreation
from raysweep.core.model.facts import Namespace
from raysweep.core.validation.violation import Severity, Violation


@dataclass
class Found:
    """What was found so far. Policies are kept, since some are wrong only together."""

    situation: Situation
    problems: list[Problem] = field(default_factory=list)
    objects: int = 0
    notes: list[str] = field(default_factory=list)
    _policies: list[Subject] = field(default_factory=list)
    _ambiguous: list[str] = field(default_factory=list)
    _in_older_versions: dict[str, list[str]] = field(default_factory=dict)

    def probe_heads(self, subject: Subject, problems: Iterable[Violation]) -> None:
        """Everything that is wrong with one object by itself; problems: problems_of(subject)."""
        self.objects += subject.kind is not Kind.OTHER
        self.problems += [*policy_rules.misplaced(subject), *checked(subject, self.situation)]
        self.problems += refused(subject, problems)
        for problem in problems:
            if problem.rule.severity is Severity.NOTE:
                about = f"{problem.place}: {problem.message}"
                self._in_older_versions.setdefault(about, []).append(subject.title)
        if subject.kind is Kind.POLICY:
            self._policies.append(subject)
        if is_mark_ambiguous(subject, self.situation):
            self._ambiguous.append(
                "/".join(part for part in (subject.namespace, subject.name) if part)
            )

    def compare(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """The policies, each and together; namespaces: all there are, None where that is not known."""
        if self._ambiguous:
            others = f" and {len(self._ambiguous) - 1} more" if len(self._ambiguous) > 1 else ""
            self.notes.append(f"RayJob {self._ambiguous[0]}{others}: {recreation.AMBIGUOUS}")
        for about, titles in self._in_older_versions.items():
            others = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
            self.notes.append(f"{titles[0]}{others}: {about}")
        read = policy_rules.read(self._policies)
        self.problems += [problem for one in read for problem in policy_rules.alone(one)]
        self.problems += policy_rules.together(read, namespaces, self.situation.now)
        if len(read) > policy_rules.MOST_COMPARED:
            self.notes.append(
                f"there are {len(read)} policies, too many to compare them with each other"
            )


def lint_files(paths: Iterable[Path], now: datetime) -> Report:
    """Every file by itself, and all policies together."""
    found = Found(Situation(now))
    order: dict[str, int] = {}
    for manifest in manifests(paths):
        order[manifest.name] = len(order)
        _look_into(manifest, found)
    found.compare()
    sort = sorted(
        dict.fromkeys(found.problems), key=lambda one: (order[one.file], one.at or (0, 0))
    )
    return Report(tuple(sort), found.objects, now, files=len(order), notes=tuple(found.notes))


def _look_into(manifest: Manifest, found: Found) -> None:
    if manifest.problem:
        found.problems.append(
            Problem(Rule.UNREADABLE_FILE, manifest.problem, file=manifest.name, at=manifest.at)
        )
        return
    try:
        documents = yaml_positions.read(manifest.text)
        found_there = [each for document in documents for each in subjects(document, manifest.name)]
        there = [(subject, problems_of(subject)) for subject in found_there]
        if any(unwritten(subject, problems) for subject, problems in there):
            raise yaml_positions.template(manifest.text)
    except yaml_positions.UnreadableTextError as error:
        rule = Rule.TEMPLATE if error.is_template else Rule.INVALID_YAML
        found.problems.append(Problem(rule, str(error), file=manifest.name, at=error.at))
        return
    for subject, problems in there:
        found.probe_heads(subject, problems)
