"""`raysweep options`: the connection flags of every command, as `kubectl options` lists them."""

from typing import Any

import click

from raysweep.cli.common import options
from raysweep.clients.connection.flags import connection

EPILOG = """\b
Examples:
  raysweep options
  raysweep plan --as alice --as-group viewers    as another user, if you may impersonate
  raysweep sweep train -s https://10.0.0.1:6443 --certificate-authority ca.crt --token "$TOKEN"
"""


@options.command(EPILOG)
@connection
@click.pass_context
def command(context: click.Context, /, **_: Any) -> None:
    """List kubectl's connection flags. Every command that connects to a cluster has them.

    They have the same meaning as in kubectl. The documentation lists them all
    (docs/reference/connections.md).
    """
    click.echo(context.get_help())
