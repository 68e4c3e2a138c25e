"""Clocks that differ, lag or jump: when a job ended, and what becomes due at once.

Names such as h10 are those of the public cases that a test stands for.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Delete
from raysweep.core.model.facts import JobEntry, ProbeResult, RayJob
from raysweep.core.model.memory import NOTHING, Memory, Observation
from raysweep.core.model.own_times import own_times
from raysweep.core.model.reasons import Reason
from raysweep.core.update_memory import update_memory
from tests.support.assessments import ARGO_CD, DAY, LATE, MINUTE, UNCHANGED, at
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
from tests.support.decisions import reason_of

JUDGED = Memory(first_finished=END, own_times=own_times(a_rayjob()), due_at=DUE)
"""An earlier pass judged the same RayJob."""
NOW = END + 40 * MINUTE


def _next(assessment: Assessment) -> Assessment:
    """The assessment that the next pass starts from."""
    memory = update_memory(assessment, decide(assessment))
    return replace(assessment, memory=memory, probe=None)


def _unreported(end: datetime, **fields: Any) -> Assessment:
    """Running by its status for 40 minutes. Its head reported this end 10 minutes ago, and now."""
    entry = a_submission(end_time=end)
    return an_assessment(
        now=NOW,
        rayjob=a_running(annotations=says(ttl="12h"), **fields),
        memory=replace(UNCHANGED, terminal=entry, terminal_since=30 * MINUTE),
        uptime=40 * MINUTE,
        probe=a_probe(entry),
    )


def test_h9_a_job_does_not_end_before_it_was_observed_unfinished() -> None:
    no_times = _unreported(END - DAY, start_time=None, status_written_at=None)
    active = replace(no_times.memory, last_seen_active=Observation(NOW - 20 * MINUTE, 20 * MINUTE))
    unfinished = Memory(last_seen_unfinished=Observation(NOW - 30 * MINUTE, 10 * MINUTE))
    lagging = an_assessment(
        now=NOW, rayjob=a_rayjob(end_time=END - DAY), probe=a_probe(), uptime=40 * MINUTE
    )
    started = a_rayjob(end_time=END - DAY, start_time=END, status_written_at=END)
    rows = (
        (
            "the start of the attempt",
            _unreported(END - DAY, start_time=END, status_written_at=None),
            END,
        ),
        (
            "the last write of a status that is not final",
            _unreported(END - DAY, start_time=None, status_written_at=END + MINUTE),
            END + MINUTE,
        ),
        (
            "the head's last report of an active job",
            replace(no_times, memory=active),
            NOW - 20 * MINUTE,
        ),
        ("the start, if KubeRay's clock lags", replace(lagging, rayjob=started), END),
        (
            "the last status that was not final, if KubeRay's clock lags",
            replace(lagging, memory=unfinished),
            NOW - 30 * MINUTE,
        ),
    )
    for name, assessment, earliest in rows:
        assert assessment.due.end.time >= earliest, name
        assert not isinstance(decide(assessment), Delete), name


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param((), id="nothing, as after a restart"),
        pytest.param((a_submission(end_time=END),), id="an earlier end"),
    ],
)
def test_h9_the_end_by_the_head_counts_whatever_the_head_reports_later(
    entries: tuple[JobEntry, ...],
) -> None:
    end = END + 30 * MINUTE
    first = an_assessment(now=NOW, probe=a_probe(a_submission(end_time=end)))
    later = replace(_next(first), now=DUE, probe=ProbeResult(a_raycluster(), a_list(*entries)))
    assert later.due.end.time == end
    assert not isinstance(decide(later), Delete)
    assert isinstance(decide(at(end + HOUR, later)), Delete)


def test_h9_a_difference_within_a_second_changes_no_end() -> None:
    time = END + timedelta(seconds=0.5)
    memory = Memory(last_seen_unfinished=Observation(time, HOUR))
    assert an_assessment(now=time, memory=memory, uptime=HOUR).due.end.time == END


def test_h10_a_ttl_elapses_by_the_monotonic_clock_if_the_process_observed_the_end() -> None:
    """By a wall clock that is an hour ahead, a TTL of 30 minutes would elapse at the end."""
    annotations = says(ttl="30m")
    running = an_assessment(now=END + HOUR, rayjob=a_running(annotations=annotations), uptime=HOUR)
    ended = replace(
        _next(running),
        now=END + HOUR + MINUTE,
        rayjob=a_rayjob(annotations=annotations, resource_version="101"),
        uptime=HOUR + MINUTE,
    )
    assert reason_of(ended) is Reason.NOT_DUE
    for later, is_due in ((30 * MINUTE - MOMENT, False), (30 * MINUTE, True)):
        probed = replace(
            _next(ended), now=ended.now + later, uptime=ended.uptime + later, probe=a_probe()
        )
        assert isinstance(decide(probed), Delete) is is_due


def test_h10_a_wall_clock_set_a_day_forward_deletes_nothing_whose_end_was_observed() -> None:
    running = an_assessment(now=END, rayjob=a_running(), uptime=MINUTE)
    ended = replace(
        _next(running),
        now=END + MINUTE,
        rayjob=a_rayjob(resource_version="101"),
        uptime=2 * MINUTE,
    )
    for hours, is_due in ((0.9, False), (1, True)):
        uptime = 2 * MINUTE + hours * HOUR
        jumped = replace(_next(ended), now=END + DAY + uptime, uptime=uptime, probe=a_probe())
        assert isinstance(decide(jumped), Delete) is is_due


@pytest.mark.parametrize(
    "rayjob",
    [
        pytest.param(a_rayjob(), id="a TTL elapses by it"),
        pytest.param(
            a_rayjob(annotations=says(ttl="1h", keep_until="2026-11-22T19:30:00Z")),
            id="a keep-until passes by it",
        ),
    ],
)
def test_h10_what_a_jump_of_the_wall_clock_makes_due_waits(rayjob: RayJob) -> None:
    jumped = an_assessment(
        now=LATE,
        rayjob=rayjob,
        memory=JUDGED,
        clock_settles_at=20 * MINUTE,
        uptime=5 * MINUTE,
    )
    assert reason_of(jumped) is Reason.BULK_EXPIRY_DELAY
    assert reason_of(replace(jumped, uptime=20 * MINUTE)) is Reason.EXPIRED


BARE = a_rayjob(annotations={}, resource_version="101")
SHORTENED = an_assessment(
    now=LATE,
    rayjob=BARE,
    namespace=a_namespace(ttl="1h"),
    memory=Memory(first_finished=END, own_times=own_times(BARE), due_at=END + 30 * DAY),
)
"""The TTL of its Namespace was 30 days, and is an hour by mistake."""
OWN_TTL = replace(BARE, annotations=says(ttl="1h"))


def test_h12_only_a_change_of_its_own_times_ends_the_wait() -> None:
    rows = (
        ("a label", replace(BARE, labels={"team": "a"}), Reason.BULK_EXPIRY_DELAY),
        (
            "an annotation that sets no time",
            replace(BARE, annotations=says(keep_reason="debugging")),
            Reason.BULK_EXPIRY_DELAY,
        ),
        (
            "a time that does not make it due",
            replace(BARE, annotations=says(cluster_ttl="30m")),
            Reason.BULK_EXPIRY_DELAY,
        ),
        ("the time that makes it due", OWN_TTL, Reason.EXPIRED),
    )
    for name, rayjob, reason in rows:
        assert reason_of(replace(SHORTENED, rayjob=rayjob)) is reason, name


def test_h12_its_own_ttl_ends_a_wait_that_has_begun() -> None:
    assert reason_of(SHORTENED) is Reason.BULK_EXPIRY_DELAY
    changed = replace(_next(SHORTENED), now=LATE + MINUTE, rayjob=OWN_TTL)
    assert reason_of(changed) is Reason.EXPIRED


OVERDUE = an_assessment(now=LATE, started_at=LATE, memory=NOTHING)
"""A process that has just started sees it for the first time."""


def test_h4_what_is_never_deleted_does_not_count_towards_the_limit() -> None:
    tracked = replace(OVERDUE, namespace=a_namespace(ttl="1h"))
    rayjob = a_rayjob(annotations={}, keys=frozenset({ARGO_CD}))
    without_cluster = replace(rayjob, cluster_name="")
    rows = (
        ("it would be deleted", OVERDUE, True),
        ("a dry run by a policy", replace(OVERDUE, policies=(a_policy(is_dry_run=True),)), False),
        (
            "Argo CD would create it again, and it has no cluster",
            replace(tracked, rayjob=without_cluster, owned=()),
            False,
        ),
        (
            "Argo CD would create it again, and its cluster would be deleted",
            replace(tracked, rayjob=rayjob),
            True,
        ),
    )
    for name, assessment, counts in rows:
        assert _next(assessment).memory.in_bulk_expiry is counts, name


WAITED = replace(
    OVERDUE,
    memory=replace(JUDGED, bulk_expiry_until=LATE),
    bulk_expiry_size=101,
    probe=a_probe(),
)


def test_h4_the_limit_is_checked_last() -> None:
    """So what other checks keep stops counting."""
    running = replace(WAITED, probe=a_probe(a_submission("RUNNING")))
    rows = (
        ("101 RayJobs wait", WAITED, Reason.BULK_EXPIRY_BLOCKED, True),
        ("100 RayJobs wait", replace(WAITED, bulk_expiry_size=100), Reason.EXPIRED, True),
        ("its due time was not moved", replace(WAITED, memory=JUDGED), Reason.EXPIRED, False),
        ("its job runs on", running, Reason.STILL_RUNNING, False),
    )
    for name, assessment, reason, counts in rows:
        assert reason_of(assessment) is reason, name
        assert _next(assessment).memory.in_bulk_expiry is counts, name


def test_h4_the_rest_is_deleted_once_fewer_wait() -> None:
    fewer = replace(_next(WAITED), bulk_expiry_size=3)
    assert reason_of(at(LATE + MINUTE - MOMENT, fewer)) is Reason.BULK_EXPIRY_BLOCKED
    probed = replace(fewer, now=LATE + MINUTE, probe=a_probe())
    assert isinstance(decide(probed), Delete)


def test_a_status_probe_that_finds_the_job_active_is_remembered() -> None:
    probe = a_status_probe(a_submission("RUNNING"))
    running = an_assessment(now=NOW, rayjob=a_running(), uptime=HOUR, probe=probe)
    memory = _next(running).memory
    assert memory.last_seen_unfinished == Observation(NOW, HOUR)
    assert memory.last_seen_active == Observation(NOW, HOUR)
