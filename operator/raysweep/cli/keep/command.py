"""`raysweep keep`: its arguments and options."""

import sys
from typing import Any

import click

from raysweep.cli.common import options
from raysweep.cli.common.options import Options

EPILOG = """\b
Examples:
  raysweep keep my-job 3d              for three days from now
  raysweep keep my-job 12h --reason 'the loss explodes at step 900'
  raysweep keep my-job 2026-12-24T18:00:00Z -n team-a
  raysweep keep my-job --clear         removes the hold
  raysweep keep my-job 3d -o json | jq -r '.patchCommand // empty' | sh

\b
Exit codes:
  0  the RayJob is kept; with --clear: the hold is removed
  1  an error: no such RayJob, it is being deleted, a policy's limit has passed, no rights,
     API server unreachable
  2  wrong usage
  3  Raysweep keeps the RayJob, but KubeRay will delete it or its RayCluster before that time;
     a command that prevents this is printed
"""


@options.command(EPILOG)
@options.name_argument
@click.argument("until", required=False, metavar="[DURATION|TIME]")
@click.option("--reason", metavar="TEXT", help="why; shown wherever the hold is reported")
@click.option("--clear", is_flag=True, help="remove the hold and its reason")
@options.output("text", "json", "yaml")
@options.connection
def command(name: str, until: str | None, *, reason: str | None, clear: bool, **flags: Any) -> None:
    """Keep the RayJob NAME and its RayCluster for a DURATION from now (3d, 12h), or until a TIME.

    Raysweep deletes neither before that time. KubeRay ignores the hold: if the spec of the RayJob
    makes KubeRay delete the RayJob or its RayCluster earlier, the answer says so, with a command
    that hands the deletion over to Raysweep.
    """
    if (until is None) is not clear:
        raise click.UsageError("give either a duration, a time, or --clear")
    if clear and reason is not None:
        raise click.UsageError("--reason cannot be combined with --clear, which removes the reason")
    from raysweep.cli.keep.run import run_keep

    sys.exit(run_keep(name, until, reason, Options(**flags)))
