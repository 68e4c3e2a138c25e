"""What KubeRay will do by itself with a RayJob: in sentences, and whether before some time. The forecast is core/retention/kuberay_spec.py's."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from raysweep import names
from raysweep.cli.common.formatting import relative, rfc3339
from raysweep.core.durations import format_duration
from raysweep.core.job_status import kuberay_reports_end
from raysweep.core.model.facts import DeletionRule, KubeRayCleanup, RayJob
from raysweep.core.retention.kuberay_spec import ACTS_LATER, forecast
from raysweep.core.text import quoted

RECORD_TOO = "the RayJob instead, where KubeRay runs with DELETE_RAYJOB_CR_AFTER_JOB_FINISHES=true"


def words(rayjob: RayJob, now: datetime, keep_until: datetime | None = None) -> list[str]:
    """One sentence or more. keep_until: a wish of ours, which KubeRay does not know."""
    found = forecast(rayjob)
    told = list(_words(rayjob, now))
    if (
        keep_until
        and keep_until > now
        and any(at and at < keep_until for at in (found.raycluster_at, found.rayjob_at))
    ):
        told.append(
            f"{names.KEEP_UNTIL} does not bind KubeRay: it deletes before {rfc3339(keep_until)}."
        )
    return told


def deletes_before(job: RayJob, until: datetime, now: datetime, *, has_cluster: bool) -> bool:
    """Whether KubeRay deletes the RayJob or its RayCluster before that time, or may, where the job has not ended yet.

    has_cluster: whether there is a RayCluster, or may be.
    """
    if job.unreadable or job.has_selector or job.managed_by not in ("", names.KUBERAY_MANAGER):
        return False
    if not kuberay_reports_end(job):
        return any(
            _is_before(now, seconds, until) for seconds in _deletes_after(job.kuberay_cleanup)
        )
    found = forecast(job)
    if found.rayjob_at and found.rayjob_at < until:
        return True
    if found.raycluster_at is None or found.raycluster_at >= until:
        return False
    may_take_the_record = (
        not job.kuberay_cleanup.has_strategy and found.raycluster_at > now
    )  # see RECORD_TOO
    return has_cluster or may_take_the_record


def _deletes_after(kuberay_cleanup: KubeRayCleanup) -> list[int]:
    """How many seconds after which end whatsoever it deletes RayJob or RayCluster."""
    if not kuberay_cleanup.has_strategy:
        return [kuberay_cleanup.seconds] if kuberay_cleanup.shutdown else []
    older = (kuberay_cleanup.on_success, kuberay_cleanup.on_failure, kuberay_cleanup.policy)
    found = [(rule.policy, rule.seconds) for rule in kuberay_cleanup.rules] + [
        (policy, kuberay_cleanup.seconds) for policy in older
    ]
    return [seconds for policy, seconds in found if policy in ("DeleteSelf", "DeleteCluster")]


def _is_before(now: datetime, seconds: int, until: datetime) -> bool:
    """Whether a job that ends now at the earliest is deleted before that time."""
    try:
        return now + timedelta(seconds=seconds) + ACTS_LATER < until
    except OverflowError:
        return False


def _words(job: RayJob, now: datetime) -> Iterator[str]:
    if job.unreadable:
        yield "Unknown: the RayJob cannot be read."
    elif job.managed_by not in ("", names.KUBERAY_MANAGER):
        yield f"Nothing: spec.managedBy is {quoted(job.managed_by)}, so KubeRay leaves it to that."
    elif job.deleting_since:
        yield "It is being deleted: KubeRay stops the job if it still runs, and takes its finalizer off."
    elif job.has_selector:
        yield "Nothing: with spec.clusterSelector KubeRay deletes neither RayJob nor RayCluster, whatever else the spec says."
    elif job.deployment_status == "ValidationFailed":
        yield "Nothing: KubeRay acts on ValidationFailed no more."
    elif not kuberay_reports_end(job):
        yield f"Nothing yet: it cleans up once the job is Complete or Failed. Then: {_wishes(job.kuberay_cleanup)}"
    else:
        yield from _forecast(job, now)


def _forecast(job: RayJob, now: datetime) -> Iterator[str]:
    found = forecast(job)
    by = _by(job.kuberay_cleanup)
    if found.raycluster_at is None and found.rayjob_at is None:
        yield f"Nothing: {_why_nothing(job)}"
    if found.rayjob_at:
        yield f"It deletes the RayJob, and with it the RayCluster, {_at(found.rayjob_at, now)}: {by}."
    if found.raycluster_at and found.raycluster_at != found.rayjob_at:
        instead = "" if job.kuberay_cleanup.has_strategy else f" ({RECORD_TOO})"
        yield f"It deletes the RayCluster {_at(found.raycluster_at, now)}: {by}{instead}."


def _at(at: datetime, now: datetime) -> str:
    return (
        f"at {rfc3339(at)} ({relative(at, now)})"
        if at > now
        else f"since {rfc3339(at)}, if it runs and the cluster is there"
    )


def _why_nothing(job: RayJob) -> str:
    if job.end_time is None:
        return "the status has no endTime."
    if not job.kuberay_cleanup.has_strategy:
        return "spec.shutdownAfterJobFinishes is not set."
    status = (
        f"jobStatus {quoted(job.job_status)}, jobDeploymentStatus {quoted(job.deployment_status)}"
    )
    return f"{_by(job.kuberay_cleanup)} deletes no RayCluster or RayJob at {status}."


def _by(kuberay_cleanup: KubeRayCleanup) -> str:
    if not kuberay_cleanup.has_strategy:
        return f"shutdownAfterJobFinishes, ttlSecondsAfterFinished {kuberay_cleanup.seconds}"
    if kuberay_cleanup.rules:
        return f"spec.deletionStrategy ({', '.join(_rule(rule.policy, rule.seconds, _on(rule)) for rule in kuberay_cleanup.rules)})"
    if kuberay_cleanup.policy:
        return f"spec.deletionPolicy {quoted(kuberay_cleanup.policy)}"
    return f"spec.deletionStrategy (onSuccess {quoted(kuberay_cleanup.on_success)}, onFailure {quoted(kuberay_cleanup.on_failure)})"


def _wishes(kuberay_cleanup: KubeRayCleanup) -> str:
    if not kuberay_cleanup.has_strategy and not kuberay_cleanup.shutdown:
        return "nothing, since spec.shutdownAfterJobFinishes is not set."
    if not kuberay_cleanup.has_strategy:
        return (
            f"the RayCluster goes {_seconds(kuberay_cleanup.seconds)} after the end, {RECORD_TOO}."
        )
    return f"{_by(kuberay_cleanup)}."


def _rule(policy: str, seconds: int, on: str) -> str:
    return f"{quoted(policy)} {_seconds(seconds)} after {on}"


def _on(rule: DeletionRule) -> str:
    return quoted(rule.job_status or rule.deployment_status)


def _seconds(seconds: int) -> str:
    try:
        return format_duration(timedelta(seconds=seconds)) if seconds >= 0 else f"{seconds}s"
    except OverflowError:
        return f"{seconds}s"
