"""What the command line writes on the API server, with its caller's rights: RayJobs that it submits, and that one is to be kept.

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
    """The API server as somebody sees it who submits jobs and looks after them."""

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
        await self._request("PATCH", path, query=[("fieldManager", names.CLI)], body=body)
