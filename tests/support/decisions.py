"""Compares the answers of checks with expected ones: kind, reason, time and targets, no prose."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from raysweep.core.assessment import Assessment
from raysweep.core.checks.answers import Check
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Decision, Delete, Keep, ProbeHead, Wait
from raysweep.core.model.facts import ProbeKind
from raysweep.core.model.reasons import Reason
from tests.support.assessments import at
from tests.support.builders import MOMENT

RAYJOB = "RayJob uid-train at 100"
CLUSTER = "RayCluster uid-cluster"
CLUSTER_ALONE = "RayCluster uid-cluster at 90"


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision without its message and times."""

    kind: type[Decision]
    reason: Reason
    until: datetime | None = None
    probe: ProbeKind | None = None
    targets: tuple[str, ...] = ()
    note: str = ""


PASSES: Answer | None = None
Rows = Mapping[str, tuple[Assessment, Answer | None]]
"""What a row shows, the assessment, and the answer to it."""


def keeps(reason: Reason) -> Answer:
    """The RayJob is kept."""
    return Answer(Keep, reason)


def waits(reason: Reason, until: datetime) -> Answer:
    """The RayJob is kept until a time."""
    return Answer(Wait, reason, until)


def probes(reason: Reason, kind: ProbeKind = ProbeKind.BEFORE_DELETION) -> Answer:
    """The head is probed first."""
    return Answer(ProbeHead, reason, probe=kind)


def deletes(reason: Reason, *targets: str, note: str = "") -> Answer:
    """The targets are deleted in this order."""
    return Answer(Delete, reason, targets=targets, note=note)


def answer_of(decision: Decision | None) -> Answer | None:
    """The decision without its message and times."""
    if decision is None:
        return None
    reason = decision.explanation.reason
    match decision:
        case Keep():
            return keeps(reason)
        case Wait(until=until):
            return waits(reason, until)
        case ProbeHead(kind=kind):
            return probes(reason, kind)
        case Delete(targets=targets, note=note):
            shown = (
                f"{t.kind} {t.uid} at {t.resource_version}".removesuffix(" at ") for t in targets
            )
            return deletes(reason, *shown, note=note)


def assert_answers(check: Check, rows: Rows) -> None:
    """Every row has its answer. A table shows at least one answer, and one row that passes."""
    answers = {name: answer_of(check(assessment)) for name, (assessment, _) in rows.items()}
    expected = {name: answer for name, (_, answer) in rows.items()}
    assert answers == expected


def boundary(name: str, assessment: Assessment, time: datetime, answer: Answer) -> Rows:
    """Two rows: the answer a microsecond before the time, and none at the time."""
    return {
        f"{name}, a microsecond before": (at(time - MOMENT, assessment), answer),
        f"{name}, at that time": (at(time, assessment), PASSES),
    }


def reason_of(assessment: Assessment) -> Reason:
    """The reason of the decision."""
    return decide(assessment).explanation.reason


def assert_reasons(rows: Mapping[str, tuple[Assessment, Reason]]) -> None:
    """The decision of every row has its reason."""
    reasons = {name: reason_of(assessment) for name, (assessment, _) in rows.items()}
    assert reasons == {name: reason for name, (_, reason) in rows.items()}
