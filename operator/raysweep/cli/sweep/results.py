"""What becomes of each RayJob of a sweep, and what came of it: rows, a table, JSON. Nothing is asked or deleted here."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from raysweep.cleanup.reconcile import Pass
from raysweep.cli.common.formatting import (
    API_VERSION,
    NOTHING,
    Json,
    resources_json,
    resources_text,
    rfc3339,
    safe,
    sum_resources,
    table,
)
from raysweep.cli.common.options import EXIT_FAILED, EXIT_OK, EXIT_SOMETHING_STAYS
from raysweep.core.assessment import Assessment
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Delete, Explanation, ProbeHead, Target
from raysweep.core.model.facts import ProbeKind, RayJob, Resources
from raysweep.core.model.reasons import Reason

HEAD = ("NAMESPACE", "NAME", "WHAT", "RESULT", "REASON", "EVIDENCE", "FREES")
WIDE = ("OUTCOME", "FINISHED", "UID")
DRY_RUN = "DryRun"


class Result(StrEnum):
    """What becomes of one RayJob."""

    GOES = "goes"  # it would, if nothing changes
    DELETED = "deleted"
    GONE = "gone"  # without us: it was not there any more, or is on its way already
    REFUSED = "refused"  # a guard keeps it, or something is on DryRun
    FAILED = "failed"  # the API server did not do what it was asked
    NOT_FOUND = "not found"  # there is no RayJob of that name
    NOT_REACHED = "not reached"  # Ctrl-C came first


@dataclass(frozen=True, slots=True)
class Row:
    """One RayJob. targets: what goes or went; problem: the API server's words."""

    namespace: str
    name: str
    result: Result
    rayjob: RayJob | None = None
    explanation: Explanation | None = None
    targets: tuple[Target, ...] = ()
    dry_run_by: str = ""
    problem: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """By which rows are sorted."""
        return self.namespace, self.name

    @property
    def what(self) -> str:
        """`RayJob train and RayCluster train-cluster`."""
        return " and ".join(f"{target.kind} {target.name}" for target in self.targets)

    @property
    def reason(self) -> str:
        """The word of core/model/reasons.py; DryRun, which is a mode, where that alone is in the way."""
        if self.dry_run_by:
            return DRY_RUN
        return self.explanation.reason.value if self.explanation else ""

    @property
    def message(self) -> str:
        """What that rests on."""
        if self.dry_run_by:
            return f"{self.dry_run_by} is on DryRun, so nothing is deleted"
        return self.problem or (self.explanation.message if self.explanation else "")

    @property
    def frees(self) -> Resources:
        """What its RayCluster asks for, where that goes."""
        is_cluster = any(target.kind == "RayCluster" for target in self.targets)
        return self.rayjob.desired if self.rayjob and is_cluster else Resources()


def wants_head(assessment: Assessment) -> bool:
    """Whether nothing speaks against it but, perhaps, its head."""
    decision = decide(assessment)
    return isinstance(decision, ProbeHead) and decision.kind is ProbeKind.BEFORE_DELETION


def foreseen(assessment: Assessment, failed: str = "") -> Row:
    """What would come of sweeping it now. failed: explanation its cluster and head could not be looked at."""
    if failed:
        return of(assessment.rayjob, Result.FAILED, problem=failed)
    decision = decide(assessment)
    if not isinstance(decision, Delete):
        return _stays(assessment.rayjob, decision.explanation)
    if assessment.dry_run_by:
        return of(
            assessment.rayjob,
            Result.REFUSED,
            explanation=decision.explanation,
            dry_run_by=assessment.dry_run_by,
        )
    return of(
        assessment.rayjob, Result.GOES, explanation=decision.explanation, targets=decision.targets
    )


def came_of(found: Pass) -> Row:
    """What came of a sweep of it."""
    job, explanation, done = found.rayjob, found.decision.explanation, found.deletion
    if not isinstance(found.decision, Delete):
        return _stays(job, explanation)
    if found.dry_run_by:
        return of(job, Result.REFUSED, explanation=explanation, dry_run_by=found.dry_run_by)
    if done.stopped_by:
        return of(
            job,
            Result.FAILED,
            explanation=explanation,
            targets=done.deleted,
            problem=str(done.stopped_by),
        )
    return of(
        job,
        Result.DELETED if done.deleted else Result.GONE,
        explanation=explanation,
        targets=done.deleted,
    )


def of(
    job: RayJob,
    result: Result,
    *,
    explanation: Explanation | None = None,
    targets: tuple[Target, ...] = (),
    dry_run_by: str = "",
    problem: str = "",
) -> Row:
    """The row of a RayJob that is known."""
    return Row(
        job.namespace,
        job.name,
        result,
        job,
        explanation,
        targets,
        dry_run_by=dry_run_by,
        problem=problem,
    )


def _stays(job: RayJob, explanation: Explanation) -> Row:
    """What is on its way already needs nobody's deletion."""
    return of(
        job,
        Result.GONE if explanation.reason is Reason.BEING_DELETED else Result.REFUSED,
        explanation=explanation,
    )


def as_table(rows: Iterable[Row], *, wide: bool) -> str:
    """As kubectl would print it."""
    return table(
        (*HEAD, *WIDE) if wide else HEAD,
        ((*_cells(row), *(_wide_cells(row) if wide else ())) for row in rows),
    )


def _cells(row: Row) -> tuple[str, ...]:
    kinds = "+".join(target.kind for target in row.targets)
    return (
        row.namespace,
        row.name,
        kinds or NOTHING,
        row.result,
        row.reason,
        row.message,
        resources_text(row.frees),
    )


def _wide_cells(row: Row) -> tuple[str, ...]:
    outcome = row.explanation.outcome if row.explanation else None
    return (
        outcome or NOTHING,
        rfc3339(row.explanation.finished_at if row.explanation else None) or NOTHING,
        row.rayjob.uid if row.rayjob else "",
    )


def question(rows: Iterable[Row]) -> str:
    """`Delete 3 RayJobs and 2 RayClusters in namespace team-a?`"""
    going = [row for row in rows if row.result is Result.GOES]
    counted = Counter(target.kind for row in going for target in row.targets)
    what = " and ".join(
        f"{counted[kind]} {kind}{'s' * (counted[kind] > 1)}"
        for kind in ("RayJob", "RayCluster")
        if counted[kind]
    )
    where = sorted({row.namespace for row in going})
    return f"Delete {what} in namespace{'s' * (len(where) > 1)} {', '.join(where)}?"


def summary(rows: Sequence[Row]) -> str:
    """`2 deleted, 1 refused; frees 4 GPU, 16 CPU, 64Gi`."""
    counted = Counter(row.result for row in rows)
    told = ", ".join(f"{counted[result]} {result}" for result in Result if counted[result])
    return f"{told or 'nothing to sweep'}; frees {resources_text(sum_resources(row.frees for row in rows))}"


def exit_code(rows: Iterable[Row]) -> int:
    """Whether all that was asked for goes."""
    results = {row.result for row in rows}
    if Result.FAILED in results:
        return EXIT_FAILED
    stays = results & {Result.REFUSED, Result.NOT_FOUND, Result.NOT_REACHED}
    return EXIT_SOMETHING_STAYS if stays else EXIT_OK


@dataclass(frozen=True, slots=True)
class About:
    """What a sweep is about: where it was made, of what, and by whose settings."""

    server: str
    namespace: str
    selector: str | None
    settings: str
    mode: str
    dry_run: bool = False
    interrupted: bool = False


def as_json(about: About, rows: Sequence[Row], now: datetime) -> Json:
    """docs/reference/json.md describes it field by field, and a test holds the two together."""
    counted = Counter(row.result for row in rows)
    return {
        "apiVersion": API_VERSION,
        "kind": "Sweep",
        "generatedAt": rfc3339(now),
        "server": about.server,
        "namespace": about.namespace or None,
        "selector": about.selector,
        "settings": about.settings,
        "mode": about.mode,
        "dryRun": about.dry_run,
        "interrupted": about.interrupted,
        "summary": {
            **{_field(result): counted[result] for result in Result},
            "frees": resources_json(sum_resources(row.frees for row in rows)),
        },
        "items": [_row_json(row) for row in rows],
    }


def _field(result: Result) -> str:
    first, *rest = result.split()
    return first + "".join(word.capitalize() for word in rest)


def _row_json(row: Row) -> Json:
    explanation = row.explanation
    is_refused = row.result is Result.REFUSED and not row.dry_run_by
    return {
        "namespace": row.namespace,
        "name": row.name,
        "uid": row.rayjob.uid if row.rayjob else None,
        "result": row.result.value,
        "deletes": [
            {"kind": target.kind, "name": target.name, "uid": target.uid} for target in row.targets
        ],
        "reason": row.reason or None,
        "message": safe(row.message) or None,
        "hint": explanation.reason.hint if explanation and is_refused else None,
        "problem": safe(row.problem) or None,
        "outcome": explanation.outcome.value if explanation and explanation.outcome else None,
        "finishedAt": rfc3339(explanation.finished_at) if explanation else None,
        "frees": resources_json(row.frees),
        "dryRunBy": row.dry_run_by or None,
    }
