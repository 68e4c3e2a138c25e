"""`raysweep sweep`: its arguments and options, and which combinations are valid."""

import sys
from typing import Any

import click

from raysweep.cli.common import options
from raysweep.cli.common.options import Options

EPILOG = """\b
Examples:
  raysweep sweep my-job other-job      shows what is deleted, asks, and deletes it
  raysweep sweep --all-finished        all finished RayJobs in the namespace of the context
  raysweep sweep -l team=vision -A     in all namespaces, by label
  raysweep sweep --all-finished -n team-a --dry-run
  raysweep sweep my-job --yes -o json | jq '.items[] | {name, result, reason}'

\b
Exit codes:
  0    every RayJob is deleted; with --dry-run: would be
  1    an error: a request failed, no rights, API server unreachable
  2    wrong usage; without a terminal and without --yes nothing is deleted
  3    a RayJob was refused, does not exist, or you answered no
  130  Ctrl-C; what was deleted before is listed
"""


@options.command(EPILOG)
@options.names_argument
@click.option(
    "--all-finished", is_flag=True, help="all finished RayJobs; with -l those that match it"
)
@options.selection
@click.option("-y", "--yes", is_flag=True, help="delete without asking")
@click.option("--dry-run", is_flag=True, help="delete nothing, only show what would be deleted")
@options.output("table", "wide", "json", "yaml", "name")
@options.quiet
@options.reaching
@options.connection
def command(
    names: tuple[str, ...], *, all_finished: bool, yes: bool, dry_run: bool, **flags: Any
) -> None:
    """Delete the finished RayJobs NAME... and their RayClusters now, whatever their TTL.

    It runs the operator's checks with your rights, except those about time. It refuses a RayJob
    that has not finished, is kept by an annotation, or is in DryRun, and one whose RayCluster is
    in use or belongs to another object. The Ray head of each RayJob is asked right before its
    deletion.
    """
    _check_selection(names, flags["selector"], all_finished=all_finished)
    if flags["all_namespaces"] and (names or flags["namespace"]):
        raise click.UsageError("-A cannot be combined with names or -n: use -l or --all-finished")
    needs_confirmation = not (yes or dry_run)
    if needs_confirmation and not (sys.stdin and sys.stdin.isatty()):
        raise click.UsageError(
            "stdin is not a terminal, so you cannot confirm: use --yes to delete without asking, "
            "or --dry-run to only show what would be deleted"
        )
    from raysweep.cli.sweep.run import SweepRequest, run_sweep

    request = SweepRequest(
        names, all_finished=all_finished, needs_confirmation=needs_confirmation, dry_run=dry_run
    )
    sys.exit(run_sweep(request, Options(**flags)))


def _check_selection(names: tuple[str, ...], selector: str | None, *, all_finished: bool) -> None:
    """An empty selector must not select everything."""
    if selector is not None and not selector.strip():
        raise click.UsageError("-l is empty, which would select everything: give labels or omit it")
    is_selection = selector is not None or all_finished
    if names and is_selection:
        raise click.UsageError("give either names or a selection (-l, --all-finished), not both")
    if not names and not is_selection:
        raise click.UsageError("give names of RayJobs, -l LABELS or --all-finished")
