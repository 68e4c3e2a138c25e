"""What a pass adds to the memory of a RayJob, and what passes in a row lead to."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Decision, Delete, Explanation, Keep, ProbeHead, Wait
from raysweep.core.model.facts import HeadList, ProbeKind, ProbeResult
from raysweep.core.model.memory import NOTHING, PROBE_AGAIN, SILENCE, Memory
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.own_times import own_times
from raysweep.core.model.parameters import DEFAULTS, Backoff
from raysweep.core.model.reasons import Reason
from raysweep.core.update_memory import update_memory
from tests.support.assessments import DAY, IN_USE, LATE, MINUTE, RUNS_ON, UNCHANGED, at, by, sets
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_headless_raycluster,
    a_namespace,
    a_policy,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_running,
    a_silent_probe,
    a_status_probe,
    a_submission,
    an_assessment,
    an_interactive,
    says,
)
from tests.support.decisions import reason_of

COMPLETE = Memory(status=("Complete", "SUCCEEDED"), status_since=timedelta())
"""Every pass over a_rayjob() leaves at least this."""


def _kept(reason: Reason) -> Explanation:
    """Of a check that knows the end of the job."""
    return Explanation("a_check", reason, "", Outcome.SUCCEEDED, finished_at=END, due_at=DUE)


def _update(memory: Memory, decision: Decision, probe: ProbeResult | None) -> Memory:
    """The memory after one more pass over a_rayjob() at DUE."""
    return update_memory(an_assessment(memory=memory, probe=probe), decision)


def _pass(
    assessment: Assessment,
    probe: ProbeResult | None = None,
    time: datetime = DUE,
    later: timedelta = timedelta(),
) -> Assessment:
    """The assessment after one more pass with this probe, so much later by uptime."""
    probed = replace(assessment, now=time, probe=probe, uptime=assessment.uptime + later)
    return replace(probed, memory=update_memory(probed, decide(probed)), probe=None)


def test_a_backoff_doubles_up_to_its_last_wait() -> None:
    backoff = Backoff(MINUTE, 30 * MINUTE)
    for times, minutes in ((1, 1), (2, 2), (3, 4), (6, 30), (10**9, 30)):
        assert backoff.after(times) == minutes * MINUTE, times


def test_the_default_backoffs() -> None:
    assert DEFAULTS.probe_again == Backoff(MINUTE, 30 * MINUTE)
    assert DEFAULTS.silent_probe == Backoff(timedelta(seconds=30), 5 * MINUTE)
    assert DEFAULTS.status_probe == Backoff(5 * MINUTE, 30 * MINUTE)


@pytest.mark.parametrize("reason", sorted(PROBE_AGAIN), ids=str)
def test_a_probe_that_led_to_no_deletion_is_repeated_more_and_more_rarely(reason: Reason) -> None:
    memory, waits = NOTHING, []
    for _ in range(40):
        memory = _update(memory, Keep(_kept(reason)), a_probe())
        assert memory.probe_again_at is not None
        waits.append(memory.probe_again_at - DUE)
    backoff = DEFAULTS.silent_probe if reason in SILENCE else DEFAULTS.probe_again
    assert waits[:3] == [backoff.first, 2 * backoff.first, 4 * backoff.first]
    assert waits[-1] == backoff.last
    assert memory.kept_by_probe == _kept(reason)


UNPROBED = replace(COMPLETE, first_finished=END, own_times=own_times(a_rayjob()), due_at=DUE)
PROBED = replace(
    UNPROBED,
    fruitless_probes=3,
    probe_again_at=DUE,
    kept_by_probe=_kept(Reason.STILL_RUNNING),
    cluster_gone=True,
)


def _fruitless(probes: int, wait: timedelta, reason: Reason) -> Memory:
    return replace(
        UNPROBED,
        fruitless_probes=probes,
        last_probe_at=DUE,
        probe_again_at=DUE + wait,
        kept_by_probe=_kept(reason),
        probed_version="100",
    )


@pytest.mark.parametrize(
    ("decision", "probe", "memory"),
    [
        pytest.param(Keep(_kept(Reason.NOT_FINISHED)), None, COMPLETE, id="it runs again"),
        pytest.param(Keep(_kept(Reason.SUSPENDED)), None, COMPLETE, id="it is suspended"),
        pytest.param(
            Keep(Explanation("unreadable", Reason.UNREADABLE, "")),
            None,
            PROBED,
            id="a check that does not know the end",
        ),
        pytest.param(Keep(_kept(Reason.NO_TTL)), None, PROBED, id="no probe"),
        pytest.param(Wait(DUE, _kept(Reason.NOT_DUE)), None, PROBED, id="a wait without a probe"),
        pytest.param(
            Keep(_kept(Reason.NO_TTL)), a_probe(), UNPROBED, id="a probe that need not be repeated"
        ),
        pytest.param(
            Delete((), _kept(Reason.EXPIRED)),
            a_probe(),
            replace(
                PROBED,
                probe_again_at=DUE + 30 * MINUTE,
                kept_by_probe=_kept(Reason.EXPIRED),
                probed_version="100",
                cluster_gone=False,
            ),
            id="a dry run, or a deletion that was refused",
        ),
        pytest.param(
            Keep(_kept(Reason.NO_TTL)),
            ProbeResult(None),
            replace(UNPROBED, cluster_gone=True),
            id="a probe that found no cluster",
        ),
        pytest.param(
            Keep(_kept(Reason.CLUSTER_IN_USE)),
            ProbeResult(a_raycluster()),
            _fruitless(1, MINUTE, Reason.CLUSTER_IN_USE),
            id="kept for another reason: the count starts again",
        ),
        pytest.param(
            Keep(_kept(Reason.STILL_RUNNING)),
            ProbeResult(a_raycluster()),
            _fruitless(4, 8 * MINUTE, Reason.STILL_RUNNING),
            id="kept for the same reason: the count goes on",
        ),
    ],
)
def test_what_a_pass_leaves(decision: Decision, probe: ProbeResult | None, memory: Memory) -> None:
    assert _update(PROBED, decision, probe) == memory


def test_the_first_pass_after_the_end_is_remembered() -> None:
    first = _update(NOTHING, Keep(_kept(Reason.NO_TTL)), None)
    again = _update(replace(first, first_finished=END), Keep(_kept(Reason.NO_TTL)), None)
    assert (first.first_finished, again.first_finished) == (DUE, END)


RUNNING = an_assessment(rayjob=a_running())
HANGING = replace(RUNNING, memory=UNCHANGED, uptime=30 * MINUTE)
PENDING = a_running(job_status="PENDING")


def test_the_time_of_the_last_change_of_the_status_is_remembered() -> None:
    first = _pass(replace(RUNNING, uptime=MINUTE))
    assert (first.memory.status, first.memory.status_since) == (("Running", "RUNNING"), MINUTE)
    assert _pass(first, later=MINUTE).memory.status_since == MINUTE
    changed = _pass(replace(first, rayjob=PENDING), later=MINUTE).memory
    assert (changed.status, changed.status_since) == (("Running", "PENDING"), 2 * MINUTE)


def test_status_probes_become_rarer_with_jitter_until_the_status_changes() -> None:
    assessment = HANGING
    for minutes in (5, 10, 20, 30, 30):
        assessment = _pass(assessment, a_status_probe(a_submission("RUNNING")))
        assert assessment.memory.status_probe_at is not None
        wait = assessment.memory.status_probe_at - DUE
        assert minutes * MINUTE <= wait < minutes * MINUTE * 1.2
    assert _pass(replace(assessment, rayjob=PENDING)).memory.status_probes == 0


ENDS, RUNS = a_status_probe(a_submission()), a_status_probe(a_submission("RUNNING"))
MISSING = a_status_probe()
UNREAD = replace(a_status_probe(), head=HeadList((), DUE, unreadable="too large"))


@pytest.mark.parametrize(
    ("probes", "terminal_since", "missing_since"),
    [
        pytest.param([ENDS], 30 * MINUTE, None, id="it ended"),
        pytest.param([ENDS, ENDS], 30 * MINUTE, None, id="it ended: the first answer counts"),
        pytest.param([ENDS, a_silent_probe()], 30 * MINUTE, None, id="it ended, then no answer"),
        pytest.param([ENDS, RUNS], None, None, id="it ended, then it runs"),
        pytest.param(
            [ENDS, a_probe(a_submission("RUNNING"))],
            None,
            None,
            id="it ended, then it runs by a probe before a deletion",
        ),
        pytest.param([ENDS, MISSING], None, DUE, id="it ended, then it is missing"),
        pytest.param([MISSING], None, DUE, id="it is missing"),
        pytest.param([MISSING, RUNS], None, None, id="it is missing, then it runs"),
        pytest.param(
            [MISSING, a_probe(a_submission("RUNNING"))],
            None,
            None,
            id="it is missing, then it runs by a probe before a deletion",
        ),
        pytest.param(
            [a_probe(unreadable="too large")],
            30 * MINUTE,
            None,
            id="it ended, by the readable part of a list",
        ),
        pytest.param([UNREAD], None, None, id="an unreadable list says nothing"),
    ],
)
def test_what_heads_report_about_hanging_jobs(
    probes: list[ProbeResult],
    terminal_since: timedelta | None,
    missing_since: datetime | None,
) -> None:
    assessment = _pass(HANGING, probes[0])
    for probe in probes[1:]:
        assessment = _pass(assessment, probe, later=MINUTE)
    memory = assessment.memory
    assert (memory.terminal_since, memory.missing_since) == (terminal_since, missing_since)
    assert (memory.terminal is None) is (terminal_since is None)


def test_finished_unreported_needs_an_unchanged_status_and_two_answers() -> None:
    ended = a_submission(end_time=END)
    assessment = replace(_pass(RUNNING), uptime=30 * MINUTE)
    assert isinstance(decide(assessment), ProbeHead)
    assessment = _pass(assessment, a_status_probe(ended))
    early = replace(assessment, uptime=40 * MINUTE - MOMENT, probe=a_probe(ended))
    assert isinstance(decide(early), Keep)
    in_time = replace(assessment, uptime=40 * MINUTE, probe=a_probe(ended))
    assert reason_of(in_time) is Reason.FINISHED_UNREPORTED


def test_unconfirmed_needs_three_silent_probes_in_a_row_over_five_minutes() -> None:
    silent = a_silent_probe(cluster=a_headless_raycluster())
    twice = _pass(_pass(an_assessment(), silent), silent, later=4 * MINUTE)
    third = at(LATE, replace(twice, probe=silent))
    early = replace(third, uptime=5 * MINUTE - MOMENT)
    assert reason_of(replace(third, uptime=5 * MINUTE)) is Reason.UNCONFIRMED
    assert reason_of(early) is Reason.HEAD_UNREACHABLE
    answered = _pass(twice, a_probe(a_submission("RUNNING")), later=MINUTE)
    assert (answered.memory.silent_probes, answered.memory.silent_since) == (0, None)
    after_answer = at(LATE, replace(answered, probe=silent, uptime=60 * MINUTE))
    assert reason_of(after_answer) is Reason.HEAD_UNREACHABLE
    status_probe = _pass(twice, replace(silent, kind=ProbeKind.STATUS), later=MINUTE)
    assert status_probe.memory.silent_probes == twice.memory.silent_probes


def test_a_dry_run_of_unconfirmed_is_unconfirmed_again() -> None:
    silent = a_silent_probe(cluster=a_headless_raycluster())
    assessment = an_assessment()
    for _ in range(4):
        assessment = _pass(assessment, silent, LATE, later=3 * MINUTE)
    assert reason_of(at(LATE, replace(assessment, probe=silent))) is Reason.UNCONFIRMED


def test_a_changed_default_waits_once_and_a_changed_rayjob_does_not() -> None:
    judged = _pass(an_assessment(rayjob=a_rayjob(annotations={})), time=LATE)
    assert judged.memory.due_at is None
    waiting = _pass(replace(judged, namespace=a_namespace(ttl="1h")), time=LATE)
    until = LATE + 15 * MINUTE
    assert waiting.memory.bulk_expiry_until == until
    assert _pass(waiting, time=LATE + MINUTE).memory.bulk_expiry_until == until
    assert isinstance(decide(at(until - MOMENT, waiting)), Wait)
    assert isinstance(decide(at(until, waiting)), ProbeHead)
    undone = _pass(replace(waiting, namespace=a_namespace()), time=LATE + MINUTE)
    assert undone.memory.bulk_expiry_until is None
    changed = replace(judged, rayjob=a_rayjob(resource_version="101"))
    assert isinstance(decide(at(LATE, changed)), ProbeHead)


@pytest.mark.parametrize(
    ("unknown", "known"),
    [
        pytest.param(
            {"policies": None},
            {"policies": (a_policy(times={"retention.rayJob.default": HOUR}),)},
            id="policies",
        ),
        pytest.param({"namespace": None}, {"namespace": a_namespace(ttl="1h")}, id="its Namespace"),
        pytest.param(
            {"namespace": a_namespace(ttl="soon")},
            {"namespace": a_namespace(ttl="1h")},
            id="an invalid value, until it is corrected",
        ),
    ],
)
def test_a_default_that_was_unknown_at_the_first_pass_waits_too(unknown: Any, known: Any) -> None:
    """A default may have been shortened before the process started."""
    assessment = an_assessment(rayjob=a_rayjob(annotations={}), started_at=LATE)
    without = _pass(replace(assessment, **unknown), time=LATE)
    later = _pass(replace(without, **known), time=LATE + MINUTE)
    assert later.memory.bulk_expiry_until == LATE + 16 * MINUTE
    assert isinstance(decide(at(LATE + 16 * MINUTE, later)), ProbeHead)


@pytest.mark.parametrize(
    "unknown", [{"policies": None}, {"namespace": None}], ids=["policies", "its Namespace"]
)
def test_an_unknown_default_does_not_delay_the_rayjobs_own_time(unknown: Any) -> None:
    """As after a restart: no default was involved, and it has only just become due."""
    assessment = an_assessment(started_at=END)
    without = _pass(replace(assessment, **unknown))
    known = replace(without, policies=(), namespace=assessment.namespace)
    assert isinstance(decide(at(DUE + 2 * MINUTE, known)), ProbeHead)
    late = at(DUE + 2 * MINUTE + MOMENT, known)
    assert reason_of(late) is Reason.BULK_EXPIRY_DELAY


def test_unknown_policies_do_not_delay_what_was_due_before() -> None:
    due = _pass(an_assessment(), time=LATE)
    without = _pass(replace(due, policies=None), time=LATE)
    assert isinstance(decide(at(LATE, replace(without, policies=()))), ProbeHead)


def test_unknown_policies_do_not_delay_the_next_probe() -> None:
    assessment = an_assessment(policies=None, probe=a_probe(), memory=Memory(first_finished=END))
    assert update_memory(assessment, decide(assessment)).kept_by_probe is None


def test_the_correction_of_an_invalid_policy_waits_in_bulk_expiry() -> None:
    broken = (a_policy("broken", errors=("spec.stuck: odd",)),)
    kept = _pass(an_assessment(policies=broken), a_probe())
    corrected = at(DUE + MINUTE, replace(kept, policies=()))
    assert kept.memory.due_at is None
    assert reason_of(corrected) is Reason.BULK_EXPIRY_DELAY


def test_time_before_the_job_ran_does_not_count_as_time_after_its_end() -> None:
    """It initializes under a policy for stuck jobs for hours, and a deadline ends it."""
    times = {"stuck.initializing": 7 * DAY, "retention.rayJob.default": HOUR}
    initializing = a_rayjob(
        annotations={},
        deployment_status="Initializing",
        job_status="",
        start_time=END,
        end_time=None,
    )
    assessment = an_assessment(rayjob=initializing, policies=(a_policy(times=times),))
    waiting = _pass(assessment, time=END + MINUTE)
    assert waiting.memory.first_finished is None
    end = END + 4 * HOUR
    failed = replace(
        initializing,
        deployment_status="Failed",
        reason="DeadlineExceeded",
        end_time=end,
        status_written_at=end,
        resource_version="101",
    )
    assert at(end + MINUTE, replace(waiting, rayjob=failed)).due.end.time == end


def test_what_another_reason_keeps_does_not_count_in_bulk_expiry() -> None:
    """A hundred kept RayJobs would block all others forever."""
    keep = says(ttl="1h", keep_until="2199-01-01T00:00:00Z")
    rows: tuple[tuple[dict[str, Any], bool], ...] = (
        ({}, True),
        ({"bulk_expiry_size": 101}, True),
        ({"rayjob": a_rayjob(annotations=keep)}, False),
        ({"rayjob": a_rayjob(suspend=True, deployment_status="Suspended")}, False),
        ({"policies": None}, False),
    )
    for fields, counts in rows:
        memory = _pass(an_assessment(started_at=LATE, **fields), time=LATE).memory
        assert memory.in_bulk_expiry is counts, fields


def test_a_rayjob_counts_in_bulk_expiry_until_a_probe_keeps_it() -> None:
    until = LATE + 15 * MINUTE
    waiting = _pass(an_assessment(started_at=LATE), time=LATE)
    due = _pass(waiting, time=until)
    assert due.memory.in_bulk_expiry
    kept = _pass(due, a_probe(a_submission("RUNNING")), until).memory
    assert (kept.in_bulk_expiry, kept.bulk_expiry_until) == (False, until)


def test_a_later_end_by_the_head_does_not_wait_in_bulk_expiry() -> None:
    later = a_probe(a_submission(end_time=END + 30 * MINUTE))
    waiting = _pass(an_assessment(memory=Memory(first_finished=END)), later)
    assert isinstance(decide(replace(waiting, probe=later)), Wait)
    again = _pass(waiting, time=DUE + MINUTE)
    assert again.memory.bulk_expiry_until is None
    assert isinstance(decide(at(DUE + 30 * MINUTE, again)), ProbeHead)


def test_the_rayjob_of_a_raycronjob_waits_for_its_tick() -> None:
    child = an_assessment(rayjob=a_rayjob(controller_kind="RayCronJob", cron_tick=DUE))
    waiting = _pass(child, a_probe())
    assert waiting.memory.probe_again_at == DUE + 2 * MINUTE
    assert isinstance(decide(at(DUE + 2 * MINUTE, waiting)), ProbeHead)


@pytest.mark.parametrize(
    ("assessment", "probe"),
    [
        pytest.param(
            an_assessment(rayjob=an_interactive()),
            a_probe(a_submission("RUNNING")),
            id="a job was just submitted",
        ),
        pytest.param(
            an_assessment(),
            ProbeResult(a_raycluster(unreadable="spec: Field required")),
            id="its cluster is unreadable",
        ),
    ],
)
def test_a_probe_that_came_too_early_is_repeated_after_a_while(
    assessment: Assessment, probe: ProbeResult
) -> None:
    kept = _pass(assessment, probe, LATE)
    again_at = LATE + 5 * MINUTE
    assert kept.memory.probe_again_at == again_at
    assert isinstance(decide(at(again_at - MOMENT, kept)), Wait)
    assert isinstance(decide(at(again_at, kept)), ProbeHead)


@pytest.mark.parametrize(
    "assessment",
    [
        pytest.param(by(sets(stuck_stillRunning=HOUR + 10 * MINUTE), RUNS_ON), id="it runs on"),
        pytest.param(by(sets(stuck_clusterInUse=10 * MINUTE), IN_USE), id="its cluster is in use"),
    ],
)
def test_the_next_probe_comes_at_the_latest_when_a_policy_ends_the_wait(
    assessment: Assessment,
) -> None:
    memory = Memory(first_finished=END)
    for _ in range(9):
        memory = update_memory(replace(assessment, memory=memory), decide(assessment))
    assert memory.probe_again_at == DUE + 10 * MINUTE
    assert isinstance(decide(at(DUE + 10 * MINUTE, assessment)), Delete)


def test_a_policy_ends_the_wait_before_the_next_probe() -> None:
    memory = Memory(
        first_finished=END,
        last_probe_at=DUE - MOMENT,
        probe_again_at=DUE + HOUR,
        kept_by_probe=decide(RUNS_ON).explanation,
        probed_version="100",
    )
    waiting = replace(RUNS_ON, probe=None, memory=memory)
    probed_since = replace(waiting, memory=replace(memory, last_probe_at=DUE))
    after_an_hour = sets(stuck_stillRunning=HOUR)
    rows = (
        ("the policy ends the wait after the last probe", by(after_an_hour, waiting), True),
        ("the last probe knew the policy", by(after_an_hour, probed_since), False),
        ("the time is not over", by(sets(stuck_stillRunning=HOUR + MINUTE), waiting), False),
        ("the time is for another reason", by(sets(stuck_clusterInUse=0 * HOUR), waiting), False),
    )
    for name, assessment, is_probed in rows:
        assert isinstance(decide(assessment), ProbeHead) is is_probed, name
