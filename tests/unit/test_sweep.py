"""A person's sweep: the ladder without its rungs about time; every other guard holds."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given

from raysweep.core.assessment import Assessment
from raysweep.core.checks.deletion import bulk_expiry_limit
from raysweep.core.checks.timing import bulk_expiry_delay, no_ttl, not_due, waiting_for_kuberay
from raysweep.core.decide import CHECKS, SWEEP_CHECKS, decide
from raysweep.core.model.decisions import Delete
from raysweep.core.model.facts import KubeRayCleanup, Namespace, ProbeResult
from raysweep.core.model.memory import NOTHING
from raysweep.core.model.reasons import Reason
from tests.support.assessments import UNSUBMITTED
from tests.support.builders import (
    END,
    HOUR,
    a_driver,
    a_list,
    a_namespace,
    a_policy,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_silent_probe,
    an_assessment,
    says,
)  # fmt: skip
from tests.support.strategies import any_assessments, many

NOW = END + HOUR / 60
SWEPT = "Delete RayJob and RayCluster: Swept"


def _swept(probe: ProbeResult | None = None, **fields: object) -> Assessment:
    fields = {"annotations": {}, **fields}
    return an_assessment(
        rayjob=a_rayjob(**fields), namespace=a_namespace(), probe=probe or a_probe(), swept=True
    )


def _told(assessment: Assessment) -> str:
    decision = decide(replace(assessment, now=NOW))
    if isinstance(decision, Delete):
        return f"Delete {' and '.join(target.kind for target in decision.targets)}: {decision.explanation.reason}"
    return f"{type(decision).__name__}: {decision.explanation.reason}"


KEEP = {"keep_until": "2026-12-24T00:00:00Z"}
KEPT = says(**KEEP)


def _bounded(assessment: Assessment, namespace: Namespace | None = None) -> Assessment:
    """Under a policy whose limits are over already."""
    limits = {"limits.keep.max": timedelta(seconds=1), "limits.rayJob.max": timedelta(seconds=1)}
    return replace(
        assessment, namespace=namespace or assessment.namespace, policies=(a_policy(times=limits),)
    )


ROWS = [
    pytest.param(_swept(), SWEPT, id="nobody has set a TTL"),
    pytest.param(_swept(annotations=says(ttl="never")), SWEPT, id="its TTL is never"),
    pytest.param(
        _swept(annotations=says(ttl="1d", cluster_ttl="0")),
        SWEPT,
        id="its cluster alone would go now: both do",
    ),
    pytest.param(
        _swept(kuberay_cleanup=KubeRayCleanup(shutdown=True, seconds=3600)),
        SWEPT,
        id="KubeRay would delete the cluster later",
    ),
    pytest.param(replace(_swept(), started_at=NOW), SWEPT, id="it would wait in the backlog"),
    pytest.param(_swept(ProbeResult(None)), "Delete RayJob: Swept", id="its cluster is gone"),
    pytest.param(
        replace(_swept(), probe=None), "ProbeHead: Expired", id="but never without asking its head"
    ),
    pytest.param(
        _swept(annotations=says(keep_until="2026-12-24T00:00:00Z")), "Wait: KeptByUser", id="kept"
    ),
    pytest.param(
        _bounded(_swept(annotations=KEPT)),
        "Wait: KeptByUser",
        id="kept for longer than a limit lets the operator",
    ),
    pytest.param(
        _bounded(_swept(), a_namespace(**KEEP)),
        "Wait: KeptByUser",
        id="its Namespace is kept likewise",
    ),
    pytest.param(
        _bounded(_swept(annotations=says(keep_until="soon"))),
        "Keep: Invalid",
        id="kept until nobody knows when",
    ),
    pytest.param(_swept(annotations=says(ttl="soon")), "Keep: Invalid", id="invalid"),
    pytest.param(
        _swept(annotations=says(ttl="soon", cluster_ttl="30d")),
        "Keep: Invalid",
        id="one of two times malformed",
    ),
    pytest.param(
        _bounded(_swept(annotations=says(tttl="1d"))),
        "Keep: Invalid",
        id="an unknown key that limits bound",
    ),
    pytest.param(
        replace(_swept(), namespace=a_namespace(ttl="soon")),
        "Keep: Invalid",
        id="malformed on its Namespace",
    ),
    pytest.param(
        _swept(deployment_status="Running", job_status="RUNNING"), "Keep: NotFinished", id="running"
    ),
    pytest.param(
        replace(UNSUBMITTED, probe=ProbeResult(a_raycluster(), a_list()), swept=True),
        "Keep: NotFinished",
        id="never submitted",
    ),
    pytest.param(
        _swept(suspend=True, deployment_status="Suspended"), "Keep: Suspended", id="suspended"
    ),
    pytest.param(
        _swept(managed_by="kueue.x-k8s.io/multikueue"),
        "Keep: ManagedElsewhere",
        id="managed elsewhere",
    ),
    pytest.param(_swept(namespace="kube-system"), "Keep: ProtectedNamespace", id="protected"),
    pytest.param(
        _swept(deleting_since=END, annotations={}),
        "Delete RayCluster: DeletionUnfinished",
        id="on its way out already",
    ),
    pytest.param(
        _swept(a_probe(a_driver(status="RUNNING"))),
        "Keep: ClusterInUse",
        id="a notebook in its cluster",
    ),
    pytest.param(_swept(a_silent_probe()), "Keep: HeadUnreachable", id="its head is silent"),
    pytest.param(
        _swept(a_probe(cluster=a_raycluster(controller_uid="uid-other"))),
        "Keep: NotOwned",
        id="somebody else's cluster",
    ),
]


@pytest.mark.parametrize(("assessment", "told"), ROWS)
def test_what_a_sweep_comes_to(assessment: Assessment, told: str) -> None:
    assert _told(assessment) == told


def test_the_rungs_that_a_sweep_leaves_out() -> None:
    assert set(CHECKS) - set(SWEEP_CHECKS) == {
        no_ttl,
        not_due,
        waiting_for_kuberay,
        bulk_expiry_delay,
        bulk_expiry_limit,
    }
    assert [check for check in CHECKS if check in SWEEP_CHECKS] == list(SWEEP_CHECKS)


@given(any_assessments)
@many
def test_what_a_sweep_deletes_has_finished_and_a_head_was_asked(
    assessment: Assessment,
) -> None:
    decision = decide(replace(assessment, swept=True, memory=NOTHING))
    if isinstance(decision, Delete):
        assert decision.explanation.outcome is not None
        assert assessment.probe is not None
        assert decision.explanation.reason in (Reason.SWEPT, Reason.DELETION_UNFINISHED)
