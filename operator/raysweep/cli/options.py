"""Options that commands share, and help that names the program as it was called. Nothing slow is imported here."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

EXIT_TOLD, EXIT_FAILED, EXIT_USAGE, EXIT_NOT_FOUND = 0, 1, 2, 3

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PROXY = re.compile(r"http://[A-Za-z0-9.\-\[\]:]+/?")

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line, as far as commands share it."""

    namespace: str | None = None
    all_namespaces: bool = False
    selector: str | None = None
    output: str = "table"
    context: str | None = None
    kubeconfig: Path | None = None
    ask: bool = False
    head_access: str | None = None
    head_proxy: str | None = None


class Command(click.Command):
    """A command whose examples say `kubectl raysweep` where it was called so."""

    def get_help(self, ctx: click.Context) -> str:
        return renamed(super().get_help(ctx), ctx)


def renamed(text: str, ctx: click.Context) -> str:
    """The text, with examples that begin with the program's name as it was called."""
    program = ctx.find_root().info_name or "raysweep"
    return re.sub(r"^( +)raysweep ", rf"\1{program} ", text, flags=re.MULTILINE) if program == "kubectl raysweep" else text


def command(epilog: str) -> Callable[[Function], click.Command]:
    """As click.command; epilog: examples and exit codes."""
    return click.command(cls=Command, epilog=epilog, context_settings={"help_option_names": ["-h", "--help"]})


def connection(function: Function) -> Function:
    """-n, --context and --kubeconfig."""
    return _all(
        click.option("-n", "--namespace", callback=_namespace, metavar="NAME", help="the namespace; else the context's"),
        click.option("--context", metavar="NAME", help="the kubeconfig's context to use; else its current one"),
        click.option(
            "--kubeconfig",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="the kubeconfig; else KUBECONFIG or ~/.kube/config",
        ),
    )(function)


def selection(function: Function) -> Function:
    """-A and -l."""
    return _all(
        click.option("-A", "--all-namespaces", is_flag=True, help="RayJobs of all namespaces"),
        click.option("-l", "--selector", metavar="LABELS", help="only RayJobs with these labels, as kubectl takes them"),
    )(function)


def output(*formats: str) -> Callable[[Function], Function]:
    """-o with these formats, the first being the default."""
    return click.option(
        "-o", "--output", type=click.Choice(formats), default=formats[0], show_default=True, help="how the answer is printed"
    )


def asking(*, by_default: bool) -> Callable[[Function], Function]:
    """--ask and --no-ask, and the way to the heads."""
    return _all(
        click.option(
            "--ask/--no-ask", default=by_default, show_default=True, help="ask the Ray heads of what is due, as the operator does"
        ),
        click.option(
            "--head-access",
            type=click.Choice(["api-server", "direct"]),
            envvar="RAYSWEEP_HEAD_ACCESS",
            show_envvar=True,
            help="how they are reached: through the API server's service proxy (the default, with your rights), or directly",
        ),
        click.option(
            "--head-proxy",
            metavar="URL",
            callback=_proxy,
            envvar="RAYSWEEP_HEAD_PROXY",
            show_envvar=True,
            help="forward proxy, http://HOST:PORT; with one, access is direct",
        ),
    )


def name_argument(function: Function) -> Function:
    """NAME, of a RayJob; it becomes part of a path, so it must be a name that an object can have."""
    return click.argument("name", callback=_name)(function)


def _all(*decorators: Callable[[Function], Function]) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        for each in reversed(decorators):
            function = each(function)
        return function

    return decorate


def _namespace(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _LABEL.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no name of a Namespace")
    return value


def _proxy(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value and not _PROXY.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no proxy; write http://HOST:PORT")
    return value


def _name(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not _SUBDOMAIN.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no name of a RayJob")
    return value
