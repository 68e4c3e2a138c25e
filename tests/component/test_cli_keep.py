"""`raysweep keep` without a cluster: which times it accepts, and what it reports."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import click
import pytest

from raysweep.cli.common import formatting, kuberay_sentences
from raysweep.cli.keep import report
from raysweep.cli.keep.report import KeptRayJob
from raysweep.cli.keep.run import parse_until
from raysweep.core.assessment import Assessment
from raysweep.core.model.facts import KubeRayCleanup, RayJob
from raysweep.core.retention.resolve import Sources
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    a_namespace,
    a_policy,
    a_raycluster,
    a_rayjob,
    a_running,
    an_assessment,
    says,
    written,
)
from tests.support.cli import HOSTILE_TEXT, control_characters, documented_fields, json_paths

NOW = END + timedelta(minutes=1)
DAY = 24 * HOUR
UNTIL = datetime(2026, 11, 25, 18, tzinfo=UTC)
A_TTL = KubeRayCleanup(shutdown=True, seconds=3600)
SHUTDOWN = KubeRayCleanup(shutdown=True)
SELF_ON_FAILURE = KubeRayCleanup(has_strategy=True, on_failure="DeleteSelf", seconds=60)


def test_a_duration_counts_from_now_and_is_rounded_up_to_whole_seconds() -> None:
    times = {
        "3d": "2026-11-25T18:01:01Z",
        "90": "2026-11-22T18:02:31Z",
        "1h30m": "2026-11-22T19:31:01Z",
        "0.1s": "2026-11-22T18:01:01Z",
        "2026-12-24T18:00:00Z": "2026-12-24T18:00:00Z",
        "2026-12-24T19:00:00+01:00": "2026-12-24T18:00:00Z",
        "2026-12-24T18:00:00.001Z": "2026-12-24T18:00:01Z",
        "9999-12-31T23:59:59.5Z": "9999-12-31T23:59:59Z",
    }
    assert {text: written(parse_until(text, NOW)) for text in times} == times


def test_other_texts_are_refused_with_a_hint() -> None:
    hints = {
        "never": "use a long duration",
        "0": "is not in the future",
        "0s": "is not in the future",
        "2026-11-22T18:01:00Z": "is not in the future",
        "101w1d0.5y": "use 3d, 1h30m",
        "5300w": "use 3d, 1h30m",  # above 100 years
        "tomorrow": "use 3d, 1h30m",
        "2026-12-24": "an RFC 3339 time with its zone",
        "2026-12-24T18:00:00": "an RFC 3339 time with its zone",
        "-3d": "use 3d, 1h30m",
        "": "use 3d, 1h30m",
        "\x1b[2J": " [2J",
    }
    for text, hint in hints.items():
        with pytest.raises(click.BadParameter, match=re.escape(hint)):
            parse_until(text, NOW)


def deletes_early(job: RayJob, until: datetime = UNTIL, *, has_cluster: bool = True) -> bool:
    return kuberay_sentences.deletes_before(job, until, NOW, has_cluster=has_cluster)


def test_whether_kuberay_deletes_a_finished_rayjob_earlier() -> None:
    deadline = END + HOUR + timedelta(seconds=2)
    with_ttl = a_rayjob(kuberay_cleanup=A_TTL)
    assert deletes_early(with_ttl, deadline + timedelta(microseconds=1))
    assert not deletes_early(with_ttl, deadline)
    assert not deletes_early(a_rayjob())
    assert deletes_early(a_rayjob(kuberay_cleanup=SHUTDOWN)), "KubeRay is late"
    failure = {"job_status": "FAILED", "deployment_status": "Failed"}
    assert not deletes_early(a_rayjob(kuberay_cleanup=SELF_ON_FAILURE)), "another outcome"
    assert deletes_early(a_rayjob(kuberay_cleanup=SELF_ON_FAILURE, **failure), has_cluster=False)


def test_whether_kuberay_deletes_a_rayjob_without_a_raycluster_earlier() -> None:
    with_ttl = a_rayjob(kuberay_cleanup=A_TTL)
    assert deletes_early(with_ttl, has_cluster=False), "it may delete the RayJob instead"
    at_once = a_rayjob(kuberay_cleanup=SHUTDOWN)
    assert not deletes_early(at_once, has_cluster=False), "it has deleted the RayCluster only"


def test_whether_kuberay_deletes_a_running_rayjob_earlier() -> None:
    """The job may end now, with any outcome."""
    assert deletes_early(a_running(kuberay_cleanup=A_TTL))
    assert not deletes_early(a_running(kuberay_cleanup=A_TTL), NOW + HOUR + timedelta(seconds=2))
    assert deletes_early(a_running(kuberay_cleanup=SELF_ON_FAILURE))
    assert not deletes_early(a_running())
    keeps_cluster = KubeRayCleanup(
        has_strategy=True, on_success="DeleteNone", on_failure="DeleteWorkers"
    )
    assert not deletes_early(a_running(kuberay_cleanup=keeps_cluster))
    oldest_form = KubeRayCleanup(has_strategy=True, policy="DeleteCluster")
    assert deletes_early(a_running(kuberay_cleanup=oldest_form))
    forever = KubeRayCleanup(shutdown=True, seconds=10**18)
    assert not deletes_early(a_running(kuberay_cleanup=forever))


def test_what_kuberay_ignores_is_not_deleted_earlier() -> None:
    for ignored in (
        {"has_selector": True},
        {"managed_by": "kueue.x-k8s.io/multikueue"},
        {"deployment_status": "ValidationFailed"},
        {"unreadable": "spec: odd"},
    ):
        assert not deletes_early(a_rayjob(kuberay_cleanup=A_TTL, **ignored)), ignored


def kept(
    assessment: Assessment,
    until: datetime | None = UNTIL,
    *,
    now: datetime = NOW,
    reason: str = "",
    problem: str = "",
) -> KeptRayJob:
    """What `keep` has read after it has written the hold."""
    annotations = dict(assessment.rayjob.annotations)
    if until:
        annotations |= says(keep_until=written(until))
    if reason:
        annotations |= says(keep_reason=reason)
    rayjob = replace(assessment.rayjob, annotations=annotations)
    assessment = replace(assessment, rayjob=rayjob, now=now)
    is_known = assessment.namespace is not None and assessment.policies is not None
    sources = assessment.sources if is_known else Sources(rayjob, a_namespace())
    if problem:
        return KeptRayJob(rayjob, until, sources, problem=problem)
    return KeptRayJob(rayjob, until, sources, assessment=assessment)


LIMITED = (a_policy("bounds", times={"limits.keep.max": DAY}),)
KEPT_BY_NAMESPACE = a_namespace(keep_until="2027-01-01T00:00:00Z")
HELD = "RayJob team-a/train is kept until 2026-11-25T18:00:00Z (in 2d23h)"
NO_HOLD = "RayJob team-a/train has no hold of its own anymore"


def test_the_first_line_and_the_exit_code_of_a_hold() -> None:
    assert report.as_text(kept(an_assessment()), NOW)[0] == HELD
    with_reason = kept(an_assessment(), reason="it's odd")
    assert report.as_text(with_reason, NOW)[0] == f"{HELD}, because 'it's odd'"
    for effective in (
        kept(an_assessment()),
        kept(an_assessment(rayjob=a_running())),
        kept(an_assessment(namespace=None)),
        kept(an_assessment(), problem="403"),
    ):
        assert report.as_text(effective, NOW)[0] == HELD
        assert report.exit_code(effective, NOW) == 0


def test_a_limit_that_ends_the_hold_earlier() -> None:
    limited = kept(an_assessment(policies=LIMITED))
    line = report.as_text(limited, NOW)[0]
    assert line.startswith("RayJob team-a/train is kept until 2026-11-23T19:00:00Z (in 1d), not ")
    assert "RayJobCleanupPolicy bounds spec.limits.keep.max" in line
    assert report.exit_code(limited, NOW) == 0


def test_a_limit_that_has_passed() -> None:
    limited = kept(an_assessment(policies=LIMITED), now=DUE + DAY)
    line = report.as_text(limited, DUE + DAY)[0]
    assert line.startswith("RayJob team-a/train is not kept until 2026-11-25T18:00:00Z")
    assert line.endswith("which ended at 2026-11-23T19:00:00Z")
    assert report.exit_code(limited, DUE + DAY) == 1


def test_a_namespace_that_keeps_the_rayjob_longer() -> None:
    longer = kept(an_assessment(namespace=KEPT_BY_NAMESPACE))
    by_namespace = "; its Namespace keeps it until 2027-01-01T00:00:00Z"
    assert report.as_text(longer, NOW)[0] == f"{HELD}{by_namespace}"
    cleared = kept(an_assessment(namespace=KEPT_BY_NAMESPACE), None)
    assert report.as_text(cleared, NOW)[0] == f"{NO_HOLD}{by_namespace}"
    assert report.exit_code(longer, NOW) == report.exit_code(cleared, NOW) == 0


def test_a_hold_that_kuberay_ignores() -> None:
    for rayjob in (a_rayjob(kuberay_cleanup=A_TTL), a_running(kuberay_cleanup=A_TTL)):
        ignored = kept(an_assessment(rayjob=rayjob))
        assert report.as_text(ignored, NOW)[0] == HELD
        assert report.exit_code(ignored, NOW) == 3


def test_a_cleared_hold() -> None:
    for rayjob in (a_rayjob(), a_rayjob(kuberay_cleanup=A_TTL)):
        cleared = kept(an_assessment(rayjob=rayjob), None)
        lines = report.as_text(cleared, NOW)
        assert lines[0] == NO_HOLD
        assert "Raysweep now" in lines
        assert report.exit_code(cleared, NOW) == 0


def test_the_whole_answer_and_the_command_in_its_last_line() -> None:
    rayjob = a_rayjob(annotations=says(ttl="2h"), kuberay_cleanup=A_TTL)
    lines = report.as_text(kept(an_assessment(rayjob=rayjob)), NOW)
    titles = [line for line in lines if line and not line.startswith(" ")]
    assert titles == [
        HELD,
        "Raysweep without the hold",
        "KubeRay on its own",
        "KubeRay ignores raysweep.io/keep-until and deletes before 2026-11-25T18:00:00Z.",
        "To leave the deletion to Raysweep, with the same TTLs, run:",
    ]
    assert lines[3].startswith("  It waits: NotDue. Raysweep deletes RayJob train and RayCluster")
    assert lines[3].endswith("(ttl 2h, annotation raysweep.io/ttl).")
    assert lines[6].startswith("  It deletes the RayCluster at 2026-11-22T19:00:02Z")
    patch = (
        '{"metadata":{"uid":"uid-train"},'
        '"spec":{"shutdownAfterJobFinishes":false,"ttlSecondsAfterFinished":0}}'
    )
    assert lines[-1] == f"  kubectl patch rayjob train -n team-a --type merge -p '{patch}'"


def test_what_else_the_answer_says() -> None:
    queued = {"labels": {"kueue.x-k8s.io/queue-name": "team"}}
    answers = [
        (a_rayjob(annotations=says(ttl="1w")), "it changes nothing now"),
        (a_running(), "It is kept: NotFinished (jobDeploymentStatus is 'Running')."),
        (a_running(), "When the job has ended, RayJobCleanupPolicy bounds spec.limits.keep.max"),
        (a_running(kuberay_cleanup=A_TTL), "It may delete as soon as the job has ended"),
        (a_rayjob(kuberay_cleanup=A_TTL, **queued), "To postpone KubeRay's deletion"),
    ]
    for rayjob, sentence in answers:
        policies = LIMITED if "limits" in sentence else ()
        lines = report.as_text(kept(an_assessment(rayjob=rayjob, policies=policies)), NOW)
        assert sentence in "\n".join(lines)
    failed = report.as_text(kept(an_assessment(), problem="403 no"), NOW)
    assert "Not everything could be read: 403 no" in failed


@pytest.mark.parametrize(
    "hostile",
    [
        kept(an_assessment(), reason=HOSTILE_TEXT),
        kept(an_assessment(rayjob=a_rayjob(managed_by=HOSTILE_TEXT))),
        kept(an_assessment(rayjob=a_rayjob(annotations=says(ttl=HOSTILE_TEXT)))),
        kept(an_assessment(), problem=HOSTILE_TEXT),
    ],
    ids=["reason", "manager", "ttl", "problem"],
)
def test_foreign_text_does_not_control_a_terminal(hostile: KeptRayJob) -> None:
    document = formatting.serialized(report.as_json(hostile, NOW), "json")
    assert control_characters("\n".join(report.as_text(hostile, NOW)), document) == set()


def test_the_documented_fields_are_the_fields() -> None:
    rayjob = a_rayjob(kuberay_cleanup=A_TTL)
    limited = an_assessment(rayjob=rayjob, policies=LIMITED)
    body = report.as_json(kept(limited, reason="to debug it"), NOW)
    assert json.loads(json.dumps(body)) == body
    assert json_paths(body) == documented_fields("Keep")
    assert (body["keepReason"], body["kuberayDeletesBefore"]) == ("to debug it", True)
    assert body["endsAt"] == "2026-11-23T19:00:00Z"
    cluster = {"kind": "RayCluster", "name": "train-cluster", "uid": a_raycluster().uid}
    assert body["withoutHold"]["deletes"][1] == cluster
