"""Laws of policies: limits hold, the tightest of several counts, and conflicting ones keep."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from raysweep import names
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.durations import Duration, Never
from raysweep.core.finish import WHOLE_SECOND
from raysweep.core.model.decisions import Delete
from raysweep.core.model.facts import Policy
from raysweep.core.model.memory import Memory
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import BUILT_IN
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import policies
from raysweep.core.retention.resolve import Sources, resolve
from tests.support.builders import END, MOMENT, a_policy, a_probe, a_submission
from tests.support.strategies import (
    expirable_assessments,
    kuberay_cleanups,
    many,
    namespaces,
    object_annotations,
    rayjobs,
)

lengths = st.one_of(
    st.sampled_from([timedelta(), timedelta(hours=1), timedelta(days=1)]),
    st.timedeltas(timedelta(), timedelta(400)),
)
times = st.dictionaries(
    st.sampled_from([*names.LIMIT_DURATIONS, *names.RETENTION_DURATIONS]), lengths, max_size=5
)
some_policies = st.lists(
    st.builds(
        lambda name, priority, times: a_policy(name, priority=priority, times=times),
        st.text("abc", min_size=1),
        st.integers(-1, 1),
        times,
    ),
    max_size=4,
).map(lambda some: tuple(policies.strongest_first(some)))
some_outcomes = st.sets(st.sampled_from(Outcome), min_size=1).map(frozenset)
some_sources = st.builds(
    Sources,
    st.builds(
        lambda rayjob, cleanup, annotations: replace(
            rayjob, annotations=annotations, kuberay_cleanup=cleanup
        ),
        rayjobs,
        kuberay_cleanups,
        object_annotations,
    ),
    namespaces.filter(lambda namespace: namespace is not None),
    some_policies,
)


def _limits(selecting: tuple[Policy, ...], path: str) -> list[timedelta]:
    """All limits at that path but never."""
    limits = [policy.times.get(path, Never.NEVER) for policy in selecting]
    return [limit for limit in limits if not isinstance(limit, Never)]


def _is_at_most(duration: Duration, limit: timedelta) -> bool:
    return not isinstance(duration, Never) and duration <= limit


def _is_at_least(duration: Duration, limit: timedelta) -> bool:
    return isinstance(duration, Never) or duration >= limit


def _only(selecting: tuple[Policy, ...], paths: tuple[str, ...]) -> tuple[Policy, ...]:
    def times_of(policy: Policy) -> dict[str, Duration]:
        return {path: time for path, time in policy.times.items() if path in paths}

    return tuple(replace(policy, times=times_of(policy)) for policy in selecting)


@given(some_sources, some_outcomes)
@many
def test_a_ttl_that_is_set_is_within_all_limits(
    sources: Sources, outcomes: frozenset[Outcome]
) -> None:
    retention = resolve(sources, outcomes)
    if retention.keeps_all:
        return
    for kind, ttl in (("rayJob", retention.ttl), ("rayCluster", retention.cluster_ttl)):
        if ttl == BUILT_IN:
            continue
        for limit in _limits(sources.policies, f"limits.{kind}.max"):
            assert _is_at_most(ttl.value, limit)
        for limit in _limits(sources.policies, f"limits.{kind}.min"):
            assert _is_at_least(ttl.value, limit)
    if retention.ttl != BUILT_IN:
        # The RayJob waits for its cluster, so its limit is one for the cluster too.
        for limit in _limits(sources.policies, "limits.rayJob.max"):
            assert _is_at_most(retention.cluster_ttl.value, limit)


@given(some_sources, st.sampled_from(Outcome))
@many
def test_a_limit_changes_a_ttl_no_further_than_to_the_limit(
    sources: Sources, outcome: Outcome
) -> None:
    outcomes = frozenset({outcome})
    limited = resolve(sources, outcomes)
    without = _only(sources.policies, names.RETENTION_DURATIONS)
    free = resolve(replace(sources, policies=without), outcomes)
    if limited.keeps_all or free.keeps_all:
        return
    limits = [limit for path in names.LIMIT_DURATIONS for limit in _limits(sources.policies, path)]
    for ttl, unlimited in ((limited.ttl, free.ttl), (limited.cluster_ttl, free.cluster_ttl)):
        assert ttl.value == unlimited.value or ttl.value in limits
        assert (ttl.clamp == "") is (ttl.value == unlimited.value)


@given(some_sources, some_outcomes)
@many
def test_limits_keep_everything_if_they_conflict_and_a_ttl_is_set(
    sources: Sources, outcomes: frozenset[Outcome]
) -> None:
    pairs = (("rayJob", "rayJob"), ("rayCluster", "rayCluster"), ("rayCluster", "rayJob"))
    have_conflict = any(
        low > high
        for least, most in pairs
        for low in _limits(sources.policies, f"limits.{least}.min")
        for high in _limits(sources.policies, f"limits.{most}.max")
    )
    each = [resolve(sources, frozenset({outcome})) for outcome in outcomes]
    is_set = any(
        retention.ttl != BUILT_IN or retention.cluster_ttl != BUILT_IN for retention in each
    )
    assert (resolve(sources, outcomes).conflict != "") is (have_conflict and is_set)


@given(expirable_assessments, some_policies)
@many
def test_conflicting_limits_delete_nothing(
    assessment: Assessment, selecting: tuple[Policy, ...]
) -> None:
    late = replace(assessment, now=END + timedelta(days=900), policies=selecting)
    if policies.conflict(selecting):
        assert decide(late).explanation.reason is Reason.LIMITS_CONFLICT


@given(expirable_assessments, some_policies, st.sampled_from(["SUCCEEDED", "FAILED"]))
@many
def test_a_cluster_is_deleted_at_every_maximum_and_not_before_any_minimum(
    assessment: Assessment, selecting: tuple[Policy, ...], job_status: str
) -> None:
    annotations = {**assessment.rayjob.annotations, names.CLUSTER_TTL: "never"}
    job = replace(assessment.rayjob, job_status=job_status, annotations=annotations)
    ended = replace(
        assessment,
        now=END,
        rayjob=job,
        probe=a_probe(a_submission(job_status, job.job_id)),
        policies=selecting,
        memory=Memory(first_finished=END),
    )
    if policies.conflict(selecting):
        return
    end = ended.due.end.time
    for limit in _limits(selecting, "limits.rayCluster.max"):
        decision = decide(replace(ended, now=end + limit + WHOLE_SECOND))
        assert isinstance(decision, Delete)
        assert "RayCluster" in {target.kind for target in decision.targets}
    for limit in _limits(selecting, "limits.rayCluster.min"):
        assert not isinstance(decide(replace(ended, now=end + limit - MOMENT)), Delete)


@given(expirable_assessments, some_policies)
@many
def test_the_order_of_policies_does_not_matter_for_limits(
    assessment: Assessment, selecting: tuple[Policy, ...]
) -> None:
    selecting = _only(selecting, names.LIMIT_DURATIONS)
    forward = replace(assessment, policies=selecting).retention
    backward = replace(assessment, policies=selecting[::-1]).retention
    assert forward.ttl.value == backward.ttl.value
    assert forward.cluster_ttl.value == backward.cluster_ttl.value
    assert forward.keeps_all == backward.keeps_all
