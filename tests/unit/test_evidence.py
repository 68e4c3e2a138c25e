"""What counts as evidence about a head and about the end of a job, and which policy time ends each wait. Whole decisions.

The ids in brackets are those of the public cases that each table stands for.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.head_pod import head_is_gone, head_is_up
from raysweep.core.model.decisions import Delete, ProbeHead, Wait
from raysweep.core.model.facts import HeadSilent, Policy, ProbeResult, RayCluster, RayJob
from raysweep.core.model.memory import Memory
from raysweep.core.model.reasons import Reason
from raysweep.core.update_memory import update_memory
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_dead_node_look,
    a_driver,
    a_headless_raycluster,
    a_list,
    a_policy,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_running,
    a_silent_probe,
    a_status_probe,
    a_submission,
    an_assessment,
    says,
)

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
READY = a_raycluster(head_ready=True, head_reason="HeadPodRunningAndReady", has_status=True)
UNREADY = a_raycluster(head_ready=False, head_reason="ContainersNotReady", has_status=True)
OLD_WITH_HEAD = a_raycluster(has_status=True, head_pod_name="head-x", head_pod_ip="10.0.0.1")
"""KubeRay up to 1.2 writes no condition HeadPodReady."""
OLD_WITHOUT_HEAD = a_raycluster(has_status=True)


@pytest.mark.parametrize(
    ("cluster", "is_gone"),
    [
        pytest.param(a_headless_raycluster(), True, id="no head Pod"),
        pytest.param(a_headless_raycluster(head_reason="PodFailed"), True, id="its Pod failed"),
        pytest.param(
            a_headless_raycluster(head_reason="PodCompleted"), True, id="its Pod completed"
        ),
        pytest.param(READY, False, id="ready"),
        *(
            pytest.param(
                a_headless_raycluster(head_reason=reason),
                False,
                id=f"not ready: {reason or 'no reason'}",
            )
            for reason in (
                "ContainersNotReady",
                "CrashLoopBackOff",
                "ImagePullBackOff",
                "OOMKilled",
                "Error",
                "Unknown",
                "",
            )
        ),
        pytest.param(
            a_headless_raycluster(head_ready=True), False, id="a contradiction: ready and not found"
        ),
        pytest.param(
            a_headless_raycluster(head_ready=None), False, id="a condition of status Unknown"
        ),
        pytest.param(
            OLD_WITHOUT_HEAD, True, id="KubeRay 1.2 or older, its status names no head Pod"
        ),
        pytest.param(OLD_WITH_HEAD, False, id="KubeRay 1.2 or older, with a head Pod"),
        pytest.param(
            replace(OLD_WITH_HEAD, head_pod_ip=""),
            False,
            id="KubeRay 1.2 or older, a head Pod without an IP",
        ),
        pytest.param(
            replace(OLD_WITH_HEAD, head_pod_name=""),
            False,
            id="KubeRay 1.1 or older, which writes the IP only",
        ),
        pytest.param(a_raycluster(), False, id="no status at all, as in a list of metadata"),
        pytest.param(
            a_headless_raycluster(is_fault_tolerant=True),
            False,
            id="fault tolerant: its next head knows the jobs",
        ),
        pytest.param(
            replace(OLD_WITHOUT_HEAD, is_fault_tolerant=True),
            False,
            id="fault tolerant, KubeRay 1.2 or older",
        ),
    ],
)
def test_w1_a_head_is_gone_only_if_the_status_of_its_cluster_proves_it(
    cluster: RayCluster, is_gone: bool
) -> None:
    assert head_is_gone(cluster) is is_gone


@pytest.mark.parametrize(
    ("cluster", "is_up"),
    [
        pytest.param(READY, True, id="ready"),
        pytest.param(UNREADY, False, id="not ready"),
        pytest.param(replace(UNREADY, head_pod_ip="10.0.0.1"), False, id="not ready, with an IP"),
        pytest.param(OLD_WITH_HEAD, True, id="KubeRay 1.2 or older, with an IP"),
        pytest.param(
            replace(OLD_WITH_HEAD, head_pod_ip=""), False, id="KubeRay 1.2 or older, without an IP"
        ),
        pytest.param(a_raycluster(), False, id="no status"),
    ],
)
def test_w3_a_head_is_up_if_its_pod_is_ready(cluster: RayCluster, is_up: bool) -> None:
    assert head_is_up(cluster) is is_up


LONG_AGO = Memory(
    silent_probes=2,
    silent_since=timedelta(),
    status=("Failed", "RUNNING"),
    status_since=timedelta(),
    first_finished=END,
)
"""Silent twice since the process began, with this status."""
SETS_ALL = {
    f"stuck.{kind}": HOUR
    for kind in (
        "neverSubmitted",
        "jobLost",
        "initializing",
        "stillRunning",
        "clusterInUse",
        "headUnreachable",
    )
}


def _sets(**times: timedelta) -> tuple[Policy, ...]:
    return (a_policy(times={f"stuck.{kind}": time for kind, time in times.items()}),)


def _silent(job: RayJob, probe: ProbeResult, **fields: Any) -> Assessment:
    """Silent for the third time now, an hour after the first; its status has not changed since."""
    memory = replace(LONG_AGO, status=(job.deployment_status, job.job_status))
    return replace(
        an_assessment(rayjob=job, probe=probe, memory=memory, uptime=60 * MINUTE), **fields
    )


GAVE_UP = a_rayjob(deployment_status="Failed", job_status="RUNNING", reason="SubmissionFailed")
"""KubeRay gave it up while it ran."""
NAMED = [
    pytest.param(GAVE_UP, id="SubmissionFailed"),
    pytest.param(
        replace(GAVE_UP, reason="JobStatusCheckTimeoutExceeded"), id="JobStatusCheckTimeoutExceeded"
    ),
    pytest.param(
        replace(GAVE_UP, job_status="FAILED", reason="AppFailed"),
        id="AppFailed without an end by Ray",
    ),
]


@pytest.mark.parametrize("job", NAMED)
@pytest.mark.parametrize(
    ("cluster", "reason"),
    [
        pytest.param(UNREADY, Reason.HEAD_UNREACHABLE, id="a container is not ready"),
        pytest.param(
            replace(UNREADY, head_reason="CrashLoopBackOff"),
            Reason.HEAD_UNREACHABLE,
            id="a container crashes",
        ),
        pytest.param(
            OLD_WITH_HEAD, Reason.HEAD_UNREACHABLE, id="no condition, and a head Pod with an IP"
        ),
        pytest.param(a_raycluster(), Reason.HEAD_UNREACHABLE, id="no status"),
        pytest.param(
            a_headless_raycluster(is_fault_tolerant=True),
            Reason.HEAD_UNREACHABLE,
            id="fault tolerant, no head Pod",
        ),
        pytest.param(a_headless_raycluster(), Reason.UNCONFIRMED, id="no head Pod"),
        pytest.param(OLD_WITHOUT_HEAD, Reason.UNCONFIRMED, id="no condition, and no head Pod"),
    ],
)
def test_w1_a_refused_connection_proves_nothing_without_the_status_of_the_cluster(
    job: RayJob, cluster: RayCluster, reason: Reason
) -> None:
    assessment = _silent(job, a_silent_probe("connection refused", cluster=cluster))
    assert decide(replace(assessment, now=DUE + DAY)).explanation.reason is reason


INITIALIZING = a_rayjob(
    deployment_status="Initializing",
    job_status="",
    start_time=END,
    end_time=None,
    annotations={},
    status_written_at=END,
)
WORKERS_PENDING = _sets(initializing=2 * HOUR)
ONCE = Memory(status=("Initializing", ""), status_since=timedelta())


def _initializing(mode: str, probe: ProbeResult, **fields: Any) -> Assessment:
    """Initializing for longer than its policy allows."""
    assessment = an_assessment(
        rayjob=replace(INITIALIZING, submission_mode=mode),
        probe=probe,
        policies=WORKERS_PENDING,
        memory=ONCE,
    )
    return replace(assessment, uptime=60 * MINUTE, **fields)


SIDECAR, INTERACTIVE = "SidecarMode", "InteractiveMode"
WANTS_A_TOKEN = ProbeResult(READY, HeadSilent("401 Unauthorized: ", unauthorized=True))
LONG_SILENT = {"memory": replace(LONG_AGO, status=("Initializing", ""), first_finished=None)}


@pytest.mark.parametrize(
    ("assessment", "reason"),
    [
        pytest.param(
            _initializing(SIDECAR, a_silent_probe(cluster=READY)),
            Reason.HEAD_UNREACHABLE,
            id="sidecar, silent once",
        ),
        pytest.param(
            _initializing(SIDECAR, a_silent_probe(cluster=UNREADY)),
            Reason.HEAD_UNREACHABLE,
            id="sidecar, not ready",
        ),
        pytest.param(
            _initializing(SIDECAR, WANTS_A_TOKEN),
            Reason.HEAD_UNAUTHORIZED,
            id="sidecar, it wants a token",
        ),
        pytest.param(
            _initializing(SIDECAR, a_silent_probe(cluster=READY), **LONG_SILENT),
            Reason.HEAD_UNREACHABLE,
            id="sidecar, silent for long, and there",
        ),
        pytest.param(
            _initializing(SIDECAR, a_silent_probe(cluster=a_headless_raycluster())),
            Reason.HEAD_UNREACHABLE,
            id="sidecar, gone, silent once",
        ),
        pytest.param(
            _initializing(SIDECAR, a_silent_probe(cluster=a_headless_raycluster()), **LONG_SILENT),
            Reason.STUCK_INITIALIZING,
            id="sidecar, gone, silent for long",
        ),
        pytest.param(
            _initializing(
                SIDECAR,
                a_silent_probe(cluster=a_headless_raycluster()),
                heads_fail=True,
                **LONG_SILENT,
            ),
            Reason.HEADS_UNREACHABLE,
            id="sidecar, gone, and so many heads are silent",
        ),
        pytest.param(
            _initializing(SIDECAR, ProbeResult(READY, a_list())),
            Reason.STUCK_INITIALIZING,
            id="sidecar, its head knows no job",
        ),
        pytest.param(
            _initializing(SIDECAR, a_probe(a_submission("RUNNING"))),
            Reason.STILL_RUNNING,
            id="sidecar, it runs",
        ),
        pytest.param(
            _initializing(INTERACTIVE, a_silent_probe(cluster=READY)),
            Reason.HEAD_UNREACHABLE,
            id="interactive, its head is up",
        ),
        pytest.param(
            _initializing(INTERACTIVE, WANTS_A_TOKEN),
            Reason.HEAD_UNAUTHORIZED,
            id="interactive, it wants a token",
        ),
        pytest.param(
            _initializing(INTERACTIVE, a_silent_probe(cluster=OLD_WITH_HEAD)),
            Reason.HEAD_UNREACHABLE,
            id="interactive, KubeRay 1.2 or older, its head has an IP",
        ),
        pytest.param(
            _initializing(INTERACTIVE, a_silent_probe(cluster=UNREADY)),
            Reason.STUCK_INITIALIZING,
            id="interactive, its head was never up",
        ),
        *(
            pytest.param(
                _initializing(mode, a_silent_probe(cluster=READY)),
                Reason.STUCK_INITIALIZING,
                id=f"{mode or 'default'}: not submitted",
            )
            for mode in ("", "K8sJobMode", "HTTPMode")
        ),
        pytest.param(
            _initializing("NewMode", a_silent_probe(cluster=READY)),
            Reason.HEAD_UNREACHABLE,
            id="a mode to come",
        ),
    ],
)
def test_w3_initializing_is_no_proof_that_a_head_has_nothing_to_say(
    assessment: Assessment, reason: Reason
) -> None:
    assert decide(replace(assessment, now=END + 3 * HOUR)).explanation.reason is reason


def test_w3_the_annotation_ttl_unsubmitted_follows_the_same_silence_rules() -> None:
    job = replace(INITIALIZING, submission_mode=INTERACTIVE, annotations=says(ttl_unsubmitted="1h"))
    assessment = an_assessment(rayjob=job, probe=a_silent_probe(cluster=READY), memory=ONCE)
    assert decide(replace(assessment, now=DUE)).explanation.reason is Reason.HEAD_UNREACHABLE
    assert (
        decide(
            replace(replace(assessment, probe=a_silent_probe(cluster=UNREADY)), now=DUE)
        ).explanation.reason
        is Reason.STUCK_INITIALIZING
    )


HANGS = a_running(
    job_status="SUCCEEDED",
    ray_end_time=END,
    ray_start_time=END - HOUR,
    submission_mode="K8sJobMode",
)
"""Ray says that it succeeded at END, and its submitter hangs."""
STANDS = Memory(status=("Running", "SUCCEEDED"), status_since=timedelta())


def _hangs(**fields: Any) -> Assessment:
    """HANGS, unchanged for half an hour."""
    job = replace(HANGS, **fields)
    memory = replace(STANDS, status=(job.deployment_status, job.job_status))
    return an_assessment(rayjob=job, memory=memory, uptime=30 * MINUTE)


@pytest.mark.parametrize("status", ["Running", "Waiting", "Initializing"])
@pytest.mark.parametrize("word", ["SUCCEEDED", "FAILED", "STOPPED"])
def test_w21_rays_own_word_counts_while_kuberay_calls_the_rayjob(status: str, word: str) -> None:
    assessment = _hangs(deployment_status=status, job_status=word)
    assert replace(assessment, now=DUE).due.end.reason is Reason.FINISHED_UNREPORTED
    assert isinstance(decide(replace(assessment, now=DUE)), ProbeHead)
    silent = replace(assessment, probe=a_silent_probe(cluster=READY))
    assert decide(replace(silent, now=DUE)).explanation.reason is Reason.HEAD_UNREACHABLE
    silent = replace(
        silent, memory=replace(assessment.memory, silent_probes=2, silent_since=25 * MINUTE)
    )
    decision = decide(replace(silent, now=DUE))
    assert isinstance(decision, Delete)
    assert decision.explanation.reason is Reason.FINISHED_UNREPORTED
    assert [target.kind for target in decision.targets] == ["RayJob", "RayCluster"]
    assert (
        decide(replace(replace(silent, heads_fail=True), now=DUE)).explanation.reason
        is Reason.HEADS_UNREACHABLE
    )


@pytest.mark.parametrize(
    ("assessment", "sentence"),
    [
        pytest.param(
            _hangs(ray_end_time=None),
            "Poll: NotFinished",
            id="without an end by Ray its word may be KubeRay's",
        ),
        pytest.param(
            _hangs(job_status="RUNNING"), "Poll: NotFinished", id="an end without a final word"
        ),
        pytest.param(
            replace(_hangs(), uptime=30 * MINUTE - MOMENT),
            "Wait: NotFinished",
            id="unchanged for half an hour less a moment",
        ),
        pytest.param(
            replace(_hangs(deployment_status="Initializing"), uptime=MINUTE),
            "Wait: NotFinished",
            id="Initializing, just written",
        ),
        pytest.param(
            _hangs(job_status="FAILED", backoff_limit=1),
            "Poll: NotFinished",
            id="KubeRay tries it again",
        ),
        pytest.param(
            replace(_hangs(backoff_limit=1), probe=a_probe(a_submission("FAILED"))),
            "Keep: NotFinished",
            id="its head says FAILED, and KubeRay tries it again",
        ),
        pytest.param(
            replace(_hangs(), probe=a_probe(a_submission("RUNNING"))),
            "Keep: StillRunning",
            id="a head that answers is stronger",
        ),
        pytest.param(
            replace(_hangs(), probe=a_probe(a_submission())),
            "Delete: FinishedUnreported",
            id="its head says so too",
        ),
        pytest.param(
            replace(_hangs(), probe=ProbeResult(READY, a_list())),
            "Delete: FinishedUnreported",
            id="its restarted head knows nothing",
        ),
        pytest.param(
            replace(_hangs(annotations=says(ttl="1d", cluster_ttl="0")), probe=a_probe()),
            "Wait: WouldBeRebuilt",
            id="its cluster alone is not deleted",
        ),
        pytest.param(
            _hangs(annotations=says(ttl="2h")), "Wait: NotDue", id="its TTL counts from Ray's end"
        ),
        pytest.param(
            replace(_hangs(has_selector=True), owned=()),
            "ProbeHead: FinishedUnreported",
            id="in a selected cluster",
        ),
    ],
)
def test_w21_when_rays_own_word_of_the_end_counts(assessment: Assessment, sentence: str) -> None:
    decision = decide(replace(assessment, now=DUE))
    kind = type(decision).__name__
    if isinstance(decision, ProbeHead) and decision.explanation.reason is Reason.NOT_FINISHED:
        kind = "Poll"
    assert f"{kind}: {decision.explanation.reason}" == sentence


def test_w21_a_finished_job_that_is_initializing_is_not_stuck_initializing() -> None:
    job = replace(HANGS, deployment_status="Initializing", annotations=says(ttl="1d"))
    assessment = an_assessment(
        rayjob=job, policies=_sets(initializing=HOUR), memory=ONCE, probe=a_probe()
    )
    assert decide(replace(assessment, now=END + 2 * HOUR)).explanation.reason is Reason.NOT_FINISHED


def test_w21_a_stuck_time_ends_what_its_head_calls_running() -> None:
    assessment = replace(
        _hangs(status_written_at=END),
        probe=a_probe(a_submission("RUNNING")),
        policies=_sets(stillRunning=DAY),
    )
    assert (
        decide(replace(assessment, now=END + DAY - MOMENT)).explanation.reason
        is Reason.STILL_RUNNING
    )
    assert decide(replace(assessment, now=END + DAY)).explanation.reason is Reason.STUCK_RUNNING


MODES = ("K8sJobMode", "SidecarMode", "HTTPMode", "InteractiveMode", "")
LOST_1H = _sets(jobLost=HOUR)


def _lost(mode: str, probe: ProbeResult | None, **fields: Any) -> Assessment:
    """Running by KubeRay's word; its head did not know it at END."""
    job = a_running(
        submission_mode=mode, annotations={}, ray_start_time=END - DAY, start_time=END - DAY
    )
    memory = Memory(status=("Running", "RUNNING"), status_since=timedelta(), missing_since=END)
    return replace(
        an_assessment(rayjob=job, memory=memory, uptime=60 * MINUTE, policies=LOST_1H, probe=probe),
        **fields,
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        pytest.param(ProbeResult(READY, a_list()), Reason.JOB_LOST, id="its head does not know it"),
        pytest.param(a_dead_node_look(), Reason.JOB_LOST, id="its node is dead"),
        pytest.param(
            a_dead_node_look(a_driver()),
            Reason.CLUSTER_IN_USE,
            id="its node is dead, and a notebook is at work",
        ),
        pytest.param(
            a_dead_node_look(a_driver("FINISHED")),
            Reason.CLUSTER_IN_USE,
            id="its node is dead, and an odd word",
        ),
        pytest.param(
            ProbeResult(READY, HeadSilent("DEAD", node_is_dead=True)),
            Reason.HEAD_UNREACHABLE,
            id="its node is dead, the rest unknown",
        ),
        pytest.param(
            a_silent_probe(cluster=READY), Reason.HEAD_UNREACHABLE, id="its head is silent"
        ),
        pytest.param(
            a_silent_probe(cluster=a_headless_raycluster()),
            Reason.HEAD_UNREACHABLE,
            id="its head is gone",
        ),
        pytest.param(WANTS_A_TOKEN, Reason.HEAD_UNAUTHORIZED, id="its head wants a token"),
        pytest.param(
            ProbeResult(READY, a_list(unreadable="too large")),
            Reason.CLUSTER_IN_USE,
            id="its head's list is unreadable",
        ),
        pytest.param(
            a_probe(a_submission("RUNNING")), Reason.NOT_FINISHED, id="its head knows it again"
        ),
        pytest.param(
            ProbeResult(READY, a_list(a_driver())),
            Reason.CLUSTER_IN_USE,
            id="a notebook is at work",
        ),
    ],
)
def test_w20_a_lost_job_ends_in_every_mode_while_the_head_answers(
    mode: str, probe: ProbeResult, reason: Reason
) -> None:
    assert decide(replace(_lost(mode, probe), now=DUE)).explanation.reason is reason
    silent = replace(_lost(mode, probe).memory, silent_probes=9, silent_since=timedelta())
    assert (
        decide(
            replace(
                _lost(mode, probe, policies=(a_policy(times=SETS_ALL),), memory=silent),
                now=DUE + DAY,
            )
        ).explanation.reason
        is reason
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "status_probe",
    [
        pytest.param(a_status_probe(), id="it is not known"),
        pytest.param(
            replace(a_status_probe(), head=HeadSilent("DEAD", node_is_dead=True)),
            id="its node is dead",
        ),
    ],
)
def test_w20_a_poll_that_misses_the_job_starts_the_time_of_the_policy(
    mode: str, status_probe: ProbeResult
) -> None:
    assessment = _lost(mode, None, memory=replace(_lost(mode, None).memory, missing_since=None))
    assert decide(replace(assessment, now=END)).explanation.reason is Reason.NOT_FINISHED
    polled = replace(assessment, probe=status_probe)
    memory = update_memory(replace(polled, now=END), decide(replace(polled, now=END)))
    assert memory.missing_since == END
    later = replace(assessment, memory=memory)
    assert isinstance(decide(replace(later, now=DUE - MOMENT)), Wait)
    assert isinstance(decide(replace(later, now=DUE)), ProbeHead)
    silent = replace(later, probe=a_silent_probe(), memory=memory)
    assert (
        update_memory(replace(silent, now=DUE), decide(replace(silent, now=DUE))).missing_since
        == END
    )


@pytest.mark.parametrize("mode", ["K8sJobMode", "SidecarMode", "HTTPMode", ""])
def test_w20_the_annotation_ttl_unsubmitted_speaks_for_interactive_jobs_only(mode: str) -> None:
    assessment = _lost(mode, None, policies=())
    job = replace(assessment.rayjob, annotations=says(ttl_unsubmitted="1s"))
    assert (
        decide(replace(replace(assessment, rayjob=job), now=DUE + DAY)).explanation.reason
        is Reason.NOT_FINISHED
    )
    interactive = replace(job, submission_mode=INTERACTIVE)
    assert isinstance(
        decide(replace(replace(assessment, rayjob=interactive), now=DUE + DAY)), ProbeHead
    )


@pytest.mark.parametrize("mode", ["K8sJobMode", "SidecarMode", "HTTPMode", ""])
def test_w20_a_job_that_ray_never_knew_is_not_lost(mode: str) -> None:
    assessment = _lost(mode, ProbeResult(READY, a_list()))
    job = replace(assessment.rayjob, job_status="", ray_start_time=None)
    unknown = replace(
        assessment,
        rayjob=job,
        memory=replace(assessment.memory, status=("Running", "")),
        policies=(a_policy(times=SETS_ALL),),
    )
    assert decide(replace(unknown, now=DUE + DAY)).explanation.reason is Reason.NOT_FINISHED


UNREACHABLE_1D = _sets(headUnreachable=DAY)
SILENT = a_silent_probe(cluster=READY)
ENDS_BY_POLICY = {
    "it ended, and Ray never said so": (_silent(GAVE_UP, SILENT), DUE),
    "its head wants a token": (_silent(GAVE_UP, WANTS_A_TOKEN), DUE),
    "its head Pod is not ready": (_silent(GAVE_UP, a_silent_probe(cluster=UNREADY)), DUE),
    "its head is fault tolerant and gone": (
        _silent(GAVE_UP, a_silent_probe(cluster=a_headless_raycluster(is_fault_tolerant=True))),
        DUE,
    ),
    "its job is on a dead node": (_silent(GAVE_UP, a_dead_node_look()), DUE),
}


@pytest.mark.parametrize(("assessment", "due"), ENDS_BY_POLICY.values(), ids=ENDS_BY_POLICY)
def test_w13_a_policy_time_ends_the_wait_for_a_head(assessment: Assessment, due: datetime) -> None:
    by_policy = replace(assessment, policies=UNREACHABLE_1D)
    kept = decide(replace(assessment, now=due + 99 * DAY)).explanation.reason
    assert kept in {Reason.HEAD_UNREACHABLE, Reason.HEAD_UNAUTHORIZED}
    assert decide(replace(by_policy, now=due + DAY - MOMENT)).explanation.reason is kept
    decision = decide(replace(by_policy, now=due + DAY))
    assert isinstance(decision, Delete)
    assert decision.explanation.reason is Reason.STUCK_UNREACHABLE
    too_few = replace(by_policy, memory=replace(assessment.memory, silent_probes=1))
    too_short = replace(
        by_policy, memory=replace(assessment.memory, silent_since=55 * MINUTE + MOMENT)
    )
    assert [
        decide(replace(one, now=due + DAY)).explanation.reason for one in (too_few, too_short)
    ] == [
        kept,
        kept,
    ]
    assert (
        decide(replace(replace(by_policy, heads_fail=True), now=due + DAY)).explanation.reason
        is Reason.HEADS_UNREACHABLE
    )
    assert (
        decide(replace(replace(by_policy, swept=True), now=due + 99 * DAY)).explanation.reason
        is kept
    )
    shortly_before = due + DAY - timedelta(seconds=10)
    memory = update_memory(
        replace(by_policy, now=shortly_before), decide(replace(by_policy, now=shortly_before))
    )
    assert memory.probe_again_at == due + DAY


def test_w13_a_policy_just_written_ends_nothing_at_once() -> None:
    fresh = (replace(UNREACHABLE_1D[0], written_at=DUE + 9 * DAY),)
    assessment = replace(_silent(GAVE_UP, SILENT), policies=fresh)
    assert (
        decide(replace(assessment, now=DUE + 9 * DAY + 15 * MINUTE - MOMENT)).explanation.reason
        is Reason.HEAD_UNREACHABLE
    )
    assert (
        decide(replace(assessment, now=DUE + 9 * DAY + 15 * MINUTE)).explanation.reason
        is Reason.STUCK_UNREACHABLE
    )


DEAD_NODE = _silent(GAVE_UP, a_dead_node_look(), policies=_sets(stillRunning=DAY))


@pytest.mark.parametrize(
    ("assessment", "now", "reason"),
    [
        pytest.param(DEAD_NODE, END + DAY - MOMENT, Reason.HEAD_UNREACHABLE, id="a moment before"),
        pytest.param(
            DEAD_NODE, END + DAY, Reason.STUCK_UNREACHABLE, id="no later than on a live node"
        ),
        pytest.param(
            replace(DEAD_NODE, policies=_sets(stillRunning=9 * DAY, headUnreachable=2 * HOUR)),
            DUE + 2 * HOUR,
            Reason.STUCK_UNREACHABLE,
            id="or earlier, as for a silent head",
        ),
        pytest.param(
            replace(DEAD_NODE, probe=a_dead_node_look(a_driver())),
            END + DAY,
            Reason.CLUSTER_IN_USE,
            id="a notebook is at work",
        ),
        pytest.param(
            replace(DEAD_NODE, probe=ProbeResult(READY, HeadSilent("DEAD", node_is_dead=True))),
            END + 9 * DAY,
            Reason.HEAD_UNREACHABLE,
            id="nobody knows what else is at work",
        ),
        pytest.param(
            replace(DEAD_NODE, probe=SILENT),
            END + 9 * DAY,
            Reason.HEAD_UNREACHABLE,
            id="a silent head is no dead node",
        ),
    ],
)
def test_w13_a_job_on_a_dead_node_is_kept_no_longer_than_a_running_one(
    assessment: Assessment, now: datetime, reason: Reason
) -> None:
    assert decide(replace(assessment, now=now)).explanation.reason is reason


def test_w3_w13_the_wait_for_a_head_that_initializes_ends_too() -> None:
    times = _sets(initializing=2 * HOUR, headUnreachable=DAY)
    assessment = _initializing(SIDECAR, SILENT, **LONG_SILENT)
    due = END + 2 * HOUR
    assert (
        decide(
            replace(replace(assessment, policies=times), now=due + DAY - MOMENT)
        ).explanation.reason
        is Reason.HEAD_UNREACHABLE
    )
    assert (
        decide(replace(replace(assessment, policies=times), now=due + DAY)).explanation.reason
        is Reason.STUCK_UNREACHABLE
    )


UNREAD = a_list(a_submission("SUCCEEDED", "another"), unreadable="it is larger than 4 MiB")
OVERWRITTEN = a_rayjob(deployment_status="Failed", job_status="FAILED", reason="AppFailed")
"""KubeRay wrote FAILED itself after a broken log stream; Ray never said so."""


@pytest.mark.parametrize(
    ("job", "head", "reason"),
    [
        pytest.param(
            OVERWRITTEN, UNREAD, Reason.CLUSTER_IN_USE, id="unreadable, and nobody knows the end"
        ),
        pytest.param(
            replace(OVERWRITTEN, ray_end_time=END),
            UNREAD,
            Reason.STUCK_IN_USE,
            id="unreadable, with an end by Ray",
        ),
        pytest.param(
            OVERWRITTEN,
            replace(UNREAD, entries=(a_submission("FAILED"),)),
            Reason.STUCK_IN_USE,
            id="unreadable, with an answer about its own job",
        ),
        pytest.param(
            OVERWRITTEN,
            replace(UNREAD, entries=(a_submission("RUNNING"),)),
            Reason.STILL_RUNNING,
            id="unreadable, and its own job runs",
        ),
        pytest.param(
            OVERWRITTEN,
            a_list(a_driver()),
            Reason.STUCK_IN_USE,
            id="a whole list without its own job",
        ),
        pytest.param(
            replace(OVERWRITTEN, job_status="RUNNING"),
            UNREAD,
            Reason.CLUSTER_IN_USE,
            id="unreadable, called RUNNING",
        ),
    ],
)
def test_h11_a_policy_ends_the_use_of_a_cluster_only_if_the_end_of_its_own_job_is_known(
    job: RayJob, head: Any, reason: Reason
) -> None:
    assessment = an_assessment(
        rayjob=job, probe=ProbeResult(READY, head), policies=_sets(clusterInUse=HOUR)
    )
    assert decide(replace(assessment, now=DUE + DAY)).explanation.reason is reason


def test_silence_counts_whatever_was_decided_about_it() -> None:
    """A deletion that was only observed, or refused, must not start the count again."""
    assessment = replace(_silent(GAVE_UP, SILENT), policies=UNREACHABLE_1D)
    now = DUE + DAY
    memory = update_memory(replace(assessment, now=now), decide(replace(assessment, now=now)))
    assert (memory.silent_probes, memory.silent_since) == (3, timedelta())
    answered = replace(assessment, memory=memory, probe=a_probe(a_submission("RUNNING")))
    assert (
        update_memory(replace(answered, now=now), decide(replace(answered, now=now))).silent_probes
        == 0
    )
