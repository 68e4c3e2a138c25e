"""remember(): the memory that follows from a case and what was decided about it. Pure, like the ladder it goes with."""

import zlib
from dataclasses import replace
from datetime import datetime, timedelta

from raysweep.core.assessment import LASTS_FOR_EVER, Case
from raysweep.core.finish import Says, believable, has_ended_by_its_own_word
from raysweep.core.model.decisions import Decision, Delete, Wait
from raysweep.core.model.facts import HeadList, HeadSilent
from raysweep.core.model.memory import LOOK_AGAIN, SILENCE, Memory, Sighting
from raysweep.core.model.own_times import own_times
from raysweep.core.model.reasons import Reason

UNSEEN = frozenset({Reason.NAMESPACE_UNKNOWN, Reason.POLICIES_UNKNOWN})
"""What is missing is not at the head; once it is there, nobody has to wait for another look."""
WAITS = frozenset({Reason.BACKLOG, Reason.BACKLOG_TOO_LARGE})
STARTS_AFRESH = frozenset({Reason.NOT_FINISHED, Reason.SUSPENDED})
"""Once a RayJob runs (again), what was seen of an earlier end means nothing."""
OBSERVED_AGAIN_AFTER = timedelta(minutes=30)
"""In observe mode: what would be deleted is looked at again that often at most, while nothing about it changes."""


def remember(case: Case, decision: Decision, now: datetime) -> Memory:
    """The memory after this pass."""
    seen = replace(_sighting(_status(case), case, now), in_backlog=False)
    if case.look is not None:
        seen = _testimony(seen, case, now)
    if case.look is not None and case.look.is_poll:
        seen = _poll(seen, case, now)
    why = decision.why
    if why.reason in STARTS_AFRESH:
        return _looked_too_early(_only_status(seen), case, decision, now)
    if why.finished_at is None:  # a guard before the question of the end spoke
        return _looked_too_early(_unreckoned(seen, case), case, decision, now)
    if why.outcome:  # a job that merely counts as stuck may run yet, and end later
        seen = replace(seen, told_end=_told_end(seen, case))
        seen = replace(seen, first_finished=seen.first_finished or now, end_seen=_end_seen(seen, case))
    unlooked = replace(case, look=None)  # a look may tell other times, and is not there in the next pass
    times = (why.due_at, unlooked.due_at(now) if unlooked.conclusion(now) else None)
    due_at = min((time for time in times if time), default=None)
    until = case.backlog_until(now)
    counts = until is not None and (why.reason in WAITS or why.reason.deletes) and case.would_be_deleted(now)
    seen = replace(seen, backlog_until=until, in_backlog=counts, due_at=due_at, own_times=own_times(case.rayjob))
    return seen if case.look is None or case.look.is_poll else _look(seen, case, decision, now)


def _unreckoned(seen: Memory, case: Case) -> Memory:
    """What would say how long was unread or malformed when it was first judged: no more is known of it than at a restart."""
    is_first = case.look is None and seen.first_finished is None and seen.own_times is None
    return replace(seen, own_times=own_times(case.rayjob), due_at=None) if is_first else seen


def _sighting(seen: Memory, case: Case, now: datetime) -> Memory:
    """When the job was last seen unfinished: by the status once KubeRay has begun with it, or by its head."""
    moment = Sighting(now, case.uptime)
    if case.rayjob.deployment_status and not has_ended_by_its_own_word(case.rayjob):
        seen = replace(seen, unfinished_seen=moment)
    return replace(seen, active_seen=moment, end_seen=None) if case.testimony.says is Says.ACTIVE else seen


def _told_end(seen: Memory, case: Case) -> datetime | None:
    """The latest end that the head told of: after a restart it may not know the job any more."""
    own, head = case.testimony.own, case.look.head if case.look else None
    if case.testimony.says is not Says.TERMINAL or own is None or not isinstance(head, HeadList):
        return seen.told_end
    return max(believable((own.end_time, seen.told_end), head.answered_at), default=None)


def _end_seen(seen: Memory, case: Case) -> timedelta | None:
    """Since when it is seen finished, if it was seen unfinished before: by the head once that has called it active.

    A job that a stuck status still calls unfinished may have ended long before.
    """
    if seen.end_seen is not None:
        return seen.end_seen
    if seen.active_seen is not None:
        told = seen.terminal_since if seen.terminal_since is not None else case.uptime
        return told if case.head_tells_of_the_end else None
    is_seen = seen.unfinished_seen is not None and has_ended_by_its_own_word(case.rayjob)
    return case.uptime if is_seen else None


def _status(case: Case) -> Memory:
    """Since when the two words of the status have been as they are."""
    words = (case.rayjob.deployment_status, case.rayjob.job_status)
    if case.memory.status == words and case.memory.status_since is not None:
        return case.memory
    changed = replace(case.memory, status=words, status_since=case.uptime)
    return replace(changed, polls=0, poll_again_at=None, terminal=None, terminal_since=None, missed_since=None)


def _only_status(seen: Memory) -> Memory:
    return Memory(
        status=seen.status,
        status_since=seen.status_since,
        polls=seen.polls,
        poll_again_at=seen.poll_again_at,
        terminal=seen.terminal,
        terminal_since=seen.terminal_since,
        missed_since=seen.missed_since,
        unfinished_seen=seen.unfinished_seen,
        active_seen=seen.active_seen,
    )


def _poll(seen: Memory, case: Case, now: datetime) -> Memory:
    """One more question to the head of a job that seems to run for ever."""
    again_in = case.rules.poll.after(seen.polls + 1)
    return replace(seen, polls=seen.polls + 1, poll_again_at=now + again_in + _jitter(case.rayjob.uid, again_in))


def _testimony(seen: Memory, case: Case, now: datetime) -> Memory:
    """What the head said, by poll or live, of a job that the RayJob calls running; two terminal answers must lie apart."""
    says, own, head = case.testimony.says, case.testimony.own, case.look.head if case.look else None
    is_unread = isinstance(head, HeadList) and head.unreadable and own is None
    is_silent = says is Says.NOTHING and not case.is_missed
    if case.rayjob.deployment_status not in LASTS_FOR_EVER or is_silent or is_unread:
        return seen  # it tells nothing, and takes nothing back
    is_terminal = says is Says.TERMINAL
    return replace(
        seen,
        terminal=own if is_terminal else None,
        terminal_since=(seen.terminal_since if seen.terminal_since is not None else case.uptime) if is_terminal else None,
        missed_since=(seen.missed_since or now) if case.is_missed else None,
    )


def _looked_too_early(seen: Memory, case: Case, decision: Decision, now: datetime) -> Memory:
    """A live look found that it has not ended, or what cannot be read: as with polls, it is left in peace for a while."""
    if case.look is None or case.look.is_poll:
        return seen
    if decision.why.reason in UNSEEN:
        return replace(seen, look_again_at=None, kept_by_look=None)
    again_at = now + case.rules.poll.after(1)
    return replace(seen, look_again_at=again_at, kept_by_look=decision.why, looked_at=case.rayjob.resource_version)


def _look(seen: Memory, case: Case, decision: Decision, now: datetime) -> Memory:
    """A look right before a deletion that led to none: when to look again, and for how long the head has been silent."""
    why = decision.why
    assert case.look is not None
    seen = _silence(replace(seen, cluster_gone=case.look.cluster is None), case, why.reason)
    if isinstance(decision, Delete):  # only observed, or refused by the API server, if it is judged again at all
        return replace(seen, look_again_at=now + OBSERVED_AGAIN_AFTER, kept_by_look=why, looked_at=case.rayjob.resource_version)
    if why.reason not in LOOK_AGAIN:
        return replace(seen, fruitless_looks=0, look_again_at=None, kept_by_look=None)
    as_before = seen.kept_by_look is not None and seen.kept_by_look.reason is why.reason
    looks = seen.fruitless_looks + 1 if as_before else 1
    backoff = case.rules.silent_again if why.reason in SILENCE else case.rules.look_again
    again_at = decision.until if isinstance(decision, Wait) else now + backoff.after(looks)
    ends = case.patience_ends_at(why.reason, now)  # by policy: then at the latest
    return replace(
        seen,
        fruitless_looks=looks,
        last_look_at=now,
        look_again_at=min(again_at, ends) if ends and ends > now else again_at,
        kept_by_look=why,
        looked_at=case.rayjob.resource_version,
    )


def _silence(seen: Memory, case: Case, reason: Reason) -> Memory:
    """A silent head counts whatever the decision was: a deletion may have been observed only, or refused."""
    is_silent = case.look is not None and isinstance(case.look.head, HeadSilent)
    if reason not in SILENCE and not is_silent:
        return replace(seen, silent_looks=0, silent_since=None)
    since = seen.silent_since if seen.silent_since is not None else case.uptime
    return replace(seen, silent_looks=seen.silent_looks + 1, silent_since=since)


def _jitter(uid: str, wait: timedelta) -> timedelta:
    """Up to a fifth of the wait, another one for each RayJob, so that heads are not asked in step."""
    return wait * (zlib.crc32(uid.encode()) % 1000) / 5000
