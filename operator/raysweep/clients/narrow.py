"""The API server for an install with rights in some namespaces only: the same questions, asked of each. It judges nothing.

No request of it is cluster-wide. Policies are not asked for, since they are the whole cluster's.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from raysweep.clients.kubernetes import Kubernetes, Permission, PolicyList, Right
from raysweep.clients.transport import OnRequest
from raysweep.core.facts import Namespace, RayCluster, RayJob


class Narrow(Kubernetes):
    """Kubernetes, where "all" means all of some namespaces."""

    def __init__(
        self, api_client: Any, on_request: OnRequest, permission: Permission | None = None, *, namespaces: frozenset[str]
    ) -> None:
        super().__init__(api_client, on_request, permission)
        self._namespaces = sorted(namespaces)
        self._may_read: dict[str, bool] = {}

    async def rayjobs(self, namespace: str = "") -> AsyncIterator[list[RayJob]]:
        """All RayJobs of these namespaces, or those of one, page by page."""
        for one in [namespace] if namespace else self._namespaces:
            async for page in super().rayjobs(one):
                yield page

    async def rayclusters(self, namespace: str = "") -> AsyncIterator[list[RayCluster]]:
        """The metadata of all RayClusters of these namespaces, or of one's, page by page."""
        for one in [namespace] if namespace else self._namespaces:
            async for page in super().rayclusters(one):
                yield page

    async def namespaces(self) -> AsyncIterator[list[Namespace]]:
        """These Namespaces, each read by itself: to list them is a right on all."""
        found = [await self.namespace(name) for name in self._namespaces]
        yield [namespace for namespace in found if namespace]

    async def namespace(self, name: str) -> Namespace | None:
        """The Namespace; where the right was not given when it was first asked for, one that says nothing.

        Only then: a right that is lost later is a 403, and what cannot be read may say keep.
        """
        if name not in self._may_read:
            self._may_read[name] = await self.may(Right("get", "", "namespaces", namespace=name, name=name))
        return await super().namespace(name) if self._may_read[name] else Namespace(name, uid=name, resource_version="")

    async def policies(self) -> PolicyList:
        """None: they are the whole cluster's."""
        return PolicyList(())

    async def post_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        """As ever in these namespaces. An Event about a Namespace belongs into `default`; that one is in the log only."""
        if namespace in self._namespaces:
            await super().post_event(namespace, event)

    def unread(self) -> list[str]:
        """The namespaces whose annotations do not count, of those asked for so far."""
        return [name for name, may in self._may_read.items() if not may]
