"""Watches RayJobs and Namespaces with Kopf. No other module imports Kopf.

Only on.event handlers are used. Every other kind of handler writes finalizers or annotations on
objects that belong to others. A handler stores facts. It never waits, raises or writes.

Kopf lists all objects before it watches them, and whenever its watch cannot continue. Raysweep
lists them itself, so Kopf's lists are made empty. They only tell Kopf the resourceVersion to watch
from. Each one requests a complete list of Raysweep, which begins after it and so misses nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import kopf

from raysweep import names
from raysweep.clients.connection.credentials import Credentials
from raysweep.clients.kubernetes.paths import NAMESPACES, rayjobs_path
from raysweep.clients.parsing.common import Json
from raysweep.clients.parsing.rayjob import parse_namespace, parse_rayjob
from raysweep.controller.log_format import safe
from raysweep.controller.metrics import Metrics
from raysweep.controller.store import Store
from raysweep.settings import Settings

log = logging.getLogger("raysweep")

LOGIN_LIFETIME = timedelta(minutes=10)
"""How often Kopf gets a new session. Each request has a fresh token anyway, but a running watch
keeps the token that it began with."""

EMPTY_LIST = {"fieldSelector": "metadata.name=_", "resourceVersion": "0", "limit": "1"}
"""The query of an empty list. No object can have this name.

With resourceVersion 0 the API server answers from its watch cache. If the cache is behind, the
watch repeats some events, which changes nothing.
"""


@dataclass
class KopfWatch:
    """Runs Kopf: discovery, watching and reconnecting. It writes nothing and uses no peering.

    on_list: called after each list of Kopf. Everything that happens after it, the watch reports.
    """

    settings: Settings
    credentials: Credentials
    metrics: Metrics
    store: Store
    now: Callable[[], datetime]
    on_list: Callable[[], None]
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when all watches have a resourceVersion to begin from."""
    _unlisted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._unlisted.update(self._paths())

    async def run(self, on_signals_taken: Callable[[], None]) -> None:
        """Watches until Kopf ends. on_signals_taken: called once Kopf has set its signal handlers.

        Kopf's own handlers would cut off deletions in progress, so they must be replaced.
        """
        registry = kopf.OperatorRegistry()
        namespaces = sorted(self.settings.namespaces)
        recreated_by = self.settings.parameters.recreated_by
        register(registry, self.store, namespaces=not namespaces, recreated_by=recreated_by)
        kopf.on.login(registry=registry)(self._login)
        scope: dict[str, Any] = {"namespaces": namespaces} if namespaces else {"clusterwide": True}
        other_tasks = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=_kopf_settings(),
            standalone=True,
            memo=kopf.Memo(),
            **scope,
        )
        on_signals_taken()
        await kopf.run_tasks(tasks, ignored=other_tasks)

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        session = self.credentials.session(
            self.metrics.api_request, middlewares=[empty_lists(self._paths(), self._on_list)]
        )
        return kopf.AiohttpSession(
            server=self.credentials.server,
            aiohttp_session=session,
            expiration=self.now() + LOGIN_LIFETIME,
        )

    def _paths(self) -> frozenset[str]:
        """The paths that Kopf lists and watches."""
        if self.settings.namespaces:
            return frozenset(rayjobs_path(namespace) for namespace in self.settings.namespaces)
        return frozenset({rayjobs_path(), NAMESPACES})

    def _on_list(self, path: str) -> None:
        self.on_list()
        self._unlisted.discard(path)
        if not self._unlisted:
            self.begun.set()


def empty_lists(
    paths: Collection[str], on_list: Callable[[str], None]
) -> aiohttp.ClientMiddlewareType:
    """Makes every list of these paths empty, and reports each one that succeeded.

    The path of the API server's address may precede them.
    """

    async def send(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        path = next((path for path in paths if request.url.path.endswith(path)), None)
        if path is None or request.method != "GET" or "watch" in request.url.query:
            return await handler(request)
        request.url = request.url.with_query(EMPTY_LIST)
        response = await handler(request)
        if response.status == 200:
            on_list(path)
        return response

    return send


def register(
    registry: kopf.OperatorRegistry,
    store: Store,
    *,
    namespaces: bool,
    recreated_by: frozenset[str] = names.RECREATED_BY,
) -> None:
    """Registers handlers for RayJobs and, if namespaces is true, for Namespaces.

    RayClusters are not watched: they are listed, and read right before a deletion.
    """

    async def rayjob(event: Any, **_: Any) -> None:
        on_rayjob_event(store, event["type"], event["object"], recreated_by)

    async def namespace(event: Any, **_: Any) -> None:
        on_namespace_event(store, event["type"], event["object"])

    kopf.on.event(names.RAY_GROUP, names.RAY_VERSION, names.RAYJOBS, registry=registry)(rayjob)
    if namespaces:
        kopf.on.event("", "v1", "namespaces", registry=registry)(namespace)


def on_rayjob_event(
    store: Store,
    event_type: str | None,
    json: Json,
    recreated_by: frozenset[str] = names.RECREATED_BY,
) -> None:
    """Stores or removes the RayJob of a watch event."""
    try:
        rayjob = parse_rayjob(json, recreated_by)
    except ValueError as error:
        log.warning("ignoring an event of a RayJob without readable metadata: %s", safe(error))
        return
    if event_type == "DELETED":
        store.remove_rayjob(rayjob.uid, rayjob.resource_version)
    else:
        store.upsert_rayjob(rayjob)


def on_namespace_event(store: Store, event_type: str | None, json: Json) -> None:
    """Stores the Namespace of a watch event. It confirms nothing, because a watch may be late."""
    try:
        namespace = parse_namespace(json)
    except ValueError as error:
        log.warning("ignoring an event of a Namespace without readable metadata: %s", safe(error))
        return
    if event_type == "DELETED":
        store.remove_namespace(namespace.name, namespace.uid)
    else:
        store.upsert_namespace(namespace, None)


class _NoDiffBase(kopf.DiffBaseStorage):
    """Kopf would copy every object to compute what changed in it. Nothing here needs that."""

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


def _kopf_settings() -> kopf.OperatorSettings:
    """Measured with ten thousand RayJobs: docs/decisions/0003."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.queueing.idle_timeout = 0.1
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 1
    settings.networking.request_timeout = 30
    settings.persistence.diffbase_storage = _NoDiffBase()
    return settings
