"""Rules about what KubeRay, its CRD and Kueue refuse, and about what KubeRay deletes by itself.

core/validation decides what is refused, and core/retention/kuberay_spec.py what KubeRay deletes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from raysweep import names
from raysweep.cli.lint.problems import Problem, Rule
from raysweep.cli.lint.subjects import Kind, Subject
from raysweep.cli.lint.yaml_positions import Path
from raysweep.clients.parsing import yaml_text
from raysweep.clients.parsing.rayjob import invalid_spec_field
from raysweep.core.durations import Never, format_duration
from raysweep.core.model.facts import KubeRayCleanup, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import SourcedDuration
from raysweep.core.retention import annotations
from raysweep.core.retention.kuberay_spec import ACTS_LATER, forecast
from raysweep.core.text import quoted
from raysweep.core.validation.metadata import invalid_key
from raysweep.core.validation.rayjob import no_entrypoint
from raysweep.core.validation.validate import field_type, validate, validate_template
from raysweep.core.validation.violation import Authority, Severity, Violation, place_of

TEMPLATE: Path = ("spec", "jobTemplate")
ANNOTATIONS: Path = ("metadata", "annotations")
METADATA: tuple[Path, ...] = (("metadata",), ("metadata", "labels"))

_END_STATUS = {
    Outcome.SUCCEEDED: ("Complete", "SUCCEEDED"),
    Outcome.FAILED: ("Failed", "FAILED"),
    Outcome.STOPPED: ("Complete", "STOPPED"),
}
"""jobDeploymentStatus and jobStatus that KubeRay sets for each outcome."""

RAYJOB_TOO = ", and the RayJob if KubeRay runs with DELETE_RAYJOB_CR_AFTER_JOB_FINISHES=true"

_RULE_OF = {
    Authority.API_SERVER: Rule.INVALID_OBJECT,
    Authority.CRD: Rule.REFUSED_BY_KUBERAY,
    Authority.KUBERAY: Rule.REFUSED_BY_KUBERAY,
    Authority.KUEUE: Rule.REFUSED_BY_KUEUE,
}


def violations_of(subject: Subject) -> list[Violation]:
    """The rules of core/validation that a RayJob breaks, or the jobTemplate of a RayCronJob.

    The entrypoint of a live RayJob is not read (clients/kubernetes/user_client.py), so its absence
    is not a violation.
    """
    if subject.kind is Kind.RAYJOB:
        violations = validate(subject.part.value, yaml_text.load)
        if not subject.is_live:
            return violations
        return [violation for violation in violations if violation.rule is not no_entrypoint]
    if subject.kind is Kind.RAYCRONJOB:
        template = subject.part.part(*TEMPLATE).value
        return validate_template(template, yaml_text.load) if template is not None else []
    return []


def refused(subject: Subject, violations: Iterable[Violation]) -> Iterator[Problem]:
    """The violations except notes, and a spec that Raysweep cannot read."""
    is_typed = True
    for violation in violations:
        is_typed &= violation.rule is not field_type
        # object_rules.py reports these.
        is_reported = violation.path[:2] == ANNOTATIONS or violation.path in METADATA
        if violation.rule.severity is not Severity.NOTE and not is_reported:
            yield _problem(subject, violation)
    if is_typed and subject.kind in (Kind.RAYJOB, Kind.RAYCRONJOB):
        yield from _unreadable_spec(subject)


def _problem(subject: Subject, violation: Violation) -> Problem:
    path, place = violation.path, violation.place
    if subject.kind is Kind.RAYCRONJOB:
        path = (*TEMPLATE, *path[1:])
        place = f"{place_of(TEMPLATE)}{place.removeprefix('spec')}"
    rule = _RULE_OF[violation.rule.authority]
    if violation.rule is field_type:
        rule = Rule.INVALID_SPEC
    elif violation.rule.severity is Severity.WARNING:
        rule = Rule.REFUSED_BY_SOME_VERSIONS
    is_key = violation.rule is invalid_key
    return subject.problem(rule, violation.message, path, place=place, is_key=is_key)


def _unreadable_spec(subject: Subject) -> Iterator[Problem]:
    spec = TEMPLATE if subject.kind is Kind.RAYCRONJOB else ("spec",)
    error = invalid_spec_field(subject.part.part(*spec).value)
    if error:
        yield subject.problem(Rule.INVALID_SPEC, error.message, (*spec, *error.path[1:]))


@dataclass(frozen=True, slots=True)
class _Deletion:
    """What KubeRay deletes by itself, and how long after the end of the job."""

    kind: str
    after: timedelta

    @property
    def keys(self) -> tuple[str, ...]:
        """The annotations that set the time of the same deletion, the most specific first."""
        return (names.TTL,) if self.kind == "RayJob" else (names.CLUSTER_TTL, names.TTL)

    def __str__(self) -> str:
        return f"the {self.kind} {format_duration(self.after)}"


def kuberay_first(subject: Subject, job: RayJob, now: datetime) -> Iterator[Problem]:
    """KubeRay deletes by itself before a time that the RayJob's annotations set."""
    cleanup = job.kuberay_cleanup
    if job.unreadable or cleanup.seconds < 0 or any(rule.seconds < 0 for rule in cleanup.rules):
        return
    deletions = {outcome: list(_deletions(job, outcome, now)) for outcome in _END_STATUS}
    outcomes: defaultdict[tuple[str, _Deletion], list[Outcome]] = defaultdict(list)
    for outcome, of_outcome in deletions.items():
        earlier: dict[str, _Deletion] = {}
        for deletion in of_outcome:
            key = _later_annotation(job, deletion, outcome)
            if key:
                earlier.setdefault(key, deletion)
        for key, deletion in earlier.items():
            outcomes[key, deletion].append(outcome)
    for (key, deletion), affected in outcomes.items():
        message = (
            f"KubeRay deletes {deletion} after the end of {_jobs(affected)}, by {_field(cleanup)},"
            f" before {quoted(job.annotations[key])}: change the spec, or shorten this time"
        )
        yield _on(subject, key, message)
    first = next((deletion for each in deletions.values() for deletion in each), None)
    until = annotations.keep_until(job)
    if first and isinstance(until, datetime) and until > now:
        message = (
            f"KubeRay ignores it and deletes {first} after the end, by {_field(cleanup)}:"
            " change the spec to keep that too"
        )
        yield _on(subject, names.KEEP_UNTIL, message)


def _jobs(outcomes: list[Outcome]) -> str:
    if len(outcomes) == len(_END_STATUS):
        return "the job"
    return f"a {' or '.join(outcomes)} job"


def _deletions(job: RayJob, outcome: Outcome, end: datetime) -> Iterator[_Deletion]:
    """What KubeRay deletes if the job ends at this time with this outcome."""
    deployment_status, job_status = _END_STATUS[outcome]
    ended = replace(job, end_time=end, deployment_status=deployment_status, job_status=job_status)
    expected = forecast(ended)
    if expected.rayjob_at:
        yield _Deletion("RayJob", expected.rayjob_at - end - ACTS_LATER)
    if expected.raycluster_at:
        yield _Deletion("RayCluster", expected.raycluster_at - end - ACTS_LATER)


def _later_annotation(job: RayJob, deletion: _Deletion, outcome: Outcome) -> str | None:
    """The annotation that sets a later time for what KubeRay deletes. None if there is none."""
    durations = (annotations.duration_for(job, key, outcome) for key in deletion.keys)
    duration = next((value for value in durations if value), None)
    if not isinstance(duration, SourcedDuration):
        return None
    if isinstance(duration.value, Never) or deletion.after + ACTS_LATER < duration.value:
        return duration.source.rpartition(" ")[2]
    return None


def _field(cleanup: KubeRayCleanup) -> str:
    """The field of the spec that makes KubeRay delete."""
    if not cleanup.has_strategy:
        seconds = f"ttlSecondsAfterFinished {cleanup.seconds}"
        return f"spec.shutdownAfterJobFinishes with {seconds}{RAYJOB_TOO}"
    if cleanup.rules or cleanup.on_success or cleanup.on_failure:
        return "spec.deletionStrategy"
    return "spec.deletionPolicy"


def _on(subject: Subject, key: str, message: str) -> Problem:
    path = (*ANNOTATIONS, key)
    return subject.problem(Rule.KUBERAY_FIRST, message, path, place=f"annotation {key}")
