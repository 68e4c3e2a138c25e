"""`raysweep why`: its arguments and options."""

import sys
from typing import Any

from raysweep.cli.common import options
from raysweep.cli.common.options import Options

EPILOG = """\b
Examples:
  raysweep why my-job                  in the namespace of the context
  raysweep why my-job -n team-a
  raysweep why my-job --no-ask         without asking its Ray head
  raysweep why my-job -o json | jq -r .reason
  raysweep why my-job --watch          until the RayJob is deleted, or Ctrl-C

\b
Exit codes:
  0    the answer was printed; with --watch: the RayJob was deleted
  1    an error: no rights, API server unreachable, unreadable settings
  2    wrong usage
  3    the RayJob does not exist; Events about it are printed
  130  Ctrl-C
"""


@options.command(EPILOG)
@options.name_argument
@options.output("text", "json", "yaml")
@options.watching
@options.asking(by_default=True)
@options.connection
def command(name: str, *, watch: bool, **flags: Any) -> None:
    """Explain why the RayJob NAME is kept, or when it is deleted.

    The answer names the check that decides, the facts behind it, where each TTL is set, the
    earliest time of deletion, and what KubeRay deletes on its own. For a RayJob that does not
    exist anymore, it shows Raysweep's Events. It runs the operator's checks with your rights, and
    only reads.

    With --watch the answer stays current until the RayJob is deleted. On a terminal it is redrawn
    in place. Elsewhere it is printed again when it changes, with -o json as one document on each
    line.
    """
    from raysweep.cli.why.run import run_why

    sys.exit(run_why(name, Options(**flags), watch=watch))
