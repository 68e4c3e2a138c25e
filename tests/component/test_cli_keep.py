"""`raysweep keep` without a cluster: what it takes for a time, the command that helps against KubeRay, and what it tells."""

import json
import re
import shlex
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep.cli.common import formatting, kuberay_sentences
from raysweep.cli.keep import command as keep
from raysweep.cli.keep import handover_patch
from raysweep.cli.keep.command import Kept, read_when
from raysweep.clients.connection.overrides import Overrides
from raysweep.clients.parsing.rayjob import parse_rayjob
from raysweep.core.assessment import Assessment
from raysweep.core.durations import NEVER, Duration
from raysweep.core.model.facts import KubeRayCleanup, Policy, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.parameters import KubeRayTTL
from raysweep.core.retention import resolve
from raysweep.core.retention.resolve import Sources
from sandbox import rayjobs
from tests.component.test_cli_plan import HOSTILE, documented, paths
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    Body,
    a_namespace,
    a_policy,
    a_raycluster,
    a_rayjob,
    a_running,
    an_assessment,
    rayjob_json,
    says,
    written,
)
from tests.support.strategies import many

NOW = END + timedelta(minutes=1)
DAY = 24 * HOUR
UNTIL = datetime(2026, 11, 25, 18, tzinfo=UTC)  # three days after the end
PAST_IT = 3 * 86400 + 60
"""Seconds from the end of the job to a minute after UNTIL."""


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("3d", "2026-11-25T18:01:01Z"),
        ("90", "2026-11-22T18:02:31Z"),
        ("1h30m", "2026-11-22T19:31:01Z"),
        ("0.1s", "2026-11-22T18:01:01Z"),
        ("2026-12-24T18:00:00Z", "2026-12-24T18:00:00Z"),
        ("2026-12-24T19:00:00+01:00", "2026-12-24T18:00:00Z"),
        ("2026-12-24T18:00:00.001Z", "2026-12-24T18:00:01Z"),
        ("9999-12-31T23:59:59.5Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_a_duration_counts_from_now_and_whole_seconds_are_never_too_early(
    text: str, until: str
) -> None:
    assert written(read_when(text, NOW)) == until


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("never", "write a time far ahead"),
        ("0", "no time to come"),
        ("0s", "no time to come"),
        ("2026-11-22T18:01:00Z", "no time to come"),
        ("101w1d0.5y", "write 3d, 1h30m"),
        ("5300w", "write 3d, 1h30m"),  # above 100 years
        ("tomorrow", "write 3d, 1h30m"),
        ("2026-12-24", "an RFC 3339 time with its zone"),
        ("2026-12-24T18:00:00", "an RFC 3339 time with its zone"),
        ("-3d", "write 3d, 1h30m"),
        ("", "write 3d, 1h30m"),
        ("\x1b[2J", "' [2J'"),
    ],
)
def test_what_is_no_time_to_come_is_refused_with_what_would_be(text: str, hint: str) -> None:
    with pytest.raises(click.BadParameter, match=re.escape(hint)):
        read_when(text, NOW)


def merged(body: Any, patch: Mapping[str, Any]) -> Any:
    """RFC 7386, as the API server applies a merge patch."""
    found = dict(body) if isinstance(body, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value) if isinstance(value, Mapping) else value
    return found


RUNS = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "endTime": None}
SHUTDOWN: Body = {"shutdownAfterJobFinishes": True}
FOR_AN_HOUR: Body = SHUTDOWN | {"ttlSecondsAfterFinished": 3600}
OFF: Body = {"shutdownAfterJobFinishes": False, "ttlSecondsAfterFinished": 0}
QUEUED = {"kueue.x-k8s.io/queue-name": "team"}


def rules(*each: tuple[str, str, int]) -> Body:
    """(status, policy, seconds); the status Failed is a jobDeploymentStatus."""
    conditions = (
        {"jobDeploymentStatus" if word == "Failed" else "jobStatus": word, "ttlSeconds": s}
        for word, _, s in each
    )
    told = [
        {"policy": policy, "condition": one}
        for (_, policy, _), one in zip(each, conditions, strict=True)
    ]
    return {"deletionStrategy": {"deletionRules": told}}


def older(on_success: str, on_failure: str) -> Body:
    return {
        "deletionStrategy": {
            "onSuccess": {"policy": on_success},
            "onFailure": {"policy": on_failure},
        }
    }


FORMS = [
    pytest.param(FOR_AN_HOUR, {}, {}, OFF, says(ttl="1h"), id="shutdown with a TTL"),
    pytest.param(SHUTDOWN, {}, {}, OFF, says(cluster_ttl="0s"), id="shutdown alone says nothing of the record"),
    pytest.param(FOR_AN_HOUR, {}, RUNS, OFF, says(ttl="1h"), id="a job that still runs"),
    pytest.param(FOR_AN_HOUR, {"annotations": says(ttl="1d")}, {}, OFF, {}, id="its own ttl counts already"),
    pytest.param(
        FOR_AN_HOUR, {"annotations": says(cluster_ttl="10m")}, {}, OFF, says(ttl="1h"), id="its own cluster-ttl counts already"
    ),
    pytest.param(
        FOR_AN_HOUR, {"annotations": says(ttl_failed="2w")}, {}, OFF, says(ttl_succeeded="1h", ttl_stopped="1h"),
        id="its own ttl-failed counts already, and the others are the spec's",
    ),
    pytest.param(
        SHUTDOWN, {"annotations": says(ttl_failed="2w")}, {}, OFF, says(cluster_ttl_succeeded="0s", cluster_ttl_stopped="0s"),
        id="its own ttl-failed sets both times of a failure",
    ),
    pytest.param(FOR_AN_HOUR, {"annotations": says(ttl="soon")}, {}, OFF, {}, id="its own ttl is malformed, so never"),
    pytest.param(FOR_AN_HOUR, {"annotations": says(tll="1h")}, {}, OFF, {}, id="a misspelt key may be any of them"),
    pytest.param(
        rules(("SUCCEEDED", "DeleteSelf", 60)), {}, {}, {"deletionStrategy": None}, says(ttl_succeeded="1m"), id="one rule"
    ),
    pytest.param(
        rules(("SUCCEEDED", "DeleteCluster", 60), ("SUCCEEDED", "DeleteSelf", 3600), ("FAILED", "DeleteCluster", 86400)),
        {}, {}, {"deletionStrategy": None},
        says(ttl_succeeded="1h", cluster_ttl_succeeded="1m", cluster_ttl_failed="1d"), id="rules in stages",
    ),
    pytest.param(
        rules(("SUCCEEDED", "DeleteNone", 0), ("FAILED", "DeleteWorkers", 0), ("FAILED", "DeleteSelf", 60)), {}, {},
        {"deletionStrategy": None}, says(ttl_succeeded="never", ttl_failed="1m"), id="a rule that keeps, and one of workers",
    ),
    pytest.param(
        rules(("SUCCEEDED", "DeleteCluster", 0), ("Failed", "DeleteCluster", 60)), {}, RUNS, {"deletionStrategy": None},
        says(cluster_ttl_succeeded="0s", cluster_ttl_failed="1m"), id="a rule that names the deployment status, not reached yet",
    ),
    pytest.param(
        older("DeleteCluster", "DeleteSelf") | FOR_AN_HOUR, {}, {}, {"deletionStrategy": None} | OFF,
        says(ttl_failed="1h", cluster_ttl_succeeded="1h"), id="the older form with the top-level TTL",
    ),
    pytest.param(
        {"deletionPolicy": "DeleteCluster"} | FOR_AN_HOUR, {}, {}, {"deletionPolicy": None} | OFF, says(cluster_ttl="1h"),
        id="the oldest form",
    ),
    pytest.param(
        {"deletionPolicy": "DeleteSelf"}, {}, {}, {"deletionPolicy": None}, says(ttl="0s"), id="the oldest form, at once"
    ),
    pytest.param(
        SHUTDOWN, {"labels": QUEUED}, {}, {"ttlSecondsAfterFinished": PAST_IT}, says(ttl="never", cluster_ttl="0s"),
        id="queued by Kueue: the record was nobody's to delete",
    ),
    pytest.param(
        FOR_AN_HOUR, {"labels": QUEUED}, {}, {"ttlSecondsAfterFinished": PAST_IT}, says(ttl="1h"),
        id="queued by Kueue, with a TTL",
    ),
    pytest.param(
        SHUTDOWN, {"labels": QUEUED, "annotations": says(ttl="1d")}, {}, {"ttlSecondsAfterFinished": PAST_IT}, {},
        id="queued by Kueue, and it says itself",
    ),
    pytest.param(
        FOR_AN_HOUR | {"suspend": True}, {}, RUNS | {"jobDeploymentStatus": "Suspended", "jobStatus": ""},
        {"ttlSecondsAfterFinished": PAST_IT - 60 }, says(ttl="1h"), id="suspended",
    ),
]  # fmt: skip


def patched(
    body: Body,
    namespace: Any = None,
    policies: tuple[Policy, ...] = (),
    ttl: KubeRayTTL = KubeRayTTL.RAYJOB,
) -> Body:
    """What the command does to it."""
    sources = Sources(parse_rayjob(body), namespace or a_namespace(), policies, ttl)
    line = handover_patch.command(
        sources.rayjob, handover_patch.patch(sources, UNTIL, NOW), Overrides()
    )
    return json.loads(shlex.split(line)[-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize(("spec", "metadata", "status", "fields", "annotations"), FORMS)
def test_what_the_spec_said_is_taken_out_and_written_down(
    spec: Body, metadata: Body, status: Body, fields: Body, annotations: Body
) -> None:
    body = rayjob_json(spec=spec, metadata={"annotations": {}, **metadata}, status=status)
    found = patched(body)
    assert found["spec"] == fields
    assert found["metadata"] == {"uid": "uid-train"} | (
        {"annotations": annotations} if annotations else {}
    )


WEAKER = [
    pytest.param(a_namespace(), (), id="nothing else speaks"),
    pytest.param(a_namespace(ttl="2d"), (), id="its Namespace says ttl"),
    pytest.param(a_namespace(cluster_ttl="5m", ttl_failed="1w"), (), id="its Namespace says more"),
    pytest.param(a_namespace(), (a_policy(times={"retention.rayJob.default": DAY, "retention.rayCluster.failed": HOUR}),),
                 id="a policy does"),
]  # fmt: skip


@pytest.mark.parametrize(("namespace", "policies"), WEAKER)
@pytest.mark.parametrize(("spec", "metadata", "status", "fields", "annotations"), FORMS)
def test_it_leaves_a_valid_rayjob_both_of_whose_times_are_as_they_were_and_that_kuberay_does_not_touch(
    spec: Body,
    metadata: Body,
    status: Body,
    fields: Body,
    annotations: Body,
    namespace: Any,
    policies: tuple[Policy, ...],
) -> None:
    body = rayjob_json(spec=spec, metadata={"annotations": {}, **metadata}, status=status)
    after = merged(body, patched(body, namespace, policies))
    assert rayjobs.invalid(after["spec"]) is None
    assert times(after, namespace, policies) == times(body, namespace, policies)
    assert not any(deletes_early(after))


def ended(body: Body) -> dict[Outcome, RayJob]:
    """The RayJob as it is, or, where it runs, as it will be after each outcome."""
    job = parse_rayjob(body)
    if job.deployment_status in ("Complete", "Failed"):
        return dict.fromkeys(Outcome, job)
    words = {Outcome.SUCCEEDED: "Complete", Outcome.FAILED: "Failed", Outcome.STOPPED: "Complete"}
    return {
        one: replace(job, deployment_status=words[one], job_status=one.upper(), end_time=NOW)
        for one in Outcome
    }


def times(
    body: Body, namespace: Any, policies: tuple[Policy, ...], ttl: KubeRayTTL = KubeRayTTL.RAYJOB
) -> dict[Outcome, tuple[Duration, Duration]]:
    """ttl and cluster-ttl of every outcome, as the operator resolves them."""
    found = {}
    for outcome, job in ended(body).items():
        kept = resolve.resolve(Sources(job, namespace, policies, ttl), frozenset({outcome}))
        found[outcome] = (kept.ttl.value, kept.cluster_ttl.value)
    return found


def deletes_early(body: Body) -> list[bool]:
    """Whether KubeRay would delete it before the keep ends: as things are, and after each outcome."""
    jobs = [parse_rayjob(body), *ended(body).values()]
    return [kuberay_sentences.deletes_before(job, UNTIL, NOW, has_cluster=True) for job in jobs]


SECONDS = st.sampled_from([0, 1, 60, 3600, 10**6])
POLICY = st.sampled_from(["DeleteSelf", "DeleteCluster", "DeleteWorkers", "DeleteNone"])
TEXTS = st.sampled_from(["0", "10m", "1h", "3d", "never", "soon"])
OURS = st.dictionaries(
    st.sampled_from(
        [
            f"{key}{suffix}"
            for key in ("ttl", "cluster_ttl")
            for suffix in ("", "_failed", "_stopped")
        ]
    ),
    TEXTS,
    max_size=3,
).map(lambda found: says(**found))
RULES = st.lists(
    st.tuples(st.sampled_from(["SUCCEEDED", "FAILED", "Failed"]), POLICY, SECONDS),
    min_size=1,
    max_size=4,
)
SPECS = st.one_of(
    SECONDS.map(lambda seconds: SHUTDOWN | {"ttlSecondsAfterFinished": seconds}),
    RULES.map(lambda found: rules(*found)),
    st.tuples(POLICY, POLICY, SECONDS).map(
        lambda f: older(f[0], f[1]) | SHUTDOWN | {"ttlSecondsAfterFinished": f[2]}
    ),
    st.tuples(POLICY, SECONDS).map(
        lambda f: {"deletionPolicy": f[0]} | SHUTDOWN | {"ttlSecondsAfterFinished": f[1]}
    ),
)
STATUSES = st.sampled_from(
    [{}, RUNS, {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED"}, {"jobStatus": "STOPPED"}]
)
RETENTION = st.dictionaries(
    st.sampled_from(
        ["retention.rayJob.default", "retention.rayCluster.failed", "retention.rayCluster.default"]
    ),
    st.sampled_from([timedelta(), HOUR, NEVER]),
)
LIMITS = st.dictionaries(
    st.sampled_from(["limits.rayJob.max", "limits.rayCluster.min", "limits.rayCluster.max"]),
    st.sampled_from([HOUR, DAY]),
)


@many
@given(SPECS, OURS, OURS, STATUSES, RETENTION, LIMITS, st.booleans(), st.sampled_from(KubeRayTTL))
def test_whatever_the_spec_and_everybody_else_say_the_times_stay_what_they_are(
    spec: Body,
    own: dict[str, str],
    inherited: dict[str, str],
    status: Body,
    said: dict[str, Duration],
    limits: dict[str, Duration],
    is_queued: bool,
    ttl: KubeRayTTL,
) -> None:
    """Limits with Kueue are a row of their own below."""
    body = rayjob_json(
        spec=spec,
        metadata={"annotations": own, "labels": QUEUED if is_queued else {}},
        status=status,
    )
    namespace, policies = (
        replace(a_namespace(), annotations=inherited),
        (a_policy(times=said | ({} if is_queued else limits)),),
    )
    after = merged(body, patched(body, namespace, policies, ttl))
    assert rayjobs.invalid(after["spec"]) is None
    assert times(after, namespace, policies, ttl) == times(body, namespace, policies, ttl)
    assert not any(deletes_early(after))


def test_a_queued_rayjob_whose_record_nobody_would_delete_comes_under_the_limit_of_a_policy() -> (
    None
):
    """Kueue's RayJobs keep the shutdown, whose TTL speaks for the record too, and only a never of its own outranks that."""
    bounds = (a_policy(times={"limits.rayJob.max": DAY}),)
    body = rayjob_json(spec=SHUTDOWN, metadata={"annotations": {}, "labels": QUEUED})
    after = merged(body, patched(body, policies=bounds))
    assert times(body, a_namespace(), bounds)[Outcome.SUCCEEDED] == (NEVER, timedelta())
    assert times(after, a_namespace(), bounds)[Outcome.SUCCEEDED] == (DAY, timedelta())


def test_a_queued_rayjob_kept_for_ever_gets_the_longest_ttl_that_kuberay_takes() -> None:
    sources = Sources(
        parse_rayjob(rayjob_json(spec=SHUTDOWN, metadata={"labels": QUEUED})), a_namespace()
    )
    found = handover_patch.patch(sources, read_when("9999-12-31T23:59:59Z", NOW), NOW)
    assert found["spec"] == {"ttlSecondsAfterFinished": 2**31 - 1}


def test_the_command_is_one_line_for_a_shell_with_the_way_to_the_cluster() -> None:
    job = a_rayjob(kuberay_cleanup=KubeRayCleanup(shutdown=True))
    line = handover_patch.command(
        job,
        {"spec": {"a": "it's"}},
        Overrides(context="my context", kubeconfig=Path("/home/me/kube config")),
    )
    words = [
        "kubectl",
        "patch",
        "rayjob",
        "train",
        "-n",
        "team-a",
        "--type",
        "merge",
        "-p",
        '{"spec":{"a":"it\'s"}}',
    ]
    words += ["--kubeconfig", "/home/me/kube config", "--context", "my context"]
    assert shlex.split(line) == words
    assert "\n" not in line


A_TTL = KubeRayCleanup(shutdown=True, seconds=3600)
SELF_ON_FAILURE = parse_rayjob(
    rayjob_json(spec=rules(("FAILED", "DeleteSelf", 60)))
).kuberay_cleanup
AFTER_AN_HOUR = END + HOUR + timedelta(seconds=2)


@pytest.mark.parametrize(
    ("job", "until", "has_cluster", "deletes"),
    [
        pytest.param(a_rayjob(kuberay_cleanup=A_TTL), AFTER_AN_HOUR + timedelta(microseconds=1), True, True, id="a moment before"),
        pytest.param(a_rayjob(kuberay_cleanup=A_TTL), AFTER_AN_HOUR, True, False, id="at that very time"),
        pytest.param(a_rayjob(), UNTIL, True, False, id="nothing is asked of it"),
        pytest.param(a_rayjob(kuberay_cleanup=A_TTL), UNTIL, False, True, id="it may delete the RayJob instead"),
        pytest.param(
            a_rayjob(kuberay_cleanup=KubeRayCleanup(shutdown=True)), UNTIL, False, False, id="it has deleted the cluster and no more"
        ),
        pytest.param(a_rayjob(kuberay_cleanup=KubeRayCleanup(shutdown=True)), UNTIL, True, True, id="it is late"),
        pytest.param(a_rayjob(kuberay_cleanup=SELF_ON_FAILURE), UNTIL, True, False, id="a rule for another outcome"),
        pytest.param(
            a_rayjob(kuberay_cleanup=SELF_ON_FAILURE, job_status="FAILED", deployment_status="Failed"), UNTIL, False, True,
            id="a rule that takes the RayJob",
        ),
        pytest.param(a_running(kuberay_cleanup=A_TTL), UNTIL, True, True, id="it runs, and may end at once"),
        pytest.param(a_running(kuberay_cleanup=A_TTL), NOW + HOUR + timedelta(seconds=2), True, False, id="it runs, kept for no longer"),
        pytest.param(a_running(kuberay_cleanup=SELF_ON_FAILURE), UNTIL, True, True, id="it runs, and may fail"),
        pytest.param(a_running(), UNTIL, True, False, id="it runs, and nothing is asked of KubeRay"),
        pytest.param(
            a_running(kuberay_cleanup=KubeRayCleanup(has_strategy=True, on_success="DeleteNone", on_failure="DeleteWorkers")), UNTIL, True,
            False, id="it runs, and its rules keep the cluster",
        ),
        pytest.param(
            a_running(kuberay_cleanup=KubeRayCleanup(has_strategy=True, policy="DeleteCluster")), UNTIL, True, True, id="the oldest form"
        ),
        pytest.param(a_running(kuberay_cleanup=KubeRayCleanup(shutdown=True, seconds=10**18)), UNTIL, True, False, id="beyond all time"),
        pytest.param(a_rayjob(kuberay_cleanup=A_TTL, has_selector=True), UNTIL, True, False, id="a selected cluster"),
        pytest.param(
            a_rayjob(kuberay_cleanup=A_TTL, managed_by="kueue.x-k8s.io/multikueue"), UNTIL, True, False, id="managed elsewhere"
        ),
        pytest.param(a_rayjob(kuberay_cleanup=A_TTL, deployment_status="ValidationFailed"), UNTIL, True, False, id="invalid"),
        pytest.param(a_rayjob(unreadable="spec: odd"), UNTIL, True, False, id="unreadable"),
    ],
)  # fmt: skip
def test_whether_kuberay_deletes_before_that_time(
    job: RayJob, until: datetime, has_cluster: bool, deletes: bool
) -> None:
    assert kuberay_sentences.deletes_before(job, until, NOW, has_cluster=has_cluster) is deletes


def kept(
    assessment: Assessment, until: datetime | None = UNTIL, *, reason: str = "", problem: str = ""
) -> Kept:
    """What `keep` has at hand once it has written."""
    wishes = says(keep_until=written(until)) if until else {}
    wishes |= says(keep_reason=reason) if reason else {}
    assessment = replace(
        assessment,
        rayjob=replace(assessment.rayjob, annotations={**assessment.rayjob.annotations, **wishes}),
    )
    is_known = assessment.namespace is not None and assessment.policies is not None
    sources = assessment.sources if is_known else Sources(assessment.rayjob, a_namespace())
    return Kept(
        assessment.rayjob,
        until,
        sources,
        assessment=None if problem else assessment,
        problem=problem,
    )


LIMITED = (a_policy("bounds", times={"limits.keep.max": DAY}),)
BY_BOUNDS = "limited to 1d after its time by RayJobCleanupPolicy bounds spec.limits.keep.max"
SET = "RayJob team-a/train is kept until 2026-11-25T18:00:00Z (in 2d23h)"


@pytest.mark.parametrize(
    ("found", "now", "first", "code"),
    [
        pytest.param(kept(an_assessment()), NOW, SET, 0, id="kept"),
        pytest.param(kept(an_assessment(), reason="it's odd"), NOW, f"{SET}, because 'it's odd'", 0, id="with a reason"),
        pytest.param(
            kept(an_assessment(policies=LIMITED)), NOW,
            "RayJob team-a/train is kept until 2026-11-23T19:00:00Z (in 1d), not until 2026-11-25T18:00:00Z (in 2d23h): "
            f"that is {BY_BOUNDS}", 0, id="a limit ends it earlier",
        ),
        pytest.param(
            kept(an_assessment(policies=LIMITED)), DUE + DAY,
            f"RayJob team-a/train is not kept until 2026-11-25T18:00:00Z (in 1d23h): that is {BY_BOUNDS}, "
            "and was over at 2026-11-23T19:00:00Z", 1, id="a limit has passed",
        ),
        pytest.param(
            kept(an_assessment(namespace=a_namespace(keep_until="2027-01-01T00:00:00Z"))), NOW,
            f"{SET}; its Namespace keeps it until 2027-01-01T00:00:00Z", 0, id="its Namespace keeps it longer",
        ),
        pytest.param(kept(an_assessment(rayjob=a_running())), NOW, SET, 0, id="a job that runs"),
        pytest.param(kept(an_assessment(namespace=None)), NOW, SET, 0, id="its Namespace cannot be read"),
        pytest.param(kept(an_assessment(), problem="403"), NOW, SET, 0, id="nothing else can be read"),
        pytest.param(kept(an_assessment(rayjob=a_rayjob(kuberay_cleanup=A_TTL))), NOW, SET, 3, id="not by KubeRay"),
        pytest.param(kept(an_assessment(rayjob=a_running(kuberay_cleanup=A_TTL))), NOW, SET, 3, id="perhaps not by KubeRay"),
        pytest.param(
            kept(an_assessment(), None), NOW, "RayJob team-a/train is no longer kept by an annotation of its own", 0, id="cleared"
        ),
        pytest.param(
            kept(an_assessment(rayjob=a_rayjob(kuberay_cleanup=A_TTL)), None), NOW,
            "RayJob team-a/train is no longer kept by an annotation of its own", 0, id="cleared, whatever KubeRay does",
        ),
        pytest.param(
            kept(an_assessment(namespace=a_namespace(keep_until="2027-01-01T00:00:00Z")), None), NOW,
            "RayJob team-a/train is no longer kept by an annotation of its own; its Namespace keeps it until "
            "2027-01-01T00:00:00Z", 0, id="cleared, and its Namespace keeps it",
        ),
    ],
)  # fmt: skip
def test_the_first_line_and_the_exit_code_say_what_holds(
    found: Kept, now: datetime, first: str, code: int
) -> None:
    assert (keep.as_text(found, now)[0], keep.exit_code(found, now)) == (first, code)


def test_everything_is_told_and_the_command_stands_last() -> None:
    text = keep.as_text(
        kept(an_assessment(rayjob=a_rayjob(annotations=says(ttl="2h"), kuberay_cleanup=A_TTL))), NOW
    )
    assert text == [
        SET,
        "",
        "Raysweep without that",
        "  It waits: NotDue. Then goes RayJob train and RayCluster train-cluster, in 1h59m, at 2026-11-22T20:00:00Z at the "
        "earliest (ttl 2h, annotation raysweep.io/ttl).",
        "",
        "KubeRay by itself",
        "  It deletes the RayCluster at 2026-11-22T19:00:02Z (in 59m2s): shutdownAfterJobFinishes, ttlSecondsAfterFinished 3600 "
        "(the RayJob instead, where KubeRay runs with DELETE_RAYJOB_CR_AFTER_JOB_FINISHES=true).",
        "",
        "raysweep.io/keep-until does not bind KubeRay, which deletes before 2026-11-25T18:00:00Z.",
        "This takes the deletion out of KubeRay's hands and leaves it to Raysweep, with the same times:",
        "  kubectl patch rayjob train -n team-a --type merge -p "
        """'{"metadata":{"uid":"uid-train"},"spec":{"shutdownAfterJobFinishes":false,"ttlSecondsAfterFinished":0}}'""",
    ]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        pytest.param(
            kept(an_assessment(rayjob=a_rayjob(annotations=says(ttl="1w")))),
            "  That is no earlier than it is kept for: as things stand the keep changes nothing.", id="due later anyway",
        ),
        pytest.param(
            kept(an_assessment(rayjob=a_running(), policies=LIMITED)),
            "  After its time it can be kept for 1d at most, by RayJobCleanupPolicy bounds spec.limits.keep.max.",
            id="a limit, and nobody knows when it ends",
        ),
        pytest.param(
            kept(an_assessment(rayjob=a_running())), "  It stays: NotFinished (jobDeploymentStatus is 'Running').", id="it runs"
        ),
        pytest.param(kept(an_assessment(), problem="403 no"), "Not everything could be read: 403 no", id="rights are missing"),
        pytest.param(kept(an_assessment(), None), "Raysweep now", id="cleared"),
        pytest.param(
            kept(an_assessment(rayjob=a_running(kuberay_cleanup=A_TTL))),
            "raysweep.io/keep-until does not bind KubeRay, which may delete as soon as the job has ended, so perhaps before "
            "2026-11-25T18:00:00Z.", id="KubeRay may delete",
        ),
        pytest.param(
            kept(an_assessment(rayjob=a_rayjob(kuberay_cleanup=A_TTL, labels=QUEUED))),
            "This puts KubeRay's time off until after that, and keeps Raysweep's own times as they are:", id="queued by Kueue",
        ),
    ],
)  # fmt: skip
def test_what_else_there_is_to_know_is_told(found: Kept, told: str) -> None:
    assert told in keep.as_text(found, NOW)


@pytest.mark.parametrize(
    "found",
    [
        kept(an_assessment(), reason=HOSTILE),
        kept(an_assessment(rayjob=a_rayjob(managed_by=HOSTILE))),
        kept(an_assessment(rayjob=a_rayjob(annotations=says(ttl=HOSTILE)))),
        kept(an_assessment(), problem=HOSTILE),
    ],
    ids=["reason", "manager", "ttl", "problem"],
)
def test_nothing_foreign_reaches_a_terminal(found: Kept) -> None:
    printed = [
        "\n".join(keep.as_text(found, NOW)),
        formatting.serialized(keep.as_json(found, NOW), "json"),
    ]
    assert {
        c
        for text in printed
        for c in text
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    } == {"\n"}


def test_every_field_is_documented_and_every_documented_field_is_there() -> None:
    body = keep.as_json(
        kept(
            an_assessment(rayjob=a_rayjob(kuberay_cleanup=A_TTL), policies=LIMITED),
            reason="to look at it",
        ),
        NOW,
    )
    assert json.loads(json.dumps(body)) == body
    assert paths(body) == documented("Keep")
    assert (body["keepReason"], body["kuberayDeletesBefore"], body["endsAt"]) == (
        "to look at it",
        True,
        "2026-11-23T19:00:00Z",
    )
    assert body["otherwise"]["deletes"][1] == {
        "kind": "RayCluster",
        "name": "train-cluster",
        "uid": a_raycluster().uid,
    }
