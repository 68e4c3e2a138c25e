"""Checks before a deletion is due: RayJobs that are never deleted, and jobs that have not ended.

core/decide.py has their order.
"""

from datetime import timedelta

from raysweep import names
from raysweep.core.assessment import Assessment
from raysweep.core.checks.answers import explain, keep, utc
from raysweep.core.durations import Never
from raysweep.core.job_status import MAY_HANG, TERMINAL_JOB_STATUS, kuberay_reports_end
from raysweep.core.model.decisions import Decision, Explanation, Keep, ProbeHead, Wait
from raysweep.core.model.facts import ProbeKind
from raysweep.core.model.provenance import InvalidValue
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import annotations, resolve
from raysweep.core.text import quoted


def being_deleted(assessment: Assessment) -> Decision | None:
    """A RayJob that is being deleted is kept, unless its RayCluster still has to be deleted.

    KubeRay may be down, or Raysweep may have stopped between the two deletions.
    """
    job, cluster = assessment.rayjob, assessment.cluster
    if job.deleting_since is None:
        return None
    if names.ORPHAN_FINALIZER in job.finalizers:
        message = "it is deleted without its cluster (finalizer orphan)"
        return keep(being_deleted, Reason.BEING_DELETED, message)
    if cluster is not None:
        is_half_deleted = cluster.uid == assessment.memory.half_deleted
        if is_half_deleted or kuberay_reports_end(job):
            return None
    return keep(being_deleted, Reason.BEING_DELETED, f"since {utc(job.deleting_since)}")


def protected_namespace(assessment: Assessment) -> Decision | None:
    """The namespaces of Kubernetes, and those that the setting adds, are protected."""
    namespace = assessment.rayjob.namespace
    if namespace not in assessment.parameters.protected_namespaces:
        return None
    return keep(protected_namespace, Reason.PROTECTED_NAMESPACE, f"namespace {namespace}")


def managed_elsewhere(assessment: Assessment) -> Decision | None:
    """A copy that another cluster dispatched would run again after its deletion (kueue#14734)."""
    job = assessment.rayjob
    if job.managed_by not in ("", names.KUBERAY_MANAGER):
        message = f"spec.managedBy is {quoted(job.managed_by)}"
        return keep(managed_elsewhere, Reason.MANAGED_ELSEWHERE, message)
    if names.MULTIKUEUE_ORIGIN_LABEL in job.labels:
        message = f"label {names.MULTIKUEUE_ORIGIN_LABEL}"
        return keep(managed_elsewhere, Reason.MANAGED_ELSEWHERE, message)
    return None


def suspended(assessment: Assessment) -> Decision | None:
    """A suspended RayJob may be resumed, as after an eviction by Kueue.

    A job that has ended stays ended, whatever spec.suspend says later.
    """
    job = assessment.rayjob
    if job.deployment_status in ("Suspending", "Suspended"):
        message = f"jobDeploymentStatus {job.deployment_status}"
        return keep(suspended, Reason.SUSPENDED, message)
    if job.suspend and not kuberay_reports_end(job):
        return keep(suspended, Reason.SUSPENDED, "spec.suspend is true")
    return None


def unreadable(assessment: Assessment) -> Decision | None:
    """An object that could not be read may say that the RayJob is kept."""
    job, namespace = assessment.rayjob, assessment.namespace
    cluster = assessment.probe.cluster if assessment.probe else None
    if job.unreadable:
        message = f"RayJob {job.key}: {job.unreadable}"
        return keep(unreadable, Reason.UNREADABLE, message)
    if cluster and cluster.unreadable:
        message = f"RayCluster {cluster.name}: {cluster.unreadable}"
        return keep(unreadable, Reason.UNREADABLE, message)
    if namespace is None:
        return keep(unreadable, Reason.NAMESPACE_UNKNOWN, f"Namespace {job.namespace}")
    if namespace.unreadable:
        message = f"Namespace {namespace.name}: {namespace.unreadable}"
        return keep(unreadable, Reason.UNREADABLE, message)
    if assessment.policies is None:
        message = "RayJobCleanupPolicies could not be listed"
        return keep(unreadable, Reason.POLICIES_UNKNOWN, message)
    return None


def invalid(assessment: Assessment) -> Decision | None:
    """An invalid value keeps what it would have decided, and so do conflicting limits."""
    if assessment.end is None:
        return None
    value = _invalid_value(assessment)
    if value:
        return Keep(explain(invalid, Reason.INVALID, str(value), assessment))
    conflict = assessment.retention.conflict
    if conflict:
        return Keep(explain(invalid, Reason.LIMITS_CONFLICT, conflict, assessment))
    return None


def _invalid_value(assessment: Assessment) -> InvalidValue | None:
    """raysweep.io/outcome counts only if no cluster is left to probe."""
    if assessment.retention.invalid:
        return assessment.retention.invalid
    if isinstance(assessment.kept_until, InvalidValue):
        return assessment.kept_until
    if assessment.may_have_cluster:
        return None
    outcome = annotations.recorded_outcome(assessment.rayjob)
    return outcome if isinstance(outcome, InvalidValue) else None


def not_finished(assessment: Assessment) -> Decision | None:
    """A job has not ended by its status. Its head is asked once everything else is due."""
    job, end = assessment.rayjob, assessment.end
    if job.has_selector and job.job_status not in TERMINAL_JOB_STATUS:
        message = f"jobStatus is {quoted(job.job_status)}, and KubeRay would stop the job"
        return keep(not_finished, Reason.NOT_FINISHED, message)
    if end and (end.outcome or not isinstance(assessment.retention.ttl.value, Never)):
        return None
    message = "it has no status yet"
    if job.deployment_status:
        message = f"jobDeploymentStatus is {quoted(job.deployment_status)}"
    explanation = Explanation(not_finished.__name__, Reason.NOT_FINISHED, message)
    return _status_probe(assessment, explanation) or Keep(explanation)


def _status_probe(assessment: Assessment, explanation: Explanation) -> Decision | None:
    """Probes the head of a job that seems to run forever, if it could ever be deleted."""
    job, now = assessment.rayjob, assessment.now
    may_hang = job.deployment_status in MAY_HANG and not job.has_selector
    if assessment.probe or not (may_hang or assessment.has_unreported_end):
        return None
    if not resolve.is_any_time_set(assessment.sources):
        return None
    remaining = assessment.parameters.unchanged_after - assessment.unchanged_for
    if remaining > timedelta():
        return Wait(now + remaining, explanation)
    if not may_hang:
        return None
    again_at = assessment.memory.status_probe_at
    if again_at and now < again_at:
        return Wait(again_at, explanation)
    return ProbeHead(explanation, ProbeKind.STATUS)
