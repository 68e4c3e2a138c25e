"""What the command line asks of the API server besides, with its caller's rights: the operator's ConfigMap, Events, selections.

The operator needs none of this, so none of it is in its RBAC rules.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raysweep import names
from raysweep.clients.fields import Json, Text, Time
from raysweep.clients.kubernetes import METADATA_ONLY, POLICIES, RAY, Kubernetes
from raysweep.clients.pages import Page

Model = TypeVar("Model", bound=BaseModel)

WHAT_RUNS = ("entrypoint", "runtimeEnvYAML")
USER_AGENT = names.CLI
"""Another one than the operator's, so that audit logs tell people and operator apart."""


@dataclass(frozen=True, slots=True)
class Told:
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


class Reader(Kubernetes):
    """The API server as a person sees it who wants to know. It only reads."""

    async def rayjob_uids(self, namespace: str, selector: str) -> frozenset[str]:
        """The uids of the RayJobs that a label selector selects; namespace "" means all."""
        path = f"{RAY}/namespaces/{namespace}/{names.RAYJOBS}" if namespace else f"{RAY}/{names.RAYJOBS}"
        pages = self._pages(path, _uid, accept=METADATA_ONLY, only=(("labelSelector", selector),))
        return frozenset([uid async for page in pages for uid in page])

    def rayjobs_as_sent(self, namespace: str, selector: str | None) -> AsyncIterator[Page[dict[str, Any]]]:
        """RayJobs as they are, page by page, without what they run: that may hold secrets."""
        only = (("labelSelector", selector),) if selector else ()
        path = f"{RAY}/namespaces/{namespace}/{names.RAYJOBS}" if namespace else f"{RAY}/{names.RAYJOBS}"
        return self._pages(path, _without_what_runs, only=only)

    def namespaces_as_sent(self) -> AsyncIterator[Page[dict[str, Any]]]:
        """All Namespaces as they are, page by page."""
        return self._pages("/api/v1/namespaces", dict)

    async def namespace_as_sent(self, name: str) -> dict[str, Any] | None:
        """GET of one Namespace as it is; None where there is none."""
        return await self._get(f"/api/v1/namespaces/{name}", dict)

    def policies_as_sent(self) -> AsyncIterator[Page[dict[str, Any]]]:
        """All RayJobCleanupPolicies as they are, page by page. NotFoundError where their CRD is not there."""
        return self._pages(POLICIES, dict)

    async def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The data of a ConfigMap; None where there is none."""
        return await self._get(f"/api/v1/namespaces/{namespace}/configmaps/{name}", _data)

    async def told_about(self, namespace: str, name: str) -> list[Told]:
        """The operator's Events about the RayJobs of that name, oldest first."""
        path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        only = (("fieldSelector", f"regarding.kind=RayJob,regarding.name={name},reportingController={names.REPORTER}"),)
        pages = self._pages(path, _told, only=only)
        found = [told async for page in pages for told in page if told]
        return sorted(found, key=lambda told: told.at.timestamp() if told.at else 0.0)


def _without_what_runs(json: Json) -> dict[str, Any]:
    spec = json.get("spec")
    kept = {key: value for key, value in spec.items() if key not in WHAT_RUNS} if isinstance(spec, Mapping) else spec
    return {"metadata": json.get("metadata"), "spec": kept}


def _uid(json: Json) -> str:
    return _checked(_Object, json).metadata.uid


def _data(json: Json) -> dict[str, str]:
    data: Any = json.get("data") or {}
    if not isinstance(data, Mapping):
        raise ValueError("data: no mapping")  # noqa: TRY004 - the client's word for what cannot be read
    return {str(key): str(value) for key, value in data.items()}


def _told(json: Json) -> Told | None:
    event = _checked(_Event, json)
    if event.reporter != names.REPORTER:
        return None
    return Told(event.at, event.regarding.uid, event.type, event.reason, event.note)


def _checked(model: type[Model], json: Json) -> Model:
    try:
        return model.model_validate(json)
    except ValidationError as error:
        raise ValueError(f"{error.error_count()} odd fields of an {model.__name__.strip('_')}") from None
