"""Defines `raysweep logs`. It reads a job's log from its Ray head by its submission ID."""

import sys
from typing import Any

import click

from raysweep.cli.common import options
from raysweep.cli.common.options import Options

EPILOG = """\b
Examples:
  raysweep logs my-job                 print the log so far
  raysweep logs my-job -f              follow the log until the job ends
  raysweep logs my-job --tail 50 -n team-a
  raysweep logs my-job -o json | jq -r .log

\b
Exit codes:
  0  the log was printed
  1  anything else: the head is gone, missing rights, not reachable
  2  usage
  3  the RayJob does not exist
"""


@options.command(EPILOG)
@options.name_argument
@click.option("-f", "--follow", is_flag=True, help="follow the log until the job ends")
@click.option(
    "--tail", type=click.IntRange(min=0), metavar="LINES", help="print only the last LINES lines"
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "yaml"]),
    default="text",
    show_default=True,
    help="output format",
)
@options.connection
@options.at_one_head
def command(name: str, *, tail: int | None, follow: bool, **flags: Any) -> None:
    """Print the log of the job of RayJob NAME, as its driver wrote it.

    The log is read from the Ray head. It is lost when the RayCluster is deleted.
    """
    if follow and (tail is not None or flags["output"] != "text"):
        raise click.UsageError("--follow cannot be combined with --tail or -o")
    from raysweep.cli.logs import run

    lines = run.ALL_LINES if tail is None else tail
    sys.exit(run.logs(name, Options(**flags, sends=True), lines=lines, follow=follow))
