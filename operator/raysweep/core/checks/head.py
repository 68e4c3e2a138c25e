"""Checks of what the head and its cluster report after a probe. core/decide.py has their order."""

from raysweep.core.assessment import Assessment
from raysweep.core.checks.answers import explain
from raysweep.core.head_report import KEPT_ENTRIES, ReportedState
from raysweep.core.job_status import (
    DEADLINE_REASONS,
    is_unfinished,
    ray_reports_end,
    shown_status,
    shown_type,
)
from raysweep.core.model.decisions import Decision, Keep
from raysweep.core.model.facts import HeadSilent
from raysweep.core.model.reasons import Reason
from raysweep.core.text import plain, quoted


def head_silent(assessment: Assessment) -> Decision | None:
    """Without an answer of the head the end is not confirmed.

    A head that stays silent ends the wait if the status proves enough, or a policy limits it.
    """
    if assessment.head_report.state is not ReportedState.NO_ANSWER or assessment.needs_no_head:
        return None
    silence = assessment.head_silence or HeadSilent("it was not asked")
    reason = Reason.HEAD_UNAUTHORIZED if silence.unauthorized else Reason.HEAD_UNREACHABLE
    if _can_do_without(assessment) and assessment.is_silence_confirmed:
        if not assessment.heads_fail:
            return None
        reason = Reason.HEADS_UNREACHABLE
    return Keep(explain(head_silent, reason, plain(silence.detail), assessment))


def _can_do_without(assessment: Assessment) -> bool:
    if assessment.is_past_stuck_limit(Reason.HEAD_UNREACHABLE):
        return True
    return assessment.is_status_sufficient and not assessment.may_have_just_ended


def ambiguous(assessment: Assessment) -> Decision | None:
    """The RayJob has no submission ID, and the head has several submissions."""
    report = assessment.head_report
    if report.state is not ReportedState.AMBIGUOUS:
        return None
    shown = [quoted(e.submission_id) for e in report.others[:5] if e.type == "SUBMISSION"]
    message = f"submissions {', '.join(shown)}"
    return Keep(explain(ambiguous, Reason.AMBIGUOUS, message, assessment))


def still_running(assessment: Assessment) -> Decision | None:
    """The head's report counts more than the status, unless a deadline or a policy ended it."""
    job, entry = assessment.rayjob, assessment.head_report.own
    if entry is None or not runs_on(assessment):
        return None
    if assessment.is_past_stuck_limit(Reason.STILL_RUNNING):
        return None
    status = f"jobDeploymentStatus {job.deployment_status}, jobStatus {quoted(job.job_status)}"
    report = f"the head reports {quoted(entry.submission_id)} as {shown_status(entry)}"
    message = f"{status}; {report}"
    return Keep(explain(still_running, Reason.STILL_RUNNING, message, assessment))


def runs_on(assessment: Assessment) -> bool:
    """Whether the head reports the job active, and no deadline of the spec explains that."""
    is_active = assessment.head_report.state is ReportedState.ACTIVE
    return is_active and assessment.rayjob.reason not in DEADLINE_REASONS


def cluster_in_use(assessment: Assessment) -> Decision | None:
    """Another job, a driver such as a notebook, or another RayJob may use the cluster."""
    message = cluster_use(assessment)
    if not message or _is_use_past_limit(assessment):
        return None
    return Keep(explain(cluster_in_use, Reason.CLUSTER_IN_USE, message, assessment))


def cluster_use(assessment: Assessment) -> str:
    """What uses the cluster besides the RayJob's own job, or may use it; "" if nothing does."""
    head, job = assessment.head_list, assessment.rayjob
    if head and head.unreadable:
        return f"the head's list of jobs is unreadable: {plain(head.unreadable)}"
    # A selected cluster is not deleted, so other work in it can go on.
    others = () if job.has_selector else assessment.head_report.others
    busy = [entry for entry in others if is_unfinished(entry)]
    if busy:
        shown = ", ".join(
            f"{shown_type(entry)} {quoted(entry.submission_id or entry.job_id)}"
            f" {shown_status(entry)}"
            for entry in busy[:3]
        )
        count = f"at least {len(busy)}" if len(busy) >= KEPT_ENTRIES else f"{len(busy)}"
        return f"{count} unfinished in the cluster: {shown}"
    if assessment.cluster and assessment.selected_by:
        return f"selected by RayJob {', '.join(assessment.selected_by[:3])}"
    return ""


def _is_use_past_limit(assessment: Assessment) -> bool:
    """Whether a policy's limit has passed. It counts only if the RayJob's own job has ended."""
    head = assessment.head_list
    is_own_unread = head and head.unreadable and assessment.head_report.own is None
    if is_own_unread and not ray_reports_end(assessment.rayjob):
        return False
    if assessment.due.end.outcome is None:
        return False
    return assessment.is_past_stuck_limit(Reason.CLUSTER_IN_USE)
