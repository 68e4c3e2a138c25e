"""The checks of time and ownership, up to the probe of the head."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from raysweep.core.assessment import Assessment
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
from raysweep.core.durations import NEVER
from raysweep.core.model.facts import KubeRayCleanup, ProbeKind, ProbeResult
from raysweep.core.model.memory import Memory
from raysweep.core.model.own_times import own_times
from raysweep.core.model.parameters import Parameters
from raysweep.core.model.reasons import Reason
from tests.support.assessments import (
    ARGO_CD,
    DAY,
    DELETING,
    EXPIRED,
    IN_USE,
    JUDGED,
    KUBERAY_CLEANS,
    LATE,
    LOST,
    MINUTE,
    NOT_READY,
    RECORD,
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
    a_driver,
    a_list,
    a_namespace,
    a_policy,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_running,
    a_status_probe,
    a_submission,
    an_assessment,
    says,
)
from tests.support.decisions import (
    PASSES,
    Rows,
    assert_answers,
    boundary,
    keeps,
    probes,
    waits,
)

SECOND = timedelta(seconds=1)


def test_no_ttl() -> None:
    cluster_kept = says(ttl="1h", cluster_ttl="never")
    gone = an_assessment(rayjob=a_rayjob(cluster_name="", annotations=cluster_kept), owned=())
    record = replace(gone, rayjob=replace(gone.rayjob, annotations=says(cluster_ttl="1h")))
    policy_never = a_policy(times={"retention.rayJob.default": NEVER})
    kept = keeps(Reason.NO_TTL)
    assert_answers(
        no_ttl,
        {
            "a ttl of the RayJob": (a_job(), PASSES),
            "a retention of a policy": (
                by(sets(retention_rayJob_default=DAY), a_job(annotations={})),
                PASSES,
            ),
            "no TTL": (a_job(annotations={}), kept),
            "the retention never of a policy": (by(policy_never, a_job(annotations={})), kept),
            "cluster-ttl never keeps the RayJob too": (a_job(annotations=cluster_kept), kept),
            "cluster-ttl never of a cluster that is gone": (gone, PASSES),
            "a cluster-ttl only, and the cluster is gone": (record, kept),
        },
    )


def test_not_due() -> None:
    whole = END.replace(microsecond=0)
    truncated = a_job(end_time=whole, status_written_at=whole)
    lowered = by(sets(limits_rayJob_max=HOUR), a_job(annotations=says(ttl="1w")))
    not_ready = a_job(
        deployment_status="Initializing",
        job_status="",
        end_time=None,
        start_time=END,
        annotations={},
    )
    driver = replace(a_driver("SUCCEEDED"), end_time=DUE)
    notebook = replace(UNSUBMITTED, probe=ProbeResult(a_raycluster(), a_list(driver)))
    waits_until_due = waits(Reason.NOT_DUE, DUE)
    assert_answers(
        not_due,
        {
            **boundary("ttl 1h", a_job(), DUE, waits_until_due),
            "ttl 15s, 10s after the end": (
                at(END + 10 * SECOND, a_job(annotations=says(ttl="15"))),
                waits(Reason.NOT_DUE, END + 15 * SECOND),
            ),
            "ttl 0": (at(END, a_job(annotations=says(ttl="0"))), PASSES),
            **boundary(
                "the end is truncated to a second, so it is due a second later",
                truncated,
                DUE.replace(microsecond=0) + SECOND,
                waits(Reason.NOT_DUE, DUE.replace(microsecond=0) + SECOND),
            ),
            "the RayJob is not due before its cluster": (
                a_job(annotations=says(ttl="1h", cluster_ttl="1d")),
                waits(Reason.NOT_DUE, END + DAY),
            ),
            "its cluster is due before the RayJob": (RECORD, PASSES),
            **boundary("a limit lowers the TTL", lowered, DUE, waits_until_due),
            **boundary("never submitted", UNSUBMITTED, DUE, waits_until_due),
            **boundary("lost, since the head first did not know it", LOST, DUE, waits_until_due),
            **boundary("its cluster is not ready", NOT_READY, DUE, waits_until_due),
            **boundary(
                "its cluster is not ready, with a policy",
                by(sets(stuck_initializing=HOUR), not_ready),
                DUE,
                waits_until_due,
            ),
            "never submitted, and a notebook used its cluster until an hour ago": (
                notebook,
                waits(Reason.NOT_DUE, DUE + HOUR),
            ),
        },
    )


def test_not_due_probes_a_doubtful_end_once() -> None:
    doubtful = {"deployment_status": "Failed", "job_status": "RUNNING"}
    memory = Memory(status=("Failed", "RUNNING"), status_probes=1)
    running = a_status_probe(a_submission("RUNNING"))
    rows: Rows = {
        "KubeRay reports an end that Ray does not": (
            a_job(**doubtful),
            probes(Reason.NOT_DUE, ProbeKind.STATUS),
        ),
        "it was probed before": (
            replace(a_job(**doubtful), memory=memory),
            waits(Reason.NOT_DUE, DUE),
        ),
        "a deadline explains it": (
            a_job(**doubtful, reason="DeadlineExceeded"),
            waits(Reason.NOT_DUE, DUE),
        ),
        "the head reports the job as running": (
            probed(running, **doubtful),
            waits(Reason.STILL_RUNNING, DUE),
        ),
    }
    assert_answers(not_due, {name: (at(END, row[0]), row[1]) for name, row in rows.items()})


def test_kept_by_user() -> None:
    until = datetime.fromisoformat("2026-11-22T20:00:00Z")
    keep = {"keep_until": "2026-11-22T20:00:00Z"}
    long_keep = a_job(annotations=says(ttl="1h", keep_until="2026-12-24T18:00:00Z"))
    kept = waits(Reason.KEPT_BY_USER, until)
    assert_answers(
        kept_by_user,
        {
            "no keep-until": (a_job(), PASSES),
            "keep-until of the RayJob": (a_job(annotations=says(ttl="1h", **keep)), kept),
            **boundary(
                "keep-until of the Namespace",
                an_assessment(namespace=a_namespace(**keep)),
                until,
                kept,
            ),
            **boundary(
                "a limit of a policy ends it",
                by(sets(limits_keep_max=DAY), long_keep),
                DUE + DAY,
                waits(Reason.KEPT_BY_USER, DUE + DAY),
            ),
        },
    )


def test_not_owned() -> None:
    selects = probed(
        a_probe(cluster=a_raycluster(controller_uid="")),
        has_selector=True,
        selected_cluster="train-cluster",
    )
    older = a_raycluster(name="older", uid="uid-older")
    two_owned = an_assessment(owned=(a_raycluster(), older))
    by_operator = replace(two_owned, started_at=END)
    other_cluster = keeps(Reason.OTHER_CLUSTER)
    assert_answers(
        not_owned,
        {
            "it owns the named cluster": (a_job(), PASSES),
            "it selects a cluster": (replace(selects, owned=()), PASSES),
            "it selects a cluster, and owns one": (selects, other_cluster),
            "the named cluster has another owner": (
                probed(a_probe(cluster=a_raycluster(controller_uid="uid-other"))),
                keeps(Reason.NOT_OWNED),
            ),
            "the named cluster has no owner": (
                probed(a_probe(cluster=a_raycluster(controller_uid=""))),
                keeps(Reason.NOT_OWNED),
            ),
            "it owns another cluster too, by a fresh list": (two_owned, other_cluster),
            "it owns another cluster too, by an old list": (by_operator, PASSES),
            "a status probe confirms no cluster": (
                replace(by_operator, probe=a_status_probe()),
                PASSES,
            ),
            "a probe before a deletion confirms both": (
                replace(by_operator, probe=a_probe()),
                other_cluster,
            ),
            "the other cluster is being deleted": (
                an_assessment(owned=(a_raycluster(), replace(older, deleting=True))),
                PASSES,
            ),
            "no cluster": (an_assessment(owned=(), probe=ProbeResult(None)), PASSES),
        },
    )


def test_not_owned_keeps_a_cluster_that_kuberay_would_rebuild() -> None:
    cluster_first = says(ttl="1d", cluster_ttl="1h")
    rows: Rows = {
        "its cluster is due first, and KubeRay has not finished the job": (
            replace(UNREPORTED, rayjob=a_running(annotations=cluster_first)),
            waits(Reason.WOULD_BE_REBUILT, END + DAY),
        ),
        "and the RayJob is never due": (
            replace(UNREPORTED, rayjob=a_running(annotations=says(cluster_ttl="1h"))),
            keeps(Reason.WOULD_BE_REBUILT),
        ),
        "both are due": (UNREPORTED, PASSES),
        "Complete": (RECORD, PASSES),
        "Failed": (
            replace(RECORD, rayjob=replace(RECORD.rayjob, deployment_status="Failed")),
            PASSES,
        ),
        "ValidationFailed": (
            replace(RECORD, rayjob=replace(RECORD.rayjob, deployment_status="ValidationFailed")),
            PASSES,
        ),
    }
    assert_answers(not_owned, rows)


def test_waiting_for_kuberay() -> None:
    def kuberay_cleans(**fields: Any) -> Assessment:
        return replace(KUBERAY_CLEANS, rayjob=replace(KUBERAY_CLEANS.rayjob, **fields))

    slow = replace(KUBERAY_CLEANS, parameters=Parameters(kuberay_grace=5 * MINUTE))
    kuberay_at = DUE + 2 * SECOND
    far = a_job(
        annotations=says(ttl="5d", cluster_ttl="0"),
        kuberay_cleanup=KubeRayCleanup(shutdown=True, seconds=10 * 24 * 3600),
    )
    late = waits(Reason.WAITING_FOR_KUBERAY, kuberay_at + MINUTE)
    cluster = sets(limits_rayCluster_max=DAY)
    rayjob = sets(limits_rayJob_max=2 * DAY)
    assert_answers(
        waiting_for_kuberay,
        {
            "the spec asks nothing of KubeRay": (RECORD, PASSES),
            **boundary("KubeRay may be a minute late", KUBERAY_CLEANS, kuberay_at + MINUTE, late),
            "by a setting of five minutes": (
                at(kuberay_at + MINUTE, slow),
                waits(Reason.WAITING_FOR_KUBERAY, kuberay_at + 5 * MINUTE),
            ),
            "the RayJob is due too": (kuberay_cleans(annotations=says(ttl="1h")), PASSES),
            **boundary(
                "the RayJob becomes due before KubeRay is late",
                kuberay_cleans(annotations=says(ttl="3610s", cluster_ttl="1h")),
                END + timedelta(seconds=3610),
                waits(Reason.WAITING_FOR_KUBERAY, END + timedelta(seconds=3610)),
            ),
            "the RayJob is due too, and Argo CD would create it again": (
                kuberay_cleans(annotations={}, keys=frozenset({ARGO_CD})),
                late,
            ),
            "it selects its cluster": (kuberay_cleans(has_selector=True), PASSES),
            "its status has no end time": (kuberay_cleans(end_time=None), PASSES),
            "its spec is invalid": (kuberay_cleans(deployment_status="ValidationFailed"), PASSES),
            "it is being deleted": (kuberay_cleans(deleting_since=END), PASSES),
            **boundary(
                "not beyond a limit for clusters",
                by(cluster, far),
                END + DAY,
                waits(Reason.WAITING_FOR_KUBERAY, END + DAY),
            ),
            **boundary(
                "not beyond a limit for RayJobs",
                by(rayjob, far),
                END + 2 * DAY,
                waits(Reason.WAITING_FOR_KUBERAY, END + 2 * DAY),
            ),
        },
    )


def test_bulk_expiry_delay() -> None:
    without_ttl = own_times(a_rayjob(annotations={}))
    shortened = an_assessment(
        rayjob=a_rayjob(annotations={}),
        memory=Memory(first_finished=END, own_times=without_ttl, due_at=DUE + DAY),
    )
    first_pass = an_assessment(rayjob=a_rayjob(annotations=says(ttl="1w")), started_at=DUE)
    waits_15_minutes = waits(Reason.BULK_EXPIRY_DELAY, DUE + 15 * MINUTE)
    started = an_assessment(started_at=DUE)
    assert_answers(
        bulk_expiry_delay,
        {
            "it becomes due": (a_job(), PASSES),
            "it was not due, and a default made it due": (
                an_assessment(memory=JUDGED),
                waits_15_minutes,
            ),
            "it was due a microsecond later": (
                an_assessment(memory=replace(JUDGED, due_at=DUE + MOMENT)),
                waits_15_minutes,
            ),
            "it was due at the same time": (
                an_assessment(memory=replace(JUDGED, due_at=DUE)),
                PASSES,
            ),
            "its own times changed": (
                an_assessment(memory=replace(JUDGED, own_times=without_ttl)),
                PASSES,
            ),
            "a policy has shortened the TTL": (
                by(sets(retention_rayJob_default=HOUR), shortened),
                waits_15_minutes,
            ),
            **boundary(
                "it waits already",
                an_assessment(memory=replace(JUDGED, bulk_expiry_until=DUE + 15 * MINUTE)),
                DUE + 15 * MINUTE,
                waits_15_minutes,
            ),
            **boundary(
                "overdue at the first pass",
                an_assessment(started_at=DUE - 5 * MINUTE),
                DUE + 10 * MINUTE,
                waits(Reason.BULK_EXPIRY_DELAY, DUE + 10 * MINUTE),
            ),
            "overdue by two minutes at the first pass": (at(DUE + 2 * MINUTE, started), PASSES),
            "overdue by a microsecond more": (
                at(DUE + 2 * MINUTE + MOMENT, started),
                waits_15_minutes,
            ),
            "due by a limit at the first pass": (
                at(DUE + MOMENT, by(sets(limits_rayJob_max=HOUR), first_pass)),
                waits_15_minutes,
            ),
            "overdue at the only pass of a command": (at(LATE, a_job()), PASSES),
            "the RayJob is being deleted": (
                an_assessment(rayjob=DELETING, memory=JUDGED),
                PASSES,
            ),
        },
    )


def test_probe_head() -> None:
    kept = Memory(
        first_finished=END,
        fruitless_probes=1,
        probe_again_at=DUE + HOUR,
        kept_by_probe=decide(IN_USE).explanation,
        probed_version="100",
    )
    dry_run = replace(kept, kept_by_probe=decide(EXPIRED).explanation)
    probe = probes(Reason.EXPIRED)
    assert_answers(
        probe_head,
        {
            "it is probed": (EXPIRED, PASSES),
            "it is not probed": (a_job(), probe),
            "a status probe is not enough": (
                an_assessment(probe=a_status_probe(a_submission())),
                probe,
            ),
            "a microsecond before the next probe": (
                at(DUE + HOUR - MOMENT, an_assessment(memory=kept)),
                waits(Reason.CLUSTER_IN_USE, DUE + HOUR),
            ),
            "at the next probe": (at(DUE + HOUR, an_assessment(memory=kept)), probe),
            "the RayJob has changed since the last probe": (
                an_assessment(rayjob=a_rayjob(resource_version="101"), memory=kept),
                probe,
            ),
            "a dry run has ended": (an_assessment(memory=dry_run), probe),
            "a dry run is not probed again and again": (
                by(a_policy("stop", is_dry_run=True), an_assessment(memory=dry_run)),
                waits(Reason.EXPIRED, DUE + HOUR),
            ),
        },
    )
