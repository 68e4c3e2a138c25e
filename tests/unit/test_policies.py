"""RayJobCleanupPolicies: which ones select a RayJob, precedence, and limits."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from raysweep.core.durations import NEVER, Duration
from raysweep.core.model.facts import EVERYTHING, Policy, Requirement, Selector
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import BUILT_IN, InvalidValue, SourcedDuration
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import policies
from raysweep.core.retention.resolve import (
    Retention,
    Sources,
    keep_until,
    resolve,
    resolve_unsubmitted,
    stuck_deadline,
)
from tests.support.builders import DUE, END, a_namespace, a_policy, a_rayjob, an_interactive, says

HOUR, DAY, WEEK, MINUTE = (
    timedelta(hours=1),
    timedelta(days=1),
    timedelta(weeks=1),
    timedelta(minutes=1),
)
FAILED = Outcome.FAILED


def setting(name: str = "base", *, priority: int = 0, **times: Duration) -> Policy:
    """A policy with these times. `retention_rayJob_default` is the path with `_` for `.`."""
    return a_policy(
        name,
        priority=priority,
        times={path.replace("_", "."): time for path, time in times.items()},
    )


def requires(operator: str, *values: str) -> Selector:
    return Selector(requirements=(Requirement("team", operator, frozenset(values)),))


SELECTORS: dict[str, tuple[Selector, dict[str, str], bool]] = {
    "the empty selector selects everything": (EVERYTHING, {}, True),
    "a label as asked for": (Selector({"team": "a"}), {"team": "a", "x": "y"}, True),
    "another value": (Selector({"team": "a"}), {"team": "b"}, False),
    "no such label": (Selector({"team": "a"}), {}, False),
    "all labels must be there": (Selector({"team": "a", "tier": "1"}), {"team": "a"}, False),
    "In: one of them": (requires("In", "a", "b"), {"team": "b"}, True),
    "In: none of them": (requires("In", "a", "b"), {"team": "c"}, False),
    "In: no such label": (requires("In", "a"), {}, False),
    "NotIn: another value": (requires("NotIn", "a"), {"team": "b"}, True),
    "NotIn: that value": (requires("NotIn", "a"), {"team": "a"}, False),
    "NotIn: no such label": (requires("NotIn", "a"), {}, True),
    "Exists: it is there": (requires("Exists"), {"team": ""}, True),
    "Exists: it is not": (requires("Exists"), {}, False),
    "DoesNotExist: it is not there": (requires("DoesNotExist"), {}, True),
    "DoesNotExist: it is": (requires("DoesNotExist"), {"team": "a"}, False),
}


def test_a_selector_selects_as_kubernetes_does() -> None:
    for label, (selector, labels, is_selected) in SELECTORS.items():
        assert policies.selects(selector, labels) is is_selected, label


def test_a_policy_selects_by_labels_of_namespaces_and_rayjobs() -> None:
    prod = a_policy("prod", namespaces=Selector({"env": "prod"}))
    vision = a_policy("vision", rayjobs=Selector({"team": "vision"}))
    namespace = replace(a_namespace(), labels={"env": "prod"})
    everything = (vision, prod)
    assert policies.selecting(everything, a_rayjob(), namespace) == (prod,)
    assert policies.selecting(everything, a_rayjob(labels={"team": "vision"}), namespace) == (
        prod,
        vision,
    )
    assert policies.selecting(everything, a_rayjob(labels={"env": "prod"}), a_namespace()) == ()


def test_an_invalid_policy_selects_every_rayjob_of_its_namespaces() -> None:
    broken = a_policy(rayjobs=Selector({"team": "vision"}), errors=("spec.limits: odd",))
    assert policies.selecting((broken,), a_rayjob(), a_namespace()) == (broken,)


def test_the_higher_priority_comes_first_then_the_name() -> None:
    named = [a_policy("b"), a_policy("a"), a_policy("z", priority=5), a_policy("c", priority=-1)]
    assert [policy.name for policy in policies.strongest_first(named)] == ["z", "a", "b", "c"]


def _resolved(
    rayjob: dict[str, str], namespace: dict[str, str], *selecting: Policy, outcome: Outcome = FAILED
) -> Retention:
    retention = tuple(policies.strongest_first(selecting))
    job = a_rayjob(annotations=says(**rayjob))
    return resolve(Sources(job, a_namespace(**namespace), retention), frozenset({outcome}))


def _policy(name: str, path: str, value: Duration) -> SourcedDuration:
    return SourcedDuration(value, f"RayJobCleanupPolicy {name} spec.{path}", inherited=True)


def _own(key: str, value: Duration, clamp: str = "", at: Duration | None = None) -> SourcedDuration:
    source = f"RayJob team-a/train annotation raysweep.io/{key}"
    return SourcedDuration(
        at if at is not None else value, source, inherited=bool(clamp), clamp=clamp
    )


def _lowered(of: str, original: str, value: Duration, by: str) -> SourcedDuration:
    return SourcedDuration(
        value, of, inherited=True, clamp=f"lowered from {original} by RayJobCleanupPolicy {by}"
    )


RETENTION = "retention.rayJob.default"
CLUSTERS = "retention.rayCluster.default"


RETENTIONS: dict[
    str, tuple[dict[str, str], dict[str, str], list[Policy], SourcedDuration, SourcedDuration]
] = {
    "a policy alone: its time for the RayJob counts for both": (
        {},
        {},
        [setting(retention_rayJob_default=DAY)],
        _policy("base", RETENTION, DAY),
        _policy("base", RETENTION, DAY),
    ),
    "its time for the RayCluster leaves the RayJob alone": (
        {},
        {},
        [setting(retention_rayCluster_default=HOUR)],
        BUILT_IN,
        _policy("base", CLUSTERS, HOUR),
    ),
    "both": (
        {},
        {},
        [setting(retention_rayJob_default=DAY, retention_rayCluster_default=HOUR)],
        _policy("base", RETENTION, DAY),
        _policy("base", CLUSTERS, HOUR),
    ),
    "the outcome's own time beats the default": (
        {},
        {},
        [setting(retention_rayJob_default=DAY, retention_rayJob_failed=WEEK)],
        _policy("base", "retention.rayJob.failed", WEEK),
        _policy("base", "retention.rayJob.failed", WEEK),
    ),
    "another outcome's does not": (
        {},
        {},
        [setting(retention_rayJob_default=DAY, retention_rayJob_stopped=WEEK)],
        _policy("base", RETENTION, DAY),
        _policy("base", RETENTION, DAY),
    ),
    "the Namespace is stronger": (
        {},
        {"ttl": "1h"},
        [setting(retention_rayJob_default=DAY)],
        SourcedDuration(HOUR, "Namespace team-a annotation raysweep.io/ttl", inherited=True),
        SourcedDuration(HOUR, "Namespace team-a annotation raysweep.io/ttl", inherited=True),
    ),
    "the RayJob is stronger": (
        {"ttl": "1h"},
        {},
        [setting(retention_rayJob_default=DAY)],
        _own("ttl", HOUR),
        _own("ttl", HOUR),
    ),
    "the RayJob's cluster-ttl leaves the ttl to the policy": (
        {"cluster_ttl": "1h"},
        {},
        [setting(retention_rayJob_default=DAY)],
        _policy("base", RETENTION, DAY),
        _own("cluster-ttl", HOUR),
    ),
    "of two the higher priority counts": (
        {},
        {},
        [
            setting("low", retention_rayJob_default=DAY),
            setting("high", priority=1, retention_rayJob_default=HOUR),
        ],
        _policy("high", RETENTION, HOUR),
        _policy("high", RETENTION, HOUR),
    ),
    "of equal ones the name that comes first": (
        {},
        {},
        [setting("b", retention_rayJob_default=DAY), setting("a", retention_rayJob_default=HOUR)],
        _policy("a", RETENTION, HOUR),
        _policy("a", RETENTION, HOUR),
    ),
    "all policies are one source: each value from the first that sets it, and only then the pair": (
        {},
        {},
        [
            setting("low", retention_rayCluster_default=HOUR),
            setting("high", priority=1, retention_rayJob_default=DAY),
        ],
        _policy("high", RETENTION, DAY),
        _policy("low", CLUSTERS, HOUR),
    ),
    "so the outcome's own time counts even of a weaker policy": (
        {},
        {},
        [
            setting("low", retention_rayJob_failed=WEEK),
            setting("high", priority=1, retention_rayJob_default=HOUR),
        ],
        _policy("low", "retention.rayJob.failed", WEEK),
        _policy("low", "retention.rayJob.failed", WEEK),
    ),
    "never is a time like any other": (
        {},
        {},
        [setting(retention_rayJob_default=NEVER)],
        _policy("base", RETENTION, NEVER),
        _policy("base", RETENTION, NEVER),
    ),
    "a limit alone does not bound the built-in never": (
        {},
        {},
        [setting(limits_rayJob_max=DAY)],
        BUILT_IN,
        BUILT_IN,
    ),
    "max lowers the time of the RayJob, and of its cluster": (
        {"ttl": "1w"},
        {},
        [setting(limits_rayJob_max=DAY)],
        _own(
            "ttl", WEEK, "lowered from 1w by RayJobCleanupPolicy base spec.limits.rayJob.max", DAY
        ),
        _own(
            "ttl", WEEK, "lowered from 1w by RayJobCleanupPolicy base spec.limits.rayJob.max", DAY
        ),
    ),
    "never is lowered like any time": (
        {"ttl": "never"},
        {},
        [setting(limits_rayJob_max=DAY)],
        _own(
            "ttl",
            NEVER,
            "lowered from never by RayJobCleanupPolicy base spec.limits.rayJob.max",
            DAY,
        ),
        _own(
            "ttl",
            NEVER,
            "lowered from never by RayJobCleanupPolicy base spec.limits.rayJob.max",
            DAY,
        ),
    ),
    "a max for clusters leaves the RayJob alone": (
        {"ttl": "1w"},
        {},
        [setting(limits_rayCluster_max=HOUR)],
        _own("ttl", WEEK),
        _own(
            "ttl",
            WEEK,
            "lowered from 1w by RayJobCleanupPolicy base spec.limits.rayCluster.max",
            HOUR,
        ),
    ),
    "a cluster that stays would keep its RayJob beyond the max, so it is bounded too": (
        {"cluster_ttl": "never"},
        {"ttl": "1h"},
        [setting(limits_rayJob_max=DAY)],
        SourcedDuration(HOUR, "Namespace team-a annotation raysweep.io/ttl", inherited=True),
        _own(
            "cluster-ttl",
            NEVER,
            "lowered from never by RayJobCleanupPolicy base spec.limits.rayJob.max",
            DAY,
        ),
    ),
    "but not where the RayJob has no time at all": (
        {"cluster_ttl": "never"},
        {},
        [setting(limits_rayJob_max=DAY)],
        BUILT_IN,
        _own("cluster-ttl", NEVER),
    ),
    "min raises the RayJob's time": (
        {"ttl": "0"},
        {},
        [setting(limits_rayJob_min=HOUR)],
        _own(
            "ttl",
            timedelta(),
            "raised from 0s by RayJobCleanupPolicy base spec.limits.rayJob.min",
            HOUR,
        ),
        _own("ttl", timedelta()),
    ),
    "and the cluster's": (
        {"ttl": "0"},
        {},
        [setting(limits_rayCluster_min=MINUTE)],
        _own("ttl", timedelta()),
        _own(
            "ttl",
            timedelta(),
            "raised from 0s by RayJobCleanupPolicy base spec.limits.rayCluster.min",
            MINUTE,
        ),
    ),
    "limits bound policies too": (
        {},
        {},
        [setting("bounds", limits_rayJob_max=DAY), setting(retention_rayJob_default=WEEK)],
        _lowered(
            "RayJobCleanupPolicy base spec.retention.rayJob.default",
            "1w",
            DAY,
            "bounds spec.limits.rayJob.max",
        ),
        _lowered(
            "RayJobCleanupPolicy base spec.retention.rayJob.default",
            "1w",
            DAY,
            "bounds spec.limits.rayJob.max",
        ),
    ),
    "of several limits the tightest holds, whatever the priority": (
        {"ttl": "1w"},
        {},
        [
            setting("strong", priority=9, limits_rayJob_max=DAY),
            setting("weak", limits_rayJob_max=HOUR),
        ],
        _own(
            "ttl", WEEK, "lowered from 1w by RayJobCleanupPolicy weak spec.limits.rayJob.max", HOUR
        ),
        _own(
            "ttl", WEEK, "lowered from 1w by RayJobCleanupPolicy weak spec.limits.rayJob.max", HOUR
        ),
    ),
    "of several minima the longest": (
        {"ttl": "0"},
        {},
        [
            setting("strong", priority=9, limits_rayJob_min=MINUTE),
            setting("weak", limits_rayJob_min=HOUR),
        ],
        _own(
            "ttl",
            timedelta(),
            "raised from 0s by RayJobCleanupPolicy weak spec.limits.rayJob.min",
            HOUR,
        ),
        _own("ttl", timedelta()),
    ),
    "exactly at the limits nothing is moved": (
        {"ttl": "1d"},
        {},
        [setting(limits_rayJob_min=DAY, limits_rayJob_max=DAY)],
        _own("ttl", DAY),
        _own("ttl", DAY),
    ),
    "a RayJob's invalid value is never, and bounded": (
        {"ttl": "soon"},
        {},
        [setting(limits_rayJob_max=DAY)],
        SourcedDuration(
            DAY,
            "RayJob team-a/train annotation raysweep.io/ttl, invalid",
            inherited=True,
            clamp="lowered from never by RayJobCleanupPolicy base spec.limits.rayJob.max",
        ),
        SourcedDuration(
            DAY,
            "RayJob team-a/train annotation raysweep.io/ttl, invalid",
            inherited=True,
            clamp="lowered from never by RayJobCleanupPolicy base spec.limits.rayJob.max",
        ),
    ),
}


def test_sources_limits_and_clamps() -> None:
    for label, (
        rayjob,
        namespace,
        selecting,
        ttl,
        cluster_ttl,
    ) in RETENTIONS.items():
        assert _resolved(rayjob, namespace, *selecting) == Retention(ttl, cluster_ttl), label


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("what", ["rayJob", "rayCluster"])
def test_every_outcome_has_a_time_of_its_own(what: str, outcome: Outcome) -> None:
    policy = a_policy(times={f"retention.{what}.{outcome}": HOUR, "retention.rayJob.default": DAY})
    retention = _resolved({}, {}, policy, outcome=outcome)
    assert (retention.ttl if what == "rayJob" else retention.cluster_ttl) == _policy(
        "base", f"retention.{what}.{outcome}", HOUR
    )


@pytest.mark.parametrize(
    ("annotations", "source", "is_kept"),
    [
        pytest.param(
            {"ttl": "soon"},
            "RayJob team-a/train annotation raysweep.io/ttl",
            True,
            id="invalid, no limit for it",
        ),
        pytest.param(
            {"tll": "1h"},
            "RayJob team-a/train annotation 'raysweep.io/tll'",
            True,
            id="an unknown key, no limit for it",
        ),
    ],
)
def test_an_invalid_value_keeps_everything_unless_a_limit_bounds_it(
    annotations: dict[str, str], source: str, is_kept: bool
) -> None:
    retention = _resolved(annotations, {})
    assert retention.invalid is not None
    assert retention.invalid.source == source
    assert retention.keeps_all is is_kept
    for limit in ("limits.rayJob.max", "limits.rayCluster.max"):
        bounded = _resolved(annotations, {}, a_policy(times={limit: HOUR}))
        assert not bounded.keeps_all
        assert bounded.cluster_ttl.value == HOUR


def test_an_invalid_value_of_the_namespace_keeps_everything() -> None:
    retention = _resolved({}, {"ttl": "soon"}, setting(limits_rayJob_max=HOUR))
    assert retention.keeps_all


def test_an_invalid_policy_keeps_every_rayjob_that_it_selects() -> None:
    retention = _resolved(
        {"ttl": "0"},
        {},
        a_policy(errors=("spec.limits.rayJob.max: invalid duration 'soon'",)),
    )
    assert str(retention.invalid) == (
        "RayJobCleanupPolicy base: spec.limits.rayJob.max: invalid duration 'soon'"
    )
    assert retention.keeps_all


CONFLICTS: dict[str, tuple[list[Policy], str]] = {
    "min above max": (
        [setting("a", limits_rayJob_min=DAY), setting("b", limits_rayJob_max=HOUR)],
        (
            "RayJobCleanupPolicy a spec.limits.rayJob.min 1d contradicts "
            "RayJobCleanupPolicy b spec.limits.rayJob.max 1h"
        ),
    ),
    "for clusters": (
        [setting("a", limits_rayCluster_min=DAY), setting("b", limits_rayCluster_max=HOUR)],
        (
            "RayJobCleanupPolicy a spec.limits.rayCluster.min 1d contradicts "
            "RayJobCleanupPolicy b spec.limits.rayCluster.max 1h"
        ),
    ),
    "a RayJob outlives its cluster": (
        [setting("a", limits_rayCluster_min=DAY), setting("b", limits_rayJob_max=HOUR)],
        (
            "RayJobCleanupPolicy a spec.limits.rayCluster.min 1d contradicts "
            "RayJobCleanupPolicy b spec.limits.rayJob.max 1h"
        ),
    ),
    "the other way round": (
        [setting("a", limits_rayJob_min=DAY), setting("b", limits_rayCluster_max=HOUR)],
        "",
    ),
    "equal": ([setting("a", limits_rayJob_min=HOUR), setting("b", limits_rayJob_max=HOUR)], ""),
}


def test_conflicting_limits_keep_everything() -> None:
    for label, (selecting, conflict) in CONFLICTS.items():
        retention = _resolved({"ttl": "0"}, {}, *selecting)
        assert (retention.conflict, retention.keeps_all) == (conflict, conflict != ""), label
        assert not _resolved({}, {}, *selecting).keeps_all, (
            label
        )  # where nobody set a time there is nothing to bound


def _kept(
    rayjob: dict[str, str],
    namespace: dict[str, str],
    *selecting: Policy,
    wait: timedelta = timedelta(),
) -> Any:
    sources = Sources(a_rayjob(annotations=says(**rayjob)), a_namespace(**namespace), selecting)
    return keep_until(sources, DUE, wait)


LIMIT = setting(limits_keep_max=DAY)
SOON, LATER = "2026-11-22T20:00:00Z", "2026-12-24T18:00:00Z"


KEEP_LIMITS: dict[str, tuple[dict[str, str], dict[str, str], Any]] = {
    "no keep-until: a limit keeps nothing by itself": ({}, {}, None),
    "longer than the limit after the due time": ({"keep_until": LATER}, {}, DUE + DAY),
    "within the limit": ({"keep_until": SOON}, {}, END.replace(hour=20, microsecond=0)),
    "on the Namespace": ({}, {"keep_until": LATER}, DUE + DAY),
    "a RayJob's invalid one ends with the limit": ({"keep_until": "tomorrow"}, {}, DUE + DAY),
    "beside a good one on the Namespace": (
        {"keep_until": "tomorrow"},
        {"keep_until": SOON},
        DUE + DAY,
    ),
}


def test_a_keep_ends_with_its_limit() -> None:
    for label, (rayjob, namespace, until) in KEEP_LIMITS.items():
        assert _kept(rayjob, namespace, LIMIT) == until, label


def test_an_invalid_keep_until_of_the_namespace_has_no_limit() -> None:
    assert isinstance(_kept({"keep_until": SOON}, {"keep_until": "tomorrow"}, LIMIT), InvalidValue)


def test_the_tightest_keep_limit_applies() -> None:
    assert (
        _kept({"keep_until": LATER}, {}, LIMIT, setting("tight", limits_keep_max=HOUR))
        == DUE + HOUR
    )


def test_a_new_keep_limit_applies_after_the_wait() -> None:
    at_once = setting(limits_keep_max=timedelta())
    assert (
        _kept({"keep_until": LATER}, {}, replace(at_once, written_at=DUE), wait=15 * MINUTE)
        == DUE + 15 * MINUTE
    )
    unknown = _kept({"keep_until": LATER}, {}, replace(at_once, written_at=None), wait=15 * MINUTE)
    assert unknown == END.replace(month=12, day=24, microsecond=0)


def test_a_new_stuck_time_applies_after_the_wait() -> None:
    policy = setting(stuck_stillRunning=HOUR)
    sources = Sources(a_rayjob(), a_namespace(), (policy,))
    assert stuck_deadline(sources, "stillRunning", END, 15 * MINUTE) == END + HOUR
    fresh = replace(sources, policies=(replace(policy, written_at=END + 50 * MINUTE),))
    assert stuck_deadline(fresh, "stillRunning", END, 15 * MINUTE) == END + 65 * MINUTE
    assert stuck_deadline(sources, "clusterInUse", END, 15 * MINUTE) is None
    assert stuck_deadline(sources, "stillRunning", None, 15 * MINUTE) is None
    never = Sources(a_rayjob(), a_namespace(), (setting(stuck_stillRunning=NEVER),))
    assert stuck_deadline(never, "stillRunning", END, 15 * MINUTE) is None


STUCK = setting(stuck_neverSubmitted=HOUR, stuck_jobLost=DAY, stuck_initializing=WEEK)
ALL_STUCK = [Reason.NEVER_SUBMITTED, Reason.JOB_LOST, Reason.STUCK_INITIALIZING]


@pytest.mark.parametrize(
    ("why", "path", "value"),
    [
        pytest.param(Reason.NEVER_SUBMITTED, "stuck.neverSubmitted", HOUR, id="never submitted"),
        pytest.param(Reason.JOB_LOST, "stuck.jobLost", DAY, id="lost"),
        pytest.param(Reason.STUCK_INITIALIZING, "stuck.initializing", WEEK, id="initializing"),
    ],
)
def test_a_policy_sets_the_time_of_a_job_without_an_outcome(
    why: Reason, path: str, value: timedelta
) -> None:
    retention = resolve_unsubmitted(
        Sources(an_interactive(annotations={}), a_namespace(), (STUCK,)), why
    )
    assert retention == Retention(_policy("base", path, value), _policy("base", path, value))


@pytest.mark.parametrize("why", ALL_STUCK)
@pytest.mark.parametrize(
    ("rayjob", "namespace", "mode", "value"),
    [
        pytest.param(
            {"ttl_unsubmitted": "5m"},
            {},
            "InteractiveMode",
            5 * MINUTE,
            id="an annotation is stronger",
        ),
        pytest.param(
            {}, {"ttl_unsubmitted": "5m"}, "InteractiveMode", 5 * MINUTE, id="the Namespace's too"
        ),
        pytest.param(
            {"ttl_unsubmitted": "never"}, {}, "InteractiveMode", NEVER, id="an explicit never"
        ),
        pytest.param(
            {"ttl": "never"},
            {},
            "InteractiveMode",
            NEVER,
            id="never for the RayJob is never for this too",
        ),
        pytest.param({}, {"ttl": "never"}, "HTTPMode", NEVER, id="and the Namespace's never"),
        pytest.param({"ttl": "soon"}, {}, "HTTPMode", NEVER, id="and an invalid ttl"),
        pytest.param(
            {"ttl": "never"},
            {"ttl_unsubmitted": "5m"},
            "InteractiveMode",
            5 * MINUTE,
            id="but not for an annotation",
        ),
    ],
)
def test_annotations_take_precedence_over_policies_for_stuck_jobs(
    why: Reason, rayjob: dict[str, str], namespace: dict[str, str], mode: str, value: Duration
) -> None:
    job = an_interactive(annotations=says(**rayjob), submission_mode=mode)
    assert (
        resolve_unsubmitted(Sources(job, a_namespace(**namespace), (STUCK,)), why).ttl.value
        == value
    )


def test_ttl_unsubmitted_is_for_interactive_jobs_and_a_policys_initializing_for_all() -> None:
    job = an_interactive(annotations=says(ttl_unsubmitted="5m"), submission_mode="K8sJobMode")
    retention = resolve_unsubmitted(
        Sources(job, a_namespace(), (STUCK,)), Reason.STUCK_INITIALIZING
    )
    assert retention.ttl == _policy("base", "stuck.initializing", WEEK)
    assert (
        resolve_unsubmitted(Sources(job, a_namespace()), Reason.STUCK_INITIALIZING).ttl == BUILT_IN
    )


@pytest.mark.parametrize("why", ALL_STUCK)
def test_an_unknown_key_also_keeps_a_stuck_job(why: Reason) -> None:
    job = an_interactive(annotations=says(ttl_unsubmited="never"), submission_mode="K8sJobMode")
    assert resolve_unsubmitted(Sources(job, a_namespace(), (STUCK,)), why).keeps_all


def test_the_policy_in_dry_run_is_named() -> None:
    stop = a_policy("stop", is_dry_run=True)
    assert policies.dry_run_policy((setting(), stop)) == "RayJobCleanupPolicy stop"
    assert policies.dry_run_policy((setting(),)) == ""
