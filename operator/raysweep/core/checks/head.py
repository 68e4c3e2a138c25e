"""The guards that speak after a live look at the cluster and its head, and the last one, which deletes. Pure questions."""

from datetime import datetime

from raysweep.core.assessment import Assessment
from raysweep.core.checks.answers import keep_finished, times, wait, why
from raysweep.core.finish import JobEnd, knows_more
from raysweep.core.head_report import ReportedState
from raysweep.core.job_status import (
    DEADLINE_REASONS,
    is_unfinished,
    ray_reports_end,
    shown_status,
    shown_type,
)
from raysweep.core.model.decisions import Decision, Delete, Target
from raysweep.core.model.facts import HeadList, HeadSilent
from raysweep.core.model.reasons import Reason
from raysweep.core.text import plain, quoted


def head_silent(assessment: Assessment, now: datetime) -> Decision | None:
    """Unknown is not finished, unless the head stayed silent and the status proves enough or a policy ends the wait."""
    if assessment.probe is None or assessment.head_report.state is not ReportedState.NO_ANSWER:
        return None
    if assessment.needs_no_head(now):
        return None
    silent = (
        assessment.probe.head
        if isinstance(assessment.probe.head, HeadSilent)
        else HeadSilent("it was not asked")
    )
    reason = Reason.HEAD_UNAUTHORIZED if silent.unauthorized else Reason.HEAD_UNREACHABLE
    is_enough = (
        assessment.is_good_enough_without_the_head() and not assessment.may_have_ended_lately(now)
    )
    is_over = _is_over(assessment.unreachable_ends_at(now), now)
    if (is_enough or is_over) and assessment.was_silent_long_enough():
        if not assessment.heads_fail:
            return None
        reason = Reason.HEADS_UNREACHABLE
    return keep_finished(head_silent, reason, plain(silent.detail), (assessment, now))


def ambiguous(assessment: Assessment, now: datetime) -> Decision | None:
    """No ID and several submissions: any of them may be the one."""
    if assessment.head_report.state is not ReportedState.AMBIGUOUS:
        return None
    ids = ", ".join(
        quoted(e.submission_id) for e in assessment.head_report.others[:5] if e.type == "SUBMISSION"
    )
    return keep_finished(ambiguous, Reason.AMBIGUOUS, f"submissions {ids}", (assessment, now))


def still_running(assessment: Assessment, now: datetime) -> Decision | None:
    """The head has the last word, unless somebody set a deadline and so wanted the end, or a policy set one for this."""
    own = assessment.head_report.own
    if own is None or not _runs_on(assessment) or _is_over(assessment.still_running_ends_at(), now):
        return None
    claimed = f"jobDeploymentStatus {assessment.rayjob.deployment_status}, jobStatus {quoted(assessment.rayjob.job_status)}"
    message = f"{claimed}; the head says {quoted(own.submission_id)} is {shown_status(own)}"
    return keep_finished(still_running, Reason.STILL_RUNNING, message, (assessment, now))


def cluster_in_use(assessment: Assessment, now: datetime) -> Decision | None:
    """Another job, a driver such as a notebook, or another RayJob may still be at work in the cluster."""
    message = _use(assessment)
    if not message or _was_used_long_enough(assessment, now):
        return None
    return keep_finished(cluster_in_use, Reason.CLUSTER_IN_USE, message, (assessment, now))


def _use(assessment: Assessment) -> str:
    """What is at work in the cluster besides the RayJob's own job, or may be; "" where nothing is."""
    head = assessment.probe.head if assessment.probe else None
    is_selected = (
        assessment.rayjob.has_selector
    )  # such a cluster stays, so whoever uses it may go on
    busy = [
        entry for entry in assessment.head_report.others if is_unfinished(entry) and not is_selected
    ]
    if isinstance(head, HeadList) and head.unreadable:
        return f"the head's list of jobs cannot be read: {plain(head.unreadable)}"
    if busy:
        shown = ", ".join(
            f"{shown_type(e)} {quoted(e.submission_id or e.job_id)} {shown_status(e)}"
            for e in busy[:3]
        )
        return f"{len(busy)} unfinished in the cluster: {shown}"
    if assessment.cluster and assessment.selected_by:
        return f"selected by RayJob {', '.join(assessment.selected_by[:3])}"
    return ""


def _was_used_long_enough(assessment: Assessment, now: datetime) -> bool:
    """By policy; never where nobody can tell whether the RayJob's own job has ended."""
    head = assessment.probe.head if assessment.probe else None
    is_unread = (
        isinstance(head, HeadList) and head.unreadable and assessment.head_report.own is None
    )
    is_known = not is_unread or ray_reports_end(assessment.rayjob)
    return (
        is_known
        and assessment.finish(now).outcome is not None
        and _is_over(assessment.in_use_ends_at(now), now)
    )


def _runs_on(assessment: Assessment) -> bool:
    """Whether the head calls the job active though nobody wanted an end of it."""
    return (
        assessment.head_report.state is ReportedState.ACTIVE
        and assessment.rayjob.reason not in DEADLINE_REASONS
    )


def _is_over(end: datetime | None, now: datetime) -> bool:
    return end is not None and now >= end


def will_be_recreated(assessment: Assessment, now: datetime) -> Decision | None:
    """What would come back, and run again: the cluster may go, the RayJob only where it says so itself."""
    tick = assessment.rayjob.cron_tick
    if tick and now < tick + assessment.parameters.cron_grace:
        message = f"its RayCronJob made it at {tick:%Y-%m-%dT%H:%M:%SZ}, and would make it again"
        return wait(
            will_be_recreated,
            Reason.WILL_BE_RECREATED,
            tick + assessment.parameters.cron_grace,
            (message, assessment, now),
        )
    by = assessment.comes_back_by(now)
    if not by:
        return None
    cluster_due = assessment.cluster_due_at(now)
    is_due = (
        cluster_due is not None and cluster_due <= now and not assessment.swept
    )  # a sweep takes both or nothing
    if assessment.cluster and is_due and assessment.finish(now).by is Reason.EXPIRED:
        return _cluster_alone(assessment, now)
    return keep_finished(will_be_recreated, Reason.WILL_BE_RECREATED, plain(by), (assessment, now))


def bulk_expiry_limit(assessment: Assessment, now: datetime) -> Decision | None:
    """Only what a look would delete counts, so that no RayJob that stays anyway blocks the others."""
    if assessment.bulk_expiry_until(now) is None or assessment.rayjob.deleting_since:
        return None
    if (
        assessment.bulk_expiry_size <= assessment.parameters.bulk_expiry_max
        or not assessment.would_be_deleted(now)
    ):
        return None
    message = (
        f"{assessment.bulk_expiry_size} wait, at most {assessment.parameters.bulk_expiry_max} may"
    )
    return keep_finished(bulk_expiry_limit, Reason.BULK_EXPIRY_BLOCKED, message, (assessment, now))


def expired(assessment: Assessment, now: datetime) -> Decision | None:
    """Nothing speaks against it."""
    job, cluster = assessment.rayjob, assessment.cluster
    if cluster and (job.deleting_since or assessment.is_for_cluster_alone(now)):
        return _cluster_alone(assessment, now)
    targets = [Target("RayJob", job.namespace, job.name, job.uid, job.resource_version)]
    targets += [Target("RayCluster", job.namespace, cluster.name, cluster.uid)] if cluster else []
    return Delete(
        tuple(targets),
        why(expired, _reason(assessment, now), times(assessment, now), (assessment, now)),
    )


def _cluster_alone(assessment: Assessment, now: datetime) -> Delete:
    """The RayJob stays as the record, or goes already. What the head alone knows is written down, nobody can be asked later."""
    job, cluster, end = assessment.rayjob, assessment.cluster, assessment.finish(now)
    assert cluster is not None
    version = "" if job.deleting_since else cluster.resource_version
    target = Target("RayCluster", job.namespace, cluster.name, cluster.uid, version)
    note = (
        ""
        if job.deleting_since or assessment.head_report.own is None or not knows_more(job, end)
        else _note(end)
    )
    return Delete(
        (target,),
        why(expired, _reason(assessment, now), times(assessment, now), (assessment, now)),
        note,
    )


def _note(end: JobEnd) -> str:
    return f"{end.outcome} {end.at:%Y-%m-%dT%H:%M:%SZ}"


def _reason_of_silence(assessment: Assessment, now: datetime) -> Reason:
    by = assessment.finish(now).by
    if assessment.needs_no_head(now):
        return by
    if not assessment.is_good_enough_without_the_head():
        return Reason.STUCK_UNREACHABLE
    return Reason.UNCONFIRMED if by is Reason.EXPIRED else by


def _reason(assessment: Assessment, now: datetime) -> Reason:
    """What this deletion is called."""
    if assessment.rayjob.deleting_since:
        return Reason.DELETION_UNFINISHED
    if assessment.head_report.state is ReportedState.NO_ANSWER:
        return _reason_of_silence(assessment, now)
    if assessment.swept:
        return Reason.SWEPT
    if _runs_on(assessment):
        return Reason.STUCK_RUNNING
    if _use(assessment) and assessment.finish(now).outcome:
        return Reason.STUCK_IN_USE
    kuberay_at, is_alone = (
        assessment.kuberay_deletes_cluster_at(),
        assessment.is_for_cluster_alone(now) or assessment.comes_back_by(now),
    )
    if kuberay_at and assessment.cluster and is_alone and now >= kuberay_at:
        return Reason.KUBERAY_CLEANUP_MISSED
    return assessment.finish(now).by
