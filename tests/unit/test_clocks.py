"""Clocks that step, lag or run ahead, and what makes many RayJobs due at once: neither deletes anything early."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from raysweep.core.assessment import Case
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Decision, Delete
from raysweep.core.model.facts import JobEntry, Look
from raysweep.core.model.memory import NOTHING, Memory, Sighting
from raysweep.core.model.own_times import own_times
from raysweep.core.model.reasons import Reason
from raysweep.core.update_memory import remember
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_case,
    a_list,
    a_look,
    a_namespace,
    a_policy,
    a_poll,
    a_raycluster,
    a_rayjob,
    a_running,
    a_submission,
    says,
)
from tests.support.sentences import LATE, MINUTE, STOOD

DAY = timedelta(days=1)
JUDGED = Memory(first_finished=END, own_times=own_times(a_rayjob()), due_at=DUE)
"""It was judged before, as the RayJob that it still is."""


def _pass(case: Case, now: datetime) -> tuple[Decision, Case]:
    """One pass, and the case that the next one starts from."""
    decision = decide(case, now)
    return decision, replace(case, memory=remember(case, decision, now), look=None)


def _ended_unnoticed(end: datetime, **fields: Any) -> Case:
    """Running by its status for 40 minutes; its head said 10 minutes ago, and says now, that the job ended at `end`."""
    entry = a_submission(end_time=end)
    return a_case(
        rayjob=a_running(annotations=says(ttl="12h"), **fields),
        memory=replace(STOOD, terminal=entry, terminal_since=30 * MINUTE),
        uptime=40 * MINUTE,
        look=a_look(entry),
    )


NOW = END + 40 * MINUTE


@pytest.mark.parametrize(
    ("case", "earliest"),
    [
        pytest.param(_ended_unnoticed(END - DAY, start_time=END, status_written_at=None), END, id="not before status.startTime"),
        pytest.param(
            _ended_unnoticed(END - DAY, start_time=None, status_written_at=END + MINUTE),
            END + MINUTE,
            id="not before the last write of a status that calls it unfinished",
        ),
        pytest.param(
            replace(
                _ended_unnoticed(END - DAY, start_time=None, status_written_at=None),
                memory=replace(
                    STOOD,
                    terminal=a_submission(),
                    terminal_since=30 * MINUTE,
                    active_seen=Sighting(NOW - 20 * MINUTE, 20 * MINUTE),
                ),
            ),
            NOW - 20 * MINUTE,
            id="not before its head was last seen to call it active",
        ),
        pytest.param(
            a_case(rayjob=a_rayjob(end_time=END - DAY, start_time=END, status_written_at=END), look=a_look()),
            END,
            id="KubeRay's clock lags: not before status.startTime either",
        ),
        pytest.param(
            a_case(
                rayjob=a_rayjob(end_time=END - DAY),
                memory=Memory(unfinished_seen=Sighting(NOW - 30 * MINUTE, 10 * MINUTE)),
                uptime=40 * MINUTE,
                look=a_look(),
            ),
            NOW - 30 * MINUTE,
            id="KubeRay's clock lags: not before the status was last seen to call it unfinished",
        ),
    ],
)
def test_h9_a_job_does_not_end_before_it_was_known_to_be_unfinished(case: Case, earliest: datetime) -> None:
    assert case.finish(NOW).at >= earliest
    assert not isinstance(decide(case, NOW), Delete)


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param((), id="nothing at all, as after a restart"),
        pytest.param((a_submission(end_time=END),), id="an earlier end"),
    ],
)
def test_h9_the_end_that_a_head_told_of_counts_whatever_the_head_says_later(entries: tuple[JobEntry, ...]) -> None:
    told = END + 30 * MINUTE
    _, case = _pass(a_case(look=a_look(a_submission(end_time=told))), NOW)
    later = replace(case, look=Look(a_raycluster(), a_list(*entries)))
    assert later.finish(DUE).at == told
    assert not isinstance(decide(later, DUE), Delete)
    assert isinstance(decide(later, told + HOUR), Delete)


def test_h9_times_that_agree_within_a_second_stay_as_they_were_written() -> None:
    case = a_case(memory=Memory(unfinished_seen=Sighting(END + timedelta(seconds=0.5), HOUR)), uptime=HOUR)
    assert case.finish(END + timedelta(seconds=0.5)).at == END


AHEAD = timedelta(hours=1)
"""Our wall clock shows an hour more than KubeRay's all the time."""


def test_h10_a_ttl_elapses_by_the_monotonic_clock_if_this_process_saw_the_end() -> None:
    """ttl 30m, our clock an hour ahead: by the wall clock it is due as soon as it ends."""
    running = a_case(rayjob=a_running(annotations=says(ttl="30m")), uptime=HOUR)
    _, case = _pass(running, END + AHEAD)
    ended = replace(case, rayjob=a_rayjob(annotations=says(ttl="30m"), resource_version="101"), uptime=HOUR + MINUTE)
    now = END + AHEAD + MINUTE
    decision, case = _pass(ended, now)
    assert decision.why.reason is Reason.NOT_DUE
    for later, is_due in ((30 * MINUTE - MOMENT, False), (30 * MINUTE, True)):
        due = decide(replace(case, uptime=HOUR + MINUTE + later, look=a_look()), now + later)
        assert isinstance(due, Delete) is is_due


def test_h10_a_day_forward_deletes_nothing_whose_end_was_seen() -> None:
    _, case = _pass(a_case(rayjob=a_running(), uptime=MINUTE), END)
    _, case = _pass(replace(case, rayjob=a_rayjob(resource_version="101"), uptime=2 * MINUTE), END + MINUTE)
    for hours, is_due in ((0.9, False), (1, True)):
        at = 2 * MINUTE + hours * HOUR
        stepped = replace(case, uptime=at, look=a_look())
        assert isinstance(decide(stepped, END + DAY + at), Delete) is is_due


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        pytest.param(a_case(memory=JUDGED), Reason.BACKLOG, id="a TTL that elapses by it"),
        pytest.param(
            a_case(rayjob=a_rayjob(annotations=says(ttl="1h", keep_until="2026-11-22T19:30:00Z")), memory=JUDGED),
            Reason.BACKLOG,
            id="a keep-until that passes by it",
        ),
    ],
)
def test_h10_what_a_step_of_the_wall_clock_makes_due_waits_like_a_bulk_change(case: Case, reason: Reason) -> None:
    stepped = replace(case, clock_settles_at=20 * MINUTE, uptime=5 * MINUTE)
    assert decide(stepped, LATE).why.reason is reason
    assert decide(replace(stepped, uptime=20 * MINUTE), LATE).why.reason is Reason.EXPIRED


SHORTENED = a_namespace(ttl="1h")
"""Its default was 30 days, and was made an hour by mistake."""
BARE = a_rayjob(annotations={})
WAS_DUE_LATER = Memory(first_finished=END, own_times=own_times(BARE), due_at=END + 30 * DAY)


@pytest.mark.parametrize(
    ("rayjob", "reason"),
    [
        pytest.param(replace(BARE, labels={"team": "a"}, resource_version="101"), Reason.BACKLOG, id="a label is set"),
        pytest.param(
            replace(BARE, annotations=says(keep_reason="debugging"), resource_version="101"),
            Reason.BACKLOG,
            id="an annotation that sets no time",
        ),
        pytest.param(
            replace(BARE, annotations=says(cluster_ttl="30m"), resource_version="101"),
            Reason.BACKLOG,
            id="a time of its own that is not what makes it due",
        ),
        pytest.param(
            replace(BARE, annotations=says(ttl="1h"), resource_version="101"),
            Reason.EXPIRED,
            id="the time that makes it due: its own wish waits for nothing",
        ),
    ],
)
def test_h12_only_a_change_of_its_own_times_ends_the_wait_of_a_bulk_change(rayjob: Any, reason: Reason) -> None:
    case = a_case(rayjob=rayjob, namespace=SHORTENED, memory=WAS_DUE_LATER)
    assert decide(case, LATE).why.reason is reason


def test_h12_its_own_wish_ends_a_wait_that_has_begun() -> None:
    case = a_case(rayjob=BARE, namespace=SHORTENED, memory=WAS_DUE_LATER)
    decision, case = _pass(case, LATE)
    assert decision.why.reason is Reason.BACKLOG
    own = replace(BARE, annotations=says(ttl="1h"), resource_version="101")
    assert decide(replace(case, rayjob=own), LATE + MINUTE).why.reason is Reason.EXPIRED


OVERDUE = a_case(started_at=LATE, memory=NOTHING)
"""First seen by a process that has just begun."""
TRACKED = frozenset({"argocd.argoproj.io/tracking-id"})
DRY_RUN = (a_policy(observes=True),)


@pytest.mark.parametrize(
    ("case", "counts"),
    [
        pytest.param(OVERDUE, True, id="it would be deleted"),
        pytest.param(replace(OVERDUE, policies=DRY_RUN), False, id="a policy is on dry run"),
        pytest.param(
            replace(OVERDUE, rayjob=a_rayjob(annotations={}, keys=TRACKED, cluster_name=""), owned=(), namespace=SHORTENED),
            False,
            id="Argo CD would create it again, and there is no cluster",
        ),
        pytest.param(
            replace(OVERDUE, rayjob=a_rayjob(annotations={}, keys=TRACKED), namespace=SHORTENED),
            True,
            id="Argo CD would create it again, but its cluster would be deleted",
        ),
    ],
)
def test_h4_what_will_never_be_deleted_does_not_count_towards_the_limit(case: Case, counts: bool) -> None:
    _, then = _pass(case, LATE)
    assert then.memory.in_backlog is counts


WAITED = replace(OVERDUE, memory=replace(JUDGED, backlog_until=LATE), backlog_size=101)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        pytest.param(replace(WAITED, look=a_look()), Reason.BACKLOG_TOO_LARGE, id="too many would be deleted at once"),
        pytest.param(replace(WAITED, look=a_look(), backlog_size=100), Reason.EXPIRED, id="as many as may"),
        pytest.param(
            replace(WAITED, look=a_look(), memory=JUDGED), Reason.EXPIRED, id="too many wait, but this one has not been moved"
        ),
        pytest.param(
            replace(WAITED, look=a_look(a_submission("RUNNING"))), Reason.STILL_RUNNING, id="its job runs on, whatever waits"
        ),
    ],
)
def test_h4_the_limit_speaks_last_so_that_what_stays_anyway_stops_counting(case: Case, reason: Reason) -> None:
    decision, then = _pass(case, LATE)
    assert decision.why.reason is reason
    assert then.memory.in_backlog is (reason is not Reason.STILL_RUNNING and case.memory is not JUDGED)


def test_h4_once_fewer_wait_the_rest_is_asked_again_and_deleted() -> None:
    _, case = _pass(replace(WAITED, look=a_look()), LATE)
    fewer = replace(case, backlog_size=3)
    assert decide(fewer, LATE + MINUTE - MOMENT).why.reason is Reason.BACKLOG_TOO_LARGE
    assert isinstance(decide(replace(fewer, look=a_look()), LATE + MINUTE), Delete)


def test_a_poll_that_finds_the_job_active_is_a_sight_of_it() -> None:
    case = a_case(rayjob=a_running(), uptime=HOUR, look=a_poll(a_submission("RUNNING")))
    _, then = _pass(replace(case, owned=(a_raycluster(),)), NOW)
    assert (then.memory.unfinished_seen, then.memory.active_seen) == (Sighting(NOW, HOUR), Sighting(NOW, HOUR))
