"""The result of a sweep for one RayJob, before and after the deletion."""

from dataclasses import dataclass
from enum import StrEnum

from raysweep.cleanup.reconcile import Pass
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Delete, Explanation, ProbeHead, Target
from raysweep.core.model.facts import ProbeKind, RayJob, Resources
from raysweep.core.model.reasons import Reason

DRY_RUN = "DryRun"


class SweepResult(StrEnum):
    """What a sweep does with one RayJob."""

    TO_DELETE = "to delete"  # not deleted yet, or not at all with --dry-run
    DELETED = "deleted"
    GONE = "gone"  # it did not exist anymore, or its deletion has already begun
    REFUSED = "refused"  # a check keeps it, or DryRun is set
    FAILED = "failed"  # the API server returned an error
    NOT_FOUND = "not found"  # no RayJob has this name
    NOT_REACHED = "not reached"  # Ctrl-C came first


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One RayJob. targets: what is or was deleted. problem: an error of the API server."""

    namespace: str
    name: str
    result: SweepResult
    rayjob: RayJob | None = None
    explanation: Explanation | None = None
    targets: tuple[Target, ...] = ()
    dry_run_by: str = ""
    problem: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The sort key."""
        return self.namespace, self.name

    @property
    def target_names(self) -> str:
        """`RayJob train and RayCluster train-cluster`."""
        return " and ".join(f"{target.kind} {target.name}" for target in self.targets)

    @property
    def reason(self) -> str:
        """A reason of core/model/reasons.py, or `DryRun` if only that keeps the RayJob."""
        if self.dry_run_by:
            return DRY_RUN
        return self.explanation.reason.value if self.explanation else ""

    @property
    def message(self) -> str:
        """The facts behind the result."""
        if self.dry_run_by:
            return f"{self.dry_run_by} is set to DryRun, so nothing is deleted"
        if self.problem:
            return self.problem
        return self.explanation.message if self.explanation else ""

    @property
    def frees(self) -> Resources:
        """The resources that the RayCluster requests, if it is deleted."""
        deletes_cluster = any(target.kind == "RayCluster" for target in self.targets)
        return self.rayjob.desired if self.rayjob and deletes_cluster else Resources()


def needs_probe(assessment: Assessment) -> bool:
    """Whether only the Ray head can still keep the RayJob."""
    decision = decide(assessment)
    return isinstance(decision, ProbeHead) and decision.kind is ProbeKind.BEFORE_DELETION


def expected_row(assessment: Assessment) -> SweepRow:
    """What a sweep would do now."""
    rayjob, decision = assessment.rayjob, decide(assessment)
    explanation = decision.explanation
    if not isinstance(decision, Delete):
        return _kept_row(rayjob, explanation)
    if assessment.dry_run_by:
        return _dry_run_row(rayjob, explanation, assessment.dry_run_by)
    return rayjob_row(
        rayjob, SweepResult.TO_DELETE, explanation=explanation, targets=decision.targets
    )


def completed_row(completed: Pass) -> SweepRow:
    """What a sweep has deletion."""
    rayjob, deletion = completed.rayjob, completed.deletion
    explanation = completed.decision.explanation
    if not isinstance(completed.decision, Delete):
        return _kept_row(rayjob, explanation)
    if completed.dry_run_by:
        return _dry_run_row(rayjob, explanation, completed.dry_run_by)
    if deletion.stopped_by:
        result = SweepResult.FAILED
    else:
        result = SweepResult.DELETED if deletion.deleted else SweepResult.GONE
    problem = str(deletion.stopped_by or "")
    return rayjob_row(
        rayjob, result, explanation=explanation, targets=deletion.deleted, problem=problem
    )


def rayjob_row(
    rayjob: RayJob,
    result: SweepResult,
    *,
    explanation: Explanation | None = None,
    targets: tuple[Target, ...] = (),
    problem: str = "",
) -> SweepRow:
    """The row of an existing RayJob."""
    return SweepRow(
        rayjob.namespace, rayjob.name, result, rayjob, explanation, targets, problem=problem
    )


def _dry_run_row(rayjob: RayJob, explanation: Explanation, dry_run_by: str) -> SweepRow:
    return SweepRow(
        rayjob.namespace,
        rayjob.name,
        SweepResult.REFUSED,
        rayjob,
        explanation,
        dry_run_by=dry_run_by,
    )


def _kept_row(rayjob: RayJob, explanation: Explanation) -> SweepRow:
    is_gone = explanation.reason is Reason.BEING_DELETED
    result = SweepResult.GONE if is_gone else SweepResult.REFUSED
    return rayjob_row(rayjob, result, explanation=explanation)
