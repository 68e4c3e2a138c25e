"""Whole decisions about heads that give no usable answer, and the policy times that end the wait.

Names such as w13 are those of the public cases that a test stands for.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.facts import HeadSilent, Policy, ProbeResult, RayJob
from raysweep.core.model.memory import Memory
from raysweep.core.model.reasons import Reason
from raysweep.core.update_memory import update_memory
from tests.support.assessments import (
    DAY,
    MINUTE,
    OLD_WITH_HEAD,
    OLD_WITHOUT_HEAD,
    READY,
    UNREADY,
    at,
    by,
    sets,
)
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_dead_node_probe,
    a_driver,
    a_headless_raycluster,
    a_list,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_silent_probe,
    a_submission,
    an_assessment,
    says,
)
from tests.support.decisions import assert_reasons, reason_of

GIVEN_UP = a_rayjob(deployment_status="Failed", job_status="RUNNING", reason="SubmissionFailed")
"""KubeRay gave it up while it ran."""
SILENT = a_silent_probe(cluster=READY)
NEEDS_TOKEN = ProbeResult(READY, HeadSilent("401 Unauthorized: ", unauthorized=True))
DEAD_NODE = ProbeResult(READY, HeadSilent("DEAD", node_is_dead=True))


def _silent(probe: ProbeResult, job: RayJob = GIVEN_UP, **fields: Any) -> Assessment:
    """Silent for the third time, an hour after the first. Its status has not changed since."""
    memory = Memory(
        silent_probes=2,
        silent_since=timedelta(),
        status=(job.deployment_status, job.job_status),
        status_since=timedelta(),
        first_finished=END,
    )
    return an_assessment(rayjob=job, probe=probe, memory=memory, uptime=60 * MINUTE, **fields)


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(GIVEN_UP, id="SubmissionFailed"),
        pytest.param(
            replace(GIVEN_UP, reason="JobStatusCheckTimeoutExceeded"),
            id="JobStatusCheckTimeoutExceeded",
        ),
        pytest.param(
            replace(GIVEN_UP, job_status="FAILED", reason="AppFailed"),
            id="AppFailed without Ray's end time",
        ),
    ],
)
def test_w1_a_refused_connection_proves_nothing_without_the_status_of_the_cluster(
    job: RayJob,
) -> None:
    crashing = replace(UNREADY, head_reason="CrashLoopBackOff")
    fault_tolerant = a_headless_raycluster(is_fault_tolerant=True)
    clusters = (
        ("a container is not ready", UNREADY, Reason.HEAD_UNREACHABLE),
        ("a container crashes", crashing, Reason.HEAD_UNREACHABLE),
        ("no condition, and a head Pod with an IP", OLD_WITH_HEAD, Reason.HEAD_UNREACHABLE),
        ("no status", a_raycluster(), Reason.HEAD_UNREACHABLE),
        ("fault tolerant, without a head Pod", fault_tolerant, Reason.HEAD_UNREACHABLE),
        ("no head Pod", a_headless_raycluster(), Reason.UNCONFIRMED),
        ("no condition, and no head Pod", OLD_WITHOUT_HEAD, Reason.UNCONFIRMED),
    )
    assert_reasons(
        {
            name: (at(DUE + DAY, _silent(a_silent_probe(cluster=cluster), job)), reason)
            for name, cluster, reason in clusters
        }
    )


INITIALIZING = a_rayjob(
    deployment_status="Initializing",
    job_status="",
    start_time=END,
    end_time=None,
    annotations={},
    status_written_at=END,
)
PENDING_2H = sets(stuck_initializing=2 * HOUR)


def _initializing(mode: str, probe: ProbeResult, *, is_silent: bool = False) -> Assessment:
    """Initializing for an hour longer than its policy allows."""
    memory = Memory(status=("Initializing", ""), status_since=timedelta())
    if is_silent:
        memory = replace(memory, silent_probes=2, silent_since=timedelta())
    return an_assessment(
        now=END + 3 * HOUR,
        rayjob=replace(INITIALIZING, submission_mode=mode),
        probe=probe,
        policies=(PENDING_2H,),
        memory=memory,
        uptime=60 * MINUTE,
    )


def test_w3_a_head_of_sidecar_mode_must_answer_while_the_job_initializes() -> None:
    mode, headless = "SidecarMode", a_silent_probe(cluster=a_headless_raycluster())
    gone_long = _initializing(mode, headless, is_silent=True)
    running = a_probe(a_submission("RUNNING"))
    no_jobs = ProbeResult(READY, a_list())
    assert_reasons(
        {
            "silent once": (_initializing(mode, SILENT), Reason.HEAD_UNREACHABLE),
            "not ready": (
                _initializing(mode, a_silent_probe(cluster=UNREADY)),
                Reason.HEAD_UNREACHABLE,
            ),
            "requires a token": (_initializing(mode, NEEDS_TOKEN), Reason.HEAD_UNAUTHORIZED),
            "silent for long, and ready": (
                _initializing(mode, SILENT, is_silent=True),
                Reason.HEAD_UNREACHABLE,
            ),
            "gone, and silent once": (_initializing(mode, headless), Reason.HEAD_UNREACHABLE),
            "gone, and silent for long": (gone_long, Reason.STUCK_INITIALIZING),
            "gone, and many heads fail": (
                replace(gone_long, heads_fail=True),
                Reason.HEADS_UNREACHABLE,
            ),
            "knows no job": (_initializing(mode, no_jobs), Reason.STUCK_INITIALIZING),
            "reports it as running": (_initializing(mode, running), Reason.STILL_RUNNING),
        }
    )


def test_w3_other_modes_need_the_head_only_if_a_job_can_have_reached_it() -> None:
    mode = "InteractiveMode"
    old, unready = a_silent_probe(cluster=OLD_WITH_HEAD), a_silent_probe(cluster=UNREADY)
    assert_reasons(
        {
            "interactive, ready": (_initializing(mode, SILENT), Reason.HEAD_UNREACHABLE),
            "interactive, requires a token": (
                _initializing(mode, NEEDS_TOKEN),
                Reason.HEAD_UNAUTHORIZED,
            ),
            "interactive, before KubeRay 1.3 with an IP": (
                _initializing(mode, old),
                Reason.HEAD_UNREACHABLE,
            ),
            "interactive, never ready": (_initializing(mode, unready), Reason.STUCK_INITIALIZING),
            "no mode": (_initializing("", SILENT), Reason.STUCK_INITIALIZING),
            "K8sJobMode": (_initializing("K8sJobMode", SILENT), Reason.STUCK_INITIALIZING),
            "HTTPMode": (_initializing("HTTPMode", SILENT), Reason.STUCK_INITIALIZING),
            "an unknown mode": (_initializing("NewMode", SILENT), Reason.HEAD_UNREACHABLE),
        }
    )


def test_w3_ttl_unsubmitted_follows_the_same_rules() -> None:
    annotations = says(ttl_unsubmitted="1h")
    job = replace(INITIALIZING, submission_mode="InteractiveMode", annotations=annotations)
    assessment = an_assessment(rayjob=job, probe=SILENT)
    unready = replace(assessment, probe=a_silent_probe(cluster=UNREADY))
    assert reason_of(assessment) is Reason.HEAD_UNREACHABLE
    assert reason_of(unready) is Reason.STUCK_INITIALIZING


def _limited(**times: timedelta) -> Policy:
    return sets(**{f"stuck_{kind}": time for kind, time in times.items()})


FAULT_TOLERANT = a_silent_probe(cluster=a_headless_raycluster(is_fault_tolerant=True))


@pytest.mark.parametrize(
    "probe",
    [
        pytest.param(SILENT, id="the connection is refused"),
        pytest.param(NEEDS_TOKEN, id="the head requires a token"),
        pytest.param(a_silent_probe(cluster=UNREADY), id="the head is not ready"),
        pytest.param(FAULT_TOLERANT, id="the head is fault tolerant and gone"),
        pytest.param(a_dead_node_probe(), id="the node of the job is dead"),
    ],
)
def test_w13_a_policy_ends_the_wait_for_a_head(probe: ProbeResult) -> None:
    unlimited = _silent(probe)
    limited = by(_limited(headUnreachable=DAY), unlimited)
    kept = reason_of(at(DUE + 99 * DAY, unlimited))
    assert kept in {Reason.HEAD_UNREACHABLE, Reason.HEAD_UNAUTHORIZED}
    too_few = replace(limited.memory, silent_probes=1)
    too_short = replace(limited.memory, silent_since=55 * MINUTE + MOMENT)
    due = at(DUE + DAY, limited)
    assert_reasons(
        {
            "a moment before": (at(DUE + DAY - MOMENT, limited), kept),
            "at that time": (due, Reason.STUCK_UNREACHABLE),
            "too few probes": (replace(due, memory=too_few), kept),
            "too short a silence": (replace(due, memory=too_short), kept),
            "many heads fail": (replace(due, heads_fail=True), Reason.HEADS_UNREACHABLE),
            "a sweep": (at(DUE + 99 * DAY, replace(limited, swept=True)), kept),
        }
    )
    shortly_before = at(DUE + DAY - timedelta(seconds=10), limited)
    memory = update_memory(shortly_before, decide(shortly_before))
    assert memory.probe_again_at == DUE + DAY


def test_w13_a_policy_that_was_just_written_ends_nothing_at_once() -> None:
    written_at = DUE + 9 * DAY
    policy = replace(_limited(headUnreachable=DAY), written_at=written_at)
    limited = by(policy, _silent(SILENT))
    before = at(written_at + 15 * MINUTE - MOMENT, limited)
    assert reason_of(before) is Reason.HEAD_UNREACHABLE
    assert reason_of(at(written_at + 15 * MINUTE, limited)) is Reason.STUCK_UNREACHABLE


def test_w13_a_job_on_a_dead_node_is_kept_no_longer_than_a_running_one() -> None:
    on_dead_node = by(_limited(stillRunning=DAY), _silent(a_dead_node_probe()))
    both = by(_limited(stillRunning=9 * DAY, headUnreachable=2 * HOUR), on_dead_node)
    notebook = replace(on_dead_node, probe=a_dead_node_probe(a_driver()))
    assert_reasons(
        {
            "a moment before": (at(END + DAY - MOMENT, on_dead_node), Reason.HEAD_UNREACHABLE),
            "at that time": (at(END + DAY, on_dead_node), Reason.STUCK_UNREACHABLE),
            "earlier, as for a silent head": (
                at(DUE + 2 * HOUR, both),
                Reason.STUCK_UNREACHABLE,
            ),
            "a notebook is connected": (at(END + DAY, notebook), Reason.CLUSTER_IN_USE),
            "other jobs are unknown": (
                at(END + 9 * DAY, replace(on_dead_node, probe=DEAD_NODE)),
                Reason.HEAD_UNREACHABLE,
            ),
            "a silent head proves no dead node": (
                at(END + 9 * DAY, replace(on_dead_node, probe=SILENT)),
                Reason.HEAD_UNREACHABLE,
            ),
        }
    )


def test_w3_w13_a_policy_ends_the_wait_for_a_head_that_initializes() -> None:
    policy = _limited(initializing=2 * HOUR, headUnreachable=DAY)
    limited = by(policy, _initializing("SidecarMode", SILENT, is_silent=True))
    due = END + 2 * HOUR
    assert reason_of(at(due + DAY - MOMENT, limited)) is Reason.HEAD_UNREACHABLE
    assert reason_of(at(due + DAY, limited)) is Reason.STUCK_UNREACHABLE


def test_h11_a_policy_ends_the_use_of_a_cluster_only_if_the_own_job_has_ended() -> None:
    def used(head: object, **fields: object) -> Assessment:
        failed = {"deployment_status": "Failed", "job_status": "FAILED", "reason": "AppFailed"}
        job = a_rayjob(**(failed | fields))
        assessment = an_assessment(rayjob=job, probe=ProbeResult(READY, head))  # type: ignore[arg-type]
        return at(DUE + DAY, by(_limited(clusterInUse=HOUR), assessment))

    unread = a_list(a_submission("SUCCEEDED", "another"), unreadable="it is larger than 4 MiB")
    own_failed = replace(unread, entries=(a_submission("FAILED"),))
    own_runs = replace(unread, entries=(a_submission("RUNNING"),))
    assert_reasons(
        {
            "unreadable, and Ray reported no end": (used(unread), Reason.CLUSTER_IN_USE),
            "unreadable, and Ray reported the end": (
                used(unread, ray_end_time=END),
                Reason.STUCK_IN_USE,
            ),
            "unreadable, with the own job's end": (used(own_failed), Reason.STUCK_IN_USE),
            "unreadable, and the own job runs": (used(own_runs), Reason.STILL_RUNNING),
            "a whole list without the own job": (used(a_list(a_driver())), Reason.STUCK_IN_USE),
            "unreadable, and RUNNING by the status": (
                used(unread, job_status="RUNNING"),
                Reason.CLUSTER_IN_USE,
            ),
        }
    )


def test_silence_counts_whatever_the_decision_is() -> None:
    """A deletion may be a dry run, or refused. The count goes on."""
    assessment = at(DUE + DAY, by(_limited(headUnreachable=DAY), _silent(SILENT)))
    memory = update_memory(assessment, decide(assessment))
    assert (memory.silent_probes, memory.silent_since) == (3, timedelta())
    answered = replace(assessment, memory=memory, probe=a_probe(a_submission("RUNNING")))
    assert update_memory(answered, decide(answered)).silent_probes == 0
