"""Laws of decisions that hold for every generated RayJob, head, memory and annotation."""

import contextlib
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from raysweep import names
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.durations import LONGEST, NEVER, Duration, Never, format_duration, parse_duration
from raysweep.core.head_report import KEPT_ENTRIES, ReportedState, decisive_entries
from raysweep.core.model.decisions import Decision, Delete, Wait
from raysweep.core.model.facts import (
    HeadList,
    HeadSilent,
    JobEntry,
    KubeRayCleanup,
    Namespace,
    Policy,
    ProbeKind,
    ProbeResult,
)
from raysweep.core.model.memory import NOTHING
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import BUILT_IN
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import resolve
from raysweep.core.retention.resolve import Sources
from raysweep.core.update_memory import update_memory
from tests.support.builders import (
    END,
    HOUR,
    a_namespace,
    a_probe,
    a_raycluster,
    a_rayjob,
    an_assessment,
)
from tests.support.strategies import (
    ENDED,
    MINUTE,
    any_assessments,
    at_time,
    defaulted_assessments,
    entries,
    expirable_assessments,
    kuberay_cleanups,
    many,
    moments,
    object_annotations,
    probes,
    remembered,
    silent_assessments,
    stuck_assessments,
    uptimes,
)

FINAL = frozenset({"Complete", "Failed", "ValidationFailed"})
UNFINISHED_BY_KUBERAY = frozenset(
    {Reason.FINISHED_UNREPORTED, Reason.NEVER_SUBMITTED, Reason.JOB_LOST, Reason.STUCK_INITIALIZING}
)
BY_POLICY = frozenset({Reason.STUCK_UNREACHABLE, Reason.STUCK_RUNNING, Reason.STUCK_IN_USE})
"""Reasons that apply before and after KubeRay finished the RayJob."""
WITHOUT_AN_ANSWER = frozenset(
    {
        Reason.UNCONFIRMED,
        Reason.DELETION_UNFINISHED,
        Reason.FINISHED_UNREPORTED,
        Reason.STUCK_INITIALIZING,
        Reason.STUCK_UNREACHABLE,
    }
)


def _next_pass(assessment: Assessment, decision: Decision) -> Assessment:
    return replace(assessment, memory=update_memory(assessment, decision))


def _later(assessment: Assessment, time: timedelta) -> Assessment:
    return replace(assessment, now=assessment.now + time, uptime=assessment.uptime + time)


def _restarted(assessment: Assessment) -> Assessment:
    """As a process sees it that has just started."""
    return replace(assessment, memory=NOTHING, uptime=timedelta(), started_at=assessment.now)


def _deletes_with(assessment: Assessment, kinds: tuple[str, ...]) -> bool:
    decision = decide(assessment)
    if not isinstance(decision, Delete):
        return False
    return tuple(target.kind for target in decision.targets) == kinds


@pytest.mark.parametrize("kinds", [("RayJob", "RayCluster"), ("RayCluster",)], ids=" and ".join)
def test_some_generated_assessments_delete(kinds: tuple[str, ...]) -> None:
    found = find(
        st.builds(at_time, expirable_assessments, moments),
        lambda assessment: _deletes_with(assessment, kinds),
        settings=settings(phases=[Phase.generate], database=None, max_examples=5000),
    )
    assert found


@pytest.mark.parametrize(
    "reason",
    sorted(UNFINISHED_BY_KUBERAY | {Reason.UNCONFIRMED, Reason.STUCK_UNREACHABLE}),
    ids=str,
)
def test_some_generated_assessments_delete_with_this_reason(reason: Reason) -> None:
    def deletes(assessment: Assessment) -> bool:
        decision = decide(assessment)
        return isinstance(decision, Delete) and decision.explanation.reason is reason

    is_of_silence = reason not in UNFINISHED_BY_KUBERAY
    kinds = silent_assessments() if is_of_silence else stuck_assessments
    found = find(
        st.builds(at_time, kinds, moments),
        deletes,
        settings=settings(phases=[Phase.generate], database=None, max_examples=5000),
    )
    assert found


@given(remembered)
@many
def test_a_deletion_follows_an_end_and_a_probe_and_no_keep(assessment: Assessment) -> None:
    decision = decide(assessment)
    if not isinstance(decision, Delete):
        return
    job, reason = assessment.rayjob, decision.explanation.reason
    if reason not in BY_POLICY:
        assert (job.deployment_status in FINAL) is (reason not in UNFINISHED_BY_KUBERAY)
    assert assessment.deletion_probe is not None
    assert assessment.namespace is not None
    until = assessment.kept_until
    assert until is None or (isinstance(until, datetime) and until <= assessment.now)
    assert job.deleting_since or not job.suspend or job.deployment_status in FINAL


@given(remembered)
@many
def test_an_unreadable_list_deletes_only_by_policy(assessment: Assessment) -> None:
    decision, head = decide(assessment), assessment.head_list
    if not isinstance(decision, Delete) or head is None or not head.unreadable:
        return
    if assessment.head_report.state is ReportedState.NO_HEAD:
        return
    job = assessment.rayjob
    has_own = any(entry.submission_id == job.job_id or not job.job_id for entry in head.entries)
    assert decision.explanation.reason in BY_POLICY
    assert _has_rays_report(assessment) or has_own


@given(remembered)
@many
def test_a_head_without_an_answer_deletes_only_what_needs_none(assessment: Assessment) -> None:
    decision = decide(assessment)
    if not isinstance(decision, Delete):
        return
    if assessment.head_report.state is not ReportedState.NO_ANSWER:
        return
    reason, memory = decision.explanation.reason, assessment.memory
    if reason is Reason.STUCK_INITIALIZING and _is_not_submitted_yet(assessment):
        return
    if reason is Reason.JOB_LOST:
        assert _is_alone_on_dead_node(assessment)
        return
    assert reason in WITHOUT_AN_ANSWER
    assert not assessment.heads_fail
    assert memory.silent_probes >= 2
    assert memory.silent_since is not None
    assert assessment.uptime - memory.silent_since >= timedelta(minutes=5)
    assert (
        reason is Reason.STUCK_UNREACHABLE
        or any(_limits_silence(policy) for policy in assessment.policies or ())
        or _has_rays_report(assessment)
        or _is_head_gone(assessment)
        or assessment.rayjob.reason == "DeadlineExceeded"
    )


def _has_rays_report(assessment: Assessment) -> bool:
    job = assessment.rayjob
    return job.job_status in ENDED and job.ray_end_time is not None


def _is_alone_on_dead_node(assessment: Assessment) -> bool:
    silence = assessment.head_silence
    if silence is None or not silence.node_is_dead:
        return False
    others = [e for e in silence.listed or () if e.submission_id != assessment.rayjob.job_id]
    return all(entry.status in ENDED for entry in others)


def _limits_silence(policy: Policy) -> bool:
    return not {"stuck.headUnreachable", "stuck.stillRunning"}.isdisjoint(policy.times)


def _is_head_gone(assessment: Assessment) -> bool:
    """By KubeRay's words for a head Pod that does not exist or has ended."""
    assert assessment.probe is not None
    cluster = assessment.probe.cluster
    assert cluster is not None
    if cluster.is_fault_tolerant:
        return False
    if cluster.head_reason is None:
        return cluster.has_status and not (cluster.head_pod_name or cluster.head_pod_ip)
    is_gone = cluster.head_reason in ("HeadPodNotFound", "PodFailed", "PodCompleted")
    return cluster.head_ready is False and is_gone


def _is_not_submitted_yet(assessment: Assessment) -> bool:
    """KubeRay submits to a ready cluster, or no user can have reached the head."""
    if assessment.rayjob.submission_mode != names.INTERACTIVE_MODE:
        return assessment.rayjob.submission_mode in ("", "K8sJobMode", "HTTPMode")
    cluster = assessment.probe.cluster if assessment.probe else None
    return cluster is not None and cluster.head_ready is not True


@given(remembered)
@many
def test_a_cluster_alone_is_deleted_only_after_kuberay_finished(assessment: Assessment) -> None:
    decision = decide(assessment)
    if isinstance(decision, Delete) and decision.targets[0].kind == "RayCluster":
        assert assessment.rayjob.deployment_status in FINAL


@given(remembered)
@many
def test_a_selected_cluster_is_never_a_target(assessment: Assessment) -> None:
    selecting = replace(assessment, rayjob=replace(assessment.rayjob, has_selector=True))
    decision = decide(selecting)
    if isinstance(decision, Delete):
        assert [target.kind for target in decision.targets] == ["RayJob"]
        assert assessment.rayjob.job_status in ENDED


@given(remembered)
@many
def test_a_tracked_rayjob_is_deleted_only_by_its_own_ttl(assessment: Assessment) -> None:
    tracked = replace(
        assessment.rayjob,
        keys=frozenset({"argocd.argoproj.io/tracking-id"}),
        deleting_since=None,
    )
    decision = decide(replace(assessment, rayjob=tracked))
    if isinstance(decision, Delete) and decision.targets[0].kind == "RayJob":
        keys = {names.TTL, f"{names.TTL}-{decision.explanation.outcome}"}
        assert keys & set(tracked.annotations)


@given(
    remembered,
    st.lists(
        st.tuples(probes, st.sampled_from([timedelta(), MINUTE, 31 * MINUTE, HOUR])), max_size=5
    ),
)
@many
def test_passes_in_a_row_never_fail_and_every_wait_ends(
    assessment: Assessment, history: list[tuple[ProbeResult, timedelta]]
) -> None:
    for probe, later in history:
        decision = decide(assessment)
        if isinstance(decision, Wait):
            assert decision.until > assessment.now
        memory = update_memory(assessment, decision)
        if assessment.deletion_probe and memory.probe_again_at:
            assert memory.probe_again_at > assessment.now
        next_probe = None if isinstance(decision, Wait) else probe
        assessment = replace(_later(assessment, later), memory=memory, probe=next_probe)


@given(any_assessments)
@many
def test_a_deletion_comes_no_earlier_than_the_shortest_duration_after_the_first_end(
    assessment: Assessment,
) -> None:
    decision, job = decide(assessment), assessment.rayjob
    if not isinstance(decision, Delete):
        return
    explanation = decision.explanation
    assert explanation.due_at is not None
    assert explanation.finished_at is not None
    assert explanation.finished_at <= explanation.due_at <= assessment.now
    times = [
        job.end_time,
        job.ray_end_time,
        job.status_written_at,
        job.start_time,
        assessment.memory.missing_since,
        *(entry.end_time for entry in assessment.head_entries),
        assessment.now,
    ]
    first_end = min(time for time in times if time)
    assert assessment.now >= first_end + min(_durations(assessment))


def _durations(assessment: Assessment) -> list[timedelta]:
    """Every duration of the RayJob and its Namespace, whether it counts or not."""
    assert assessment.namespace is not None
    cleanup = assessment.rayjob.kuberay_cleanup
    texts = [
        *assessment.rayjob.annotations.values(),
        *assessment.namespace.annotations.values(),
        str(cleanup.seconds),
        *(str(rule.seconds) for rule in cleanup.rules),
    ]
    durations: list[timedelta] = []
    for text in texts:
        with contextlib.suppress(ValueError):
            duration = parse_duration(text)
            durations += [duration] if isinstance(duration, timedelta) else []
    return durations


@given(any_assessments)
@many
def test_missing_facts_delete_nothing(assessment: Assessment) -> None:
    """No earlier silence is remembered here."""
    assessment = replace(assessment, memory=NOTHING)
    now, rayjob, cluster = assessment.now, assessment.rayjob, an_assessment().owned[0]
    unreadable_cluster = replace(cluster, unreadable="spec: Field required")
    probes_without_answer = (
        None,
        ProbeResult(cluster),
        ProbeResult(cluster, HeadSilent("refused", node_is_dead=True)),
        ProbeResult(cluster, HeadSilent("401", unauthorized=True)),
        ProbeResult(cluster, HeadList((), now, unreadable="too large")),
        ProbeResult(cluster, HeadList((), now), kind=ProbeKind.STATUS),
        ProbeResult(unreadable_cluster, HeadList((), now)),
    )
    incomplete = [
        replace(assessment, namespace=None),
        replace(assessment, rayjob=replace(rayjob, unreadable="spec: 'x'")),
        replace(assessment, rayjob=replace(rayjob, deployment_status="Odd")),
        *(replace(assessment, probe=probe) for probe in probes_without_answer),
    ]
    for each in incomplete:
        decision = decide(each)
        if isinstance(decision, Delete):
            assert decision.explanation.reason is Reason.STUCK_INITIALIZING


@given(any_assessments)
@many
def test_without_a_ttl_nothing_is_deleted(assessment: Assessment) -> None:
    rayjob = replace(assessment.rayjob, annotations={}, kuberay_cleanup=KubeRayCleanup())
    namespace = Namespace("team-a", "uid", "7")
    decision = decide(replace(assessment, rayjob=rayjob, namespace=namespace))
    assert not isinstance(decision, Delete)


@given(remembered)
@many
def test_a_lost_memory_never_leads_to_an_earlier_deletion(assessment: Assessment) -> None:
    if isinstance(decide(_restarted(assessment)), Delete):
        assert isinstance(decide(assessment), Delete)


changes_of_defaults = st.lists(
    st.tuples(
        st.sampled_from([timedelta(seconds=1), MINUTE, 2 * MINUTE, 10 * MINUTE, HOUR]),
        st.sampled_from(
            [
                {},
                {"ttl": "0"},
                {"ttl": "1h"},
                {"cluster_ttl": "0"},
                {"ttl": "1h", "cluster_ttl": "5m"},
                {"ttl": "1d"},
            ]
        ),
    ),
    min_size=1,
    max_size=4,
)
"""Time since the last pass, and the annotations of the Namespace by then."""


@given(defaulted_assessments, uptimes, changes_of_defaults)
@settings(many, max_examples=max(500, many.max_examples))
def test_a_restart_after_a_change_of_defaults_never_leads_to_an_earlier_deletion(
    assessment: Assessment, uptime: timedelta, history: list[tuple[timedelta, dict[str, str]]]
) -> None:
    assessment = replace(assessment, now=END, uptime=uptime, started_at=END - uptime)
    for later, annotations in history:
        assessment = replace(_later(assessment, later), namespace=a_namespace(**annotations))
        decision, restarted = decide(assessment), _restarted(assessment)
        is_deleted_at_once = isinstance(decide(restarted), Delete)
        if is_deleted_at_once and not _has_just_become_due(restarted):
            assert isinstance(decision, Delete)
        assessment = _next_pass(assessment, decision)


def _has_just_become_due(assessment: Assessment) -> bool:
    """By the RayJob's own time, overdue by no more than two minutes."""
    due_at, retention = assessment.due.first_at, assessment.retention
    if retention.ttl.inherited or retention.cluster_ttl.inherited or due_at is None:
        return False
    return assessment.now - due_at <= assessment.parameters.bulk_expiry_overdue


@given(
    remembered,
    st.one_of(
        st.sampled_from([timedelta(), MINUTE, HOUR]),
        st.timedeltas(timedelta(), timedelta(days=400)),
    ),
)
@many
def test_what_is_due_stays_due(assessment: Assessment, later: timedelta) -> None:
    decision = decide(assessment)
    if isinstance(decision, Delete):
        again = decide(_later(_next_pass(assessment, decision), later))
        assert isinstance(again, Delete)
        assert set(decision.targets) <= set(again.targets) or again.targets[0].kind == "RayJob"


@given(any_assessments)
@many
def test_a_wait_is_in_the_future_and_is_not_repeated_when_it_ends(assessment: Assessment) -> None:
    decision = decide(assessment)
    if isinstance(decision, Wait):
        assert decision.until > assessment.now
        again = decide(replace(_next_pass(assessment, decision), now=decision.until))
        assert not isinstance(again, Wait) or again.until > decision.until


@given(any_assessments)
@many
def test_only_the_rayjob_and_its_own_cluster_are_targets(assessment: Assessment) -> None:
    decision, job = decide(assessment), assessment.rayjob
    if not isinstance(decision, Delete):
        return
    assert assessment.probe is not None
    cluster, uids = assessment.probe.cluster, {job.uid}
    if cluster and cluster.controller_uid == job.uid:
        uids.add(cluster.uid)
    assert {target.uid for target in decision.targets} <= uids
    versions = [target.resource_version for target in decision.targets if target.kind == "RayJob"]
    assert versions in ([], [job.resource_version])


@given(any_assessments)
@many
def test_the_rayjob_is_deleted_first_and_not_before_its_cluster_is_due(
    assessment: Assessment,
) -> None:
    decision = decide(assessment)
    if not isinstance(decision, Delete):
        return
    kinds = [target.kind for target in decision.targets]
    if kinds == ["RayCluster"]:
        return
    if assessment.cluster is None:
        assert kinds == ["RayJob"]
        return
    assert kinds == ["RayJob", "RayCluster"]
    explanation = decision.explanation
    assert explanation.finished_at is not None
    for ttl in (explanation.ttl, explanation.cluster_ttl):
        assert ttl is not None
        assert isinstance(ttl.value, timedelta)
        assert explanation.finished_at + ttl.value <= assessment.now


@given(kuberay_cleanups, object_annotations, st.sampled_from(Outcome))
@many
def test_the_spec_outranks_the_namespace(
    kuberay_cleanup: KubeRayCleanup, annotations: dict[str, str], outcome: Outcome
) -> None:
    rayjob = replace(a_rayjob(), annotations={}, kuberay_cleanup=kuberay_cleanup)
    outcomes = frozenset({outcome})
    empty = Namespace("team-a", "uid", "7")
    alone = resolve.resolve(Sources(rayjob, empty), outcomes)
    both = resolve.resolve(Sources(rayjob, replace(empty, annotations=annotations)), outcomes)
    for by_spec, by_both in ((alone.ttl, both.ttl), (alone.cluster_ttl, both.cluster_ttl)):
        assert by_spec is BUILT_IN or by_spec == by_both


@given(
    st.sampled_from(["0", "5m", "1h", "never"]),
    kuberay_cleanups,
    object_annotations,
    st.sets(st.sampled_from(Outcome), min_size=1).map(frozenset),
)
@many
def test_the_rayjobs_own_ttl_outranks_its_spec_and_its_namespace(
    ttl: str,
    kuberay_cleanup: KubeRayCleanup,
    annotations: dict[str, str],
    outcomes: frozenset[Outcome],
) -> None:
    rayjob = replace(a_rayjob(), annotations={names.TTL: ttl})
    empty = Namespace("team-a", "uid", "7")
    alone = resolve.resolve(Sources(rayjob, empty), outcomes)
    rayjob = replace(rayjob, kuberay_cleanup=kuberay_cleanup)
    sources = Sources(rayjob, replace(empty, annotations=annotations))
    assert resolve.resolve(sources, outcomes) == alone


durations: st.SearchStrategy[Duration] = st.one_of(
    st.just(NEVER), st.timedeltas(timedelta(), LONGEST)
)


@given(durations)
@many
def test_a_formatted_duration_parses_to_the_same(duration: Duration) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.text(max_size=30) | st.from_regex(r"([0-9.]+[wdhms]?){1,4}", fullmatch=True))
@many
def test_any_text_is_a_duration_up_to_100_years_or_invalid(text: str) -> None:
    try:
        duration = parse_duration(text)
    except ValueError:
        return
    assert isinstance(duration, Never) or timedelta() <= duration <= LONGEST


@given(st.text(max_size=40) | st.datetimes().map(lambda moment: f"{moment.isoformat()}-01:00"))
@many
def test_any_text_in_keep_until_is_a_time_or_keeps(text: str) -> None:
    rayjob = a_rayjob(annotations={names.TTL: "0", names.KEEP_UNTIL: text})
    assessment = an_assessment(now=END + HOUR, rayjob=rayjob, probe=a_probe())
    until = assessment.kept_until
    has_passed = isinstance(until, datetime) and until <= assessment.now
    assert isinstance(decide(assessment), Delete) is has_passed


@many
@given(
    st.one_of(any_assessments, stuck_assessments),
    st.lists(entries, min_size=2 * KEPT_ENTRIES + 1, max_size=40).map(tuple),
    moments,
)
def test_the_entries_that_decide_decide_as_the_whole_list(
    assessment: Assessment, listed: tuple[JobEntry, ...], answered_at: datetime
) -> None:
    def decision(kept: tuple[JobEntry, ...]) -> tuple[object, ...]:
        probe = ProbeResult(a_raycluster(), HeadList(kept, answered_at))
        probed = replace(assessment, probe=probe)
        decided = decide(probed)
        decided = replace(decided, explanation=replace(decided.explanation, message=""))
        return decided, update_memory(probed, decided)

    assert decision(decisive_entries(listed, assessment.rayjob.job_id)) == decision(listed)
