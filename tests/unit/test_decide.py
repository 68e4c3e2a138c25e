"""The list of checks as a whole: its order, and what decisions in a row lead to."""

from dataclasses import replace
from datetime import timedelta

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.decide import CHECKS, SWEEP_CHECKS, decide
from raysweep.core.model.facts import HeadSilent, ProbeResult
from raysweep.core.model.parameters import Mode, Parameters
from raysweep.core.model.reasons import Reason
from raysweep.core.update_memory import update_memory
from tests.support.assessments import (
    DAY,
    DELETING,
    EXAMPLES,
    EXPIRED,
    RECORD,
    RUNS_ON,
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
    a_policy,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_submission,
    an_assessment,
    says,
)
from tests.support.decisions import answer_of, waits

FROM_ELSEWHERE = {Reason.INTERNAL_ERROR}
"""controller/reporter.py reports it when a pass fails. No check answers it."""


def test_every_reason_has_an_example() -> None:
    for reason in set(Reason) - FROM_ELSEWHERE:
        assert decide(EXAMPLES[reason]).explanation.reason is reason


def test_the_order_of_the_checks() -> None:
    assert [check.__name__ for check in CHECKS] == [
        "being_deleted",
        "protected_namespace",
        "managed_elsewhere",
        "suspended",
        "unreadable",
        "invalid",
        "not_finished",
        "no_ttl",
        "not_due",
        "kept_by_user",
        "not_owned",
        "waiting_for_kuberay",
        "bulk_expiry_delay",
        "probe_head",
        "head_silent",
        "ambiguous",
        "still_running",
        "cluster_in_use",
        "will_be_recreated",
        "bulk_expiry_limit",
        "expired",
    ]


def test_a_sweep_skips_the_checks_of_time() -> None:
    skipped = [check.__name__ for check in CHECKS if check not in SWEEP_CHECKS]
    assert skipped == [
        "no_ttl",
        "not_due",
        "waiting_for_kuberay",
        "bulk_expiry_delay",
        "bulk_expiry_limit",
    ]
    assert [check for check in CHECKS if check in SWEEP_CHECKS] == list(SWEEP_CHECKS)


KEPT = says(ttl="1h", keep_until="2027-01-01T00:00:00Z")
TWO_CLUSTERS = (a_raycluster(), a_raycluster(name="older", uid="uid-older"))


@pytest.mark.parametrize(
    ("assessment", "check"),
    [
        pytest.param(
            an_assessment(rayjob=replace(DELETING, namespace="kube-system"), owned=()),
            "being_deleted",
            id="being deleted in a protected namespace",
        ),
        pytest.param(
            an_assessment(rayjob=replace(DELETING, namespace="kube-system")),
            "protected_namespace",
            id="being deleted with its cluster left in a protected namespace",
        ),
        pytest.param(
            an_assessment(rayjob=replace(DELETING, annotations={}), probe=a_probe()),
            "no_ttl",
            id="being deleted with its cluster left, without a TTL",
        ),
        pytest.param(
            an_assessment(rayjob=DELETING, probe=a_probe(a_submission("RUNNING"))),
            "still_running",
            id="being deleted with its cluster left, and still running",
        ),
        pytest.param(
            a_job(suspend=True, deployment_status="Running", managed_by="elsewhere"),
            "managed_elsewhere",
            id="suspended and managed elsewhere",
        ),
        pytest.param(
            a_job(deployment_status="Suspended", unreadable="x"),
            "suspended",
            id="suspended and unreadable",
        ),
        pytest.param(
            a_job(unreadable="x", annotations=says(ttl="soon")),
            "unreadable",
            id="unreadable and invalid",
        ),
        pytest.param(
            at(END, a_job(annotations=says(ttl="1h", keep_until="tomorrow"))),
            "invalid",
            id="invalid and not due",
        ),
        pytest.param(
            a_job(deployment_status="Running", annotations={}),
            "not_finished",
            id="running without a TTL",
        ),
        pytest.param(at(END, a_job(annotations=KEPT)), "not_due", id="not due and kept"),
        pytest.param(
            a_job(annotations=KEPT, cluster_name="x"), "kept_by_user", id="kept and not owned"
        ),
        pytest.param(
            by(sets(stuck_stillRunning=HOUR), replace(RUNS_ON, rayjob=a_rayjob(annotations=KEPT))),
            "kept_by_user",
            id="kept and stuck by policy",
        ),
        pytest.param(
            by(
                sets(stuck_stillRunning=HOUR),
                replace(RUNS_ON, rayjob=a_rayjob(annotations=says(ttl="never"))),
            ),
            "no_ttl",
            id="a ttl of never and stuck by policy",
        ),
        pytest.param(a_job(cluster_name="x"), "not_owned", id="not owned and not probed"),
        pytest.param(
            an_assessment(
                owned=TWO_CLUSTERS, probe=ProbeResult(a_raycluster(), HeadSilent("refused"))
            ),
            "not_owned",
            id="two clusters and a silent head",
        ),
        pytest.param(
            probed(a_probe(a_submission("RUNNING"), a_driver())),
            "still_running",
            id="still running and in use",
        ),
        pytest.param(
            probed(a_probe(a_submission(), a_submission("RUNNING", "b")), job_id=""),
            "ambiguous",
            id="ambiguous and in use",
        ),
        pytest.param(EXPIRED, "expired", id="nothing keeps it"),
        pytest.param(at(DUE - MOMENT, EXPIRED), "not_due", id="only a microsecond keeps it"),
    ],
)
def test_the_first_of_several_checks_decides(assessment: Assessment, check: str) -> None:
    assert decide(assessment).explanation.check == check


def test_a_later_end_by_the_head_delays_the_deletion() -> None:
    assessment = an_assessment(probe=a_probe(a_submission(end_time=END + HOUR)))
    assert answer_of(decide(assessment)) == waits(Reason.NOT_DUE, DUE + HOUR)


def test_the_longer_ttl_counts_if_head_and_status_disagree() -> None:
    ttls = says(ttl_succeeded="1h", ttl_failed="2h")
    assessment = probed(a_probe(a_submission("FAILED")), annotations=ttls)
    decision = decide(assessment)
    assert answer_of(decision) == waits(Reason.NOT_DUE, DUE + HOUR)
    assert decision.explanation.outcome == "failed"


def test_an_explanation_has_the_times_that_decided() -> None:
    explanation = decide(RECORD).explanation
    assert explanation.ttl is not None
    assert explanation.cluster_ttl is not None
    assert (explanation.check, explanation.outcome) == ("expired", "succeeded")
    assert (explanation.finished_at, explanation.due_at) == (END, DUE)
    assert (explanation.ttl.value, explanation.cluster_ttl.value) == (timedelta(days=1), HOUR)


def test_the_record_waits_for_its_own_ttl_after_its_cluster_is_deleted() -> None:
    memory = replace(update_memory(RECORD, decide(RECORD)), cluster_gone=True)
    record = replace(RECORD, owned=(), probe=None, memory=memory)
    assert answer_of(decide(record)) == waits(Reason.NOT_DUE, END + DAY)


def test_dry_run_by() -> None:
    stop = a_policy("stop", is_dry_run=True)
    by_setting = an_assessment(parameters=Parameters(mode=Mode.DRY_RUN))
    assert an_assessment().dry_run_by == ""
    assert by_setting.dry_run_by == "the setting mode"
    assert replace(EXPIRED, policies=(a_policy(), stop)).dry_run_by == "RayJobCleanupPolicy stop"
