"""What the command line writes on the API server, with its caller's rights.

That is RayJobs that it submits, the other objects of their files, and that a RayJob is to be kept.

The operator needs none of this, so none of it is in its RBAC rules.
"""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from raysweep import names
from raysweep.clients.kubernetes import absence
from raysweep.clients.kubernetes.client import RAY, SERVER_SIDE_APPLY
from raysweep.clients.kubernetes.errors import (
    InvalidResponseError,
    NotFoundError,
    UnconfirmedNotFoundError,
)
from raysweep.clients.kubernetes.user_client import UserClient
from raysweep.clients.parsing.common import Text
from raysweep.core.model.decisions import Target
from raysweep.core.model.facts import RayJob

KUEUE_VERSIONS = ("v1beta2", "v1beta1")
_GROUP_VERSION = re.compile(r"([a-z0-9][-a-z0-9.]*/)?[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Resource:
    """Where the API server has the objects of a kind."""

    root: str  # as /apis/apps/v1
    plural: str
    is_namespaced: bool

    def path(self, namespace: str, name: str) -> str:
        """Of one object."""
        within = f"/namespaces/{quote(namespace, safe='')}" if self.is_namespaced else ""
        return f"{self.root}{within}/{self.plural}/{quote(name, safe='')}"


class UserWriter(UserClient):
    """The API server as somebody sees it who submits jobs and looks after them."""

    async def create_rayjob(
        self, namespace: str, body: Mapping[str, Any], *, dry_run: bool = False
    ) -> dict[str, Any]:
        """POST of a RayJob; what became of it. ConflictError where the name is taken.

        dry_run: nothing is stored. A field that the CRD does not know is refused, as for kubectl.
        """
        query = [("fieldManager", names.CLI_NAME), ("fieldValidation", "Strict"), *_dry(dry_run)]
        return await self._request(
            "POST", f"{RAY}/namespaces/{namespace}/{names.RAYJOBS}", query=query, body=body
        )

    async def resource(self, api_version: str, kind: str) -> Resource | None:
        """Where objects of that kind are, by discovery; None if the API server has no such kind."""
        group, _, version = api_version.rpartition("/")
        if not _GROUP_VERSION.fullmatch(api_version):
            return None
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            answer = await self._request("GET", root)
        except UnconfirmedNotFoundError:
            groups = await self._request("GET", "/apis")
            if group and absence.has_group_version(groups, api_version):
                raise
            return None
        try:
            listed = absence.resources_of(answer, api_version)
        except ValueError as error:
            raise InvalidResponseError(f"GET {root}: {error}") from error
        for one in listed:
            if one.get("kind") == kind and "/" not in str(one.get("name")):
                return Resource(root, str(one.get("name")), bool(one.get("namespaced")))
        return None

    async def apply(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Server-side apply of one object; what became of it. ConflictError for others' fields."""
        query = [("fieldManager", names.CLI_NAME), ("fieldValidation", "Strict"), *_dry(dry_run)]
        return await self._request("PATCH", path, query=query, body=body, patch=SERVER_SIDE_APPLY)

    async def raw_rayjob(self, namespace: str, name: str) -> dict[str, Any] | None:
        """GET of a RayJob with everything in it; None where there is none."""
        try:
            return await self._request(
                "GET", f"{RAY}/namespaces/{namespace}/{names.RAYJOBS}/{name}"
            )
        except NotFoundError:
            return None

    async def kueue_message(self, namespace: str, uid: str) -> str:
        """What Kueue says of the RayJob that it queues; "" if nothing. Raises ApiError."""
        query = [("labelSelector", f"{names.KUEUE_JOB_UID_LABEL}={uid}")]
        for version in KUEUE_VERSIONS:
            path = f"/apis/{names.KUEUE_GROUP}/{version}/namespaces/{namespace}/workloads"
            with contextlib.suppress(NotFoundError, UnconfirmedNotFoundError):
                return _why_queued(await self._request("GET", path, query=query))
        return ""

    async def set_job_id(self, rayjob: RayJob, job_id: str) -> None:
        """PATCH of spec.jobId on exactly this RayJob: KubeRay follows that submission from then on (InteractiveMode)."""
        await self._patch(rayjob, {"metadata": {"uid": rayjob.uid}, "spec": {"jobId": job_id}})

    async def keep(self, rayjob: RayJob, until: str | None, reason: str | None) -> None:
        """PATCH of keep-until and keep-reason on exactly this RayJob, whatever its resourceVersion; None removes one."""
        wishes = {names.KEEP_UNTIL: until, names.KEEP_REASON: reason}
        await self._patch(rayjob, {"metadata": {"uid": rayjob.uid, "annotations": wishes}})

    async def delete_rayjob(self, rayjob: RayJob) -> None:
        """DELETE of exactly this RayJob; one that is gone already is as good."""
        try:
            await self.delete(Target("RayJob", rayjob.namespace, rayjob.name, rayjob.uid))
        except NotFoundError:
            return

    async def _patch(self, rayjob: RayJob, body: Mapping[str, Any]) -> None:
        path = f"{RAY}/namespaces/{rayjob.namespace}/{names.RAYJOBS}/{rayjob.name}"
        await self._request("PATCH", path, query=[("fieldManager", names.CLI_NAME)], body=body)


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


def _why_queued(json: Mapping[str, Any]) -> str:
    """The message of the condition that keeps it from being admitted (kueue workload_types.go)."""
    try:
        found = _Workloads.model_validate(json)
    except ValidationError:
        return ""
    told = [condition for workload in found.items for condition in workload.status.conditions]
    conditions = {condition.type: condition for condition in told}
    for kind in ("QuotaReserved", "Admitted"):
        if (condition := conditions.get(kind)) and condition.status == "False":
            return condition.message
    return ""


def _dry(is_dry: bool) -> list[tuple[str, str]]:
    return [("dryRun", "All")] if is_dry else []
