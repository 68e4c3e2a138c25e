"""The guards that speak before a Ray head is asked: what is never touched, and what has not ended. Pure questions.

Each answers Keep, Wait, AskHead or Delete, or None to let the next one speak; ladder.py has their order.
"""

from datetime import datetime, timedelta

from raysweep import names
from raysweep.core.assessment import LASTS_FOR_EVER, Case
from raysweep.core.checks.answers import keep, keep_finished
from raysweep.core.durations import Never
from raysweep.core.finish import TERMINAL_JOB_STATUS, has_ended_by_its_own_word
from raysweep.core.model.decisions import AskHead, Decision, Question, Wait, Why
from raysweep.core.model.provenance import Fault
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import annotations, resolve
from raysweep.core.text import quoted


def being_deleted(case: Case, now: datetime) -> Decision | None:
    """Lets one pass whose cluster must still go: KubeRay may be down, and we may have died between the two deletions."""
    if case.rayjob.deleting_since is None:
        return None
    if names.ORPHAN_FINALIZER in case.rayjob.finalizers:
        return keep(being_deleted, Reason.BEING_DELETED, "somebody deletes it and wants its cluster to stay (finalizer orphan)")
    is_unfinished = case.cluster is not None and case.cluster.uid == case.memory.half_deleted
    has_ended = is_unfinished or has_ended_by_its_own_word(case.rayjob)
    if case.cluster is None or not has_ended:
        return keep(being_deleted, Reason.BEING_DELETED, f"since {case.rayjob.deleting_since:%Y-%m-%dT%H:%M:%SZ}")
    return None


def protected_namespace(case: Case, now: datetime) -> Decision | None:
    """Kubernetes' own namespaces, and those that a setting adds."""
    if case.rayjob.namespace not in case.rules.protected_namespaces:
        return None
    return keep(protected_namespace, Reason.PROTECTED_NAMESPACE, f"namespace {case.rayjob.namespace}")


def managed_elsewhere(case: Case, now: datetime) -> Decision | None:
    """Deleting a copy that another cluster dispatched makes it run again (kueue#14734)."""
    if case.rayjob.managed_by not in ("", names.KUBERAY_MANAGER):
        return keep(managed_elsewhere, Reason.MANAGED_ELSEWHERE, f"spec.managedBy is {quoted(case.rayjob.managed_by)}")
    if names.MULTIKUEUE_ORIGIN_LABEL in case.rayjob.labels:
        return keep(managed_elsewhere, Reason.MANAGED_ELSEWHERE, f"label {names.MULTIKUEUE_ORIGIN_LABEL}")
    return None


def suspended(case: Case, now: datetime) -> Decision | None:
    """Kueue's evictions look like this; a job that has ended stays ended, whatever spec.suspend says later."""
    if case.rayjob.deployment_status in ("Suspending", "Suspended"):
        return keep(suspended, Reason.SUSPENDED, f"jobDeploymentStatus {case.rayjob.deployment_status}")
    if case.rayjob.suspend and not has_ended_by_its_own_word(case.rayjob):
        return keep(suspended, Reason.SUSPENDED, "spec.suspend is true")
    return None


def unreadable(case: Case, now: datetime) -> Decision | None:
    """What cannot be read might say keep."""
    if case.rayjob.unreadable:
        return keep(unreadable, Reason.UNREADABLE, f"RayJob {case.rayjob.key}: {case.rayjob.unreadable}")
    if case.look and case.look.cluster and case.look.cluster.unreadable:
        return keep(unreadable, Reason.UNREADABLE, f"RayCluster {case.look.cluster.name}: {case.look.cluster.unreadable}")
    if case.namespace is None:
        return keep(unreadable, Reason.NAMESPACE_UNKNOWN, f"Namespace {case.rayjob.namespace}")
    if case.namespace.unreadable:
        return keep(unreadable, Reason.UNREADABLE, f"Namespace {case.namespace.name}: {case.namespace.unreadable}")
    if case.policies is None:
        return keep(unreadable, Reason.POLICIES_UNKNOWN, "RayJobCleanupPolicies could not be listed")
    return None


def malformed(case: Case, now: datetime) -> Decision | None:
    """A value that nobody can understand keeps what it would have decided about, and so do limits that contradict each other."""
    if case.conclusion(now) is None:
        return None
    kept = case.retention(now)
    # raysweep.io/outcome is read only where there is no cluster to ask any more
    written = None if case.may_have_cluster else annotations.written_outcome(case.rayjob)
    for said in (kept.fault, case.kept_until(now), written):
        if isinstance(said, Fault):
            return keep_finished(malformed, Reason.MALFORMED, str(said), (case, now))
    return keep_finished(malformed, Reason.LIMITS_CONFLICT, kept.conflict, (case, now)) if kept.conflict else None


def not_finished(case: Case, now: datetime) -> Decision | None:
    """On the RayJob's own word; the head is asked further down, once everything else says that it is due."""
    job = case.rayjob
    if job.has_selector and job.job_status not in TERMINAL_JOB_STATUS:
        return keep(not_finished, Reason.NOT_FINISHED, f"jobStatus is {quoted(job.job_status)}, and KubeRay would stop the job")
    end = case.conclusion(now)
    if end and (end.outcome or not isinstance(case.retention(now).ttl.value, Never)):
        return None
    status = job.deployment_status
    told = Why(
        "not_finished", Reason.NOT_FINISHED, f"jobDeploymentStatus is {quoted(status)}" if status else "it has no status yet"
    )
    return _poll(case, now, told) or keep(not_finished, told.reason, told.evidence)


def _poll(case: Case, now: datetime, told: Why) -> Decision | None:
    """Jobs that seem to run for ever: their heads are asked now and then, if anything could ever make them go."""
    may_stand = case.rayjob.deployment_status in LASTS_FOR_EVER and not case.rayjob.has_selector
    if case.look or not (may_stand or case.has_unreported_end):
        return None
    if not resolve.is_any_time_set(case.sources):
        return None
    missing = case.rules.unchanged_after - case.unchanged_for()
    if missing > timedelta():
        return Wait(now + missing, told)
    if not may_stand:
        return None
    if case.memory.poll_again_at and now < case.memory.poll_again_at:
        return Wait(case.memory.poll_again_at, told)
    return AskHead(told, Question.POLL)
