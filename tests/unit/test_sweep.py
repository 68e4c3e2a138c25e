"""A person's sweep: the ladder without its rungs about time; every other guard holds."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given

from raysweep.core.assessment import Case
from raysweep.core.checks.head import backlog_limit
from raysweep.core.checks.timing import backlog, native_first, no_ttl, not_due
from raysweep.core.decide import LADDER, SWEEP, decide
from raysweep.core.model.decisions import Delete
from raysweep.core.model.facts import Look, Namespace, NativeCleanup
from raysweep.core.model.memory import NOTHING
from raysweep.core.model.reasons import Reason
from tests.support.builders import (
    END,
    HOUR,
    a_case,
    a_driver,
    a_list,
    a_look,
    a_namespace,
    a_policy,
    a_raycluster,
    a_rayjob,
    a_silent_look,
    says,
)  # fmt: skip
from tests.support.sentences import NOT_SUBMITTED
from tests.unit.test_properties import any_cases, many, moments

NOW = END + HOUR / 60
SWEPT = "Delete RayJob and RayCluster: Swept"


def _swept(look: Look | None = None, **fields: object) -> Case:
    fields = {"annotations": {}, **fields}
    return a_case(rayjob=a_rayjob(**fields), namespace=a_namespace(), look=look or a_look(), swept=True)


def _told(case: Case) -> str:
    decision = decide(case, NOW)
    if isinstance(decision, Delete):
        return f"Delete {' and '.join(target.kind for target in decision.targets)}: {decision.why.reason}"
    return f"{type(decision).__name__}: {decision.why.reason}"


KEEP = {"keep_until": "2026-12-24T00:00:00Z"}
KEPT = says(**KEEP)


def _bounded(case: Case, namespace: Namespace | None = None) -> Case:
    """Under a policy whose limits are over already."""
    limits = {"limits.keep.max": timedelta(seconds=1), "limits.rayJob.max": timedelta(seconds=1)}
    return replace(case, namespace=namespace or case.namespace, policies=(a_policy(times=limits),))


ROWS = [
    pytest.param(_swept(), SWEPT, id="nobody has set a TTL"),
    pytest.param(_swept(annotations=says(ttl="never")), SWEPT, id="its TTL is never"),
    pytest.param(_swept(annotations=says(ttl="1d", cluster_ttl="0")), SWEPT, id="its cluster alone would go now: both do"),
    pytest.param(_swept(native=NativeCleanup(shutdown=True, seconds=3600)), SWEPT, id="KubeRay would delete the cluster later"),
    pytest.param(replace(_swept(), started_at=NOW), SWEPT, id="it would wait in the backlog"),
    pytest.param(_swept(Look(None)), "Delete RayJob: Swept", id="its cluster is gone"),
    pytest.param(replace(_swept(), look=None), "AskHead: Expired", id="but never without asking its head"),
    pytest.param(_swept(annotations=says(keep_until="2026-12-24T00:00:00Z")), "Wait: KeptByUser", id="kept"),
    pytest.param(_bounded(_swept(annotations=KEPT)), "Wait: KeptByUser", id="kept for longer than a limit lets the operator"),
    pytest.param(_bounded(_swept(), a_namespace(**KEEP)), "Wait: KeptByUser", id="its Namespace is kept likewise"),
    pytest.param(_bounded(_swept(annotations=says(keep_until="soon"))), "Keep: Malformed", id="kept until nobody knows when"),
    pytest.param(_swept(annotations=says(ttl="soon")), "Keep: Malformed", id="malformed"),
    pytest.param(_swept(annotations=says(ttl="soon", cluster_ttl="30d")), "Keep: Malformed", id="one of two times malformed"),
    pytest.param(_bounded(_swept(annotations=says(tttl="1d"))), "Keep: Malformed", id="an unknown key that limits bound"),
    pytest.param(replace(_swept(), namespace=a_namespace(ttl="soon")), "Keep: Malformed", id="malformed on its Namespace"),
    pytest.param(_swept(deployment_status="Running", job_status="RUNNING"), "Keep: NotFinished", id="running"),
    pytest.param(
        replace(NOT_SUBMITTED, look=Look(a_raycluster(), a_list()), swept=True), "Keep: NotFinished", id="never submitted"
    ),
    pytest.param(_swept(suspend=True, deployment_status="Suspended"), "Keep: Suspended", id="suspended"),
    pytest.param(_swept(managed_by="kueue.x-k8s.io/multikueue"), "Keep: ManagedElsewhere", id="managed elsewhere"),
    pytest.param(_swept(namespace="kube-system"), "Keep: ProtectedNamespace", id="protected"),
    pytest.param(
        _swept(deleting_since=END, annotations={}), "Delete RayCluster: DeletionUnfinished", id="on its way out already"
    ),
    pytest.param(_swept(a_look(a_driver(status="RUNNING"))), "Keep: ClusterInUse", id="a notebook in its cluster"),
    pytest.param(_swept(a_silent_look()), "Keep: HeadUnreachable", id="its head is silent"),
    pytest.param(
        _swept(a_look(cluster=a_raycluster(controller_uid="uid-other"))), "Keep: NotOwned", id="somebody else's cluster"
    ),
]


@pytest.mark.parametrize(("case", "told"), ROWS)
def test_what_a_sweep_comes_to(case: Case, told: str) -> None:
    assert _told(case) == told


def test_the_rungs_that_a_sweep_leaves_out() -> None:
    assert set(LADDER) - set(SWEEP) == {no_ttl, not_due, native_first, backlog, backlog_limit}
    assert [guard for guard in LADDER if guard in SWEEP] == list(SWEEP)


@given(any_cases, moments)
@many
def test_what_a_sweep_deletes_has_finished_and_a_head_was_asked(case: Case, now: datetime) -> None:
    swept = replace(case, swept=True, memory=NOTHING)
    decision = decide(swept, now)
    if isinstance(decision, Delete):
        assert decision.why.outcome is not None
        assert case.look is not None
        assert decision.why.reason in (Reason.SWEPT, Reason.DELETION_UNFINISHED)
