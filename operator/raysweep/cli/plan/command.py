"""`raysweep plan`: its options."""

import sys
from typing import Any

import click

from raysweep.cli.common import options
from raysweep.cli.common.options import Options

EPILOG = """\b
Examples:
  raysweep plan                        what is deleted in the namespace of the context
  raysweep plan -A                     in all namespaces
  raysweep plan -A --all               also what is kept, and why
  raysweep plan -n team-a --ask        asks the Ray heads of RayJobs that are due
  raysweep plan -l team=vision -o json | jq '.items[] | {name, in, reason}'
  raysweep plan -A --watch             until Ctrl-C
  raysweep plan -w -o json | jq -c .summary

\b
Exit codes:
  0    the plan was printed
  1    an error: no rights, API server unreachable, unreadable settings
  2    wrong usage
  130  Ctrl-C
"""


@options.command(EPILOG)
@options.selection
@click.option("--all", "show_all", is_flag=True, help="also show RayJobs that are kept, and why")
@options.output("table", "wide", "json", "yaml", "name")
@options.watching
@options.quiet
@options.asking(by_default=False)
@options.connection
def command(*, show_all: bool, watch: bool, **flags: Any) -> None:
    """Show what Raysweep will delete, when, why, and which resources that frees.

    It runs the operator's checks with your rights, and only reads. The operator asks the Ray head
    of a RayJob before it deletes it. Without --ask the plan does not, and marks such rows. Only
    the running operator knows for how long a Ray head has been silent, so it may decide earlier
    than the plan.

    With --watch the plan stays current. On a terminal it is redrawn in place. Elsewhere it is
    printed again when it changes, with -o json as one document on each line.
    """
    if watch and flags["output"] == "name":
        raise click.UsageError("--watch cannot be combined with -o name: use -o json")
    from raysweep.cli.plan.run import run_plan

    sys.exit(run_plan(Options(**flags), show_all=show_all, watch=watch))
