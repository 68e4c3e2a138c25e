"""The patch that hands a deletion over from KubeRay to Raysweep: the TTLs of every outcome stay."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raysweep.cli.common import kuberay_sentences
from raysweep.cli.keep import handover_patch
from raysweep.cli.keep.run import parse_until
from raysweep.clients.connection.overrides import Overrides
from raysweep.clients.parsing.rayjob import parse_rayjob
from raysweep.core.durations import NEVER, Duration
from raysweep.core.model.facts import KubeRayCleanup, Policy, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.parameters import KubeRayTTL
from raysweep.core.retention import resolve
from raysweep.core.retention.resolve import Sources
from sandbox import rayjobs
from tests.support.builders import (
    END,
    HOUR,
    Body,
    a_namespace,
    a_policy,
    a_rayjob,
    rayjob_json,
    says,
)

NOW = END + timedelta(minutes=1)
DAY = 24 * HOUR
UNTIL = datetime(2026, 11, 25, 18, tzinfo=UTC)  # three days after the end
SECONDS_UNTIL = 3 * 86400 + 60
"""From the end of the job to a minute after UNTIL."""


def merged(body: Any, patch: Mapping[str, Any]) -> Any:
    """RFC 7386, as the API server applies a merge patch."""
    result = dict(body) if isinstance(body, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            is_object = isinstance(value, Mapping)
            result[key] = merged(result.get(key), value) if is_object else value
    return result


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
        SHUTDOWN, {"labels": QUEUED}, {}, {"ttlSecondsAfterFinished": SECONDS_UNTIL}, says(ttl="never", cluster_ttl="0s"),
        id="queued by Kueue: the record was nobody's to delete",
    ),
    pytest.param(
        FOR_AN_HOUR, {"labels": QUEUED}, {}, {"ttlSecondsAfterFinished": SECONDS_UNTIL}, says(ttl="1h"),
        id="queued by Kueue, with a TTL",
    ),
    pytest.param(
        SHUTDOWN, {"labels": QUEUED, "annotations": says(ttl="1d")}, {}, {"ttlSecondsAfterFinished": SECONDS_UNTIL}, {},
        id="queued by Kueue, and it says itself",
    ),
    pytest.param(
        FOR_AN_HOUR | {"suspend": True}, {}, RUNS | {"jobDeploymentStatus": "Suspended", "jobStatus": ""},
        {"ttlSecondsAfterFinished": SECONDS_UNTIL - 60 }, says(ttl="1h"), id="suspended",
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
    line = handover_patch.patch_command(
        sources.rayjob, handover_patch.handover_patch(sources, UNTIL, NOW), Overrides()
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


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
    found = handover_patch.handover_patch(sources, parse_until("9999-12-31T23:59:59Z", NOW), NOW)
    assert found["spec"] == {"ttlSecondsAfterFinished": 2**31 - 1}


def test_the_command_is_one_line_for_a_shell_with_the_way_to_the_cluster() -> None:
    job = a_rayjob(kuberay_cleanup=KubeRayCleanup(shutdown=True))
    line = handover_patch.patch_command(
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
