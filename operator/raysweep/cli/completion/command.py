"""`raysweep completion`: prints the completion script of a shell, which click makes."""

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
  0  the script was printed
  2  wrong usage
"""


@options.command(EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script for a SHELL: bash, zsh or fish.

    It completes the program `raysweep`. kubectl does not use it for the plugin.
    """
    completion_class = get_completion_class(shell)
    assert completion_class is not None
    program = context.find_root().command
    click.echo(completion_class(program, {}, "raysweep", VARIABLE).source())
