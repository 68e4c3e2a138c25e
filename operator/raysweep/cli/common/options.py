"""The options that commands share, and the layout of --help. Nothing slow is imported here."""

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
EXIT_INTERRUPTED = 130
EXIT_JOB_FAILED, EXIT_NAME_CONFLICT, EXIT_STOPPED, EXIT_NOT_SUBMITTED = 1, 3, 4, 5
"""Of `submit`: the job failed, its name is taken, it was stopped, its end is unknown."""
EXIT_KUBERAY_DELETES = 3
"""Of `keep`: KubeRay deletes the RayJob or its RayCluster nevertheless."""
EXIT_NOT_ALL_DELETED = 3
"""Of `sweep`: not every RayJob is deleted."""
EXIT_PROBLEMS = 3
"""Of `lint`: there are problems."""

CONNECTION = "Connection"
RAY_HEAD = "Ray head"
"""Sections of --help, besides Options."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
)
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(/[\w./~-]*)?")
_PROXY = re.compile(r"http://[A-Za-z0-9.\-\[\]:]+/?")

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]


@dataclass(frozen=True, slots=True)
class Options:
    """The values of the options that commands share."""

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
    quiet: bool = False  # print no progress, only the answer, warnings and errors
    sends: bool = False  # requests change something on heads: use a token if a head wants one


class SectionOption(click.Option):
    """An option that --help lists in a section of its own."""

    def __init__(self, *args: Any, section: str, **more: Any) -> None:
        super().__init__(*args, **more)
        self.section = section


class Command(click.Command):
    """A command whose help has sections, and examples with the name by which it was called."""

    def get_help(self, ctx: click.Context) -> str:
        return renamed(super().get_help(ctx), ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the options by section. The command's own options come first."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record and isinstance(parameter, click.Option):
                sections.setdefault(_section(parameter), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _section(parameter: click.Parameter) -> str:
    if isinstance(parameter, SectionOption):
        return parameter.section
    return CONNECTION if flags.is_connection_flag(parameter) else "Options"


def renamed(text: str, ctx: click.Context) -> str:
    """The text, with `kubectl raysweep` in examples if it was called as a kubectl plugin."""
    program = ctx.find_root().info_name or "raysweep"
    if program != "kubectl raysweep":
        return text
    return re.sub(r"^( +)raysweep ", rf"\1{program} ", text, flags=re.MULTILINE)


def command(epilog: str) -> Callable[[Function], click.Command]:
    """Declares a command. epilog: examples and exit codes."""
    return click.command(
        cls=Command, epilog=epilog, context_settings={"help_option_names": ["-h", "--help"]}
    )


def connection(function: Function) -> Function:
    """Adds -n and kubectl's connection flags."""
    namespace = click.option(
        "-n",
        "--namespace",
        cls=SectionOption,
        section=CONNECTION,
        callback=_namespace,
        metavar="NAME",
        help="namespace; by default the one of the kubeconfig context",
    )
    return _all(namespace, flags.connection)(function)


def selection(function: Function) -> Function:
    """Adds -A and -l."""
    return _all(
        click.option("-A", "--all-namespaces", is_flag=True, help="RayJobs in all namespaces"),
        click.option(
            "-l",
            "--selector",
            metavar="LABELS",
            help="only RayJobs that match this label selector, such as team=vision",
        ),
    )(function)


def output(*formats: str) -> Decorator:
    """Adds -o with these formats. The first is the default."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(formats),
        default=formats[0],
        show_default=True,
        help="output format",
    )


def watching(function: Function) -> Function:
    """Adds -w."""
    text = "update the answer until you press Ctrl-C"
    return click.option("-w", "--watch", is_flag=True, help=text)(function)


def quiet(function: Function) -> Function:
    """Adds -q."""
    text = "print no progress, only the answer, warnings and errors"
    return click.option("-q", "--quiet", is_flag=True, help=text)(function)


def asking(*, by_default: bool) -> Decorator:
    """Adds --ask and --no-ask, and how Ray heads are reached."""
    ask = click.option(
        "--ask/--no-ask",
        cls=SectionOption,
        section=RAY_HEAD,
        default=by_default,
        show_default=True,
        help="ask the Ray heads of RayJobs that are due, as the operator does",
    )
    return _all(ask, reaching)


def reaching(function: Function) -> Function:
    """Adds how Ray heads are reached."""
    return _all(
        click.option(
            "--head-access",
            cls=SectionOption,
            section=RAY_HEAD,
            type=click.Choice(["api-server", "direct"]),
            envvar="RAYSWEEP_HEAD_ACCESS",
            show_envvar=True,
            help="reach Ray heads through the API server's service proxy, which is the default and "
            "uses your rights, or directly",
        ),
        click.option(
            "--head-proxy",
            cls=SectionOption,
            section=RAY_HEAD,
            metavar="URL",
            callback=_proxy,
            envvar="RAYSWEEP_HEAD_PROXY",
            show_envvar=True,
            help="reach Ray heads directly, through this forward proxy: http://HOST:PORT",
        ),
    )(function)


def at_one_head(function: Function) -> Function:
    """Adds how one Ray head is reached, which may have its own address."""
    return _all(
        click.option(
            "--address",
            cls=SectionOption,
            section=RAY_HEAD,
            metavar="URL",
            callback=_address,
            help="address of the Ray dashboard, such as http://localhost:8265; by default the API "
            "server's service proxy, with your rights",
        ),
        click.option(
            "--headers",
            cls=SectionOption,
            section=RAY_HEAD,
            metavar="JSON",
            callback=_headers,
            help='HTTP headers for --address, such as \'{"Cookie": "..."}\'',
        ),
        click.option(
            "--verify",
            cls=SectionOption,
            section=RAY_HEAD,
            metavar="BOOL|FILE",
            default="true",
            callback=_verify,
            help="whether to verify the TLS certificate of --address, or a file with trusted CAs",
        ),
        reaching,
    )(function)


def name_argument(function: Function) -> Function:
    """Adds NAME, of a RayJob. It becomes part of a URL path, so it must be a valid object name."""
    return click.argument("name", callback=_name)(function)


def names_argument(function: Function) -> Function:
    """Adds NAME..., of RayJobs. Repeated names are dropped."""
    return click.argument("names", nargs=-1, metavar="[NAME]...", callback=_names)(function)


def json_object(text: str) -> dict[str, Any] | None:
    """The JSON object in the text; None if it holds none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _all(*decorators: Decorator) -> Decorator:
    def decorate(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _namespace(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _LABEL.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a valid name of a Namespace")
    return value


def _proxy(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value and not _PROXY.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a proxy URL: use http://HOST:PORT")
    return value


def _address(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value and not _ADDRESS.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a dashboard URL: use http://HOST:PORT")
    return value


def _headers(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> dict[str, str]:
    """The error does not quote the value, which may hold a secret."""
    headers = json_object(value or "{}")
    if headers is None or not all(isinstance(header, str) for header in headers.values()):
        raise click.BadParameter('use a JSON object of strings, such as \'{"Cookie": "..."}\'')
    return headers


def _verify(_ctx: click.Context, _parameter: click.Parameter, value: str) -> bool | Path:
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not Path(value).is_file():
        raise click.BadParameter(f"{value!r} is not a file: use true, false or a file with CAs")
    return Path(value)


def _name(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not _SUBDOMAIN.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a valid name of a RayJob")
    return value


def _names(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_name(ctx, parameter, value) for value in values))
