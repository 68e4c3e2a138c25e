"""What the command line asks of the API server besides, with its caller's rights: the operator's ConfigMap, Events, selections.

The operator needs none of this, so none of it is in its RBAC rules.
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
from raysweep.clients.kubernetes.client import (
    ERROR_BYTES,
    METADATA_ONLY,
    NAMESPACES,
    POLICIES,
    Kubernetes,
    error_from_response,
    list_path,
    read_body,
)
from raysweep.clients.kubernetes.pages import Page
from raysweep.clients.kubernetes.watches import Change, changes
from raysweep.clients.parsing import policy, ray_head, rayjob
from raysweep.clients.parsing.common import Json, Text, Time
from raysweep.core.model.facts import Namespace, Policy, RayCluster, RayJob

Model = TypeVar("Model", bound=BaseModel)
Fact = TypeVar("Fact")
Watch = AbstractAsyncContextManager[AsyncIterator[Change[Fact]]]
"""An open watch. It ends after a minute or two, and is to be opened again from where it ended."""

WHAT_RUNS = ("entrypoint", "runtimeEnvYAML")
USER_AGENT = names.CLI_NAME
"""Another one than the operator's, so that audit logs tell people and operator apart."""
WATCH_SECONDS = (60, 120)
"""How long a watch lasts, at random. A dead connection stays unnoticed for no longer."""
EACH_METADATA_ONLY = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"


@dataclass(frozen=True, slots=True)
class RayJobEvent:
    """An Event: what was told about an object, and when."""

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
    at: Time = Field(None, alias="eventTime")


class UserClient(Kubernetes):
    """The API server as a person sees it who wants to know. It only reads."""

    def rayjob_uids(self, namespace: str, selector: str) -> AsyncIterator[Page[str]]:
        """The uids of the RayJobs that a label selector selects, page by page; "" means all."""
        path, only = list_path(namespace, names.RAYJOBS), (("labelSelector", selector),)
        return self._pages(path, _uid, accept=METADATA_ONLY, only=only)

    def watch_rayjobs(self, namespace: str, since: str) -> Watch[RayJob]:
        """Changes of RayJobs in all namespaces or in one, since a resourceVersion of their list.

        Like the other watches it raises an ApiError of code 410 if the resourceVersion is too old.
        List again then. With "" it begins with every existing object.
        """
        return self._watch(list_path(namespace, names.RAYJOBS), self._rayjob, since)

    def watch_rayjob_uids(self, namespace: str, selector: str, since: str) -> Watch[str]:
        """Changes of what a label selector selects. What it no longer selects counts as deleted."""
        path, only = list_path(namespace, names.RAYJOBS), (("labelSelector", selector),)
        return self._watch(path, _uid, since, accept=EACH_METADATA_ONLY, only=only)

    def watch_rayclusters(self, namespace: str, since: str) -> Watch[RayCluster]:
        """Changes of the metadata of RayClusters."""
        path = list_path(namespace, names.RAYCLUSTERS)
        return self._watch(path, ray_head.parse_raycluster, since, accept=EACH_METADATA_ONLY)

    def watch_namespaces(self, name: str, since: str) -> Watch[Namespace]:
        """Changes of one Namespace; of all if the name is ""."""
        only = (("fieldSelector", f"metadata.name={name}"),) if name else ()
        return self._watch(NAMESPACES, rayjob.parse_namespace, since, only=only)

    def watch_policies(self, since: str) -> Watch[Policy]:
        """Changes of RayJobCleanupPolicies."""
        return self._watch(POLICIES, policy.parse_policy, since)

    @asynccontextmanager
    async def _watch(
        self,
        path: str,
        parse: Callable[[Json], Fact],
        since: str,
        *,
        accept: str = "application/json",
        only: tuple[tuple[str, str], ...] = (),
    ) -> AsyncIterator[AsyncIterator[Change[Fact]]]:
        seconds = random.randint(*WATCH_SECONDS)
        if self.request_timeout:
            seconds = max(min(seconds, int(self.request_timeout.total_seconds())), 1)
        query = [("watch", "true"), ("allowWatchBookmarks", "true"), *only]
        query += [("timeoutSeconds", str(seconds))]
        query += [("resourceVersion", since)] if since else []
        timeout = aiohttp.ClientTimeout(total=seconds + 5, sock_connect=5)
        asked = self._asked("GET", path, query=query, accept=accept, timeout=timeout)
        async with asked as response:
            if response.status < 400:
                yield changes(f"GET {path}", response.content.iter_any(), parse)
                return
            raw = await read_body(response, ERROR_BYTES)
        raise error_from_response("GET", path, response, raw)

    def raw_rayjobs(
        self, namespace: str, selector: str | None
    ) -> AsyncIterator[Page[dict[str, Any]]]:
        """RayJobs as they are, page by page, without what they run: that may hold secrets."""
        only = (("labelSelector", selector),) if selector else ()
        return self._pages(list_path(namespace, names.RAYJOBS), _without_what_runs, only=only)

    def raw_namespaces(self) -> AsyncIterator[Page[dict[str, Any]]]:
        """All Namespaces as they are, page by page."""
        return self._pages(NAMESPACES, dict)

    async def raw_namespace(self, name: str) -> dict[str, Any] | None:
        """GET of one Namespace as it is; None where there is none."""
        return await self._get(f"/api/v1/namespaces/{name}", dict)

    def raw_policies(self) -> AsyncIterator[Page[dict[str, Any]]]:
        """All RayJobCleanupPolicies as they are, page by page. NotFoundError where their CRD is not there."""
        return self._pages(POLICIES, dict)

    async def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The data of a ConfigMap; None where there is none."""
        return await self._get(f"/api/v1/namespaces/{namespace}/configmaps/{name}", _data)

    async def rayjob_events(self, namespace: str, name: str) -> list[RayJobEvent]:
        """The operator's Events about the RayJobs of that name, oldest first."""
        path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        only = (
            (
                "fieldSelector",
                f"regarding.kind=RayJob,regarding.name={name},reportingController={names.EVENT_REPORTER}",
            ),
        )
        pages = self._pages(path, _told, only=only)
        found = [told async for page in pages for told in page if told]
        return sorted(found, key=lambda told: told.at.timestamp() if told.at else 0.0)


def _without_what_runs(json: Json) -> dict[str, Any]:
    spec = json.get("spec")
    kept = (
        {key: value for key, value in spec.items() if key not in WHAT_RUNS}
        if isinstance(spec, Mapping)
        else spec
    )
    return {"metadata": json.get("metadata"), "spec": kept}


def _uid(json: Json) -> str:
    return _checked(_Object, json).metadata.uid


def _data(json: Json) -> dict[str, str]:
    data: Any = json.get("data") or {}
    if not isinstance(data, Mapping):
        raise ValueError("data: no mapping")  # noqa: TRY004 - the client's word for what cannot be read
    return {str(key): str(value) for key, value in data.items()}


def _told(json: Json) -> RayJobEvent | None:
    event = _checked(_Event, json)
    if event.reporter != names.EVENT_REPORTER:
        return None
    return RayJobEvent(event.at, event.regarding.uid, event.type, event.reason, event.note)


def _checked(model: type[Model], json: Json) -> Model:
    try:
        return model.model_validate(json)
    except ValidationError as error:
        raise ValueError(
            f"{error.error_count()} odd fields of an {model.__name__.strip('_')}"
        ) from None
