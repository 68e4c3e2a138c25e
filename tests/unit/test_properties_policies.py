"""The laws of policies, over made-up ones of every kind: limits hold, the tightest of several, and contradictory ones keep."""

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
from tests.support.builders import END, a_policy, a_probe, a_submission
from tests.support.strategies import (
    expirable_assessments,
    kuberay_cleanups,
    many,
    namespaces,
    object_annotations,
    rayjobs,
)

some_lengths = st.sampled_from([timedelta(), timedelta(hours=1), timedelta(days=1)])
lengths = st.one_of(some_lengths, st.timedeltas(timedelta(), timedelta(400)))
times = st.dictionaries(
    st.sampled_from([*names.LIMIT_DURATIONS, *names.RETENTION_DURATIONS]), lengths, max_size=5
)
one_policy = st.builds(
    lambda name, priority, sources: a_policy(name, priority=priority, times=sources),
    st.text("abc", min_size=1),
    st.integers(-1, 1),
    times,
)
some_policies = st.lists(one_policy, max_size=4).map(
    lambda selecting: tuple(policies.strongest_first(selecting))
)
outcomes = st.sets(st.sampled_from(Outcome), min_size=1).map(frozenset)
sources = st.builds(
    lambda job, kuberay_cleanup, sources, namespace, selecting: Sources(
        replace(job, annotations=sources, kuberay_cleanup=kuberay_cleanup), namespace, selecting
    ),
    rayjobs,
    kuberay_cleanups,
    object_annotations,
    namespaces.filter(lambda namespace: namespace is not None),
    some_policies,
)


def limits(selecting: tuple[Policy, ...], path: str) -> list[timedelta]:
    """All limits at that path, whoever sets them."""
    return [
        time
        for policy in selecting
        if not isinstance(time := policy.times.get(path, Never.NEVER), Never)
    ]


def is_at_most(value: Duration, most: timedelta) -> bool:
    return not isinstance(value, Never) and value <= most


@given(sources, outcomes)
@many
def test_no_time_exceeds_a_limit(sources: Sources, ended: frozenset[Outcome]) -> None:
    kept = resolve(sources, ended)
    if kept.keeps_all:
        return
    for what, time in (("rayJob", kept.ttl), ("rayCluster", kept.cluster_ttl)):
        if time == BUILT_IN:
            continue
        assert all(
            is_at_most(time.value, most) for most in limits(sources.policies, f"limits.{what}.max")
        )
        least = limits(sources.policies, f"limits.{what}.min")
        assert all(isinstance(time.value, Never) or time.value >= minimum for minimum in least)
    if (
        kept.ttl != BUILT_IN
    ):  # the RayJob waits for its cluster, so the cluster may not outlast the RayJob's limit either
        assert all(
            is_at_most(kept.cluster_ttl.value, most)
            for most in limits(sources.policies, "limits.rayJob.max")
        )


@given(sources, outcomes)
@many
def test_limits_change_a_time_no_more_than_needed(
    sources: Sources, ended: frozenset[Outcome]
) -> None:
    kept, free = (
        resolve(sources, ended),
        resolve(replace(sources, policies=_without_limits(sources.policies)), ended),
    )
    for time, unbounded in ((kept.ttl, free.ttl), (kept.cluster_ttl, free.cluster_ttl)):
        if kept.keeps_all or free.keeps_all or len(ended) > 1:
            continue
        bounds = [time for path in names.LIMIT_DURATIONS for time in limits(sources.policies, path)]
        assert time.value == unbounded.value or time.value in bounds
        assert (time.clamp == "") is (time.value == unbounded.value)


def _without_limits(selecting: tuple[Policy, ...]) -> tuple[Policy, ...]:
    return tuple(
        replace(one, times={p: t for p, t in one.times.items() if p not in names.LIMIT_DURATIONS})
        for one in selecting
    )


@given(sources, outcomes)
@many
def test_limits_keep_everything_exactly_if_they_conflict(
    sources: Sources, ended: frozenset[Outcome]
) -> None:
    kept = resolve(sources, ended)
    pairs = (("rayJob", "rayJob"), ("rayCluster", "rayCluster"), ("rayCluster", "rayJob"))
    clash = any(
        low > high
        for least, most in pairs
        for low in limits(sources.policies, f"limits.{least}.min")
        for high in limits(sources.policies, f"limits.{most}.max")
    )
    alone = [
        resolve(sources, frozenset({one})) for one in ended
    ]  # where two outcomes may be meant, one that is bounded is enough
    is_unset = all(each.ttl == BUILT_IN and each.cluster_ttl == BUILT_IN for each in alone)
    assert (kept.conflict != "") is (clash and not is_unset)


@given(expirable_assessments, some_policies)
@many
def test_conflicting_limits_delete_nothing(
    assessment: Assessment, selecting: tuple[Policy, ...]
) -> None:
    bounded = replace(assessment, policies=selecting)
    decision = decide(replace(bounded, now=END + timedelta(days=900)))
    if policies.conflict(selecting):
        assert decision.explanation.reason is Reason.LIMITS_CONFLICT


@given(expirable_assessments, some_policies, st.sampled_from(["succeeded", "failed"]))
@many
def test_a_finished_jobs_cluster_is_gone_at_every_maximum_and_never_before_any_minimum(
    assessment: Assessment, selecting: tuple[Policy, ...], word: str
) -> None:
    job = replace(
        assessment.rayjob,
        job_status=word.upper(),
        annotations={**assessment.rayjob.annotations, names.CLUSTER_TTL: "never"},
    )
    probe, seen = a_probe(a_submission(word.upper(), job.job_id)), Memory(first_finished=END)
    ended = replace(assessment, rayjob=job, probe=probe, policies=selecting, memory=seen)
    if policies.conflict(selecting):
        return
    end = replace(ended, now=END).due.end.time
    for most in limits(selecting, "limits.rayCluster.max"):
        decision = decide(replace(ended, now=end + most + WHOLE_SECOND))
        assert isinstance(decision, Delete)
        assert "RayCluster" in {target.kind for target in decision.targets}
    for least in limits(selecting, "limits.rayCluster.min"):
        assert not isinstance(
            decide(replace(ended, now=end + least - timedelta(microseconds=1))), Delete
        )


@given(expirable_assessments, some_policies)
@many
def test_the_limit_of_a_weaker_policy_applies_too(
    assessment: Assessment, selecting: tuple[Policy, ...]
) -> None:
    """Limits know no priority: whichever order the policies come in, the two times are the same."""
    one = replace(replace(assessment, policies=_without_retention(selecting)), now=END).retention
    other = replace(
        replace(assessment, policies=_without_retention(selecting[::-1])), now=END
    ).retention
    assert (one.ttl.value, one.cluster_ttl.value, one.keeps_all) == (
        other.ttl.value,
        other.cluster_ttl.value,
        other.keeps_all,
    )


def _without_retention(selecting: tuple[Policy, ...]) -> tuple[Policy, ...]:
    return tuple(
        replace(one, times={p: t for p, t in one.times.items() if p in names.LIMIT_DURATIONS})
        for one in selecting
    )
