"""What is remembered from pass to pass, when it is forgotten, and how the looks grow rarer."""

from dataclasses import replace
from datetime import timedelta

import pytest

from raysweep.core.decisions import Decision, Delete, Keep, Wait, Why
from raysweep.core.facts import Look
from raysweep.core.memory import LOOK_AGAIN, NOTHING, Backoff, Memory, remember
from raysweep.core.reasons import Reason
from tests.builders import DUE, END, a_look, a_raycluster

MINUTE = timedelta(minutes=1)
LOOKED = a_look()


def _keep(reason: Reason) -> Keep:
    """As a guard after the question of the end would say it."""
    return Keep(Why("some_guard", reason, "", finished_at=END))


def _after_looks(reason: Reason, times: int) -> Memory:
    memory = NOTHING
    for _ in range(times):
        memory = remember(memory, _keep(reason), DUE, LOOKED, "100")
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


@pytest.mark.parametrize("reason", LOOK_AGAIN, ids=str)
def test_what_only_a_look_can_change_is_looked_at_again_and_ever_more_rarely(reason: Reason) -> None:
    waits = [(_after_looks(reason, times).look_again_at or DUE) - DUE for times in (1, 2, 3, 40)]
    first, last = LOOK_AGAIN[reason].first, LOOK_AGAIN[reason].last
    assert waits == [first, 2 * first, 4 * first, last]
    assert _after_looks(reason, 3).kept_by_look == _keep(reason).why


@pytest.mark.parametrize(
    ("reason", "first", "last"),
    [
        pytest.param(Reason.STILL_RUNNING, MINUTE, 30 * MINUTE, id="StillRunning: 1 min, doubling to 30"),
        pytest.param(Reason.CLUSTER_IN_USE, MINUTE, 30 * MINUTE, id="ClusterInUse likewise"),
        pytest.param(Reason.HEAD_UNREACHABLE, timedelta(seconds=30), 5 * MINUTE, id="HeadUnreachable: up to 5 min"),
    ],
)
def test_how_soon_to_look_again(reason: Reason, first: timedelta, last: timedelta) -> None:
    assert LOOK_AGAIN[reason] == Backoff(first, last)


KNOWN = Memory(END, fruitless_looks=3, look_again_at=DUE, kept_by_look=_keep(Reason.STILL_RUNNING).why, cluster_gone=True)
WITHOUT_LOOKS = Memory(END)


@pytest.mark.parametrize(
    ("decision", "look", "left"),
    [
        pytest.param(_keep(Reason.NOT_FINISHED), None, NOTHING, id="it runs again: everything is forgotten"),
        pytest.param(_keep(Reason.SUSPENDED), None, NOTHING, id="it is suspended: everything is forgotten"),
        pytest.param(
            Keep(Why("unreadable", Reason.UNREADABLE, "")), None, KNOWN, id="a guard before the end says nothing about it"
        ),
        pytest.param(_keep(Reason.NO_TTL), None, KNOWN, id="no look: what looks told stays"),
        pytest.param(Wait(DUE, _keep(Reason.NOT_DUE).why), None, KNOWN, id="a Wait without a look: likewise"),
        pytest.param(_keep(Reason.NO_TTL), LOOKED, WITHOUT_LOOKS, id="a look after which no other is needed"),
        pytest.param(Delete((), _keep(Reason.EXPIRED).why), LOOKED, WITHOUT_LOOKS, id="a deletion"),
        pytest.param(
            Delete((), _keep(Reason.EXPIRED).why),
            Look(None),
            replace(WITHOUT_LOOKS, cluster_gone=True),
            id="a look that found no cluster",
        ),
        pytest.param(
            _keep(Reason.CLUSTER_IN_USE),
            Look(a_raycluster()),
            Memory(END, 1, DUE + MINUTE, _keep(Reason.CLUSTER_IN_USE).why, looked_at="100"),
            id="fruitless again, for another reason: the count begins anew",
        ),
        pytest.param(
            _keep(Reason.STILL_RUNNING),
            Look(a_raycluster()),
            Memory(END, 4, DUE + 8 * MINUTE, _keep(Reason.STILL_RUNNING).why, looked_at="100"),
            id="fruitless again, for the same reason: the count goes on",
        ),
    ],
)
def test_what_is_left_of_what_was_known(decision: Decision, look: Look | None, left: Memory) -> None:
    assert remember(KNOWN, decision, DUE, look, "100") == left


def test_when_it_was_first_seen_finished_is_remembered_from_the_first_time_on() -> None:
    once = remember(NOTHING, _keep(Reason.NO_TTL), END, None, "100")
    assert once == remember(once, _keep(Reason.NO_TTL), DUE, None, "101") == Memory(first_finished=END)
