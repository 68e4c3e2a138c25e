"""`raysweep why` without a cluster: the explanation, KubeRay's own cleanup, absent RayJobs."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from raysweep.cli.common import formatting, kuberay_sentences
from raysweep.cli.common.rayjob_row import RayJobRow
from raysweep.cli.why import gone, report
from raysweep.cli.why.gone import GoneRayJob
from raysweep.clients.kubernetes.user_client import RayJobEvent
from raysweep.core.assessment import Assessment
from raysweep.core.decide import CHECKS, decide
from raysweep.core.model.decisions import Delete, Explanation, Keep, ProbeHead, Wait
from raysweep.core.model.facts import DeletionRule, KubeRayCleanup, RayJob
from raysweep.core.model.reasons import Reason
from raysweep.core.timeline import Step, Timeline, foresee
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
from tests.support.cli import HOSTILE_TEXT, control_characters, documented_fields, json_paths

TTL = "RayJob team-a/train annotation raysweep.io/ttl"


def row(assessment: Assessment, now: datetime = DUE) -> RayJobRow:
    return RayJobRow(foresee(replace(assessment, now=now)))


def text(assessment: Assessment, now: datetime = DUE) -> str:
    return "\n".join(report.as_text(row(assessment, now), now))


def test_every_reason_is_shown_with_description_message_and_hint() -> None:
    for reason in Reason:
        explanation = Explanation(CHECKS[0].__name__, reason, f"message of {reason}")
        timeline = Timeline(an_assessment(), (Step(DUE, Keep(explanation)),))
        lines = "\n".join(report.as_text(RayJobRow(timeline), DUE))
        for part in (reason, reason.description, reason.hint, explanation.message):
            assert part in lines, reason


def test_the_ttls_are_shown_with_their_sources() -> None:
    assessment = an_assessment(rayjob=a_rayjob(annotations=says(ttl="1d", cluster_ttl="1h")))
    lines = text(assessment)
    assert f"ttl          1d, {TTL}" in lines
    assert "cluster-ttl  1h, RayJob team-a/train annotation raysweep.io/cluster-ttl" in lines


def test_the_checks_before_the_deciding_one_have_passed() -> None:
    names = [check.__name__ for check in CHECKS]
    for position, name in enumerate(names):
        explanation = Explanation(name, Reason.NO_TTL, "")
        timeline = Timeline(an_assessment(), (Step(DUE, Keep(explanation)),))
        checks = report.as_json(RayJobRow(timeline), DUE)["checks"]
        assert [check["check"] for check in checks] == names
        not_reached = ["not reached"] * (len(names) - position - 1)
        assert [check["answer"] for check in checks] == [
            *["passed"] * position,
            "decided",
            *not_reached,
        ]


def test_the_deciding_check_is_the_one_of_the_decision() -> None:
    for assessment, now in ((an_assessment(), END), (an_assessment(), DUE)):
        checks = report.as_json(row(assessment, now), now)["checks"]
        deciding = [check["check"] for check in checks if check["answer"] == "decided"]
        assert deciding == [decide(replace(assessment, now=now)).explanation.check]


def test_the_first_line_is_the_verdict() -> None:
    objects = "RayJob train and RayCluster train-cluster"
    soon = text(an_assessment(), DUE - timedelta(minutes=12)).splitlines()[0]
    assert soon == (
        f"RayJob team-a/train waits: NotDue. Raysweep deletes {objects} in 12m, "
        "at 2026-11-22T19:00:00Z at the earliest"
    )
    not_asked = text(an_assessment()).splitlines()[0]
    assert not_asked.startswith(f"RayJob team-a/train is due: Expired. Raysweep deletes {objects}")
    assert not_asked.endswith("(the head was not asked)")
    asked = text(an_assessment(probe=a_probe())).splitlines()[0]
    assert asked == f"RayJob team-a/train is due: Expired. Raysweep deletes {objects} now"
    kept = text(an_assessment(rayjob=a_rayjob(annotations={}))).splitlines()[0]
    assert kept == "RayJob team-a/train is kept: NoTTL"


def test_the_answer_of_the_head() -> None:
    two = a_probe(a_submission(), a_submission("FAILED", "x"))
    without_head = replace(a_probe(), cluster=None, head=None)
    answers = [
        (row(an_assessment()), "no, because of --no-ask"),
        (row(an_assessment(), END), "no, not needed yet"),
        (replace(row(an_assessment()), probe_error="403"), "no, the probe failed: 403"),
        (
            row(an_assessment(probe=a_silent_probe("refused"))),
            "yes, with your rights, without a usable answer: refused",
        ),
        (row(an_assessment(probe=a_probe())), "yes: terminal, 'train-x7k2p' is SUCCEEDED"),
        (
            row(an_assessment(probe=two)),
            "yes: terminal, 'train-x7k2p' is SUCCEEDED, 1 other entries",
        ),
        (row(an_assessment(probe=without_head)), "no, the RayCluster does not exist"),
    ]
    for answered, answer in answers:
        line = next(line for line in report.as_text(answered, DUE) if line.startswith("  asked  "))
        assert line.removeprefix("  asked  ").startswith(answer)


def test_later_steps_are_shown() -> None:
    explanation = Explanation("expired", Reason.EXPIRED, "message")
    steps = (
        Step(END, Wait(DUE, explanation)),
        Step(DUE, ProbeHead(explanation)),
        Step(DUE, Delete((), explanation)),
    )
    lines = report.as_text(RayJobRow(Timeline(an_assessment(), steps)), END)
    assert "  2026-11-22T19:00:00Z  expired: asks the Ray head" in lines
    assert "  2026-11-22T19:00:00Z  expired: deletes , Expired" in lines


def finished(*, deployment: str = "Complete", job: str = "SUCCEEDED", **cleanup: Any) -> RayJob:
    return a_rayjob(
        deployment_status=deployment, job_status=job, kuberay_cleanup=KubeRayCleanup(**cleanup)
    )


RULES = (
    DeletionRule("DeleteCluster", 60, job_status="FAILED"),
    DeletionRule("DeleteSelf", 3600, job_status="FAILED"),
)
RULES_TEXT = (
    "spec.deletionStrategy ('DeleteCluster' 1m after 'FAILED', 'DeleteSelf' 1h after 'FAILED')"
)
AT_STATUS = "at jobStatus '{}', jobDeploymentStatus 'Complete'."
INSTEAD = f"({kuberay_sentences.OR_RAYJOB})"
NOW_DUE = "now, due since 2026-11-22T18:00:02Z (if it still exists)"
KUBERAY = [
    (finished(), ["Nothing: spec.shutdownAfterJobFinishes is not set."]),
    (
        finished(shutdown=True, seconds=3600),
        [
            "It deletes the RayCluster at 2026-11-22T19:00:02Z (in 59m1s): "
            f"shutdownAfterJobFinishes, ttlSecondsAfterFinished 3600 {INSTEAD}."
        ],
    ),
    (
        finished(shutdown=True),
        [
            f"It deletes the RayCluster {NOW_DUE}: shutdownAfterJobFinishes, "
            f"ttlSecondsAfterFinished 0 {INSTEAD}."
        ],
    ),
    (
        finished(has_strategy=True, rules=RULES, deployment="Failed", job="FAILED"),
        [
            "It deletes the RayJob, and with it the RayCluster, at 2026-11-22T19:00:02Z (in "
            f"59m1s): {RULES_TEXT}.",
            f"It deletes the RayCluster at 2026-11-22T18:01:02Z (in 1s): {RULES_TEXT}.",
        ],
    ),
    (
        finished(has_strategy=True, rules=RULES, job="STOPPED"),
        [f"Nothing: {RULES_TEXT} deletes no RayCluster or RayJob {AT_STATUS.format('STOPPED')}"],
    ),
    (
        finished(has_strategy=True, on_success="DeleteSelf", on_failure="DeleteNone"),
        [
            f"It deletes the RayJob, and with it the RayCluster, {NOW_DUE}: "
            "spec.deletionStrategy (onSuccess 'DeleteSelf', onFailure 'DeleteNone')."
        ],
    ),
    (
        finished(has_strategy=True, policy="DeleteNone"),
        [
            "Nothing: spec.deletionPolicy 'DeleteNone' deletes no RayCluster or RayJob "
            f"{AT_STATUS.format('SUCCEEDED')}"
        ],
    ),
    (
        replace(finished(shutdown=True), has_selector=True),
        ["Nothing: KubeRay does not clean up a RayJob with spec.clusterSelector."],
    ),
    (
        finished(shutdown=True, deployment="ValidationFailed"),
        ["Nothing: KubeRay ignores a RayJob with status ValidationFailed."],
    ),
    (
        finished(shutdown=True, seconds=90, deployment="Running", job="RUNNING"),
        [
            "Nothing yet: it cleans up when the job is Complete or Failed. Then: it deletes the "
            f"RayCluster 1m30s after the end, or {kuberay_sentences.OR_RAYJOB}."
        ],
    ),
    (
        replace(finished(shutdown=True), managed_by="kueue.x-k8s.io/multikueue"),
        ["Nothing: spec.managedBy is 'kueue.x-k8s.io/multikueue', so KubeRay ignores it."],
    ),
    (
        replace(finished(shutdown=True), deleting_since=END),
        ["It is being deleted: KubeRay stops the job and removes its finalizer."],
    ),
    (
        replace(finished(shutdown=True), end_time=None),
        ["Nothing: the status has no endTime."],
    ),
    (
        replace(finished(), unreadable="spec: odd"),
        ["Unknown: the RayJob cannot be read."],
    ),
]


def test_what_kuberay_deletes_on_its_own() -> None:
    for rayjob, sentences in KUBERAY:
        assert kuberay_sentences.sentences(rayjob, END + timedelta(seconds=61)) == sentences


def test_kuberay_ignores_a_hold() -> None:
    hold = says(ttl="1h", keep_until="2026-11-23T18:00:00Z")
    job = replace(finished(shutdown=True, seconds=3600), annotations=hold)
    assert "KubeRay ignores raysweep.io/keep-until" in text(an_assessment(rayjob=job))
    assert "raysweep.io/keep-until" not in text(an_assessment(rayjob=replace(job, annotations={})))


def test_the_outcome_that_only_the_head_knows_is_shown() -> None:
    job = a_rayjob(annotations=says(ttl="1d", cluster_ttl="1h"))
    assessment = an_assessment(rayjob=job, probe=a_probe(a_submission("FAILED")))
    lines = text(assessment, DUE + timedelta(hours=1))
    assert "raysweep.io/outcome: failed" in lines


EVENT = RayJobEvent(END, "uid-train", "Normal", "Expired", "Deleted RayJob train.")
QUERY = "kubectl -n raysweep logs deploy/raysweep | grep -F train"
GONE = GoneRayJob("team-a", "train", (EVENT,), QUERY)


def test_an_absent_rayjob_is_explained_by_its_events() -> None:
    lines = gone.as_text(GONE)
    assert lines[0] == "RayJob team-a/train does not exist."
    assert "  2026-11-22T18:00:00Z  Expired  Deleted RayJob train." in lines
    assert lines[-1] == f"  {QUERY}"
    assert gone.as_text(replace(GONE, was_deleted=True))[0] == "RayJob team-a/train was deleted."


def test_without_events_the_log_query_remains() -> None:
    lines = gone.as_text(replace(GONE, events=()))
    assert "Raysweep has no Event about it." in lines[2]
    assert lines[-1] == f"  {QUERY}"


def test_events_that_the_user_may_not_read() -> None:
    lines = gone.as_text(replace(GONE, events=(), problem="403 events is forbidden"))
    assert "Events cannot be read: 403 events is forbidden" in lines


def test_a_forged_event_does_not_control_a_terminal() -> None:
    event = replace(EVENT, reason=HOSTILE_TEXT, note=HOSTILE_TEXT)
    forged = replace(GONE, events=(event,))
    document = formatting.serialized(gone.as_json(forged, DUE), "json")
    assert control_characters("\n".join(gone.as_text(forged)), document) == set()


def test_the_documented_fields_are_the_fields() -> None:
    present = report.as_json(row(an_assessment(), END), END)
    absent = gone.as_json(GONE, DUE)
    assert json.loads(json.dumps([present, absent])) == [present, absent]
    item_fields = documented_fields("Plan items")
    assert json_paths(present) >= item_fields
    of_why = json_paths(present) - item_fields
    of_absent = json_paths(absent) - {"namespace", "name"}
    assert (of_why | of_absent) - {"checks"} == documented_fields("Why")
