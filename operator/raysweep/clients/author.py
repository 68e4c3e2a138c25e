"""What the command line writes on the API server: the RayJobs that it submits itself, with their author's rights.

The operator needs none of this, so none of it is in its RBAC rules.
"""

from collections.abc import Mapping
from typing import Any

from raysweep import names
from raysweep.clients.caller import Reader
from raysweep.clients.errors import NotFoundError
from raysweep.clients.kubernetes import RAY
from raysweep.core.decisions import Target
from raysweep.core.facts import RayJob


class Author(Reader):
    """The API server as somebody sees it who submits a job."""

    async def create_rayjob(self, namespace: str, body: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """POST of a RayJob; what became of it. ConflictError where the name is taken. dry_run: nothing is stored."""
        query = [("fieldManager", names.CLI), *([("dryRun", "All")] if dry_run else [])]
        return await self._request("POST", f"{RAY}/namespaces/{namespace}/{names.RAYJOBS}", query=query, body=body)

    async def whole_rayjob(self, namespace: str, name: str) -> dict[str, Any] | None:
        """GET of a RayJob with everything in it; None where there is none."""
        try:
            return await self._request("GET", f"{RAY}/namespaces/{namespace}/{names.RAYJOBS}/{name}")
        except NotFoundError:
            return None

    async def set_job_id(self, rayjob: RayJob, job_id: str) -> None:
        """PATCH of spec.jobId on exactly this RayJob: KubeRay follows that submission from then on (InteractiveMode)."""
        body = {"metadata": {"uid": rayjob.uid}, "spec": {"jobId": job_id}}
        query = [("fieldManager", names.CLI)]
        path = f"{RAY}/namespaces/{rayjob.namespace}/{names.RAYJOBS}/{rayjob.name}"
        await self._request("PATCH", path, query=query, body=body)

    async def delete_rayjob(self, rayjob: RayJob) -> None:
        """DELETE of exactly this RayJob; one that is gone already is as good."""
        try:
            await self.delete(Target("RayJob", rayjob.namespace, rayjob.name, rayjob.uid))
        except NotFoundError:
            return
