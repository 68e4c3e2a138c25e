"""The ladder: for each guard what it keeps and what it lets pass, each boundary twice, and the order of the whole."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from raysweep.core.case import Case
from raysweep.core.decisions import AskHead, Decision, Delete, Keep, Wait
from raysweep.core.facts import HeadSilent, Look
from raysweep.core.ladder import (
    LADDER,
    Guard,
    ambiguous,
    ask_head,
    being_deleted,
    cluster_in_use,
    decide,
    expired,
    head_silent,
    kept_by_user,
    malformed,
    managed_elsewhere,
    no_ttl,
    not_due,
    not_finished,
    not_owned,
    protected_namespace,
    still_running,
    suspended,
    unreadable,
)
from raysweep.core.memory import Memory, remember
from raysweep.core.reasons import Reason
from tests.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_case,
    a_driver,
    a_list,
    a_look,
    a_namespace,
    a_raycluster,
    a_rayjob,
    a_silent_look,
    a_submission,
    says,
)

PASSES = "passes"


def in_words(decision: Decision | None) -> str:
    """A decision as a sentence: what, why, and on what evidence."""
    match decision:
        case None:
            return PASSES
        case Keep(why):
            return f"Keep: {why.reason}: {why.evidence}"
        case Wait(until, why):
            return f"Wait until {until:%d %H:%M:%S.%f}: {why.reason}: {why.evidence}"
        case AskHead(why):
            return f"AskHead: {why.reason}: {why.evidence}"
        case Delete(targets, why):
            listed = ", ".join(f"{t.kind} {t.uid}" + (f" at {t.resource_version}" if t.resource_version else "") for t in targets)
            return f"Delete {listed}: {why.reason}: {why.evidence}"


BOTH = a_case(look=a_look())
"""Due, looked at, and nothing against it."""
RECORD = a_case(rayjob=a_rayjob(annotations=says(ttl="1d", cluster_ttl="1h")), look=a_look())
"""Its cluster may go at DUE, the RayJob a day after END."""
GOING = a_rayjob(deleting_since=END)
NO_CLUSTER = a_case(rayjob=a_rayjob(cluster_name=""), owned=())
IN_USE = decide(a_case(look=a_look(a_submission(), a_driver())), DUE).why
LOOKED_IN_VAIN = Memory(first_finished=END, fruitless_looks=1, look_again_at=DUE + HOUR, kept_by_look=IN_USE, looked_at="100")
TTL_1H = "succeeded 2026-11-22T18:00:00Z, ttl 1h (RayJob team-a/train annotation raysweep.io/ttl)"


def _job(**fields: object) -> Case:
    return a_case(rayjob=a_rayjob(**fields))


def _looked(look: Look, **fields: object) -> Case:
    return a_case(rayjob=a_rayjob(**fields), look=look)


ROWS = [
    # being_deleted
    pytest.param(being_deleted, _job(), DUE, PASSES, id="nobody deletes it"),
    pytest.param(
        being_deleted,
        a_case(rayjob=GOING, owned=()),
        DUE,
        "Keep: BeingDeleted: since 2026-11-22T18:00:00Z",
        id="it is being deleted and its cluster is gone",
    ),
    pytest.param(being_deleted, a_case(rayjob=GOING), DUE, PASSES, id="it is being deleted and its cluster is still there"),
    pytest.param(
        being_deleted,
        a_case(rayjob=replace(GOING, deployment_status="Running")),
        DUE,
        "Keep: BeingDeleted: since 2026-11-22T18:00:00Z",
        id="somebody deletes it while it runs: KubeRay's business",
    ),
    pytest.param(
        being_deleted,
        a_case(rayjob=replace(GOING, finalizers=("orphan",))),
        DUE,
        "Keep: BeingDeleted: somebody deletes it and wants its cluster to stay (finalizer orphan)",
        id="somebody deletes it and wants its cluster to stay",
    ),
    # protected_namespace
    pytest.param(protected_namespace, _job(), DUE, PASSES, id="an ordinary namespace"),
    *(
        pytest.param(
            protected_namespace, _job(namespace=name), DUE, f"Keep: ProtectedNamespace: namespace {name}", id=f"{name} always"
        )
        for name in ("kube-system", "kube-public", "kube-node-lease")
    ),
    pytest.param(
        protected_namespace,
        a_case(protected=frozenset({"team-a"})),
        DUE,
        "Keep: ProtectedNamespace: namespace team-a",
        id="one that the setting names",
    ),
    # managed_elsewhere
    pytest.param(managed_elsewhere, _job(), DUE, PASSES, id="no manager named"),
    pytest.param(managed_elsewhere, _job(managed_by="ray.io/kuberay-operator"), DUE, PASSES, id="managed by KubeRay"),
    pytest.param(
        managed_elsewhere,
        _job(managed_by="kueue.x-k8s.io/multikueue"),
        DUE,
        "Keep: ManagedElsewhere: spec.managedBy is 'kueue.x-k8s.io/multikueue'",
        id="managed by MultiKueue",
    ),
    pytest.param(
        managed_elsewhere,
        _job(labels={"kueue.x-k8s.io/multikueue-origin": "multikueue"}),
        DUE,
        "Keep: ManagedElsewhere: label kueue.x-k8s.io/multikueue-origin",
        id="a copy that MultiKueue dispatched",
    ),
    # suspended
    pytest.param(suspended, _job(), DUE, PASSES, id="not suspended"),
    *(
        pytest.param(
            suspended, _job(deployment_status=word), DUE, f"Keep: Suspended: jobDeploymentStatus {word}", id=f"status {word}"
        )
        for word in ("Suspending", "Suspended")
    ),
    pytest.param(
        suspended,
        _job(suspend=True, deployment_status="Running"),
        DUE,
        "Keep: Suspended: spec.suspend is true",
        id="asked to suspend and still running",
    ),
    *(
        pytest.param(suspended, _job(suspend=True, deployment_status=word), DUE, PASSES, id=f"suspend said after it was {word}")
        for word in ("Complete", "Failed", "ValidationFailed")
    ),
    # unreadable
    pytest.param(unreadable, _job(), DUE, PASSES, id="everything can be read"),
    pytest.param(
        unreadable,
        _job(unreadable="spec.suspend: 'yes': Input should be a valid boolean"),
        DUE,
        "Keep: Unreadable: RayJob team-a/train: spec.suspend: 'yes': Input should be a valid boolean",
        id="a field of the RayJob cannot be read",
    ),
    pytest.param(
        unreadable,
        _looked(Look(a_raycluster(unreadable="spec: Field required"))),
        DUE,
        "Keep: Unreadable: RayCluster train-cluster: spec: Field required",
        id="a field of its cluster cannot be read",
    ),
    pytest.param(
        unreadable, a_case(namespace=None), DUE, "Keep: NamespaceUnknown: Namespace team-a", id="its Namespace was never seen"
    ),
    # malformed
    pytest.param(malformed, _job(), DUE, PASSES, id="every value can be understood"),
    pytest.param(
        malformed,
        _job(annotations=says(ttl="soon")),
        DUE,
        "Keep: Malformed: RayJob team-a/train annotation raysweep.io/ttl: 'soon' is no duration; write a number of seconds, "
        "numbers with w, d, h, m, s (as in 1h30m), or never; at most 100 years",
        id="a TTL of soon",
    ),
    pytest.param(
        malformed,
        a_case(namespace=a_namespace(keep_until="tomorrow")),
        DUE,
        "Keep: Malformed: Namespace team-a annotation raysweep.io/keep-until: 'tomorrow' is no time; write an RFC 3339 time "
        "with its zone, as 2026-11-22T18:00:00Z",
        id="the Namespace keeps until tomorrow",
    ),
    pytest.param(
        malformed,
        _job(annotations=says(ttl="soon", cluster_ttl="1h")),
        DUE,
        PASSES,
        id="a malformed ttl beside a good cluster-ttl makes the ttl never and no more",
    ),
    pytest.param(
        malformed,
        _job(annotations=says(ttl="soon"), deployment_status="Running"),
        DUE,
        PASSES,
        id="nothing to decide while it runs",
    ),
    # not_finished
    *(
        pytest.param(not_finished, _job(deployment_status=word), DUE, PASSES, id=f"{word} has finished")
        for word in ("Complete", "Failed", "ValidationFailed")
    ),
    *(
        pytest.param(
            not_finished,
            _job(deployment_status=word),
            DUE,
            f"Keep: NotFinished: jobDeploymentStatus is '{word}'",
            id=f"{word} has not, whatever its jobStatus says",
        )
        for word in ("Initializing", "Running", "Waiting", "Retrying", "Sleeping")
    ),
    pytest.param(
        not_finished, _job(deployment_status=""), DUE, "Keep: NotFinished: it has no status yet", id="a RayJob without a status"
    ),
    # no_ttl
    pytest.param(no_ttl, _job(), DUE, PASSES, id="a TTL is set"),
    pytest.param(
        no_ttl,
        _job(annotations={}),
        DUE,
        "Keep: NoTTL: ttl never (built in: nothing is deleted until somebody sets a TTL), "
        "cluster-ttl never (built in: nothing is deleted until somebody sets a TTL)",
        id="nobody set a TTL",
    ),
    pytest.param(
        no_ttl,
        _job(annotations=says(ttl="1h", cluster_ttl="never")),
        DUE,
        "Keep: NoTTL: cluster-ttl never (RayJob team-a/train annotation raysweep.io/cluster-ttl)",
        id="its cluster never goes, so neither does the RayJob",
    ),
    pytest.param(
        no_ttl,
        replace(NO_CLUSTER, rayjob=replace(NO_CLUSTER.rayjob, annotations=says(ttl="1h", cluster_ttl="never"))),
        DUE,
        PASSES,
        id="cluster-ttl never holds nothing where there is no cluster",
    ),
    pytest.param(
        no_ttl,
        replace(NO_CLUSTER, rayjob=replace(NO_CLUSTER.rayjob, annotations=says(cluster_ttl="1h"))),
        DUE,
        "Keep: NoTTL: ttl never (built in: nothing is deleted until somebody sets a TTL)",
        id="only a cluster-ttl, and the cluster is gone: the record stays",
    ),
    # not_due
    pytest.param(not_due, _job(), DUE, PASSES, id="finished 1h ago, ttl 1h: exactly due"),
    pytest.param(
        not_due, _job(), DUE - MOMENT, f"Wait until 22 19:00:00.250000: NotDue: {TTL_1H}", id="a microsecond before: waits for it"
    ),
    pytest.param(
        not_due,
        _job(annotations=says(ttl="15")),
        END + timedelta(seconds=10),
        "Wait until 22 18:00:15.250000: NotDue: "
        "succeeded 2026-11-22T18:00:00Z, ttl 15s (RayJob team-a/train annotation raysweep.io/ttl)",
        id="finished 10s ago, ttl 15s -> waits 5s",
    ),
    pytest.param(not_due, _job(annotations=says(ttl="0")), END, PASSES, id="ttl 0 is due at once"),
    pytest.param(
        not_due,
        _job(end_time=END.replace(microsecond=0), status_written_at=END.replace(microsecond=0)),
        DUE.replace(microsecond=0) + timedelta(seconds=1) - MOMENT,
        f"Wait until 22 19:00:01.000000: NotDue: {TTL_1H}",
        id="a whole second was cut off, so a second more; a microsecond before",
    ),
    pytest.param(
        not_due,
        _job(end_time=END.replace(microsecond=0), status_written_at=END.replace(microsecond=0)),
        DUE.replace(microsecond=0) + timedelta(seconds=1),
        PASSES,
        id="a whole second was cut off, so a second more; exactly then",
    ),
    pytest.param(
        not_due,
        _job(annotations=says(ttl="1h", cluster_ttl="1d")),
        DUE,
        "Wait until 23 18:00:00.250000: NotDue: "
        "succeeded 2026-11-22T18:00:00Z, ttl 1h (RayJob team-a/train annotation raysweep.io/ttl), "
        "cluster-ttl 1d (RayJob team-a/train annotation raysweep.io/cluster-ttl)",
        id="the RayJob never goes before its cluster may",
    ),
    pytest.param(not_due, RECORD, DUE, PASSES, id="its cluster is due before the RayJob"),
    # kept_by_user
    pytest.param(kept_by_user, _job(), DUE, PASSES, id="nobody asked for more time"),
    pytest.param(
        kept_by_user,
        _job(annotations=says(ttl="1h", keep_until="2026-11-22T20:00:00Z", keep_reason="a look\nat the logs")),
        DUE,
        "Wait until 22 20:00:00.000000: KeptByUser: until 2026-11-22T20:00:00Z, because 'a look at the logs'",
        id="kept on the RayJob, with a reason whose line break is not shown",
    ),
    pytest.param(
        kept_by_user,
        a_case(namespace=a_namespace(keep_until="2026-11-22T20:00:00Z", keep_reason="audit")),
        DUE,
        "Wait until 22 20:00:00.000000: KeptByUser: until 2026-11-22T20:00:00Z, because 'audit'",
        id="kept on the Namespace",
    ),
    pytest.param(
        kept_by_user,
        a_case(namespace=a_namespace(keep_until="2026-11-22T20:00:00Z")),
        datetime.fromisoformat("2026-11-22T20:00:00Z") - MOMENT,
        "Wait until 22 20:00:00.000000: KeptByUser: until 2026-11-22T20:00:00Z",
        id="a microsecond before the keep ends",
    ),
    pytest.param(
        kept_by_user,
        a_case(namespace=a_namespace(keep_until="2026-11-22T20:00:00Z")),
        datetime.fromisoformat("2026-11-22T20:00:00Z"),
        PASSES,
        id="exactly when the keep ends",
    ),
    # not_owned
    pytest.param(not_owned, _job(), DUE, PASSES, id="the named cluster is its own"),
    pytest.param(
        not_owned,
        _job(has_selector=True, selected_cluster="shared"),
        DUE,
        "Keep: NotOwned: spec.clusterSelector names 'shared'",
        id="it runs in a cluster that it selects",
    ),
    pytest.param(
        not_owned,
        _looked(a_look(cluster=a_raycluster(controller_uid="uid-other"))),
        DUE,
        "Keep: NotOwned: RayCluster train-cluster has another owner, or none",
        id="the named cluster is another's",
    ),
    pytest.param(
        not_owned,
        _looked(a_look(cluster=a_raycluster(controller_uid=""))),
        DUE,
        "Keep: NotOwned: RayCluster train-cluster has another owner, or none",
        id="the named cluster is nobody's",
    ),
    pytest.param(
        not_owned,
        a_case(owned=(a_raycluster(), a_raycluster(name="older", uid="uid-older"))),
        DUE,
        "Keep: OtherCluster: status names 'train-cluster', owned is older",
        id="it owns a cluster besides the named one",
    ),
    pytest.param(not_owned, a_case(owned=(), look=Look(None)), DUE, PASSES, id="no cluster at all"),
    # ask_head
    pytest.param(ask_head, BOTH, DUE, PASSES, id="it was looked at"),
    pytest.param(ask_head, _job(), DUE, f"AskHead: Expired: {TTL_1H}", id="it was not looked at"),
    pytest.param(
        ask_head,
        a_case(memory=LOOKED_IN_VAIN),
        DUE + HOUR - MOMENT,
        "Wait until 22 20:00:00.250000: ClusterInUse: 1 unfinished in the cluster: driver '02000000' RUNNING",
        id="looked at in vain, a microsecond before the next look",
    ),
    pytest.param(
        ask_head, a_case(memory=LOOKED_IN_VAIN), DUE + HOUR, f"AskHead: Expired: {TTL_1H}", id="exactly when the next look is due"
    ),
    pytest.param(
        ask_head,
        a_case(rayjob=a_rayjob(resource_version="101"), memory=LOOKED_IN_VAIN),
        DUE,
        f"AskHead: Expired: {TTL_1H}",
        id="the RayJob has changed since: asked at once",
    ),
    # head_silent
    pytest.param(head_silent, BOTH, DUE, PASSES, id="the head answered"),
    pytest.param(head_silent, _looked(Look(None)), DUE, PASSES, id="there is no head"),
    pytest.param(
        head_silent,
        _looked(Look(a_raycluster(deleting=True), HeadSilent("refused"))),
        DUE,
        PASSES,
        id="the cluster is being deleted: its head is past asking",
    ),
    pytest.param(
        head_silent,
        _looked(Look(a_raycluster())),
        DUE,
        "Keep: HeadUnreachable: it was not asked",
        id="a live cluster whose head was never asked",
    ),
    pytest.param(
        head_silent,
        _looked(a_silent_look("HTTP 502 <html>\nBad Gateway")),
        DUE,
        "Keep: HeadUnreachable: HTTP 502 <html> Bad Gateway",
        id="something else answered in its place",
    ),
    pytest.param(
        head_silent,
        _looked(a_silent_look("401 Unauthorized: Missing authentication token", unauthorized=True)),
        DUE,
        "Keep: HeadUnauthorized: 401 Unauthorized: Missing authentication token",
        id="the head wants a token",
    ),
    pytest.param(
        head_silent,
        _looked(a_silent_look(), reason="DeadlineExceeded"),
        DUE,
        "Keep: HeadUnreachable: connection refused",
        id="a deadline does not make silence an answer",
    ),
    # ambiguous
    pytest.param(ambiguous, BOTH, DUE, PASSES, id="its own job is known"),
    pytest.param(
        ambiguous,
        _looked(a_look(a_submission(), a_submission(submission_id="b"), a_driver("FAILED")), job_id=""),
        DUE,
        "Keep: Ambiguous: submissions 'train-x7k2p', 'b'",
        id="no ID and two submissions",
    ),
    # still_running
    pytest.param(still_running, BOTH, DUE, PASSES, id="head and RayJob agree"),
    *(
        pytest.param(
            still_running,
            _looked(a_look(a_submission(word))),
            DUE,
            f"Keep: StillRunning: jobDeploymentStatus Complete, jobStatus 'SUCCEEDED'; the head says 'train-x7k2p' is {word}",
            id=f"the head says {word}",
        )
        for word in ("PENDING", "RUNNING", "PAUSED")
    ),
    *(
        pytest.param(
            still_running, _looked(a_look(a_submission("RUNNING")), reason=reason), DUE, PASSES, id=f"it runs on after {reason}"
        )
        for reason in ("DeadlineExceeded", "PreRunningDeadlineExceeded")
    ),
    pytest.param(
        still_running,
        _looked(a_look(a_submission("RUNNING")), reason="AppFailed", job_status="FAILED", deployment_status="Failed"),
        DUE,
        "Keep: StillRunning: jobDeploymentStatus Failed, jobStatus 'FAILED'; the head says 'train-x7k2p' is RUNNING",
        id="another reason is no wish for an end",
    ),
    pytest.param(still_running, _looked(a_look(a_driver())), DUE, PASSES, id="no such job: it is not running"),
    # cluster_in_use
    pytest.param(cluster_in_use, BOTH, DUE, PASSES, id="only its own job, ended"),
    pytest.param(
        cluster_in_use,
        _looked(a_look(a_submission(), a_driver("SUCCEEDED"), a_submission("FAILED", "b"))),
        DUE,
        PASSES,
        id="others that have ended",
    ),
    pytest.param(
        cluster_in_use,
        _looked(a_look(a_submission(), a_driver(), a_submission("PENDING", "b"))),
        DUE,
        "Keep: ClusterInUse: 2 unfinished in the cluster: driver '02000000' RUNNING, submission 'b' PENDING",
        id="a notebook and a second submit",
    ),
    pytest.param(
        cluster_in_use,
        _looked(a_look(a_submission("RUNNING"), a_driver()), reason="DeadlineExceeded"),
        DUE,
        "Keep: ClusterInUse: 1 unfinished in the cluster: driver '02000000' RUNNING",
        id="a deadline ends its own job, not the others",
    ),
    pytest.param(
        cluster_in_use,
        _looked(a_look(a_submission(), unreadable="entry 1: status: Field required")),
        DUE,
        "Keep: ClusterInUse: the head's list of jobs cannot be read: entry 1: status: Field required",
        id="an entry that cannot be read may be anything",
    ),
    pytest.param(
        cluster_in_use,
        _looked(Look(a_raycluster(), a_list(unreadable="it is larger than 4 MiB"))),
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
        a_case(owned=(), look=Look(None), selected_by=("a",)),
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
        a_case(owned=(), look=Look(None)),
        DUE,
        f"Delete RayJob uid-train at 100: Expired: {TTL_1H}",
        id="the RayJob alone where its cluster is gone",
    ),
    pytest.param(
        expired,
        _looked(a_look(cluster=a_raycluster(deleting=True))),
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
        a_case(rayjob=GOING, look=a_look()),
        DUE,
        f"Delete RayCluster uid-cluster: DeletionUnfinished: {TTL_1H}",
        id="the cluster of a RayJob that waits on its finalizer",
    ),
]


@pytest.mark.parametrize(("guard", "case", "now", "answer"), ROWS)
def test_a_guard(guard: Guard, case: Case, now: datetime, answer: str) -> None:
    assert in_words(guard(case, now)) == answer


TOLD_BY_THE_SHELL = {Reason.INTERNAL_ERROR}
"""Said by controller/report.py where judging fails; no guard says it."""


def test_every_guard_has_a_row_that_it_keeps_and_one_that_it_lets_pass() -> None:
    speaking = {row.values[0] for row in ROWS if row.values[3] != PASSES}
    silent = {row.values[0] for row in ROWS if row.values[3] == PASSES}
    assert speaking == set(LADDER)
    assert silent | {LADDER[-1]} == set(LADDER)


def test_every_reason_has_a_row() -> None:
    answers = [str(row.values[3]) for row in ROWS]
    told = {reason for reason in Reason if any(f": {reason}: " in answer for answer in answers)}
    assert told == set(Reason) - TOLD_BY_THE_SHELL


def test_the_order_of_the_ladder() -> None:
    assert [guard.__name__ for guard in LADDER] == [
        "being_deleted",
        "protected_namespace",
        "managed_elsewhere",
        "suspended",
        "unreadable",
        "malformed",
        "not_finished",
        "no_ttl",
        "not_due",
        "kept_by_user",
        "not_owned",
        "ask_head",
        "head_silent",
        "ambiguous",
        "still_running",
        "cluster_in_use",
        "expired",
    ]


@pytest.mark.parametrize(
    ("case", "now", "guard", "reason"),
    [
        pytest.param(
            a_case(rayjob=replace(GOING, namespace="kube-system"), owned=()),
            DUE,
            "being_deleted",
            Reason.BEING_DELETED,
            id="going, in a protected namespace",
        ),
        pytest.param(
            a_case(rayjob=replace(GOING, namespace="kube-system")),
            DUE,
            "protected_namespace",
            Reason.PROTECTED_NAMESPACE,
            id="going, its cluster left behind, in a protected namespace: all later guards hold for it",
        ),
        pytest.param(
            a_case(rayjob=replace(GOING, annotations={}), look=a_look()),
            DUE,
            "no_ttl",
            Reason.NO_TTL,
            id="going, its cluster left behind, without a TTL",
        ),
        pytest.param(
            a_case(rayjob=GOING, look=a_look(a_submission("RUNNING"))),
            DUE,
            "still_running",
            Reason.STILL_RUNNING,
            id="going, its cluster left behind, still running",
        ),
        pytest.param(
            _job(suspend=True, deployment_status="Running", managed_by="elsewhere"),
            DUE,
            "managed_elsewhere",
            Reason.MANAGED_ELSEWHERE,
            id="suspended and managed elsewhere",
        ),
        pytest.param(
            _job(deployment_status="Suspended", unreadable="x"), DUE, "suspended", Reason.SUSPENDED, id="suspended and unreadable"
        ),
        pytest.param(
            _job(unreadable="x", annotations=says(ttl="soon")),
            DUE,
            "unreadable",
            Reason.UNREADABLE,
            id="unreadable and malformed",
        ),
        pytest.param(
            _job(annotations=says(ttl="1h", keep_until="tomorrow")),
            END,
            "malformed",
            Reason.MALFORMED,
            id="malformed and not due",
        ),
        pytest.param(
            _job(deployment_status="Running", annotations={}),
            DUE,
            "not_finished",
            Reason.NOT_FINISHED,
            id="running without a TTL",
        ),
        pytest.param(
            _job(annotations=says(ttl="1h", keep_until="2027-01-01T00:00:00Z")),
            END,
            "not_due",
            Reason.NOT_DUE,
            id="not due and kept",
        ),
        pytest.param(
            _job(annotations=says(ttl="1h", keep_until="2027-01-01T00:00:00Z"), has_selector=True),
            DUE,
            "kept_by_user",
            Reason.KEPT_BY_USER,
            id="kept and not owned",
        ),
        pytest.param(_job(has_selector=True), DUE, "not_owned", Reason.NOT_OWNED, id="not owned: nobody is asked"),
        pytest.param(
            a_case(
                owned=(a_raycluster(), a_raycluster(name="older", uid="uid-older")),
                look=Look(a_raycluster(), HeadSilent("refused")),
            ),
            DUE,
            "not_owned",
            Reason.OTHER_CLUSTER,
            id="two clusters and a silent head",
        ),
        pytest.param(
            _looked(a_look(a_submission("RUNNING"), a_driver())), DUE, "still_running", Reason.STILL_RUNNING, id="both at work"
        ),
        pytest.param(
            _looked(a_look(a_submission(), a_submission("RUNNING", "b")), job_id=""),
            DUE,
            "ambiguous",
            Reason.AMBIGUOUS,
            id="ambiguous and in use",
        ),
        pytest.param(BOTH, DUE, "expired", Reason.EXPIRED, id="nothing against it"),
        pytest.param(BOTH, DUE - MOMENT, "not_due", Reason.NOT_DUE, id="nothing against it but a microsecond"),
    ],
)
def test_of_two_guards_the_first_speaks(case: Case, now: datetime, guard: str, reason: Reason) -> None:
    why = decide(case, now).why
    assert (why.guard, why.reason) == (guard, reason)


def test_the_head_may_end_the_job_later_than_the_status_said_and_then_it_waits_once_more() -> None:
    case = a_case(look=a_look(a_submission(end_time=END + HOUR)))
    assert in_words(decide(case, DUE)).startswith("Wait until 22 20:00:00.250000: NotDue")


def test_where_head_and_status_disagree_the_longer_time_counts() -> None:
    said = says(ttl_succeeded="1h", ttl_failed="2h")
    case = a_case(rayjob=a_rayjob(annotations=said, job_status="SUCCEEDED"), look=a_look(a_submission("FAILED")))
    assert in_words(decide(case, DUE)).startswith("Wait until 22 20:00:00.250000: NotDue: failed")


def test_an_explanation_carries_the_times_it_reckoned_with() -> None:
    why = decide(RECORD, DUE).why
    assert why.ttl is not None
    assert why.cluster_ttl is not None
    told = (why.guard, why.outcome, why.finished_at, why.due_at, why.ttl.value, why.cluster_ttl.value)
    assert told == ("expired", "succeeded", END, DUE, timedelta(days=1), HOUR)


def test_after_its_cluster_went_the_record_waits_for_its_own_time() -> None:
    memory = remember(RECORD.memory, decide(RECORD, DUE), DUE, RECORD.look, "100")
    record = replace(RECORD, owned=(), look=None, memory=replace(memory, cluster_gone=True))
    assert in_words(decide(record, DUE)).startswith("Wait until 23 18:00:00.250000: NotDue")
