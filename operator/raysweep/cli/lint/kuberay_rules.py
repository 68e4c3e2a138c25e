"""What is refused about a RayJob, and where KubeRay comes before the times of its annotations.

What is refused, core/validation decides; what KubeRay does with which field, core/retention/kuberay_spec.py.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from raysweep import names
from raysweep.cli.lint.problems import Kind, Problem, Rule, Subject
from raysweep.cli.lint.yaml_positions import Path
from raysweep.clients.parsing import yaml_text
from raysweep.clients.parsing.rayjob import parse_rayjob
from raysweep.core.durations import Duration, Never, format_duration
from raysweep.core.model.facts import KubeRayCleanup, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import SourcedDuration
from raysweep.core.retention import annotations
from raysweep.core.retention.kuberay_spec import ACTS_LATER, Forecast, forecast
from raysweep.core.text import quoted
from raysweep.core.validation.metadata import invalid_key
from raysweep.core.validation.rayjob import no_entrypoint
from raysweep.core.validation.validate import field_type, validate, validate_template
from raysweep.core.validation.violation import Authority, Severity, Violation, place_of

TEMPLATE: Path = ("spec", "jobTemplate")
ANNOTATIONS: Path = ("metadata", "annotations")
METADATA: tuple[Path, ...] = (("metadata",), ("metadata", "labels"))

_ENDS = {
    Outcome.SUCCEEDED: ("Complete", "SUCCEEDED"),
    Outcome.FAILED: ("Failed", "FAILED"),
    Outcome.STOPPED: ("Complete", "STOPPED"),
}
"""jobDeploymentStatus and jobStatus with which KubeRay leaves a job that ended so."""

RECORD_TOO = "; the RayJob too, where it runs with DELETE_RAYJOB_CR_AFTER_JOB_FINISHES=true"


_RULES = {
    Authority.API_SERVER: Rule.INVALID_OBJECT,
    Authority.CRD: Rule.REFUSED_BY_KUBERAY,
    Authority.KUBERAY: Rule.REFUSED_BY_KUBERAY,
    Authority.KUEUE: Rule.REFUSED_BY_KUEUE,
}


def problems_of(subject: Subject) -> list[Violation]:
    """Every rule of core/validation that a RayJob breaks, or the jobTemplate of a RayCronJob.

    What a live RayJob runs is not read (clients/kubernetes/user_client.py), so nothing is said about that.
    """
    if subject.kind is Kind.RAYJOB:
        found = validate(subject.part.value, yaml_text.load)
        return [one for one in found if not subject.is_live or one.rule is not no_entrypoint]
    if subject.kind is Kind.RAYCRONJOB:
        template = subject.part.part(*TEMPLATE).value
        return validate_template(template, yaml_text.load) if template is not None else []
    return []


def refused(subject: Subject, problems: Iterable[Violation]) -> Iterator[Problem]:
    """Those problems but the notes, and a spec that Raysweep cannot read."""
    has_types = True
    for problem in problems:
        is_told = problem.path[:2] == ANNOTATIONS or problem.path in METADATA  # by lint_checks.py
        has_types &= problem.rule is not field_type
        if problem.rule.severity is not Severity.NOTE and not is_told:
            yield _problem(subject, problem)
    spec = TEMPLATE if subject.kind is Kind.RAYCRONJOB else ("spec",)
    job = _read(subject, spec) if subject.kind in (Kind.RAYJOB, Kind.RAYCRONJOB) else None
    if job and job.unreadable and has_types:
        yield subject.told(Rule.INVALID_SPEC, job.unreadable, spec)


def _problem(subject: Subject, problem: Violation) -> Problem:
    path, place = problem.path, problem.place
    if subject.kind is Kind.RAYCRONJOB:
        path, place = (*TEMPLATE, *path[1:]), f"{place_of(TEMPLATE)}{place.removeprefix('spec')}"
    rule = _RULES[problem.rule.authority]
    if problem.rule is field_type:
        rule = Rule.INVALID_SPEC
    elif problem.rule.severity is Severity.WARNING:
        rule = Rule.REFUSED_BY_SOME_VERSIONS
    is_key = problem.rule is invalid_key
    return subject.problem(rule, problem.message, path, place=place, key=is_key)


def _read(subject: Subject, spec: Path) -> RayJob:
    metadata = {"name": "any", "uid": "", "resourceVersion": ""}
    return parse_rayjob({"metadata": metadata, "spec": subject.part.part(*spec).value})


def earlier(subject: Subject, job: RayJob, now: datetime) -> Iterator[Problem]:
    """Where KubeRay deletes by itself before a time that the RayJob's annotations set."""
    if (
        job.unreadable
        or job.kuberay_cleanup.seconds < 0
        or any(rule.seconds < 0 for rule in job.kuberay_cleanup.rules)
    ):
        return
    told: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    deletes = ""
    for outcome, (deployment_status, job_status) in _ENDS.items():
        ended = replace(
            job, end_time=now, deployment_status=deployment_status, job_status=job_status
        )
        seen = set()
        for what, after in _deletions(forecast(ended), now):
            deletes = deletes or f"{what} {format_duration(after)} after the end"
            key = _late(job, what, outcome, after)
            if key and key not in seen:
                seen.add(key)
                told[key, f"the {what} {format_duration(after)}"].append(outcome.value)
    for (key, what), outcomes in told.items():
        which = (
            "the end" if len(outcomes) == len(_ENDS) else f"an end that is {' or '.join(outcomes)}"
        )
        said = f"KubeRay deletes {what} after {which} ({_by(job.kuberay_cleanup)}), before {quoted(job.annotations[key])}"
        yield _on(subject, key, f"{said}; change the spec, or shorten this time")
    until = annotations.keep_until(job)
    if deletes and isinstance(until, datetime) and until > now:
        said = f"it does not bind KubeRay, which deletes the {deletes} ({_by(job.kuberay_cleanup)})"
        yield _on(subject, names.KEEP_UNTIL, f"{said}; change the spec to keep that too")


def _deletions(found: Forecast, end: datetime) -> Iterator[tuple[str, timedelta]]:
    """What goes how long after the end; KubeRay looks a moment later."""
    if found.rayjob_at:
        yield "RayJob", found.rayjob_at - end - ACTS_LATER
    if found.raycluster_at:
        yield "RayCluster", found.raycluster_at - end - ACTS_LATER


def _late(job: RayJob, what: str, outcome: Outcome, after: timedelta) -> str:
    """The annotation that sets a later time for it, "" where none does; a ttl alone sets both."""
    keys = (names.TTL,) if what == "RayJob" else (names.CLUSTER_TTL, names.TTL)
    ours = next(
        (said for key in keys if (said := annotations.duration_for(job, key, outcome))), None
    )
    return (
        ours.source.rpartition(" ")[2]
        if isinstance(ours, SourcedDuration) and _is_before(after, ours.value)
        else ""
    )


def _is_before(after: timedelta, ours: Duration) -> bool:
    return isinstance(ours, Never) or after + ACTS_LATER < ours


def _by(kuberay_cleanup: KubeRayCleanup) -> str:
    if kuberay_cleanup.has_strategy:
        return (
            "spec.deletionStrategy"
            if kuberay_cleanup.rules or kuberay_cleanup.on_success or kuberay_cleanup.on_failure
            else "spec.deletionPolicy"
        )
    return f"spec.shutdownAfterJobFinishes with ttlSecondsAfterFinished {kuberay_cleanup.seconds}{RECORD_TOO}"


def _on(subject: Subject, key: str, message: str) -> Problem:
    return subject.problem(
        Rule.KUBERAY_FIRST, message, ("metadata", "annotations", key), place=f"annotation {key}"
    )
