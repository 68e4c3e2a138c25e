"""The ladder as a whole: its order, that no guard and no reason is without a row, and what passes in a row come to."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.decide import CHECKS, decide
from raysweep.core.model.facts import HeadSilent, ProbeResult
from raysweep.core.model.reasons import Reason
from raysweep.core.update_memory import update_memory
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_driver,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_submission,
    an_assessment,
    says,
)
from tests.support.sentences import (
    BOTH,
    GOING,
    PASSES,
    RECORD,
    a_job,
    in_words,
    probed,
)
from tests.unit import test_guards_before, test_guards_due, test_guards_looked, test_guards_policies

ROWS = [
    *test_guards_before.ROWS,
    *test_guards_due.ROWS,
    *test_guards_looked.ROWS,
    *test_guards_policies.ROWS,
]
TOLD_BY_THE_SHELL = {Reason.INTERNAL_ERROR}
"""Said by controller/reporter.py where judging fails; no guard says it."""


def test_every_guard_has_a_row_that_it_keeps_and_one_that_it_lets_pass() -> None:
    speaking = {row.values[0] for row in ROWS if row.values[3] != PASSES}
    silent = {row.values[0] for row in ROWS if row.values[3] == PASSES}
    assert speaking == set(CHECKS)
    assert silent | {CHECKS[-1]} == set(CHECKS)


def test_every_reason_has_a_row() -> None:
    answers = [str(row.values[3]) for row in ROWS]
    told = {reason for reason in Reason if any(f": {reason}: " in answer for answer in answers)}
    assert told == set(Reason) - TOLD_BY_THE_SHELL


def test_the_order_of_the_ladder() -> None:
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
        "native_first",
        "backlog",
        "ask_head",
        "head_silent",
        "ambiguous",
        "still_running",
        "cluster_in_use",
        "will_be_recreated",
        "backlog_limit",
        "expired",
    ]


@pytest.mark.parametrize(
    ("assessment", "now", "check", "reason"),
    [
        pytest.param(
            an_assessment(rayjob=replace(GOING, namespace="kube-system"), owned=()),
            DUE,
            "being_deleted",
            Reason.BEING_DELETED,
            id="going, in a protected namespace",
        ),
        pytest.param(
            an_assessment(rayjob=replace(GOING, namespace="kube-system")),
            DUE,
            "protected_namespace",
            Reason.PROTECTED_NAMESPACE,
            id="going, its cluster left behind, in a protected namespace: all later guards hold for it",
        ),
        pytest.param(
            an_assessment(rayjob=replace(GOING, annotations={}), probe=a_probe()),
            DUE,
            "no_ttl",
            Reason.NO_TTL,
            id="going, its cluster left behind, without a TTL",
        ),
        pytest.param(
            an_assessment(rayjob=GOING, probe=a_probe(a_submission("RUNNING"))),
            DUE,
            "still_running",
            Reason.STILL_RUNNING,
            id="going, its cluster left behind, still running",
        ),
        pytest.param(
            a_job(suspend=True, deployment_status="Running", managed_by="elsewhere"),
            DUE,
            "managed_elsewhere",
            Reason.MANAGED_ELSEWHERE,
            id="suspended and managed elsewhere",
        ),
        pytest.param(
            a_job(deployment_status="Suspended", unreadable="x"),
            DUE,
            "suspended",
            Reason.SUSPENDED,
            id="suspended and unreadable",
        ),
        pytest.param(
            a_job(unreadable="x", annotations=says(ttl="soon")),
            DUE,
            "unreadable",
            Reason.UNREADABLE,
            id="unreadable and malformed",
        ),
        pytest.param(
            a_job(annotations=says(ttl="1h", keep_until="tomorrow")),
            END,
            "invalid",
            Reason.INVALID,
            id="malformed and not due",
        ),
        pytest.param(
            a_job(deployment_status="Running", annotations={}),
            DUE,
            "not_finished",
            Reason.NOT_FINISHED,
            id="running without a TTL",
        ),
        pytest.param(
            a_job(annotations=says(ttl="1h", keep_until="2027-01-01T00:00:00Z")),
            END,
            "not_due",
            Reason.NOT_DUE,
            id="not due and kept",
        ),
        pytest.param(
            a_job(annotations=says(ttl="1h", keep_until="2027-01-01T00:00:00Z"), cluster_name="x"),
            DUE,
            "kept_by_user",
            Reason.KEPT_BY_USER,
            id="kept and not owned",
        ),
        pytest.param(
            a_job(cluster_name="x"),
            DUE,
            "not_owned",
            Reason.OTHER_CLUSTER,
            id="another cluster: nobody is asked",
        ),
        pytest.param(
            an_assessment(
                owned=(a_raycluster(), a_raycluster(name="older", uid="uid-older")),
                probe=ProbeResult(a_raycluster(), HeadSilent("refused")),
            ),
            DUE,
            "not_owned",
            Reason.OTHER_CLUSTER,
            id="two clusters and a silent head",
        ),
        pytest.param(
            probed(a_probe(a_submission("RUNNING"), a_driver())),
            DUE,
            "still_running",
            Reason.STILL_RUNNING,
            id="both at work",
        ),
        pytest.param(
            probed(a_probe(a_submission(), a_submission("RUNNING", "b")), job_id=""),
            DUE,
            "ambiguous",
            Reason.AMBIGUOUS,
            id="ambiguous and in use",
        ),
        pytest.param(BOTH, DUE, "expired", Reason.EXPIRED, id="nothing against it"),
        pytest.param(
            BOTH, DUE - MOMENT, "not_due", Reason.NOT_DUE, id="nothing against it but a microsecond"
        ),
    ],
)
def test_of_two_guards_the_first_speaks(
    assessment: Assessment, now: datetime, check: str, reason: Reason
) -> None:
    why = decide(replace(assessment, now=now)).explanation
    assert (why.check, why.reason) == (check, reason)


def test_the_head_may_end_the_job_later_than_the_status_said_and_then_it_waits_once_more() -> None:
    assessment = an_assessment(probe=a_probe(a_submission(end_time=END + HOUR)))
    assert in_words(decide(replace(assessment, now=DUE))).startswith(
        "Wait until 22 20:00:00.250000: NotDue"
    )


def test_where_head_and_status_disagree_the_longer_time_counts() -> None:
    said = says(ttl_succeeded="1h", ttl_failed="2h")
    assessment = an_assessment(
        rayjob=a_rayjob(annotations=said, job_status="SUCCEEDED"),
        probe=a_probe(a_submission("FAILED")),
    )
    assert in_words(decide(replace(assessment, now=DUE))).startswith(
        "Wait until 22 20:00:00.250000: NotDue: failed"
    )


def test_an_explanation_carries_the_times_it_reckoned_with() -> None:
    why = decide(replace(RECORD, now=DUE)).explanation
    assert why.ttl is not None
    assert why.cluster_ttl is not None
    told = (
        why.check,
        why.outcome,
        why.finished_at,
        why.due_at,
        why.ttl.value,
        why.cluster_ttl.value,
    )
    assert told == ("expired", "succeeded", END, DUE, timedelta(days=1), HOUR)


def test_after_its_cluster_went_the_record_waits_for_its_own_time() -> None:
    memory = update_memory(replace(RECORD, now=DUE), decide(replace(RECORD, now=DUE)))
    record = replace(RECORD, owned=(), probe=None, memory=replace(memory, cluster_gone=True))
    assert in_words(decide(replace(record, now=DUE))).startswith(
        "Wait until 23 18:00:00.250000: NotDue"
    )
