"""`raysweep completion`: prints what a shell needs to complete this program's words. Click makes it."""

import click
from click.shell_completion import get_completion_class

from raysweep.cli.common import options

VARIABLE = "_RAYSWEEP_COMPLETE"

EPILOG = """\b
Examples:
  source <(raysweep completion bash)
  raysweep completion zsh > "${fpath[1]}/_raysweep"
  raysweep completion fish > ~/.config/fish/completions/raysweep.fish

\b
Exit codes:
  0  told    2  usage
"""


@options.command(EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script for a SHELL.

    It completes the program `raysweep`; called as a kubectl plugin it is not asked by kubectl.
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "raysweep", VARIABLE).source())
