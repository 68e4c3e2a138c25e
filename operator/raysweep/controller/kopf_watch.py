"""Kopf's part: what it hears is reduced to facts and handed to the store. A handler never waits, raises or writes.

Only on.event: every other kind of handler writes finalizers or annotations on objects that are not ours.
"""

import logging
from typing import Any

import kopf

from raysweep import names
from raysweep.clients.parsing.common import Json
from raysweep.clients.parsing.rayjob import parse_namespace, parse_rayjob
from raysweep.controller.log_format import safe
from raysweep.controller.store import Store

log = logging.getLogger("raysweep")


def register(
    registry: kopf.OperatorRegistry,
    store: Store,
    *,
    namespaces: bool,
    recreated_by: frozenset[str] = names.RECREATED_BY,
) -> None:
    """RayJobs, and Namespaces where they may all be watched. RayClusters are listed, and read when it matters, not watched."""

    async def rayjob(event: Any, **_: Any) -> None:
        on_rayjob_event(store, event["type"], event["object"], recreated_by)

    async def namespace(event: Any, **_: Any) -> None:
        on_namespace_event(store, event["type"], event["object"])

    kopf.on.event(names.RAY_GROUP, names.RAY_VERSION, names.RAYJOBS, registry=registry)(rayjob)
    if namespaces:
        kopf.on.event("", "v1", "namespaces", registry=registry)(namespace)


def on_rayjob_event(
    store: Store, kind: str | None, json: Json, recreated_by: frozenset[str] = names.RECREATED_BY
) -> None:
    """A watch event of a RayJob; kind None: it was listed when the watch began."""
    try:
        rayjob = parse_rayjob(json, recreated_by)
    except ValueError as error:
        log.warning("a RayJob cannot even be named: %s", safe(error))
        return
    if kind == "DELETED":
        store.remove_rayjob(rayjob.uid)
    else:
        store.upsert_rayjob(rayjob)


def on_namespace_event(store: Store, kind: str | None, json: Json) -> None:
    """A watch event of a Namespace. It confirms nothing: a stream that was held up tells what was so before."""
    try:
        namespace = parse_namespace(json)
    except ValueError as error:
        log.warning("a Namespace cannot even be named: %s", safe(error))
        return
    if kind == "DELETED":
        store.remove_namespace(namespace.name, namespace.uid)
    else:
        store.upsert_namespace(namespace, None)
