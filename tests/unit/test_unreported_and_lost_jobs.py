"""Whole decisions about jobs that ended or were lost, and that KubeRay still reports as running.

Names such as w21 are those of the public cases that a test stands for.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import ProbeHead, Wait
from raysweep.core.model.facts import HeadSilent, ProbeKind, ProbeResult
from raysweep.core.model.memory import Memory
from raysweep.core.model.reasons import Reason
from raysweep.core.update_memory import update_memory
from tests.support.assessments import DAY, MINUTE, READY, at, by, sets
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_dead_node_probe,
    a_driver,
    a_headless_raycluster,
    a_list,
    a_policy,
    a_probe,
    a_running,
    a_silent_probe,
    a_status_probe,
    a_submission,
    an_assessment,
    says,
)
from tests.support.decisions import (
    CLUSTER,
    RAYJOB,
    answer_of,
    assert_reasons,
    deletes,
    keeps,
    probes,
    reason_of,
    waits,
)

NO_JOBS = ProbeResult(READY, a_list())
HANGING = a_running(
    job_status="SUCCEEDED",
    ray_end_time=END,
    ray_start_time=END - HOUR,
    submission_mode="K8sJobMode",
)
"""Ray reports that it succeeded at END, and its submitter hangs."""


def _hanging(**fields: Any) -> Assessment:
    """HANGING, unchanged for half an hour."""
    job = replace(HANGING, **fields)
    status = (job.deployment_status, job.job_status)
    memory = Memory(status=status, status_since=timedelta())
    return an_assessment(rayjob=job, memory=memory, uptime=30 * MINUTE)


@pytest.mark.parametrize("status", ["Running", "Waiting", "Initializing"])
@pytest.mark.parametrize("job_status", ["SUCCEEDED", "FAILED", "STOPPED"])
def test_w21_rays_report_of_the_end_counts_while_kuberay_reports(
    status: str, job_status: str
) -> None:
    assessment = _hanging(deployment_status=status, job_status=job_status)
    assert assessment.due.end.reason is Reason.FINISHED_UNREPORTED
    assert isinstance(decide(assessment), ProbeHead)
    silent = replace(assessment, probe=a_silent_probe(cluster=READY))
    assert reason_of(silent) is Reason.HEAD_UNREACHABLE
    memory = replace(assessment.memory, silent_probes=2, silent_since=25 * MINUTE)
    silent_long = replace(silent, memory=memory)
    both = deletes(Reason.FINISHED_UNREPORTED, RAYJOB, CLUSTER)
    assert answer_of(decide(silent_long)) == both
    assert reason_of(replace(silent_long, heads_fail=True)) is Reason.HEADS_UNREACHABLE


def test_w21_when_rays_report_of_the_end_counts() -> None:
    status_probe = probes(Reason.NOT_FINISHED, ProbeKind.STATUS)
    unreported = deletes(Reason.FINISHED_UNREPORTED, RAYJOB, CLUSTER)
    failed = a_probe(a_submission("FAILED"))
    cluster_first = says(ttl="1d", cluster_ttl="0")
    rows = {
        "without Ray's end time KubeRay may have written the status": (
            _hanging(ray_end_time=None),
            status_probe,
        ),
        "an end time without a terminal status": (_hanging(job_status="RUNNING"), status_probe),
        "unchanged for half an hour less a moment": (
            replace(_hanging(), uptime=30 * MINUTE - MOMENT),
            waits(Reason.NOT_FINISHED, DUE + MOMENT),
        ),
        "Initializing, and just written": (
            replace(_hanging(deployment_status="Initializing"), uptime=MINUTE),
            waits(Reason.NOT_FINISHED, DUE + 29 * MINUTE),
        ),
        "a retry is left": (_hanging(job_status="FAILED", backoff_limit=1), status_probe),
        "the head reports FAILED, and a retry is left": (
            replace(_hanging(backoff_limit=1), probe=failed),
            keeps(Reason.NOT_FINISHED),
        ),
        "the head reports it as running": (
            replace(_hanging(), probe=a_probe(a_submission("RUNNING"))),
            keeps(Reason.STILL_RUNNING),
        ),
        "the head reports the end too": (replace(_hanging(), probe=a_probe()), unreported),
        "the restarted head knows no job": (replace(_hanging(), probe=NO_JOBS), unreported),
        "its cluster alone is not deleted": (
            replace(_hanging(annotations=cluster_first), probe=a_probe()),
            waits(Reason.WOULD_BE_REBUILT, END + DAY),
        ),
        "its TTL counts from Ray's end time": (
            _hanging(annotations=says(ttl="2h")),
            waits(Reason.NOT_DUE, END + 2 * HOUR),
        ),
        "in a selected cluster": (
            replace(_hanging(has_selector=True), owned=()),
            probes(Reason.FINISHED_UNREPORTED),
        ),
    }
    answers = {name: answer_of(decide(assessment)) for name, (assessment, _) in rows.items()}
    assert answers == {name: answer for name, (_, answer) in rows.items()}


def test_w21_a_finished_job_that_initializes_is_not_stuck_initializing() -> None:
    job = replace(HANGING, deployment_status="Initializing", annotations=says(ttl="1d"))
    assessment = an_assessment(now=END + 2 * HOUR, rayjob=job, probe=a_probe())
    limited = by(sets(stuck_initializing=HOUR), assessment)
    assert reason_of(limited) is Reason.NOT_FINISHED


def test_w21_a_policy_ends_what_the_head_reports_as_running() -> None:
    running = replace(_hanging(status_written_at=END), probe=a_probe(a_submission("RUNNING")))
    limited = by(sets(stuck_stillRunning=DAY), running)
    assert reason_of(at(END + DAY - MOMENT, limited)) is Reason.STILL_RUNNING
    assert reason_of(at(END + DAY, limited)) is Reason.STUCK_RUNNING


MODES = ("K8sJobMode", "SidecarMode", "HTTPMode", "InteractiveMode", "")
STUCK_TIMES = (
    "neverSubmitted",
    "jobLost",
    "initializing",
    "stillRunning",
    "clusterInUse",
    "headUnreachable",
)
ALL_LIMITS = a_policy(times={f"stuck.{kind}": HOUR for kind in STUCK_TIMES})


def _lost(mode: str, probe: ProbeResult | None = None) -> Assessment:
    """Running by its status. Its head has not known it since END, and a policy allows an hour."""
    job = a_running(
        submission_mode=mode, annotations={}, ray_start_time=END - DAY, start_time=END - DAY
    )
    memory = Memory(status=("Running", "RUNNING"), status_since=timedelta(), missing_since=END)
    assessment = an_assessment(rayjob=job, memory=memory, uptime=60 * MINUTE, probe=probe)
    return by(sets(stuck_jobLost=HOUR), assessment)


@pytest.mark.parametrize("mode", MODES)
def test_w20_a_lost_job_ends_in_every_mode_while_its_head_answers(mode: str) -> None:
    dead_only = ProbeResult(READY, HeadSilent("DEAD", node_is_dead=True))
    token = ProbeResult(READY, HeadSilent("401 Unauthorized: ", unauthorized=True))
    unreadable = ProbeResult(READY, a_list(unreadable="too large"))
    headless = a_silent_probe(cluster=a_headless_raycluster())
    results = (
        ("the head does not know it", NO_JOBS, Reason.JOB_LOST),
        ("its node is dead", a_dead_node_probe(), Reason.JOB_LOST),
        ("and a notebook runs", a_dead_node_probe(a_driver()), Reason.CLUSTER_IN_USE),
        ("and a driver is odd", a_dead_node_probe(a_driver("FINISHED")), Reason.CLUSTER_IN_USE),
        ("its node is dead, other jobs unknown", dead_only, Reason.HEAD_UNREACHABLE),
        ("its head is silent", a_silent_probe(cluster=READY), Reason.HEAD_UNREACHABLE),
        ("its head is gone", headless, Reason.HEAD_UNREACHABLE),
        ("its head requires a token", token, Reason.HEAD_UNAUTHORIZED),
        ("the list is unreadable", unreadable, Reason.CLUSTER_IN_USE),
        ("the head knows it again", a_probe(a_submission("RUNNING")), Reason.NOT_FINISHED),
        ("a notebook runs", ProbeResult(READY, a_list(a_driver())), Reason.CLUSTER_IN_USE),
    )
    assert_reasons({name: (_lost(mode, probe), reason) for name, probe, reason in results})
    rows: dict[str, tuple[Assessment, Reason]] = {}
    for name, probe, reason in results:
        lost = at(DUE + DAY, by(ALL_LIMITS, _lost(mode, probe)))
        silent = replace(lost.memory, silent_probes=9, silent_since=timedelta())
        rows[f"{name}, with all limits and a long silence"] = (replace(lost, memory=silent), reason)
    assert_reasons(rows)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "probe",
    [
        pytest.param(a_status_probe(), id="the head does not know it"),
        pytest.param(
            replace(a_status_probe(), head=HeadSilent("DEAD", node_is_dead=True)),
            id="its node is dead",
        ),
    ],
)
def test_w20_the_first_status_probe_without_the_job_starts_the_time_of_the_policy(
    mode: str, probe: ProbeResult
) -> None:
    lost = at(END, _lost(mode, probe))
    first = replace(lost, memory=replace(lost.memory, missing_since=None))
    assert reason_of(replace(first, probe=None)) is Reason.NOT_FINISHED
    memory = update_memory(first, decide(first))
    assert memory.missing_since == END
    later = replace(lost, memory=memory, probe=None)
    assert isinstance(decide(at(DUE - MOMENT, later)), Wait)
    assert isinstance(decide(at(DUE, later)), ProbeHead)
    silent = replace(at(DUE, later), probe=a_silent_probe())
    assert update_memory(silent, decide(silent)).missing_since == END


def test_w20_ttl_unsubmitted_applies_to_interactive_jobs_only() -> None:
    for mode in MODES:
        lost = replace(_lost(mode), now=DUE + DAY, policies=())
        job = replace(lost.rayjob, annotations=says(ttl_unsubmitted="1s"))
        decision = decide(replace(lost, rayjob=job))
        is_interactive = mode == "InteractiveMode"
        assert isinstance(decision, ProbeHead) is is_interactive, mode
        if not is_interactive:
            assert decision.explanation.reason is Reason.NOT_FINISHED, mode


def test_w20_a_job_that_ray_never_knew_is_not_lost() -> None:
    for mode in ("K8sJobMode", "SidecarMode", "HTTPMode", ""):
        lost = at(DUE + DAY, by(ALL_LIMITS, _lost(mode, NO_JOBS)))
        job = replace(lost.rayjob, job_status="", ray_start_time=None)
        memory = replace(lost.memory, status=("Running", ""))
        assert reason_of(replace(lost, rayjob=job, memory=memory)) is Reason.NOT_FINISHED, mode
