"""The client for an installation with rights in some namespaces only."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from raysweep import names
from raysweep.clients.connection.credentials import OnRequest
from raysweep.clients.kubernetes.client import Kubernetes, PolicyList
from raysweep.clients.kubernetes.errors import ForbiddenError
from raysweep.clients.kubernetes.pages import Page
from raysweep.clients.kubernetes.write_fence import WriteFence
from raysweep.core.model.facts import Namespace, RayCluster, RayJob


class NamespacedKubernetes(Kubernetes):
    """Lists the objects of some namespaces. Sends no cluster-wide request and reads no policies."""

    def __init__(
        self,
        api_client: Any,
        on_request: OnRequest,
        fence: WriteFence | None = None,
        *,
        namespaces: frozenset[str],
        reads_namespaces: bool = True,
        recreated_by: frozenset[str] = names.RECREATED_BY,
        repeats_lists: bool = False,
    ) -> None:
        """`reads_namespaces`: whether to read the Namespaces themselves, for their annotations."""
        super().__init__(
            api_client, on_request, fence, recreated_by=recreated_by, repeats_lists=repeats_lists
        )
        self._namespaces = sorted(namespaces)
        self._reads_namespaces = reads_namespaces

    async def rayjobs(self, namespace: str = "") -> AsyncIterator[Page[RayJob]]:
        """Lists the RayJobs of one namespace, or of all these namespaces, page by page."""
        for name in self._selected(namespace):
            async for page in super().rayjobs(name):
                yield page

    async def rayclusters(self, namespace: str = "") -> AsyncIterator[Page[RayCluster]]:
        """Lists the metadata of RayClusters of one or all of these namespaces, page by page."""
        for name in self._selected(namespace):
            async for page in super().rayclusters(name):
                yield page

    async def namespaces(self) -> AsyncIterator[Page[Namespace]]:
        """Reads each of these Namespaces, since a list would need a right in all namespaces.

        A Namespace that may not be read is left out, so its RayJobs are kept (NamespaceUnknown).
        """
        page = Page[Namespace]()
        for name in self._namespaces:
            with contextlib.suppress(ForbiddenError):
                namespace = await self.namespace(name)
                if namespace:
                    page.append(namespace)
        yield page

    async def namespace(self, name: str) -> Namespace | None:
        """Reads one Namespace. If Namespaces are not to be read, it has no annotations."""
        if self._reads_namespaces:
            return await super().namespace(name)
        return Namespace(name, uid=name, resource_version="")

    async def policies(self) -> PolicyList:
        """An empty list: policies are cluster-scoped."""
        return PolicyList(())

    async def post_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        """Creates an Event in one of these namespaces.

        An Event about a Namespace belongs in `default`. It is only logged if that is not one of
        these namespaces.
        """
        if namespace in self._namespaces:
            await super().post_event(namespace, event)

    def _selected(self, namespace: str) -> list[str]:
        return [namespace] if namespace else self._namespaces
