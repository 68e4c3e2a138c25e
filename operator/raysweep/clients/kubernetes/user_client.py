"""The client of the command line: reads and watches what the operator's client does not.

The requests use the rights of the user, so the operator's RBAC rules do not contain them.
"""

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raysweep import names
from raysweep.clients.kubernetes.client import METADATA_LIST, Kubernetes
from raysweep.clients.kubernetes.pages import Page
from raysweep.clients.kubernetes.paths import (
    NAMESPACES,
    POLICIES,
    core_path,
    events_path,
    rayclusters_path,
    rayjobs_path,
)
from raysweep.clients.kubernetes.session import (
    ERROR_BYTES,
    JSON,
    Query,
    Request,
    error_from_response,
    read_body,
)
from raysweep.clients.kubernetes.watches import WatchEvent, watch_events
from raysweep.clients.parsing import policy, ray_head, rayjob
from raysweep.clients.parsing.common import Json, Text, Time
from raysweep.core.model.facts import Namespace, Policy, RayCluster, RayJob

Model = TypeVar("Model", bound=BaseModel)
Fact = TypeVar("Fact")
Watch = AbstractAsyncContextManager[AsyncIterator[WatchEvent[Fact]]]
"""An open watch. It ends after one or two minutes, and the caller opens the next one."""

FIELDS_WITH_SECRETS = ("entrypoint", "runtimeEnvYAML")
USER_AGENT = names.CLI_NAME
"""Differs from the operator's, so that audit logs show who sent a request."""
WATCH_SECONDS = (60, 120)
"""The range of a watch's duration. A connection that broke silently is noticed after that time."""
OBJECT_METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


@dataclass(frozen=True, slots=True)
class RayJobEvent:
    """An Event of the operator about a RayJob."""

    at: datetime | None
    uid: str
    type: str
    reason: str
    note: str


class _Metadata(BaseModel):
    uid: str


class _Object(BaseModel):
    metadata: _Metadata


class _Regarding(BaseModel):
    uid: Text = ""


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    regarding: _Regarding = _Regarding()
    type: Text = ""
    reason: Text = ""
    note: Text = ""
    reporter: Text = Field("", alias="reportingController")
    event_time: Time = Field(None, alias="eventTime")


class UserClient(Kubernetes):
    """Reads and watches with the rights of a user."""

    def rayjob_uids(self, namespace: str, selector: str) -> AsyncIterator[Page[str]]:
        """Lists the uids of the RayJobs that a label selector selects, page by page."""
        path, query = rayjobs_path(namespace), (("labelSelector", selector),)
        return self._lists.pages(path, _parse_uid, accept=METADATA_LIST, selector=query)

    def watch_rayjobs(self, namespace: str, resource_version: str) -> Watch[RayJob]:
        """Watches RayJobs from a resourceVersion on, in one namespace or in all if it is empty.

        Like the other watches it raises an ApiError with code 410 if the resourceVersion is too
        old. Then the caller must list again. Without a resourceVersion the watch begins with an
        event for every object.
        """
        return self._watch(rayjobs_path(namespace), self._parse_rayjob, resource_version)

    def watch_rayjob_uids(self, namespace: str, selector: str, resource_version: str) -> Watch[str]:
        """Watches a label selection. A RayJob that leaves the selection counts as deleted."""
        return self._watch(
            rayjobs_path(namespace),
            _parse_uid,
            resource_version,
            accept=OBJECT_METADATA,
            selector=(("labelSelector", selector),),
        )

    def watch_rayclusters(self, namespace: str, resource_version: str) -> Watch[RayCluster]:
        """Watches the metadata of RayClusters."""
        path, parse = rayclusters_path(namespace), ray_head.parse_raycluster
        return self._watch(path, parse, resource_version, accept=OBJECT_METADATA)

    def watch_namespaces(self, name: str, resource_version: str) -> Watch[Namespace]:
        """Watches one Namespace, or all if the name is empty."""
        selector = (("fieldSelector", f"metadata.name={name}"),) if name else ()
        parse = rayjob.parse_namespace
        return self._watch(NAMESPACES, parse, resource_version, selector=selector)

    def watch_policies(self, resource_version: str) -> Watch[Policy]:
        """Watches RayJobCleanupPolicies."""
        return self._watch(POLICIES, policy.parse_policy, resource_version)

    @asynccontextmanager
    async def _watch(
        self,
        path: str,
        parse: Callable[[Json], Fact],
        resource_version: str,
        *,
        accept: str = JSON,
        selector: Query = (),
    ) -> AsyncIterator[AsyncIterator[WatchEvent[Fact]]]:
        seconds = self._watch_seconds()
        query = (
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            *selector,
            ("timeoutSeconds", str(seconds)),
        )
        if resource_version:
            query += (("resourceVersion", resource_version),)
        timeout = aiohttp.ClientTimeout(total=seconds + 5, sock_connect=5)
        request = Request("GET", path, query, accept=accept, timeout=timeout)
        async with self._session.open(request) as response:
            if response.status < 400:
                yield watch_events(request, response.content.iter_any(), parse)
                return
            raw = await read_body(response, ERROR_BYTES)
        raise error_from_response(request, response, raw)

    def _watch_seconds(self) -> int:
        seconds = random.randint(*WATCH_SECONDS)
        timeout = self._session.request_timeout
        if timeout:
            seconds = min(seconds, int(timeout.total_seconds()))
        return max(seconds, 1)

    def raw_rayjobs(
        self, namespace: str, selector: str | None
    ) -> AsyncIterator[Page[dict[str, Any]]]:
        """Lists RayJobs as JSON, without the fields of their spec that may hold secrets."""
        query = (("labelSelector", selector),) if selector else ()
        return self._lists.pages(rayjobs_path(namespace), _without_secrets, selector=query)

    def raw_namespaces(self) -> AsyncIterator[Page[dict[str, Any]]]:
        """Lists all Namespaces as JSON."""
        return self._lists.pages(NAMESPACES, dict)

    async def raw_namespace(self, name: str) -> dict[str, Any] | None:
        """Reads one Namespace as JSON, or None if it does not exist."""
        return await self._session.get(f"{NAMESPACES}/{name}", dict)

    def raw_policies(self) -> AsyncIterator[Page[dict[str, Any]]]:
        """Lists all RayJobCleanupPolicies as JSON. Raises NotFoundError if the CRD is missing."""
        return self._lists.pages(POLICIES, dict)

    async def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Reads the data of a ConfigMap, or None if it does not exist."""
        return await self._session.get(core_path(namespace, "configmaps", name), _parse_data)

    async def rayjob_events(self, namespace: str, name: str) -> list[RayJobEvent]:
        """Lists the operator's Events about the RayJobs of one name, the oldest first."""
        conditions = {
            "regarding.kind": "RayJob",
            "regarding.name": name,
            "reportingController": names.EVENT_REPORTER,
        }
        field_selector = ",".join(f"{field}={value}" for field, value in conditions.items())
        selector = (("fieldSelector", field_selector),)
        pages = self._lists.pages(events_path(namespace), _parse_event, selector=selector)
        events = [event async for page in pages for event in page if event]
        return sorted(events, key=lambda event: event.at.timestamp() if event.at else 0.0)


def _without_secrets(json: Json) -> dict[str, Any]:
    spec = json.get("spec")
    if isinstance(spec, Mapping):
        spec = {key: value for key, value in spec.items() if key not in FIELDS_WITH_SECRETS}
    return {"metadata": json.get("metadata"), "spec": spec}


def _parse_uid(json: Json) -> str:
    return _validated(_Object, json).metadata.uid


def _parse_data(json: Json) -> dict[str, str]:
    data: Any = json.get("data") or {}
    if not isinstance(data, Mapping):
        raise ValueError("data: not an object")  # noqa: TRY004 - parsers raise ValueError only
    return {str(key): str(value) for key, value in data.items()}


def _parse_event(json: Json) -> RayJobEvent | None:
    event = _validated(_Event, json)
    if event.reporter != names.EVENT_REPORTER:
        return None
    return RayJobEvent(event.event_time, event.regarding.uid, event.type, event.reason, event.note)


def _validated(model: type[Model], json: Json) -> Model:
    try:
        return model.model_validate(json)
    except ValidationError as error:
        name = model.__name__.strip("_")
        raise ValueError(f"{error.error_count()} invalid fields of an {name}") from None
