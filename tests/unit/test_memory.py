"""What is remembered from pass to pass, when it is forgotten, and how the looks grow rarer."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from raysweep.core import update_memory as remembering
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Decision, Delete, Explanation, Keep, ProbeHead, Wait
from raysweep.core.model.facts import HeadList, ProbeKind, ProbeResult
from raysweep.core.model.memory import NOTHING, PROBE_AGAIN, SILENCE, Memory
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.own_times import own_times
from raysweep.core.model.parameters import DEFAULTS, Backoff
from raysweep.core.model.reasons import Reason
from tests.support.assessments import LATE, UNCHANGED
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

MINUTE = timedelta(minutes=1)
LOOKED = a_probe()
COMPLETE = Memory(status=("Complete", "SUCCEEDED"), status_since=timedelta())
"""What every pass over a_rayjob() remembers of its status."""


def update_memory(
    memory: Memory, decision: Decision, probe: ProbeResult | None, **fields: object
) -> Memory:
    """The memory after one more pass over a_rayjob(), at DUE."""
    return remembering.update_memory(
        replace(an_assessment(rayjob=a_rayjob(**fields), memory=memory, probe=probe), now=DUE),
        decision,
    )


def _keep(reason: Reason) -> Keep:
    """As a guard after the question of the end would say it."""
    return Keep(
        Explanation("some_guard", reason, "", Outcome.SUCCEEDED, finished_at=END, due_at=DUE)
    )


def _after_looks(reason: Reason, times: int) -> Memory:
    memory = NOTHING
    for _ in range(times):
        memory = update_memory(memory, _keep(reason), LOOKED)
    return memory


@pytest.mark.parametrize(
    ("times", "wait"),
    [
        pytest.param(1, 1, id="first"),
        pytest.param(2, 2, id="doubled"),
        pytest.param(3, 4, id="and doubled"),
        pytest.param(6, 30, id="up to the last"),
        pytest.param(10**9, 30, id="and no further, however often"),
    ],
)
def test_waits_double(times: int, wait: int) -> None:
    assert Backoff(MINUTE, 30 * MINUTE).after(times) == wait * MINUTE


@pytest.mark.parametrize("reason", sorted(PROBE_AGAIN), ids=str)
def test_what_only_a_look_can_change_is_looked_at_again_and_ever_more_rarely(
    reason: Reason,
) -> None:
    waits = [(_after_looks(reason, times).probe_again_at or DUE) - DUE for times in (1, 2, 3, 40)]
    backoff = DEFAULTS.silent_probe if reason in SILENCE else DEFAULTS.probe_again
    assert waits == [backoff.first, 2 * backoff.first, 4 * backoff.first, backoff.last]
    assert _after_looks(reason, 3).kept_by_probe == _keep(reason).explanation


def test_how_soon_to_look_again() -> None:
    assert DEFAULTS.probe_again == Backoff(MINUTE, 30 * MINUTE)
    assert DEFAULTS.silent_probe == Backoff(timedelta(seconds=30), 5 * MINUTE)
    assert DEFAULTS.status_probe == Backoff(5 * MINUTE, 30 * MINUTE)


WITHOUT_LOOKS = replace(COMPLETE, first_finished=END, own_times=own_times(a_rayjob()), due_at=DUE)
KNOWN = replace(
    WITHOUT_LOOKS,
    fruitless_probes=3,
    probe_again_at=DUE,
    kept_by_probe=_keep(Reason.STILL_RUNNING).explanation,
    cluster_gone=True,
)
OBSERVED = _keep(Reason.EXPIRED).explanation


@pytest.mark.parametrize(
    ("decision", "probe", "left"),
    [
        pytest.param(
            _keep(Reason.NOT_FINISHED), None, COMPLETE, id="it runs again: everything is forgotten"
        ),
        pytest.param(
            _keep(Reason.SUSPENDED), None, COMPLETE, id="it is suspended: everything is forgotten"
        ),
        pytest.param(
            Keep(Explanation("unreadable", Reason.UNREADABLE, "")),
            None,
            KNOWN,
            id="a guard before the end says nothing about it",
        ),
        pytest.param(_keep(Reason.NO_TTL), None, KNOWN, id="no look: what looks told stays"),
        pytest.param(
            Wait(DUE, _keep(Reason.NOT_DUE).explanation),
            None,
            KNOWN,
            id="a Wait without a look: likewise",
        ),
        pytest.param(
            _keep(Reason.NO_TTL), LOOKED, WITHOUT_LOOKS, id="a look after which no other is needed"
        ),
        pytest.param(
            Delete((), OBSERVED),
            LOOKED,
            replace(
                KNOWN,
                probe_again_at=DUE + 30 * MINUTE,
                kept_by_probe=OBSERVED,
                probed_version="100",
                cluster_gone=False,
            ),
            id="a deletion that was only observed, or refused, is looked at again in half an hour",
        ),
        pytest.param(
            _keep(Reason.NO_TTL),
            ProbeResult(None),
            replace(WITHOUT_LOOKS, cluster_gone=True),
            id="a look that found no cluster",
        ),
        pytest.param(
            _keep(Reason.CLUSTER_IN_USE),
            ProbeResult(a_raycluster()),
            replace(
                WITHOUT_LOOKS,
                fruitless_probes=1,
                last_probe_at=DUE,
                probe_again_at=DUE + MINUTE,
                kept_by_probe=_keep(Reason.CLUSTER_IN_USE).explanation,
                probed_version="100",
            ),
            id="fruitless again, for another reason: the count begins anew",
        ),
        pytest.param(
            _keep(Reason.STILL_RUNNING),
            ProbeResult(a_raycluster()),
            replace(
                WITHOUT_LOOKS,
                fruitless_probes=4,
                last_probe_at=DUE,
                probe_again_at=DUE + 8 * MINUTE,
                kept_by_probe=_keep(Reason.STILL_RUNNING).explanation,
                probed_version="100",
            ),
            id="fruitless again, for the same reason: the count goes on",
        ),
    ],
)
def test_what_is_left_of_what_was_known(
    decision: Decision, probe: ProbeResult | None, left: Memory
) -> None:
    assert update_memory(KNOWN, decision, probe) == left


def test_when_it_was_first_seen_finished_is_remembered_from_the_first_time_on() -> None:
    once = update_memory(NOTHING, _keep(Reason.NO_TTL), None)
    again = update_memory(replace(once, first_finished=END), _keep(Reason.NO_TTL), None)
    assert (once.first_finished, again.first_finished) == (DUE, END)


RUNNING = an_assessment(rayjob=a_running())
HANGING = replace(RUNNING, memory=UNCHANGED, uptime=30 * MINUTE)


def _passed(
    assessment: Assessment,
    probe: ProbeResult | None,
    now: datetime = DUE,
    later: timedelta = timedelta(),
) -> Assessment:
    """The case after one more pass with this look, so much later; the look is gone then."""
    probed = replace(assessment, probe=probe, uptime=assessment.uptime + later)
    return replace(
        probed,
        memory=remembering.update_memory(
            replace(probed, now=now), decide(replace(probed, now=now))
        ),
        probe=None,
    )


def test_since_when_the_status_stands_is_remembered_until_one_of_its_words_moves() -> None:
    first = _passed(replace(RUNNING, uptime=MINUTE), None)
    assert (first.memory.status, first.memory.status_since) == (("Running", "RUNNING"), MINUTE)
    assert _passed(first, None, later=MINUTE).memory.status_since == MINUTE
    moved = _passed(replace(first, rayjob=a_running(job_status="PENDING")), None, later=MINUTE)
    assert (moved.memory.status, moved.memory.status_since) == (("Running", "PENDING"), 2 * MINUTE)


def test_polls_grow_rarer_with_jitter_and_begin_anew_when_the_status_moves() -> None:
    assessment, waits = HANGING, []
    for _ in range(5):
        assessment = _passed(assessment, a_status_probe(a_submission("RUNNING")))
        waits.append((assessment.memory.status_probe_at or DUE) - DUE)
    for wait, least in zip(waits, (5, 10, 20, 30, 30), strict=True):
        assert least * MINUTE <= wait < least * MINUTE * 1.2
    assert (
        _passed(
            replace(assessment, rayjob=a_running(job_status="PENDING")), None
        ).memory.status_probes
        == 0
    )


TOLD = [
    pytest.param([a_status_probe(a_submission())], 30, None, id="an end"),
    pytest.param(
        [a_status_probe(a_submission()), a_status_probe(a_submission())],
        30,
        None,
        id="an end twice: the first time counts",
    ),
    pytest.param(
        [a_status_probe(a_submission()), a_silent_probe()],
        30,
        None,
        id="silence takes nothing back",
    ),
    pytest.param(
        [a_status_probe(a_submission()), a_status_probe(a_submission("RUNNING"))],
        None,
        None,
        id="an end, and then it runs",
    ),
    pytest.param(
        [a_status_probe(a_submission()), a_probe(a_submission("RUNNING"))],
        None,
        None,
        id="an end, and live it runs",
    ),
    pytest.param(
        [a_status_probe(a_submission()), a_status_probe()],
        None,
        DUE,
        id="an end, and then it is not known",
    ),
    pytest.param([a_status_probe()], None, DUE, id="it is not known"),
    pytest.param(
        [a_status_probe(), a_status_probe(a_submission("RUNNING"))],
        None,
        None,
        id="it is not known, and then it is",
    ),
    pytest.param(
        [a_status_probe(), a_probe(a_submission("RUNNING"))],
        None,
        None,
        id="it is not known, and to a live look it is",
    ),
    pytest.param(
        [a_probe(unreadable="too large")], 30, None, id="an end in a list that cannot all be read"
    ),
    pytest.param(
        [replace(a_status_probe(), head=HeadList((), DUE, unreadable="too large"))],
        None,
        None,
        id="not in a list that cannot be read",
    ),
]


@pytest.mark.parametrize(("probes", "ended_since", "missing_since"), TOLD)
def test_what_heads_said_of_jobs_that_seem_to_run_for_ever(
    probes: list[ProbeResult], ended_since: int | None, missing_since: datetime | None
) -> None:
    assessment = HANGING
    for number, probe in enumerate(probes):
        assessment = _passed(assessment, probe, later=timedelta() if number == 0 else MINUTE)
    assert assessment.memory.terminal_since == (
        None if ended_since is None else ended_since * MINUTE
    )
    assert (assessment.memory.terminal is not None) is (ended_since is not None)
    assert assessment.memory.missing_since == missing_since


def test_the_way_to_finished_unreported() -> None:
    """Half an hour without a move, two answers, a live look: not a moment sooner, and by nothing less."""
    assessment = _passed(RUNNING, None)
    assessment = replace(assessment, uptime=30 * MINUTE)
    assert isinstance(decide(replace(assessment, now=DUE)), ProbeHead)
    assessment = _passed(assessment, a_status_probe(a_submission(end_time=END)))
    early = replace(
        assessment, uptime=40 * MINUTE - MOMENT, probe=a_probe(a_submission(end_time=END))
    )
    assert isinstance(decide(replace(early, now=DUE)), Keep)
    in_time = replace(assessment, uptime=40 * MINUTE, probe=a_probe(a_submission(end_time=END)))
    assert decide(replace(in_time, now=DUE)).explanation.reason is Reason.FINISHED_UNREPORTED
    assert isinstance(decide(replace(in_time, now=DUE)), Delete)


def test_the_way_to_unconfirmed() -> None:
    """Three looks in a row over five minutes; an answer in between begins it anew."""
    silent = a_silent_probe(cluster=a_headless_raycluster())
    assessment = _passed(_passed(an_assessment(), silent), silent, later=4 * MINUTE)
    assert (
        decide(
            replace(replace(assessment, probe=silent, uptime=5 * MINUTE), now=LATE)
        ).explanation.reason
        is Reason.UNCONFIRMED
    )
    assert (
        decide(
            replace(replace(assessment, probe=silent, uptime=5 * MINUTE - MOMENT), now=LATE)
        ).explanation.reason
        is Reason.HEAD_UNREACHABLE
    )
    answered = _passed(assessment, a_probe(a_submission("RUNNING")), later=MINUTE)
    assert (answered.memory.silent_probes, answered.memory.silent_since) == (0, None)
    assert (
        decide(
            replace(replace(answered, probe=silent, uptime=60 * MINUTE), now=LATE)
        ).explanation.reason
        is Reason.HEAD_UNREACHABLE
    )
    polled = _passed(assessment, replace(silent, kind=ProbeKind.STATUS), later=MINUTE)
    assert polled.memory.silent_probes == assessment.memory.silent_probes


def test_unconfirmed_that_was_only_observed_is_unconfirmed_the_next_time_too() -> None:
    silent = a_silent_probe(cluster=a_headless_raycluster())
    assessment = an_assessment()
    for _ in range(4):
        assessment = _passed(assessment, silent, LATE, later=3 * MINUTE)
    assert [decide(replace(replace(assessment, probe=silent), now=LATE)).explanation.reason] == [
        Reason.UNCONFIRMED
    ]


def test_a_default_that_changed_waits_once_and_a_change_of_the_rayjob_does_not() -> None:
    bare = a_rayjob(annotations={})
    judged = _passed(an_assessment(rayjob=bare), None, LATE)
    assert judged.memory.due_at is None
    changed = replace(judged, namespace=a_namespace(ttl="1h"))
    waiting = _passed(changed, None, LATE)
    assert waiting.memory.bulk_expiry_until == LATE + 15 * MINUTE
    assert _passed(waiting, None, LATE + MINUTE).memory.bulk_expiry_until == LATE + 15 * MINUTE
    assert isinstance(decide(replace(waiting, now=LATE + 15 * MINUTE - MOMENT)), Wait)
    assert isinstance(decide(replace(waiting, now=LATE + 15 * MINUTE)), ProbeHead)
    undone = _passed(replace(waiting, namespace=a_namespace()), None, LATE + MINUTE)
    assert undone.memory.bulk_expiry_until is None
    own = replace(judged, rayjob=a_rayjob(resource_version="101"))
    assert isinstance(decide(replace(own, now=LATE)), ProbeHead)


WEEK = timedelta(days=7)


@pytest.mark.parametrize(
    ("unknown", "then"),
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
            id="malformed until corrected",
        ),
    ],
)
def test_what_was_unknown_when_it_was_first_judged_moves_its_due_time_too(
    unknown: Any, then: Any
) -> None:
    """A default may have been shortened before we began; a moment without it must not take the wait away."""
    assessment = an_assessment(rayjob=a_rayjob(annotations={}), started_at=LATE)
    blind = _passed(replace(assessment, **unknown), None, LATE)
    seen = _passed(replace(blind, **then), None, LATE + MINUTE)
    assert seen.memory.bulk_expiry_until == LATE + 16 * MINUTE
    assert isinstance(decide(replace(seen, now=LATE + 16 * MINUTE)), ProbeHead)


@pytest.mark.parametrize(
    "unknown", [{"policies": None}, {"namespace": None}], ids=["policies", "its Namespace"]
)
def test_a_moment_of_not_knowing_when_it_ended_does_not_delay_what_the_rayjob_says_itself(
    unknown: Any,
) -> None:
    """As at a restart: no default had a part in it, and it is due since a moment only."""
    assessment = an_assessment(started_at=END)
    blind = _passed(replace(assessment, **unknown), None, DUE)
    assert isinstance(
        decide(
            replace(
                replace(blind, policies=(), namespace=assessment.namespace), now=DUE + 2 * MINUTE
            )
        ),
        ProbeHead,
    )
    late = decide(
        replace(
            replace(blind, policies=(), namespace=assessment.namespace),
            now=DUE + 2 * MINUTE + MOMENT,
        )
    )
    assert late.explanation.reason is Reason.BULK_EXPIRY_DELAY


def test_a_moment_without_policies_delays_nothing_that_was_due_already() -> None:
    due = _passed(an_assessment(), None, LATE)
    blind = _passed(replace(due, policies=None), None, LATE)
    assert isinstance(decide(replace(replace(blind, policies=()), now=LATE)), ProbeHead)


def test_the_time_before_a_job_ran_is_not_taken_for_time_since_its_end() -> None:
    """It was initializing under a stuck TTL for hours, and then ended at once by a deadline."""
    stuck = (a_policy(times={"stuck.initializing": WEEK, "retention.rayJob.default": HOUR}),)
    waits = a_rayjob(
        annotations={},
        deployment_status="Initializing",
        job_status="",
        start_time=END,
        end_time=None,
    )
    waiting = _passed(an_assessment(rayjob=waits, policies=stuck), None, END + MINUTE)
    assert waiting.memory.first_finished is None
    at = END + 4 * HOUR
    failed = replace(
        waits,
        deployment_status="Failed",
        reason="DeadlineExceeded",
        end_time=at,
        status_written_at=at,
        resource_version="101",
    )
    assert replace(replace(waiting, rayjob=failed), now=at + MINUTE).due.end.time == at


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        pytest.param({}, True, id="it waits"),
        pytest.param({"bulk_expiry_size": 101}, True, id="too many wait"),
        pytest.param(
            {"rayjob": a_rayjob(annotations=says(ttl="1h", keep_until="2199-01-01T00:00:00Z"))},
            False,
            id="kept",
        ),
        pytest.param(
            {"rayjob": a_rayjob(suspend=True, deployment_status="Suspended")}, False, id="suspended"
        ),
        pytest.param({"policies": None}, False, id="policies are unknown"),
    ],
)
def test_what_is_kept_for_another_reason_is_not_counted_in_the_backlog(
    changes: Any, counts: bool
) -> None:
    """Else a hundred kept ones would hold up all others for ever."""
    assert (
        _passed(an_assessment(started_at=LATE, **changes), None, LATE).memory.in_bulk_expiry
        is counts
    )


def test_what_came_through_the_backlog_counts_until_a_look_keeps_it() -> None:
    waiting = _passed(an_assessment(started_at=LATE), None, LATE)
    on_its_way = _passed(waiting, None, LATE + 15 * MINUTE)
    assert on_its_way.memory.in_bulk_expiry
    runs_on = _passed(on_its_way, a_probe(a_submission("RUNNING")), LATE + 15 * MINUTE)
    assert (runs_on.memory.in_bulk_expiry, runs_on.memory.bulk_expiry_until) == (
        False,
        LATE + 15 * MINUTE,
    )


def test_what_only_a_look_told_moves_no_due_time_into_the_past() -> None:
    """The head says a later end; when that has come the head is asked again, and nothing waits in the backlog."""
    later = a_probe(a_submission(end_time=END + timedelta(minutes=30)))
    waiting = _passed(an_assessment(memory=Memory(first_finished=END)), later, DUE)
    assert isinstance(decide(replace(replace(waiting, probe=later), now=DUE)), Wait)
    again = _passed(waiting, None, DUE + MINUTE)
    assert again.memory.bulk_expiry_until is None
    assert isinstance(decide(replace(again, now=DUE + 30 * MINUTE)), ProbeHead)


def test_a_raycronjobs_child_waits_for_its_tick_and_no_longer() -> None:
    child = an_assessment(rayjob=a_rayjob(controller_kind="RayCronJob", cron_tick=DUE))
    waiting = _passed(child, a_probe(), DUE)
    assert waiting.memory.probe_again_at == DUE + 2 * MINUTE
    assert isinstance(decide(replace(waiting, now=DUE + 2 * MINUTE)), ProbeHead)


@pytest.mark.parametrize(
    ("assessment", "probe"),
    [
        pytest.param(
            an_assessment(rayjob=an_interactive()),
            a_probe(a_submission("RUNNING")),
            id="it was submitted a moment ago",
        ),
        pytest.param(
            an_assessment(),
            ProbeResult(a_raycluster(unreadable="spec: Field required")),
            id="its cluster cannot be read",
        ),
    ],
)
def test_a_look_that_came_too_early_is_taken_again_after_a_while(
    assessment: Assessment, probe: ProbeResult
) -> None:
    kept = _passed(assessment, probe, LATE)
    assert kept.memory.probe_again_at == LATE + 5 * MINUTE
    assert isinstance(decide(replace(kept, now=LATE + 5 * MINUTE - MOMENT)), Wait)
    assert isinstance(decide(replace(kept, now=LATE + 5 * MINUTE)), ProbeHead)
