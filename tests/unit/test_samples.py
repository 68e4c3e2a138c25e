"""Every RayJob recorded from a real KubeRay, parsed and judged at five points in time: in its status' words, nothing made up.

docs/explanation/how-raysweep-decides.md has the same table, made by docs/generate.py.
"""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from raysweep.clients.parsing.rayjob import parse_rayjob
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Decision, Delete, ProbeHead, Wait
from raysweep.core.model.facts import (
    HeadList,
    JobEntry,
    KubeRayCleanup,
    Namespace,
    ProbeResult,
    RayCluster,
    RayJob,
)

SAMPLES = Path(__file__).parent / "samples"
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
MOMENT = timedelta(microseconds=1)

RUNNING = 5 * ["NotFinished"]
SUSPENDED = 5 * ["Suspended"]
FINISHED = ["NotDue", "NotDue", "AskHead", "AskHead", "AskHead"]
NATIVE = ["NotDue", "NotDue", "WaitingForKubeRay", "AskHead", "AskHead"]

EXPECTED = {
    "cluster-selector-succeeded": (5 * SECOND, FINISHED),
    "failed": (HOUR, FINISHED),
    "failed-active-deadline": (HOUR, FINISHED),
    "failed-after-retry": (HOUR, FINISHED),
    "initializing": (HOUR, RUNNING),
    "interactive-succeeded": (HOUR, FINISHED),
    "interactive-waiting": (HOUR, RUNNING),
    "k8sjobmode-failed": (HOUR, FINISHED),
    "k8sjobmode-succeeded": (10 * SECOND, FINISHED),
    "running": (HOUR, RUNNING),
    "sidecar-succeeded": (HOUR, FINISHED),
    "stopped": (HOUR, FINISHED),  # none of its rules names STOPPED
    "succeeded": (HOUR, FINISHED),
    "succeeded-after-cluster-deletion": (10 * SECOND, FINISHED),
    "succeeded-deletion-rules": (
        5 * SECOND,
        NATIVE,
    ),  # DeleteCluster: the RayJob stays for its Namespace's hour
    "succeeded-shutdown-ttl": (10 * SECOND, FINISHED),
    "suspended": (HOUR, SUSPENDED),
    "suspended-while-running": (HOUR, SUSPENDED),
    "validation-failed": (
        HOUR,
        FINISHED,
    ),  # its ttlSecondsAfterFinished stands without shutdownAfterJobFinishes
}
"""How long after the end the first of RayJob and RayCluster goes, and what is said at the five points."""
OUTCOMES = {
    "failed": "failed",
    "stopped": "stopped",
    "k8sjobmode-failed": "failed",
    "failed-after-retry": "failed",
}
OUTCOMES |= {"validation-failed": "failed", "failed-active-deadline": "failed"}

every_sample = pytest.mark.parametrize("name", EXPECTED)
every_finished = pytest.mark.parametrize(
    "name", [name for name, (_, words) in EXPECTED.items() if words in (FINISHED, NATIVE)]
)


def _sample(name: str) -> RayJob:
    return parse_rayjob(json.loads((SAMPLES / f"rayjob-{name}.json").read_text()))


def _written(rayjob: RayJob) -> datetime:
    assert rayjob.status_written_at is not None
    return rayjob.status_written_at


def _case(rayjob: RayJob) -> Assessment:
    """Its Namespace keeps everything for an hour."""
    return Assessment(
        _written(rayjob),
        rayjob,
        Namespace(rayjob.namespace, "uid-namespace", "1", {"raysweep.io/ttl": "1h"}),
    )


def _word(decision: Decision) -> str:
    return "AskHead" if isinstance(decision, ProbeHead) else str(decision.explanation.reason)


def _looked(rayjob: RayJob, status: str) -> Assessment:
    """Its cluster is there, owned where it is not selected, and the head says that its job is in this state."""
    owner = "" if rayjob.has_selector else rayjob.uid
    cluster = RayCluster(
        rayjob.namespace, rayjob.cluster_name, "uid-cluster", "1", controller_uid=owner
    )
    answer = HeadList((JobEntry("SUBMISSION", rayjob.job_id, status),), _written(rayjob))
    return replace(
        _case(rayjob), owned=(cluster,) if owner else (), probe=ProbeResult(cluster, answer)
    )


def test_no_sample_is_left_out() -> None:
    assert {path.stem.removeprefix("rayjob-") for path in SAMPLES.glob("*.json")} == set(EXPECTED)


@every_sample
def test_a_recorded_rayjob_can_be_read(name: str) -> None:
    rayjob = _sample(name)
    assert rayjob.unreadable == ""
    assert rayjob.status_written_at is not None


@every_sample
def test_a_recorded_rayjob_is_judged_at_five_points_in_time(name: str) -> None:
    rayjob, (kept_for, words) = _sample(name), EXPECTED[name]
    due = (rayjob.end_time or _written(rayjob)) + kept_for + SECOND
    points = (_written(rayjob), due - MOMENT, due, due + 62 * SECOND, due + timedelta(days=3650))
    assert [_word(decide(replace(_case(rayjob), now=now))) for now in points] == words


@every_finished
def test_a_finished_one_is_deleted_once_its_head_agrees(name: str) -> None:
    rayjob = _sample(name)
    status = {"failed": "FAILED", "stopped": "STOPPED"}.get(OUTCOMES.get(name, ""), "SUCCEEDED")
    decision = decide(replace(_looked(rayjob, status), now=_written(rayjob) + timedelta(days=1)))
    assert isinstance(decision, Delete)
    cluster = [] if rayjob.has_selector else ["uid-cluster"]
    assert [target.uid for target in decision.targets] == [rayjob.uid, *cluster]
    assert decision.explanation.outcome == OUTCOMES.get(name, "succeeded")


@every_finished
def test_one_whose_head_says_running_is_kept_unless_a_deadline_ended_it(name: str) -> None:
    rayjob = _sample(name)
    decision = decide(replace(_looked(rayjob, "RUNNING"), now=_written(rayjob) + timedelta(days=1)))
    assert isinstance(decision, Delete) is (name == "failed-active-deadline")
    assert isinstance(decision, Delete) or decision.explanation.reason == "StillRunning"


@every_sample
def test_without_a_ttl_none_is_ever_deleted(name: str) -> None:
    """A TTL in the spec is one, so it is taken away here."""
    rayjob = replace(_sample(name), kuberay_cleanup=KubeRayCleanup())
    assessment = replace(
        _looked(rayjob, "SUCCEEDED"), namespace=Namespace(rayjob.namespace, "uid-namespace", "1")
    )
    decision = decide(replace(assessment, now=_written(rayjob) + timedelta(days=36500)))
    assert not isinstance(decision, Delete | ProbeHead | Wait)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("k8sjobmode-succeeded", "Delete RayJob"),
        ("cluster-selector-succeeded", "Delete RayJob"),
        ("succeeded-shutdown-ttl", "Delete RayJob"),
        ("succeeded-deletion-rules", "Delete RayCluster"),
    ],
)
def test_where_nobody_but_the_spec_says_anything_that_is_done(name: str, sentence: str) -> None:
    rayjob = _sample(name)
    assessment = replace(
        _looked(rayjob, "SUCCEEDED"), namespace=Namespace(rayjob.namespace, "uid-namespace", "1")
    )
    decision = decide(replace(assessment, now=_written(rayjob) + timedelta(days=1)))
    assert isinstance(decision, Delete)
    assert f"Delete {decision.targets[0].kind}" == sentence
