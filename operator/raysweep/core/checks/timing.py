"""The guards about time and ownership, up to the question to the head: when is it due, whose is it, who acts first? Pure."""

from datetime import datetime

from raysweep import names
from raysweep.core.assessment import Assessment
from raysweep.core.checks.answers import keep_finished, times, wait, why
from raysweep.core.durations import Never, format_duration
from raysweep.core.head_report import ReportedState
from raysweep.core.job_status import (
    DEADLINE_REASONS,
    TERMINAL_JOB_STATUS,
    kuberay_reports_end,
    shown_status,
)
from raysweep.core.model.decisions import Decision, ProbeHead, ProbeKind, Wait
from raysweep.core.model.provenance import InvalidValue
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import annotations, policies
from raysweep.core.text import quoted


def no_ttl(assessment: Assessment, now: datetime) -> Decision | None:
    """Nothing is deleted until somebody has set a TTL."""
    if assessment.due_at(now) is not None:
        return None
    kept = assessment.retention(now)
    told = [("ttl", kept.ttl)] if isinstance(kept.ttl.value, Never) else []
    told += [("cluster-ttl", kept.cluster_ttl)] if assessment.may_have_cluster else []
    message = ", ".join(f"{key} never ({said.origin})" for key, said in told)
    return keep_finished(no_ttl, Reason.NO_TTL, message, (assessment, now))


def not_due(assessment: Assessment, now: datetime) -> Decision | None:
    """The TTL has not elapsed."""
    due = assessment.due_at(now)
    if due is None or now >= due:
        return None
    if _is_doubtful(assessment):
        return ProbeHead(
            why(not_due, Reason.NOT_DUE, times(assessment, now), (assessment, now)),
            ProbeKind.STATUS,
        )
    own = assessment.head_report.own
    if (
        assessment.head_report.state is ReportedState.ACTIVE and own is not None
    ):  # told now, so that nobody is surprised when it is due
        message = f"the head says {quoted(own.submission_id)} is {shown_status(own)}"
        return wait(not_due, Reason.STILL_RUNNING, due, (message, assessment, now))
    return wait(not_due, Reason.NOT_DUE, due, (times(assessment, now), assessment, now))


def _is_doubtful(assessment: Assessment) -> bool:
    """It ended by KubeRay's word and not by Ray's, and nobody wanted that end: its head is asked once, long before it is due."""
    job = assessment.rayjob
    is_final = kuberay_reports_end(job) and job.deleting_since is None
    is_odd = (
        is_final
        and job.job_status not in TERMINAL_JOB_STATUS
        and job.reason not in DEADLINE_REASONS
    )
    return (
        is_odd
        and assessment.probe is None
        and not assessment.memory.status_probes
        and assessment.may_have_cluster
    )


def kept_by_user(assessment: Assessment, now: datetime) -> Decision | None:
    """Somebody asked for more time, on the RayJob or for the whole Namespace."""
    until = assessment.kept_until(now)
    if not isinstance(until, datetime) or now >= until:
        return None
    things = (assessment.rayjob, assessment.sources.namespace)
    said = next(
        (reason for thing in things if (reason := thing.annotations.get(names.KEEP_REASON))), ""
    )
    asked = [annotations.keep_until(thing) for thing in things]
    is_cut = any(isinstance(one, InvalidValue) or (one and one > until) for one in asked)
    limit = policies.tightest(assessment.sources.policies, "limits.keep.max") if is_cut else None
    message = f"until {until:%Y-%m-%dT%H:%M:%SZ}" + (f", because {quoted(said)}" if said else "")
    message += (
        f"; asked for longer, limited to {format_duration(limit.value)} by {limit.source}"
        if limit
        else ""
    )
    return wait(kept_by_user, Reason.KEPT_BY_USER, until, (message, assessment, now))


def not_owned(assessment: Assessment, now: datetime) -> Decision | None:
    """A RayCluster goes only if this RayJob owns it, is done with it, and it is the one its status names."""
    job, probe = assessment.rayjob, assessment.probe
    if job.has_selector and not assessment.owned:
        return None  # its cluster is never a target, see Case.cluster
    if (
        not job.has_selector
        and probe
        and probe.cluster
        and not probe.is_status_probe
        and probe.cluster.controller_uid != job.uid
    ):
        message = f"RayCluster {probe.cluster.name} has another owner, or none"
        return keep_finished(not_owned, Reason.NOT_OWNED, message, (assessment, now))
    if assessment.other_clusters:
        message = f"status names {quoted(job.cluster_name)}, owned is {', '.join(assessment.other_clusters)}"
        return keep_finished(not_owned, Reason.OTHER_CLUSTER, message, (assessment, now))
    return _would_be_rebuilt(assessment, now)


def _would_be_rebuilt(assessment: Assessment, now: datetime) -> Decision | None:
    if kuberay_reports_end(assessment.rayjob) or not assessment.is_for_cluster_alone(now):
        return None
    due, message = (
        assessment.rayjob_due_at(now),
        f"jobDeploymentStatus is {quoted(assessment.rayjob.deployment_status)}",
    )
    if due is None:
        return keep_finished(not_owned, Reason.WOULD_BE_REBUILT, message, (assessment, now))
    return wait(not_owned, Reason.WOULD_BE_REBUILT, due, (message, assessment, now))


def waiting_for_kuberay(assessment: Assessment, now: datetime) -> Decision | None:
    """KubeRay deletes the cluster by itself; we do where it has not. A RayJob that is due itself goes, cluster included."""
    kuberay_at = assessment.kuberay_deletes_cluster_at()
    is_alone = assessment.is_for_cluster_alone(now) or (
        assessment.may_have_cluster and assessment.comes_back_by(now)
    )
    if kuberay_at is None or assessment.rayjob.deleting_since or not is_alone:
        return None
    limit = assessment.cluster_kept_at_most_until(now)
    ours = min(one for one in (kuberay_at + assessment.parameters.kuberay_grace, limit) if one)
    if now >= ours:
        return None
    return wait(
        waiting_for_kuberay,
        Reason.WAITING_FOR_KUBERAY,
        ours,
        (f"KubeRay will at {kuberay_at:%Y-%m-%dT%H:%M:%SZ}", assessment, now),
    )


def bulk_expiry_delay(assessment: Assessment, now: datetime) -> Decision | None:
    """What a change of a default, or our own absence, made due at once waits, so that a mistake can be stopped."""
    until = assessment.bulk_expiry_until(now)
    if until is None or now >= until or assessment.rayjob.deleting_since:
        return None
    return wait(
        bulk_expiry_delay,
        Reason.BULK_EXPIRY_DELAY,
        until,
        (f"{times(assessment, now)}; {assessment.bulk_expiry_size} wait", assessment, now),
    )


def probe_head(assessment: Assessment, now: datetime) -> Decision | None:
    """Right before a deletion the head is asked, but not again and again while it gives the same answer."""
    if assessment.probe is not None and not assessment.probe.is_status_probe:
        return None
    told, again_at = assessment.memory.kept_by_probe, _look_again_at(assessment, now)
    if told and again_at and now < again_at:
        return Wait(again_at, told)
    return ProbeHead(
        why(probe_head, assessment.finish(now).by, times(assessment, now), (assessment, now))
    )


def _look_again_at(assessment: Assessment, now: datetime) -> datetime | None:
    """When the last look's answer is to be asked for again; None: at once."""
    seen = assessment.memory
    if seen.kept_by_probe is None or seen.looked_at != assessment.rayjob.resource_version:
        return None
    if seen.kept_by_probe.reason.deletes and not assessment.dry_run_by:
        return None  # it was only observed, and may go now
    ends = assessment.patience_ends_at(seen.kept_by_probe.reason, now)
    is_news = (
        ends
        and seen.last_probe_at
        and seen.probe_again_at
        and seen.last_probe_at < ends < seen.probe_again_at
    )
    return ends if is_news else seen.probe_again_at
