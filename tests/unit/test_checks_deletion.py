"""The last checks, and what a deletion deletes, notes and is called."""

from dataclasses import replace
from datetime import timedelta

from raysweep.core.assessment import Assessment
from raysweep.core.checks.deletion import bulk_expiry_limit, expired, will_be_recreated
from raysweep.core.model.facts import KubeRayCleanup, ProbeResult
from raysweep.core.model.parameters import Parameters
from raysweep.core.model.reasons import Reason
from tests.support.assessments import (
    ARGO_CD,
    BLOCKED,
    DELETING,
    EXAMPLES,
    EXPIRED,
    LATE,
    MINUTE,
    RECORD,
    TRACKED,
    at,
    probed,
)
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    a_list,
    a_namespace,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_submission,
    an_assessment,
    an_interactive,
    says,
)
from tests.support.decisions import (
    CLUSTER,
    CLUSTER_ALONE,
    PASSES,
    RAYJOB,
    Answer,
    Rows,
    assert_answers,
    boundary,
    deletes,
    keeps,
    waits,
)

INSTANCE = "app.kubernetes.io/instance"
KEPT = keeps(Reason.WILL_BE_RECREATED)


def _by_default(**fields: object) -> Assessment:
    """It is due by its Namespace, and probed."""
    return replace(
        EXPIRED, rayjob=a_rayjob(annotations={}, **fields), namespace=a_namespace(ttl="1h")
    )


def test_will_be_recreated_keeps_the_rayjob_and_deletes_its_cluster() -> None:
    instance = replace(
        _by_default(keys=frozenset({INSTANCE})),
        parameters=Parameters(recreated_by=frozenset({INSTANCE})),
    )
    recreated = {
        "Argo CD": _by_default(keys=frozenset({ARGO_CD, "example.com/other"})),
        "Flux Kustomize": _by_default(keys=frozenset({"kustomize.toolkit.fluxcd.io/name"})),
        "Flux Helm": _by_default(keys=frozenset({"helm.toolkit.fluxcd.io/name"})),
        "the setting": instance,
        "a Workflow of no known group": _by_default(controller_kind="Workflow"),
    }
    cluster_alone = deletes(Reason.EXPIRED, CLUSTER_ALONE)
    for name, assessment in recreated.items():
        without_cluster = replace(assessment, probe=ProbeResult(None), owned=())
        rows: Rows = {
            f"{name}, without a cluster": (without_cluster, KEPT),
            f"{name}, with a cluster": (assessment, cluster_alone),
        }
        assert_answers(will_be_recreated, rows)


def test_will_be_recreated() -> None:
    def tracked(**annotations: str) -> Assessment:
        rayjob = replace(TRACKED.rayjob, annotations=says(**annotations))
        return replace(TRACKED, rayjob=rayjob, probe=a_probe())

    tracked_keys = frozenset({ARGO_CD})
    unsubmitted = an_assessment(
        rayjob=an_interactive(keys=tracked_keys), probe=ProbeResult(a_raycluster(), a_list())
    )
    ray_cron_job = {"controller_kind": "RayCronJob"}
    swept = replace(probed(a_probe(), keys=tracked_keys, annotations={}), swept=True)
    assert_answers(
        will_be_recreated,
        {
            "no tool tracks it": (EXPIRED, PASSES),
            "tracked, with a ttl of its own": (tracked(ttl="1h"), PASSES),
            "tracked, with a ttl of its own for the outcome": (
                tracked(ttl_succeeded="1h"),
                PASSES,
            ),
            "tracked, with a ttl for another outcome": (
                tracked(ttl_failed="1h", cluster_ttl="never"),
                KEPT,
            ),
            "tracked, with a cluster-ttl only": (tracked(cluster_ttl="1d"), KEPT),
            "tracked and never submitted: KubeRay would rebuild the cluster": (unsubmitted, KEPT),
            "tracked and being deleted": (
                probed(a_probe(), deleting_since=END, keys=tracked_keys),
                PASSES,
            ),
            "a label that many tools set": (
                probed(a_probe(), keys=frozenset({INSTANCE})),
                PASSES,
            ),
            "created by a RayCronJob": (probed(a_probe(), **ray_cron_job), PASSES),
            **boundary(
                "two minutes after the time of a RayCronJob",
                probed(a_probe(), **ray_cron_job, cron_tick=DUE),
                DUE + 2 * MINUTE,
                waits(Reason.WILL_BE_RECREATED, DUE + 2 * MINUTE),
            ),
            "a sweep deletes both or nothing": (at(LATE, swept), KEPT),
        },
    )


def test_bulk_expiry_limit() -> None:
    assert_answers(
        bulk_expiry_limit,
        {
            "101 RayJobs wait": (BLOCKED, keeps(Reason.BULK_EXPIRY_BLOCKED)),
            "100 RayJobs wait": (replace(BLOCKED, bulk_expiry_size=100), PASSES),
            "its due time was not moved": (replace(EXPIRED, bulk_expiry_size=101), PASSES),
        },
    )


def test_expired_deletes() -> None:
    both = deletes(Reason.EXPIRED, RAYJOB, CLUSTER)
    rayjob_alone = deletes(Reason.EXPIRED, RAYJOB)
    deadline = probed(a_probe(a_submission("RUNNING")), reason="DeadlineExceeded")
    deleting = probed(a_probe(cluster=a_raycluster(deleting=True)))
    assert_answers(
        expired,
        {
            "both, the RayJob first": (EXPIRED, both),
            "the RayJob, if its cluster is gone": (
                an_assessment(owned=(), probe=ProbeResult(None)),
                rayjob_alone,
            ),
            "the RayJob, if its cluster is being deleted": (deleting, rayjob_alone),
            "its cluster, if the RayJob stays as the record": (
                RECORD,
                deletes(Reason.EXPIRED, CLUSTER_ALONE),
            ),
            "the cluster of a RayJob that waits for its finalizer": (
                an_assessment(rayjob=DELETING, probe=a_probe()),
                deletes(Reason.DELETION_UNFINISHED, CLUSTER),
            ),
            "a job that runs on after a deadline": (deadline, both),
        },
    )


def test_expired_never_deletes_a_selected_cluster() -> None:
    for owner in ("", "uid-train", "uid-other"):
        probe = a_probe(cluster=a_raycluster(controller_uid=owner))
        for annotations in (says(ttl="1h"), says(ttl="1d", cluster_ttl="1h")):
            assessment = probed(probe, has_selector=True, annotations=annotations)
            rows = {owner: (at(LATE, assessment), deletes(Reason.EXPIRED, RAYJOB))}
            assert_answers(expired, rows)


def test_expired_is_called_by_what_allows_it() -> None:
    reasons = (
        Reason.SWEPT,
        Reason.UNCONFIRMED,
        Reason.FINISHED_UNREPORTED,
        Reason.NEVER_SUBMITTED,
        Reason.JOB_LOST,
        Reason.STUCK_INITIALIZING,
        Reason.STUCK_RUNNING,
        Reason.STUCK_IN_USE,
        Reason.STUCK_UNREACHABLE,
    )
    rows: Rows = {
        str(reason): (EXAMPLES[reason], deletes(reason, RAYJOB, CLUSTER)) for reason in reasons
    }
    assert_answers(expired, rows)
    cleanup = KubeRayCleanup(shutdown=True)
    missed = replace(RECORD, rayjob=replace(RECORD.rayjob, kuberay_cleanup=cleanup))
    answer = deletes(Reason.KUBERAY_CLEANUP_MISSED, CLUSTER_ALONE)
    assert_answers(expired, {"KubeRay is late": (missed, answer)})


def test_expired_notes_what_only_the_head_knows() -> None:
    def ended(status: str, later: timedelta | None) -> Assessment:
        end_time = None if later is None else END + later
        return replace(
            at(DUE + HOUR, RECORD), probe=a_probe(a_submission(status, end_time=end_time))
        )

    def noted(note: str) -> Answer:
        return deletes(Reason.EXPIRED, CLUSTER_ALONE, note=note)

    both = probed(a_probe(a_submission("SUCCEEDED", end_time=END + MINUTE)))
    assert_answers(
        expired,
        {
            "nothing more": (ended("SUCCEEDED", timedelta()), noted("")),
            "an earlier end": (ended("SUCCEEDED", -MINUTE), noted("")),
            "no end": (ended("SUCCEEDED", None), noted("")),
            "a later end": (ended("SUCCEEDED", MINUTE), noted("succeeded 2026-11-22T18:01:00Z")),
            "another outcome": (ended("FAILED", timedelta()), noted("failed 2026-11-22T18:00:00Z")),
            "a later end, if the RayJob is deleted too": (
                at(LATE, both),
                deletes(Reason.EXPIRED, RAYJOB, CLUSTER),
            ),
        },
    )
