"""Deletes finished RayJobs after a confirmation. cleanup/sweep.py decides about each of them."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import click

from raysweep.cleanup.sweep import sweep
from raysweep.cli.common.options import EXIT_INTERRUPTED, EXIT_NOT_ALL_DELETED, Options
from raysweep.cli.common.probing import ProbedRayJob, probe_heads
from raysweep.cli.common.session import Session, open_session, run, say
from raysweep.cli.common.sweep_row import (
    SweepResult,
    SweepRow,
    completed_row,
    expected_row,
    needs_probe,
    rayjob_row,
)
from raysweep.cli.sweep import results
from raysweep.clients.kubernetes.errors import ApiError, ConflictError
from raysweep.core.job_status import kuberay_reports_end
from raysweep.core.model.facts import RayJob
from raysweep.interrupts import (
    InterruptedByUserError,
    Interrupts,
    ctrl_c,
    run_until_interrupted,
)

MOST_DELETIONS_AT_ONCE = 8
TRIES = 3
ABANDONED = "abandoned while in progress; run `raysweep why` to see what happened to it"
CONFIRMATION_MAX_AGE = timedelta(seconds=10)
"""How old Namespaces and policies may be right before a deletion, as in settings.py."""


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """What to sweep: the RayJobs with these names, or without names the selected ones."""

    names: tuple[str, ...]
    all_finished: bool
    needs_confirmation: bool
    dry_run: bool


def run_sweep(request: SweepRequest, options: Options) -> int:
    """Returns the exit code."""
    return run(_sweep(request, options))


async def _sweep(request: SweepRequest, options: Options) -> int:
    async with ctrl_c() as interrupts, open_session(options) as session:
        try:
            uids = await run_until_interrupted(interrupts.first, session.list_all())
            for note in session.notes():
                say(note)
            rayjobs, missing = _requested(request, session, uids)
            if not request.needs_confirmation and not request.dry_run:
                return await _delete_and_report(session, rayjobs, missing, interrupts)
            expected = _expected_rows(session, rayjobs)
            rows = [*missing, *await run_until_interrupted(interrupts.first, expected)]
            return await _confirm(request, session, results.sorted_rows(rows), interrupts)
        except InterruptedByUserError:
            say("interrupted; nothing was deleted")
            return EXIT_INTERRUPTED


def _requested(
    request: SweepRequest, session: Session, uids: Iterable[str]
) -> tuple[list[RayJob], list[SweepRow]]:
    """The requested RayJobs, and a row for each name without a RayJob."""
    rayjobs = [session.snapshot.rayjobs[uid] for uid in uids]
    if not request.names:
        if request.all_finished:
            rayjobs = [rayjob for rayjob in rayjobs if kuberay_reports_end(rayjob)]
        return sorted(rayjobs, key=lambda rayjob: rayjob.key), []
    by_name = {rayjob.name: rayjob for rayjob in rayjobs}
    missing = [
        SweepRow(
            session.namespace,
            name,
            SweepResult.NOT_FOUND,
            problem="no RayJob has this name",
        )
        for name in request.names
        if name not in by_name
    ]
    return [by_name[name] for name in request.names if name in by_name], missing


async def _expected_rows(session: Session, rayjobs: Sequence[RayJob]) -> list[SweepRow]:
    """What a sweep would do. It probes only the heads of RayJobs that no other check keeps."""
    observer = replace(session.observer, swept=True)
    assessments = [
        assessment
        for assessment in (observer.assess(rayjob.uid) for rayjob in rayjobs)
        if assessment
    ]
    to_probe = [assessment for assessment in assessments if needs_probe(assessment)]
    other = [assessment for assessment in assessments if not needs_probe(assessment)]
    probed = await probe_heads(observer, to_probe, session.progress)
    rows = {assessment.rayjob.uid: expected_row(assessment) for assessment in other}
    rows |= {result.assessment.rayjob.uid: _probed_row(result) for result in probed}
    return [rows.get(rayjob.uid) or rayjob_row(rayjob, SweepResult.GONE) for rayjob in rayjobs]


def _probed_row(probed: ProbedRayJob) -> SweepRow:
    if probed.error:
        return rayjob_row(probed.assessment.rayjob, SweepResult.FAILED, problem=probed.error)
    return expected_row(probed.assessment)


async def _confirm(
    request: SweepRequest, session: Session, rows: list[SweepRow], interrupts: Interrupts
) -> int:
    """Shows what would be deleted, and deletes it if the user confirms."""
    to_delete = [row for row in rows if row.result is SweepResult.TO_DELETE]
    rayjobs = [row.rayjob for row in to_delete if row.rayjob]
    if request.dry_run or not rayjobs:
        results.print_rows(session, rows, dry_run=request.dry_run)
        return results.exit_code(rows)
    output = session.options.output
    table = results.as_table(rows, wide=output == "wide")
    click.echo(table, err=output not in ("table", "wide"))
    answer = _is_confirmed(results.question(rows))
    if not await run_until_interrupted(interrupts.first, answer):
        say("nothing was deleted")
        return EXIT_NOT_ALL_DELETED
    # The user may have taken long to answer.
    await run_until_interrupted(interrupts.first, session.list_all())
    other = [row for row in rows if row.result is not SweepResult.TO_DELETE]
    return await _delete_and_report(session, rayjobs, other, interrupts)


async def _is_confirmed(question: str) -> bool:
    """Whether the user answers y. It does not block the event loop, so Ctrl-C is handled."""
    click.echo(f"{question} [y/N] ", nl=False, err=True)
    is_readable, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), is_readable.set)
    try:
        await is_readable.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return sys.stdin.readline().strip().lower() in ("y", "yes")


async def _delete_and_report(
    session: Session, rayjobs: Sequence[RayJob], other: Sequence[SweepRow], interrupts: Interrupts
) -> int:
    deleted = await _delete_all(session, rayjobs, interrupts)
    rows = results.sorted_rows([*other, *deleted])
    is_interrupted = interrupts.first.is_set()
    results.print_rows(session, rows, interrupted=is_interrupted)
    return EXIT_INTERRUPTED if is_interrupted else results.exit_code(rows)


async def _delete_all(
    session: Session, rayjobs: Sequence[RayJob], interrupts: Interrupts
) -> list[SweepRow]:
    """Deletes several RayJobs at once.

    The first Ctrl-C lets the deletions in progress complete and begins no more. The second abandons
    them.
    """
    rows = {rayjob.uid: rayjob_row(rayjob, SweepResult.NOT_REACHED) for rayjob in rayjobs}
    places = asyncio.Semaphore(MOST_DELETIONS_AT_ONCE)

    async def delete_in_turn(rayjob: RayJob) -> None:
        async with places:
            if not interrupts.first.is_set():
                rows[rayjob.uid] = rayjob_row(rayjob, SweepResult.FAILED, problem=ABANDONED)
                rows[rayjob.uid] = await _delete(session, rayjob)
                report_done()

    with session.progress.count("deleting RayJobs", len(rayjobs)) as report_done:
        await _unless_abandoned(asyncio.gather(*map(delete_in_turn, rayjobs)), interrupts)
    return list(rows.values())


async def _unless_abandoned(deletions: Awaitable[Any], interrupts: Interrupts) -> None:
    """Waits for the deletions, until the second Ctrl-C."""
    announcement = asyncio.create_task(_announce_interruption(interrupts))
    try:
        with contextlib.suppress(InterruptedByUserError):  # the rows show what was abandoned
            await run_until_interrupted(interrupts.second, deletions)
    finally:
        announcement.cancel()


async def _announce_interruption(interrupts: Interrupts) -> None:
    await interrupts.first.wait()
    say(
        "interrupted: waiting for the deletions in progress, beginning no more; press Ctrl-C again "
        "to abandon them"
    )


async def _delete(session: Session, rayjob: RayJob) -> SweepRow:
    """Reads everything again and deletes the RayJob if the checks still allow it.

    It tries again if the RayJob changes meanwhile.
    """
    row = rayjob_row(rayjob, SweepResult.FAILED, problem="it changes too often")
    try:
        for _ in range(TRIES):
            current = await session.kubernetes.rayjob(rayjob.namespace, rayjob.name)
            if current is None or current.uid != rayjob.uid:
                return rayjob_row(rayjob, SweepResult.GONE)
            session.snapshot.upsert_rayjob(current)
            await session.confirm(CONFIRMATION_MAX_AGE)
            assessment = replace(session.observer, swept=True).assess(rayjob.uid)
            if assessment and not needs_probe(assessment):
                return expected_row(assessment)
            completed = await sweep(session.observer, rayjob.uid)
            if completed is None:
                continue
            row = completed_row(completed)
            deletion = completed.deletion
            if deletion.deleted or not isinstance(deletion.stopped_by, ConflictError):
                return row
    except ApiError as error:
        return rayjob_row(rayjob, SweepResult.FAILED, problem=str(error))
    return row
