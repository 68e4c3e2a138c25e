"""`raysweep run`: the operator in the foreground. Its flags are made from the Settings, so the two cannot drift apart."""

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any

import click

from raysweep.clients.connection import flags
from raysweep.clients.connection.overrides import Overrides
from raysweep.controller import log_format
from raysweep.settings import Settings, SettingsError, flag, load, variable

EXIT_FAILED, EXIT_USAGE = 1, 2
OPERATOR_PACKAGES = {"kopf", "prometheus_client"}
"""The packages of the extra `operator` in pyproject.toml."""


def _flags(function: Callable[..., Any]) -> Callable[..., Any]:
    for name, field in reversed(Settings.model_fields.items()):
        text = f"{field.description}. Environment: {variable(name)}."
        function = click.option(flag(name), name, default=None, metavar="VALUE", help=text)(
            function
        )
    return function


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@_flags
@flags.connection_beside_settings
def command(overrides: Overrides, **flags: Any) -> None:
    """Run the operator in the foreground.

    It ends on SIGTERM or Ctrl-C once deletions under way have ended, and by itself with exit code 1 where watching fails or its
    Lease is lost, to be started again. Wrong settings end it with exit code 2, all named at once.

    \b
    Examples:
      raysweep run                                  in a Pod, by its service account
      raysweep run --kubeconfig ~/.kube/config      on your machine, against that cluster; it stands by where one leads
      raysweep run --leader-election false          where nothing else runs, without a Lease
      RAYSWEEP_HEAD_ACCESS=api-server raysweep run  heads through the API server
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
        logging.getLogger("raysweep").error("raysweep ends: %s", log_format.safe(error))  # noqa: TRY400 - one line says it
        return EXIT_FAILED
    return 0
