"""What KubeRay will delete on its own: in sentences, and whether before a given time.

core/retention/kuberay_spec.py makes the forecast.
"""

from datetime import datetime, timedelta

from raysweep import names
from raysweep.cli.common.formatting import relative, rfc3339
from raysweep.core.durations import format_duration
from raysweep.core.job_status import kuberay_reports_end
from raysweep.core.model.facts import DeletionRule, KubeRayCleanup, RayJob
from raysweep.core.retention.kuberay_spec import ACTS_LATER, forecast
from raysweep.core.text import quoted

OR_RAYJOB = "the RayJob instead if KubeRay runs with DELETE_RAYJOB_CR_AFTER_JOB_FINISHES=true"


def sentences(rayjob: RayJob, now: datetime, keep_until: datetime | None = None) -> list[str]:
    """One sentence or more. keep_until: a hold of Raysweep, which KubeRay ignores."""
    texts = _sentences(rayjob, now)
    if keep_until and keep_until > now and _is_forecast_before(rayjob, keep_until):
        texts.append(
            f"KubeRay ignores {names.KEEP_UNTIL} and deletes before {rfc3339(keep_until)}."
        )
    return texts


def deletes_before(job: RayJob, until: datetime, now: datetime, *, has_cluster: bool) -> bool:
    """Whether KubeRay deletes the RayJob or its RayCluster before that time.

    If the job has not ended, whether it may do so. has_cluster: whether a RayCluster may exist.
    """
    if job.unreadable or job.has_selector or job.managed_by not in ("", names.KUBERAY_MANAGER):
        return False
    if not kuberay_reports_end(job):
        waits = _seconds_until_deletion(job.kuberay_cleanup)
        return any(_elapses_before(now, seconds, until) for seconds in waits)
    expected = forecast(job)
    if expected.rayjob_at and expected.rayjob_at < until:
        return True
    if expected.raycluster_at is None or expected.raycluster_at >= until:
        return False
    may_delete_rayjob = not job.kuberay_cleanup.has_strategy and expected.raycluster_at > now
    return has_cluster or may_delete_rayjob  # see OR_RAYJOB


def _is_forecast_before(rayjob: RayJob, until: datetime) -> bool:
    expected = forecast(rayjob)
    return any(at and at < until for at in (expected.raycluster_at, expected.rayjob_at))


def _seconds_until_deletion(cleanup: KubeRayCleanup) -> list[int]:
    """After how many seconds KubeRay deletes something, for each possible end of the job."""
    if not cleanup.has_strategy:
        return [cleanup.seconds] if cleanup.shutdown else []
    older_policies = (cleanup.on_success, cleanup.on_failure, cleanup.policy)
    policies = [(rule.policy, rule.seconds) for rule in cleanup.rules]
    policies += [(policy, cleanup.seconds) for policy in older_policies]
    return [seconds for policy, seconds in policies if policy in ("DeleteSelf", "DeleteCluster")]


def _elapses_before(now: datetime, seconds: int, until: datetime) -> bool:
    """Whether KubeRay acts before that time if the job ends now."""
    try:
        return now + timedelta(seconds=seconds) + ACTS_LATER < until
    except OverflowError:
        return False


def _sentences(job: RayJob, now: datetime) -> list[str]:
    if job.unreadable:
        return ["Unknown: the RayJob cannot be read."]
    if job.managed_by not in ("", names.KUBERAY_MANAGER):
        return [f"Nothing: spec.managedBy is {quoted(job.managed_by)}, so KubeRay ignores it."]
    if job.deleting_since:
        return ["It is being deleted: KubeRay stops the job and removes its finalizer."]
    if job.has_selector:
        return ["Nothing: KubeRay does not clean up a RayJob with spec.clusterSelector."]
    if job.deployment_status == "ValidationFailed":
        return ["Nothing: KubeRay ignores a RayJob with status ValidationFailed."]
    if not kuberay_reports_end(job):
        plan = _plan(job.kuberay_cleanup)
        return [f"Nothing yet: it cleans up when the job is Complete or Failed. Then: {plan}"]
    return _forecast_sentences(job, now)


def _forecast_sentences(job: RayJob, now: datetime) -> list[str]:
    expected = forecast(job)
    cause = _cause(job.kuberay_cleanup)
    if expected.raycluster_at is None and expected.rayjob_at is None:
        return [f"Nothing: {_why_nothing(job)}"]
    texts = []
    if expected.rayjob_at:
        when = _when(expected.rayjob_at, now)
        texts.append(f"It deletes the RayJob, and with it the RayCluster, {when}: {cause}.")
    if expected.raycluster_at and expected.raycluster_at != expected.rayjob_at:
        instead = "" if job.kuberay_cleanup.has_strategy else f" ({OR_RAYJOB})"
        when = _when(expected.raycluster_at, now)
        texts.append(f"It deletes the RayCluster {when}: {cause}{instead}.")
    return texts


def _when(at: datetime, now: datetime) -> str:
    if at > now:
        return f"at {rfc3339(at)} ({relative(at, now)})"
    return f"now, due since {rfc3339(at)} (if it still exists)"


def _why_nothing(job: RayJob) -> str:
    if job.end_time is None:
        return "the status has no endTime."
    if not job.kuberay_cleanup.has_strategy:
        return "spec.shutdownAfterJobFinishes is not set."
    cause = _cause(job.kuberay_cleanup)
    job_status, deployment_status = quoted(job.job_status), quoted(job.deployment_status)
    return (
        f"{cause} deletes no RayCluster or RayJob at jobStatus {job_status}, "
        f"jobDeploymentStatus {deployment_status}."
    )


def _cause(cleanup: KubeRayCleanup) -> str:
    """The fields of the spec that ask KubeRay to delete."""
    if not cleanup.has_strategy:
        return f"shutdownAfterJobFinishes, ttlSecondsAfterFinished {cleanup.seconds}"
    if cleanup.rules:
        return f"spec.deletionStrategy ({', '.join(map(_rule_text, cleanup.rules))})"
    if cleanup.policy:
        return f"spec.deletionPolicy {quoted(cleanup.policy)}"
    on_success, on_failure = quoted(cleanup.on_success), quoted(cleanup.on_failure)
    return f"spec.deletionStrategy (onSuccess {on_success}, onFailure {on_failure})"


def _plan(cleanup: KubeRayCleanup) -> str:
    if cleanup.has_strategy:
        return f"{_cause(cleanup)}."
    if not cleanup.shutdown:
        return "nothing, because spec.shutdownAfterJobFinishes is not set."
    after = _seconds_text(cleanup.seconds)
    return f"it deletes the RayCluster {after} after the end, or {OR_RAYJOB}."


def _rule_text(rule: DeletionRule) -> str:
    status = quoted(rule.job_status or rule.deployment_status)
    return f"{quoted(rule.policy)} {_seconds_text(rule.seconds)} after {status}"


def _seconds_text(seconds: int) -> str:
    try:
        return format_duration(timedelta(seconds=seconds)) if seconds >= 0 else f"{seconds}s"
    except OverflowError:
        return f"{seconds}s"
