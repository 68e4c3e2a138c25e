"""The wording of the messages that checks give. Other tests compare reasons, times and targets."""

from dataclasses import replace

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.reasons import Reason
from tests.support.assessments import (
    DAY,
    DELETING,
    EXAMPLES,
    EXPIRED,
    RECORD,
    a_job,
    at,
    by,
    probed,
    sets,
)
from tests.support.builders import (
    DUE,
    HOUR,
    a_driver,
    a_probe,
    a_rayjob,
    a_silent_probe,
    a_status_probe,
    a_submission,
    an_assessment,
    says,
)

ENDED = "succeeded 2026-11-22T18:00:00Z"
TTL = f"{ENDED}, ttl 1h (RayJob team-a/train annotation raysweep.io/ttl)"
BUILT_IN = "never (built in: nothing is deleted until you set a TTL)"
STATUS = "jobDeploymentStatus Complete, jobStatus 'SUCCEEDED'"
KEEP = {"ttl": "1h", "keep_until": "2026-12-24T18:00:00Z", "keep_reason": "a look\nat the logs"}
DRIVER = replace(a_driver("the text of another server"), type="its type")

MESSAGES = {
    Reason.NOT_FINISHED: "jobDeploymentStatus is 'Initializing'",
    Reason.NO_TTL: f"ttl {BUILT_IN}, cluster-ttl {BUILT_IN}",
    Reason.NOT_DUE: TTL,
    Reason.KEPT_BY_USER: "until 2026-11-22T20:00:00Z",
    Reason.BEING_DELETED: "since 2026-11-22T18:00:00Z",
    Reason.SUSPENDED: "jobDeploymentStatus Suspended",
    Reason.MANAGED_ELSEWHERE: "spec.managedBy is 'kueue.x-k8s.io/multikueue'",
    Reason.PROTECTED_NAMESPACE: "namespace kube-system",
    Reason.STILL_RUNNING: f"{STATUS}; the head reports 'train-x7k2p' as RUNNING",
    Reason.CLUSTER_IN_USE: "1 unfinished in the cluster: driver '02000000' RUNNING",
    Reason.NOT_OWNED: "RayCluster train-cluster has another owner, or none",
    Reason.OTHER_CLUSTER: "the status names 'train-cluster', and the RayJob owns older",
    Reason.AMBIGUOUS: "submissions 'train-x7k2p', 'b'",
    Reason.HEAD_UNREACHABLE: "connection refused",
    Reason.HEAD_UNAUTHORIZED: "401",
    Reason.HEADS_UNREACHABLE: "connection refused",
    Reason.WILL_BE_RECREATED: "argocd.argoproj.io/tracking-id",
    Reason.WOULD_BE_REBUILT: "jobDeploymentStatus is 'Running'",
    Reason.WAITING_FOR_KUBERAY: "KubeRay deletes it at 2026-11-22T19:00:02Z",
    Reason.BULK_EXPIRY_DELAY: f"{TTL}; 0 RayJobs wait",
    Reason.BULK_EXPIRY_BLOCKED: "101 RayJobs wait, and 100 are allowed",
    Reason.LIMITS_CONFLICT: "RayJobCleanupPolicy base spec.limits.rayJob.min 1d contradicts "
    "RayJobCleanupPolicy base spec.limits.rayJob.max 1h",
    Reason.UNREADABLE: "RayJob team-a/train: spec.suspend: 'yes': not a boolean",
    Reason.NAMESPACE_UNKNOWN: "Namespace team-a",
    Reason.POLICIES_UNKNOWN: "RayJobCleanupPolicies could not be listed",
    Reason.EXPIRED: TTL,
    Reason.SWEPT: f"{ENDED}, ttl 0s (swept by a person)",
    Reason.NEVER_SUBMITTED: "stuck since 2026-11-22T18:00:00Z, ttl 1h "
    "(RayJob team-a/train annotation raysweep.io/ttl-unsubmitted)",
}


@pytest.mark.parametrize("reason", MESSAGES, ids=str)
def test_the_message_of_a_reason(reason: Reason) -> None:
    assert decide(EXAMPLES[reason]).explanation.message == MESSAGES[reason]


def _unreadable_list() -> Assessment:
    return probed(a_probe(a_submission(), unreadable="entry 1: status: Field required"))


@pytest.mark.parametrize(
    ("assessment", "message"),
    [
        pytest.param(
            RECORD,
            f"{ENDED}, ttl 1d (RayJob team-a/train annotation raysweep.io/ttl), "
            "cluster-ttl 1h (RayJob team-a/train annotation raysweep.io/cluster-ttl)",
            id="two TTLs",
        ),
        pytest.param(
            by(
                sets(limits_rayJob_max=HOUR),
                replace(EXPIRED, rayjob=a_rayjob(annotations=says(ttl="1w"))),
            ),
            f"{ENDED}, ttl 1h (RayJob team-a/train annotation raysweep.io/ttl, lowered from 1w by "
            "RayJobCleanupPolicy base spec.limits.rayJob.max)",
            id="a TTL lowered by a limit",
        ),
        pytest.param(
            an_assessment(rayjob=replace(DELETING, finalizers=("orphan",))),
            "it is deleted without its cluster (finalizer orphan)",
            id="deleted without its cluster",
        ),
        pytest.param(
            a_job(labels={"kueue.x-k8s.io/multikueue-origin": "multikueue"}),
            "label kueue.x-k8s.io/multikueue-origin",
            id="dispatched by MultiKueue",
        ),
        pytest.param(
            a_job(suspend=True, deployment_status="Running"),
            "spec.suspend is true",
            id="spec.suspend",
        ),
        pytest.param(a_job(deployment_status=""), "it has no status yet", id="no status"),
        pytest.param(
            a_job(has_selector=True, job_status="RUNNING"),
            "jobStatus is 'RUNNING', and KubeRay would stop the job",
            id="in a selected cluster",
        ),
        pytest.param(
            a_job(annotations=says(**KEEP)),
            "until 2026-12-24T18:00:00Z, because 'a look at the logs'",
            id="kept with a reason, whose line break is not shown",
        ),
        pytest.param(
            by(sets(limits_keep_max=DAY), a_job(annotations=says(**KEEP))),
            "until 2026-11-23T19:00:00Z, because 'a look at the logs'; a longer time is requested "
            "and limited to 1d by RayJobCleanupPolicy base spec.limits.keep.max",
            id="kept until a limit",
        ),
        pytest.param(
            at(DUE - HOUR, an_assessment(probe=a_status_probe(a_submission("RUNNING")))),
            "the head reports 'train-x7k2p' as RUNNING",
            id="still running before it is due",
        ),
        pytest.param(
            probed(a_probe(a_submission("PAUSED"))),
            f"{STATUS}; the head reports 'train-x7k2p' as an unknown status",
            id="H24: no foreign status",
        ),
        pytest.param(
            probed(a_probe(a_submission(), DRIVER)),
            "1 unfinished in the cluster: entry '02000000' an unknown status",
            id="H24: no foreign type or status",
        ),
        pytest.param(
            probed(a_probe(a_submission(), a_driver(), a_submission("PENDING", "b"))),
            "2 unfinished in the cluster: driver '02000000' RUNNING, submission 'b' PENDING",
            id="two unfinished entries",
        ),
        pytest.param(
            probed(a_probe(a_submission(), *[a_driver()] * 8)),
            "at least 8 unfinished in the cluster: driver '02000000' RUNNING, driver '02000000'"
            " RUNNING, driver '02000000' RUNNING",
            id="as many unfinished entries as are kept of a long list",
        ),
        pytest.param(
            _unreadable_list(),
            "the head's list of jobs is unreadable: entry 1: status: Field required",
            id="an unreadable list",
        ),
        pytest.param(
            replace(EXPIRED, selected_by=("a", "b", "c", "d")),
            "selected by RayJob a, b, c",
            id="selected by other RayJobs",
        ),
        pytest.param(
            probed(a_silent_probe("HTTP 502 <html>\nBad Gateway")),
            "HTTP 502 <html> Bad Gateway",
            id="the answer of a proxy, without its line break",
        ),
        pytest.param(
            replace(EXAMPLES[Reason.HEAD_UNREACHABLE], probe=replace(a_probe(), head=None)),
            "it was not asked",
            id="a head that was not asked",
        ),
        pytest.param(
            probed(a_probe(), controller_kind="RayCronJob", cron_tick=DUE),
            "its RayCronJob created it at 2026-11-22T19:00:00Z, and would create it again",
            id="the time of a RayCronJob",
        ),
        pytest.param(
            probed(a_probe(), annotations=says(ttl="soon")),
            "invalid duration 'soon' in annotation raysweep.io/ttl of RayJob team-a/train: use "
            "seconds, a value such as 1h30m (w, d, h, m, s), or never (at most 100 years)",
            id="an invalid duration",
        ),
    ],
)
def test_a_message(assessment: Assessment, message: str) -> None:
    assert decide(assessment).explanation.message == message
