"""`raysweep sweep`: deletes now what has finished, after asking. Judged and deleted is in cleanup/sweep.py, told in swept.py."""

import asyncio
import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from raysweep.cli.common import options
from raysweep.cli.common.options import EXIT_INTERRUPTED, EXIT_SOMETHING_STAYS, Options
from raysweep.cli.common.probing import Asked, probe_heads
from raysweep.core.job_status import kuberay_reports_end
from raysweep.core.model.facts import RayJob

if TYPE_CHECKING:
    from raysweep.cli.common.session import Session
    from raysweep.cli.sweep.results import Row  # with it come the clients, which load slowly
    from raysweep.interrupts import Interrupts

EPILOG = """\b
Examples:
  raysweep sweep my-job other-job      shows what goes, asks, and deletes it
  raysweep sweep --all-finished        all that has finished in the context's namespace
  raysweep sweep -l team=vision -A     in all namespaces, by label
  raysweep sweep --all-finished -n team-a --dry-run
  raysweep sweep my-job --yes -o json | jq '.items[] | {name, result, reason}'

\b
Exit codes:
  0    all that was asked for is gone or on its way; with --dry-run: it would go
  1    a request failed, no rights, unreachable
  2    usage; without a terminal and without --yes nothing is deleted
  3    something stays: it was refused, there is no RayJob of that name, or you said no
  130  Ctrl-C; what was deleted until then is told
"""

AT_ONCE = 8
TRIES = 3
LEFT = "left while it was under way; `raysweep why` tells what became of it"
CONFIRMED_WITHIN = timedelta(seconds=10)
"""As old as what the operator knows of Namespace and policies may be right before a deletion (settings.py)."""


@options.command(EPILOG)
@options.names_argument
@click.option(
    "--all-finished",
    is_flag=True,
    help="every RayJob that has finished; with -l those with these labels",
)
@options.selection
@options.connection
@click.option("-y", "--yes", is_flag=True, help="do not ask")
@click.option("--dry-run", is_flag=True, help="only show what would go and what would be refused")
@options.output("table", "wide", "json", "yaml", "name")
@options.reaching
@options.quiet
def command(
    names: tuple[str, ...], *, all_finished: bool, yes: bool, dry_run: bool, **given: Any
) -> None:
    """Deletes now the RayJobs NAME... and their RayClusters, whatever their TTL, if they have finished.

    It is the operator's own ladder without the rungs about time, with your rights: what has not finished, is kept by somebody,
    is used by something else, belongs to somebody else or is only observed is refused. The Ray head of each is asked right
    before its deletion.
    """
    wanted = Wanted(names, all_finished=all_finished, asks=not (yes or dry_run), dry_run=dry_run)
    _check(wanted, given)
    from raysweep.cli.common.session import run  # the clients load slowly: not for --help

    sys.exit(run(_sweep(wanted, Options(**given))))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for, besides the options that commands share."""

    names: tuple[str, ...]
    all_finished: bool
    asks: bool
    dry_run: bool


def _check(wanted: Wanted, given: dict[str, Any]) -> None:
    """An empty selector, or a namespace too many, must not come to mean everything."""
    selector, everywhere = given["selector"], given["all_namespaces"]
    if selector is not None and not selector.strip():
        raise click.UsageError(
            "-l is empty, which would select everything; leave it out, or give labels"
        )
    if not wanted.names and selector is None and not wanted.all_finished:
        raise click.UsageError("name the RayJobs, or select them: -l LABELS, --all-finished")
    if wanted.names and (selector is not None or wanted.all_finished):
        raise click.UsageError("name the RayJobs or select them, not both")
    if everywhere and (wanted.names or given["namespace"]):
        raise click.UsageError("-A goes with -l or --all-finished, and with neither names nor -n")
    if wanted.asks and not (sys.stdin and sys.stdin.isatty()):
        raise click.UsageError(
            "there is no terminal to ask at; with --yes it deletes without asking, with --dry-run it only shows"
        )


async def _sweep(wanted: Wanted, asked_for: Options) -> int:
    from raysweep.cli.common.session import notes, open_session, say
    from raysweep.interrupts import InterruptedByUserError, ctrl_c, run_until_interrupted

    async with ctrl_c() as pressed, open_session(asked_for) as session:
        try:
            jobs, missing = _chosen(
                wanted, session, await run_until_interrupted(pressed.first, session.list_all())
            )
            for note in notes(session):
                say(note)
            if not wanted.asks and not wanted.dry_run:
                return await _carry_out(session, jobs, missing, pressed)
            rows = _sorted(
                [*missing, *await run_until_interrupted(pressed.first, _foresee(session, jobs))]
            )
            return await _after_a_look(wanted, session, rows, pressed)
        except InterruptedByUserError:
            say("interrupted; nothing was deleted")
            return EXIT_INTERRUPTED


def _chosen(
    wanted: Wanted, session: "Session", uids: list[str]
) -> "tuple[list[RayJob], list[Row]]":
    """Those that were asked for, and a row for every name that there is not."""
    from raysweep.cli.sweep.results import Result, Row

    jobs = [session.known.rayjobs[uid] for uid in uids]
    if not wanted.names:
        found = [job for job in jobs if kuberay_reports_end(job) or not wanted.all_finished]
        return sorted(found, key=lambda job: job.key), []
    by_name = {job.name: job for job in jobs}
    problem = "there is no RayJob of that name"
    missing = [
        Row(session.namespace, name, Result.NOT_FOUND, problem=problem)
        for name in wanted.names
        if name not in by_name
    ]
    return [by_name[name] for name in wanted.names if name in by_name], missing


def _sorted(rows: "list[Row]") -> "list[Row]":
    """In one order before and after."""
    return sorted(rows, key=lambda row: row.key)


async def _foresee(session: "Session", jobs: list[RayJob]) -> "list[Row]":
    """What would come of it; only the heads of what nothing else keeps are asked."""
    from raysweep.cli.sweep.results import Result, foreseen, of, wants_head

    observer = replace(session.observer, swept=True)
    known = {job.uid: Asked(assessment) for job in jobs if (assessment := observer.assess(job.uid))}
    to_ask = [one.assessment for one in known.values() if wants_head(one.assessment)]
    probed = {
        one.assessment.rayjob.uid: one
        for one in await probe_heads(observer, to_ask, session.progress)
    }
    vanished = {assessment.rayjob.uid for assessment in to_ask} - set(probed)
    found = known | probed
    gone = {
        job.uid: of(job, Result.GONE) for job in jobs if job.uid in vanished or job.uid not in found
    }
    return [
        gone.get(job.uid) or foreseen(found[job.uid].assessment, found[job.uid].failed)
        for job in jobs
    ]


async def _after_a_look(
    wanted: Wanted, session: "Session", rows: "list[Row]", pressed: "Interrupts"
) -> int:
    """Shows what would go, and where that was wanted asks, and carries it out."""
    from raysweep.cli.common.session import say
    from raysweep.cli.sweep.results import Result, as_table, exit_code, question
    from raysweep.interrupts import run_until_interrupted

    going = [row.rayjob for row in rows if row.result is Result.GOES and row.rayjob]
    if wanted.dry_run or not going:
        _report(session, rows, dry_run=wanted.dry_run)
        return exit_code(rows)
    is_for_people = session.options.output in ("table", "wide")
    click.echo(as_table(rows, wide=session.options.output == "wide"), err=not is_for_people)
    if not await run_until_interrupted(pressed.first, _is_confirmed(question(rows))):
        say("nothing was deleted")
        return EXIT_SOMETHING_STAYS
    await run_until_interrupted(
        pressed.first, session.list_all()
    )  # somebody may have thought about it for long
    return await _carry_out(
        session, going, [row for row in rows if row.result is not Result.GOES], pressed
    )


async def _is_confirmed(asked: str) -> bool:
    """Whether a y was typed. It waits for a line without blocking the loop, so that Ctrl-C is heard."""
    click.echo(f"{asked} [y/N] ", nl=False, err=True)
    typed, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), typed.set)
    try:
        await typed.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return sys.stdin.readline().strip().lower() in ("y", "yes")


async def _carry_out(
    session: "Session", jobs: list[RayJob], settled: "list[Row]", pressed: "Interrupts"
) -> int:
    from raysweep.cli.sweep.results import exit_code

    rows = _sorted([*settled, *await _delete(session, jobs, pressed)])
    is_interrupted = pressed.first.is_set()
    _report(session, rows, interrupted=is_interrupted)
    return EXIT_INTERRUPTED if is_interrupted else exit_code(rows)


async def _delete(session: "Session", jobs: list[RayJob], pressed: "Interrupts") -> "list[Row]":
    """A few at once. After Ctrl-C none is begun, and what is under way comes to its end; after another it is left there."""
    from raysweep.cli.sweep.results import Result, of

    rows = {job.uid: of(job, Result.NOT_REACHED) for job in jobs}
    places = asyncio.Semaphore(AT_ONCE)

    async def one(job: RayJob) -> None:
        async with places:
            if not pressed.first.is_set():
                rows[job.uid] = of(job, Result.FAILED, problem=LEFT)
                rows[job.uid] = await _delete_one(session, job)
                done()

    with session.progress.count("deleting RayJobs", len(jobs)) as done:
        await _unless_hurried(asyncio.gather(*(one(job) for job in jobs)), pressed)
    return list(rows.values())


async def _unless_hurried(everything: "asyncio.Future[Any]", pressed: "Interrupts") -> None:
    """Until all is done, or to the second Ctrl-C."""
    work: list[asyncio.Future[Any]] = [everything, asyncio.create_task(_told_to_hurry(pressed))]
    try:
        await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        if everything.done():
            await everything  # a failure of ours is raised here
    finally:
        for each in work:
            each.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def _told_to_hurry(pressed: "Interrupts") -> None:
    """Returns at the second Ctrl-C; says at the first what goes on."""
    from raysweep.cli.common.session import say

    await pressed.first.wait()
    say(
        "interrupted: nothing more is begun, and what is under way comes to its end; press Ctrl-C again to leave it there"
    )
    await pressed.second.wait()


async def _delete_one(session: "Session", job: RayJob) -> "Row":
    """Looks at everything anew and deletes it where the ladder still says so; again where it changed in between."""
    from raysweep.cleanup.sweep import sweep
    from raysweep.cli.sweep.results import Result, came_of, foreseen, of, wants_head
    from raysweep.clients.kubernetes.errors import ApiError, ConflictError

    row = of(job, Result.FAILED, problem="it changes all the time")
    try:
        for _ in range(TRIES):
            current = await session.kubernetes.rayjob(job.namespace, job.name)
            if current is None or current.uid != job.uid:
                return of(job, Result.GONE)
            session.known.upsert_rayjob(current)
            await session.confirm(CONFIRMED_WITHIN)
            assessment = replace(session.observer, swept=True).assess(job.uid)
            if assessment and not wants_head(assessment):
                return foreseen(assessment)
            if found := await sweep(session.observer, job.uid):
                row = came_of(found)
                if found.deletion.deleted or not isinstance(
                    found.deletion.stopped_by, ConflictError
                ):
                    return row
    except ApiError as error:
        return of(job, Result.FAILED, problem=str(error))
    return row


def _report(
    session: "Session", rows: "list[Row]", *, dry_run: bool = False, interrupted: bool = False
) -> None:
    from raysweep.cli.common import formatting
    from raysweep.cli.sweep.results import About, Result, as_json, as_table, summary

    output, operators = session.options.output, session.operator
    if output in ("json", "yaml"):
        mode = operators.settings.mode.value
        about = About(
            session.server,
            session.namespace,
            session.options.selector,
            operators.source,
            mode,
            dry_run,
            interrupted,
        )
        click.echo(formatting.serialized(as_json(about, rows, session.now()), output))
    elif output == "name":
        for target in (
            target
            for row in rows
            if row.result in (Result.GOES, Result.DELETED)
            for target in row.targets
        ):
            click.echo(f"{target.kind.lower()}.ray.io/{target.name}")
    elif rows:
        click.echo(as_table(rows, wide=output == "wide"))
    where = f"namespace {session.namespace}" if session.namespace else "all namespaces"
    click.echo(f"{where}: {summary(rows)}", err=output not in ("table", "wide"))
