"""The guards about time and ownership: what each keeps and what it lets pass, each boundary twice."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.checks.answers import Check
from raysweep.core.checks.timing import (
    bulk_expiry_delay,
    kept_by_user,
    no_ttl,
    not_due,
    not_owned,
    probe_head,
    waiting_for_kuberay,
)
from raysweep.core.decide import decide
from raysweep.core.model.facts import KubeRayCleanup, ProbeResult
from raysweep.core.model.memory import Memory
from raysweep.core.model.own_times import own_times
from raysweep.core.model.parameters import Parameters
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_driver,
    a_list,
    a_namespace,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_running,
    a_status_probe,
    a_submission,
    an_assessment,
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
    TTL_1H,
    Row,
    a_job,
    boundary,
    in_words,
    probed,
)

NO_CLUSTER = an_assessment(rayjob=a_rayjob(cluster_name=""), owned=())
IN_USE = decide(
    replace(an_assessment(probe=a_probe(a_submission(), a_driver())), now=DUE)
).explanation
LOOKED_IN_VAIN = Memory(
    first_finished=END,
    fruitless_probes=1,
    probe_again_at=DUE + HOUR,
    kept_by_probe=IN_USE,
    probed_version="100",
)
NOT_THERE: dict[str, dict[str, Any]] = {
    "it selects its cluster": {"has_selector": True},
    "its end is not told": {"end_time": None},
    "its spec is not valid": {"deployment_status": "ValidationFailed"},
    "it is being deleted": {"deleting_since": END},
}
"""Where KubeRay does not act by itself."""
NATIVE = an_assessment(
    rayjob=a_rayjob(
        annotations=says(ttl="1d", cluster_ttl="1h"),
        kuberay_cleanup=KubeRayCleanup(shutdown=True, seconds=3600),
    ),
)
"""Its cluster is due at DUE, and KubeRay itself deletes it two seconds later."""
TWO_OWNED = an_assessment(owned=(a_raycluster(), a_raycluster(name="older", uid="uid-older")))
SELECTS = probed(
    a_probe(cluster=a_raycluster(controller_uid="")),
    has_selector=True,
    selected_cluster="train-cluster",
)
JUDGED = Memory(first_finished=END, own_times=own_times(a_rayjob()), due_at=None)
"""It was judged before, as the RayJob that it still is, and was not to go then."""

DOUBTFUL = {"deployment_status": "Failed", "job_status": "RUNNING"}
FAILED_TTL_1H = TTL_1H.replace("succeeded", "failed")

ROWS: list[Row] = [
    # no_ttl
    pytest.param(no_ttl, a_job(), DUE, PASSES, id="a TTL is set"),
    pytest.param(
        no_ttl,
        a_job(annotations={}),
        DUE,
        "Keep: NoTTL: ttl never (built in: nothing is deleted until you set a TTL), "
        "cluster-ttl never (built in: nothing is deleted until you set a TTL)",
        id="nobody set a TTL",
    ),
    pytest.param(
        no_ttl,
        a_job(annotations=says(ttl="1h", cluster_ttl="never")),
        DUE,
        "Keep: NoTTL: cluster-ttl never (RayJob team-a/train annotation raysweep.io/cluster-ttl)",
        id="its cluster never goes, so neither does the RayJob",
    ),
    pytest.param(
        no_ttl,
        replace(
            NO_CLUSTER,
            rayjob=replace(NO_CLUSTER.rayjob, annotations=says(ttl="1h", cluster_ttl="never")),
        ),
        DUE,
        PASSES,
        id="cluster-ttl never holds nothing where there is no cluster",
    ),
    pytest.param(
        no_ttl,
        replace(NO_CLUSTER, rayjob=replace(NO_CLUSTER.rayjob, annotations=says(cluster_ttl="1h"))),
        DUE,
        "Keep: NoTTL: ttl never (built in: nothing is deleted until you set a TTL)",
        id="only a cluster-ttl, and the cluster is gone: the record stays",
    ),
    # not_due
    pytest.param(not_due, a_job(), DUE, PASSES, id="finished 1h ago, ttl 1h: exactly due"),
    pytest.param(
        not_due,
        a_job(),
        DUE - MOMENT,
        f"Wait until 22 19:00:00.250000: NotDue: {TTL_1H}",
        id="a microsecond before: waits for it",
    ),
    pytest.param(
        not_due,
        a_job(annotations=says(ttl="15")),
        END + timedelta(seconds=10),
        "Wait until 22 18:00:15.250000: NotDue: "
        "succeeded 2026-11-22T18:00:00Z, ttl 15s (RayJob team-a/train annotation raysweep.io/ttl)",
        id="finished 10s ago, ttl 15s -> waits 5s",
    ),
    pytest.param(not_due, a_job(annotations=says(ttl="0")), END, PASSES, id="ttl 0 is due at once"),
    pytest.param(
        not_due,
        a_job(end_time=END.replace(microsecond=0), status_written_at=END.replace(microsecond=0)),
        DUE.replace(microsecond=0) + timedelta(seconds=1) - MOMENT,
        f"Wait until 22 19:00:01.000000: NotDue: {TTL_1H}",
        id="a whole second was cut off, so a second more; a microsecond before",
    ),
    pytest.param(
        not_due,
        a_job(end_time=END.replace(microsecond=0), status_written_at=END.replace(microsecond=0)),
        DUE.replace(microsecond=0) + timedelta(seconds=1),
        PASSES,
        id="a whole second was cut off, so a second more; exactly then",
    ),
    pytest.param(
        not_due,
        a_job(annotations=says(ttl="1h", cluster_ttl="1d")),
        DUE,
        "Wait until 23 18:00:00.250000: NotDue: "
        "succeeded 2026-11-22T18:00:00Z, ttl 1h (RayJob team-a/train annotation raysweep.io/ttl), "
        "cluster-ttl 1d (RayJob team-a/train annotation raysweep.io/cluster-ttl)",
        id="the RayJob never goes before its cluster may",
    ),
    pytest.param(not_due, RECORD, DUE, PASSES, id="its cluster is due before the RayJob"),
    pytest.param(
        not_due,
        a_job(**DOUBTFUL),
        END,
        f"Poll: NotDue: {FAILED_TTL_1H}",
        id="ended by KubeRay's word and not by Ray's: the head is asked once, long before",
    ),
    pytest.param(
        not_due,
        replace(a_job(**DOUBTFUL), memory=Memory(status=("Failed", "RUNNING"), status_probes=1)),
        END,
        f"Wait until 22 19:00:00.250000: NotDue: {FAILED_TTL_1H}",
        id="and not twice",
    ),
    pytest.param(
        not_due,
        a_job(**DOUBTFUL, reason="DeadlineExceeded"),
        END,
        f"Wait until 22 19:00:00.250000: NotDue: {FAILED_TTL_1H}",
        id="nor where a deadline wanted the end",
    ),
    pytest.param(
        not_due,
        probed(a_status_probe(a_submission("RUNNING")), **DOUBTFUL),
        END,
        "Wait until 22 19:00:00.250000: StillRunning: the head says 'train-x7k2p' is RUNNING",
        id="and what it says is told at once",
    ),
    # kept_by_user
    pytest.param(kept_by_user, a_job(), DUE, PASSES, id="nobody asked for more time"),
    pytest.param(
        kept_by_user,
        a_job(
            annotations=says(
                ttl="1h", keep_until="2026-11-22T20:00:00Z", keep_reason="a look\nat the logs"
            )
        ),
        DUE,
        "Wait until 22 20:00:00.000000: KeptByUser: until 2026-11-22T20:00:00Z, because 'a look at the logs'",
        id="kept on the RayJob, with a reason whose line break is not shown",
    ),
    pytest.param(
        kept_by_user,
        an_assessment(
            namespace=a_namespace(keep_until="2026-11-22T20:00:00Z", keep_reason="audit")
        ),
        DUE,
        "Wait until 22 20:00:00.000000: KeptByUser: until 2026-11-22T20:00:00Z, because 'audit'",
        id="kept on the Namespace",
    ),
    pytest.param(
        kept_by_user,
        an_assessment(namespace=a_namespace(keep_until="2026-11-22T20:00:00Z")),
        datetime.fromisoformat("2026-11-22T20:00:00Z") - MOMENT,
        "Wait until 22 20:00:00.000000: KeptByUser: until 2026-11-22T20:00:00Z",
        id="a microsecond before the keep ends",
    ),
    pytest.param(
        kept_by_user,
        an_assessment(namespace=a_namespace(keep_until="2026-11-22T20:00:00Z")),
        datetime.fromisoformat("2026-11-22T20:00:00Z"),
        PASSES,
        id="exactly when the keep ends",
    ),
    # not_owned
    pytest.param(not_owned, a_job(), DUE, PASSES, id="the named cluster is its own"),
    pytest.param(
        not_owned,
        replace(SELECTS, owned=()),
        DUE,
        PASSES,
        id="it runs in a cluster that it selects: that is never a target, so whose it is does not matter",
    ),
    pytest.param(
        not_owned,
        probed(a_probe(cluster=a_raycluster(controller_uid="uid-other"))),
        DUE,
        "Keep: NotOwned: RayCluster train-cluster has another owner, or none",
        id="the named cluster is another's",
    ),
    pytest.param(
        not_owned,
        probed(a_probe(cluster=a_raycluster(controller_uid=""))),
        DUE,
        "Keep: NotOwned: RayCluster train-cluster has another owner, or none",
        id="the named cluster is nobody's",
    ),
    pytest.param(
        not_owned,
        TWO_OWNED,
        DUE,
        "Keep: OtherCluster: status names 'train-cluster', owned is older",
        id="it owns a cluster besides the named one",
    ),
    pytest.param(
        not_owned,
        replace(TWO_OWNED, started_at=END),
        DUE,
        PASSES,
        id="the operator's list is minutes old: the other may have gone",
    ),
    pytest.param(
        not_owned,
        replace(TWO_OWNED, started_at=END, probe=a_status_probe()),
        DUE,
        PASSES,
        id="and a poll reads no cluster",
    ),
    pytest.param(
        not_owned,
        replace(TWO_OWNED, started_at=END, probe=a_probe(a_submission())),
        DUE,
        "Keep: OtherCluster: status names 'train-cluster', owned is older",
        id="a look has confirmed both",
    ),
    pytest.param(
        not_owned,
        an_assessment(
            owned=(a_raycluster(), a_raycluster(name="older", uid="uid-older", deleting=True))
        ),
        DUE,
        PASSES,
        id="the other one goes already",
    ),
    pytest.param(
        not_owned,
        an_assessment(owned=(), probe=ProbeResult(None)),
        DUE,
        PASSES,
        id="no cluster at all",
    ),
    # ask_head
    pytest.param(probe_head, BOTH, DUE, PASSES, id="it was looked at"),
    pytest.param(
        probe_head, a_job(), DUE, f"AskHead: Expired: {TTL_1H}", id="it was not looked at"
    ),
    pytest.param(
        probe_head,
        an_assessment(memory=LOOKED_IN_VAIN),
        DUE + HOUR - MOMENT,
        "Wait until 22 20:00:00.250000: ClusterInUse: 1 unfinished in the cluster: driver '02000000' RUNNING",
        id="looked at in vain, a microsecond before the next look",
    ),
    pytest.param(
        probe_head,
        an_assessment(memory=LOOKED_IN_VAIN),
        DUE + HOUR,
        f"AskHead: Expired: {TTL_1H}",
        id="exactly when the next look is due",
    ),
    pytest.param(
        probe_head,
        an_assessment(rayjob=a_rayjob(resource_version="101"), memory=LOOKED_IN_VAIN),
        DUE,
        f"AskHead: Expired: {TTL_1H}",
        id="the RayJob has changed since: asked at once",
    ),
    pytest.param(
        not_owned,
        SELECTS,
        DUE,
        "Keep: OtherCluster: status names 'train-cluster', owned is train-cluster",
        id="it selects a cluster and owns one, which would go with it",
    ),
    # not_owned: a cluster that KubeRay would rebuild
    pytest.param(
        not_owned,
        replace(ENDED_UNNOTICED, rayjob=a_running(annotations=says(ttl="1d", cluster_ttl="1h"))),
        DUE,
        "Wait until 23 18:00:00.250000: WouldBeRebuilt: jobDeploymentStatus is 'Running'",
        id="its cluster alone is due, and it is not at an end for KubeRay: it goes with the RayJob",
    ),
    pytest.param(
        not_owned,
        replace(ENDED_UNNOTICED, rayjob=a_running(annotations=says(cluster_ttl="1h"))),
        DUE,
        "Keep: WouldBeRebuilt: jobDeploymentStatus is 'Running'",
        id="likewise where the RayJob never goes",
    ),
    pytest.param(not_owned, ENDED_UNNOTICED, DUE, PASSES, id="both are due"),
    *(
        pytest.param(
            not_owned,
            replace(RECORD, rayjob=replace(RECORD.rayjob, deployment_status=word)),
            DUE,
            PASSES,
            id=f"alone: {word}",
        )
        for word in ("Complete", "Failed", "ValidationFailed")
    ),
    # native_first
    pytest.param(waiting_for_kuberay, RECORD, DUE, PASSES, id="the spec asks nothing of KubeRay"),
    *boundary(
        waiting_for_kuberay,
        NATIVE,
        DUE + timedelta(seconds=62),
        "Wait until 22 19:01:02.250000: WaitingForKubeRay: KubeRay will at 2026-11-22T19:00:02Z",
        id="KubeRay deletes the cluster, and has a minute for it",
    ),
    pytest.param(
        waiting_for_kuberay,
        replace(NATIVE, parameters=Parameters(kuberay_grace=timedelta(minutes=5))),
        DUE + timedelta(seconds=62),
        "Wait until 22 19:05:02.250000: WaitingForKubeRay: KubeRay will at 2026-11-22T19:00:02Z",
        id="the setting says five minutes",
    ),
    pytest.param(
        waiting_for_kuberay,
        an_assessment(rayjob=replace(NATIVE.rayjob, annotations=says(ttl="1h"))),
        DUE,
        PASSES,
        id="the RayJob is due too",
    ),
    pytest.param(
        waiting_for_kuberay,
        an_assessment(
            rayjob=replace(
                NATIVE.rayjob, annotations={}, keys=frozenset({"argocd.argoproj.io/tracking-id"})
            )
        ),
        DUE,
        "Wait until 22 19:01:02.250000: WaitingForKubeRay: KubeRay will at 2026-11-22T19:00:02Z",
        id="the RayJob is due too, but as Argo CD tracks it only its cluster would go",
    ),
    *(
        pytest.param(
            waiting_for_kuberay,
            replace(NATIVE, rayjob=replace(NATIVE.rayjob, **fields)),
            DUE,
            PASSES,
            id=f"not where {said}",
        )
        for said, fields in NOT_THERE.items()
    ),
    # backlog
    pytest.param(bulk_expiry_delay, a_job(), DUE, PASSES, id="it becomes due"),
    pytest.param(
        bulk_expiry_delay,
        an_assessment(memory=JUDGED, namespace=a_namespace()),
        DUE,
        f"Wait until 22 19:15:00.250000: BulkExpiryDelay: {TTL_1H}; 0 wait",
        id="it was never due, and a default made it so",
    ),
    pytest.param(
        bulk_expiry_delay,
        an_assessment(memory=replace(JUDGED, due_at=DUE + MOMENT)),
        DUE,
        f"Wait until 22 19:15:00.250000: BulkExpiryDelay: {TTL_1H}; 0 wait",
        id="it was due later, by a microsecond",
    ),
    pytest.param(
        bulk_expiry_delay,
        an_assessment(memory=replace(JUDGED, due_at=DUE)),
        DUE,
        PASSES,
        id="it was due now all along",
    ),
    pytest.param(
        bulk_expiry_delay,
        an_assessment(memory=replace(JUDGED, own_times=own_times(a_rayjob(annotations={})))),
        DUE,
        PASSES,
        id="the RayJob's own times have changed: its own wish waits for nothing",
    ),
    *boundary(
        bulk_expiry_delay,
        an_assessment(memory=replace(JUDGED, bulk_expiry_until=DUE + 15 * MINUTE)),
        DUE + 15 * MINUTE,
        f"Wait until 22 19:15:00.250000: BulkExpiryDelay: {TTL_1H}; 0 wait",
        id="it waits",
    ),
    *boundary(
        bulk_expiry_delay,
        an_assessment(started_at=DUE - 5 * MINUTE),
        DUE + 10 * MINUTE,
        f"Wait until 22 19:10:00.250000: BulkExpiryDelay: {TTL_1H}; 0 wait",
        id="overdue when first seen: a quarter of an hour from the process's start",
    ),
    pytest.param(
        bulk_expiry_delay,
        an_assessment(started_at=DUE),
        DUE + 2 * MINUTE,
        PASSES,
        id="overdue by two minutes when first seen is not overdue",
    ),
    pytest.param(
        bulk_expiry_delay,
        an_assessment(started_at=DUE),
        DUE + 2 * MINUTE + MOMENT,
        f"Wait until 22 19:15:00.250000: BulkExpiryDelay: {TTL_1H}; 0 wait",
        id="overdue by a microsecond more",
    ),
    pytest.param(
        bulk_expiry_delay,
        a_job(),
        LATE,
        PASSES,
        id="overdue when first seen by a command, which does not last",
    ),
    pytest.param(
        bulk_expiry_delay,
        an_assessment(rayjob=GOING, memory=JUDGED),
        DUE,
        PASSES,
        id="its RayJob goes already: the cluster waits for nothing",
    ),
    # not_due: stuck jobs
    *boundary(
        not_due,
        NOT_SUBMITTED,
        DUE,
        f"Wait until 22 19:00:00.250000: NotDue: {STUCK_1H}",
        id="never submitted",
    ),
    *boundary(
        not_due,
        LOST,
        DUE,
        f"Wait until 22 19:00:00.250000: NotDue: {STUCK_1H}",
        id="lost, since it was first missed",
    ),
    *boundary(
        not_due,
        NOT_READY,
        DUE,
        f"Wait until 22 19:00:00.250000: NotDue: {STUCK_1H}",
        id="its cluster not ready",
    ),
    pytest.param(
        not_due,
        replace(
            NOT_SUBMITTED,
            probe=ProbeResult(
                a_raycluster(), a_list(replace(a_driver("SUCCEEDED"), end_time=END + HOUR))
            ),
        ),
        DUE,
        f"Wait until 22 20:00:00.250000: NotDue: {STUCK_1H.replace('T18', 'T19')}",
        id="never submitted, but a notebook worked in its cluster until an hour ago",
    ),
    pytest.param(
        probe_head,
        an_assessment(probe=a_status_probe(a_submission())),
        DUE,
        f"AskHead: Expired: {TTL_1H}",
        id="polled is not looked at: a deletion needs more",
    ),
]


@pytest.mark.parametrize(("check", "assessment", "now", "answer"), ROWS)
def test_a_guard(check: Check, assessment: Assessment, now: datetime, answer: str) -> None:
    assert in_words(check(replace(assessment, now=now))) == answer
