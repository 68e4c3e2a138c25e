"""The API server for an install with rights in some namespaces only: the same questions, asked of each. It judges nothing.

No request of it is cluster-wide. Policies are not asked for, since they are the whole cluster's.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from raysweep import names
from raysweep.clients.connection.credentials import OnRequest
from raysweep.clients.kubernetes.client import Kubernetes, PolicyList, WriteFence
from raysweep.clients.kubernetes.errors import ForbiddenError
from raysweep.clients.kubernetes.pages import Page
from raysweep.core.model.facts import Namespace, RayCluster, RayJob


class NamespacedKubernetes(Kubernetes):
    """Kubernetes, where "all" means all of some namespaces."""

    def __init__(
        self,
        api_client: Any,
        on_request: OnRequest,
        fence: WriteFence | None = None,
        *,
        namespaces: frozenset[str],
        reads_them: bool = True,
        recreated_by: frozenset[str] = names.RECREATED_BY,
    ) -> None:
        """reads_them: whether what the Namespaces themselves say counts."""
        super().__init__(api_client, on_request, fence, recreated_by=recreated_by)
        self._namespaces = sorted(namespaces)
        self._reads_them = reads_them

    async def rayjobs(self, namespace: str = "") -> AsyncIterator[Page[RayJob]]:
        """All RayJobs of these namespaces, or those of one, page by page."""
        for one in [namespace] if namespace else self._namespaces:
            async for page in super().rayjobs(one):
                yield page

    async def rayclusters(self, namespace: str = "") -> AsyncIterator[Page[RayCluster]]:
        """The metadata of all RayClusters of these namespaces, or of one's, page by page."""
        for one in [namespace] if namespace else self._namespaces:
            async for page in super().rayclusters(one):
                yield page

    async def namespaces(self) -> AsyncIterator[Page[Namespace]]:
        """These Namespaces, each read by itself: to list them is a right on all.

        One that may not be read is left out, so that its RayJobs alone are kept (NamespaceUnknown).
        """
        found: list[Namespace | None] = []
        for name in self._namespaces:
            with contextlib.suppress(ForbiddenError):
                found.append(await self.namespace(name))
        yield Page(namespace for namespace in found if namespace)

    async def namespace(self, name: str) -> Namespace | None:
        """GET of one Namespace; where they are not to be read, one that says nothing."""
        return (
            await super().namespace(name)
            if self._reads_them
            else Namespace(name, uid=name, resource_version="")
        )

    async def policies(self) -> PolicyList:
        """None: they are the whole cluster's."""
        return PolicyList(())

    async def post_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        """As ever in these namespaces. An Event about a Namespace belongs into `default`; that one is in the log only."""
        if namespace in self._namespaces:
            await super().post_event(namespace, event)
