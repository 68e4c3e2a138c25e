"""`raysweep run`: runs the operator in the foreground. Its flags are generated from Settings."""

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any

import click

from raysweep.clients.connection import flags
from raysweep.clients.connection.overrides import Overrides
from raysweep.controller import log_format
from raysweep.settings import (
    Group,
    Settings,
    SettingsError,
    flag,
    group_of,
    load,
    metavar_of,
    variable,
)

EXIT_FAILED, EXIT_USAGE = 1, 2
OPERATOR_PACKAGES = {"kopf", "prometheus_client"}
"""The packages of the extra `operator` in pyproject.toml."""


class _SettingOption(click.Option):
    """The flag of a setting, listed in --help under the heading of its group."""

    def __init__(self, *args: Any, group: Group, **more: Any) -> None:
        super().__init__(*args, **more)
        self.group = group


class _GroupedCommand(click.Command):
    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headings: dict[str, list[tuple[str, str]]] = {group: [] for group in Group}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            heading = "Other options"
            if isinstance(parameter, _SettingOption):
                heading = parameter.group
            headings.setdefault(heading, []).append(record)
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def _setting_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, field in reversed(Settings.model_fields.items()):
        option = click.option(
            flag(name),
            name,
            cls=_SettingOption,
            group=group_of(field),
            metavar=metavar_of(field),
            help=f"{field.description} [{variable(name)}]",
        )
        function = option(function)
    return function


@click.command(cls=_GroupedCommand, context_settings={"help_option_names": ["-h", "--help"]})
@_setting_options
@flags.connection_beside_settings
def command(overrides: Overrides, **flags: Any) -> None:
    """Run the operator in the foreground.

    On SIGTERM or Ctrl-C it finishes the deletions in progress and exits. It exits with code 1 if
    it loses its Lease or the watch fails, so that it is restarted. It exits with code 2 and lists
    every problem if settings are invalid.

    A flag has precedence over its environment variable, which is given in brackets.

    \b
    Examples:
      raysweep run                                  in a Pod, with its service account
      raysweep run --kubeconfig ~/.kube/config      on your machine; standby if a leader exists
      raysweep run --leader-election false          without a Lease, as the only replica
      RAYSWEEP_HEAD_ACCESS=api-server raysweep run  probe heads through the API server
    """
    try:
        settings = load(flags)
    except SettingsError as error:
        click.echo("\n".join(f"raysweep: {problem}" for problem in error.problems), err=True)
        sys.exit(EXIT_USAGE)
    log_format.set_up(settings)
    sys.exit(_serve(settings, overrides))


def _serve(settings: Settings, overrides: Overrides) -> int:
    # These imports take a second, which --help does not need.
    from raysweep.clients.connection.kubeconfig import ClientConfigError

    try:
        from raysweep.controller import app
    except ModuleNotFoundError as error:
        if error.name not in OPERATOR_PACKAGES:
            raise
        hint = "install raysweep[operator]"
        click.echo(f"raysweep: the package {error.name} is not installed: {hint}", err=True)
        return EXIT_FAILED
    try:
        asyncio.run(app.run(settings, overrides))
    except (ClientConfigError, app.EndedError, OSError) as error:
        log = logging.getLogger("raysweep")
        log.error("exiting: %s", log_format.safe(error))  # noqa: TRY400 - no traceback needed
        return EXIT_FAILED
    return 0
