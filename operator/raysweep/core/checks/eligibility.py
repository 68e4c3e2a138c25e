"""The guards that speak before a Ray head is asked: what is never touched, and what has not ended. Pure questions.

Each answers Keep, Wait, AskHead or Delete, or None to let the next one speak; ladder.py has their order.
"""

from datetime import datetime, timedelta

from raysweep import names
from raysweep.core.assessment import Assessment
from raysweep.core.checks.answers import keep, keep_finished
from raysweep.core.durations import Never
from raysweep.core.job_status import MAY_HANG, TERMINAL_JOB_STATUS, kuberay_reports_end
from raysweep.core.model.decisions import Decision, Explanation, ProbeHead, ProbeKind, Wait
from raysweep.core.model.provenance import InvalidValue
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import annotations, resolve
from raysweep.core.text import quoted


def being_deleted(assessment: Assessment, now: datetime) -> Decision | None:
    """Lets one pass whose cluster must still go: KubeRay may be down, and we may have died between the two deletions."""
    if assessment.rayjob.deleting_since is None:
        return None
    if names.ORPHAN_FINALIZER in assessment.rayjob.finalizers:
        return keep(
            being_deleted,
            Reason.BEING_DELETED,
            "somebody deletes it and wants its cluster to stay (finalizer orphan)",
        )
    is_unfinished = (
        assessment.cluster is not None and assessment.cluster.uid == assessment.memory.half_deleted
    )
    has_ended = is_unfinished or kuberay_reports_end(assessment.rayjob)
    if assessment.cluster is None or not has_ended:
        return keep(
            being_deleted,
            Reason.BEING_DELETED,
            f"since {assessment.rayjob.deleting_since:%Y-%m-%dT%H:%M:%SZ}",
        )
    return None


def protected_namespace(assessment: Assessment, now: datetime) -> Decision | None:
    """Kubernetes' own namespaces, and those that a setting adds."""
    if assessment.rayjob.namespace not in assessment.parameters.protected_namespaces:
        return None
    return keep(
        protected_namespace, Reason.PROTECTED_NAMESPACE, f"namespace {assessment.rayjob.namespace}"
    )


def managed_elsewhere(assessment: Assessment, now: datetime) -> Decision | None:
    """Deleting a copy that another cluster dispatched makes it run again (kueue#14734)."""
    if assessment.rayjob.managed_by not in ("", names.KUBERAY_MANAGER):
        return keep(
            managed_elsewhere,
            Reason.MANAGED_ELSEWHERE,
            f"spec.managedBy is {quoted(assessment.rayjob.managed_by)}",
        )
    if names.MULTIKUEUE_ORIGIN_LABEL in assessment.rayjob.labels:
        return keep(
            managed_elsewhere, Reason.MANAGED_ELSEWHERE, f"label {names.MULTIKUEUE_ORIGIN_LABEL}"
        )
    return None


def suspended(assessment: Assessment, now: datetime) -> Decision | None:
    """Kueue's evictions look like this; a job that has ended stays ended, whatever spec.suspend says later."""
    if assessment.rayjob.deployment_status in ("Suspending", "Suspended"):
        return keep(
            suspended,
            Reason.SUSPENDED,
            f"jobDeploymentStatus {assessment.rayjob.deployment_status}",
        )
    if assessment.rayjob.suspend and not kuberay_reports_end(assessment.rayjob):
        return keep(suspended, Reason.SUSPENDED, "spec.suspend is true")
    return None


def unreadable(assessment: Assessment, now: datetime) -> Decision | None:
    """What cannot be read might say keep."""
    if assessment.rayjob.unreadable:
        return keep(
            unreadable,
            Reason.UNREADABLE,
            f"RayJob {assessment.rayjob.key}: {assessment.rayjob.unreadable}",
        )
    if assessment.probe and assessment.probe.cluster and assessment.probe.cluster.unreadable:
        return keep(
            unreadable,
            Reason.UNREADABLE,
            f"RayCluster {assessment.probe.cluster.name}: {assessment.probe.cluster.unreadable}",
        )
    if assessment.namespace is None:
        return keep(
            unreadable, Reason.NAMESPACE_UNKNOWN, f"Namespace {assessment.rayjob.namespace}"
        )
    if assessment.namespace.unreadable:
        return keep(
            unreadable,
            Reason.UNREADABLE,
            f"Namespace {assessment.namespace.name}: {assessment.namespace.unreadable}",
        )
    if assessment.policies is None:
        return keep(
            unreadable, Reason.POLICIES_UNKNOWN, "RayJobCleanupPolicies could not be listed"
        )
    return None


def invalid(assessment: Assessment, now: datetime) -> Decision | None:
    """A value that nobody can understand keeps what it would have decided about, and so do limits that contradict each other."""
    if assessment.conclusion(now) is None:
        return None
    kept = assessment.retention(now)
    # raysweep.io/outcome is read only where there is no cluster to ask any more
    written = (
        None if assessment.may_have_cluster else annotations.recorded_outcome(assessment.rayjob)
    )
    for said in (kept.invalid, assessment.kept_until(now), written):
        if isinstance(said, InvalidValue):
            return keep_finished(invalid, Reason.INVALID, str(said), (assessment, now))
    return (
        keep_finished(invalid, Reason.LIMITS_CONFLICT, kept.conflict, (assessment, now))
        if kept.conflict
        else None
    )


def not_finished(assessment: Assessment, now: datetime) -> Decision | None:
    """On the RayJob's own word; the head is asked further down, once everything else says that it is due."""
    job = assessment.rayjob
    if job.has_selector and job.job_status not in TERMINAL_JOB_STATUS:
        return keep(
            not_finished,
            Reason.NOT_FINISHED,
            f"jobStatus is {quoted(job.job_status)}, and KubeRay would stop the job",
        )
    end = assessment.conclusion(now)
    if end and (end.outcome or not isinstance(assessment.retention(now).ttl.value, Never)):
        return None
    status = job.deployment_status
    told = Explanation(
        "not_finished",
        Reason.NOT_FINISHED,
        f"jobDeploymentStatus is {quoted(status)}" if status else "it has no status yet",
    )
    return _status_probe(assessment, now, told) or keep(not_finished, told.reason, told.message)


def _status_probe(assessment: Assessment, now: datetime, told: Explanation) -> Decision | None:
    """Jobs that seem to run for ever: their heads are asked now and then, if anything could ever make them go."""
    may_stand = (
        assessment.rayjob.deployment_status in MAY_HANG and not assessment.rayjob.has_selector
    )
    if assessment.probe or not (may_stand or assessment.has_unreported_end):
        return None
    if not resolve.is_any_time_set(assessment.sources):
        return None
    missing = assessment.parameters.unchanged_after - assessment.unchanged_for()
    if missing > timedelta():
        return Wait(now + missing, told)
    if not may_stand:
        return None
    if assessment.memory.status_probe_at and now < assessment.memory.status_probe_at:
        return Wait(assessment.memory.status_probe_at, told)
    return ProbeHead(told, ProbeKind.STATUS)
