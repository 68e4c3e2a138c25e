"""Defines `raysweep stop`. It stops a job at its Ray head by its submission ID."""

import sys
from typing import Any

import click

from raysweep.cli.common import options
from raysweep.cli.common.options import Options

EPILOG = """\b
Examples:
  raysweep stop my-job                 stop the job, and wait until it has ended
  raysweep stop my-job --no-wait
  raysweep stop my-job -o json | jq -r .status

\b
Exit codes:
  0  the job has ended; with --no-wait: the head accepted the request
  1  anything else: the job still runs, the head is gone, missing rights, not reachable
  2  usage
  3  the RayJob does not exist
"""


@options.command(EPILOG)
@options.name_argument
@click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="wait until the job has ended, for at most one minute",
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
@options.quiet
def command(name: str, *, wait: bool, **flags: Any) -> None:
    """Stop the job of RayJob NAME.

    RayJob and RayCluster are kept until their TTL expires.
    """
    from raysweep.cli.stop import run

    sys.exit(run.stop(name, Options(**flags, sends=True), wait=wait))
