"""Every RayJob recorded from a real KubeRay, parsed and judged at five points in time: in its status' words, nothing made up."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from raysweep.clients.parsing import parse_rayjob
from raysweep.core.case import Case
from raysweep.core.decisions import AskHead, Decision, Delete, Wait
from raysweep.core.facts import HeadList, JobEntry, Look, Namespace, RayCluster, RayJob
from raysweep.core.ladder import decide

SAMPLES = Path(__file__).parent / "samples"
TTL = timedelta(hours=1)
WHOLE_SECOND = timedelta(seconds=1)
MOMENT = timedelta(microseconds=1)

RUNNING = 5 * ["NotFinished"]
SUSPENDED = 5 * ["Suspended"]
FINISHED = ["NotDue", "NotDue", "NotDue", "AskHead", "AskHead"]
SELECTED = ["NotDue", "NotDue", "NotDue", "NotOwned", "NotOwned"]

EXPECTED = {
    "cluster-selector-succeeded": SELECTED,
    "failed": FINISHED,
    "failed-active-deadline": FINISHED,
    "failed-after-retry": FINISHED,
    "initializing": RUNNING,
    "interactive-succeeded": FINISHED,
    "interactive-waiting": RUNNING,
    "k8sjobmode-failed": FINISHED,
    "k8sjobmode-succeeded": FINISHED,
    "running": RUNNING,
    "sidecar-succeeded": FINISHED,
    "stopped": FINISHED,
    "succeeded": FINISHED,
    "succeeded-after-cluster-deletion": FINISHED,
    "succeeded-deletion-rules": FINISHED,
    "succeeded-shutdown-ttl": FINISHED,
    "suspended": SUSPENDED,
    "suspended-while-running": SUSPENDED,
    "validation-failed": FINISHED,
}
OUTCOMES = {"failed": "failed", "stopped": "stopped", "k8sjobmode-failed": "failed", "failed-after-retry": "failed"}
OUTCOMES |= {"validation-failed": "failed", "failed-active-deadline": "failed"}

every_sample = pytest.mark.parametrize("name", EXPECTED)
every_finished = pytest.mark.parametrize("name", [name for name, words in EXPECTED.items() if words == FINISHED])


def _sample(name: str) -> RayJob:
    return parse_rayjob(json.loads((SAMPLES / f"rayjob-{name}.json").read_text()))


def _case(rayjob: RayJob) -> Case:
    """Its Namespace keeps everything for an hour."""
    return Case(rayjob, Namespace(rayjob.namespace, "uid-namespace", "1", {"raysweep.io/ttl": "1h"}))


def _word(decision: Decision) -> str:
    return "AskHead" if isinstance(decision, AskHead) else str(decision.why.reason)


def _looked(rayjob: RayJob, status: str) -> Case:
    """Its cluster is there, and the head says that its job is in this state."""
    cluster = RayCluster(rayjob.namespace, rayjob.cluster_name, "uid-cluster", "1", controller_uid=rayjob.uid)
    assert rayjob.status_written_at is not None
    answer = HeadList((JobEntry("SUBMISSION", rayjob.job_id, status),), rayjob.status_written_at)
    return replace(_case(rayjob), owned=(cluster,), look=Look(cluster, answer))


def test_no_sample_is_left_out() -> None:
    assert {path.stem.removeprefix("rayjob-") for path in SAMPLES.glob("*.json")} == set(EXPECTED)


@every_sample
def test_a_recorded_rayjob_can_be_read(name: str) -> None:
    rayjob = _sample(name)
    assert rayjob.unreadable == ""
    assert rayjob.status_written_at is not None


@every_sample
def test_a_recorded_rayjob_is_judged_at_five_points_in_time(name: str) -> None:
    rayjob = _sample(name)
    written = rayjob.status_written_at
    assert written is not None
    due = (max(time for time in (rayjob.end_time, rayjob.ray_end_time, None) if time) if rayjob.end_time else written) + TTL
    points = (written, written + TTL / 2, due + WHOLE_SECOND - MOMENT, due + WHOLE_SECOND, due + timedelta(days=3650))
    assert [_word(decide(_case(rayjob), now)) for now in points] == EXPECTED[name]


@every_finished
def test_a_finished_one_is_deleted_once_its_head_agrees(name: str) -> None:
    rayjob = _sample(name)
    late = (rayjob.status_written_at or pytest.fail("never written")) + timedelta(days=1)
    status = {"failed": "FAILED", "stopped": "STOPPED"}.get(OUTCOMES.get(name, ""), "SUCCEEDED")
    decision = decide(_looked(rayjob, status), late)
    assert isinstance(decision, Delete)
    assert [target.uid for target in decision.targets] == [rayjob.uid, "uid-cluster"]
    assert decision.why.outcome == OUTCOMES.get(name, "succeeded")


@every_finished
def test_one_whose_head_says_running_is_kept_unless_a_deadline_ended_it(name: str) -> None:
    rayjob = _sample(name)
    late = (rayjob.status_written_at or pytest.fail("never written")) + timedelta(days=1)
    decision = decide(_looked(rayjob, "RUNNING"), late)
    assert isinstance(decision, Delete) is (name == "failed-active-deadline")
    assert isinstance(decision, Delete) or decision.why.reason == "StillRunning"


@every_sample
def test_without_a_ttl_none_is_ever_deleted(name: str) -> None:
    rayjob = _sample(name)
    case = replace(_looked(rayjob, "SUCCEEDED"), namespace=Namespace(rayjob.namespace, "uid-namespace", "1"))
    far = (rayjob.status_written_at or pytest.fail("never written")) + timedelta(days=36500)
    decision = decide(case, far)
    assert not isinstance(decision, Delete | AskHead | Wait)
