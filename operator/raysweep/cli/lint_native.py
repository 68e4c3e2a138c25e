"""The cleanup that a RayJob's spec asks of KubeRay: what KubeRay refuses, and where it comes before the annotations' times.

What KubeRay does with which field is core/native.py's; nothing about it is decided here.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from raysweep import names
from raysweep.cli.findings import Check, Finding, Subject
from raysweep.cli.marked import Path
from raysweep.clients.parsing import parse_rayjob
from raysweep.core import annotations
from raysweep.core.durations import Duration, Never, format_duration
from raysweep.core.facts import NativeCleanup, RayJob
from raysweep.core.finished import Outcome
from raysweep.core.native import ACTS_LATER, Forecast, forecast
from raysweep.core.sourced import Sourced
from raysweep.core.text import quoted

_ENDS = {
    Outcome.SUCCEEDED: ("Complete", "SUCCEEDED"),
    Outcome.FAILED: ("Failed", "FAILED"),
    Outcome.STOPPED: ("Complete", "STOPPED"),
}
"""jobDeploymentStatus and jobStatus with which KubeRay leaves a job that ended so."""

RECORD_TOO = "; the RayJob too, where it runs with DELETE_RAYJOB_CR_AFTER_JOB_FINISHES=true"


def refused(subject: Subject, spec: Path) -> Iterator[Finding]:
    """What keeps the RayJob of that spec from ever running, or Raysweep from reading it."""
    metadata = {"name": "any", "uid": "", "resourceVersion": ""}
    job = parse_rayjob({"metadata": metadata, "spec": subject.part.part(*spec).value})
    if job.unreadable:
        yield subject.told(Check.MALFORMED_SPEC, job.unreadable, spec)
        return
    native, seconds = job.native, (*spec, "ttlSecondsAfterFinished")
    if native.seconds < 0:
        yield subject.finding(
            Check.REFUSED_BY_KUBERAY, f"{native.seconds} is below 0, which KubeRay refuses; write 0 or more", seconds
        )
    if native.seconds > 0 and not native.shutdown:
        said = f"{native.seconds} without shutdownAfterJobFinishes: true, which KubeRay refuses; set that, or leave it out"
        yield subject.finding(Check.REFUSED_BY_KUBERAY, said, seconds)
    if native.shutdown and native.rules:
        said = "with deletionStrategy.deletionRules, which KubeRay refuses; leave out one of the two"
        yield subject.finding(Check.REFUSED_BY_KUBERAY, said, (*spec, "shutdownAfterJobFinishes"))
    for number, rule in enumerate(native.rules):
        if rule.seconds < 0:
            path = (*spec, "deletionStrategy", "deletionRules", number, "condition", "ttlSeconds")
            yield subject.finding(
                Check.REFUSED_BY_KUBERAY, f"{rule.seconds} is below 0, which KubeRay refuses; write 0 or more", path
            )


def earlier(subject: Subject, job: RayJob, now: datetime) -> Iterator[Finding]:
    """Where KubeRay deletes by itself before a time that the RayJob's annotations set."""
    if job.unreadable or job.native.seconds < 0 or any(rule.seconds < 0 for rule in job.native.rules):
        return
    told: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    deletes = ""
    for outcome, (deployment_status, job_status) in _ENDS.items():
        ended = replace(job, end_time=now, deployment_status=deployment_status, job_status=job_status)
        seen = set()
        for what, after in _deletions(forecast(ended), now):
            deletes = deletes or f"{what} {format_duration(after)} after the end"
            key = _late(job, what, outcome, after)
            if key and key not in seen:
                seen.add(key)
                told[key, f"the {what} {format_duration(after)}"].append(outcome.value)
    for (key, what), outcomes in told.items():
        which = "the end" if len(outcomes) == len(_ENDS) else f"an end that is {' or '.join(outcomes)}"
        said = f"KubeRay deletes {what} after {which} ({_by(job.native)}), before {quoted(job.annotations[key])}"
        yield _on(subject, key, f"{said}; change the spec, or shorten this time")
    until = annotations.keep_until(job)
    if deletes and isinstance(until, datetime) and until > now:
        said = f"it does not bind KubeRay, which deletes the {deletes} ({_by(job.native)})"
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
    ours = next((said for key in keys if (said := annotations.duration_for(job, key, outcome))), None)
    return ours.source.rpartition(" ")[2] if isinstance(ours, Sourced) and _is_before(after, ours.value) else ""


def _is_before(after: timedelta, ours: Duration) -> bool:
    return isinstance(ours, Never) or after + ACTS_LATER < ours


def _by(native: NativeCleanup) -> str:
    if native.has_strategy:
        return "spec.deletionStrategy" if native.rules or native.on_success or native.on_failure else "spec.deletionPolicy"
    return f"spec.shutdownAfterJobFinishes with ttlSecondsAfterFinished {native.seconds}{RECORD_TOO}"


def _on(subject: Subject, key: str, message: str) -> Finding:
    return subject.finding(Check.KUBERAY_FIRST, message, ("metadata", "annotations", key), place=f"annotation {key}")
