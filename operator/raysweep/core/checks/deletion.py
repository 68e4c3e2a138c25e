"""The last checks, and the deletion itself. core/decide.py has their order."""

from raysweep.core.assessment import Assessment
from raysweep.core.checks.answers import explain, times, utc
from raysweep.core.checks.head import cluster_use, runs_on
from raysweep.core.finish import adds_to_status
from raysweep.core.head_report import ReportedState
from raysweep.core.model.decisions import Decision, Delete, Keep, Target, Wait
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import kuberay_spec
from raysweep.core.text import plain


def will_be_recreated(assessment: Assessment) -> Decision | None:
    """A RayJob that would be created again, and run again, is kept. Its cluster may be deleted.

    A TTL on the RayJob itself allows its deletion.
    """
    tick = assessment.rayjob.cron_tick
    if tick and assessment.now < tick + assessment.parameters.cron_grace:
        message = f"its RayCronJob created it at {utc(tick)}, and would create it again"
        until = tick + assessment.parameters.cron_grace
        reason = Reason.WILL_BE_RECREATED
        return Wait(until, explain(will_be_recreated, reason, message, assessment))
    if not assessment.recreator:
        return None
    due = assessment.due
    is_cluster_due = due.is_cluster_due and not assessment.swept  # a sweep deletes both or nothing
    if assessment.cluster and is_cluster_due and due.end.reason is Reason.EXPIRED:
        return _delete_cluster(assessment)
    message = plain(assessment.recreator)
    return Keep(explain(will_be_recreated, Reason.WILL_BE_RECREATED, message, assessment))


def bulk_expiry_limit(assessment: Assessment) -> Decision | None:
    """Too many RayJobs became due at once. Only those count that would be deleted."""
    if assessment.bulk_expiry_until is None or assessment.rayjob.deleting_since:
        return None
    size, limit = assessment.bulk_expiry_size, assessment.parameters.bulk_expiry_max
    if size <= limit or not assessment.can_be_deleted:
        return None
    message = f"{size} RayJobs wait, and {limit} are allowed"
    return Keep(explain(bulk_expiry_limit, Reason.BULK_EXPIRY_BLOCKED, message, assessment))


def expired(assessment: Assessment) -> Decision | None:
    """No check keeps it: the RayJob is deleted, its RayCluster, or both."""
    job, cluster = assessment.rayjob, assessment.cluster
    if cluster and (job.deleting_since or assessment.due.is_cluster_alone):
        return _delete_cluster(assessment)
    targets = [Target("RayJob", job.namespace, job.name, job.uid, job.resource_version)]
    if cluster:
        targets.append(Target("RayCluster", job.namespace, cluster.name, cluster.uid))
    explanation = explain(expired, _reason(assessment), times(assessment), assessment)
    return Delete(tuple(targets), explanation)


def _delete_cluster(assessment: Assessment) -> Delete:
    """Deletes the RayCluster. Its RayJob stays as the record, or is being deleted already.

    What only the head knows is written down, because no head is left to ask later.
    """
    job, cluster, end = assessment.rayjob, assessment.cluster, assessment.due.end
    assert cluster is not None
    version = "" if job.deleting_since else cluster.resource_version
    target = Target("RayCluster", job.namespace, cluster.name, cluster.uid, version)
    is_noted = assessment.head_report.own is not None and adds_to_status(job, end)
    note = f"{end.outcome} {utc(end.time)}" if is_noted and not job.deleting_since else ""
    explanation = explain(expired, _reason(assessment), times(assessment), assessment)
    return Delete((target,), explanation, note)


def _reason(assessment: Assessment) -> Reason:
    """The reason of this deletion."""
    end = assessment.due.end
    if assessment.rayjob.deleting_since:
        return Reason.DELETION_UNFINISHED
    if assessment.head_report.state is ReportedState.NO_ANSWER:
        return _reason_without_answer(assessment)
    if assessment.swept:
        return Reason.SWEPT
    if runs_on(assessment):
        return Reason.STUCK_RUNNING
    if end.outcome and cluster_use(assessment):
        return Reason.STUCK_IN_USE
    return Reason.KUBERAY_CLEANUP_MISSED if _has_kuberay_missed(assessment) else end.reason


def _reason_without_answer(assessment: Assessment) -> Reason:
    reason = assessment.due.end.reason
    if assessment.needs_no_head:
        return reason
    if not assessment.is_status_sufficient:
        return Reason.STUCK_UNREACHABLE
    return Reason.UNCONFIRMED if reason is Reason.EXPIRED else reason


def _has_kuberay_missed(assessment: Assessment) -> bool:
    """Whether KubeRay should have deleted the cluster that Raysweep deletes without its RayJob."""
    kuberay_at = kuberay_spec.forecast(assessment.rayjob).raycluster_at
    if kuberay_at is None or assessment.now < kuberay_at or assessment.cluster is None:
        return False
    return assessment.due.is_cluster_alone or assessment.recreator != ""
