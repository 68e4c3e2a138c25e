"""kubectl's connection flags. `raysweep options` lists all, --help lists the usual flags."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from raysweep.clients.connection.overrides import Overrides
from raysweep.core.durations import Never, parse_duration

Function = Callable[..., Any]

OVERRIDES = "raysweep.overrides"
"""The key of the running command's Overrides in click's context."""
REFUSED = {
    "--cache-dir": "Raysweep caches nothing on disk",
    "--kuberc": "preferences of kubectl do not apply to plugins",
    "--match-server-version": "Raysweep does not depend on the version of kubectl",
    "--profile": "profiles are a debugging aid of kubectl itself",
    "--profile-output": "profiles are a debugging aid of kubectl itself",
    "--log-flush-frequency": "Raysweep does not buffer what it prints",
    "--vmodule": "use -v",
    "--warnings-as-errors": "Raysweep does not read the API server's warnings",
}
"""kubectl's other global flags, each with the reason why it is not supported."""


class _Flag(click.Option):
    """A connection flag. --help lists it only if it is usual, `raysweep options` always."""

    def __init__(self, *args: Any, is_usual: bool = False, **more: Any) -> None:
        super().__init__(*args, **more)
        self.is_usual = is_usual

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The help of the flag, or None to hide it. Shell completion still offers it."""
        is_listed = self.is_usual or ctx.info_name == "options"
        return super().get_help_record(ctx) if is_listed else None


def is_connection_flag(parameter: click.Parameter) -> bool:
    """Whether this is one of the flags of this module."""
    return isinstance(parameter, _Flag)


def connection(function: Function) -> Function:
    """Adds all flags to a command, which receives them as one argument `overrides`."""
    return _decorated(function, [*_kubeconfig_options(), *_options(), *_refused()])


def connection_beside_settings(function: Function) -> Function:
    """Like `connection`, for a command whose settings include --kubeconfig and --context."""
    return _decorated(function, [*_options(), *_refused()])


def flag_rows() -> Iterator[tuple[str, str, str]]:
    """Each global flag of kubectl, its support and its help, for the reference of connections."""
    yield "`-n`, `--namespace`", "honored", "the namespace"
    holder = click.command("options")(connection(lambda **_: None))
    for parameter in holder.params:
        if isinstance(parameter, _Flag):
            yield ", ".join(f"`{flag}`" for flag in parameter.opts), "honored", parameter.help or ""
    for flag, reason in REFUSED.items():
        yield f"`{flag}`", "refused", reason


def _decorated(function: Function, decorators: list[Callable[[Function], Function]]) -> Function:
    @functools.wraps(function)
    def with_overrides(*args: Any, **options: Any) -> Any:
        context = click.get_current_context()
        names = [field.name for field in fields(Overrides)]
        flags = [flag.name for flag in context.command.params if isinstance(flag, _Flag)]
        overrides = Overrides(**{name: options.pop(name) for name in names if name in flags})
        for flag in REFUSED:
            options.pop(_variable(flag))
        context.meta[OVERRIDES] = overrides
        return function(*args, overrides=overrides, **options)

    decorated: Function = with_overrides
    for decorator in reversed(decorators):
        decorated = decorator(decorated)
    return decorated


def _kubeconfig_options() -> list[Callable[[Function], Function]]:
    return [
        _text(
            "--context",
            "NAME",
            "kubeconfig context to use, instead of the current one",
            is_usual=True,
        ),
        click.option(
            "--kubeconfig",
            cls=_Flag,
            is_usual=True,
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="kubeconfig file, instead of KUBECONFIG or ~/.kube/config",
        ),
    ]


def _options() -> list[Callable[[Function], Function]]:
    return [
        _text("--cluster", "NAME", "kubeconfig cluster to use, instead of the context's"),
        _text("--user", "NAME", "kubeconfig user to use, instead of the context's"),
        _text(("-s", "--server"), "URL", "address of the API server"),
        _text("--tls-server-name", "NAME", "name that the API server's certificate must have"),
        click.option(
            "--insecure-skip-tls-verify",
            cls=_Flag,
            is_flag=True,
            help="do not verify the API server's certificate",
        ),
        _text("--certificate-authority", "FILE", "file with the CAs to trust"),
        _text("--proxy-url", "URL", "proxy for requests to the API server: http, https or socks5"),
        click.option(
            "--disable-compression",
            cls=_Flag,
            is_flag=True,
            help="has no effect: Raysweep never requests compressed responses",
        ),
        _text("--client-certificate", "FILE", "client certificate for TLS"),
        _text("--client-key", "FILE", "key of the client certificate"),
        _text("--token", "TOKEN", "bearer token"),
        _text("--username", "NAME", "user name for basic authentication"),
        _text("--password", "PASSWORD", "password for basic authentication"),
        _text(("--as", "as_user"), "USER", "user to impersonate; needs the right to do so"),
        _text("--as-uid", "UID", "uid to impersonate"),
        _text("--as-group", "GROUP", "group to impersonate; can be repeated", multiple=True),
        click.option(
            "--as-user-extra",
            cls=_Flag,
            multiple=True,
            callback=_extra,
            metavar="KEY=VALUE",
            help="extra field to impersonate; can be repeated",
        ),
        click.option(
            "--request-timeout",
            cls=_Flag,
            callback=_timeout,
            metavar="DURATION",
            help="give up a single request after this time, such as 30s or 2m; 0 means never",
        ),
        click.option(
            "-v",
            "--v",
            "verbosity",
            cls=_Flag,
            type=click.IntRange(min=0),
            default=0,
            metavar="LEVEL",
            help="from 6 on, print every request to stderr",
        ),
    ]


def _text(
    flag: str | tuple[str, ...],
    metavar: str,
    description: str,
    *,
    multiple: bool = False,
    is_usual: bool = False,
) -> Callable[[Function], Function]:
    words = (flag,) if isinstance(flag, str) else flag
    return click.option(
        *words, cls=_Flag, is_usual=is_usual, multiple=multiple, metavar=metavar, help=description
    )


def _refused() -> list[Callable[[Function], Function]]:
    """Hidden flags that end the command with the reason why they are not supported."""
    return [click.option(flag, hidden=True, callback=_refuse, metavar="VALUE") for flag in REFUSED]


def _refuse(_ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        flag = parameter.opts[0]
        raise click.BadParameter(
            f"kubectl's flag is not supported: {REFUSED[flag]}", param=parameter
        )


def _variable(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _extra(
    _ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    extra: dict[str, tuple[str, ...]] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{value!r} is not of the form KEY=VALUE")
        extra[key] = (*extra.get(key, ()), text)
    return extra


def _timeout(
    _ctx: click.Context, _parameter: click.Parameter, value: str | None
) -> timedelta | None:
    if value is None:
        return None
    try:
        timeout = parse_duration(value)
    except ValueError:
        timeout = None
    if timeout is None or isinstance(timeout, Never):
        raise click.BadParameter(
            f"invalid duration {value!r}: use seconds or a value such as 30s, 2m or 1h"
        )
    return timeout
