"""Decisions of a sweep: without the checks of time, and with every other check."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given

from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Delete
from raysweep.core.model.facts import KubeRayCleanup, Namespace, ProbeResult
from raysweep.core.model.memory import NOTHING
from raysweep.core.model.reasons import Reason
from tests.support.assessments import MINUTE, UNSUBMITTED
from tests.support.builders import (
    END,
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
)
from tests.support.decisions import (
    CLUSTER,
    RAYJOB,
    Answer,
    answer_of,
    deletes,
    keeps,
    probes,
    waits,
)
from tests.support.strategies import any_assessments, many

NOW = END + MINUTE
BOTH = deletes(Reason.SWEPT, RAYJOB, CLUSTER)
KEEP_UNTIL = END.replace(year=2027, microsecond=0)
KEEP = {"keep_until": f"{KEEP_UNTIL:%Y-%m-%dT%H:%M:%SZ}"}
KEPT = waits(Reason.KEPT_BY_USER, KEEP_UNTIL)
INVALID = keeps(Reason.INVALID)


def _swept(probe: ProbeResult | None = None, **fields: object) -> Assessment:
    """It ended a minute ago. No TTL is set."""
    rayjob = a_rayjob(**({"annotations": {}} | fields))
    return an_assessment(now=NOW, rayjob=rayjob, probe=probe or a_probe(), swept=True)


def _limited(assessment: Assessment, namespace: Namespace | None = None) -> Assessment:
    """A policy's limits have passed."""
    limits = {"limits.keep.max": timedelta(seconds=1), "limits.rayJob.max": timedelta(seconds=1)}
    policies = (a_policy(times=limits),)
    return replace(assessment, namespace=namespace or assessment.namespace, policies=policies)


@pytest.mark.parametrize(
    ("assessment", "answer"),
    [
        pytest.param(_swept(), BOTH, id="no TTL"),
        pytest.param(_swept(annotations=says(ttl="never")), BOTH, id="a ttl of never"),
        pytest.param(
            _swept(annotations=says(ttl="1d", cluster_ttl="0")), BOTH, id="its cluster is due first"
        ),
        pytest.param(
            _swept(kuberay_cleanup=KubeRayCleanup(shutdown=True, seconds=3600)),
            BOTH,
            id="KubeRay would delete the cluster later",
        ),
        pytest.param(replace(_swept(), started_at=NOW), BOTH, id="it would wait in bulk expiry"),
        pytest.param(
            _swept(ProbeResult(None)), deletes(Reason.SWEPT, RAYJOB), id="its cluster is gone"
        ),
        pytest.param(replace(_swept(), probe=None), probes(Reason.EXPIRED), id="not probed yet"),
        pytest.param(_swept(annotations=says(**KEEP)), KEPT, id="kept"),
        pytest.param(
            _limited(_swept(annotations=says(**KEEP))), KEPT, id="kept for longer than a limit"
        ),
        pytest.param(
            _limited(_swept(), a_namespace(**KEEP)),
            KEPT,
            id="kept by its Namespace for longer than a limit",
        ),
        pytest.param(
            _limited(_swept(annotations=says(keep_until="soon"))), INVALID, id="invalid keep-until"
        ),
        pytest.param(_swept(annotations=says(ttl="soon")), INVALID, id="invalid ttl"),
        pytest.param(
            _swept(annotations=says(ttl="soon", cluster_ttl="30d")),
            INVALID,
            id="invalid ttl beside a valid cluster-ttl",
        ),
        pytest.param(
            _limited(_swept(annotations=says(tttl="1d"))), INVALID, id="an unknown key with a limit"
        ),
        pytest.param(
            replace(_swept(), namespace=a_namespace(ttl="soon")),
            INVALID,
            id="invalid ttl of its Namespace",
        ),
        pytest.param(
            _swept(deployment_status="Running", job_status="RUNNING"),
            keeps(Reason.NOT_FINISHED),
            id="running",
        ),
        pytest.param(
            replace(UNSUBMITTED, probe=ProbeResult(a_raycluster(), a_list()), swept=True),
            keeps(Reason.NOT_FINISHED),
            id="never submitted",
        ),
        pytest.param(
            _swept(suspend=True, deployment_status="Suspended"),
            keeps(Reason.SUSPENDED),
            id="suspended",
        ),
        pytest.param(
            _swept(managed_by="kueue.x-k8s.io/multikueue"),
            keeps(Reason.MANAGED_ELSEWHERE),
            id="managed elsewhere",
        ),
        pytest.param(
            _swept(namespace="kube-system"), keeps(Reason.PROTECTED_NAMESPACE), id="protected"
        ),
        pytest.param(
            _swept(deleting_since=END),
            deletes(Reason.DELETION_UNFINISHED, CLUSTER),
            id="being deleted",
        ),
        pytest.param(
            _swept(a_probe(a_driver())),
            keeps(Reason.CLUSTER_IN_USE),
            id="a driver uses its cluster",
        ),
        pytest.param(
            _swept(a_silent_probe()), keeps(Reason.HEAD_UNREACHABLE), id="its head is silent"
        ),
        pytest.param(
            _swept(a_probe(cluster=a_raycluster(controller_uid="uid-other"))),
            keeps(Reason.NOT_OWNED),
            id="its cluster has another owner",
        ),
    ],
)
def test_a_sweep(assessment: Assessment, answer: Answer) -> None:
    assert answer_of(decide(assessment)) == answer


@given(any_assessments)
@many
def test_a_sweep_deletes_only_what_has_finished_and_is_probed(assessment: Assessment) -> None:
    decision = decide(replace(assessment, swept=True, memory=NOTHING))
    if isinstance(decision, Delete):
        assert decision.explanation.outcome is not None
        assert assessment.deletion_probe is not None
        assert decision.explanation.reason in (Reason.SWEPT, Reason.DELETION_UNFINISHED)
