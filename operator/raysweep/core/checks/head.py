"""The guards that speak after a live look at the cluster and its head, and the last one, which deletes. Pure questions."""

from datetime import datetime

from raysweep.core.assessment import Case
from raysweep.core.checks.answers import keep_finished, times, wait, why
from raysweep.core.finish import (
    WANTED_AN_END,
    Finish,
    Says,
    has_ended_by_rays_word,
    is_unfinished,
    knows_more,
    shown_status,
    shown_type,
)
from raysweep.core.model.decisions import Decision, Delete, Target
from raysweep.core.model.facts import HeadList, HeadSilent
from raysweep.core.model.reasons import Reason
from raysweep.core.text import plain, quoted


def head_silent(case: Case, now: datetime) -> Decision | None:
    """Unknown is not finished, unless the head stayed silent and the status proves enough or a policy ends the wait."""
    if case.look is None or case.testimony.says is not Says.NOTHING:
        return None
    if case.needs_no_head(now):
        return None
    silent = case.look.head if isinstance(case.look.head, HeadSilent) else HeadSilent("it was not asked")
    reason = Reason.HEAD_UNAUTHORIZED if silent.unauthorized else Reason.HEAD_UNREACHABLE
    is_enough = case.is_good_enough_without_the_head() and not case.may_have_ended_lately(now)
    is_over = _is_over(case.unreachable_ends_at(now), now)
    if (is_enough or is_over) and case.was_silent_long_enough():
        if not case.heads_fail:
            return None
        reason = Reason.HEADS_UNREACHABLE
    return keep_finished(head_silent, reason, plain(silent.detail), (case, now))


def ambiguous(case: Case, now: datetime) -> Decision | None:
    """No ID and several submissions: any of them may be the one."""
    if case.testimony.says is not Says.AMBIGUOUS:
        return None
    ids = ", ".join(quoted(e.submission_id) for e in case.testimony.others[:5] if e.type == "SUBMISSION")
    return keep_finished(ambiguous, Reason.AMBIGUOUS, f"submissions {ids}", (case, now))


def still_running(case: Case, now: datetime) -> Decision | None:
    """The head has the last word, unless somebody set a deadline and so wanted the end, or a policy set one for this."""
    own = case.testimony.own
    if own is None or not _runs_on(case) or _is_over(case.still_running_ends_at(), now):
        return None
    claimed = f"jobDeploymentStatus {case.rayjob.deployment_status}, jobStatus {quoted(case.rayjob.job_status)}"
    evidence = f"{claimed}; the head says {quoted(own.submission_id)} is {shown_status(own)}"
    return keep_finished(still_running, Reason.STILL_RUNNING, evidence, (case, now))


def cluster_in_use(case: Case, now: datetime) -> Decision | None:
    """Another job, a driver such as a notebook, or another RayJob may still be at work in the cluster."""
    evidence = _use(case)
    if not evidence or _was_used_long_enough(case, now):
        return None
    return keep_finished(cluster_in_use, Reason.CLUSTER_IN_USE, evidence, (case, now))


def _use(case: Case) -> str:
    """What is at work in the cluster besides the RayJob's own job, or may be; "" where nothing is."""
    head = case.look.head if case.look else None
    is_selected = case.rayjob.has_selector  # such a cluster stays, so whoever uses it may go on
    busy = [entry for entry in case.testimony.others if is_unfinished(entry) and not is_selected]
    if isinstance(head, HeadList) and head.unreadable:
        return f"the head's list of jobs cannot be read: {plain(head.unreadable)}"
    if busy:
        shown = ", ".join(f"{shown_type(e)} {quoted(e.submission_id or e.job_id)} {shown_status(e)}" for e in busy[:3])
        return f"{len(busy)} unfinished in the cluster: {shown}"
    if case.cluster and case.selected_by:
        return f"selected by RayJob {', '.join(case.selected_by[:3])}"
    return ""


def _was_used_long_enough(case: Case, now: datetime) -> bool:
    """By policy; never where nobody can tell whether the RayJob's own job has ended."""
    head = case.look.head if case.look else None
    is_unread = isinstance(head, HeadList) and head.unreadable and case.testimony.own is None
    is_known = not is_unread or has_ended_by_rays_word(case.rayjob)
    return is_known and case.finish(now).outcome is not None and _is_over(case.in_use_ends_at(now), now)


def _runs_on(case: Case) -> bool:
    """Whether the head calls the job active though nobody wanted an end of it."""
    return case.testimony.says is Says.ACTIVE and case.rayjob.reason not in WANTED_AN_END


def _is_over(end: datetime | None, now: datetime) -> bool:
    return end is not None and now >= end


def will_be_recreated(case: Case, now: datetime) -> Decision | None:
    """What would come back, and run again: the cluster may go, the RayJob only where it says so itself."""
    tick = case.rayjob.cron_tick
    if tick and now < tick + case.rules.cron_grace:
        evidence = f"its RayCronJob made it at {tick:%Y-%m-%dT%H:%M:%SZ}, and would make it again"
        return wait(will_be_recreated, Reason.WILL_BE_RECREATED, tick + case.rules.cron_grace, (evidence, case, now))
    by = case.comes_back_by(now)
    if not by:
        return None
    cluster_due = case.cluster_due_at(now)
    is_due = cluster_due is not None and cluster_due <= now and not case.swept  # a sweep takes both or nothing
    if case.cluster and is_due and case.finish(now).by is Reason.EXPIRED:
        return _cluster_alone(case, now)
    return keep_finished(will_be_recreated, Reason.WILL_BE_RECREATED, plain(by), (case, now))


def backlog_limit(case: Case, now: datetime) -> Decision | None:
    """Only what a look would delete counts, so that no RayJob that stays anyway blocks the others."""
    if case.backlog_until(now) is None or case.rayjob.deleting_since:
        return None
    if case.backlog_size <= case.rules.backlog_max or not case.would_be_deleted(now):
        return None
    evidence = f"{case.backlog_size} wait, at most {case.rules.backlog_max} may"
    return keep_finished(backlog_limit, Reason.BACKLOG_TOO_LARGE, evidence, (case, now))


def expired(case: Case, now: datetime) -> Decision | None:
    """Nothing speaks against it."""
    job, cluster = case.rayjob, case.cluster
    if cluster and (job.deleting_since or case.is_for_cluster_alone(now)):
        return _cluster_alone(case, now)
    targets = [Target("RayJob", job.namespace, job.name, job.uid, job.resource_version)]
    targets += [Target("RayCluster", job.namespace, cluster.name, cluster.uid)] if cluster else []
    return Delete(tuple(targets), why(expired, _reason(case, now), times(case, now), (case, now)))


def _cluster_alone(case: Case, now: datetime) -> Delete:
    """The RayJob stays as the record, or goes already. What the head alone knows is written down, nobody can be asked later."""
    job, cluster, end = case.rayjob, case.cluster, case.finish(now)
    assert cluster is not None
    version = "" if job.deleting_since else cluster.resource_version
    target = Target("RayCluster", job.namespace, cluster.name, cluster.uid, version)
    note = "" if job.deleting_since or case.testimony.own is None or not knows_more(job, end) else _note(end)
    return Delete((target,), why(expired, _reason(case, now), times(case, now), (case, now)), note)


def _note(end: Finish) -> str:
    return f"{end.outcome} {end.at:%Y-%m-%dT%H:%M:%SZ}"


def _reason_of_silence(case: Case, now: datetime) -> Reason:
    by = case.finish(now).by
    if case.needs_no_head(now):
        return by
    if not case.is_good_enough_without_the_head():
        return Reason.STUCK_UNREACHABLE
    return Reason.UNCONFIRMED if by is Reason.EXPIRED else by


def _reason(case: Case, now: datetime) -> Reason:
    """What this deletion is called."""
    if case.rayjob.deleting_since:
        return Reason.DELETION_UNFINISHED
    if case.testimony.says is Says.NOTHING:
        return _reason_of_silence(case, now)
    if case.swept:
        return Reason.SWEPT
    if _runs_on(case):
        return Reason.STUCK_RUNNING
    if _use(case) and case.finish(now).outcome:
        return Reason.STUCK_IN_USE
    native_at, is_alone = case.native_cluster_at(), case.is_for_cluster_alone(now) or case.comes_back_by(now)
    if native_at and case.cluster and is_alone and now >= native_at:
        return Reason.NATIVE_CLEANUP_MISSED
    return case.finish(now).by
