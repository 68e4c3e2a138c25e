"""`raysweep options`: the connection flags that every command takes, as `kubectl options` does it."""

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
    """Lists kubectl's connection flags. Every command that connects to a cluster takes them.

    They mean what they mean for kubectl; docs/reference/connections.md has the whole table.
    """
    click.echo(context.get_help())
