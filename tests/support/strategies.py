"""Hypothesis strategies for facts, memories and assessments. They contain no expectation."""

from dataclasses import replace
from datetime import datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from raysweep import names
from raysweep.core.assessment import Assessment
from raysweep.core.durations import NEVER
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
from raysweep.core.model.memory import Memory
from raysweep.core.retention.policies import strongest_first
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
CLOCK = END.replace(microsecond=123_457)
"""With microseconds, which KubeRay and Kubernetes truncate."""

many = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Without time limits, for busy machines."""

minutes = st.one_of(
    st.sampled_from([-60, -6, -5, -4, -1, 0, 1, 4, 5, 6, 59, 60, 61, 120, 1500]),
    st.integers(-3000, 3000),
)
status_times = st.one_of(
    st.none(), st.builds(lambda m: END.replace(microsecond=0) + m * MINUTE, minutes)
)
moments = st.builds(lambda m: CLOCK + m * MINUTE, st.integers(-120, 3000))
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
kuberay_cleanups = st.one_of(
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
object_annotations = st.builds(
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
    annotations=object_annotations,
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
    kuberay_cleanup=kuberay_cleanups,
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
def memories(draw: st.DrawFn, assessment: Assessment) -> Memory:
    """What earlier passes of this process may have observed: nothing in its future."""
    ago = st.one_of(
        st.none(),
        st.sampled_from([MINUTE, HOUR, 10 * HOUR]).map(lambda past: assessment.now - past),
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
            Namespace, st.just("team-a"), st.just("uid-team-a"), st.just("7"), object_annotations
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
odd_assessments = st.builds(
    Assessment,
    moments,
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
"""Most of them have a reason to be kept."""
expirable_assessments = st.builds(
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
"""Only the time can keep these."""
defaulted_assessments = st.one_of(
    expirable_assessments,
    st.builds(
        lambda assessment: replace(assessment, rayjob=replace(assessment.rayjob, annotations={})),
        expirable_assessments,
    ),
)
"""Some of them leave all times to their Namespace."""


def _stuck(
    status: tuple[str, str], entry: JobEntry | None, silent: HeadSilent | None, said: str
) -> Assessment:
    """Interactive and probed before. Its head lists this entry or none, or gives no answer."""
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
    head = silent or HeadList((entry,) if entry else (), CLOCK)
    return replace(known, probe=ProbeResult(a_raycluster(), head))


own_entries = st.builds(
    JobEntry,
    st.just("SUBMISSION"),
    st.just("train-x7k2p"),
    words,
    end_time=st.one_of(st.none(), moments),
)
stuck_assessments = st.builds(
    _stuck,
    st.sampled_from(
        [("Waiting", ""), ("Running", "RUNNING"), ("Running", "SUCCEEDED"), ("Initializing", "")]
    ),
    st.one_of(st.none(), own_entries),
    st.one_of(st.none(), st.none(), silences),
    st.sampled_from(["0", "5m", "1h", "never"]),
)
"""Jobs that KubeRay has not finished."""


UNREACHABLE_1H = Policy(
    "a", "uid-a", "50", written_at=END - 24 * HOUR, times={"stuck.headUnreachable": HOUR}
)


@st.composite
def silent_assessments(draw: st.DrawFn) -> Assessment:
    """Ended by their status, with a head that has been silent for a while."""
    assessment = draw(expirable_assessments)
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


def at_time(assessment: Assessment, now: datetime) -> Assessment:
    """The same facts at another time."""
    return replace(assessment, now=now)


kinds_of_assessment = st.one_of(
    odd_assessments, expirable_assessments, stuck_assessments, silent_assessments()
)
any_assessments = st.builds(at_time, kinds_of_assessment, moments)
remembered = any_assessments.flatmap(
    lambda assessment: memories(assessment).map(lambda memory: replace(assessment, memory=memory))
)
"""Assessments with a memory of their own."""
