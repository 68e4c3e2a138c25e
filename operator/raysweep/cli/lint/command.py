"""`raysweep lint`: RayJobs and policies checked before they decide anything. What is wrong is found in lint_checks.py,
lint_native.py and lint_policies.py; here stand the command, its answer and its exit code.
"""

import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click

from raysweep.cli.common import options
from raysweep.cli.common.options import Options

EPILOG = """\b
Examples:
  raysweep lint jobs.yaml policies/             files, and *.yaml, *.yml, *.json in folders
  helm template my-chart | raysweep lint -      what comes from stdin
  raysweep lint --strict -o json manifests/     warnings count too, for scripts
  raysweep lint --live -n team-a                what is in the cluster: one namespace
  raysweep lint --live -A                       all of them, and the policies

\b
Exit codes:
  0  nothing is wrong; there may be warnings, unless --strict is given
  1  could not check: the cluster cannot be reached, or you may read none of it
  2  usage, or a file that cannot be read or parsed; the others are checked, and this code wins
  3  something is wrong with what was checked
"""


@options.command(EPILOG)
@click.argument(
    "files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path, allow_dash=True)
)
@click.option(
    "--live",
    "is_live",
    is_flag=True,
    help="check RayJobs, Namespaces and policies in the cluster instead of files",
)
@options.connection
@options.selection
@options.output("text", "json", "yaml")
@click.option("--strict", is_flag=True, help="a warning is as bad as an error")
def command(files: tuple[Path, ...], is_live: bool, strict: bool, **given: Any) -> None:
    """Finds annotations and policies that Raysweep could not understand, or that do something else than they seem to.

    It also finds RayJobs that KubeRay, its CRD or Kueue refuses.

    FILE is a file, a folder, or - for stdin. Objects of other kinds are passed over. For files no connection is opened.
    """
    if is_live == bool(files):
        raise click.UsageError("name files or folders, - for stdin, or give --live; and not both")
    from raysweep.cli.lint.report import answer

    if is_live:
        from raysweep.cli.common.session import (
            run,
        )  # the clients load slowly: not for files, nor for --help
        from raysweep.cli.lint.cluster import lint_cluster

        sys.exit(
            run(
                lint_cluster(
                    Options(**given), partial(answer, output=given["output"], strict=strict)
                )
            )
        )
    stray = next((name for name in ("namespace", "all_namespaces", "selector") if given[name]), "")
    stray = stray or next((flag.removeprefix("--") for flag in given["overrides"].as_flags()), "")
    if stray:
        raise click.UsageError(
            f"--{stray.replace('_', '-')} goes with --live; files say themselves where they belong"
        )
    from raysweep.cli.lint.files import lint_files

    now = datetime.now(UTC)  # noqa: TID251 - session.py has the clock, and with it all the clients
    sys.exit(answer(lint_files(files, now), given["output"], strict=strict))
