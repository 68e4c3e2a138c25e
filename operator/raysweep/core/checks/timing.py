"""Checks of time and ownership, up to the probe of the head. core/decide.py has their order."""

from datetime import datetime

from raysweep import names
from raysweep.core.assessment import Assessment
from raysweep.core.checks.answers import explain, times, utc
from raysweep.core.durations import Never, format_duration
from raysweep.core.head_report import ReportedState
from raysweep.core.job_status import (
    DEADLINE_REASONS,
    TERMINAL_JOB_STATUS,
    kuberay_reports_end,
    shown_status,
)
from raysweep.core.model.decisions import Decision, Keep, ProbeHead, Wait
from raysweep.core.model.facts import ProbeKind
from raysweep.core.model.provenance import InvalidValue
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import annotations, kuberay_spec, policies
from raysweep.core.text import quoted


def no_ttl(assessment: Assessment) -> Decision | None:
    """Nothing is deleted until you set a TTL."""
    if assessment.due.first_at is not None:
        return None
    retention = assessment.retention
    ttls = [("ttl", retention.ttl)] if isinstance(retention.ttl.value, Never) else []
    if assessment.may_have_cluster:
        ttls.append(("cluster-ttl", retention.cluster_ttl))
    message = ", ".join(f"{key} never ({ttl.origin})" for key, ttl in ttls)
    return Keep(explain(no_ttl, Reason.NO_TTL, message, assessment))


def not_due(assessment: Assessment) -> Decision | None:
    """The TTL has not elapsed."""
    due, entry = assessment.due.first_at, assessment.head_report.own
    if due is None or assessment.now >= due:
        return None
    reason, message = Reason.NOT_DUE, times(assessment)
    if _is_end_doubtful(assessment):
        return ProbeHead(explain(not_due, reason, message, assessment), ProbeKind.STATUS)
    if assessment.head_report.state is ReportedState.ACTIVE and entry is not None:
        # An early report, so that the RayJob is no surprise when it is due.
        reason = Reason.STILL_RUNNING
        message = f"the head reports {quoted(entry.submission_id)} as {shown_status(entry)}"
    return Wait(due, explain(not_due, reason, message, assessment))


def _is_end_doubtful(assessment: Assessment) -> bool:
    """Whether KubeRay reports an end that Ray does not, and no deadline explains it.

    The head of such a job is asked once, long before the deletion is due.
    """
    job = assessment.rayjob
    if not kuberay_reports_end(job) or job.deleting_since:
        return False
    if job.job_status in TERMINAL_JOB_STATUS or job.reason in DEADLINE_REASONS:
        return False
    was_probed = assessment.probe is not None or assessment.memory.status_probes > 0
    return assessment.may_have_cluster and not was_probed


def kept_by_user(assessment: Assessment) -> Decision | None:
    """An annotation of the RayJob or its Namespace asks for more time."""
    until = assessment.kept_until
    if not isinstance(until, datetime) or assessment.now >= until:
        return None
    message = f"until {utc(until)}{_keep_reason(assessment)}{_keep_limit(assessment, until)}"
    return Wait(until, explain(kept_by_user, Reason.KEPT_BY_USER, message, assessment))


def _keep_reason(assessment: Assessment) -> str:
    for owner in (assessment.rayjob, assessment.sources.namespace):
        reason = owner.annotations.get(names.KEEP_REASON)
        if reason:
            return f", because {quoted(reason)}"
    return ""


def _keep_limit(assessment: Assessment, until: datetime) -> str:
    """The limit of a policy, if an annotation asks for a longer time."""
    limit = policies.tightest(assessment.sources.policies, "limits.keep.max")
    if limit is None:
        return ""
    for owner in (assessment.rayjob, assessment.sources.namespace):
        requested = annotations.keep_until(owner)
        if isinstance(requested, InvalidValue) or (requested and requested > until):
            length = format_duration(limit.value)
            return f"; a longer time is requested and limited to {length} by {limit.source}"
    return ""


def not_owned(assessment: Assessment) -> Decision | None:
    """A RayCluster is deleted only if this RayJob owns it and its status names it."""
    job, probe = assessment.rayjob, assessment.deletion_probe
    if job.has_selector and not assessment.owned:
        return None  # a selected cluster is never a target
    cluster = probe.cluster if probe else None
    if cluster and not job.has_selector and cluster.controller_uid != job.uid:
        message = f"RayCluster {cluster.name} has another owner, or none"
        return Keep(explain(not_owned, Reason.NOT_OWNED, message, assessment))
    if assessment.other_clusters:
        owned = ", ".join(assessment.other_clusters)
        message = f"the status names {quoted(job.cluster_name)}, and the RayJob owns {owned}"
        return Keep(explain(not_owned, Reason.OTHER_CLUSTER, message, assessment))
    return _would_be_rebuilt(assessment)


def _would_be_rebuilt(assessment: Assessment) -> Decision | None:
    job, due = assessment.rayjob, assessment.due
    if kuberay_reports_end(job) or not due.is_cluster_alone:
        return None
    message = f"jobDeploymentStatus is {quoted(job.deployment_status)}"
    explanation = explain(not_owned, Reason.WOULD_BE_REBUILT, message, assessment)
    return Wait(due.rayjob_at, explanation) if due.rayjob_at else Keep(explanation)


def waiting_for_kuberay(assessment: Assessment) -> Decision | None:
    """KubeRay deletes the cluster itself. Raysweep deletes it if KubeRay is late.

    A RayJob that is due itself is deleted at once, with its cluster.
    """
    job, due = assessment.rayjob, assessment.due
    kuberay_at = kuberay_spec.forecast(job).raycluster_at
    if kuberay_at is None or job.deleting_since:
        return None
    is_recreated = assessment.may_have_cluster and assessment.recreator
    if not due.is_cluster_alone and not is_recreated:
        return None
    until = kuberay_at + assessment.parameters.kuberay_grace
    if assessment.cluster_limit:
        until = min(until, assessment.cluster_limit)
    if due.is_cluster_alone and due.rayjob_at:
        until = min(until, due.rayjob_at)
    if assessment.now >= until:
        return None
    message = f"KubeRay deletes it at {utc(kuberay_at)}"
    reason = Reason.WAITING_FOR_KUBERAY
    return Wait(until, explain(waiting_for_kuberay, reason, message, assessment))


def bulk_expiry_delay(assessment: Assessment) -> Decision | None:
    """Many RayJobs that became due at once wait, so that you can correct a mistake."""
    until = assessment.bulk_expiry_until
    if until is None or assessment.now >= until or assessment.rayjob.deleting_since:
        return None
    message = f"{times(assessment)}; {assessment.bulk_expiry_size} RayJobs wait"
    reason = Reason.BULK_EXPIRY_DELAY
    return Wait(until, explain(bulk_expiry_delay, reason, message, assessment))


def probe_head(assessment: Assessment) -> Decision | None:
    """Before a deletion the head is probed; again only after a while if its answer kept the job."""
    if assessment.deletion_probe is not None:
        return None
    last, again_at = assessment.memory.kept_by_probe, _probe_again_at(assessment)
    if last and again_at and assessment.now < again_at:
        return Wait(again_at, last)
    reason = assessment.due.end.reason
    return ProbeHead(explain(probe_head, reason, times(assessment), assessment))


def _probe_again_at(assessment: Assessment) -> datetime | None:
    """When the last probe is repeated. None: at once."""
    memory = assessment.memory
    if memory.kept_by_probe is None or memory.probed_version != assessment.rayjob.resource_version:
        return None
    reason = memory.kept_by_probe.reason
    if reason.deletes and not assessment.dry_run_by:
        return None  # it was a dry run, which has ended
    limit, last_at = assessment.stuck_limit(reason), memory.last_probe_at
    if limit and last_at and memory.probe_again_at and last_at < limit < memory.probe_again_at:
        return limit
    return memory.probe_again_at
