"""The patch that hands a deletion over from KubeRay to Raysweep: the TTLs of every outcome stay."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raysweep.cli.common import kuberay_sentences
from raysweep.cli.keep import handover_patch
from raysweep.cli.keep.run import parse_until
from raysweep.clients.connection.overrides import Overrides
from raysweep.clients.parsing import yaml_text
from raysweep.clients.parsing.rayjob import parse_rayjob
from raysweep.core.durations import NEVER, Duration
from raysweep.core.model.facts import KubeRayCleanup, Policy, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.parameters import KubeRayTTL
from raysweep.core.retention import resolve
from raysweep.core.retention.resolve import Sources
from raysweep.core.validation.validate import validate
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


def violations(body: Body) -> set[str]:
    """The rules of the API server and of KubeRay that a RayJob breaks."""
    return {violation.rule.name for violation in validate(body, yaml_text.load)}


RUNS = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "endTime": None}
SHUTDOWN: Body = {"shutdownAfterJobFinishes": True}
FOR_AN_HOUR: Body = SHUTDOWN | {"ttlSecondsAfterFinished": 3600}
OFF: Body = {"shutdownAfterJobFinishes": False, "ttlSecondsAfterFinished": 0}
QUEUED = {"kueue.x-k8s.io/queue-name": "team"}


def rules(*rows: tuple[str, str, int]) -> Body:
    """Rules of (status, policy, seconds). The status Failed is a jobDeploymentStatus."""
    deletion_rules = []
    for status, policy, seconds in rows:
        key = "jobDeploymentStatus" if status == "Failed" else "jobStatus"
        condition = {key: status, "ttlSeconds": seconds}
        deletion_rules.append({"policy": policy, "condition": condition})
    return {"deletionStrategy": {"deletionRules": deletion_rules}}


def older(on_success: str, on_failure: str) -> Body:
    return {
        "deletionStrategy": {
            "onSuccess": {"policy": on_success},
            "onFailure": {"policy": on_failure},
        }
    }


@dataclass(frozen=True)
class Form:
    """A RayJob, and what the patch changes: fields of the spec, and annotations."""

    name: str
    spec: Body
    fields: Body
    annotations: Body
    metadata: Body = field(default_factory=dict)
    status: Body = field(default_factory=dict)

    @property
    def body(self) -> Body:
        metadata = {"annotations": {}, **self.metadata}
        return rayjob_json(spec=self.spec, metadata=metadata, status=self.status)


NO_STRATEGY: Body = {"deletionStrategy": None}
POSTPONED: Body = {"ttlSecondsAfterFinished": SECONDS_UNTIL}
SUSPENDED = RUNS | {"jobDeploymentStatus": "Suspended", "jobStatus": ""}
IN_STAGES = rules(
    ("SUCCEEDED", "DeleteCluster", 60),
    ("SUCCEEDED", "DeleteSelf", 3600),
    ("FAILED", "DeleteCluster", 86400),
)
KEEPING = rules(
    ("SUCCEEDED", "DeleteNone", 0), ("FAILED", "DeleteWorkers", 0), ("FAILED", "DeleteSelf", 60)
)
BY_DEPLOYMENT_STATUS = rules(("SUCCEEDED", "DeleteCluster", 0), ("Failed", "DeleteCluster", 60))
FORMS = [
    Form("shutdown with a TTL", FOR_AN_HOUR, OFF, says(ttl="1h")),
    Form("shutdown without a TTL", SHUTDOWN, OFF, says(cluster_ttl="0s")),
    Form("a running job", FOR_AN_HOUR, OFF, says(ttl="1h"), status=RUNS),
    Form("its own ttl", FOR_AN_HOUR, OFF, {}, {"annotations": says(ttl="1d")}),
    Form(
        "its own cluster-ttl",
        FOR_AN_HOUR,
        OFF,
        says(ttl="1h"),
        {"annotations": says(cluster_ttl="10m")},
    ),
    Form(
        "its own ttl-failed",
        FOR_AN_HOUR,
        OFF,
        says(ttl_succeeded="1h", ttl_stopped="1h"),
        {"annotations": says(ttl_failed="2w")},
    ),
    Form(
        "its own ttl-failed sets both TTLs of a failure",
        SHUTDOWN,
        OFF,
        says(cluster_ttl_succeeded="0s", cluster_ttl_stopped="0s"),
        {"annotations": says(ttl_failed="2w")},
    ),
    Form("an invalid ttl", FOR_AN_HOUR, OFF, {}, {"annotations": says(ttl="soon")}),
    Form("a misspelled key", FOR_AN_HOUR, OFF, {}, {"annotations": says(tll="1h")}),
    Form(
        "one rule",
        rules(("SUCCEEDED", "DeleteSelf", 60)),
        NO_STRATEGY,
        says(ttl_succeeded="1m"),
    ),
    Form(
        "rules in stages",
        IN_STAGES,
        NO_STRATEGY,
        says(ttl_succeeded="1h", cluster_ttl_succeeded="1m", cluster_ttl_failed="1d"),
    ),
    Form(
        "a rule that keeps, and one of workers",
        KEEPING,
        NO_STRATEGY,
        says(ttl_succeeded="never", ttl_failed="1m"),
    ),
    Form(
        "a rule that names the deployment status",
        BY_DEPLOYMENT_STATUS,
        NO_STRATEGY,
        says(cluster_ttl_succeeded="0s", cluster_ttl_failed="1m"),
        status=RUNS,
    ),
    Form(
        "the older form with the top-level TTL",
        older("DeleteCluster", "DeleteSelf") | FOR_AN_HOUR,
        NO_STRATEGY | OFF,
        says(ttl_failed="1h", cluster_ttl_succeeded="1h"),
    ),
    Form(
        "the oldest form",
        {"deletionPolicy": "DeleteCluster"} | FOR_AN_HOUR,
        {"deletionPolicy": None} | OFF,
        says(cluster_ttl="1h"),
    ),
    Form(
        "the oldest form, at once",
        {"deletionPolicy": "DeleteSelf"},
        {"deletionPolicy": None},
        says(ttl="0s"),
    ),
    Form(
        "queued by Kueue: nothing deletes the RayJob",
        SHUTDOWN,
        POSTPONED,
        says(ttl="never", cluster_ttl="0s"),
        {"labels": QUEUED},
    ),
    Form("queued by Kueue, with a TTL", FOR_AN_HOUR, POSTPONED, says(ttl="1h"), {"labels": QUEUED}),
    Form(
        "queued by Kueue, with its own ttl",
        SHUTDOWN,
        POSTPONED,
        {},
        {"labels": QUEUED, "annotations": says(ttl="1d")},
    ),
    Form(
        "suspended",
        FOR_AN_HOUR | {"suspend": True},
        {"ttlSecondsAfterFinished": SECONDS_UNTIL - 60},
        says(ttl="1h"),
        status=SUSPENDED,
    ),
]


def patched(
    body: Body,
    namespace: Any = None,
    policies: tuple[Policy, ...] = (),
    ttl: KubeRayTTL = KubeRayTTL.RAYJOB,
) -> Body:
    """The patch that the command sends."""
    sources = Sources(parse_rayjob(body), namespace or a_namespace(), policies, ttl)
    line = handover_patch.patch_command(
        sources.rayjob, handover_patch.handover_patch(sources, UNTIL, NOW), Overrides()
    )
    return json.loads(shlex.split(line)[-1])  # type: ignore[no-any-return]


def test_the_patch_moves_the_ttls_from_the_spec_to_annotations() -> None:
    for form in FORMS:
        patch = patched(form.body)
        assert patch["spec"] == form.fields, form.name
        metadata: Body = {"uid": "uid-train"}
        if form.annotations:
            metadata["annotations"] = form.annotations
        assert patch["metadata"] == metadata, form.name


OTHER_SOURCES = [
    (a_namespace(), ()),
    (a_namespace(ttl="2d"), ()),
    (a_namespace(cluster_ttl="5m", ttl_failed="1w"), ()),
    (
        a_namespace(),
        (a_policy(times={"retention.rayJob.default": DAY, "retention.rayCluster.failed": HOUR}),),
    ),
]


def test_the_patched_rayjob_is_valid_has_the_same_ttls_and_is_not_deleted_by_kuberay() -> None:
    for form in FORMS:
        for namespace, policies in OTHER_SOURCES:
            after = merged(form.body, patched(form.body, namespace, policies))
            assert violations(after) <= violations(form.body), form.name
            expected = times(form.body, namespace, policies)
            assert times(after, namespace, policies) == expected, form.name
            assert not any(deletes_early(after)), form.name


def ended(body: Body) -> dict[Outcome, RayJob]:
    """The RayJob, or if its job runs, the RayJob after each outcome."""
    job = parse_rayjob(body)
    if job.deployment_status in ("Complete", "Failed"):
        return dict.fromkeys(Outcome, job)
    jobs = {}
    for outcome in Outcome:
        status = "Failed" if outcome is Outcome.FAILED else "Complete"
        ended_job = replace(job, deployment_status=status, job_status=outcome.upper())
        jobs[outcome] = replace(ended_job, end_time=NOW)
    return jobs


def times(
    body: Body, namespace: Any, policies: tuple[Policy, ...], ttl: KubeRayTTL = KubeRayTTL.RAYJOB
) -> dict[Outcome, tuple[Duration, Duration]]:
    """The ttl and cluster-ttl of every outcome, as the operator resolves them."""
    ttls = {}
    for outcome, job in ended(body).items():
        kept = resolve.resolve(Sources(job, namespace, policies, ttl), frozenset({outcome}))
        ttls[outcome] = (kept.ttl.value, kept.cluster_ttl.value)
    return ttls


def deletes_early(body: Body) -> list[bool]:
    """Whether KubeRay deletes it before the hold ends: now, and after each outcome."""
    jobs = [parse_rayjob(body), *ended(body).values()]
    return [kuberay_sentences.deletes_before(job, UNTIL, NOW, has_cluster=True) for job in jobs]


SECONDS = st.sampled_from([0, 1, 60, 3600, 10**6])
POLICY = st.sampled_from(["DeleteSelf", "DeleteCluster", "DeleteWorkers", "DeleteNone"])
TEXTS = st.sampled_from(["0", "10m", "1h", "3d", "never", "soon"])
OWN_ANNOTATIONS = st.dictionaries(
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
@given(
    SPECS,
    OWN_ANNOTATIONS,
    OWN_ANNOTATIONS,
    STATUSES,
    RETENTION,
    LIMITS,
    st.booleans(),
    st.sampled_from(KubeRayTTL),
)
def test_the_patch_preserves_the_ttls_of_any_spec(
    spec: Body,
    own: dict[str, str],
    inherited: dict[str, str],
    status: Body,
    said: dict[str, Duration],
    limits: dict[str, Duration],
    is_queued: bool,
    ttl: KubeRayTTL,
) -> None:
    """Limits together with Kueue have a test of their own."""
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
    assert violations(after) <= violations(body)
    assert times(after, namespace, policies, ttl) == times(body, namespace, policies, ttl)
    assert not any(deletes_early(after))


def test_a_limit_of_a_policy_applies_to_a_patched_rayjob_in_a_queue() -> None:
    """Kueue requires the shutdown, whose TTL counts for the RayJob too unless it has its own."""
    bounds = (a_policy(times={"limits.rayJob.max": DAY}),)
    body = rayjob_json(spec=SHUTDOWN, metadata={"annotations": {}, "labels": QUEUED})
    after = merged(body, patched(body, policies=bounds))
    assert times(body, a_namespace(), bounds)[Outcome.SUCCEEDED] == (NEVER, timedelta())
    assert times(after, a_namespace(), bounds)[Outcome.SUCCEEDED] == (DAY, timedelta())


def test_a_queued_rayjob_with_an_endless_hold_gets_the_longest_ttl_of_kuberay() -> None:
    sources = Sources(
        parse_rayjob(rayjob_json(spec=SHUTDOWN, metadata={"labels": QUEUED})), a_namespace()
    )
    patch = handover_patch.handover_patch(sources, parse_until("9999-12-31T23:59:59Z", NOW), NOW)
    assert patch["spec"] == {"ttlSecondsAfterFinished": 2**31 - 1}


def test_the_command_is_one_line_with_the_connection_flags() -> None:
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
