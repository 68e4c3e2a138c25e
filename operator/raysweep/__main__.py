"""The program `raysweep`: finds the command and loads it only then, so that --help stays quick. Nothing else happens here.

Under the name `kubectl-raysweep` it is the kubectl plugin: kubectl calls it so, and its help says `kubectl raysweep`.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import click

from raysweep.cli.common import terminal

COMMANDS = {
    "completion": ("raysweep.cli.completion.command", "print the completion script for a shell"),
    "keep": ("raysweep.cli.keep.command", "keep a RayJob for a time, or no longer"),
    "lint": (
        "raysweep.cli.lint.command",
        "check annotations and policies in files or in the cluster",
    ),
    "logs": ("raysweep.cli.logs.command", "print or follow a job's log"),
    "options": ("raysweep.cli.options.command", "list the connection flags, which are kubectl's"),
    "plan": (
        "raysweep.cli.plan.command",
        "what would be deleted, when, by which rule, and what that frees",
    ),
    "run": ("raysweep.controller.run", "run the operator in the foreground"),
    "stop": ("raysweep.cli.stop.command", "stop a job"),
    "submit": ("raysweep.cli.submit.command", "submit a Ray job with its cleanup"),
    "sweep": ("raysweep.cli.sweep.command", "delete now what has finished, whatever its TTL"),
    "why": ("raysweep.cli.why.command", "why a RayJob stays, or when it goes"),
}
"""Name to module and meaning."""

PLUGIN = "kubectl-raysweep"


class _Lazy(click.Group):
    """Commands by name; their modules are imported when they are used, not when they are listed."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Named as it was called; the completion's variable is one and the same whatever the name."""
        terminal.check()
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


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="raysweep", prog_name="raysweep")
def main(**_: Any) -> None:
    """Deletes the RayCluster and the RayJob once a Ray job on Kubernetes has finished and its TTL has elapsed.

    Nothing is deleted until somebody sets a TTL:

    \b
      kubectl annotate rayjob my-job raysweep.io/ttl=1h
      kubectl annotate namespace team-a raysweep.io/ttl=1d
    """


if __name__ == "__main__":
    main(prog_name="raysweep")
