"""The connection of one command: the user's credentials, the operator's settings, a snapshot.

A session only reads. A command that writes sends its own requests. Import this module when a
command runs, not for its help: the clients load slowly.
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
from raysweep.cli.common.cluster_snapshot import ClusterSnapshot
from raysweep.cli.common.errors import FailedError
from raysweep.cli.common.operator_settings import OperatorSettings, read_operator_settings
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
from raysweep.core.retention.policies import strongest_first
from raysweep.core.text import command_line
from raysweep.settings import Settings
from raysweep.submission.progress import Progress

Fact = TypeVar("Fact")

REQUEST_LOG_VERBOSITY = 6
"""The verbosity from which kubectl prints its requests."""
READS_ARE_FRESH_FOR = timedelta(minutes=10)
"""Longer than a command takes: what it has read is not read again before a deletion."""


@dataclass
class Session:
    """Everything that a command reads and decides with. An empty namespace means all."""

    options: Options
    kubernetes: UserWriter
    dashboard: Dashboard
    transport: HeadTransport
    observer: Observer
    snapshot: ClusterSnapshot
    operator: OperatorSettings
    namespace: str
    server: str
    now: Callable[[], datetime]
    progress: Progress
    _unreadable: list[str] = field(default_factory=list)
    _keepers_read_at: timedelta | None = None  # uptime of the requests for Namespaces and policies
    _read_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def scope(self) -> str:
        """`namespace team-a` or `all namespaces`."""
        return f"namespace {self.namespace}" if self.namespace else "all namespaces"

    def notes(self) -> list[str]:
        """What a reader of a decision should know about how it was made."""
        return [*self.operator.notes(), *self._dry_run_policies(), *self._unreadable]

    def _dry_run_policies(self) -> list[str]:
        policies = self.snapshot.listed_policies[0] if self.snapshot.listed_policies else ()
        dry_run = [policy.name for policy in strongest_first(policies) if policy.is_dry_run]
        if not dry_run:
            return []
        names = ", ".join(dry_run)
        return [f"nothing that these RayJobCleanupPolicies select is deleted (DryRun): {names}"]

    async def list_all(self) -> list[str]:
        """Reads everything that decisions use. Returns the uids of the selected RayJobs."""
        await self.read_rayjobs()
        if self.options.selector:
            await self.read_selected()
        await self.read_rayclusters()
        await self._read_keepers()
        return self.selected_uids()

    def selected_uids(self) -> list[str]:
        """The uids of the RayJobs in the snapshot that match the label selector."""
        uids = list(self.snapshot.rayjobs)
        if not self.options.selector:
            return uids
        return [uid for uid in uids if uid in self.snapshot.selected]

    async def read_rayjobs(self) -> str:
        """Lists RayJobs. Returns the resourceVersion of the list, as the methods below do."""
        try:
            rayjobs, version = await _whole(self.kubernetes.rayjobs(self.namespace))
        except NotFoundError as error:
            raise FailedError(
                f"{self.server} serves no RayJobs: KubeRay's CRDs are not installed there"
            ) from error
        self.snapshot.replace_rayjobs(rayjobs)
        return version

    async def read_selected(self) -> str:
        """Lists the uids of the RayJobs that match the label selector."""
        selector = self.options.selector or ""
        uids, version = await _whole(self.kubernetes.rayjob_uids(self.namespace, selector))
        self.snapshot.selected.clear()
        self.snapshot.selected.update(uids)
        return version

    async def read_rayclusters(self) -> str:
        """Lists RayClusters."""
        clusters, version = await _whole(self.kubernetes.rayclusters(self.namespace))
        self.snapshot.replace_rayclusters(clusters)
        return version

    async def confirm(self, max_age: timedelta) -> None:
        """Reads Namespaces and policies again if the last answer is older than `max_age`.

        A deletion relies on them. Raises ApiError.
        """
        async with self._read_lock:
            read_at = self._keepers_read_at
            if read_at is None or uptime() - read_at > max_age:
                await self._read_keepers()

    async def _read_keepers(self) -> None:
        """Reads what can keep a RayJob besides itself."""
        began = uptime()
        await self.read_namespaces()
        await self.read_policies()
        self._keepers_read_at = began

    def _note_unreadable(self, text: str) -> None:
        if text not in self._unreadable:
            self._unreadable.append(text)

    async def read_policies(self) -> str | None:
        """Lists policies. Returns None if there is nothing to watch.

        An operator that works in some namespaces ignores policies. Without the CRD, the API server
        answers 403 to users without rights. Discovery, which everyone may use, shows the CRD.
        """
        if self.operator.settings.namespaces:
            self.snapshot.replace_policies((), uptime())
            return None
        requested_at = uptime()
        try:
            policy_list = await self.kubernetes.policies()
        except ForbiddenError as error:
            group_version = f"{names.POLICY_GROUP}/{names.POLICY_VERSION}"
            if await self.kubernetes.serves(group_version, names.POLICIES):
                self._note_unreadable(
                    f"you may not read RayJobCleanupPolicies, which can keep RayJobs: {error}"
                )
                self.snapshot.clear_policies()
                return None
            policy_list = PolicyList(())
        self.snapshot.replace_policies(policy_list.policies, requested_at)
        return policy_list.resource_version or None

    async def read_namespaces(self) -> str:
        """Lists all Namespaces if several are needed and the user may. Else gets each of them.

        Returns "" after single reads. A Namespace that cannot be read stays unknown.
        """
        needed = {rayjob.namespace for rayjob in self.snapshot.rayjobs.values()}
        if not self.namespace and len(needed) > 1:
            version = await self._list_namespaces()
            if version is not None:
                return version
        for name in sorted(needed):
            await self._read_namespace(name)
        return ""

    async def _list_namespaces(self) -> str | None:
        """Returns the resourceVersion of the list; None if the user may not list Namespaces."""
        requested_at = uptime()
        try:
            namespaces, version = await _whole(self.kubernetes.namespaces())
        except ForbiddenError:
            return None
        self.snapshot.replace_namespaces(namespaces, requested_at)
        return version

    async def _read_namespace(self, name: str) -> None:
        requested_at = uptime()
        try:
            namespace = await self.kubernetes.namespace(name)
        except ForbiddenError as error:
            self._note_unreadable(
                f"you may not read Namespace {name}, which can keep RayJobs: {error}"
            )
            namespace = None
        if namespace:
            self.snapshot.upsert_namespace(namespace, requested_at)
        else:
            self.snapshot.remove_namespace(name)


async def _whole(pages: AsyncIterator[Page[Fact]]) -> tuple[list[Fact], str]:
    """All items, and the resourceVersion of the first page, from which a watch misses no change."""
    items: list[Fact] = []
    version = ""
    async for page in pages:
        items += page
        version = version or page.resource_version
    return items, version


def utc_now() -> datetime:
    """The wall clock of the command line. No other function reads it."""
    return datetime.now(UTC)  # noqa: TID251


def uptime() -> timedelta:
    """The monotonic clock of the command line."""
    return timedelta(seconds=time.monotonic())


@asynccontextmanager
async def open_session(options: Options) -> AsyncIterator[Session]:
    """Connects as the user. Raises ClientConfigError, ApiError, FailedError."""
    credentials = Credentials.find(options.overrides)
    credentials.log_requests = _request_log(options.overrides)
    await credentials.log_in()
    async with AsyncExitStack() as stack:
        client = credentials.api_client(user_agent=USER_AGENT)
        kubernetes = UserWriter(client, _ignore, request_timeout=credentials.request_timeout)
        stack.push_async_callback(kubernetes.close)
        operator = await read_operator_settings(kubernetes)
        settings = operator.settings
        kubernetes.recreated_by = settings.parameters.recreated_by
        tokens = Tokens(kubernetes) if settings.head_tokens or options.sends else None
        transport = _head_transport(options, credentials, settings)
        dashboard = Dashboard(transport, utc_now, _ignore, tokens=tokens)
        stack.push_async_callback(dashboard.close)
        snapshot = ClusterSnapshot()
        namespace = options.namespace or credentials.namespace
        yield Session(
            options,
            kubernetes,
            dashboard,
            transport,
            _observer(snapshot, kubernetes, dashboard, settings),
            snapshot,
            operator,
            "" if options.all_namespaces else namespace,
            credentials.server,
            now=utc_now,
            progress=progress_for(say, quiet=options.quiet),
        )


def run(work: Coroutine[Any, Any, int]) -> int:
    """Runs a command and returns its exit code. An error is printed as one sentence on stderr."""
    logging.disable(logging.CRITICAL)  # of libraries: what matters is raised
    try:
        return asyncio.run(_interruptible(work))
    except (ClientConfigError, FailedError, ApiError) as error:
        say(f"{formatting.safe(error)}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        say("interrupted")
        return EXIT_INTERRUPTED


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    """Handles SIGTERM as Ctrl-C, so that the terminal is restored."""
    interrupt = signal.getsignal(signal.SIGINT)
    if callable(interrupt):
        signal.signal(signal.SIGTERM, interrupt)
    return await work


def say(text: str) -> None:
    """Prints one line on stderr, without control characters."""
    drawing.print_line(f"raysweep: {text}")


def this_program(*words: str) -> str:
    """A shell command that calls this program with these words and the same connection flags."""
    return f"{program()} {command_line(*words, *connection().as_flags())}"


def connection() -> Overrides:
    """The connection flags of the running command."""
    overrides = click.get_current_context().meta.get(OVERRIDES)
    return overrides if isinstance(overrides, Overrides) else Overrides()


def program() -> str:
    """The name by which this program was called: `raysweep` or `kubectl raysweep`."""
    return click.get_current_context().find_root().info_name or "raysweep"


def _observer(
    snapshot: ClusterSnapshot, kubernetes: UserClient, dashboard: Dashboard, settings: Settings
) -> Observer:
    """An observer like the operator's, but without memory: no grace period has begun."""
    circuit_breaker = CircuitBreaker(
        uptime, settings.heads_window, settings.heads_at_least, settings.heads_silent_share
    )
    return Observer(
        snapshot,
        kubernetes,
        dashboard,
        utc_now,
        settings.parameters,
        READS_ARE_FRESH_FOR,
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
    default = "direct" if options.head_proxy else "api-server"
    if (options.head_access or default) == "direct":
        return direct_transport(settings.cluster_domain, options.head_proxy)
    session = credentials.session(user_agent=USER_AGENT, decompress=False)
    return api_server_transport(credentials.server, session)


def _proxy_for(address: str) -> str | None:
    try:
        return proxy_for(address, os.environ)
    except ProxyError as error:
        raise FailedError(str(error)) from error


def _request_log(overrides: Overrides) -> Callable[[str], None] | None:
    """What prints requests. With -v 6 or more kubectl prints them too."""
    return say if overrides.verbosity >= REQUEST_LOG_VERBOSITY else None


def _ignore(*_: object) -> None:
    """Counts nothing: the command line has no metrics."""
