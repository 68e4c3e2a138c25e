"""The rows of a plan as a table, as JSON, and summed up in one line."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from raysweep.cli.common.answer_context import AnswerContext
from raysweep.cli.common.formatting import (
    EMPTY_CELL,
    Json,
    duration_text,
    relative,
    resources_json,
    resources_text,
    rfc3339,
    sum_resources,
    table,
)
from raysweep.cli.common.rayjob_row import RayJobRow, rayjob_row_json
from raysweep.cli.common.verdict import Verdict, verdict
from raysweep.core.timeline import Timeline

HEAD = ("NAMESPACE", "NAME", "DELETES", "WHEN", "REASON", "SET BY", "FREES")
WIDE = ("OUTCOME", "FINISHED", "AT", "UID", "MESSAGE")


def shown_rows(rows: Sequence[RayJobRow], *, show_all: bool) -> list[RayJobRow]:
    """The rows to print: without show_all only those of RayJobs that are deleted, or failed."""
    return [row for row in rows if show_all or row.timeline.at or row.probe_error]


def sorted_rows(rows: Iterable[RayJobRow]) -> list[RayJobRow]:
    """The rows in the order of deletion."""
    return sorted(rows, key=lambda row: row.order)


def as_table(rows: Sequence[RayJobRow], now: datetime, *, wide: bool) -> str:
    """The plan as kubectl would print it."""
    if wide:
        return table((*HEAD, *WIDE), [(*_cells(row, now), *_wide_cells(row)) for row in rows])
    return table(HEAD, [_cells(row, now) for row in rows])


def _cells(row: RayJobRow, now: datetime) -> tuple[str, ...]:
    timeline = row.timeline
    rayjob = timeline.assessment.rayjob
    return (
        rayjob.namespace,
        rayjob.name,
        "+".join(timeline.kinds) or EMPTY_CELL,
        relative(timeline.at, now) if timeline.at else "kept",
        _reason_cell(timeline),
        duration_text(*timeline.rule, rayjob.key) if timeline.rule else EMPTY_CELL,
        resources_text(timeline.frees),
    )


def _reason_cell(timeline: Timeline) -> str:
    remarks = []
    if timeline.head_not_asked:
        remarks.append("head not asked")
    if timeline.targets and timeline.assessment.dry_run_by:
        remarks.append("DryRun")
    reason = timeline.explanation.reason.value
    return f"{reason} ({', '.join(remarks)})" if remarks else reason


def _wide_cells(row: RayJobRow) -> tuple[str, ...]:
    explanation = row.timeline.explanation
    return (
        explanation.outcome or EMPTY_CELL,
        rfc3339(explanation.finished_at) or EMPTY_CELL,
        rfc3339(row.timeline.at) or EMPTY_CELL,
        row.timeline.assessment.rayjob.uid,
        row.probe_error or explanation.message,
    )


def as_json(
    context: AnswerContext,
    rows: Sequence[RayJobRow],
    shown: Sequence[RayJobRow],
    now: datetime,
    *,
    heads_asked: bool,
) -> Json:
    """The fields of a Plan."""
    by_verdict = _by_verdict(rows, now)
    return {
        **context.as_json("Plan", now),
        "headsAsked": heads_asked,
        "summary": {
            "now": len(by_verdict[Verdict.DELETE]),
            "later": len(by_verdict[Verdict.WAIT]),
            "kept": len(by_verdict[Verdict.KEEP]),
            "frees": resources_json(sum_resources(row.timeline.frees for row in rows)),
        },
        "items": [rayjob_row_json(row, now) for row in shown],
    }


def summary(rows: Sequence[RayJobRow], now: datetime) -> str:
    """`3 due now (2 without asking the Ray head), 5 later, 12 kept; frees 10 GPU, 40 CPU`."""
    by_verdict = _by_verdict(rows, now)
    due, later = by_verdict[Verdict.DELETE], by_verdict[Verdict.WAIT]
    unasked = sum(row.timeline.head_not_asked for row in due)
    remark = f" ({unasked} without asking the Ray head)" if unasked else ""
    freed = resources_text(sum_resources(row.timeline.frees for row in (*due, *later)))
    kept = len(by_verdict[Verdict.KEEP])
    return f"{len(due)} due now{remark}, {len(later)} later, {kept} kept; frees {freed}"


def _by_verdict(rows: Iterable[RayJobRow], now: datetime) -> dict[Verdict, list[RayJobRow]]:
    by_verdict: dict[Verdict, list[RayJobRow]] = {each: [] for each in Verdict}
    for row in rows:
        by_verdict[verdict(row.timeline, now)].append(row)
    return by_verdict
