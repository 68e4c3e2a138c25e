"""`raysweep stop`: stops a RayJob's job at its Ray head, by its submission ID. It deletes nothing."""

import asyncio
import sys
from datetime import timedelta
from typing import Any

import click

from raysweep.cli.common import options
from raysweep.cli.common.options import EXIT_NOT_FOUND, EXIT_OK, Options

STOPPED_WITHIN = timedelta(seconds=60)
ASK_AGAIN_AFTER = timedelta(seconds=0.5)

EPILOG = """\b
Examples:
  raysweep stop my-job                 and wait until it has stopped
  raysweep stop my-job --no-wait
  raysweep stop my-job -o json | jq -r .status

\b
Exit codes:
  0  it has ended, by this or before; with --no-wait: it was told to
  1  anything else: it goes on, no head any more, no rights, unreachable
  2  usage    3  there is no such RayJob
"""


@options.command(EPILOG)
@options.name_argument
@click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="until it has ended, for a minute at most",
)
@click.option(
    "-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True
)
@options.connection
@options.at_one_head
@options.quiet
def command(name: str, *, wait: bool, **given: Any) -> None:
    """Stops the job of the RayJob NAME. RayJob and RayCluster stay, until their time has come."""
    from raysweep.cli.common.session import run  # the clients load slowly: not for --help

    sys.exit(run(_stop(name, Options(**given, sends=True), wait=wait)))


async def _stop(name: str, asked_for: Options, *, wait: bool) -> int:
    from raysweep.cli.common.session import FailedError, open_session, say
    from raysweep.cli.common.submission_lookup import NoSuchRayJobError, locate
    from raysweep.submission.head import LostError, NotSentError, RefusedError

    async with open_session(asked_for) as session:
        try:
            found = await locate(session, name)
            stopped = await found.head.stop(found.entry.submission_id)
        except NoSuchRayJobError as error:
            say(str(error))
            return EXIT_NOT_FOUND
        except (LostError, NotSentError, RefusedError) as error:
            raise FailedError(f"{name} could not be stopped: {error}; try again") from error
        status = (
            await _ended(session, found) if wait else "STOPPING" if stopped else found.entry.status
        )
        _answer(found, status, asked_for.output, stopped=stopped)
    return EXIT_OK


async def _ended(session: Any, found: Any) -> str:
    from raysweep.cli.common.session import FailedError
    from raysweep.core.job_status import TERMINAL_JOB_STATUS
    from raysweep.core.model.facts import HeadList

    status = found.entry.status
    waiting = session.progress.wait(f"waiting until {found.entry.submission_id} has ended")
    try:
        async with asyncio.timeout(STOPPED_WITHIN.total_seconds()):
            with waiting:
                while status not in TERMINAL_JOB_STATUS:
                    await asyncio.sleep(ASK_AGAIN_AFTER.total_seconds())
                    told = await session.dashboard.job(found.cluster, found.entry.submission_id)
                    status = (
                        told.entries[0].status
                        if isinstance(told, HeadList) and told.entries
                        else status
                    )
    except TimeoutError:
        limit = f"{STOPPED_WITHIN.total_seconds():g} s"
        raise FailedError(
            f"{found.entry.submission_id} was told to stop and is {status} after {limit}; try again"
        ) from None
    return str(status)


def _answer(found: Any, status: str, output: str, *, stopped: bool) -> None:
    from raysweep.cli.common import formatting

    job_id = found.entry.submission_id
    if output == "text":
        click.echo(
            formatting.safe(
                f"{job_id} {status}" if stopped else f"{job_id} had ended before: {status}"
            )
        )
        return
    job = found.rayjob
    about = {
        "apiVersion": formatting.API_VERSION,
        "kind": "Stop",
        "namespace": job.namespace,
        "name": job.name,
    }
    click.echo(
        formatting.serialized(
            about | {"submissionId": job_id, "stopped": stopped, "status": status}, output
        )
    )
