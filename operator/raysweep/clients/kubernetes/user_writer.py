"""The client of the command line for writes: submits RayJobs, applies manifests, sets keep-until.

The requests use the rights of the user, so the operator's RBAC rules do not contain them.
"""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from raysweep import names
from raysweep.clients.kubernetes.discovery import find_resources
from raysweep.clients.kubernetes.errors import NotFoundError, UnconfirmedNotFoundError
from raysweep.clients.kubernetes.paths import rayjob_path, rayjobs_path
from raysweep.clients.kubernetes.session import (
    MERGE_PATCH,
    SERVER_SIDE_APPLY,
    Query,
    Request,
    parsed,
)
from raysweep.clients.kubernetes.user_client import UserClient
from raysweep.clients.parsing.common import Text
from raysweep.core.model.decisions import Target
from raysweep.core.model.facts import RayJob

KUEUE_VERSIONS = ("v1beta2", "v1beta1")
FIELD_MANAGER = ("fieldManager", names.CLI_NAME)
_GROUP_VERSION = re.compile(r"([a-z0-9][-a-z0-9.]*/)?[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class RestMapping:
    """The path of a kind on the API server."""

    root: str
    """Such as /apis/apps/v1."""
    plural: str
    is_namespaced: bool

    def path(self, namespace: str, name: str) -> str:
        """The path of one object."""
        scope = f"/namespaces/{quote(namespace, safe='')}" if self.is_namespaced else ""
        return f"{self.root}{scope}/{self.plural}/{quote(name, safe='')}"


class UserWriter(UserClient):
    """Reads and writes with the rights of a user."""

    async def create_rayjob(
        self, namespace: str, body: Mapping[str, Any], *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Creates a RayJob and returns it. Raises ConflictError if the name is taken.

        With `dry_run` nothing is stored. As with kubectl, an unknown field is an error.
        """
        query = _write_query(dry_run=dry_run)
        return await self._session.send(Request("POST", rayjobs_path(namespace), query, body))

    async def rest_mapping(self, api_version: str, kind: str) -> RestMapping | None:
        """Finds the path of a kind by discovery. None if the API server does not serve the kind."""
        if not _GROUP_VERSION.fullmatch(api_version):
            return None
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        for resource in await find_resources(self._session, api_version) or []:
            plural = str(resource.get("name"))
            if resource.get("kind") == kind and "/" not in plural:
                return RestMapping(root, plural, bool(resource.get("namespaced")))
        return None

    async def apply(
        self, path: str, body: Mapping[str, Any], *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Applies one object (server-side apply) and returns it.

        Raises ConflictError if another field manager owns a field.
        """
        query = _write_query(dry_run=dry_run)
        request = Request("PATCH", path, query, body, content_type=SERVER_SIDE_APPLY)
        return await self._session.send(request)

    async def raw_rayjob(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Reads one RayJob as JSON, or None if it does not exist."""
        return await self._session.get(rayjob_path(namespace, name), dict)

    async def kueue_message(self, namespace: str, uid: str) -> str:
        """Kueue's reason why a RayJob is not admitted, empty without a reason. Raises ApiError."""
        query = (("labelSelector", f"{names.KUEUE_JOB_UID_LABEL}={uid}"),)
        for version in KUEUE_VERSIONS:
            path = f"/apis/{names.KUEUE_GROUP}/{version}/namespaces/{namespace}/workloads"
            with contextlib.suppress(NotFoundError, UnconfirmedNotFoundError):
                return _admission_message(await self._session.send(Request("GET", path, query)))
        return ""

    async def set_job_id(self, rayjob: RayJob, job_id: str) -> None:
        """Sets spec.jobId of exactly this RayJob. In InteractiveMode KubeRay follows that job."""
        patch = {"metadata": {"uid": rayjob.uid}, "spec": {"jobId": job_id}}
        await self._session.send(_patch(rayjob, patch))

    async def keep(self, rayjob: RayJob, until: str | None, reason: str | None) -> RayJob:
        """Sets keep-until and keep-reason of exactly this RayJob, and returns it after that.

        None removes the annotation.
        """
        annotations = {names.KEEP_UNTIL: until, names.KEEP_REASON: reason}
        request = _patch(rayjob, {"metadata": {"uid": rayjob.uid, "annotations": annotations}})
        return parsed(request, self._parse_rayjob, await self._session.send(request))

    async def delete_rayjob(self, rayjob: RayJob) -> None:
        """Deletes exactly this RayJob. A RayJob that does not exist is a success."""
        with contextlib.suppress(NotFoundError):
            await self.delete(Target("RayJob", rayjob.namespace, rayjob.name, rayjob.uid))


def _patch(rayjob: RayJob, body: Mapping[str, Any]) -> Request:
    path = rayjob_path(rayjob.namespace, rayjob.name)
    return Request("PATCH", path, (FIELD_MANAGER,), body, content_type=MERGE_PATCH)


class _Condition(BaseModel):
    type: Text = ""
    status: Text = ""
    message: Text = ""


class _Status(BaseModel):
    conditions: list[_Condition] = []


class _Workload(BaseModel):
    status: _Status = _Status()


class _Workloads(BaseModel):
    items: list[_Workload] = []


def _admission_message(json: Mapping[str, Any]) -> str:
    """The message of the condition that prevents the admission (kueue workload_types.go)."""
    try:
        workloads = _Workloads.model_validate(json).items
    except ValidationError:
        return ""
    conditions = {
        condition.type: condition
        for workload in workloads
        for condition in workload.status.conditions
    }
    for condition_type in ("QuotaReserved", "Admitted"):
        condition = conditions.get(condition_type)
        if condition and condition.status == "False":
            return condition.message
    return ""


def _write_query(*, dry_run: bool) -> Query:
    query = (FIELD_MANAGER, ("fieldValidation", "Strict"))
    return (*query, ("dryRun", "All")) if dry_run else query
