"""What is remembered from pass to pass, when it is forgotten, and how the looks grow rarer."""

from dataclasses import replace
from datetime import timedelta

import pytest

from raysweep.core import remember as remembering
from raysweep.core.decisions import Decision, Delete, Keep, Wait, Why
from raysweep.core.facts import Look
from raysweep.core.memory import LOOK_AGAIN, NOTHING, SILENCE, Memory
from raysweep.core.reasons import Reason
from raysweep.core.rules import DEFAULTS, Backoff
from tests.builders import DUE, END, a_case, a_look, a_raycluster, a_rayjob

MINUTE = timedelta(minutes=1)
LOOKED = a_look()
COMPLETE = Memory(status=("Complete", "SUCCEEDED"), status_since=timedelta())
"""What every pass over a_rayjob() remembers of its status."""


def remember(memory: Memory, decision: Decision, look: Look | None, **fields: object) -> Memory:
    """The memory after one more pass over a_rayjob(), at DUE."""
    return remembering.remember(a_case(rayjob=a_rayjob(**fields), memory=memory, look=look), decision, DUE)


def _keep(reason: Reason) -> Keep:
    """As a guard after the question of the end would say it."""
    return Keep(Why("some_guard", reason, "", finished_at=END, due_at=DUE))


def _after_looks(reason: Reason, times: int) -> Memory:
    memory = NOTHING
    for _ in range(times):
        memory = remember(memory, _keep(reason), LOOKED)
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


@pytest.mark.parametrize("reason", sorted(LOOK_AGAIN), ids=str)
def test_what_only_a_look_can_change_is_looked_at_again_and_ever_more_rarely(reason: Reason) -> None:
    waits = [(_after_looks(reason, times).look_again_at or DUE) - DUE for times in (1, 2, 3, 40)]
    backoff = DEFAULTS.silent_again if reason in SILENCE else DEFAULTS.look_again
    assert waits == [backoff.first, 2 * backoff.first, 4 * backoff.first, backoff.last]
    assert _after_looks(reason, 3).kept_by_look == _keep(reason).why


def test_how_soon_to_look_again() -> None:
    assert DEFAULTS.look_again == Backoff(MINUTE, 30 * MINUTE)
    assert DEFAULTS.silent_again == Backoff(timedelta(seconds=30), 5 * MINUTE)
    assert DEFAULTS.poll == Backoff(5 * MINUTE, 30 * MINUTE)


WITHOUT_LOOKS = replace(COMPLETE, first_finished=END, judged_at="100", due_at=DUE)
KNOWN = replace(
    WITHOUT_LOOKS, fruitless_looks=3, look_again_at=DUE, kept_by_look=_keep(Reason.STILL_RUNNING).why, cluster_gone=True
)
OBSERVED = _keep(Reason.EXPIRED).why


@pytest.mark.parametrize(
    ("decision", "look", "left"),
    [
        pytest.param(_keep(Reason.NOT_FINISHED), None, COMPLETE, id="it runs again: everything is forgotten"),
        pytest.param(_keep(Reason.SUSPENDED), None, COMPLETE, id="it is suspended: everything is forgotten"),
        pytest.param(
            Keep(Why("unreadable", Reason.UNREADABLE, "")), None, KNOWN, id="a guard before the end says nothing about it"
        ),
        pytest.param(_keep(Reason.NO_TTL), None, KNOWN, id="no look: what looks told stays"),
        pytest.param(Wait(DUE, _keep(Reason.NOT_DUE).why), None, KNOWN, id="a Wait without a look: likewise"),
        pytest.param(_keep(Reason.NO_TTL), LOOKED, WITHOUT_LOOKS, id="a look after which no other is needed"),
        pytest.param(
            Delete((), OBSERVED),
            LOOKED,
            replace(KNOWN, look_again_at=DUE + 30 * MINUTE, kept_by_look=OBSERVED, looked_at="100", cluster_gone=False),
            id="a deletion that was only observed, or refused, is looked at again in half an hour",
        ),
        pytest.param(
            _keep(Reason.NO_TTL),
            Look(None),
            replace(WITHOUT_LOOKS, cluster_gone=True),
            id="a look that found no cluster",
        ),
        pytest.param(
            _keep(Reason.CLUSTER_IN_USE),
            Look(a_raycluster()),
            replace(
                WITHOUT_LOOKS,
                fruitless_looks=1,
                look_again_at=DUE + MINUTE,
                kept_by_look=_keep(Reason.CLUSTER_IN_USE).why,
                looked_at="100",
            ),
            id="fruitless again, for another reason: the count begins anew",
        ),
        pytest.param(
            _keep(Reason.STILL_RUNNING),
            Look(a_raycluster()),
            replace(
                WITHOUT_LOOKS,
                fruitless_looks=4,
                look_again_at=DUE + 8 * MINUTE,
                kept_by_look=_keep(Reason.STILL_RUNNING).why,
                looked_at="100",
            ),
            id="fruitless again, for the same reason: the count goes on",
        ),
    ],
)
def test_what_is_left_of_what_was_known(decision: Decision, look: Look | None, left: Memory) -> None:
    assert remember(KNOWN, decision, look) == left


def test_when_it_was_first_seen_finished_is_remembered_from_the_first_time_on() -> None:
    once = remember(NOTHING, _keep(Reason.NO_TTL), None)
    again = remember(replace(once, first_finished=END), _keep(Reason.NO_TTL), None, resource_version="101")
    assert (once.first_finished, again.first_finished) == (DUE, END)
