"""The command `raysweep lint`."""

import sys
from pathlib import Path
from typing import Any

import click

from raysweep.cli.common import options
from raysweep.cli.common.options import Options

EPILOG = """\b
Examples:
  raysweep lint jobs.yaml policies/             files, and *.yaml, *.yml, *.json in folders
  helm template my-chart | raysweep lint -      stdin
  raysweep lint --strict -o json manifests/     for scripts: warnings count like errors
  raysweep lint --live -n team-a                one namespace of the cluster
  raysweep lint --live -A                       all namespaces, and the policies

\b
Exit codes:
  0  no errors; with --strict, no warnings either
  1  the cluster cannot be reached, or you may read none of it
  2  usage, or a file that cannot be read or parsed; the other files are checked
  3  errors; with --strict, errors or warnings
"""


@options.command(EPILOG)
@click.argument(
    "files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path, allow_dash=True)
)
@click.option(
    "--live",
    "is_live",
    is_flag=True,
    help="check RayJobs, Namespaces and policies of the cluster instead of files",
)
@options.connection
@options.selection
@options.output("text", "json", "yaml")
@click.option("--strict", is_flag=True, help="fail on warnings too")
def command(
    files: tuple[Path, ...], is_live: bool, strict: bool, output: str, **selection: Any
) -> None:
    """Finds mistakes in RayJobs, Namespaces and RayJobCleanupPolicies.

    It reports annotations and policies that are invalid or have no effect, and RayJobs that
    KubeRay, its CRD or Kueue refuses.

    FILE is a file, a folder, or - for stdin. Objects of other kinds are ignored. Files are checked
    without a connection to a cluster.
    """
    if is_live == bool(files):
        raise click.UsageError("use either files, folders or - for stdin, or --live")
    if is_live:
        from raysweep.cli.lint import cluster

        live_options = Options(output=output, **selection)
        sys.exit(cluster.run(live_options, output, strict=strict))
    _refuse_connection(selection)
    from raysweep.cli.lint import files as manifest_files

    sys.exit(manifest_files.run(files, output, strict=strict))


def _refuse_connection(selection: dict[str, Any]) -> None:
    flags = [name for name in ("namespace", "all_namespaces", "selector") if selection[name]]
    flags += [flag.removeprefix("--") for flag in selection["overrides"].as_flags()]
    if flags:
        raise click.UsageError(f"--{flags[0].replace('_', '-')} needs --live")
