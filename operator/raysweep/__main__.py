"""The program `raysweep`. It imports a command only when the command is called.

Installed as `kubectl-raysweep` it is a kubectl plugin, and its help says `kubectl raysweep`.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import click

from raysweep.cli.common import terminal

COMMANDS = {
    "completion": ("raysweep.cli.completion.command", "print the completion script for a shell"),
    "keep": ("raysweep.cli.keep.command", "keep a RayJob for some time, or remove the hold"),
    "lint": ("raysweep.cli.lint.command", "check annotations, policies and RayJobs"),
    "logs": ("raysweep.cli.logs.command", "print or follow the log of a job"),
    "options": ("raysweep.cli.options.command", "list the connection flags, as in kubectl"),
    "plan": ("raysweep.cli.plan.command", "show what Raysweep will delete, when and why"),
    "run": ("raysweep.controller.run", "run the operator in the foreground"),
    "stop": ("raysweep.cli.stop.command", "stop a job"),
    "submit": ("raysweep.cli.submit.command", "submit a Ray job with its cleanup"),
    "sweep": ("raysweep.cli.sweep.command", "delete finished RayJobs now, whatever their TTL"),
    "why": ("raysweep.cli.why.command", "explain why a RayJob is kept, or when it is deleted"),
}
"""The module of each command, and its summary."""

PLUGIN = "kubectl-raysweep"


class _LazyGroup(click.Group):
    """Imports the module of a command when it is used, not when it is listed."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Takes the program name from the call. The completion variable does not depend on it."""
        terminal.protect()
        is_plugin = Path(sys.argv[0]).stem == PLUGIN
        extra["prog_name"] = extra.get("prog_name") or (
            "kubectl raysweep" if is_plugin else "raysweep"
        )
        return super().main(*args, **extra | {"complete_var": "_RAYSWEEP_COMPLETE"})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, description) for name, (_, description) in sorted(COMMANDS.items())]
            )


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="raysweep", prog_name="raysweep")
def main(**_: Any) -> None:
    """Delete the RayCluster and the RayJob of a Ray job on Kubernetes when its TTL has elapsed.

    Nothing is deleted until you set a TTL:

    \b
      kubectl annotate rayjob my-job raysweep.io/ttl=1h
      kubectl annotate namespace team-a raysweep.io/ttl=1d
    """


if __name__ == "__main__":
    main(prog_name="raysweep")
