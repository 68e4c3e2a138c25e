"""`raysweep logs`: a job's log from its Ray head, by its submission ID. It only reads."""

import sys
from typing import Any

import click

from raysweep.cli.common import options, terminal
from raysweep.cli.common.options import EXIT_NOT_FOUND, EXIT_OK, Options

EPILOG = """\b
Examples:
  raysweep logs my-job                 the log so far
  raysweep logs my-job -f              and what comes, to the job's end
  raysweep logs my-job --tail 50 -n team-a
  raysweep logs my-job -o json | jq -r .log

\b
Exit codes:
  0  told    2  usage    3  there is no such RayJob
  1  anything else: no head any more, no rights, unreachable
"""


@options.command(EPILOG)
@options.name_argument
@click.option("-f", "--follow", is_flag=True, help="to the job's end")
@click.option("--tail", type=click.IntRange(min=0), metavar="LINES", help="only the last lines")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True
)
@options.connection
@options.at_one_head
def command(name: str, *, tail: int | None, follow: bool, **given: Any) -> None:
    """The log of the RayJob NAME's job, as its driver wrote it.

    It is read from the Ray head as long as the RayCluster is there; with the cluster the log goes.
    """
    from raysweep.cli.common.session import run  # the clients load slowly: not for --help

    if follow and (tail is not None or given["output"] != "text"):
        raise click.UsageError(
            "--follow goes with neither --tail nor -o: it writes the log from its beginning, as it comes"
        )
    sys.exit(
        run(_logs(name, -1 if tail is None else tail, Options(**given, sends=True), follow=follow))
    )


async def _logs(name: str, lines: int, asked_for: Options, *, follow: bool) -> int:
    from raysweep.cli.common.session import FailedError, open_session, say
    from raysweep.cli.common.submission_lookup import NoSuchRayJobError, locate
    from raysweep.submission.follow import LostSightError, whole_log
    from raysweep.submission.head import LostError, NotSentError, RefusedError

    async with open_session(asked_for) as session:
        try:
            found = await locate(session, name)
            if follow:
                return await _follow(session, found)
            pieces: list[bytes] = []
            is_text = asked_for.output == "text"
            with terminal.log_to(sys.stdout) as write:
                await whole_log(found.head, found.entry, write if is_text else pieces.append, lines)
        except NoSuchRayJobError as error:
            say(str(error))
            return EXIT_NOT_FOUND
        except (LostError, NotSentError, RefusedError, LostSightError) as error:
            raise FailedError(f"the log of {name} could not be read: {error}") from error
        if not is_text:
            _answer(found, b"".join(pieces), asked_for.output)
    return EXIT_OK


async def _follow(session: Any, found: Any) -> int:
    from raysweep.cli.common.session import say
    from raysweep.cli.submit.run import sight
    from raysweep.submission.follow import follow
    from raysweep.submission.submit import Submitted

    seen = Submitted(found.rayjob, found.cluster, found.entry.submission_id, found.head)
    with terminal.log_to(sys.stdout) as write:
        outcome = await follow(sight(session, seen), write)
    say(f"{found.entry.submission_id} {outcome}")
    return EXIT_OK


def _answer(found: Any, log: bytes, output: str) -> None:
    from raysweep.cli.common import formatting

    job = found.rayjob
    about = {
        "apiVersion": formatting.API_VERSION,
        "kind": "Log",
        "namespace": job.namespace,
        "name": job.name,
        "submissionId": found.entry.submission_id,
        "status": found.entry.status,
        "log": log.decode("utf-8", "replace"),
    }
    click.echo(formatting.serialized(about, output))
