"""The guards that speak after a live look, and the deletion itself: what each keeps and lets pass, each boundary twice."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.checks.answers import Check
from raysweep.core.checks.deletion import bulk_expiry_limit, expired, will_be_recreated
from raysweep.core.checks.head import ambiguous, cluster_in_use, head_silent, still_running
from raysweep.core.model.facts import HeadSilent, KubeRayCleanup, ProbeResult
from raysweep.core.model.memory import Memory
from raysweep.core.model.parameters import Parameters
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_driver,
    a_headless_raycluster,
    a_list,
    a_namespace,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_silent_probe,
    a_submission,
    an_assessment,
    an_interactive,
    says,
)
from tests.support.sentences import (
    BOTH,
    ENDED_UNNOTICED,
    GOING,
    LATE,
    LOST,
    MINUTE,
    NOT_READY,
    NOT_SUBMITTED,
    PASSES,
    RECORD,
    STUCK_1H,
    TTL_1D,
    TTL_1H,
    Row,
    boundary,
    in_words,
    probed,
)

SILENT_LONG = Memory(first_finished=END, silent_probes=2, silent_since=55 * MINUTE)
NOBODY = a_silent_probe(cluster=a_headless_raycluster())


def _silent(probe: ProbeResult | None = None, **fields: object) -> Assessment:
    """Silent for the third time, five minutes after the first."""
    return an_assessment(
        rayjob=a_rayjob(**fields),
        probe=probe or a_silent_probe(),
        memory=SILENT_LONG,
        uptime=60 * MINUTE,
    )


GOOD_WITHOUT = {
    "Ray once said that it ended": _silent(ray_end_time=END),
    "a deadline ended it": _silent(
        reason="DeadlineExceeded", deployment_status="Failed", job_status="RUNNING"
    ),
    "another deadline ended it": _silent(
        reason="PreRunningDeadlineExceeded", deployment_status="Failed", job_status=""
    ),
    "there is no head any more": _silent(NOBODY, deployment_status="Failed", job_status="RUNNING"),
    "its head has failed": _silent(
        a_silent_probe(cluster=a_headless_raycluster(head_reason="PodFailed"))
    ),
}
"""What makes the RayJob's own word good enough."""
NOT_GOOD_WITHOUT = {
    "Ray never said so": _silent(),
    "Ray's end is there and its word is not final": _silent(
        ray_end_time=END, job_status="RUNNING", deployment_status="Failed"
    ),
    "another reason is no wish for an end": _silent(
        reason="AppFailed", deployment_status="Failed", job_status="FAILED"
    ),
    "its head is ready, only we do not reach it": _silent(
        a_silent_probe(cluster=a_raycluster(head_ready=True, head_reason="HeadPodRunningAndReady"))
    ),
    "its head is there and hangs": _silent(
        a_silent_probe(cluster=a_raycluster(head_ready=False, head_reason="ContainersNotReady"))
    ),
    "KubeRay calls it running": replace(
        ENDED_UNNOTICED,
        probe=NOBODY,
        memory=replace(ENDED_UNNOTICED.memory, silent_probes=2, silent_since=timedelta()),
    ),
    "nobody ever saw that nothing was submitted": replace(
        NOT_SUBMITTED, probe=NOBODY, memory=SILENT_LONG, uptime=60 * MINUTE
    ),
    "its job was missed, and then its head went too": replace(
        LOST, probe=NOBODY, memory=replace(LOST.memory, silent_probes=2, silent_since=timedelta())
    ),
}
TOO_LITTLE: dict[str, dict[str, Any]] = {
    "only twice": {"silent_probes": 1},
    "over five minutes less a microsecond": {"silent_since": 55 * MINUTE + MOMENT},
    "never before": {"silent_probes": 0, "silent_since": None},
}
ARGO_KEY = "argocd.argoproj.io/tracking-id"
BY_DEFAULT = replace(BOTH, namespace=a_namespace(ttl="1h"))


def _tracked(**fields: object) -> Assessment:
    """Due by its Namespace's word, and looked at."""
    return replace(BY_DEFAULT, rayjob=a_rayjob(**({"annotations": {}} | fields)))


TRACKED = {
    **{
        key: _tracked(keys=frozenset({key, "example.com/other"}))
        for key in (ARGO_KEY, "kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name")
    },
    "app.kubernetes.io/instance": replace(
        _tracked(keys=frozenset({"app.kubernetes.io/instance"})),
        parameters=Parameters(recreated_by=frozenset({"app.kubernetes.io/instance"})),
    ),
    "controller Workflow": _tracked(controller_kind="Workflow"),
}
ARGO = TRACKED[ARGO_KEY]
NOTED = TTL_1D.replace("18:00:00", "18:01:00")
CLUSTER = "Delete RayCluster uid-cluster at 90"
NOTES = [
    ("the head knows nothing more", "SUCCEEDED", END, f"{CLUSTER}: Expired: {TTL_1D}"),
    ("the head says an earlier end", "SUCCEEDED", END - MINUTE, f"{CLUSTER}: Expired: {TTL_1D}"),
    ("the head says no end", "SUCCEEDED", None, f"{CLUSTER}: Expired: {TTL_1D}"),
    (
        "the head says a later end",
        "SUCCEEDED",
        END + MINUTE,
        f"{CLUSTER}, noting 'succeeded 2026-11-22T18:01:00Z': Expired: {NOTED}",
    ),
    (
        "the head says another outcome",
        "FAILED",
        END,
        f"{CLUSTER}, noting 'failed 2026-11-22T18:00:00Z': Expired: {TTL_1D.replace('succeeded', 'failed', 1)}",
    ),
]

ROWS: list[Row] = [
    # head_silent
    pytest.param(head_silent, BOTH, DUE, PASSES, id="the head answered"),
    pytest.param(head_silent, probed(ProbeResult(None)), DUE, PASSES, id="there is no head"),
    pytest.param(
        head_silent,
        probed(ProbeResult(a_raycluster(deleting=True), HeadSilent("refused"))),
        DUE,
        PASSES,
        id="the cluster is being deleted: its head is past asking",
    ),
    pytest.param(
        head_silent,
        probed(ProbeResult(a_raycluster())),
        DUE,
        "Keep: HeadUnreachable: it was not asked",
        id="a live cluster whose head was never asked",
    ),
    pytest.param(
        head_silent,
        probed(a_silent_probe("HTTP 502 <html>\nBad Gateway")),
        DUE,
        "Keep: HeadUnreachable: HTTP 502 <html> Bad Gateway",
        id="something else answered in its place",
    ),
    pytest.param(
        head_silent,
        probed(a_silent_probe("401 Unauthorized: Missing authentication token", unauthorized=True)),
        DUE,
        "Keep: HeadUnauthorized: 401 Unauthorized: Missing authentication token",
        id="the head wants a token",
    ),
    pytest.param(
        head_silent,
        probed(a_silent_probe(), reason="DeadlineExceeded"),
        DUE,
        "Keep: HeadUnreachable: connection refused",
        id="a deadline does not make silence an answer",
    ),
    # ambiguous
    pytest.param(ambiguous, BOTH, DUE, PASSES, id="its own job is known"),
    pytest.param(
        ambiguous,
        probed(
            a_probe(a_submission(), a_submission(submission_id="b"), a_driver("FAILED")), job_id=""
        ),
        DUE,
        "Keep: Ambiguous: submissions 'train-x7k2p', 'b'",
        id="no ID and two submissions",
    ),
    # still_running
    pytest.param(still_running, BOTH, DUE, PASSES, id="head and RayJob agree"),
    *(
        pytest.param(
            still_running,
            probed(a_probe(a_submission(word))),
            DUE,
            f"Keep: StillRunning: jobDeploymentStatus Complete, jobStatus 'SUCCEEDED'; the head says 'train-x7k2p' is {shown}",
            id=f"the head says {word}",
        )
        for word, shown in (
            ("PENDING", "PENDING"),
            ("RUNNING", "RUNNING"),
            ("PAUSED", "an unknown status"),
        )  # H24
    ),
    *(
        pytest.param(
            still_running,
            probed(a_probe(a_submission("RUNNING")), reason=reason),
            DUE,
            PASSES,
            id=f"it runs on after {reason}",
        )
        for reason in ("DeadlineExceeded", "PreRunningDeadlineExceeded")
    ),
    pytest.param(
        still_running,
        probed(
            a_probe(a_submission("RUNNING")),
            reason="AppFailed",
            job_status="FAILED",
            deployment_status="Failed",
        ),
        DUE,
        "Keep: StillRunning: jobDeploymentStatus Failed, jobStatus 'FAILED'; the head says 'train-x7k2p' is RUNNING",
        id="another reason is no wish for an end",
    ),
    pytest.param(
        still_running, probed(a_probe(a_driver())), DUE, PASSES, id="no such job: it is not running"
    ),
    # cluster_in_use
    pytest.param(cluster_in_use, BOTH, DUE, PASSES, id="only its own job, ended"),
    pytest.param(
        cluster_in_use,
        probed(a_probe(a_submission(), a_driver("SUCCEEDED"), a_submission("FAILED", "b"))),
        DUE,
        PASSES,
        id="others that have ended",
    ),
    pytest.param(
        cluster_in_use,
        probed(a_probe(a_submission(), a_driver(), a_submission("PENDING", "b"))),
        DUE,
        "Keep: ClusterInUse: 2 unfinished in the cluster: driver '02000000' RUNNING, submission 'b' PENDING",
        id="a notebook and a second submit",
    ),
    pytest.param(
        cluster_in_use,
        probed(a_probe(a_submission("RUNNING"), a_driver()), reason="DeadlineExceeded"),
        DUE,
        "Keep: ClusterInUse: 1 unfinished in the cluster: driver '02000000' RUNNING",
        id="a deadline ends its own job, not the others",
    ),
    pytest.param(
        cluster_in_use,
        probed(
            a_probe(
                a_submission(), replace(a_driver("the text of another server"), type="its type")
            )
        ),
        DUE,
        "Keep: ClusterInUse: 1 unfinished in the cluster: entry '02000000' an unknown status",
        id="H24: an entry with words that are not Ray's",
    ),
    pytest.param(
        cluster_in_use,
        probed(a_probe(a_submission(), unreadable="entry 1: status: Field required")),
        DUE,
        "Keep: ClusterInUse: the head's list of jobs cannot be read: entry 1: status: Field required",
        id="an entry that cannot be read may be anything",
    ),
    pytest.param(
        cluster_in_use,
        probed(ProbeResult(a_raycluster(), a_list(unreadable="it is larger than 4 MiB"))),
        DUE,
        "Keep: ClusterInUse: the head's list of jobs cannot be read: it is larger than 4 MiB",
        id="a list too large to read",
    ),
    pytest.param(
        cluster_in_use,
        replace(BOTH, selected_by=("a", "b", "c", "d")),
        DUE,
        "Keep: ClusterInUse: selected by RayJob a, b, c",
        id="other RayJobs selected its cluster",
    ),
    pytest.param(
        cluster_in_use,
        an_assessment(owned=(), probe=ProbeResult(None), selected_by=("a",)),
        DUE,
        PASSES,
        id="a cluster that is gone is in nobody's use",
    ),
    # expired
    pytest.param(
        expired,
        BOTH,
        DUE,
        f"Delete RayJob uid-train at 100, RayCluster uid-cluster: Expired: {TTL_1H}",
        id="both, the RayJob first",
    ),
    pytest.param(
        expired,
        an_assessment(owned=(), probe=ProbeResult(None)),
        DUE,
        f"Delete RayJob uid-train at 100: Expired: {TTL_1H}",
        id="the RayJob alone where its cluster is gone",
    ),
    pytest.param(
        expired,
        probed(a_probe(cluster=a_raycluster(deleting=True))),
        DUE,
        f"Delete RayJob uid-train at 100: Expired: {TTL_1H}",
        id="the RayJob alone where its cluster is going",
    ),
    pytest.param(
        expired,
        RECORD,
        DUE,
        "Delete RayCluster uid-cluster at 90: Expired: succeeded 2026-11-22T18:00:00Z, "
        "ttl 1d (RayJob team-a/train annotation raysweep.io/ttl), "
        "cluster-ttl 1h (RayJob team-a/train annotation raysweep.io/cluster-ttl)",
        id="the cluster alone, bound to its resourceVersion, where the RayJob stays as the record",
    ),
    pytest.param(
        expired,
        an_assessment(rayjob=GOING, probe=a_probe()),
        DUE,
        f"Delete RayCluster uid-cluster: DeletionUnfinished: {TTL_1H}",
        id="the cluster of a RayJob that waits on its finalizer",
    ),
    # head_silent: Unconfirmed
    *(
        pytest.param(
            head_silent,
            assessment,
            LATE,
            PASSES,
            id=f"silent three times over five minutes, {said}",
        )
        for said, assessment in GOOD_WITHOUT.items()
    ),
    *(
        pytest.param(
            head_silent,
            replace(assessment, memory=replace(assessment.memory, **too_little)),
            LATE,
            "Keep: HeadUnreachable: connection refused",
            id=f"{said}, but {how}",
        )
        for said, assessment in GOOD_WITHOUT.items()
        for how, too_little in TOO_LITTLE.items()
    ),
    *(
        pytest.param(
            head_silent,
            replace(assessment, heads_fail=True),
            LATE,
            "Keep: HeadsUnreachable: connection refused",
            id=f"{said}, but so are many heads: the fault is ours",
        )
        for said, assessment in GOOD_WITHOUT.items()
    ),
    *(
        pytest.param(
            head_silent,
            assessment,
            LATE,
            "Keep: HeadUnreachable: connection refused",
            id=f"silent for long, but {said}",
        )
        for said, assessment in NOT_GOOD_WITHOUT.items()
    ),
    pytest.param(
        head_silent,
        replace(NOT_READY, probe=a_silent_probe()),
        LATE,
        PASSES,
        id="a head that was never ready is silent",
    ),
    # what the head says of stuck jobs
    pytest.param(
        still_running,
        replace(NOT_READY, probe=a_probe(a_submission("RUNNING"))),
        DUE,
        "Keep: StillRunning: jobDeploymentStatus Initializing, jobStatus ''; the head says 'train-x7k2p' is RUNNING",
        id="a cluster that is not ready, in which it runs",
    ),
    pytest.param(
        cluster_in_use,
        replace(NOT_SUBMITTED, probe=ProbeResult(a_raycluster(), a_list(a_driver()))),
        DUE,
        "Keep: ClusterInUse: 1 unfinished in the cluster: driver '02000000' RUNNING",
        id="never submitted, but a notebook is at work",
    ),
    pytest.param(
        ambiguous,
        replace(NOT_SUBMITTED, probe=a_probe(a_submission(), a_submission("FAILED", "b"))),
        DUE,
        "Keep: Ambiguous: submissions 'train-x7k2p', 'b'",
        id="two were submitted, neither by the RayJob's ID",
    ),
    # jobs in a selected cluster
    pytest.param(
        cluster_in_use,
        probed(a_probe(a_submission(), a_driver()), has_selector=True),
        DUE,
        PASSES,
        id="in a selected cluster others may be at work",
    ),
    pytest.param(
        cluster_in_use,
        probed(
            a_probe(a_submission(), unreadable="entry 1: status: Field required"), has_selector=True
        ),
        DUE,
        "Keep: ClusterInUse: the head's list of jobs cannot be read: entry 1: status: Field required",
        id="in a selected cluster too, what cannot be read may be its own",
    ),
    pytest.param(
        still_running,
        probed(a_probe(a_submission("RUNNING")), has_selector=True),
        DUE,
        "Keep: StillRunning: jobDeploymentStatus Complete, jobStatus 'SUCCEEDED'; the head says 'train-x7k2p' is RUNNING",
        id="in a selected cluster too the head has the last word",
    ),
    *(
        pytest.param(
            expired,
            probed(probe, has_selector=True, annotations=said),
            LATE,
            f"Delete RayJob uid-train at 100: Expired: succeeded 2026-11-22T18:00:00Z, {told}",
            id=f"in a selected cluster the RayJob alone goes: {which}, {owner or 'nobody'}'s",
        )
        for which, said, told in (
            ("one time", says(ttl="1h"), "ttl 1h (RayJob team-a/train annotation raysweep.io/ttl)"),
            ("two times", says(ttl="1d", cluster_ttl="1h"), TTL_1D.partition(", ")[2]),
        )
        for owner in ("", "uid-train", "uid-other")
        for probe in (a_probe(cluster=a_raycluster(controller_uid=owner)),)
    ),
    # will_be_recreated
    pytest.param(will_be_recreated, BOTH, DUE, PASSES, id="nothing tracks it"),
    *(
        pytest.param(
            will_be_recreated,
            replace(assessment, probe=ProbeResult(None), owned=()),
            DUE,
            f"Keep: WillBeRecreated: {by}",
            id=f"{by} would make it again",
        )
        for by, assessment in TRACKED.items()
    ),
    *(
        pytest.param(
            will_be_recreated,
            assessment,
            DUE,
            "Delete RayCluster uid-cluster at 90: Expired: "
            "succeeded 2026-11-22T18:00:00Z, ttl 1h (Namespace team-a annotation raysweep.io/ttl)",
            id=f"{by} would make it again: its cluster alone goes",
        )
        for by, assessment in TRACKED.items()
    ),
    *(
        pytest.param(
            will_be_recreated,
            replace(ARGO, rayjob=replace(ARGO.rayjob, annotations=said)),
            DUE,
            PASSES if passes else f"Keep: WillBeRecreated: {ARGO_KEY}",
            id=f"tracked, and it says itself {said}",
        )
        for said, passes in (
            (says(ttl="1h"), True),
            (says(ttl_succeeded="1h"), True),
            (says(ttl_failed="1h", cluster_ttl="never"), False),
            (says(cluster_ttl="1d"), False),
        )
    ),
    pytest.param(
        will_be_recreated,
        replace(
            NOT_SUBMITTED,
            rayjob=an_interactive(keys=frozenset({ARGO_KEY})),
            probe=ProbeResult(a_raycluster(), a_list()),
        ),
        DUE,
        f"Keep: WillBeRecreated: {ARGO_KEY}",
        id="tracked and never submitted: its cluster would be rebuilt, so it stays",
    ),
    pytest.param(
        will_be_recreated,
        an_assessment(
            rayjob=a_rayjob(deleting_since=END, keys=frozenset({ARGO_KEY})), probe=a_probe()
        ),
        DUE,
        PASSES,
        id="tracked, and somebody deletes it",
    ),
    pytest.param(
        will_be_recreated,
        replace(BOTH, rayjob=a_rayjob(keys=frozenset({"app.kubernetes.io/instance"}))),
        DUE,
        PASSES,
        id="a key that many tools set says nothing by itself",
    ),
    pytest.param(
        will_be_recreated,
        replace(BOTH, rayjob=a_rayjob(controller_kind="RayCronJob")),
        DUE,
        PASSES,
        id="made by a RayCronJob",
    ),
    *boundary(
        will_be_recreated,
        replace(BOTH, rayjob=a_rayjob(controller_kind="RayCronJob", cron_tick=DUE)),
        DUE + 2 * MINUTE,
        "Wait until 22 19:02:00.250000: WillBeRecreated: its RayCronJob made it at 2026-11-22T19:00:00Z, and would make it again",
        id="two minutes from its RayCronJob's tick",
    ),
    # expired: what a deletion is called
    pytest.param(
        expired,
        replace(BOTH, swept=True),
        END,
        "Delete RayJob uid-train at 100, RayCluster uid-cluster: Swept: succeeded 2026-11-22T18:00:00Z, "
        "ttl 0s (swept by a person)",
        id="swept, whatever its TTL says",
    ),
    pytest.param(
        will_be_recreated,
        replace(
            probed(a_probe(), keys=frozenset({"argocd.argoproj.io/tracking-id"}), annotations={}),
            swept=True,
        ),
        LATE,
        "Keep: WillBeRecreated: argocd.argoproj.io/tracking-id",
        id="a sweep takes both or nothing",
    ),
    pytest.param(
        expired,
        GOOD_WITHOUT["Ray once said that it ended"],
        LATE,
        f"Delete RayJob uid-train at 100, RayCluster uid-cluster: Unconfirmed: {TTL_1H}",
        id="on the RayJob's word",
    ),
    pytest.param(
        expired,
        ENDED_UNNOTICED,
        DUE,
        f"Delete RayJob uid-train at 100, RayCluster uid-cluster: FinishedUnreported: {TTL_1H}",
        id="on the head's word",
    ),
    pytest.param(
        expired,
        replace(NOT_SUBMITTED, probe=ProbeResult(a_raycluster(), a_list())),
        DUE,
        f"Delete RayJob uid-train at 100, RayCluster uid-cluster: NeverSubmitted: {STUCK_1H}",
        id="never submitted",
    ),
    pytest.param(
        expired,
        replace(LOST, probe=ProbeResult(a_raycluster(), a_list())),
        DUE,
        f"Delete RayJob uid-train at 100, RayCluster uid-cluster: JobLost: {STUCK_1H}",
        id="lost",
    ),
    pytest.param(
        expired,
        replace(NOT_READY, probe=a_silent_probe()),
        DUE,
        f"Delete RayJob uid-train at 100, RayCluster uid-cluster: StuckInitializing: {STUCK_1H}",
        id="never ready",
    ),
    pytest.param(
        expired,
        replace(
            RECORD, rayjob=replace(RECORD.rayjob, kuberay_cleanup=KubeRayCleanup(shutdown=True))
        ),
        DUE,
        f"Delete RayCluster uid-cluster at 90: KubeRayCleanupMissed: {TTL_1D}",
        id="KubeRay should have",
    ),
    # backlog_limit
    pytest.param(
        bulk_expiry_limit,
        replace(
            BOTH, memory=Memory(first_finished=END, bulk_expiry_until=DUE), bulk_expiry_size=101
        ),
        DUE,
        "Keep: BulkExpiryBlocked: 101 wait, at most 100 may",
        id="more than a hundred would be deleted at once",
    ),
    pytest.param(bulk_expiry_limit, BOTH, DUE, PASSES, id="nothing moved its due time"),
    # expired: the note
    *(
        pytest.param(
            expired,
            replace(RECORD, probe=a_probe(a_submission(status, end_time=end))),
            DUE + HOUR,
            note,
            id=said,
        )
        for said, status, end, note in NOTES
    ),
    pytest.param(
        expired,
        probed(a_probe(a_submission("SUCCEEDED", end_time=END + MINUTE))),
        LATE,
        f"Delete RayJob uid-train at 100, RayCluster uid-cluster: Expired: {TTL_1H.replace('18:00:00', '18:01:00')}",
        id="no note where the RayJob goes too",
    ),
]


@pytest.mark.parametrize(("check", "assessment", "now", "answer"), ROWS)
def test_a_guard(check: Check, assessment: Assessment, now: datetime, answer: str) -> None:
    assert in_words(check(replace(assessment, now=now))) == answer
