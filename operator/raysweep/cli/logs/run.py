"""Runs `raysweep logs`."""

import sys

import click

from raysweep.cli.common import formatting, terminal
from raysweep.cli.common.errors import FailedError
from raysweep.cli.common.options import EXIT_NOT_FOUND, EXIT_OK, Options
from raysweep.cli.common.session import Session, open_session, run, say
from raysweep.cli.common.submission_lookup import Located, NoSuchRayJobError, locate
from raysweep.submission.follow import OutcomeUnknownError, follow, view_of, write_log
from raysweep.submission.head import AnswerLostError, NotSentError, RefusedError
from raysweep.submission.submit import SubmittedJob

ALL_LINES = -1


def logs(name: str, options: Options, *, lines: int, follow: bool) -> int:
    """Prints the log. Returns the exit code."""
    return run(_logs(name, options, lines, follow=follow))


async def _logs(name: str, options: Options, lines: int, *, follow: bool) -> int:
    async with open_session(options) as session:
        try:
            located = await locate(session, name)
            if follow:
                await _follow(session, located)
            else:
                await _print(located, lines, options.output)
        except NoSuchRayJobError as error:
            say(str(error))
            return EXIT_NOT_FOUND
        except (AnswerLostError, NotSentError, RefusedError, OutcomeUnknownError) as error:
            raise FailedError(f"the log of {name} could not be read: {error}") from error
    return EXIT_OK


async def _follow(session: Session, located: Located) -> None:
    job_id = located.entry.submission_id
    job = SubmittedJob(located.rayjob, located.cluster, job_id, located.head)
    with terminal.log_to(sys.stdout) as write:
        outcome = await follow(view_of(job, session.kubernetes, session.dashboard), write)
    say(f"{job_id} {outcome}")


async def _print(located: Located, lines: int, output: str) -> None:
    if output == "text":
        with terminal.log_to(sys.stdout) as write:
            await write_log(located.head, located.entry, write, lines)
        return
    chunks: list[bytes] = []
    await write_log(located.head, located.entry, chunks.append, lines)
    result = {
        "apiVersion": formatting.API_VERSION,
        "kind": "Log",
        "namespace": located.rayjob.namespace,
        "name": located.rayjob.name,
        "submissionId": located.entry.submission_id,
        "status": located.entry.status,
        "log": b"".join(chunks).decode("utf-8", "replace"),
    }
    click.echo(formatting.serialized(result, output))
