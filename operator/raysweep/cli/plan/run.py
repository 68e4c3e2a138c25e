"""Makes and prints a plan, once or until Ctrl-C."""

from dataclasses import replace
from datetime import datetime
from functools import partial

import click

from raysweep.cli.common.answer_context import AnswerContext
from raysweep.cli.common.formatting import serialized
from raysweep.cli.common.options import EXIT_OK, Options
from raysweep.cli.common.probing import ProbedRayJob, probe_heads
from raysweep.cli.common.rayjob_row import RayJobRow
from raysweep.cli.common.session import Session, open_session, run, say
from raysweep.cli.common.watch_loop import until_ctrl_c
from raysweep.cli.plan import rows
from raysweep.cli.plan.watch import watch_plan
from raysweep.core.timeline import foresee


def run_plan(options: Options, *, show_all: bool, watch: bool) -> int:
    """Returns the exit code."""
    if watch:
        return run(until_ctrl_c(options, partial(watch_plan, show_all=show_all)))
    return run(_plan(options, show_all=show_all))


async def _plan(options: Options, *, show_all: bool) -> int:
    async with open_session(options) as session:
        plan_rows, now = await _rows(session, await session.list_all())
        for note in session.notes():
            say(note)
        shown = rows.shown_rows(plan_rows, show_all=show_all)
        _print(session, plan_rows, shown, now)
    return EXIT_OK


async def _rows(session: Session, uids: list[str]) -> tuple[list[RayJobRow], datetime]:
    """The rows in their order, and the time at which they were decided."""
    assessments = [assessment for assessment in map(session.observer.assess, uids) if assessment]
    probed = [ProbedRayJob(assessment) for assessment in assessments]
    if session.options.ask:
        due = [assessment for assessment in assessments if foresee(assessment).is_due]
        due_uids = {assessment.rayjob.uid for assessment in due}
        other = [result for result in probed if result.assessment.rayjob.uid not in due_uids]
        probed = [*await probe_heads(session.observer, due, session.progress), *other]
    now = session.now()
    plan_rows = [_row(result, now) for result in probed]
    return rows.sorted_rows(plan_rows), now


def _row(probed: ProbedRayJob, now: datetime) -> RayJobRow:
    return RayJobRow(foresee(replace(probed.assessment, now=now)), probed.error)


def _print(
    session: Session, plan_rows: list[RayJobRow], shown: list[RayJobRow], now: datetime
) -> None:
    output = session.options.output
    is_for_people = output in ("table", "wide")
    if output in ("json", "yaml"):
        context, asked = AnswerContext.of(session), session.options.ask
        body = rows.as_json(context, plan_rows, shown, now, heads_asked=asked)
        click.echo(serialized(body, output))
    elif output == "name":
        for row in shown:
            if row.timeline.targets:
                target = row.timeline.targets[0]
                click.echo(f"{target.kind.lower()}.ray.io/{target.name}")
    elif shown:
        click.echo(rows.as_table(shown, now, wide=output == "wide"))
    click.echo(f"{session.scope}: {rows.summary(plan_rows, now)}", err=not is_for_people)
