"""The checks before a deletion is due: RayJobs that are never deleted, and jobs that still run."""

from dataclasses import replace

from raysweep.core.assessment import Assessment
from raysweep.core.checks.eligibility import (
    being_deleted,
    invalid,
    managed_elsewhere,
    not_finished,
    protected_namespace,
    suspended,
    unreadable,
)
from raysweep.core.model.facts import KubeRayCleanup, ProbeKind, ProbeResult
from raysweep.core.model.memory import Memory
from raysweep.core.model.parameters import Parameters
from raysweep.core.model.reasons import Reason
from tests.support.assessments import (
    DAY,
    DELETING,
    LOST,
    MINUTE,
    NOT_READY,
    UNCHANGED,
    UNREPORTED,
    UNSUBMITTED,
    a_job,
    at,
    by,
    probed,
    sets,
)
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_namespace,
    a_policy,
    a_probe,
    a_raycluster,
    a_running,
    a_status_probe,
    a_submission,
    an_assessment,
    an_interactive,
    says,
)
from tests.support.decisions import PASSES, assert_answers, keeps, probes, waits


def test_being_deleted() -> None:
    running = replace(DELETING, deployment_status="Running")
    half_deleted = Memory(half_deleted="uid-cluster")
    other_half = Memory(half_deleted="uid-before")
    kept = keeps(Reason.BEING_DELETED)
    assert_answers(
        being_deleted,
        {
            "not being deleted": (a_job(), PASSES),
            "its cluster is gone": (an_assessment(rayjob=DELETING, owned=()), kept),
            "its cluster exists": (an_assessment(rayjob=DELETING), PASSES),
            "deleted while it runs": (an_assessment(rayjob=running), kept),
            "H16: its cluster is left of a pair that was being deleted": (
                an_assessment(rayjob=running, memory=half_deleted),
                PASSES,
            ),
            "H16: another cluster was left": (
                an_assessment(rayjob=running, memory=other_half),
                kept,
            ),
            "deleted without its cluster": (
                an_assessment(rayjob=replace(DELETING, finalizers=("orphan",))),
                kept,
            ),
        },
    )


def test_protected_namespace() -> None:
    protects = Parameters(protected_namespaces=frozenset({"team-a"}))
    kept = keeps(Reason.PROTECTED_NAMESPACE)
    assert_answers(
        protected_namespace,
        {
            "an ordinary namespace": (a_job(), PASSES),
            "kube-system": (a_job(namespace="kube-system"), kept),
            "kube-public": (a_job(namespace="kube-public"), kept),
            "kube-node-lease": (a_job(namespace="kube-node-lease"), kept),
            "a namespace of the setting": (an_assessment(parameters=protects), kept),
        },
    )


def test_managed_elsewhere() -> None:
    dispatched = {"kueue.x-k8s.io/multikueue-origin": "multikueue"}
    kept = keeps(Reason.MANAGED_ELSEWHERE)
    assert_answers(
        managed_elsewhere,
        {
            "no manager": (a_job(), PASSES),
            "KubeRay": (a_job(managed_by="ray.io/kuberay-operator"), PASSES),
            "MultiKueue": (a_job(managed_by="kueue.x-k8s.io/multikueue"), kept),
            "a copy that MultiKueue dispatched": (a_job(labels=dispatched), kept),
        },
    )


def test_suspended() -> None:
    kept = keeps(Reason.SUSPENDED)
    assert_answers(
        suspended,
        {
            "not suspended": (a_job(), PASSES),
            "Suspending": (a_job(deployment_status="Suspending"), kept),
            "Suspended": (a_job(deployment_status="Suspended"), kept),
            "spec.suspend while it runs": (a_job(suspend=True, deployment_status="Running"), kept),
            "spec.suspend after Complete": (a_job(suspend=True), PASSES),
            "spec.suspend after Failed": (a_job(suspend=True, deployment_status="Failed"), PASSES),
            "spec.suspend after ValidationFailed": (
                a_job(suspend=True, deployment_status="ValidationFailed"),
                PASSES,
            ),
        },
    )


def test_unreadable() -> None:
    cluster = a_raycluster(unreadable="spec: Field required")
    namespace = replace(a_namespace(), unreadable="metadata.labels: not a mapping")
    kept = keeps(Reason.UNREADABLE)
    assert_answers(
        unreadable,
        {
            "everything is readable": (a_job(), PASSES),
            "a field of the RayJob": (a_job(unreadable="spec.suspend: 'yes': not a boolean"), kept),
            "a field of its cluster": (probed(ProbeResult(cluster)), kept),
            "H1: a field of its Namespace": (an_assessment(namespace=namespace), kept),
            "its Namespace was never read": (
                an_assessment(namespace=None),
                keeps(Reason.NAMESPACE_UNKNOWN),
            ),
            "the policies could not be read": (
                an_assessment(policies=None),
                keeps(Reason.POLICIES_UNKNOWN),
            ),
            "there are no policies": (an_assessment(policies=()), PASSES),
        },
    )


def test_invalid() -> None:
    broken = a_policy("broken", errors=("spec.stuck: odd",))
    negative = KubeRayCleanup(shutdown=True, seconds=-1)
    recorded = a_job(annotations=says(ttl="1h", outcome="done"))
    keep_limit = sets(limits_keep_max=DAY)
    kept = keeps(Reason.INVALID)
    assert_answers(
        invalid,
        {
            "every value is valid": (a_job(), PASSES),
            "a ttl of soon": (a_job(annotations=says(ttl="soon")), kept),
            "a ttl-unsubmitted of soon": (
                an_assessment(rayjob=an_interactive(annotations=says(ttl_unsubmitted="soon"))),
                kept,
            ),
            "a negative TTL in the spec": (
                a_job(annotations={}, kuberay_cleanup=negative),
                kept,
            ),
            "an invalid ttl beside a valid cluster-ttl": (
                a_job(annotations=says(ttl="soon", cluster_ttl="1h")),
                PASSES,
            ),
            "an invalid ttl of a running job": (
                a_job(annotations=says(ttl="soon"), deployment_status="Running"),
                PASSES,
            ),
            "an invalid keep-until of the Namespace": (
                an_assessment(namespace=a_namespace(keep_until="tomorrow")),
                kept,
            ),
            "an invalid keep-until of the RayJob ends with the limit": (
                by(keep_limit, a_job(annotations=says(ttl="1h", keep_until="tomorrow"))),
                PASSES,
            ),
            "an outcome that Raysweep did not write": (
                replace(recorded, probe=ProbeResult(None)),
                kept,
            ),
            "an invalid outcome while a cluster may exist": (recorded, PASSES),
            "an invalid policy": (by(broken, a_job()), kept),
            "an invalid policy of a running job": (
                by(broken, an_assessment(rayjob=a_running())),
                PASSES,
            ),
            "limits that conflict": (
                by(sets(limits_rayJob_min=DAY, limits_rayJob_max=HOUR), a_job()),
                keeps(Reason.LIMITS_CONFLICT),
            ),
            "a limit alone": (by(sets(limits_rayJob_max=HOUR), a_job()), PASSES),
        },
    )


KEPT = keeps(Reason.NOT_FINISHED)
PROBED = probes(Reason.NOT_FINISHED, ProbeKind.STATUS)
WAITS_HALF_AN_HOUR = waits(Reason.NOT_FINISHED, DUE + 30 * MINUTE)


def test_not_finished_by_the_status() -> None:
    never = says(ttl="never")
    deadline = {"reason": "DeadlineExceeded", "deployment_status": "Failed"}
    by_policy = by(
        sets(retention_rayJob_default=DAY), an_assessment(rayjob=a_running(annotations={}))
    )
    assert_answers(
        not_finished,
        {
            "Complete": (a_job(), PASSES),
            "Failed": (a_job(deployment_status="Failed"), PASSES),
            "ValidationFailed": (a_job(deployment_status="ValidationFailed"), PASSES),
            "Initializing": (a_job(deployment_status="Initializing"), KEPT),
            "Retrying": (a_job(deployment_status="Retrying"), KEPT),
            "an unknown status": (a_job(deployment_status="Sleeping"), KEPT),
            "no status": (a_job(deployment_status=""), KEPT),
            "Running may hang": (a_job(deployment_status="Running"), WAITS_HALF_AN_HOUR),
            "Waiting may hang": (a_job(deployment_status="Waiting"), WAITS_HALF_AN_HOUR),
            "Running, and nothing could ever delete it": (
                a_job(deployment_status="Running", annotations=never),
                KEPT,
            ),
            "Waiting, and nothing could ever delete it": (
                a_job(deployment_status="Waiting", annotations=never),
                KEPT,
            ),
            "Running, and the retention of a policy could delete it": (
                by_policy,
                WAITS_HALF_AN_HOUR,
            ),
            "a selected cluster needs a terminal jobStatus": (
                a_job(has_selector=True, job_status="RUNNING", **deadline),
                KEPT,
            ),
            "a selected cluster, with a terminal jobStatus": (a_job(has_selector=True), PASSES),
            "a selected cluster is never probed for the status": (
                a_job(has_selector=True, deployment_status="Running"),
                KEPT,
            ),
        },
    )


def test_not_finished_probes_the_head_of_a_hanging_job() -> None:
    hanging = an_assessment(rayjob=a_running(), memory=UNCHANGED, uptime=30 * MINUTE)
    probed_before = replace(hanging, memory=replace(UNCHANGED, status_probe_at=DUE))
    reported_once = replace(hanging, probe=a_status_probe(a_submission()))
    too_soon = replace(UNREPORTED.memory, terminal_since=20 * MINUTE + MOMENT)
    failed = a_probe(a_submission("FAILED"))
    assert_answers(
        not_finished,
        {
            "unchanged for almost half an hour": (
                replace(hanging, uptime=30 * MINUTE - MOMENT),
                waits(Reason.NOT_FINISHED, DUE + MOMENT),
            ),
            "unchanged for half an hour": (hanging, PROBED),
            "one of its two words has changed": (
                replace(hanging, rayjob=a_running(job_status="PENDING")),
                WAITS_HALF_AN_HOUR,
            ),
            "a microsecond before the next status probe": (
                at(DUE - MOMENT, probed_before),
                waits(Reason.NOT_FINISHED, DUE),
            ),
            "at the next status probe": (probed_before, PROBED),
            "the head reports the end for the first time": (reported_once, KEPT),
            "the head reports it again after 10 minutes": (UNREPORTED, PASSES),
            "the head reports it again a microsecond too soon": (
                replace(UNREPORTED, memory=too_soon),
                KEPT,
            ),
            "the status is unchanged a microsecond too short": (
                replace(UNREPORTED, uptime=30 * MINUTE - MOMENT, probe=None),
                waits(Reason.NOT_FINISHED, DUE + MOMENT),
            ),
            "the head reports it as running again": (
                replace(UNREPORTED, probe=a_probe(a_submission("RUNNING"))),
                KEPT,
            ),
            "its cluster is gone, and KubeRay creates another": (
                replace(UNREPORTED, probe=ProbeResult(None), owned=()),
                KEPT,
            ),
            "it failed, and a retry is left": (
                replace(UNREPORTED, rayjob=a_running(backoff_limit=1), probe=failed),
                KEPT,
            ),
            "it failed, and no retry is left": (
                replace(UNREPORTED, rayjob=a_running(backoff_limit=1, failed=1), probe=failed),
                PASSES,
            ),
            "it succeeded, and a retry is left": (
                replace(UNREPORTED, rayjob=a_running(backoff_limit=1)),
                PASSES,
            ),
        },
    )


def test_not_finished_ends_for_stuck_jobs() -> None:
    def interactive(**fields: object) -> Assessment:
        return an_assessment(rayjob=an_interactive(**fields))

    not_ready_without_ttl = a_job(
        deployment_status="Initializing", job_status="", end_time=None, start_time=END
    )
    other_status = replace(LOST.memory, status=("Running", "PENDING"))
    assert_answers(
        not_finished,
        {
            "never submitted, with a ttl-unsubmitted": (UNSUBMITTED, PASSES),
            "never submitted, without a ttl-unsubmitted": (interactive(annotations={}), KEPT),
            "never submitted, with a ttl only": (
                interactive(annotations=says(ttl="1h")),
                WAITS_HALF_AN_HOUR,
            ),
            "submitted, and KubeRay does not know": (
                replace(UNSUBMITTED, probe=a_probe(a_submission("RUNNING"))),
                KEPT,
            ),
            "lost, by an earlier status probe": (LOST, PASSES),
            "lost before, and the head knows it now": (replace(LOST, probe=a_probe()), KEPT),
            "lost when the status was another": (
                replace(LOST, memory=other_status),
                WAITS_HALF_AN_HOUR,
            ),
            "not known to be lost": (replace(LOST, memory=UNCHANGED), PROBED),
            "lost and not interactive: KubeRay submits it again": (
                replace(LOST, rayjob=replace(LOST.rayjob, submission_mode="HTTPMode")),
                KEPT,
            ),
            "its cluster is not ready, with a ttl-unsubmitted": (NOT_READY, PASSES),
            "its cluster is not ready, without a start time": (
                an_assessment(rayjob=replace(NOT_READY.rayjob, start_time=None)),
                KEPT,
            ),
            "its cluster is not ready, and it is not interactive": (
                an_assessment(rayjob=replace(NOT_READY.rayjob, submission_mode="K8sJobMode")),
                KEPT,
            ),
            "its cluster is not ready, with a policy": (
                at(END, by(sets(stuck_initializing=DAY), not_ready_without_ttl)),
                PASSES,
            ),
            "its cluster is not ready, without a policy": (at(END, not_ready_without_ttl), KEPT),
        },
    )
