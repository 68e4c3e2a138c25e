"""`raysweep why` without a cluster: every reason explained, KubeRay's own doing in words, and RayJobs that are gone."""

import json
import unicodedata
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from raysweep.cli.common import formatting, kuberay_sentences
from raysweep.cli.plan.command import Row
from raysweep.cli.why import command as why
from raysweep.cli.why.command import Gone
from raysweep.clients.kubernetes.user_client import RayJobEvent
from raysweep.core.assessment import Assessment
from raysweep.core.decide import CHECKS, decide
from raysweep.core.model.facts import DeletionRule, KubeRayCleanup
from raysweep.core.timeline import foresee
from tests.component.test_cli_plan import HOSTILE, documented, paths
from tests.support.assessments import EXAMPLES
from tests.support.builders import (
    DUE,
    END,
    a_probe,
    a_rayjob,
    a_silent_probe,
    a_submission,
    an_assessment,
    says,
)

EVERY_REASON = [
    pytest.param(assessment, assessment.now, id=reason) for reason, assessment in EXAMPLES.items()
]
CLUSTER_GOES = "It deletes the RayCluster"
INSTEAD = " (the RayJob instead, where KubeRay runs with DELETE_RAYJOB_CR_AFTER_JOB_FINISHES=true)"


def _row(assessment: Assessment, now: datetime) -> Row:
    return Row(foresee(replace(assessment, now=now)))


def _text(assessment: Assessment, now: datetime) -> str:
    return "\n".join(why.as_text(_row(assessment, now), now))


@pytest.mark.parametrize(("assessment", "now"), EVERY_REASON)
def test_every_reason_is_told_with_what_it_means_what_it_rests_on_and_what_to_do(
    assessment: Assessment, now: datetime
) -> None:
    row = _row(assessment, now)
    told = row.timeline.explanation
    text = _text(assessment, now)
    for part in (
        told.reason,
        told.reason.description,
        told.reason.hint,
        formatting.safe(told.message),
    ):
        assert part in text
    for said in (told.ttl, told.cluster_ttl):
        assert said is None or formatting.safe(said.source) in text


@pytest.mark.parametrize(("assessment", "now"), EVERY_REASON)
def test_the_rungs_are_the_ladder_and_one_of_them_decided(
    assessment: Assessment, now: datetime
) -> None:
    now_decided = decide(replace(assessment, now=now)).explanation
    rungs = why.as_json(_row(assessment, now), now)["checks"]
    assert [rung["check"] for rung in rungs] == [check.__name__ for check in CHECKS]
    answers = [rung["answer"] for rung in rungs]
    decided = answers.index("decided")
    assert rungs[decided]["check"] == now_decided.check
    assert answers == ["passed"] * decided + ["decided"] + ["not reached"] * (
        len(CHECKS) - decided - 1
    )


@pytest.mark.parametrize(
    ("assessment", "now", "first"),
    [
        pytest.param(
            an_assessment(), DUE - timedelta(minutes=12),
            "RayJob team-a/train waits: NotDue. Then goes RayJob train and RayCluster train-cluster, in 12m, "
            "at 2026-11-22T19:00:00Z at the earliest", id="later",
        ),
        pytest.param(
            an_assessment(), DUE,
            "RayJob team-a/train is due: Expired. RayJob train and RayCluster train-cluster goes unless its Ray head has "
            "something against it (not asked)", id="due",
        ),
        pytest.param(
            an_assessment(probe=a_probe()), DUE,
            "RayJob team-a/train goes now: Expired. That is RayJob train and RayCluster train-cluster", id="asked",
        ),
        pytest.param(an_assessment(rayjob=a_rayjob(annotations={})), DUE, "RayJob team-a/train stays: NoTTL", id="stays"),
    ],
)  # fmt: skip
def test_the_answer_stands_in_the_first_line(
    assessment: Assessment, now: datetime, first: str
) -> None:
    assert _text(assessment, now).splitlines()[0] == first


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Row(foresee(replace(an_assessment(), now=DUE))), "no, because of --no-ask"),
        (
            Row(foresee(replace(an_assessment(), now=END))),
            "no, that is for later: a guard before it decided",
        ),
        (
            Row(foresee(replace(an_assessment(), now=DUE)), failed="403"),
            "no, it could not be looked at: 403",
        ),
        (
            Row(foresee(replace(an_assessment(probe=a_silent_probe("refused")), now=DUE))),
            "yes, as you, and it gave no usable answer: refused",
        ),
        (
            Row(foresee(replace(an_assessment(probe=a_probe()), now=DUE))),
            "yes: terminal, 'train-x7k2p' is SUCCEEDED",
        ),
        (
            Row(
                foresee(
                    replace(
                        an_assessment(probe=a_probe(a_submission(), a_submission("FAILED", "x"))),
                        now=DUE,
                    )
                )
            ),
            "yes: terminal, 'train-x7k2p' is SUCCEEDED; 1 other entries",
        ),
        (
            Row(
                foresee(
                    replace(
                        an_assessment(probe=replace(a_probe(), cluster=None, head=None)), now=DUE
                    )
                )
            ),
            "there is none: no RayCluster, or one that is going or is not this RayJob's",
        ),
    ],
)
def test_what_the_head_said(row: Row, said: str) -> None:
    assert f"  asked  {said}" in why.as_text(row, DUE)


def _kuberay_cleanup(*, deployment: str = "Complete", job: str = "SUCCEEDED", **fields: Any) -> Any:
    return a_rayjob(
        deployment_status=deployment, job_status=job, kuberay_cleanup=KubeRayCleanup(**fields)
    )


RULES = (
    DeletionRule("DeleteCluster", 60, job_status="FAILED"),
    DeletionRule("DeleteSelf", 3600, job_status="FAILED"),
)
TOLD_RULES = (
    "spec.deletionStrategy ('DeleteCluster' 1m after 'FAILED', 'DeleteSelf' 1h after 'FAILED')"
)


@pytest.mark.parametrize(
    ("rayjob", "words"),
    [
        pytest.param(
            _kuberay_cleanup(),
            ["Nothing: spec.shutdownAfterJobFinishes is not set."],
            id="nothing set",
        ),
        pytest.param(
            _kuberay_cleanup(shutdown=True, seconds=3600),
            [
                f"{CLUSTER_GOES} at 2026-11-22T19:00:02Z (in 59m1s): "
                f"shutdownAfterJobFinishes, ttlSecondsAfterFinished 3600{INSTEAD}."
            ],
            id="shutdown with a TTL",
        ),
        pytest.param(
            _kuberay_cleanup(shutdown=True),
            [
                f"{CLUSTER_GOES} since 2026-11-22T18:00:02Z, if it runs and the cluster is there: "
                f"shutdownAfterJobFinishes, ttlSecondsAfterFinished 0{INSTEAD}."
            ],
            id="shutdown at once",
        ),
        pytest.param(
            _kuberay_cleanup(has_strategy=True, rules=RULES, deployment="Failed", job="FAILED"),
            [
                f"It deletes the RayJob, and with it the RayCluster, at 2026-11-22T19:00:02Z (in 59m1s): {TOLD_RULES}.",
                f"{CLUSTER_GOES} at 2026-11-22T18:01:02Z (in 1s): {TOLD_RULES}.",
            ],
            id="rules",
        ),
        pytest.param(
            _kuberay_cleanup(has_strategy=True, rules=RULES, job="STOPPED"),
            [
                f"Nothing: {TOLD_RULES} deletes no RayCluster or RayJob at jobStatus 'STOPPED', jobDeploymentStatus 'Complete'."
            ],
            id="rules that name another outcome",
        ),
        pytest.param(
            _kuberay_cleanup(has_strategy=True, on_success="DeleteSelf", on_failure="DeleteNone"),
            [
                "It deletes the RayJob, and with it the RayCluster, since 2026-11-22T18:00:02Z, if it runs and the cluster is "
                "there: spec.deletionStrategy (onSuccess 'DeleteSelf', onFailure 'DeleteNone')."
            ],
            id="the older form",
        ),
        pytest.param(
            _kuberay_cleanup(has_strategy=True, policy="DeleteNone"),
            [
                "Nothing: spec.deletionPolicy 'DeleteNone' deletes no RayCluster or RayJob at jobStatus 'SUCCEEDED', "
                "jobDeploymentStatus 'Complete'."
            ],
            id="the oldest form",
        ),
        pytest.param(
            replace(_kuberay_cleanup(shutdown=True), has_selector=True),
            [
                "Nothing: with spec.clusterSelector KubeRay deletes neither RayJob nor RayCluster, whatever else the spec says."
            ],
            id="a selected cluster",
        ),
        pytest.param(
            _kuberay_cleanup(shutdown=True, deployment="ValidationFailed"),
            ["Nothing: KubeRay acts on ValidationFailed no more."],
            id="invalid",
        ),
        pytest.param(
            _kuberay_cleanup(shutdown=True, seconds=90, deployment="Running", job="RUNNING"),
            [
                "Nothing yet: it cleans up once the job is Complete or Failed. Then: the RayCluster goes 1m30s after the end, "
                f"{INSTEAD[2:-1]}."
            ],
            id="running",
        ),
        pytest.param(
            replace(_kuberay_cleanup(shutdown=True), managed_by="kueue.x-k8s.io/multikueue"),
            [
                "Nothing: spec.managedBy is 'kueue.x-k8s.io/multikueue', so KubeRay leaves it to that."
            ],
            id="managed elsewhere",
        ),
        pytest.param(
            replace(_kuberay_cleanup(shutdown=True), deleting_since=END),
            [
                "It is being deleted: KubeRay stops the job if it still runs, and takes its finalizer off."
            ],
            id="being deleted",
        ),
        pytest.param(
            replace(_kuberay_cleanup(shutdown=True), end_time=None),
            ["Nothing: the status has no endTime."],
            id="no end",
        ),
        pytest.param(
            replace(_kuberay_cleanup(), unreadable="spec: odd"),
            ["Unknown: the RayJob cannot be read."],
            id="unreadable",
        ),
    ],
)
def test_what_kuberay_will_do_by_itself(rayjob: Any, words: list[str]) -> None:
    assert kuberay_sentences.words(rayjob, END + timedelta(seconds=61)) == words


def test_a_keep_of_ours_does_not_bind_kuberay() -> None:
    kept = says(ttl="1h", keep_until="2026-11-23T18:00:00Z")
    job = replace(_kuberay_cleanup(shutdown=True, seconds=3600), annotations=kept)
    assert (
        "raysweep.io/keep-until does not bind KubeRay: it deletes before 2026-11-23T18:00:00Z."
        in _text(an_assessment(rayjob=job), DUE)
    )


def test_the_outcome_that_is_written_down_first_is_told() -> None:
    job = a_rayjob(annotations=says(ttl="1d", cluster_ttl="1h"))
    text = _text(
        an_assessment(rayjob=job, probe=a_probe(a_submission("FAILED"))), DUE + timedelta(hours=1)
    )
    assert "raysweep.io/outcome: failed" in text


TOLD = RayJobEvent(
    END, "uid-train", "Normal", "Expired", "Deleted RayJob train and RayCluster train-cluster."
)
QUERY = "kubectl -n raysweep logs deploy/raysweep | grep -F train"


def test_of_a_rayjob_that_is_gone_events_tell() -> None:
    text = why.gone_text(Gone("team-a/train", (TOLD,), QUERY))
    assert text[0] == "There is no RayJob team-a/train."
    assert (
        "  2026-11-22T18:00:00Z  Expired  Deleted RayJob train and RayCluster train-cluster."
        in text
    )
    assert text[-1] == f"  {QUERY}"


def test_without_events_the_query_is_what_is_left() -> None:
    text = why.gone_text(Gone("team-a/train", (), QUERY))
    assert "Raysweep has no Event about it." in text[2]
    assert text[-1] == f"  {QUERY}"


def test_events_that_may_not_be_read_are_named() -> None:
    assert "Events cannot be read: 403 events is forbidden" in why.gone_text(
        Gone("team-a/train", (), QUERY, "403 events is forbidden")
    )


@pytest.mark.parametrize(
    "told", [replace(TOLD, reason=HOSTILE), replace(TOLD, note=HOSTILE)], ids=["reason", "note"]
)
def test_an_event_that_somebody_forged_reaches_no_terminal(told: RayJobEvent) -> None:
    gone = Gone("team-a/train", (told,), QUERY)
    printed = [
        "\n".join(why.gone_text(gone)),
        formatting.serialized(why.gone_json(gone, DUE), "json"),
    ]
    assert {
        c
        for text in printed
        for c in text
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    } == {"\n"}


def test_every_field_is_documented_and_every_documented_field_is_there() -> None:
    there = why.as_json(_row(an_assessment(), END), END)
    gone = why.gone_json(Gone("team-a/train", (TOLD,), QUERY), DUE)
    assert json.loads(json.dumps([there, gone])) == [there, gone]
    found = (paths(there) - documented("Items")) | (paths(gone) - {"namespace", "name"})
    assert found | {"checks"} == documented("Why") | {"checks"}
    assert paths(there) >= documented("Items")
