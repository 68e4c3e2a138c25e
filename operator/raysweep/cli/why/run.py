"""Answers `raysweep why`, once or until the RayJob is deleted."""

from datetime import datetime
from functools import partial

import click

from raysweep.cli.common import formatting
from raysweep.cli.common.options import EXIT_NOT_FOUND, EXIT_OK, Options
from raysweep.cli.common.rayjob_row import RayJobRow
from raysweep.cli.common.session import Session, open_session, run, say
from raysweep.cli.common.watch_loop import until_ctrl_c
from raysweep.cli.why import gone, report
from raysweep.cli.why.watch import probed, watch_why
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.core.timeline import foresee


def run_why(name: str, options: Options, *, watch: bool) -> int:
    """Returns the exit code."""
    if watch:
        return run(until_ctrl_c(options, partial(watch_why, name=name)))
    return run(_answer(name, options))


async def _answer(name: str, options: Options) -> int:
    async with open_session(options) as session:
        await session.list_all()
        for note in session.notes():
            say(note)
        rayjob = session.snapshot.rayjob_named(name)
        row = await _row(session, rayjob.uid) if rayjob else None
        if row is None:
            gone.print_gone(session, await gone.read_gone(session, name))
            return EXIT_NOT_FOUND
        _print(row, session.now(), options.output)
    return EXIT_OK


async def _row(session: Session, uid: str) -> RayJobRow | None:
    """Probes the Ray head if the answer depends on it. None: the RayJob does not exist anymore."""
    assessment = session.observer.assess(uid)
    if assessment is None:
        return None
    if not session.options.ask:
        return RayJobRow(foresee(assessment))
    try:
        probed_assessment = await probed(session, uid)
    except ApiError as error:
        return RayJobRow(foresee(assessment), str(error))
    return RayJobRow(foresee(probed_assessment)) if probed_assessment else None


def _print(row: RayJobRow, now: datetime, output: str) -> None:
    if output == "text":
        click.echo("\n".join(report.as_text(row, now)))
    else:
        click.echo(formatting.serialized(report.as_json(row, now), output))
