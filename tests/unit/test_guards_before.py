"""The guards that speak before a head is asked: what each keeps and what it lets pass, each boundary twice."""

from dataclasses import replace
from datetime import datetime

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.checks.answers import Check
from raysweep.core.checks.eligibility import (
    being_deleted,
    invalid,
    managed_elsewhere,
    not_finished,
    protected_namespace,
    suspended,
    unreadable,
)
from raysweep.core.model.facts import KubeRayCleanup, ProbeResult
from raysweep.core.model.memory import Memory
from raysweep.core.model.parameters import Parameters
from tests.support.builders import (
    DUE,
    MOMENT,
    a_namespace,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_running,
    a_status_probe,
    a_submission,
    an_assessment,
    an_interactive,
    says,
)
from tests.support.sentences import (
    ENDED_UNNOTICED,
    GOING,
    LOST,
    MINUTE,
    NOT_READY,
    NOT_SUBMITTED,
    PASSES,
    STOOD,
    Row,
    a_job,
    in_words,
    probed,
)

ROWS: list[Row] = [
    # being_deleted
    pytest.param(being_deleted, a_job(), DUE, PASSES, id="nobody deletes it"),
    pytest.param(
        being_deleted,
        an_assessment(rayjob=GOING, owned=()),
        DUE,
        "Keep: BeingDeleted: since 2026-11-22T18:00:00Z",
        id="it is being deleted and its cluster is gone",
    ),
    pytest.param(
        being_deleted,
        an_assessment(rayjob=GOING),
        DUE,
        PASSES,
        id="it is being deleted and its cluster is still there",
    ),
    pytest.param(
        being_deleted,
        an_assessment(rayjob=replace(GOING, deployment_status="Running")),
        DUE,
        "Keep: BeingDeleted: since 2026-11-22T18:00:00Z",
        id="somebody deletes it while it runs: KubeRay's business",
    ),
    pytest.param(
        being_deleted,
        an_assessment(
            rayjob=replace(GOING, deployment_status="Running"),
            memory=Memory(half_deleted="uid-cluster"),
        ),
        DUE,
        PASSES,
        id="H16: it is being deleted, and its cluster is what is left of a pair that was due",
    ),
    pytest.param(
        being_deleted,
        an_assessment(
            rayjob=replace(GOING, deployment_status="Running"),
            memory=Memory(half_deleted="uid-before"),
        ),
        DUE,
        "Keep: BeingDeleted: since 2026-11-22T18:00:00Z",
        id="H16: another cluster was left of a pair that was due",
    ),
    pytest.param(
        being_deleted,
        an_assessment(rayjob=replace(GOING, finalizers=("orphan",))),
        DUE,
        "Keep: BeingDeleted: somebody deletes it and wants its cluster to stay (finalizer orphan)",
        id="somebody deletes it and wants its cluster to stay",
    ),
    # protected_namespace
    pytest.param(protected_namespace, a_job(), DUE, PASSES, id="an ordinary namespace"),
    *(
        pytest.param(
            protected_namespace,
            a_job(namespace=name),
            DUE,
            f"Keep: ProtectedNamespace: namespace {name}",
            id=f"{name} always",
        )
        for name in ("kube-system", "kube-public", "kube-node-lease")
    ),
    pytest.param(
        protected_namespace,
        an_assessment(parameters=Parameters(protected_namespaces=frozenset({"team-a"}))),
        DUE,
        "Keep: ProtectedNamespace: namespace team-a",
        id="one that the setting names",
    ),
    # managed_elsewhere
    pytest.param(managed_elsewhere, a_job(), DUE, PASSES, id="no manager named"),
    pytest.param(
        managed_elsewhere,
        a_job(managed_by="ray.io/kuberay-operator"),
        DUE,
        PASSES,
        id="managed by KubeRay",
    ),
    pytest.param(
        managed_elsewhere,
        a_job(managed_by="kueue.x-k8s.io/multikueue"),
        DUE,
        "Keep: ManagedElsewhere: spec.managedBy is 'kueue.x-k8s.io/multikueue'",
        id="managed by MultiKueue",
    ),
    pytest.param(
        managed_elsewhere,
        a_job(labels={"kueue.x-k8s.io/multikueue-origin": "multikueue"}),
        DUE,
        "Keep: ManagedElsewhere: label kueue.x-k8s.io/multikueue-origin",
        id="a copy that MultiKueue dispatched",
    ),
    # suspended
    pytest.param(suspended, a_job(), DUE, PASSES, id="not suspended"),
    *(
        pytest.param(
            suspended,
            a_job(deployment_status=word),
            DUE,
            f"Keep: Suspended: jobDeploymentStatus {word}",
            id=f"status {word}",
        )
        for word in ("Suspending", "Suspended")
    ),
    pytest.param(
        suspended,
        a_job(suspend=True, deployment_status="Running"),
        DUE,
        "Keep: Suspended: spec.suspend is true",
        id="asked to suspend and still running",
    ),
    *(
        pytest.param(
            suspended,
            a_job(suspend=True, deployment_status=word),
            DUE,
            PASSES,
            id=f"suspend said after it was {word}",
        )
        for word in ("Complete", "Failed", "ValidationFailed")
    ),
    # unreadable
    pytest.param(unreadable, a_job(), DUE, PASSES, id="everything can be read"),
    pytest.param(
        unreadable,
        a_job(unreadable="spec.suspend: 'yes': Input should be a valid boolean"),
        DUE,
        "Keep: Unreadable: RayJob team-a/train: spec.suspend: 'yes': Input should be a valid boolean",
        id="a field of the RayJob cannot be read",
    ),
    pytest.param(
        unreadable,
        probed(ProbeResult(a_raycluster(unreadable="spec: Field required"))),
        DUE,
        "Keep: Unreadable: RayCluster train-cluster: spec: Field required",
        id="a field of its cluster cannot be read",
    ),
    pytest.param(
        unreadable,
        an_assessment(
            namespace=replace(a_namespace(), unreadable="metadata.labels: not a mapping")
        ),
        DUE,
        "Keep: Unreadable: Namespace team-a: metadata.labels: not a mapping",
        id="H1: a field of its Namespace cannot be read",
    ),
    pytest.param(
        unreadable,
        an_assessment(namespace=None),
        DUE,
        "Keep: NamespaceUnknown: Namespace team-a",
        id="its Namespace was never seen",
    ),
    # malformed
    pytest.param(invalid, a_job(), DUE, PASSES, id="every value can be understood"),
    pytest.param(
        invalid,
        a_job(annotations=says(ttl="soon")),
        DUE,
        "Keep: Invalid: invalid duration 'soon' in annotation raysweep.io/ttl of RayJob team-a/train: "
        "use seconds, a value such as 1h30m (w, d, h, m, s), or never (at most 100 years)",
        id="a TTL of soon",
    ),
    pytest.param(
        invalid,
        an_assessment(namespace=a_namespace(keep_until="tomorrow")),
        DUE,
        "Keep: Invalid: invalid time 'tomorrow' in annotation raysweep.io/keep-until of Namespace "
        "team-a: use an RFC 3339 time with its zone, as 2026-11-22T18:00:00Z",
        id="the Namespace keeps until tomorrow",
    ),
    pytest.param(
        invalid,
        a_job(annotations=says(ttl="soon", cluster_ttl="1h")),
        DUE,
        PASSES,
        id="a malformed ttl beside a good cluster-ttl makes the ttl never and no more",
    ),
    pytest.param(
        invalid,
        a_job(annotations=says(ttl="soon"), deployment_status="Running"),
        DUE,
        PASSES,
        id="nothing to decide while it runs",
    ),
    # not_finished
    *(
        pytest.param(
            not_finished, a_job(deployment_status=word), DUE, PASSES, id=f"{word} has finished"
        )
        for word in ("Complete", "Failed", "ValidationFailed")
    ),
    *(
        pytest.param(
            not_finished,
            a_job(deployment_status=word),
            DUE,
            f"Keep: NotFinished: jobDeploymentStatus is '{word}'",
            id=f"{word} has not, whatever its jobStatus says",
        )
        for word in ("Initializing", "Retrying", "Sleeping")
    ),
    *(
        pytest.param(
            not_finished,
            a_job(deployment_status=word),
            DUE,
            f"Wait until 22 19:30:00.250000: NotFinished: jobDeploymentStatus is '{word}'",
            id=f"{word} may stand for ever: its head is asked where it has not moved for half an hour",
        )
        for word in ("Running", "Waiting")
    ),
    pytest.param(
        not_finished,
        a_job(deployment_status=""),
        DUE,
        "Keep: NotFinished: it has no status yet",
        id="a RayJob without a status",
    ),
    *(
        pytest.param(
            not_finished,
            a_job(deployment_status=word, annotations=says(ttl="never")),
            DUE,
            f"Keep: NotFinished: jobDeploymentStatus is '{word}'",
            id=f"{word}, and nothing could ever make it go: its head is left in peace",
        )
        for word in ("Running", "Waiting")
    ),
    pytest.param(
        not_finished,
        a_job(
            has_selector=True,
            job_status="RUNNING",
            reason="DeadlineExceeded",
            deployment_status="Failed",
        ),
        DUE,
        "Keep: NotFinished: jobStatus is 'RUNNING', and KubeRay would stop the job",
        id="in a selected cluster only a terminal jobStatus is an end",
    ),
    pytest.param(
        not_finished,
        a_job(has_selector=True),
        DUE,
        PASSES,
        id="in a selected cluster, with a terminal jobStatus",
    ),
    pytest.param(
        not_finished,
        a_job(has_selector=True, deployment_status="Running"),
        DUE,
        "Keep: NotFinished: jobDeploymentStatus is 'Running'",
        id="in a selected cluster, not final: it is never polled",
    ),
    # not_finished: jobs that seem to run for ever
    pytest.param(
        not_finished,
        an_assessment(rayjob=a_running(), memory=STOOD, uptime=30 * MINUTE - MOMENT),
        DUE,
        "Wait until 22 19:00:00.250001: NotFinished: jobDeploymentStatus is 'Running'",
        id="its status stands for half an hour less a microsecond",
    ),
    pytest.param(
        not_finished,
        an_assessment(rayjob=a_running(), memory=STOOD, uptime=30 * MINUTE),
        DUE,
        "Poll: NotFinished: jobDeploymentStatus is 'Running'",
        id="its status stands for half an hour: its head is asked",
    ),
    pytest.param(
        not_finished,
        an_assessment(rayjob=a_running(job_status="PENDING"), memory=STOOD, uptime=30 * MINUTE),
        DUE,
        "Wait until 22 19:30:00.250000: NotFinished: jobDeploymentStatus is 'Running'",
        id="one of its two words has moved: it begins anew",
    ),
    pytest.param(
        not_finished,
        an_assessment(
            rayjob=a_running(), memory=replace(STOOD, status_probe_at=DUE), uptime=30 * MINUTE
        ),
        DUE - MOMENT,
        "Wait until 22 19:00:00.250000: NotFinished: jobDeploymentStatus is 'Running'",
        id="asked, a microsecond before the next time",
    ),
    pytest.param(
        not_finished,
        an_assessment(
            rayjob=a_running(), memory=replace(STOOD, status_probe_at=DUE), uptime=30 * MINUTE
        ),
        DUE,
        "Poll: NotFinished: jobDeploymentStatus is 'Running'",
        id="asked, exactly the next time",
    ),
    pytest.param(
        not_finished,
        an_assessment(
            rayjob=a_running(),
            memory=STOOD,
            uptime=30 * MINUTE,
            probe=a_status_probe(a_submission()),
        ),
        DUE,
        "Keep: NotFinished: jobDeploymentStatus is 'Running'",
        id="the head says for the first time that it has ended",
    ),
    pytest.param(
        not_finished, ENDED_UNNOTICED, DUE, PASSES, id="it says so again after 10 minutes"
    ),
    pytest.param(
        not_finished,
        replace(
            ENDED_UNNOTICED,
            memory=replace(ENDED_UNNOTICED.memory, terminal_since=20 * MINUTE + MOMENT),
        ),
        DUE,
        "Keep: NotFinished: jobDeploymentStatus is 'Running'",
        id="it says so again a microsecond too early",
    ),
    pytest.param(
        not_finished,
        replace(ENDED_UNNOTICED, uptime=30 * MINUTE - MOMENT, probe=None),
        DUE,
        "Wait until 22 19:00:00.250001: NotFinished: jobDeploymentStatus is 'Running'",
        id="it said so, and the status stands a microsecond too short",
    ),
    pytest.param(
        not_finished,
        replace(ENDED_UNNOTICED, probe=a_probe(a_submission("RUNNING"))),
        DUE,
        "Keep: NotFinished: jobDeploymentStatus is 'Running'",
        id="it said so, and now it runs",
    ),
    pytest.param(
        not_finished,
        replace(ENDED_UNNOTICED, probe=ProbeResult(None), owned=()),
        DUE,
        "Keep: NotFinished: jobDeploymentStatus is 'Running'",
        id="it said so, and now its cluster is gone: KubeRay makes another",
    ),
    pytest.param(
        not_finished,
        replace(
            ENDED_UNNOTICED,
            rayjob=a_running(backoff_limit=1),
            probe=a_probe(a_submission("FAILED")),
        ),
        DUE,
        "Keep: NotFinished: jobDeploymentStatus is 'Running'",
        id="it failed, and KubeRay will try once more",
    ),
    pytest.param(
        not_finished,
        replace(
            ENDED_UNNOTICED,
            rayjob=a_running(backoff_limit=1, failed=1),
            probe=a_probe(a_submission("FAILED")),
        ),
        DUE,
        PASSES,
        id="it failed, and this was the last try",
    ),
    pytest.param(
        not_finished,
        replace(ENDED_UNNOTICED, rayjob=a_running(backoff_limit=1)),
        DUE,
        PASSES,
        id="it succeeded, so retries do not matter",
    ),
    # not_finished: jobs that were never submitted, got lost, or whose cluster never became ready
    pytest.param(
        not_finished,
        NOT_SUBMITTED,
        DUE,
        PASSES,
        id="nobody submitted it, and a ttl-unsubmitted is set",
    ),
    pytest.param(
        not_finished,
        an_assessment(rayjob=an_interactive(annotations={})),
        DUE,
        "Keep: NotFinished: jobDeploymentStatus is 'Waiting'",
        id="nobody submitted it, and no ttl-unsubmitted is set",
    ),
    pytest.param(
        not_finished,
        an_assessment(rayjob=an_interactive(annotations=says(ttl="1h"))),
        DUE,
        "Wait until 22 19:30:00.250000: NotFinished: jobDeploymentStatus is 'Waiting'",
        id="nobody submitted it, and only a ttl is set: that is for jobs that ended",
    ),
    pytest.param(
        not_finished,
        replace(NOT_SUBMITTED, probe=a_probe(a_submission("RUNNING"))),
        DUE,
        "Keep: NotFinished: jobDeploymentStatus is 'Waiting'",
        id="somebody did submit it, and KubeRay does not know yet",
    ),
    pytest.param(not_finished, LOST, DUE, PASSES, id="the head did not know it when it was polled"),
    pytest.param(
        not_finished,
        replace(LOST, probe=a_probe()),
        DUE,
        "Keep: NotFinished: jobDeploymentStatus is 'Running'",
        id="the head did not know it, and now it does",
    ),
    pytest.param(
        not_finished,
        replace(LOST, memory=replace(LOST.memory, status=("Running", "PENDING"))),
        DUE,
        "Wait until 22 19:30:00.250000: NotFinished: jobDeploymentStatus is 'Running'",
        id="the head did not know it when the status was another",
    ),
    pytest.param(
        not_finished,
        replace(LOST, memory=STOOD),
        DUE,
        "Poll: NotFinished: jobDeploymentStatus is 'Running'",
        id="nobody knows whether the head knows it",
    ),
    pytest.param(
        not_finished,
        replace(LOST, rayjob=replace(LOST.rayjob, submission_mode="HTTPMode")),
        DUE,
        "Keep: NotFinished: jobDeploymentStatus is 'Running'",
        id="not interactive: KubeRay submits a lost job again, and nothing could make it go",
    ),
    pytest.param(
        not_finished,
        NOT_READY,
        DUE,
        PASSES,
        id="interactive, its cluster not ready, and a ttl-unsubmitted is set",
    ),
    pytest.param(
        not_finished,
        an_assessment(rayjob=replace(NOT_READY.rayjob, start_time=None)),
        DUE,
        "Keep: NotFinished: jobDeploymentStatus is 'Initializing'",
        id="interactive, its cluster not ready, and nobody knows since when",
    ),
    pytest.param(
        not_finished,
        an_assessment(rayjob=replace(NOT_READY.rayjob, submission_mode="K8sJobMode")),
        DUE,
        "Keep: NotFinished: jobDeploymentStatus is 'Initializing'",
        id="not interactive, its cluster not ready",
    ),
    pytest.param(
        invalid,
        an_assessment(rayjob=an_interactive(annotations=says(ttl_unsubmitted="soon"))),
        DUE,
        "Keep: Invalid: invalid duration 'soon' in annotation raysweep.io/ttl-unsubmitted of RayJob "
        "team-a/train: use seconds, a value such as 1h30m (w, d, h, m, s), or never (at most 100 years)",
        id="a ttl-unsubmitted of soon",
    ),
    pytest.param(
        invalid,
        replace(a_job(annotations=says(ttl="1h", outcome="done")), probe=ProbeResult(None)),
        DUE,
        "Keep: Invalid: invalid outcome 'done' in annotation raysweep.io/outcome of RayJob "
        "team-a/train: remove it, only Raysweep writes this annotation",
        id="an outcome that Raysweep did not write",
    ),
    pytest.param(
        invalid,
        an_assessment(
            rayjob=a_rayjob(
                annotations={}, kuberay_cleanup=KubeRayCleanup(shutdown=True, seconds=-1)
            )
        ),
        DUE,
        "Keep: Invalid: negative TTL in spec.shutdownAfterJobFinishes with ttlSecondsAfterFinished of "
        "RayJob team-a/train: use seconds, a value such as 1h30m (w, d, h, m, s), or never (at most "
        "100 years)",
        id="a TTL below 0 in the spec",
    ),
]


@pytest.mark.parametrize(("check", "assessment", "now", "answer"), ROWS)
def test_a_guard(check: Check, assessment: Assessment, now: datetime, answer: str) -> None:
    assert in_words(check(replace(assessment, now=now))) == answer
