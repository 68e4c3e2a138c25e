"""The laws, over made-up cases of every kind: what must hold whatever the RayJob, the head and the annotations say."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from raysweep import names
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.durations import LONGEST, NEVER, Duration, Never, format_duration, parse_duration
from raysweep.core.model.decisions import Decision, Delete, Wait
from raysweep.core.model.facts import (
    DeletionRule,
    HeadList,
    HeadSilent,
    JobEntry,
    KubeRayCleanup,
    Namespace,
    Policy,
    ProbeKind,
    ProbeResult,
    RayCluster,
    RayJob,
)
from raysweep.core.model.memory import NOTHING, Memory
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import BUILT_IN
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import resolve
from raysweep.core.retention.policies import strongest_first
from raysweep.core.retention.resolve import Sources
from raysweep.core.update_memory import update_memory
from tests.support.builders import (
    END,
    HOUR,
    a_namespace,
    a_probe,
    a_raycluster,
    an_assessment,
    an_interactive,
)

MINUTE = timedelta(minutes=1)
OUR_CLOCK = END.replace(microsecond=123_457)
"""Our clock shows microseconds; KubeRay's and Kubernetes' cut them off."""

many = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # a busy machine is no fault

minutes = st.one_of(
    st.sampled_from([-60, -6, -5, -4, -1, 0, 1, 4, 5, 6, 59, 60, 61, 120, 1500]),
    st.integers(-3000, 3000),
)
status_times = st.one_of(
    st.none(), st.builds(lambda m: END.replace(microsecond=0) + m * MINUTE, minutes)
)
moments = st.builds(lambda m: OUR_CLOCK + m * MINUTE, st.integers(-120, 3000))
words = st.sampled_from(["SUCCEEDED", "FAILED", "STOPPED", "RUNNING", "PENDING", "", "ODD"])
ids = st.sampled_from(["train-x7k2p", "another", ""])
durations = st.sampled_from(["0", "1", "60", "5m", "1h", "1d", "never", "soon", "-1", ""])
keeps = st.sampled_from(
    ["2026-11-22T17:00:00Z", "2026-11-22T18:30:00Z", "2026-12-22T18:00:00+01:00", "tomorrow"]
)
annotations = st.dictionaries(
    st.sampled_from(
        [
            *names.DURATION_ANNOTATIONS,
            "raysweep.io/tll",
            names.TTL,
            names.TTL,
            names.TTL_UNSUBMITTED,
        ]
    ),
    durations,
    max_size=3,
)
notes = st.sampled_from(["succeeded 2026-11-22T18:00:00Z", "failed 2026-11-22T18:30:00Z", "done"])
seconds = st.sampled_from([-1, 0, 0, 60, 3600])
policies = st.sampled_from(
    ["DeleteSelf", "DeleteCluster", "DeleteWorkers", "DeleteNone", "DeleteHalf", ""]
)
conditions = st.sampled_from(
    [("SUCCEEDED", ""), ("FAILED", ""), ("", "Failed"), ("ODD", ""), ("", "")]
)
deletion_rules = st.builds(
    lambda policy, after, when: DeletionRule(policy, after, *when), policies, seconds, conditions
)
natives = st.one_of(
    st.just(KubeRayCleanup()),
    st.builds(KubeRayCleanup, shutdown=st.booleans(), seconds=seconds),
    st.builds(
        KubeRayCleanup,
        seconds=seconds,
        has_strategy=st.just(True),
        rules=st.lists(deletion_rules, max_size=3).map(tuple),
        on_success=policies,
        on_failure=policies,
        policy=policies,
    ),
)
annotations_or_keep = st.builds(
    lambda said, keep, note: (
        said | ({names.KEEP_UNTIL: keep} if keep else {}) | ({names.OUTCOME: note} if note else {})
    ),
    annotations,
    st.one_of(st.none(), st.none(), keeps),
    st.one_of(st.none(), st.none(), st.none(), notes),
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
    deployment_status=st.sampled_from(
        [
            "Complete",
            "Failed",
            "ValidationFailed",
            "Running",
            "Waiting",
            "Initializing",
            "Suspended",
            "",
            "Odd",
        ]
    ),
    submission_mode=st.sampled_from(
        ["", names.INTERACTIVE_MODE, "SidecarMode", "K8sJobMode", "HTTPMode"]
    ),
    controller_kind=st.sampled_from(["", "", "", names.CRON_KIND, "Workflow"]),
    cron_tick=st.one_of(st.none(), st.none(), moments),
    keys=st.sampled_from([frozenset(), frozenset(), frozenset({"argocd.argoproj.io/tracking-id"})]),
    start_time=status_times,
    ray_start_time=st.one_of(st.none(), status_times),
    failed=st.integers(0, 2),
    backoff_limit=st.integers(0, 2),
    kuberay_cleanup=natives,
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
    head_ready=st.sampled_from([None, True, False]),
    has_status=st.booleans(),
    head_reason=st.sampled_from(
        [None, "HeadPodNotFound", "PodFailed", "ContainersNotReady", "Unknown", ""]
    ),
    head_pod_name=st.sampled_from(["", "head-x"]),
    head_pod_ip=st.sampled_from(["", "10.0.0.1"]),
    is_fault_tolerant=st.sampled_from([False, False, True]),
)
own_clusters = st.builds(lambda cluster: replace(cluster, controller_uid="uid-train"), clusters)
kinds_of_entry = st.sampled_from(["SUBMISSION", "SUBMISSION", "DRIVER"])
entries = st.builds(JobEntry, kinds_of_entry, ids, words, end_time=st.one_of(st.none(), moments))
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
ended_entries = st.builds(
    lambda entry, word: replace(entry, status=word), entries, st.sampled_from(ENDED)
)
answers = st.builds(
    HeadList,
    st.lists(entries, max_size=3).map(tuple),
    moments,
    unreadable=st.sampled_from(["", "", "", "it is too large"]),
)
silences = st.builds(
    HeadSilent,
    st.just("refused"),
    unauthorized=st.booleans(),
    node_is_dead=st.booleans(),
    listed=st.one_of(st.none(), st.lists(entries, max_size=2).map(tuple)),
)
probes = st.one_of(
    st.just(ProbeResult(None)),
    st.builds(ProbeResult, clusters, answers),
    st.builds(ProbeResult, clusters, silences),
    st.builds(
        ProbeResult, own_clusters, st.one_of(answers, silences), kind=st.just(ProbeKind.STATUS)
    ),
)
uptimes = st.sampled_from(
    [timedelta(), 5 * MINUTE, 10 * MINUTE, 30 * MINUTE, 60 * MINUTE, timedelta(days=2)]
)
never_or_uptimes = st.one_of(st.none(), uptimes)


@st.composite
def memories(draw: st.DrawFn, assessment: Assessment, now: datetime) -> Memory:
    """What passes of this process may have left of this RayJob: nothing that is yet to come, nothing before the process began."""
    ago = st.one_of(
        st.none(), st.sampled_from([MINUTE, HOUR, 10 * HOUR]).map(lambda past: now - past)
    )
    up = never_or_uptimes.map(
        lambda since: None if since is None else min(since, assessment.uptime)
    )
    words = (assessment.rayjob.deployment_status, assessment.rayjob.job_status)
    terminal_since = draw(up)
    return Memory(
        first_finished=draw(ago),
        cluster_gone=draw(st.booleans()),
        silent_probes=draw(st.integers(0, 4)),
        silent_since=draw(up),
        status=draw(st.sampled_from([words, words, ("Running", "")])),
        status_since=min(draw(uptimes), assessment.uptime),  # always there with the words
        terminal=draw(ended_entries) if terminal_since is not None else None,
        terminal_since=terminal_since,
        missing_since=draw(ago),
    )


namespaces = st.one_of(
    st.none(),
    *3
    * [
        st.builds(
            Namespace, st.just("team-a"), st.just("uid-team-a"), st.just("7"), annotations_or_keep
        )
    ],
)
policy_lengths = st.sampled_from([timedelta(), MINUTE, HOUR, 24 * HOUR, NEVER])
cleanup_policies = st.builds(
    Policy,
    name=st.sampled_from(["a", "b", "c"]),
    uid=st.sampled_from(["uid-a", "uid-b"]),
    resource_version=st.just("50"),
    written_at=st.one_of(st.none(), st.just(END - 24 * HOUR), moments),
    priority=st.integers(-1, 1),
    is_dry_run=st.sampled_from([False, False, False, True]),
    times=st.dictionaries(st.sampled_from(names.POLICY_DURATIONS), policy_lengths, max_size=4),
    errors=st.sampled_from([(), (), (), ("spec.limits: odd",)]),
)
several_policies = st.lists(cleanup_policies, max_size=3).map(
    lambda found: tuple(strongest_first(found))
)
assessments = st.builds(
    Assessment,
    rayjobs,
    namespaces,
    policies=st.one_of(st.just(()), several_policies, several_policies, st.none()),
    owned=st.lists(own_clusters, max_size=2).map(tuple),
    selected_by=st.sampled_from([(), (), ("other",)]),
    probe=st.one_of(st.none(), probes, probes),
    uptime=uptimes,
    heads_fail=st.sampled_from([False, False, True]),
    bulk_expiry_size=st.sampled_from([0, 0, 101]),
)
"""Every kind of case, most of them with something wrong."""
good_cases = st.builds(
    lambda job, entry, said: an_assessment(
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
            keys=frozenset(),
            controller_kind="",
            cron_tick=None,
            kuberay_cleanup=KubeRayCleanup(),
        ),
        probe=a_probe(
            replace(entry, type="SUBMISSION", submission_id=job.job_id, status="SUCCEEDED")
        ),
    ),
    rayjobs,
    entries,
    st.dictionaries(
        st.sampled_from(sorted(names.DURATION_ANNOTATIONS)),
        st.sampled_from(["0", "5m", "1h"]),
        min_size=1,
        max_size=3,
    ),
)
"""Cases against which only the time speaks, if anything."""
good_cases_by_default = st.one_of(
    good_cases,
    st.builds(
        lambda assessment: replace(assessment, rayjob=replace(assessment.rayjob, annotations={})),
        good_cases,
    ),
)
"""Some of them leave all to their Namespace."""


def _stuck(
    status: tuple[str, str], entry: JobEntry | None, silent: HeadSilent | None, said: str
) -> Assessment:
    """Interactive, and polled before; its head lists this one entry, nothing, or is silent."""
    deployment, job = status
    known = an_assessment(
        rayjob=an_interactive(
            deployment_status=deployment, job_status=job, job_id="train-x7k2p", annotations={}
        ),
        namespace=a_namespace(ttl_unsubmitted=said, ttl=said),
        uptime=60 * MINUTE,
        memory=Memory(
            status=status,
            status_since=timedelta(),
            terminal=entry if entry and entry.status in ENDED else None,
            terminal_since=30 * MINUTE if entry and entry.status in ENDED else None,
            missing_since=None if entry else END,
            silent_probes=3,
            silent_since=timedelta(),
        ),
    )
    head = silent or HeadList((entry,) if entry else (), OUR_CLOCK)
    return replace(known, probe=ProbeResult(a_raycluster(), head))


own_entries = st.builds(
    JobEntry,
    st.just("SUBMISSION"),
    st.just("train-x7k2p"),
    words,
    end_time=st.one_of(st.none(), moments),
)
stuck_cases = st.builds(
    _stuck,
    st.sampled_from(
        [("Waiting", ""), ("Running", "RUNNING"), ("Running", "SUCCEEDED"), ("Initializing", "")]
    ),
    st.one_of(st.none(), own_entries),
    st.one_of(st.none(), st.none(), silences),
    st.sampled_from(["0", "5m", "1h", "never"]),
)
"""Jobs that KubeRay has not brought to an end, and never may."""


UNREACHABLE_1H = Policy(
    "a", "uid-a", "50", written_at=END - 24 * HOUR, times={"stuck.headUnreachable": HOUR}
)


@st.composite
def silent_cases(draw: st.DrawFn) -> Assessment:
    """Ended by their status' word, and silent for a while."""
    assessment = draw(good_cases)
    ended_by = draw(st.sampled_from(["", "DeadlineExceeded"]))
    cluster = replace(
        draw(clusters),
        name="train-cluster",
        controller_uid="uid-train",
        deleting=False,
        unreadable="",
    )
    return replace(
        assessment,
        rayjob=replace(assessment.rayjob, reason=ended_by),
        policies=draw(st.sampled_from([(), (UNREACHABLE_1H,)])),
        probe=ProbeResult(cluster, draw(silences)),
        uptime=60 * MINUTE,
        memory=Memory(
            silent_probes=draw(st.integers(0, 3)),
            silent_since=draw(st.sampled_from([timedelta(), 56 * MINUTE])),
        ),
        heads_fail=draw(st.booleans()),
    )


any_cases = st.one_of(assessments, good_cases, stuck_cases, silent_cases())
remembered = st.tuples(any_cases, moments).flatmap(
    lambda known: memories(known[0], known[1]).map(
        lambda memory: (replace(known[0], memory=memory), known[1])
    )
)
"""A case with a memory of its own, and the time."""
FINAL = frozenset({"Complete", "Failed", "ValidationFailed"})
BY_RULES_OF_THEIR_OWN = frozenset(
    {Reason.FINISHED_UNREPORTED, Reason.NEVER_SUBMITTED, Reason.JOB_LOST, Reason.STUCK_INITIALIZING}
)
BY_POLICY = frozenset({Reason.STUCK_UNREACHABLE, Reason.STUCK_RUNNING, Reason.STUCK_IN_USE})
"""Whether KubeRay has brought the RayJob to an end or not."""


def _later(assessment: Assessment, decision: Decision, now: datetime) -> Assessment:
    """The same case in the next pass."""
    return replace(assessment, memory=update_memory(replace(assessment, now=now), decision))


def _set_durations(assessment: Assessment) -> list[timedelta]:
    """Every duration that anybody wrote, whether it counts or not."""
    assert assessment.namespace is not None
    kuberay_cleanup = assessment.rayjob.kuberay_cleanup
    written = [
        *assessment.rayjob.annotations.values(),
        *assessment.namespace.annotations.values(),
        str(kuberay_cleanup.seconds),
    ]
    written += [str(rule.seconds) for rule in kuberay_cleanup.rules]
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
    def deletes(made_up: tuple[Assessment, datetime]) -> bool:
        decision = decide(replace(made_up[0], now=made_up[1]))
        return (
            isinstance(decision, Delete)
            and tuple(target.kind for target in decision.targets) == kinds
        )

    assert find(
        st.tuples(good_cases, moments),
        deletes,
        settings=settings(phases=[Phase.generate], database=None),
    )


@pytest.mark.parametrize(
    "reason",
    sorted(BY_RULES_OF_THEIR_OWN | {Reason.UNCONFIRMED, Reason.STUCK_UNREACHABLE}),
    ids=str,
)
def test_nor_are_those_of_any_other_kind(reason: Reason) -> None:
    def deletes(made_up: tuple[Assessment, datetime]) -> bool:
        decision = decide(replace(made_up[0], now=made_up[1]))
        return isinstance(decision, Delete) and decision.explanation.reason is reason

    kinds = st.one_of(stuck_cases, silent_cases())
    wanted = settings(phases=[Phase.generate], database=None, max_examples=5000)
    assert find(st.tuples(kinds, moments), deletes, settings=wanted)


@given(remembered)
@many
def test_delete_means_ended_or_stuck_looked_at_live_and_not_kept(
    known: tuple[Assessment, datetime],
) -> None:
    assessment, now = known
    decision = decide(replace(assessment, now=now))
    if not isinstance(decision, Delete):
        return
    reason = decision.explanation.reason
    assert reason in BY_POLICY or (assessment.rayjob.deployment_status in FINAL) is (
        reason not in BY_RULES_OF_THEIR_OWN
    )
    assert assessment.probe is not None
    assert assessment.deletion_probe is not None
    assert assessment.namespace is not None
    until = replace(assessment, now=now).kept_until
    assert until is None or (isinstance(until, datetime) and until <= now)
    assert (
        assessment.rayjob.deleting_since
        or not assessment.rayjob.suspend
        or assessment.rayjob.deployment_status in FINAL
    )


@given(remembered)
@many
def test_without_the_heads_answer_only_what_its_row_allows_goes(
    known: tuple[Assessment, datetime],
) -> None:
    assessment, now = known
    decision = decide(replace(assessment, now=now))
    if (
        not isinstance(decision, Delete)
        or assessment.probe is None
        or assessment.probe.cluster is None
        or assessment.probe.cluster.deleting
    ):
        return
    job, head = assessment.rayjob, assessment.probe.head
    has_rays_word = job.job_status in ENDED and job.ray_end_time is not None
    if isinstance(head, HeadList):
        own = any(entry.submission_id == job.job_id or not job.job_id for entry in head.entries)
        assert not head.unreadable or (
            decision.explanation.reason in BY_POLICY and (has_rays_word or own)
        )
        return
    reason = decision.explanation.reason
    if reason is Reason.STUCK_INITIALIZING and _is_not_submitted_yet(assessment):
        return
    if reason is Reason.JOB_LOST:
        assert isinstance(head, HeadSilent)
        assert head.node_is_dead
        assert all(
            entry.status in ENDED or entry.submission_id == job.job_id
            for entry in head.listed or ()
        )
        return
    assert reason in WITHOUT_AN_ANSWER
    assert not assessment.heads_fail
    assert assessment.memory.silent_probes >= 2
    assert assessment.memory.silent_since is not None
    assert assessment.uptime - assessment.memory.silent_since >= timedelta(minutes=5)
    is_by_policy = reason is Reason.STUCK_UNREACHABLE or any(
        _ends_silence(policy) for policy in assessment.policies or ()
    )
    is_gone = _is_head_gone(assessment.probe.cluster)
    assert has_rays_word or is_gone or is_by_policy or job.reason == "DeadlineExceeded"


WITHOUT_AN_ANSWER = frozenset(
    {
        Reason.UNCONFIRMED,
        Reason.DELETION_UNFINISHED,
        Reason.FINISHED_UNREPORTED,
        Reason.STUCK_INITIALIZING,
        Reason.STUCK_UNREACHABLE,
    }
)


def _ends_silence(policy: Policy) -> bool:
    return not {"stuck.headUnreachable", "stuck.stillRunning"}.isdisjoint(policy.times)


def _is_head_gone(cluster: RayCluster) -> bool:
    """By KubeRay's own words for a head Pod that does not exist, or has ended."""
    if cluster.is_fault_tolerant:
        return False
    if cluster.head_reason is None:
        return cluster.has_status and not (cluster.head_pod_name or cluster.head_pod_ip)
    return cluster.head_ready is False and cluster.head_reason in (
        "HeadPodNotFound",
        "PodFailed",
        "PodCompleted",
    )


def _is_not_submitted_yet(assessment: Assessment) -> bool:
    """KubeRay submits the job to a cluster that is ready, or nobody can have reached its head."""
    if assessment.rayjob.submission_mode != names.INTERACTIVE_MODE:
        return assessment.rayjob.submission_mode in ("", "K8sJobMode", "HTTPMode")
    cluster = assessment.probe.cluster if assessment.probe else None
    return cluster is not None and cluster.head_ready is not True


@given(remembered)
@many
def test_a_cluster_alone_goes_only_where_kuberay_rebuilds_none(
    known: tuple[Assessment, datetime],
) -> None:
    assessment, now = known
    decision = decide(replace(assessment, now=now))
    if isinstance(decision, Delete) and decision.targets[0].kind == "RayCluster":
        assert assessment.rayjob.deployment_status in FINAL


@given(remembered)
@many
def test_a_selected_cluster_is_never_a_target_and_its_job_goes_only_with_a_terminal_status(
    known: tuple[Assessment, datetime],
) -> None:
    assessment, now = known
    selecting = replace(assessment, rayjob=replace(assessment.rayjob, has_selector=True))
    decision = decide(replace(selecting, now=now))
    if isinstance(decision, Delete):
        assert [target.kind for target in decision.targets] == ["RayJob"]
        assert assessment.rayjob.job_status in {"SUCCEEDED", "FAILED", "STOPPED"}


@given(remembered)
@many
def test_what_would_be_made_again_goes_only_where_it_says_so_itself(
    known: tuple[Assessment, datetime],
) -> None:
    assessment, now = known
    tracked = replace(
        assessment,
        rayjob=replace(
            assessment.rayjob,
            keys=frozenset({"argocd.argoproj.io/tracking-id"}),
            deleting_since=None,
        ),
    )
    decision = decide(replace(tracked, now=now))
    if isinstance(decision, Delete) and decision.targets[0].kind == "RayJob":
        assert {names.TTL, f"{names.TTL}-{decision.explanation.outcome}"} & set(
            assessment.rayjob.annotations
        )


@given(
    remembered,
    st.lists(
        st.tuples(probes, st.sampled_from([timedelta(), MINUTE, 31 * MINUTE, HOUR])), max_size=5
    ),
)
@many
def test_passes_in_a_row_never_fail_and_a_wait_always_ends(
    known: tuple[Assessment, datetime], to_come: list[tuple[ProbeResult, timedelta]]
) -> None:
    assessment, now = known
    for probe, later in to_come:
        decision = decide(replace(assessment, now=now))
        if isinstance(decision, Wait):
            assert decision.until > now
        seen = update_memory(replace(assessment, now=now), decision)
        assert (
            seen.probe_again_at is None
            or seen.probe_again_at > now
            or assessment.deletion_probe is None
        )
        now += later
        assessment = replace(
            assessment,
            memory=seen,
            uptime=assessment.uptime + later,
            probe=None if isinstance(decision, Wait) else probe,
        )


@given(any_cases, moments)
@many
def test_delete_means_that_at_least_the_shortest_time_anybody_set_has_passed_since_the_first_end_anybody_claims(
    assessment: Assessment, now: datetime
) -> None:
    decision = decide(replace(assessment, now=now))
    if not isinstance(decision, Delete):
        return
    told = decision.explanation
    assert told.due_at is not None
    assert told.finished_at is not None
    assert told.finished_at <= told.due_at <= now
    claimed = [
        assessment.rayjob.end_time,
        assessment.rayjob.ray_end_time,
        assessment.rayjob.status_written_at,
        assessment.rayjob.start_time,
    ]
    claimed += [assessment.memory.missing_since]
    head = assessment.probe.head if assessment.probe else None
    ends = (
        [entry.end_time for entry in head.entries if entry.end_time]
        if isinstance(head, HeadList)
        else []
    )
    assert now >= min([now, *ends, *(time for time in claimed if time)]) + min(
        _set_durations(assessment)
    )


@given(any_cases, moments)
@many
def test_what_is_unknown_deletes_nothing(known: Assessment, now: datetime) -> None:
    """Nothing is remembered of earlier silence here."""
    cluster, assessment = an_assessment().owned[0], replace(known, memory=NOTHING)
    unknown = [
        replace(assessment, namespace=None),
        replace(assessment, probe=None),
        replace(assessment, probe=ProbeResult(cluster)),
        replace(assessment, probe=ProbeResult(cluster, HeadSilent("refused", node_is_dead=True))),
        replace(assessment, probe=ProbeResult(cluster, HeadSilent("401", unauthorized=True))),
        replace(assessment, probe=ProbeResult(cluster, HeadList((), now, unreadable="too large"))),
        replace(assessment, probe=ProbeResult(cluster, HeadList((), now), kind=ProbeKind.STATUS)),
        replace(
            assessment,
            probe=ProbeResult(
                replace(cluster, unreadable="spec: Field required"), HeadList((), now)
            ),
        ),
        replace(assessment, rayjob=replace(assessment.rayjob, unreadable="spec: 'x'")),
        replace(assessment, rayjob=replace(assessment.rayjob, deployment_status="Odd")),
    ]
    deleted = [
        decision for one in unknown if isinstance(decision := decide(replace(one, now=now)), Delete)
    ]
    assert [one for one in deleted if one.explanation.reason is not Reason.STUCK_INITIALIZING] == []


@given(any_cases, moments)
@many
def test_without_a_ttl_nothing_is_deleted(assessment: Assessment, now: datetime) -> None:
    silent = replace(
        assessment,
        rayjob=replace(assessment.rayjob, annotations={}, kuberay_cleanup=KubeRayCleanup()),
    )
    assert not isinstance(
        decide(replace(replace(silent, namespace=Namespace("team-a", "uid", "7")), now=now)), Delete
    )


@given(remembered)
@many
def test_forgetting_never_hastens_a_deletion(known: tuple[Assessment, datetime]) -> None:
    assessment, now = known
    if isinstance(decide(replace(_restarted(assessment, now), now=now)), Delete):
        assert isinstance(decide(replace(assessment, now=now)), Delete)


passes = st.lists(
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
"""How long after the pass before, and what the Namespace says by then."""


@given(good_cases_by_default, uptimes, passes)
@settings(many, max_examples=max(500, many.max_examples))
def test_nor_does_a_restart_after_defaults_have_changed(
    assessment: Assessment, uptime: timedelta, history: list[tuple[timedelta, dict[str, str]]]
) -> None:
    now = END
    assessment = replace(assessment, uptime=uptime, started_at=END - uptime)
    for later, said in history:
        now += later
        assessment = replace(
            assessment, namespace=a_namespace(**said), uptime=assessment.uptime + later
        )
        decision = decide(replace(assessment, now=now))
        anew = _restarted(assessment, now)
        if isinstance(
            decide(replace(anew, now=now)), Delete
        ) and not _became_due_of_itself_just_now(anew, now):
            assert isinstance(decision, Delete)
        assessment = _later(assessment, decision, now)


def _became_due_of_itself_just_now(assessment: Assessment, now: datetime) -> bool:
    """What the design lets go at first sight: by the RayJob's own time, overdue by no more than two minutes."""
    due, kept = replace(assessment, now=now).due.first_at, replace(assessment, now=now).retention
    is_own = not kept.ttl.inherited and not kept.cluster_ttl.inherited
    return due is not None and is_own and now - due <= assessment.parameters.bulk_expiry_overdue


def _restarted(assessment: Assessment, now: datetime) -> Assessment:
    """As a process sees it that has just begun."""
    return replace(assessment, memory=NOTHING, uptime=timedelta(), started_at=now)


later_by = st.one_of(
    st.sampled_from([timedelta(), MINUTE, HOUR]), st.timedeltas(timedelta(), timedelta(days=400))
)


@given(remembered, later_by)
@many
def test_a_later_time_never_undecides_what_is_due(
    known: tuple[Assessment, datetime], later: timedelta
) -> None:
    assessment, now = known
    decision = decide(replace(assessment, now=now))
    if isinstance(decision, Delete):
        again = decide(
            replace(
                replace(_later(assessment, decision, now), uptime=assessment.uptime + later),
                now=now + later,
            )
        )
        assert isinstance(again, Delete)
        assert set(decision.targets) <= set(again.targets) or again.targets[0].kind == "RayJob"


@given(any_cases, moments)
@many
def test_a_wait_lies_in_the_future_and_does_not_repeat_itself_when_its_time_comes(
    assessment: Assessment, now: datetime
) -> None:
    decision = decide(replace(assessment, now=now))
    if isinstance(decision, Wait):
        assert decision.until > now
        again = decide(replace(_later(assessment, decision, now), now=decision.until))
        assert not isinstance(again, Wait) or again.until > decision.until


@given(any_cases, moments)
@many
def test_only_the_judged_rayjob_and_a_cluster_that_it_controls_are_ever_targets(
    assessment: Assessment, now: datetime
) -> None:
    decision = decide(replace(assessment, now=now))
    if not isinstance(decision, Delete):
        return
    assert assessment.probe is not None
    seen = assessment.probe.cluster
    mine = {seen.uid} if seen and seen.controller_uid == assessment.rayjob.uid else set()
    assert {target.uid for target in decision.targets} <= {assessment.rayjob.uid} | mine
    bound = [target.resource_version for target in decision.targets if target.kind == "RayJob"]
    assert bound in ([], [assessment.rayjob.resource_version])


@given(any_cases, moments)
@many
def test_the_rayjob_is_never_a_target_before_its_own_cluster_may_go_and_never_after_it_in_the_order(
    assessment: Assessment, now: datetime
) -> None:
    decision = decide(replace(assessment, now=now))
    if not isinstance(decision, Delete) or decision.targets[0].kind != "RayJob":
        assert not isinstance(decision, Delete) or [target.kind for target in decision.targets] == [
            "RayCluster"
        ]
        return
    told = decision.explanation
    if assessment.cluster is None:
        assert [target.kind for target in decision.targets] == ["RayJob"]
        return
    assert [target.kind for target in decision.targets] == ["RayJob", "RayCluster"]
    assert told.finished_at is not None
    for said in (told.ttl, told.cluster_ttl):
        assert said is not None
        assert isinstance(said.value, timedelta)
        assert told.finished_at + said.value <= now


@given(natives, annotations_or_keep, st.sampled_from(Outcome))
@many
def test_what_the_spec_says_beats_anything_the_namespace_says(
    kuberay_cleanup: KubeRayCleanup, inherited: dict[str, str], one: Outcome
) -> None:
    rayjob, outcomes = (
        replace(an_assessment().rayjob, annotations={}, kuberay_cleanup=kuberay_cleanup),
        frozenset({one}),
    )
    alone = resolve.resolve(Sources(rayjob, Namespace("team-a", "uid", "7")), outcomes)
    both = resolve.resolve(Sources(rayjob, Namespace("team-a", "uid", "7", inherited)), outcomes)
    for by_spec, with_namespace in ((alone.ttl, both.ttl), (alone.cluster_ttl, both.cluster_ttl)):
        assert by_spec is BUILT_IN or by_spec == with_namespace


valid = st.sampled_from(["0", "5m", "1h", "never"])


@given(
    valid,
    natives,
    annotations_or_keep,
    st.sets(st.sampled_from(Outcome), min_size=1).map(frozenset),
)
@many
def test_the_rayjobs_own_ttl_beats_anything_its_spec_and_its_namespace_say(
    ttl: str,
    kuberay_cleanup: KubeRayCleanup,
    inherited: dict[str, str],
    outcomes: frozenset[Outcome],
) -> None:
    rayjob = replace(an_assessment().rayjob, annotations={names.TTL: ttl})
    louder = replace(rayjob, kuberay_cleanup=kuberay_cleanup)
    loud, silent = Namespace("team-a", "uid", "7", inherited), Namespace("team-a", "uid", "7")
    assert resolve.resolve(Sources(louder, loud), outcomes) == resolve.resolve(
        Sources(rayjob, silent), outcomes
    )


lengths: st.SearchStrategy[Duration] = st.one_of(
    st.just(NEVER), st.timedeltas(timedelta(), LONGEST)
)


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
    assessment = an_assessment(probe=a_probe())
    kept = replace(
        assessment,
        rayjob=replace(assessment.rayjob, annotations={names.TTL: "0", names.KEEP_UNTIL: text}),
    )
    until = replace(kept, now=END + HOUR).kept_until
    decision = decide(replace(kept, now=END + HOUR))
    assert isinstance(decision, Delete) is (isinstance(until, datetime) and until <= END + HOUR)
