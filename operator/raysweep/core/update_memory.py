"""remember(): the memory that follows from a case and what was decided about it. Pure, like the ladder it goes with."""

import zlib
from dataclasses import replace
from datetime import datetime, timedelta

from raysweep.core.assessment import Assessment
from raysweep.core.finish import plausible
from raysweep.core.head_report import ReportedState
from raysweep.core.job_status import MAY_HANG, kuberay_reports_end
from raysweep.core.model.decisions import Decision, Delete, Wait
from raysweep.core.model.facts import HeadList, HeadSilent
from raysweep.core.model.memory import PROBE_AGAIN, SILENCE, Memory, Observation
from raysweep.core.model.own_times import own_times
from raysweep.core.model.reasons import Reason

UNSEEN = frozenset({Reason.NAMESPACE_UNKNOWN, Reason.POLICIES_UNKNOWN})
"""What is missing is not at the head; once it is there, nobody has to wait for another look."""
WAITS = frozenset({Reason.BULK_EXPIRY_DELAY, Reason.BULK_EXPIRY_BLOCKED})
STARTS_AFRESH = frozenset({Reason.NOT_FINISHED, Reason.SUSPENDED})
"""Once a RayJob runs (again), what was seen of an earlier end means nothing."""
OBSERVED_AGAIN_AFTER = timedelta(minutes=30)
"""In observe mode: what would be deleted is looked at again that often at most, while nothing about it changes."""


def update_memory(assessment: Assessment, decision: Decision, now: datetime) -> Memory:
    """The memory after this pass."""
    seen = replace(_sighting(_status(assessment), assessment, now), in_bulk_expiry=False)
    if assessment.probe is not None:
        seen = _testimony(seen, assessment, now)
    if assessment.probe is not None and assessment.probe.is_status_probe:
        seen = _status_probe(seen, assessment, now)
    why = decision.explanation
    if why.reason in STARTS_AFRESH:
        return _probed_too_early(_only_status(seen), assessment, decision, now)
    if why.finished_at is None:  # a guard before the question of the end spoke
        return _probed_too_early(_unreckoned(seen, assessment), assessment, decision, now)
    if why.outcome:  # a job that merely counts as stuck may run yet, and end later
        seen = replace(seen, reported_end=_told_end(seen, assessment))
        seen = replace(
            seen,
            first_finished=seen.first_finished or now,
            first_seen_ended=_end_seen(seen, assessment),
        )
    unlooked = replace(
        assessment, probe=None
    )  # a look may tell other times, and is not there in the next pass
    times = (why.due_at, unlooked.due_at(now) if unlooked.conclusion(now) else None)
    due_at = min((time for time in times if time), default=None)
    until = assessment.bulk_expiry_until(now)
    counts = (
        until is not None
        and (why.reason in WAITS or why.reason.deletes)
        and assessment.would_be_deleted(now)
    )
    seen = replace(
        seen,
        bulk_expiry_until=until,
        in_bulk_expiry=counts,
        due_at=due_at,
        own_times=own_times(assessment.rayjob),
    )
    return (
        seen
        if assessment.probe is None or assessment.probe.is_status_probe
        else _probe(seen, assessment, decision, now)
    )


def _unreckoned(seen: Memory, assessment: Assessment) -> Memory:
    """What would say how long was unread or malformed when it was first judged: no more is known of it than at a restart."""
    is_first = assessment.probe is None and seen.first_finished is None and seen.own_times is None
    return replace(seen, own_times=own_times(assessment.rayjob), due_at=None) if is_first else seen


def _sighting(seen: Memory, assessment: Assessment, now: datetime) -> Memory:
    """When the job was last seen unfinished: by the status once KubeRay has begun with it, or by its head."""
    moment = Observation(now, assessment.uptime)
    if assessment.rayjob.deployment_status and not kuberay_reports_end(assessment.rayjob):
        seen = replace(seen, last_seen_unfinished=moment)
    return (
        replace(seen, last_seen_active=moment, first_seen_ended=None)
        if assessment.head_report.state is ReportedState.ACTIVE
        else seen
    )


def _told_end(seen: Memory, assessment: Assessment) -> datetime | None:
    """The latest end that the head told of: after a restart it may not know the job any more."""
    own, head = assessment.head_report.own, assessment.probe.head if assessment.probe else None
    if (
        assessment.head_report.state is not ReportedState.TERMINAL
        or own is None
        or not isinstance(head, HeadList)
    ):
        return seen.reported_end
    return max(plausible((own.end_time, seen.reported_end), head.answered_at), default=None)


def _end_seen(seen: Memory, assessment: Assessment) -> timedelta | None:
    """Since when it is seen finished, if it was seen unfinished before: by the head once that has called it active.

    A job that a stuck status still calls unfinished may have ended long before.
    """
    if seen.first_seen_ended is not None:
        return seen.first_seen_ended
    if seen.last_seen_active is not None:
        told = seen.terminal_since if seen.terminal_since is not None else assessment.uptime
        return told if assessment.head_tells_of_the_end else None
    is_seen = seen.last_seen_unfinished is not None and kuberay_reports_end(assessment.rayjob)
    return assessment.uptime if is_seen else None


def _status(assessment: Assessment) -> Memory:
    """Since when the two words of the status have been as they are."""
    words = (assessment.rayjob.deployment_status, assessment.rayjob.job_status)
    if assessment.memory.status == words and assessment.memory.status_since is not None:
        return assessment.memory
    changed = replace(assessment.memory, status=words, status_since=assessment.uptime)
    return replace(
        changed,
        status_probes=0,
        status_probe_at=None,
        terminal=None,
        terminal_since=None,
        missed_since=None,
    )


def _only_status(seen: Memory) -> Memory:
    return Memory(
        status=seen.status,
        status_since=seen.status_since,
        status_probes=seen.status_probes,
        status_probe_at=seen.status_probe_at,
        terminal=seen.terminal,
        terminal_since=seen.terminal_since,
        missed_since=seen.missed_since,
        last_seen_unfinished=seen.last_seen_unfinished,
        last_seen_active=seen.last_seen_active,
    )


def _status_probe(seen: Memory, assessment: Assessment, now: datetime) -> Memory:
    """One more question to the head of a job that seems to run for ever."""
    again_in = assessment.parameters.status_probe.after(seen.status_probes + 1)
    return replace(
        seen,
        status_probes=seen.status_probes + 1,
        status_probe_at=now + again_in + _jitter(assessment.rayjob.uid, again_in),
    )


def _testimony(seen: Memory, assessment: Assessment, now: datetime) -> Memory:
    """What the head said, by poll or live, of a job that the RayJob calls running; two terminal answers must lie apart."""
    says, own, head = (
        assessment.head_report.state,
        assessment.head_report.own,
        assessment.probe.head if assessment.probe else None,
    )
    is_unread = isinstance(head, HeadList) and head.unreadable and own is None
    is_silent = says is ReportedState.NO_ANSWER and not assessment.is_missed
    if assessment.rayjob.deployment_status not in MAY_HANG or is_silent or is_unread:
        return seen  # it tells nothing, and takes nothing back
    is_terminal = says is ReportedState.TERMINAL
    return replace(
        seen,
        terminal=own if is_terminal else None,
        terminal_since=(
            seen.terminal_since if seen.terminal_since is not None else assessment.uptime
        )
        if is_terminal
        else None,
        missed_since=(seen.missed_since or now) if assessment.is_missed else None,
    )


def _probed_too_early(
    seen: Memory, assessment: Assessment, decision: Decision, now: datetime
) -> Memory:
    """A live look found that it has not ended, or what cannot be read: as with polls, it is left in peace for a while."""
    if assessment.probe is None or assessment.probe.is_status_probe:
        return seen
    if decision.explanation.reason in UNSEEN:
        return replace(seen, probe_again_at=None, kept_by_probe=None)
    again_at = now + assessment.parameters.status_probe.after(1)
    return replace(
        seen,
        probe_again_at=again_at,
        kept_by_probe=decision.explanation,
        looked_at=assessment.rayjob.resource_version,
    )


def _probe(seen: Memory, assessment: Assessment, decision: Decision, now: datetime) -> Memory:
    """A look right before a deletion that led to none: when to look again, and for how long the head has been silent."""
    why = decision.explanation
    assert assessment.probe is not None
    seen = _silence(
        replace(seen, cluster_gone=assessment.probe.cluster is None), assessment, why.reason
    )
    if isinstance(
        decision, Delete
    ):  # only observed, or refused by the API server, if it is judged again at all
        return replace(
            seen,
            probe_again_at=now + OBSERVED_AGAIN_AFTER,
            kept_by_probe=why,
            looked_at=assessment.rayjob.resource_version,
        )
    if why.reason not in PROBE_AGAIN:
        return replace(seen, fruitless_probes=0, probe_again_at=None, kept_by_probe=None)
    as_before = seen.kept_by_probe is not None and seen.kept_by_probe.reason is why.reason
    probes = seen.fruitless_probes + 1 if as_before else 1
    backoff = (
        assessment.parameters.silent_probe
        if why.reason in SILENCE
        else assessment.parameters.probe_again
    )
    again_at = decision.until if isinstance(decision, Wait) else now + backoff.after(probes)
    ends = assessment.patience_ends_at(why.reason, now)  # by policy: then at the latest
    return replace(
        seen,
        fruitless_probes=probes,
        last_probe_at=now,
        probe_again_at=min(again_at, ends) if ends and ends > now else again_at,
        kept_by_probe=why,
        looked_at=assessment.rayjob.resource_version,
    )


def _silence(seen: Memory, assessment: Assessment, reason: Reason) -> Memory:
    """A silent head counts whatever the decision was: a deletion may have been observed only, or refused."""
    is_silent = assessment.probe is not None and isinstance(assessment.probe.head, HeadSilent)
    if reason not in SILENCE and not is_silent:
        return replace(seen, silent_probes=0, silent_since=None)
    since = seen.silent_since if seen.silent_since is not None else assessment.uptime
    return replace(seen, silent_probes=seen.silent_probes + 1, silent_since=since)


def _jitter(uid: str, wait: timedelta) -> timedelta:
    """Up to a fifth of the wait, another one for each RayJob, so that heads are not asked in step."""
    return wait * (zlib.crc32(uid.encode()) % 1000) / 5000
