"""Watches RayJobs and Namespaces with Kopf. No other module imports Kopf.

Only on.event handlers are used. Every other kind of handler writes finalizers or annotations on
objects that belong to others. A handler stores facts. It never waits, raises or writes.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import kopf

from raysweep import names
from raysweep.clients.connection.credentials import Credentials
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.pages import LARGEST_PAGE
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


@dataclass
class KopfWatch:
    """Runs Kopf: discovery, watching and reconnecting. It writes nothing and uses no peering."""

    settings: Settings
    credentials: Credentials
    kubernetes: Kubernetes
    metrics: Metrics
    store: Store
    now: Callable[[], datetime]

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
            self.metrics.api_request, page_limit=self.kubernetes.page_limit
        )
        return kopf.AiohttpSession(
            server=self.credentials.server,
            aiohttp_session=session,
            expiration=self.now() + LOGIN_LIFETIME,
        )


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
    """Stores the RayJob of a watch event. event_type None: it was listed when the watch began."""
    try:
        rayjob = parse_rayjob(json, recreated_by)
    except ValueError as error:
        log.warning("ignoring an event of a RayJob without readable metadata: %s", safe(error))
        return
    if event_type == "DELETED":
        store.remove_rayjob(rayjob.uid)
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
    """Measured with ten thousand RayJobs: 106 to 116 MiB instead of 679 (docs/decisions/0003)."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.queueing.idle_timeout = 0.1
    settings.watching.chunk_size = LARGEST_PAGE  # smaller if complete lists found large objects
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.watching.reconnect_backoff = 1
    settings.networking.request_timeout = 30
    settings.persistence.diffbase_storage = _NoDiffBase()
    return settings
