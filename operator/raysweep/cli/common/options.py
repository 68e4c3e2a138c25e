"""Options that commands share, and help that names the program as it was called. Nothing slow is imported here."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from raysweep.clients.connection import flags
from raysweep.clients.connection.overrides import Overrides

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_NOT_FOUND = 0, 1, 2, 3
EXIT_JOB_FAILED, EXIT_IN_THE_WAY, EXIT_STOPPED, EXIT_NOT_SUBMITTED, EXIT_INTERRUPTED = (
    1,
    3,
    4,
    5,
    130,
)
"""Of `submit`: how the job ended, a namesake is in the way, it was not submitted or is lost sight of, Ctrl-C."""
EXIT_KUBERAY_DELETES = EXIT_SOMETHING_STAYS = 3
"""Of `keep`: KubeRay deletes it all the same. Of `sweep`: not all that was asked for goes."""
EXIT_WRONG = 3
"""Of `lint`: something is wrong with what was checked."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
)
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(/[\w./~-]*)?")
_PROXY = re.compile(r"http://[A-Za-z0-9.\-\[\]:]+/?")

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line, as far as commands share it."""

    namespace: str | None = None
    all_namespaces: bool = False
    selector: str | None = None
    output: str = "table"
    overrides: Overrides = field(default_factory=Overrides)
    ask: bool = False
    head_access: str | None = None
    head_proxy: str | None = None
    address: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool | Path = True
    quiet: bool = False  # no progress, only the answer, warnings and errors
    sends: bool = False  # things are sent to heads: with the token, where one wants it


class Command(click.Command):
    """A command whose examples say `kubectl raysweep` where it was called so."""

    def get_help(self, ctx: click.Context) -> str:
        return renamed(super().get_help(ctx), ctx)


def renamed(text: str, ctx: click.Context) -> str:
    """The text, with examples that begin with the program's name as it was called."""
    program = ctx.find_root().info_name or "raysweep"
    return (
        re.sub(r"^( +)raysweep ", rf"\1{program} ", text, flags=re.MULTILINE)
        if program == "kubectl raysweep"
        else text
    )


def command(epilog: str) -> Callable[[Function], click.Command]:
    """As click.command; epilog: examples and exit codes."""
    return click.command(
        cls=Command, epilog=epilog, context_settings={"help_option_names": ["-h", "--help"]}
    )


def connection(function: Function) -> Function:
    """-n and kubectl's connection flags."""
    namespace = click.option(
        "-n",
        "--namespace",
        callback=_namespace,
        metavar="NAME",
        help="the namespace; else the context's",
    )
    return _all(namespace, flags.connection)(function)


def selection(function: Function) -> Function:
    """-A and -l."""
    return _all(
        click.option("-A", "--all-namespaces", is_flag=True, help="RayJobs of all namespaces"),
        click.option(
            "-l",
            "--selector",
            metavar="LABELS",
            help="only RayJobs with these labels, as kubectl takes them",
        ),
    )(function)


def output(*formats: str) -> Callable[[Function], Function]:
    """-o with these formats, the first being the default."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="how the answer is printed",
    )


def watching(function: Function) -> Function:
    """-w."""
    text = "keep the answer current until Ctrl-C"
    return click.option("-w", "--watch", is_flag=True, help=text)(function)


def quiet(function: Function) -> Function:
    """-q."""
    text = "print no progress, only the answer, warnings and errors"
    return click.option("-q", "--quiet", is_flag=True, help=text)(function)


def asking(*, by_default: bool) -> Callable[[Function], Function]:
    """--ask and --no-ask, and the way to the heads."""
    ask = click.option(
        "--ask/--no-ask",
        default=by_default,
        show_default=True,
        help="ask the Ray heads of what is due, as the operator does",
    )
    return _all(ask, reaching)


def reaching(function: Function) -> Function:
    """The way to the heads."""
    return _all(
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
    )(function)


def at_one_head(function: Function) -> Function:
    """The way to one head, which may have an address of its own."""
    return _all(
        click.option(
            "--address",
            metavar="URL",
            callback=_address,
            help="of the dashboard, as http://localhost:8265; else the API server's service proxy leads there, with your rights",
        ),
        click.option(
            "--headers",
            metavar="JSON",
            callback=_headers,
            help='HTTP headers for --address, as \'{"Cookie": "..."}\'',
        ),
        click.option(
            "--verify",
            metavar="BOOL|FILE",
            default="true",
            callback=_verify,
            help="check the TLS certificate of --address, with these CAs",
        ),
        reaching,
    )(function)


def name_argument(function: Function) -> Function:
    """NAME, of a RayJob; it becomes part of a path, so it must be a name that an object can have."""
    return click.argument("name", callback=_name)(function)


def names_argument(function: Function) -> Function:
    """NAME..., of RayJobs; each once, in the order in which they were given."""
    return click.argument("names", nargs=-1, metavar="[NAME]...", callback=_names)(function)


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


def _address(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value and not _ADDRESS.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no address; write http://HOST:PORT")
    return value


def _headers(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> dict[str, str]:
    found = json_object(value or "{}")
    if found is None or not all(isinstance(one, str) for one in found.values()):
        raise click.BadParameter(
            'write a JSON object of texts, as \'{"Cookie": "..."}\''
        )  # the value may be a secret
    return found


def _verify(_ctx: click.Context, _parameter: click.Parameter, value: str) -> bool | Path:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not Path(value).is_file():
        raise click.BadParameter(
            f"{value!r} is neither true, nor false, nor a file with CA certificates"
        )
    return Path(value)


def json_object(text: str) -> dict[str, Any] | None:
    """The JSON object; None where it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _name(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not _SUBDOMAIN.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no name of a RayJob")
    return value


def _names(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_name(ctx, parameter, value) for value in values))
