"""The memory after a pass: what an assessment and its decision add to it. Pure."""

import zlib
from dataclasses import replace
from datetime import datetime, timedelta

from raysweep.core.assessment import Assessment
from raysweep.core.finish import plausible
from raysweep.core.head_report import ReportedState
from raysweep.core.job_status import MAY_HANG, kuberay_reports_end
from raysweep.core.model.decisions import Decision, Delete, Explanation, Wait
from raysweep.core.model.memory import PROBE_AGAIN, SILENCE, Memory, Observation
from raysweep.core.model.own_times import own_times
from raysweep.core.model.reasons import Reason

NOT_LISTED = frozenset({Reason.NAMESPACE_UNKNOWN, Reason.POLICIES_UNKNOWN})
"""What is missing is not at the head. Once it is listed, the probe need not wait."""
BULK_EXPIRY = frozenset({Reason.BULK_EXPIRY_DELAY, Reason.BULK_EXPIRY_BLOCKED})
JOB_RUNS = frozenset({Reason.NOT_FINISHED, Reason.SUSPENDED})
"""What was observed of an earlier end no longer counts."""
DRY_RUN_PROBE_AFTER = timedelta(minutes=30)
"""In a dry run, an unchanged RayJob that would be deleted is probed again after this time."""


def update_memory(assessment: Assessment, decision: Decision) -> Memory:
    """The memory after this pass."""
    memory = _observe_running(_observe_status(assessment), assessment)
    memory = _with(memory, in_bulk_expiry=False)
    if assessment.probe is not None:
        memory = _observe_report(memory, assessment)
        if assessment.deletion_probe is None:
            memory = _count_status_probe(memory, assessment)
    explanation = decision.explanation
    if explanation.reason in JOB_RUNS:
        return _delay_probe(_forget_end(memory), assessment, explanation)
    if explanation.finished_at is None:  # a check answered that does not need the end
        return _delay_probe(_forget_times(memory, assessment), assessment, explanation)
    if explanation.outcome:  # a job that is stuck may still run, and end later
        memory = _observe_end(memory, assessment)
    memory = _observe_times(memory, assessment, explanation)
    if assessment.deletion_probe is None:
        return memory
    return _observe_probe(memory, assessment, decision)


def _with(memory: Memory, **values: object) -> Memory:
    """The memory with these values; the same object if it has them already.

    Most passes change nothing, and a copy of all fields costs as much as several checks.
    """
    if all(getattr(memory, name) == value for name, value in values.items()):
        return memory
    return replace(memory, **values)  # type: ignore[arg-type]


def _observe_status(assessment: Assessment) -> Memory:
    """Since when both status words have been the same."""
    memory, job = assessment.memory, assessment.rayjob
    if assessment.is_status_unchanged and memory.status_since is not None:
        return memory
    return replace(
        memory,
        status=(job.deployment_status, job.job_status),
        status_since=assessment.uptime,
        status_probes=0,
        status_probe_at=None,
        terminal=None,
        terminal_since=None,
        missing_since=None,
    )


def _observe_running(memory: Memory, assessment: Assessment) -> Memory:
    """When the job was last unfinished: by a status of KubeRay, and by its head."""
    job, observation = assessment.rayjob, Observation(assessment.now, assessment.uptime)
    if job.deployment_status and not kuberay_reports_end(job):
        memory = replace(memory, last_seen_unfinished=observation)
    if assessment.head_report.state is ReportedState.ACTIVE:
        memory = replace(memory, last_seen_active=observation, first_seen_ended=None)
    return memory


def _observe_report(memory: Memory, assessment: Assessment) -> Memory:
    """What the head reports about a job that the status calls running.

    An answer that says nothing about the job changes nothing.
    """
    report, head_list = assessment.head_report, assessment.head_list
    is_silent = report.state is ReportedState.NO_ANSWER and not assessment.is_missing
    is_unread = head_list is not None and head_list.unreadable and report.own is None
    if assessment.rayjob.deployment_status not in MAY_HANG or is_silent or is_unread:
        return memory
    missing_since = (memory.missing_since or assessment.now) if assessment.is_missing else None
    if report.state is not ReportedState.TERMINAL:
        return replace(memory, terminal=None, terminal_since=None, missing_since=missing_since)
    since = memory.terminal_since
    return replace(
        memory,
        terminal=report.own,
        terminal_since=assessment.uptime if since is None else since,
        missing_since=missing_since,
    )


def _count_status_probe(memory: Memory, assessment: Assessment) -> Memory:
    """One more status probe of a job that seems to run forever."""
    probes = memory.status_probes + 1
    wait = assessment.parameters.status_probe.after(probes)
    again_at = assessment.now + wait + _jitter(assessment.rayjob.uid, wait)
    return replace(memory, status_probes=probes, status_probe_at=again_at)


def _forget_end(memory: Memory) -> Memory:
    """Only what counts while a job runs."""
    return Memory(
        status=memory.status,
        status_since=memory.status_since,
        status_probes=memory.status_probes,
        status_probe_at=memory.status_probe_at,
        terminal=memory.terminal,
        terminal_since=memory.terminal_since,
        missing_since=memory.missing_since,
        last_seen_unfinished=memory.last_seen_unfinished,
        last_seen_active=memory.last_seen_active,
    )


def _forget_times(memory: Memory, assessment: Assessment) -> Memory:
    """A source of retention was unreadable or invalid at the first pass, as after a restart."""
    is_first = memory.first_finished is None and memory.own_times is None
    if assessment.probe is not None or not is_first:
        return memory
    return replace(memory, own_times=own_times(assessment.rayjob), due_at=None)


def _observe_end(memory: Memory, assessment: Assessment) -> Memory:
    memory = _with(memory, reported_end=_latest_reported_end(memory, assessment))
    return _with(
        memory,
        first_finished=memory.first_finished or assessment.now,
        first_seen_ended=_first_seen_ended(memory, assessment),
    )


def _latest_reported_end(memory: Memory, assessment: Assessment) -> datetime | None:
    """The latest end by the head. After a restart the head may have forgotten the job."""
    report, head_list = assessment.head_report, assessment.head_list
    if report.state is not ReportedState.TERMINAL or report.own is None or head_list is None:
        return memory.reported_end
    ends = plausible((report.own.end_time, memory.reported_end), head_list.answered_at)
    return max(ends, default=None)


def _first_seen_ended(memory: Memory, assessment: Assessment) -> timedelta | None:
    """The uptime of the first pass after the end, if an earlier pass observed it unfinished.

    Once the head has reported the job active, only the head's report counts: the job may have
    ended long before a hanging status changes.
    """
    if memory.first_seen_ended is not None:
        return memory.first_seen_ended
    if memory.last_seen_active is not None:
        if not assessment.head_confirms_end:
            return None
        return assessment.uptime if memory.terminal_since is None else memory.terminal_since
    if memory.last_seen_unfinished is None or not kuberay_reports_end(assessment.rayjob):
        return None
    return assessment.uptime


def _observe_times(memory: Memory, assessment: Assessment, explanation: Explanation) -> Memory:
    """The due time, and whether the RayJob waits in bulk expiry."""
    until = assessment.bulk_expiry_until
    waits = explanation.reason in BULK_EXPIRY or explanation.reason.deletes
    return _with(
        memory,
        bulk_expiry_until=until,
        in_bulk_expiry=until is not None and waits and assessment.can_be_deleted,
        due_at=_earliest_due(assessment, explanation),
        own_times=own_times(assessment.rayjob),
    )


def _earliest_due(assessment: Assessment, explanation: Explanation) -> datetime | None:
    """The due time of this pass, or that without the probe, which the next pass does not have."""
    unprobed = assessment
    if assessment.probe is not None:
        unprobed = replace(assessment, probe=None)
    due_at = [explanation.due_at, unprobed.due.first_at if unprobed.end else None]
    return min((time for time in due_at if time), default=None)


def _delay_probe(memory: Memory, assessment: Assessment, explanation: Explanation) -> Memory:
    """A probe before a deletion found that the job has not ended, or what is unreadable.

    The next one waits as long as after a status probe.
    """
    if assessment.deletion_probe is None:
        return memory
    if explanation.reason in NOT_LISTED:
        return replace(memory, probe_again_at=None, kept_by_probe=None)
    again_at = assessment.now + assessment.parameters.status_probe.after(1)
    return _probe_later(memory, assessment, explanation, again_at)


def _observe_probe(memory: Memory, assessment: Assessment, decision: Decision) -> Memory:
    """A probe before a deletion: when to repeat it, and how long the head has been silent."""
    assert assessment.deletion_probe is not None
    explanation = decision.explanation
    memory = replace(memory, cluster_gone=assessment.deletion_probe.cluster is None)
    memory = _observe_silence(memory, assessment, explanation.reason)
    if isinstance(decision, Delete):  # judged again only after a dry run, or if it was refused
        again_at = assessment.now + DRY_RUN_PROBE_AFTER
        return _probe_later(memory, assessment, explanation, again_at)
    if explanation.reason not in PROBE_AGAIN:
        return replace(memory, fruitless_probes=0, probe_again_at=None, kept_by_probe=None)
    last = memory.kept_by_probe
    is_repeated = last is not None and last.reason is explanation.reason
    probes = memory.fruitless_probes + 1 if is_repeated else 1
    memory = replace(memory, fruitless_probes=probes, last_probe_at=assessment.now)
    again_at = _probe_again_at(assessment, decision, probes)
    return _probe_later(memory, assessment, explanation, again_at)


def _probe_again_at(assessment: Assessment, decision: Decision, probes: int) -> datetime:
    """After a backoff, and at the latest when a policy ends the wait."""
    reason, parameters = decision.explanation.reason, assessment.parameters
    backoff = parameters.silent_probe if reason in SILENCE else parameters.probe_again
    again_at = assessment.now + backoff.after(probes)
    if isinstance(decision, Wait):
        again_at = decision.until
    limit = assessment.stuck_limit(reason)
    return min(again_at, limit) if limit and limit > assessment.now else again_at


def _probe_later(
    memory: Memory, assessment: Assessment, explanation: Explanation, again_at: datetime
) -> Memory:
    return replace(
        memory,
        probe_again_at=again_at,
        kept_by_probe=explanation,
        probed_version=assessment.rayjob.resource_version,
    )


def _observe_silence(memory: Memory, assessment: Assessment, reason: Reason) -> Memory:
    """Silence counts whatever the decision is: a deletion may be a dry run, or refused."""
    if reason not in SILENCE and assessment.head_silence is None:
        return replace(memory, silent_probes=0, silent_since=None)
    since = assessment.uptime if memory.silent_since is None else memory.silent_since
    return replace(memory, silent_probes=memory.silent_probes + 1, silent_since=since)


def _jitter(uid: str, wait: timedelta) -> timedelta:
    """Up to a fifth of the wait, by uid, so that heads are not asked at the same moment."""
    return wait * (zlib.crc32(uid.encode()) % 1000) / 5000
