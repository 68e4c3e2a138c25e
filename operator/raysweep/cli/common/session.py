"""One command's connection: the caller's identity, the operator's settings, and what there is, listed. It only reads;
what a command writes, it writes itself.

Imported when a command runs, never for its help: the clients load slowly.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from raysweep import names
from raysweep.cleanup.circuit_breaker import CircuitBreaker
from raysweep.cleanup.observe import Observer
from raysweep.cli.common import drawing, formatting
from raysweep.cli.common.cluster_snapshot import Listed
from raysweep.cli.common.options import EXIT_FAILED, EXIT_INTERRUPTED, Options
from raysweep.cli.common.progress import progress_for
from raysweep.clients.connection.credentials import Credentials
from raysweep.clients.connection.flags import OVERRIDES
from raysweep.clients.connection.kubeconfig import ClientConfigError
from raysweep.clients.connection.overrides import Overrides
from raysweep.clients.connection.proxies import ProxyError, proxy_for
from raysweep.clients.kubernetes.client import PolicyList
from raysweep.clients.kubernetes.errors import ApiError, ForbiddenError, NotFoundError
from raysweep.clients.kubernetes.pages import Page
from raysweep.clients.kubernetes.user_client import USER_AGENT, UserClient
from raysweep.clients.kubernetes.user_writer import UserWriter
from raysweep.clients.ray.dashboard import Dashboard
from raysweep.clients.ray.tokens import Tokens
from raysweep.clients.ray.transport import (
    HeadTransport,
    address_transport,
    api_server_transport,
    direct_transport,
)
from raysweep.core.durations import format_duration
from raysweep.core.model.parameters import Mode
from raysweep.core.retention.policies import strongest_first
from raysweep.core.text import command_line
from raysweep.settings import Settings, SettingsError, flag, load, variable
from raysweep.submission.progress import Progress

Fact = TypeVar("Fact")

REQUESTS_FROM = 6
"""The verbosity from which kubectl prints its requests."""
OPERATORS_NAMESPACE = OPERATORS_CONFIG_MAP = "raysweep"
LISTS_ARE_FRESH_FOR = timedelta(minutes=10)
JUDGED_WITH = (
    "mode",
    "protected_namespaces",
    "recreated_by",
    "kuberay_ttl",
    "kuberay_grace",
    "cron_grace",
)
"""Settings that a judgement without memory reckons with; the rest are graces and paces that only the running operator knows."""


class FailedError(Exception):
    """The command cannot go on; the text is one clear sentence."""


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """What the operator was told, and how that is known."""

    settings: Settings
    source: str
    assumed: str = ""  # why they had to be assumed; "" where they were read


@dataclass
class Session:
    """Everything a command asks and judges with. `namespace` is "" where all are meant."""

    options: Options
    kubernetes: UserWriter
    dashboard: Dashboard
    transport: HeadTransport
    observer: Observer
    known: Listed
    operator: OperatorSettings
    namespace: str
    server: str
    now: Callable[[], datetime]
    progress: Progress
    notes: list[str] = field(default_factory=list)
    _read_at: timedelta | None = None  # uptime: when Namespaces and policies were asked for last
    _one_read_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def list_all(self) -> list[str]:
        """Lists everything a decision rests on, anew; the uids of the RayJobs that were asked for."""
        await self.read_rayjobs()
        if self.options.selector:
            await self.read_selected()
        await self.read_rayclusters()
        await self._read_what_may_say_keep()
        return self.selected_uids()

    def selected_uids(self) -> list[str]:
        """The uids of the RayJobs that were asked for, among those that were listed."""
        known = self.known
        if not self.options.selector:
            return list(known.rayjobs)
        return [uid for uid in known.rayjobs if uid in known.selected]

    async def read_rayjobs(self) -> str:
        """Lists RayJobs. Returns the list's resourceVersion, as the methods below do."""
        try:
            jobs, version = await _whole(self.kubernetes.rayjobs(self.namespace))
        except NotFoundError as error:
            raise FailedError(
                f"there are no RayJobs on {self.server}: KubeRay's CRDs are not installed there"
            ) from error
        self.known.replace_rayjobs(jobs)
        return version

    async def read_selected(self) -> str:
        """Lists what the label selector selects."""
        selector = self.options.selector or ""
        uids, version = await _whole(self.kubernetes.rayjob_uids(self.namespace, selector))
        self.known.selected.clear()
        self.known.selected.update(uids)
        return version

    async def read_rayclusters(self) -> str:
        """Lists RayClusters."""
        clusters, version = await _whole(self.kubernetes.rayclusters(self.namespace))
        self.known.replace_rayclusters(clusters)
        return version

    async def confirm(self, max_age: timedelta) -> None:
        """Reads Namespaces and policies again where that was longer ago: a deletion rests on them. Raises ApiError."""
        async with self._one_read_at_a_time:
            if self._read_at is None or uptime() - self._read_at > max_age:
                await self._read_what_may_say_keep()

    async def _read_what_may_say_keep(self) -> None:
        began = uptime()
        await self.read_namespaces()
        await self.read_policies()
        self._read_at = began

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    async def read_policies(self) -> str | None:
        """A 403 comes first where the CRD is not there at all; discovery, which everybody may ask, tells the two apart.

        An operator that works in some namespaces only does not heed them. Returns None if there is
        nothing to watch.
        """
        if self.operator.settings.namespaces:
            self.known.replace_policies((), uptime())
            return None
        asked_at = uptime()
        try:
            listed = await self.kubernetes.policies()
        except ForbiddenError as error:
            if await self.kubernetes.serves(
                f"{names.POLICY_GROUP}/{names.POLICY_VERSION}", names.POLICIES
            ):
                self._note(f"you may not read RayJobCleanupPolicies, which may say keep: {error}")
                self.known.clear_policies()
                return None
            listed = PolicyList(())
        self.known.replace_policies(listed.policies, asked_at)
        return listed.resource_version or None

    async def read_namespaces(self) -> str:
        """Lists Namespaces if all are meant and the caller may; else gets them one by one.

        The resourceVersion is "" then. What cannot be read stays unknown.
        """
        needed = {job.namespace for job in self.known.rayjobs.values()}
        version = await self._list_namespaces() if not self.namespace and len(needed) > 1 else None
        if version is not None:
            return version
        for name in sorted(needed):
            asked_at = uptime()
            try:
                namespace = await self.kubernetes.namespace(name)
            except ForbiddenError as error:
                self._note(f"you may not read Namespace {name}, which may say keep: {error}")
                namespace = None
            if namespace:
                self.known.upsert_namespace(namespace, asked_at)
            else:
                self.known.remove_namespace(name)
        return ""

    async def _list_namespaces(self) -> str | None:
        """The resourceVersion of the list; None if the caller may not list them."""
        asked_at = uptime()
        try:
            namespaces, version = await _whole(self.kubernetes.namespaces())
        except ForbiddenError:
            return None
        self.known.replace_namespaces(namespaces, asked_at)
        return version


async def _whole(pages: AsyncIterator[Page[Fact]]) -> tuple[list[Fact], str]:
    """All items of a list, and the resourceVersion of its first page: a watch from it misses none."""
    found: list[Fact] = []
    version = ""
    async for page in pages:
        found += page
        version = version or page.resource_version
    return found, version


def utc_now() -> datetime:
    """The one clock of the command line."""
    return datetime.now(UTC)  # noqa: TID251


def uptime() -> timedelta:
    """The monotonic clock of the command line."""
    return timedelta(seconds=time.monotonic())


@asynccontextmanager
async def open_session(options: Options) -> AsyncIterator[Session]:
    """Connects as the caller. Raises ClientConfigError, ApiError, FailedError."""
    credentials = Credentials.find(options.overrides)
    credentials.log_requests = _request_log(options.overrides)
    await credentials.log_in()
    async with AsyncExitStack() as stack:
        client = credentials.api_client(user_agent=USER_AGENT)
        kubernetes = UserWriter(client, _count_nothing, request_timeout=credentials.request_timeout)
        stack.push_async_callback(kubernetes.close)
        operators = await _operator_settings(kubernetes)
        kubernetes.recreated_by = operators.settings.parameters.recreated_by
        tokens = Tokens(kubernetes) if operators.settings.head_tokens or options.sends else None
        transport = _head_transport(options, credentials, operators.settings)
        dashboard = Dashboard(transport, utc_now, _count_nothing, tokens=tokens)
        stack.push_async_callback(dashboard.close)
        known = Listed()
        observer = _observer(known, kubernetes, dashboard, operators.settings)
        namespace = "" if options.all_namespaces else options.namespace or credentials.namespace
        yield Session(
            options,
            kubernetes,
            dashboard,
            transport,
            observer,
            known,
            operators,
            namespace,
            credentials.server,
            now=utc_now,
            progress=progress_for(say, quiet=options.quiet),
        )


def run(work: Coroutine[Any, Any, int]) -> int:
    """The exit code of the work; what stops it becomes one sentence on stderr."""
    logging.disable(logging.CRITICAL)  # the libraries' own; what matters comes as an exception
    try:
        return asyncio.run(_ended_by_sigterm(work))
    except (ClientConfigError, FailedError, ApiError) as error:
        say(f"{formatting.safe(error)}")
    except KeyboardInterrupt:
        say("interrupted")
        return EXIT_INTERRUPTED
    return EXIT_FAILED


async def _ended_by_sigterm(work: Coroutine[Any, Any, int]) -> int:
    """The work. SIGTERM ends it as Ctrl-C does, so that the terminal is left in order."""
    interrupt = signal.getsignal(signal.SIGINT)
    if callable(interrupt):
        signal.signal(signal.SIGTERM, interrupt)
    return await work


def say(text: str) -> None:
    """One line on stderr, without control characters."""
    drawing.print_line(f"raysweep: {text}")


def this_program(*words: str) -> str:
    """This program with these words and this command's connection, for a shell, by the name under which it was called."""
    return f"{program()} {command_line(*words, *connection().as_flags())}"


def connection() -> Overrides:
    """The connection flags of the running command."""
    found = click.get_current_context().meta.get(OVERRIDES)
    return found if isinstance(found, Overrides) else Overrides()


def program() -> str:
    """Its name as it was called: raysweep, or kubectl raysweep."""
    return click.get_current_context().find_root().info_name or "raysweep"


async def _operator_settings(kubernetes: UserClient) -> OperatorSettings:
    """From the operator's ConfigMap, whose keys are the names of the environment variables; else assumed."""
    place = f"ConfigMap {OPERATORS_CONFIG_MAP} in namespace {OPERATORS_NAMESPACE}"
    try:
        data = await kubernetes.config_map(OPERATORS_NAMESPACE, OPERATORS_CONFIG_MAP)
    except ForbiddenError:
        return OperatorSettings(_settings({}, place), "assumed", f"you may not read {place}")
    if data is None:
        return OperatorSettings(_settings({}, place), "assumed", f"there is no {place}")
    return OperatorSettings(_settings(data, place), place)


def _settings(data: Any, place: str) -> Settings:
    """Every field is given, so that RAYSWEEP_ variables of the caller's own environment do not count as the operator's."""
    values = {
        name: data.get(variable(name), field.default)
        for name, field in Settings.model_fields.items()
    }
    try:
        return load(values)
    except SettingsError as error:
        keys = {flag(name): variable(name) for name in Settings.model_fields}
        problems = (
            keys.get(problem.partition(":")[0], "") + ":" + problem.partition(":")[2]
            for problem in error.problems
        )
        raise FailedError(
            f"the operator's settings in {place} are wrong: {'; '.join(problems)}"
        ) from error


def notes(session: Session) -> list[str]:
    """What the reader of an answer should know about how it came about."""
    operators = session.operator
    told = [_assumed(operators)] if operators.assumed else []
    if operators.settings.mode is Mode.DRY_RUN:
        told.append("the operator only observes (mode DryRun), so nothing goes at all")
    if operators.settings.namespaces:
        where = ", ".join(sorted(operators.settings.namespaces))
        told.append(
            f"the operator works in namespaces {where} alone, so nothing goes elsewhere, and policies do not count"
        )
    known = session.known.policies()
    dry_run = (
        [policy.name for policy in strongest_first(known[0]) if policy.is_dry_run] if known else []
    )
    if dry_run:
        told.append(
            f"on DryRun, so nothing goes that they select: RayJobCleanupPolicy {', '.join(dry_run)}"
        )
    return [*told, *session.notes]


def _assumed(operators: OperatorSettings) -> str:
    told = (
        f"{flag(name)[2:]} {_written(getattr(operators.settings, name))}" for name in JUDGED_WITH
    )
    return (
        f"{operators.assumed}, so the operator is taken to run with its defaults: {', '.join(told)}"
    )


def _written(value: object) -> str:
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, frozenset):
        return ",".join(sorted(value)) or "none"
    return str(value) or "none"


def _observer(
    known: Listed, kubernetes: UserClient, dashboard: Dashboard, settings: Settings
) -> Observer:
    """As the operator's own, but that it does not last: nothing was seen before, so no grace is over and nothing is backlog."""
    circuit_breaker = CircuitBreaker(
        uptime, settings.heads_window, settings.heads_at_least, settings.heads_silent_share
    )
    return Observer(
        known,
        kubernetes,
        dashboard,
        utc_now,
        settings.parameters,
        LISTS_ARE_FRESH_FOR,
        uptime,
        None,
        circuit_breaker,
    )


def _head_transport(
    options: Options, credentials: Credentials, settings: Settings
) -> HeadTransport:
    if options.address:
        return address_transport(
            options.address,
            options.headers,
            verify=options.verify,
            proxy=_proxy_for(options.address),
        )
    if (options.head_access or ("direct" if options.head_proxy else "api-server")) == "direct":
        return direct_transport(settings.cluster_domain, options.head_proxy)
    return api_server_transport(
        credentials.server, credentials.session(user_agent=USER_AGENT, decompress=False)
    )


def _proxy_for(address: str) -> str | None:
    try:
        return proxy_for(address, os.environ)
    except ProxyError as error:
        raise FailedError(str(error)) from error


def _request_log(overrides: Overrides) -> Callable[[str], None] | None:
    """Where requests are printed with -v 6 or more, as kubectl does."""
    return say if overrides.verbosity >= REQUESTS_FROM else None


def _count_nothing(*_: object) -> None:
    """The command line has no metrics."""
