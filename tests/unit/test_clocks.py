"""Clocks that step, lag or run ahead, and what makes many RayJobs due at once: neither deletes anything early."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Decision, Delete
from raysweep.core.model.facts import JobEntry, ProbeResult
from raysweep.core.model.memory import NOTHING, Memory, Observation
from raysweep.core.model.own_times import own_times
from raysweep.core.model.reasons import Reason
from raysweep.core.update_memory import update_memory
from tests.support.assessments import LATE, MINUTE, UNCHANGED
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_list,
    a_namespace,
    a_policy,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_running,
    a_status_probe,
    a_submission,
    an_assessment,
    says,
)

DAY = timedelta(days=1)
JUDGED = Memory(first_finished=END, own_times=own_times(a_rayjob()), due_at=DUE)
"""It was judged before, as the RayJob that it still is."""


def _pass(assessment: Assessment, now: datetime) -> tuple[Decision, Assessment]:
    """One pass, and the case that the next one starts from."""
    decision = decide(replace(assessment, now=now))
    return decision, replace(
        assessment, memory=update_memory(replace(assessment, now=now), decision), probe=None
    )


def _ended_unnoticed(end: datetime, **fields: Any) -> Assessment:
    """Running by its status for 40 minutes; its head said 10 minutes ago, and says now, that the job ended at `end`."""
    entry = a_submission(end_time=end)
    return an_assessment(
        rayjob=a_running(annotations=says(ttl="12h"), **fields),
        memory=replace(UNCHANGED, terminal=entry, terminal_since=30 * MINUTE),
        uptime=40 * MINUTE,
        probe=a_probe(entry),
    )


NOW = END + 40 * MINUTE


@pytest.mark.parametrize(
    ("assessment", "earliest"),
    [
        pytest.param(
            _ended_unnoticed(END - DAY, start_time=END, status_written_at=None),
            END,
            id="not before status.startTime",
        ),
        pytest.param(
            _ended_unnoticed(END - DAY, start_time=None, status_written_at=END + MINUTE),
            END + MINUTE,
            id="not before the last write of a status that calls it unfinished",
        ),
        pytest.param(
            replace(
                _ended_unnoticed(END - DAY, start_time=None, status_written_at=None),
                memory=replace(
                    UNCHANGED,
                    terminal=a_submission(),
                    terminal_since=30 * MINUTE,
                    last_seen_active=Observation(NOW - 20 * MINUTE, 20 * MINUTE),
                ),
            ),
            NOW - 20 * MINUTE,
            id="not before its head was last seen to call it active",
        ),
        pytest.param(
            an_assessment(
                rayjob=a_rayjob(end_time=END - DAY, start_time=END, status_written_at=END),
                probe=a_probe(),
            ),
            END,
            id="KubeRay's clock lags: not before status.startTime either",
        ),
        pytest.param(
            an_assessment(
                rayjob=a_rayjob(end_time=END - DAY),
                memory=Memory(last_seen_unfinished=Observation(NOW - 30 * MINUTE, 10 * MINUTE)),
                uptime=40 * MINUTE,
                probe=a_probe(),
            ),
            NOW - 30 * MINUTE,
            id="KubeRay's clock lags: not before the status was last seen to call it unfinished",
        ),
    ],
)
def test_h9_a_job_does_not_end_before_it_was_known_to_be_unfinished(
    assessment: Assessment, earliest: datetime
) -> None:
    assert replace(assessment, now=NOW).due.end.time >= earliest
    assert not isinstance(decide(replace(assessment, now=NOW)), Delete)


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param((), id="nothing at all, as after a restart"),
        pytest.param((a_submission(end_time=END),), id="an earlier end"),
    ],
)
def test_h9_the_end_that_a_head_told_of_counts_whatever_the_head_says_later(
    entries: tuple[JobEntry, ...],
) -> None:
    told = END + 30 * MINUTE
    _, assessment = _pass(an_assessment(probe=a_probe(a_submission(end_time=told))), NOW)
    later = replace(assessment, probe=ProbeResult(a_raycluster(), a_list(*entries)))
    assert replace(later, now=DUE).due.end.time == told
    assert not isinstance(decide(replace(later, now=DUE)), Delete)
    assert isinstance(decide(replace(later, now=told + HOUR)), Delete)


def test_h9_times_that_agree_within_a_second_stay_as_they_were_written() -> None:
    assessment = an_assessment(
        memory=Memory(last_seen_unfinished=Observation(END + timedelta(seconds=0.5), HOUR)),
        uptime=HOUR,
    )
    assert replace(assessment, now=END + timedelta(seconds=0.5)).due.end.time == END


AHEAD = timedelta(hours=1)
"""Our wall clock shows an hour more than KubeRay's all the time."""


def test_h10_a_ttl_elapses_by_the_monotonic_clock_if_this_process_saw_the_end() -> None:
    """ttl 30m, our clock an hour ahead: by the wall clock it is due as soon as it ends."""
    running = an_assessment(rayjob=a_running(annotations=says(ttl="30m")), uptime=HOUR)
    _, assessment = _pass(running, END + AHEAD)
    ended = replace(
        assessment,
        rayjob=a_rayjob(annotations=says(ttl="30m"), resource_version="101"),
        uptime=HOUR + MINUTE,
    )
    now = END + AHEAD + MINUTE
    decision, assessment = _pass(ended, now)
    assert decision.explanation.reason is Reason.NOT_DUE
    for later, is_due in ((30 * MINUTE - MOMENT, False), (30 * MINUTE, True)):
        due = decide(
            replace(
                replace(assessment, uptime=HOUR + MINUTE + later, probe=a_probe()), now=now + later
            )
        )
        assert isinstance(due, Delete) is is_due


def test_h10_a_day_forward_deletes_nothing_whose_end_was_seen() -> None:
    _, assessment = _pass(an_assessment(rayjob=a_running(), uptime=MINUTE), END)
    _, assessment = _pass(
        replace(assessment, rayjob=a_rayjob(resource_version="101"), uptime=2 * MINUTE),
        END + MINUTE,
    )
    for hours, is_due in ((0.9, False), (1, True)):
        at = 2 * MINUTE + hours * HOUR
        stepped = replace(assessment, uptime=at, probe=a_probe())
        assert isinstance(decide(replace(stepped, now=END + DAY + at)), Delete) is is_due


@pytest.mark.parametrize(
    ("assessment", "reason"),
    [
        pytest.param(
            an_assessment(memory=JUDGED), Reason.BULK_EXPIRY_DELAY, id="a TTL that elapses by it"
        ),
        pytest.param(
            an_assessment(
                rayjob=a_rayjob(annotations=says(ttl="1h", keep_until="2026-11-22T19:30:00Z")),
                memory=JUDGED,
            ),
            Reason.BULK_EXPIRY_DELAY,
            id="a keep-until that passes by it",
        ),
    ],
)
def test_h10_what_a_step_of_the_wall_clock_makes_due_waits_like_a_bulk_change(
    assessment: Assessment, reason: Reason
) -> None:
    stepped = replace(assessment, clock_settles_at=20 * MINUTE, uptime=5 * MINUTE)
    assert decide(replace(stepped, now=LATE)).explanation.reason is reason
    assert (
        decide(replace(replace(stepped, uptime=20 * MINUTE), now=LATE)).explanation.reason
        is Reason.EXPIRED
    )


SHORTENED = a_namespace(ttl="1h")
"""Its default was 30 days, and was made an hour by mistake."""
BARE = a_rayjob(annotations={})
WAS_DUE_LATER = Memory(first_finished=END, own_times=own_times(BARE), due_at=END + 30 * DAY)


@pytest.mark.parametrize(
    ("rayjob", "reason"),
    [
        pytest.param(
            replace(BARE, labels={"team": "a"}, resource_version="101"),
            Reason.BULK_EXPIRY_DELAY,
            id="a label is set",
        ),
        pytest.param(
            replace(BARE, annotations=says(keep_reason="debugging"), resource_version="101"),
            Reason.BULK_EXPIRY_DELAY,
            id="an annotation that sets no time",
        ),
        pytest.param(
            replace(BARE, annotations=says(cluster_ttl="30m"), resource_version="101"),
            Reason.BULK_EXPIRY_DELAY,
            id="a time of its own that is not what makes it due",
        ),
        pytest.param(
            replace(BARE, annotations=says(ttl="1h"), resource_version="101"),
            Reason.EXPIRED,
            id="the time that makes it due: its own wish waits for nothing",
        ),
    ],
)
def test_h12_only_a_change_of_its_own_times_ends_the_wait_of_a_bulk_change(
    rayjob: Any, reason: Reason
) -> None:
    assessment = an_assessment(rayjob=rayjob, namespace=SHORTENED, memory=WAS_DUE_LATER)
    assert decide(replace(assessment, now=LATE)).explanation.reason is reason


def test_h12_its_own_wish_ends_a_wait_that_has_begun() -> None:
    assessment = an_assessment(rayjob=BARE, namespace=SHORTENED, memory=WAS_DUE_LATER)
    decision, assessment = _pass(assessment, LATE)
    assert decision.explanation.reason is Reason.BULK_EXPIRY_DELAY
    own = replace(BARE, annotations=says(ttl="1h"), resource_version="101")
    assert (
        decide(replace(replace(assessment, rayjob=own), now=LATE + MINUTE)).explanation.reason
        is Reason.EXPIRED
    )


OVERDUE = an_assessment(started_at=LATE, memory=NOTHING)
"""First seen by a process that has just begun."""
TRACKED = frozenset({"argocd.argoproj.io/tracking-id"})
DRY_RUN = (a_policy(is_dry_run=True),)


@pytest.mark.parametrize(
    ("assessment", "counts"),
    [
        pytest.param(OVERDUE, True, id="it would be deleted"),
        pytest.param(replace(OVERDUE, policies=DRY_RUN), False, id="a policy is on dry run"),
        pytest.param(
            replace(
                OVERDUE,
                rayjob=a_rayjob(annotations={}, keys=TRACKED, cluster_name=""),
                owned=(),
                namespace=SHORTENED,
            ),
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
def test_h4_what_will_never_be_deleted_does_not_count_towards_the_limit(
    assessment: Assessment, counts: bool
) -> None:
    _, then = _pass(assessment, LATE)
    assert then.memory.in_bulk_expiry is counts


WAITED = replace(OVERDUE, memory=replace(JUDGED, bulk_expiry_until=LATE), bulk_expiry_size=101)


@pytest.mark.parametrize(
    ("assessment", "reason"),
    [
        pytest.param(
            replace(WAITED, probe=a_probe()),
            Reason.BULK_EXPIRY_BLOCKED,
            id="too many would be deleted at once",
        ),
        pytest.param(
            replace(WAITED, probe=a_probe(), bulk_expiry_size=100),
            Reason.EXPIRED,
            id="as many as may",
        ),
        pytest.param(
            replace(WAITED, probe=a_probe(), memory=JUDGED),
            Reason.EXPIRED,
            id="too many wait, but this one has not been moved",
        ),
        pytest.param(
            replace(WAITED, probe=a_probe(a_submission("RUNNING"))),
            Reason.STILL_RUNNING,
            id="its job runs on, whatever waits",
        ),
    ],
)
def test_h4_the_limit_speaks_last_so_that_what_stays_anyway_stops_counting(
    assessment: Assessment, reason: Reason
) -> None:
    decision, then = _pass(assessment, LATE)
    assert decision.explanation.reason is reason
    assert then.memory.in_bulk_expiry is (
        reason is not Reason.STILL_RUNNING and assessment.memory is not JUDGED
    )


def test_h4_once_fewer_wait_the_rest_is_asked_again_and_deleted() -> None:
    _, assessment = _pass(replace(WAITED, probe=a_probe()), LATE)
    fewer = replace(assessment, bulk_expiry_size=3)
    assert (
        decide(replace(fewer, now=LATE + MINUTE - MOMENT)).explanation.reason
        is Reason.BULK_EXPIRY_BLOCKED
    )
    assert isinstance(decide(replace(replace(fewer, probe=a_probe()), now=LATE + MINUTE)), Delete)


def test_a_poll_that_finds_the_job_active_is_a_sight_of_it() -> None:
    assessment = an_assessment(
        rayjob=a_running(), uptime=HOUR, probe=a_status_probe(a_submission("RUNNING"))
    )
    _, then = _pass(replace(assessment, owned=(a_raycluster(),)), NOW)
    assert (then.memory.last_seen_unfinished, then.memory.last_seen_active) == (
        Observation(NOW, HOUR),
        Observation(NOW, HOUR),
    )
