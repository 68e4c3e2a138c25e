"""Every RayJob recorded from a real KubeRay, parsed and judged at five times.

docs/generate.py writes the same table to docs/explanation/how-raysweep-decides.md.
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

SAMPLES = Path(__file__).parents[1] / "samples"
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
MOMENT = timedelta(microseconds=1)

RUNNING = 5 * ["NotFinished"]
SUSPENDED = 5 * ["Suspended"]
FINISHED = ["NotDue", "NotDue", "ProbeHead", "ProbeHead", "ProbeHead"]
KUBERAY_FIRST = ["NotDue", "NotDue", "WaitingForKubeRay", "ProbeHead", "ProbeHead"]

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
    "stopped": (HOUR, FINISHED),  # no rule is for STOPPED
    "succeeded": (HOUR, FINISHED),
    "succeeded-after-cluster-deletion": (10 * SECOND, FINISHED),
    "succeeded-deletion-rules": (5 * SECOND, KUBERAY_FIRST),  # the RayJob stays for an hour
    "succeeded-shutdown-ttl": (10 * SECOND, FINISHED),
    "suspended": (HOUR, SUSPENDED),
    "suspended-while-running": (HOUR, SUSPENDED),
    "validation-failed": (HOUR, FINISHED),  # without shutdownAfterJobFinishes
}
"""How long after the end the first of the two is due, and the answers at the five times."""
OUTCOMES = {
    "failed": "failed",
    "stopped": "stopped",
    "k8sjobmode-failed": "failed",
    "failed-after-retry": "failed",
}
OUTCOMES |= {"validation-failed": "failed", "failed-active-deadline": "failed"}

every_sample = pytest.mark.parametrize("name", EXPECTED)
every_finished = pytest.mark.parametrize(
    "name",
    [name for name, (_, answers) in EXPECTED.items() if answers in (FINISHED, KUBERAY_FIRST)],
)


def _sample(name: str) -> RayJob:
    return parse_rayjob(json.loads((SAMPLES / f"rayjob-{name}.json").read_text()))


def _written(rayjob: RayJob) -> datetime:
    assert rayjob.status_written_at is not None
    return rayjob.status_written_at


def _assessed(rayjob: RayJob) -> Assessment:
    """At the last write of its status. Its Namespace has a TTL of an hour."""
    return Assessment(
        _written(rayjob),
        rayjob,
        Namespace(rayjob.namespace, "uid-namespace", "1", {"raysweep.io/ttl": "1h"}),
    )


def _answer(decision: Decision) -> str:
    return "ProbeHead" if isinstance(decision, ProbeHead) else str(decision.explanation.reason)


def _probed(rayjob: RayJob, status: str) -> Assessment:
    """Its cluster exists, owned unless it is selected. Its head reports this status of the job."""
    owner = "" if rayjob.has_selector else rayjob.uid
    cluster = RayCluster(
        rayjob.namespace, rayjob.cluster_name, "uid-cluster", "1", controller_uid=owner
    )
    answer = HeadList((JobEntry("SUBMISSION", rayjob.job_id, status),), _written(rayjob))
    return replace(
        _assessed(rayjob), owned=(cluster,) if owner else (), probe=ProbeResult(cluster, answer)
    )


def test_every_sample_has_a_row() -> None:
    assert {path.stem.removeprefix("rayjob-") for path in SAMPLES.glob("rayjob-*.json")} == set(
        EXPECTED
    )


@every_sample
def test_a_sample_is_readable(name: str) -> None:
    rayjob = _sample(name)
    assert rayjob.unreadable == ""
    assert rayjob.status_written_at is not None


@every_sample
def test_the_answers_at_five_times(name: str) -> None:
    rayjob, (kept_for, answers) = _sample(name), EXPECTED[name]
    due = (rayjob.end_time or _written(rayjob)) + kept_for + SECOND
    points = (_written(rayjob), due - MOMENT, due, due + 62 * SECOND, due + timedelta(days=3650))
    assert [_answer(decide(replace(_assessed(rayjob), now=now))) for now in points] == answers


@every_finished
def test_a_finished_job_is_deleted_if_its_head_agrees(name: str) -> None:
    rayjob = _sample(name)
    status = {"failed": "FAILED", "stopped": "STOPPED"}.get(OUTCOMES.get(name, ""), "SUCCEEDED")
    decision = decide(replace(_probed(rayjob, status), now=_written(rayjob) + timedelta(days=1)))
    assert isinstance(decision, Delete)
    cluster = [] if rayjob.has_selector else ["uid-cluster"]
    assert [target.uid for target in decision.targets] == [rayjob.uid, *cluster]
    assert decision.explanation.outcome == OUTCOMES.get(name, "succeeded")


@every_finished
def test_a_job_that_its_head_reports_as_running_is_kept_unless_a_deadline_ended_it(
    name: str,
) -> None:
    rayjob = _sample(name)
    decision = decide(replace(_probed(rayjob, "RUNNING"), now=_written(rayjob) + timedelta(days=1)))
    assert isinstance(decision, Delete) is (name == "failed-active-deadline")
    assert isinstance(decision, Delete) or decision.explanation.reason == "StillRunning"


@every_sample
def test_without_a_ttl_no_sample_is_deleted(name: str) -> None:
    """Also without the TTL of the spec."""
    rayjob = replace(_sample(name), kuberay_cleanup=KubeRayCleanup())
    assessment = replace(
        _probed(rayjob, "SUCCEEDED"), namespace=Namespace(rayjob.namespace, "uid-namespace", "1")
    )
    decision = decide(replace(assessment, now=_written(rayjob) + timedelta(days=36500)))
    assert not isinstance(decision, Delete | ProbeHead | Wait)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("k8sjobmode-succeeded", "RayJob"),
        ("cluster-selector-succeeded", "RayJob"),
        ("succeeded-shutdown-ttl", "RayJob"),
        ("succeeded-deletion-rules", "RayCluster"),
    ],
)
def test_the_spec_alone_sets_a_ttl(name: str, kind: str) -> None:
    rayjob = _sample(name)
    assessment = replace(
        _probed(rayjob, "SUCCEEDED"), namespace=Namespace(rayjob.namespace, "uid-namespace", "1")
    )
    decision = decide(replace(assessment, now=_written(rayjob) + timedelta(days=1)))
    assert isinstance(decision, Delete)
    assert decision.targets[0].kind == kind
