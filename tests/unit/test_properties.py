"""The laws, over made-up cases of every kind: what must hold whatever the RayJob, the head and the annotations say."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, assume, find, given, settings
from hypothesis import strategies as st

from raysweep import names
from raysweep.core import retention
from raysweep.core.case import Case
from raysweep.core.decisions import Decision, Delete, Wait
from raysweep.core.durations import LONGEST, NEVER, Duration, Never, format_duration, parse_duration
from raysweep.core.facts import HeadList, HeadSilent, JobEntry, Look, Namespace, RayCluster, RayJob
from raysweep.core.finished import Outcome
from raysweep.core.ladder import decide
from raysweep.core.memory import NOTHING, Memory
from raysweep.core.remember import remember
from raysweep.core.rules import NativeTTL
from tests.builders import END, HOUR, a_case, a_look

MINUTE = timedelta(minutes=1)
OUR_CLOCK = END.replace(microsecond=123_457)
"""Our clock shows microseconds; KubeRay's and Kubernetes' cut them off."""

many = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault

minutes = st.one_of(st.sampled_from([-60, -6, -5, -4, -1, 0, 1, 4, 5, 6, 59, 60, 61, 120, 1500]), st.integers(-3000, 3000))
status_times = st.one_of(st.none(), st.builds(lambda m: END.replace(microsecond=0) + m * MINUTE, minutes))
moments = st.builds(lambda m: OUR_CLOCK + m * MINUTE, st.integers(-120, 3000))
words = st.sampled_from(["SUCCEEDED", "FAILED", "STOPPED", "RUNNING", "PENDING", "", "ODD"])
ids = st.sampled_from(["train-x7k2p", "another", ""])
durations = st.sampled_from(["0", "1", "60", "5m", "1h", "1d", "never", "soon", "-1", ""])
keeps = st.sampled_from(["2026-11-22T17:00:00Z", "2026-11-22T18:30:00Z", "2026-12-22T18:00:00+01:00", "tomorrow"])
annotations = st.dictionaries(
    st.sampled_from([*names.DURATION_KEYS, "raysweep.io/tll", "raysweep.io/ttl"]), durations, max_size=3
)
annotations_or_keep = st.builds(
    lambda said, keep: said | ({names.KEEP_UNTIL: keep} if keep else {}), annotations, st.one_of(st.none(), st.none(), keeps)
)

rayjobs = st.builds(
    RayJob,
    namespace=st.sampled_from(["team-a", "team-a", "team-a", "kube-system"]),
    name=st.just("train"),
    uid=st.just("uid-train"),
    resource_version=st.just("100"),
    annotations=annotations_or_keep,
    finalizers=st.sampled_from([(), ("orphan",)]),
    deleting_since=st.one_of(st.none(), st.none(), moments),
    suspend=st.sampled_from([False, False, True]),
    managed_by=st.sampled_from(["", "", "", "ray.io/kuberay-operator", "elsewhere"]),
    has_selector=st.sampled_from([False, False, False, True]),
    deployment_status=st.sampled_from(["Complete", "Failed", "Complete", "ValidationFailed", "Running", "Suspended", "", "Odd"]),
    job_status=words,
    job_id=ids,
    cluster_name=st.sampled_from(["train-cluster", "train-cluster", ""]),
    reason=st.sampled_from(["", "", "DeadlineExceeded", "AppFailed"]),
    end_time=status_times,
    ray_end_time=status_times,
    status_written_at=status_times,
    unreadable=st.sampled_from(["", "", "", "spec.suspend: 'x'"]),
)
clusters = st.builds(
    RayCluster,
    namespace=st.just("team-a"),
    name=st.sampled_from(["train-cluster", "train-cluster", "older"]),
    uid=st.sampled_from(["uid-cluster", "uid-older"]),
    resource_version=st.just("90"),
    controller_uid=st.sampled_from(["uid-train", "uid-train", "uid-other", ""]),
    deleting=st.sampled_from([False, False, True]),
    unreadable=st.sampled_from(["", "", "", "spec: Field required"]),
)
own_clusters = st.builds(lambda cluster: replace(cluster, controller_uid="uid-train"), clusters)
kinds_of_entry = st.sampled_from(["SUBMISSION", "SUBMISSION", "DRIVER"])
entries = st.builds(JobEntry, kinds_of_entry, ids, words, end_time=st.one_of(st.none(), moments))
answers = st.builds(
    HeadList, st.lists(entries, max_size=3).map(tuple), moments, unreadable=st.sampled_from(["", "", "", "it is too large"])
)
silences = st.builds(HeadSilent, st.just("refused"), st.booleans())
looks = st.one_of(st.just(Look(None)), st.builds(Look, clusters, answers), st.builds(Look, clusters, silences))
namespaces = st.one_of(
    st.none(), *3 * [st.builds(Namespace, st.just("team-a"), st.just("uid-team-a"), st.just("7"), annotations_or_keep)]
)
cases = st.builds(
    Case,
    rayjobs,
    namespaces,
    owned=st.lists(own_clusters, max_size=2).map(tuple),
    selected_by=st.sampled_from([(), (), ("other",)]),
    look=st.one_of(st.none(), looks, looks),
)
"""Every kind of case, most of them with something wrong."""
good_cases = st.builds(
    lambda job, entry, said: a_case(
        rayjob=replace(
            job,
            namespace="team-a",
            annotations=said,
            deleting_since=None,
            suspend=False,
            managed_by="",
            has_selector=False,
            deployment_status="Complete",
            cluster_name="train-cluster",
            unreadable="",
        ),
        look=a_look(replace(entry, type="SUBMISSION", submission_id=job.job_id, status="SUCCEEDED")),
    ),
    rayjobs,
    entries,
    st.dictionaries(st.sampled_from(sorted(names.DURATION_KEYS)), st.sampled_from(["0", "5m", "1h"]), min_size=1, max_size=3),
)
"""Cases against which only the time speaks, if anything."""
any_cases = st.one_of(cases, good_cases)


def _remembered(case: Case, first_finished: datetime) -> Case:
    return replace(case, memory=Memory(first_finished=first_finished))


def _later(case: Case, decision: Decision, now: datetime) -> Case:
    """The same case in the next pass."""
    return replace(case, memory=remember(case, decision, now))


def _set_durations(case: Case) -> list[timedelta]:
    """Every duration that anybody wrote, whether it counts or not."""
    assert case.namespace is not None
    written = [*case.rayjob.annotations.values(), *case.namespace.annotations.values()]
    found: list[timedelta] = []
    for text in written:
        try:
            duration = parse_duration(text)
        except ValueError:
            continue
        found += [duration] if isinstance(duration, timedelta) else []
    return found


@pytest.mark.parametrize("kinds", [("RayJob", "RayCluster"), ("RayCluster",)], ids=" and ".join)
def test_the_made_up_cases_are_not_all_kept(kinds: tuple[str, ...]) -> None:
    def deletes(made_up: tuple[Case, datetime]) -> bool:
        decision = decide(*made_up)
        return isinstance(decision, Delete) and tuple(target.kind for target in decision.targets) == kinds

    assert find(st.tuples(good_cases, moments), deletes, settings=settings(phases=[Phase.generate], database=None))


@given(any_cases, moments)
@many
def test_delete_means_finished_by_its_own_word_looked_at_answered_and_not_kept(case: Case, now: datetime) -> None:
    decision = decide(case, now)
    if not isinstance(decision, Delete):
        return
    assert case.rayjob.deployment_status in {"Complete", "Failed", "ValidationFailed"}
    assert case.look is not None
    assert not (case.look.cluster and not case.look.cluster.deleting and isinstance(case.look.head, HeadSilent))
    assert case.namespace is not None
    until = retention.keep_until(case.rayjob, case.namespace)
    assert until is None or (isinstance(until, datetime) and until <= now)


@given(any_cases, moments)
@many
def test_delete_means_that_at_least_the_shortest_time_anybody_set_has_passed_since_the_first_end_anybody_claims(
    case: Case, now: datetime
) -> None:
    decision = decide(case, now)
    if not isinstance(decision, Delete):
        return
    told = decision.why
    assert told.due_at is not None
    assert told.finished_at is not None
    assert told.finished_at <= told.due_at <= now
    claimed = [case.rayjob.end_time, case.rayjob.ray_end_time, case.rayjob.status_written_at]
    head = case.look.head if case.look else None
    ends = [entry.end_time for entry in head.entries if entry.end_time] if isinstance(head, HeadList) else []
    assert now >= min([now, *ends, *(time for time in claimed if time)]) + min(_set_durations(case))


@given(any_cases, moments)
@many
def test_what_is_unknown_deletes_nothing(case: Case, now: datetime) -> None:
    cluster = a_case().owned[0]
    unknown = [
        replace(case, namespace=None),
        replace(case, look=None),
        replace(case, look=Look(cluster)),
        replace(case, look=Look(cluster, HeadSilent("refused"))),
        replace(case, look=Look(cluster, HeadSilent("401", unauthorized=True))),
        replace(case, look=Look(cluster, HeadList((), now, unreadable="too large"))),
        replace(case, look=Look(replace(cluster, unreadable="spec: Field required"), HeadList((), now))),
        replace(case, rayjob=replace(case.rayjob, unreadable="spec: 'x'")),
        replace(case, rayjob=replace(case.rayjob, deployment_status="Odd")),
    ]
    assert not [one for one in unknown if isinstance(decide(one, now), Delete)]


@given(any_cases, moments)
@many
def test_without_a_ttl_nothing_is_deleted(case: Case, now: datetime) -> None:
    silent = replace(case, rayjob=replace(case.rayjob, annotations={}))
    assert not isinstance(decide(replace(silent, namespace=Namespace("team-a", "uid", "7")), now), Delete)


@given(any_cases, moments, moments)
@many
def test_forgetting_never_hastens_a_deletion(case: Case, now: datetime, first_finished: datetime) -> None:
    assume(first_finished <= now)
    if isinstance(decide(replace(case, memory=NOTHING), now), Delete):
        assert isinstance(decide(_remembered(case, first_finished), now), Delete)


@given(any_cases, moments, st.timedeltas(timedelta(), timedelta(days=400)))
@many
def test_a_later_time_never_undecides_what_is_due(case: Case, now: datetime, later: timedelta) -> None:
    decision = decide(case, now)
    if isinstance(decision, Delete):
        again = decide(_later(case, decision, now), now + later)
        assert isinstance(again, Delete)
        assert set(decision.targets) <= set(again.targets) or again.targets[0].kind == "RayJob"


@given(any_cases, moments)
@many
def test_a_wait_lies_in_the_future_and_does_not_repeat_itself_when_its_time_comes(case: Case, now: datetime) -> None:
    decision = decide(case, now)
    if isinstance(decision, Wait):
        assert decision.until > now
        again = decide(_later(case, decision, now), decision.until)
        assert not isinstance(again, Wait) or again.until > decision.until


@given(any_cases, moments)
@many
def test_only_the_judged_rayjob_and_a_cluster_that_it_controls_are_ever_targets(case: Case, now: datetime) -> None:
    decision = decide(case, now)
    if not isinstance(decision, Delete):
        return
    assert case.look is not None
    seen = case.look.cluster
    mine = {seen.uid} if seen and seen.controller_uid == case.rayjob.uid else set()
    assert {target.uid for target in decision.targets} <= {case.rayjob.uid} | mine
    bound = [target.resource_version for target in decision.targets if target.kind == "RayJob"]
    assert bound in ([], [case.rayjob.resource_version])


@given(any_cases, moments)
@many
def test_the_rayjob_is_never_a_target_before_its_own_cluster_may_go_and_never_after_it_in_the_order(
    case: Case, now: datetime
) -> None:
    decision = decide(case, now)
    if not isinstance(decision, Delete) or decision.targets[0].kind != "RayJob":
        assert not isinstance(decision, Delete) or [target.kind for target in decision.targets] == ["RayCluster"]
        return
    told = decision.why
    if case.cluster is None:
        assert [target.kind for target in decision.targets] == ["RayJob"]
        return
    assert [target.kind for target in decision.targets] == ["RayJob", "RayCluster"]
    assert told.finished_at is not None
    for said in (told.ttl, told.cluster_ttl):
        assert said is not None
        assert isinstance(said.value, timedelta)
        assert told.finished_at + said.value <= now


valid = st.sampled_from(["0", "5m", "1h", "never"])


@given(valid, annotations_or_keep, st.sets(st.sampled_from(Outcome), min_size=1).map(frozenset))
@many
def test_the_rayjobs_own_ttl_beats_anything_its_namespace_says(
    ttl: str, inherited: dict[str, str], outcomes: frozenset[Outcome]
) -> None:
    rayjob = replace(a_case().rayjob, annotations={names.TTL: ttl})
    loud, silent = Namespace("team-a", "uid", "7", inherited), Namespace("team-a", "uid", "7")
    assert retention.resolve(rayjob, loud, outcomes, NativeTTL.RAYJOB) == retention.resolve(
        rayjob, silent, outcomes, NativeTTL.RAYJOB
    )


lengths: st.SearchStrategy[Duration] = st.one_of(st.just(NEVER), st.timedeltas(timedelta(), LONGEST))


@given(lengths)
@many
def test_a_duration_survives_being_written_and_read(duration: Duration) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.text(max_size=30) | st.from_regex(r"([0-9.]+[wdhms]?){1,4}", fullmatch=True))
@many
def test_any_text_is_a_duration_up_to_100_years_or_refused(text: str) -> None:
    try:
        duration = parse_duration(text)
    except ValueError:
        return
    assert isinstance(duration, Never) or timedelta() <= duration <= LONGEST


@given(st.text(max_size=40) | st.datetimes().map(lambda moment: f"{moment.isoformat()}-01:00"))
@many
def test_any_text_is_a_keep_or_a_fault_and_a_fault_keeps(text: str) -> None:
    case = a_case(look=a_look())
    kept = replace(case, rayjob=replace(case.rayjob, annotations={names.TTL: "0", names.KEEP_UNTIL: text}))
    until = retention.keep_until(kept.rayjob, kept.namespace or Namespace("team-a", "uid", "7"))
    decision = decide(kept, END + HOUR)
    assert isinstance(decision, Delete) is (isinstance(until, datetime) and until <= END + HOUR)
