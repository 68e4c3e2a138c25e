"""The checks of what the head and its cluster report after a probe."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from raysweep.core.checks.head import ambiguous, cluster_in_use, head_silent, still_running
from raysweep.core.model.facts import HeadSilent, ProbeResult
from raysweep.core.model.reasons import Reason
from tests.support.assessments import (
    DAY,
    EXPIRED,
    IN_USE,
    LATE,
    LOST,
    MINUTE,
    NOT_READY,
    RUNS_ON,
    SILENT_MEMORY,
    UNREPORTED,
    UNSUBMITTED,
    at,
    by,
    probed,
    sets,
    silent,
)
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_driver,
    a_headless_raycluster,
    a_list,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_silent_probe,
    a_submission,
    an_assessment,
    an_interactive,
)
from tests.support.decisions import PASSES, Rows, assert_answers, boundary, keeps

if TYPE_CHECKING:
    from raysweep.core.assessment import Assessment

DEADLINE = "DeadlineExceeded"
HEADLESS = a_silent_probe(cluster=a_headless_raycluster())
SUFFICIENT = {
    "Ray reported the end": silent(ray_end_time=END),
    "a deadline ended it": silent(
        reason=DEADLINE, deployment_status="Failed", job_status="RUNNING"
    ),
    "a deadline before the run ended it": silent(
        reason="PreRunningDeadlineExceeded", deployment_status="Failed", job_status=""
    ),
    "there is no head": silent(HEADLESS, deployment_status="Failed", job_status="RUNNING"),
    "the head has failed": silent(
        a_silent_probe(cluster=a_headless_raycluster(head_reason="PodFailed"))
    ),
}
"""The status proves the end without an answer of the head."""
INSUFFICIENT = {
    "Ray did not report the end": silent(),
    "Ray's end time without a terminal status": silent(
        ray_end_time=END, job_status="RUNNING", deployment_status="Failed"
    ),
    "another reason is no deadline": silent(
        reason="AppFailed", deployment_status="Failed", job_status="FAILED"
    ),
    "the head is ready, and the probe does not reach it": silent(
        a_silent_probe(cluster=a_raycluster(head_ready=True, head_reason="HeadPodRunningAndReady"))
    ),
    "the head exists and hangs": silent(
        a_silent_probe(cluster=a_raycluster(head_ready=False, head_reason="ContainersNotReady"))
    ),
    "KubeRay reports it as running": replace(
        UNREPORTED,
        probe=HEADLESS,
        memory=replace(UNREPORTED.memory, silent_probes=2, silent_since=0 * MINUTE),
    ),
    "no probe has found that no job was submitted": replace(
        UNSUBMITTED, probe=HEADLESS, memory=SILENT_MEMORY, uptime=60 * MINUTE
    ),
    "the job was lost before its head was gone": replace(
        LOST,
        probe=HEADLESS,
        memory=replace(LOST.memory, silent_probes=2, silent_since=0 * MINUTE),
    ),
}
TOO_SHORT: dict[str, dict[str, Any]] = {
    "silent twice only": {"silent_probes": 1},
    "silent for five minutes less a microsecond": {"silent_since": 55 * MINUTE + MOMENT},
    "silent for the first time": {"silent_probes": 0, "silent_since": None},
}
UNREACHABLE = keeps(Reason.HEAD_UNREACHABLE)


def test_head_silent() -> None:
    deleting = ProbeResult(a_raycluster(deleting=True), HeadSilent("refused"))
    token = a_silent_probe("401 Unauthorized", unauthorized=True)
    assert_answers(
        head_silent,
        {
            "the head answered": (EXPIRED, PASSES),
            "there is no cluster": (probed(ProbeResult(None)), PASSES),
            "the cluster is being deleted": (probed(deleting), PASSES),
            "the head was not asked": (probed(ProbeResult(a_raycluster())), UNREACHABLE),
            "a proxy answered": (probed(a_silent_probe("HTTP 502")), UNREACHABLE),
            "the head requires a token": (probed(token), keeps(Reason.HEAD_UNAUTHORIZED)),
            "a deadline is no answer": (probed(a_silent_probe(), reason=DEADLINE), UNREACHABLE),
            "a head that was never ready": (
                at(LATE, replace(NOT_READY, probe=a_silent_probe())),
                PASSES,
            ),
            **boundary(
                "a policy ends the wait",
                by(sets(stuck_headUnreachable=DAY), silent()),
                DUE + DAY,
                UNREACHABLE,
            ),
        },
    )


def test_head_silent_lets_pass_what_the_status_proves() -> None:
    for name, assessment in SUFFICIENT.items():
        late = at(LATE, assessment)
        rows: dict[str, tuple[Assessment, Any]] = {
            name: (late, PASSES),
            f"{name}, and many heads fail": (
                replace(late, heads_fail=True),
                keeps(Reason.HEADS_UNREACHABLE),
            ),
        }
        for how, fields in TOO_SHORT.items():
            memory = replace(assessment.memory, **fields)
            rows[f"{name}, {how}"] = (replace(late, memory=memory), UNREACHABLE)
        assert_answers(head_silent, rows)
    assert_answers(
        head_silent,
        {name: (at(LATE, assessment), UNREACHABLE) for name, assessment in INSUFFICIENT.items()},
    )


def test_ambiguous() -> None:
    kept = keeps(Reason.AMBIGUOUS)
    several = a_probe(a_submission(), a_submission("FAILED", "b"), a_driver("FAILED"))
    assert_answers(
        ambiguous,
        {
            "its own job is known": (EXPIRED, PASSES),
            "two submissions, and no ID": (probed(several, job_id=""), kept),
            "two submissions to an interactive RayJob": (replace(UNSUBMITTED, probe=several), kept),
        },
    )


def test_still_running() -> None:
    running = a_probe(a_submission("RUNNING"))
    failed = {"deployment_status": "Failed", "job_status": "FAILED"}
    no_end_time = replace(RUNS_ON, rayjob=a_rayjob(end_time=None, status_written_at=DUE))
    policy = sets(stuck_stillRunning=DAY)
    kept = keeps(Reason.STILL_RUNNING)
    assert_answers(
        still_running,
        {
            "the head and the status agree": (EXPIRED, PASSES),
            "the head reports it as pending": (probed(a_probe(a_submission("PENDING"))), kept),
            "the head reports it as running": (RUNS_ON, kept),
            "H24: an unknown status": (probed(a_probe(a_submission("PAUSED"))), kept),
            "after a deadline": (probed(running, reason=DEADLINE), PASSES),
            "after a deadline before the run": (
                probed(running, reason="PreRunningDeadlineExceeded"),
                PASSES,
            ),
            "another reason is no deadline": (probed(running, reason="AppFailed", **failed), kept),
            "the head does not know the job": (probed(a_probe(a_driver())), PASSES),
            "in a cluster that is not ready": (replace(NOT_READY, probe=running), kept),
            "in a selected cluster": (probed(running, has_selector=True), kept),
            **boundary("a policy ends the wait", by(policy, RUNS_ON), END + DAY, kept),
            **boundary(
                "without an end time it counts from the last write of the status",
                by(policy, no_end_time),
                DUE + DAY,
                kept,
            ),
            "a sweep deletes no running job": (
                at(END + 2 * DAY, replace(by(policy, RUNS_ON), swept=True)),
                kept,
            ),
        },
    )


def test_cluster_in_use() -> None:
    unreadable = a_probe(a_submission(), unreadable="entry 1: status: Field required")
    unknown_words = replace(a_driver("another status"), type="another type")
    too_large = ProbeResult(a_raycluster(), a_list(unreadable="it is larger than 4 MiB"))
    ended = a_probe(a_submission(), a_driver("SUCCEEDED"), a_submission("FAILED", "b"))
    after_deadline = probed(a_probe(a_submission("RUNNING"), a_driver()), reason=DEADLINE)
    kept = keeps(Reason.CLUSTER_IN_USE)
    rows: Rows = {
        "its own job only": (EXPIRED, PASSES),
        "others that have ended": (probed(ended), PASSES),
        "a driver": (IN_USE, kept),
        "a second submission": (
            probed(a_probe(a_submission(), a_submission("PENDING", "b"))),
            kept,
        ),
        "a deadline ends the own job only": (after_deadline, kept),
        "H24: an entry with unknown words": (
            probed(a_probe(a_submission(), unknown_words)),
            kept,
        ),
        "an unreadable entry": (probed(unreadable), kept),
        "a list that is too large": (probed(too_large), kept),
        "other RayJobs select its cluster": (replace(EXPIRED, selected_by=("a",)), kept),
        "other RayJobs select a cluster that is gone": (
            an_assessment(owned=(), probe=ProbeResult(None), selected_by=("a",)),
            PASSES,
        ),
        "never submitted, and a driver": (
            replace(UNSUBMITTED, probe=ProbeResult(a_raycluster(), a_list(a_driver()))),
            kept,
        ),
        "a driver in a selected cluster": (
            probed(a_probe(a_submission(), a_driver()), has_selector=True),
            PASSES,
        ),
        "an unreadable entry in a selected cluster": (
            probed(unreadable, has_selector=True),
            kept,
        ),
    }
    assert_answers(cluster_in_use, rows)


def test_cluster_in_use_ends_by_a_policy() -> None:
    policy = sets(stuck_clusterInUse=DAY)
    unread = a_probe(a_submission("SUCCEEDED", "another"), unreadable="it is too large")
    unfinished = by(
        sets(stuck_clusterInUse=DAY, stuck_neverSubmitted=HOUR),
        an_assessment(rayjob=an_interactive(annotations={}), probe=a_probe(a_driver())),
    )
    kept = keeps(Reason.CLUSTER_IN_USE)
    assert_answers(
        cluster_in_use,
        {
            **boundary("counted from the due time", by(policy, IN_USE), DUE + DAY, kept),
            "the list is unreadable, and Ray reported the end": (
                at(DUE + DAY, by(policy, probed(unread, ray_end_time=END))),
                PASSES,
            ),
            "the list is unreadable, and the own job may run": (
                at(DUE + DAY, by(policy, probed(unread))),
                kept,
            ),
            "the own job has not finished": (at(DUE + 2 * DAY, unfinished), kept),
        },
    )
