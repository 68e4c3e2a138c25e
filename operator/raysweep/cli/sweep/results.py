"""The rows of a sweep as a table, as JSON, as a question, and summed up in one line."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

import click

from raysweep.cli.common.answer_context import AnswerContext
from raysweep.cli.common.formatting import (
    EMPTY_CELL,
    Json,
    resources_json,
    resources_text,
    rfc3339,
    safe,
    serialized,
    sum_resources,
    table,
)
from raysweep.cli.common.options import EXIT_FAILED, EXIT_NOT_ALL_DELETED, EXIT_OK
from raysweep.cli.common.rayjob_row import target_json
from raysweep.cli.common.session import Session
from raysweep.cli.common.sweep_row import SweepResult, SweepRow

HEAD = ("NAMESPACE", "NAME", "DELETES", "RESULT", "REASON", "MESSAGE", "FREES")
WIDE = ("OUTCOME", "FINISHED", "UID")
KEPT = {SweepResult.REFUSED, SweepResult.NOT_FOUND, SweepResult.NOT_REACHED}


def print_rows(
    session: Session,
    rows: Sequence[SweepRow],
    *,
    dry_run: bool = False,
    interrupted: bool = False,
) -> None:
    """Prints the rows in the output format of the command, and the summary."""
    output = session.options.output
    is_for_people = output in ("table", "wide")
    if output in ("json", "yaml"):
        context, now = AnswerContext.of(session), session.now()
        body = as_json(context, rows, now, dry_run=dry_run, interrupted=interrupted)
        click.echo(serialized(body, output))
    elif output == "name":
        for row in rows:
            if row.result in (SweepResult.TO_DELETE, SweepResult.DELETED):
                for target in row.targets:
                    click.echo(f"{target.kind.lower()}.ray.io/{target.name}")
    elif rows:
        click.echo(as_table(rows, wide=output == "wide"))
    click.echo(f"{session.scope}: {summary(rows)}", err=not is_for_people)


def sorted_rows(rows: Iterable[SweepRow]) -> list[SweepRow]:
    """The rows by namespace and name."""
    return sorted(rows, key=lambda row: row.key)


def as_table(rows: Iterable[SweepRow], *, wide: bool) -> str:
    """The rows as kubectl would print them."""
    if wide:
        return table((*HEAD, *WIDE), [(*_cells(row), *_wide_cells(row)) for row in rows])
    return table(HEAD, map(_cells, rows))


def _cells(row: SweepRow) -> tuple[str, ...]:
    kinds = "+".join(target.kind for target in row.targets)
    return (
        row.namespace,
        row.name,
        kinds or EMPTY_CELL,
        row.result,
        row.reason,
        row.message,
        resources_text(row.frees),
    )


def _wide_cells(row: SweepRow) -> tuple[str, ...]:
    uid = row.rayjob.uid if row.rayjob else ""
    if row.explanation is None:
        return EMPTY_CELL, EMPTY_CELL, uid
    finished_at = rfc3339(row.explanation.finished_at)
    return row.explanation.outcome or EMPTY_CELL, finished_at or EMPTY_CELL, uid


def question(rows: Iterable[SweepRow]) -> str:
    """`Delete 3 RayJobs and 2 RayClusters in namespace team-a?`"""
    to_delete = [row for row in rows if row.result is SweepResult.TO_DELETE]
    counts = Counter(target.kind for row in to_delete for target in row.targets)
    objects = " and ".join(
        _counted(counts[kind], kind) for kind in ("RayJob", "RayCluster") if counts[kind]
    )
    namespaces = sorted({row.namespace for row in to_delete})
    plural = "s" if len(namespaces) > 1 else ""
    return f"Delete {objects} in namespace{plural} {', '.join(namespaces)}?"


def _counted(count: int, kind: str) -> str:
    return f"{count} {kind}s" if count > 1 else f"{count} {kind}"


def summary(rows: Sequence[SweepRow]) -> str:
    """`2 deleted, 1 refused; frees 4 GPU, 16 CPU, 64Gi`."""
    counts = Counter(row.result for row in rows)
    texts = [f"{counts[result]} {result}" for result in SweepResult if counts[result]]
    freed = resources_text(sum_resources(row.frees for row in rows))
    return f"{', '.join(texts) or 'nothing to delete'}; frees {freed}"


def exit_code(rows: Iterable[SweepRow]) -> int:
    """Whether every requested RayJob is deleted."""
    row_results = {row.result for row in rows}
    if SweepResult.FAILED in row_results:
        return EXIT_FAILED
    return EXIT_NOT_ALL_DELETED if row_results & KEPT else EXIT_OK


def as_json(
    context: AnswerContext,
    rows: Sequence[SweepRow],
    now: datetime,
    *,
    dry_run: bool,
    interrupted: bool,
) -> Json:
    """The fields of a Sweep."""
    counts = Counter(row.result for row in rows)
    return {
        **context.as_json("Sweep", now),
        "dryRun": dry_run,
        "interrupted": interrupted,
        "summary": {
            **{_camel_case(result): counts[result] for result in SweepResult},
            "frees": resources_json(sum_resources(row.frees for row in rows)),
        },
        "items": [_row_json(row) for row in rows],
    }


def _camel_case(words: str) -> str:
    first, *rest = words.split()
    return first + "".join(word.capitalize() for word in rest)


def _row_json(row: SweepRow) -> Json:
    explanation = row.explanation
    is_kept_by_check = row.result is SweepResult.REFUSED and not row.dry_run_by
    outcome = explanation.outcome if explanation else None
    return {
        "namespace": row.namespace,
        "name": row.name,
        "uid": row.rayjob.uid if row.rayjob else None,
        "result": row.result.value,
        "deletes": [target_json(target) for target in row.targets],
        "reason": row.reason or None,
        "message": safe(row.message) or None,
        "hint": explanation.reason.hint if explanation and is_kept_by_check else None,
        "problem": safe(row.problem) or None,
        "outcome": outcome.value if outcome else None,
        "finishedAt": rfc3339(explanation.finished_at) if explanation else None,
        "frees": resources_json(row.frees),
        "dryRunBy": row.dry_run_by or None,
    }
