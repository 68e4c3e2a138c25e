"""The client of the API server: one method for each request that the operator sends.

The methods here and the lists and watches in controller/kopf_watch.py are what RBAC must allow.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import aiohttp
from pydantic import SecretStr

from raysweep import names
from raysweep.clients.connection.credentials import OnRequest
from raysweep.clients.kubernetes import discovery
from raysweep.clients.kubernetes.errors import (
    ConflictError,
    NotFoundError,
    UnconfirmedNotFoundError,
)
from raysweep.clients.kubernetes.leases import (
    Lease,
    LeaseName,
    Term,
    changed_lease,
    new_lease,
    parse_lease,
)
from raysweep.clients.kubernetes.lists import ListReader
from raysweep.clients.kubernetes.pages import PAGE_BYTES, Page
from raysweep.clients.kubernetes.paths import (
    ACCESS_REVIEWS,
    NAMESPACES,
    POLICIES,
    core_path,
    events_path,
    lease_path,
    leases_path,
    pods_path,
    ray_object_path,
    rayclusters_path,
    rayjob_path,
    rayjobs_path,
)
from raysweep.clients.kubernetes.rights import Right
from raysweep.clients.kubernetes.session import MERGE_PATCH, ApiSession, Request, parsed
from raysweep.clients.kubernetes.write_fence import OpenFence, Refusal, WriteFence
from raysweep.clients.parsing import pod, policy, ray_head, rayjob
from raysweep.clients.parsing.common import Json
from raysweep.core.model.decisions import Target
from raysweep.core.model.facts import Namespace, Pod, Policy, RayCluster, RayJob, Service

METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


@dataclass(frozen=True, slots=True)
class PolicyList:
    """All RayJobCleanupPolicies. The resourceVersion of the list is empty if the CRD is missing."""

    policies: tuple[Policy, ...]
    resource_version: str = ""


class Kubernetes:
    """Requests to one API server. Every method raises ApiError (errors.py) and nothing else."""

    def __init__(
        self,
        api_client: Any,
        on_request: OnRequest,
        fence: WriteFence | None = None,
        *,
        recreated_by: frozenset[str] = names.RECREATED_BY,
        page_bytes: int = PAGE_BYTES,
        repeats_lists: bool = False,
        request_timeout: timedelta | None = None,
    ) -> None:
        """`recreated_by` holds the labels and annotations that RayJob.keys keeps.

        `page_bytes` bounds one page of a list. `repeats_lists`: whether to keep the facts of each
        list, so that the next one neither decodes nor parses unchanged objects.
        `request_timeout` replaces the limit of 30 s for each request. Zero means no limit.
        """
        self.recreated_by = recreated_by
        self._session = ApiSession(api_client, on_request, fence, request_timeout)
        self._lists = ListReader(self._session, page_bytes, repeats=repeats_lists)
        self._fence: WriteFence = fence or OpenFence()

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()

    async def rayjob(self, namespace: str, name: str) -> RayJob | None:
        """Reads one RayJob, or None if it does not exist."""
        return await self._session.get(rayjob_path(namespace, name), self._parse_rayjob)

    async def raycluster(self, namespace: str, name: str) -> RayCluster | None:
        """Reads one RayCluster, or None if it does not exist."""
        path = ray_object_path("RayCluster", namespace, name)
        return await self._session.get(path, ray_head.parse_raycluster)

    async def namespace(self, name: str) -> Namespace | None:
        """Reads one Namespace, or None if it does not exist."""
        return await self._session.get(f"{NAMESPACES}/{name}", rayjob.parse_namespace)

    async def service(self, namespace: str, name: str) -> Service | None:
        """Reads one Service, or None if it does not exist. Needs the setting head_tokens."""
        path = core_path(namespace, "services", name)
        return await self._session.get(path, ray_head.parse_service)

    async def head_token(self, namespace: str, secret: str) -> SecretStr | None:
        """Reads the token of a head from a Secret. Needs the setting head_tokens.

        None if the Secret does not exist or lacks the key auth_token.
        """
        path = core_path(namespace, "secrets", secret)
        return await self._session.get(path, ray_head.parse_head_token)

    def rayjobs(self, namespace: str = "") -> AsyncIterator[Page[RayJob]]:
        """Lists the RayJobs of one namespace, or of all if it is empty, page by page."""
        return self._lists.pages(rayjobs_path(namespace), self._parse_rayjob)

    def rayclusters(self, namespace: str = "") -> AsyncIterator[Page[RayCluster]]:
        """Lists the metadata of RayClusters, with their owners, page by page.

        Raises InvalidResponseError if a RayCluster cannot be identified, since the list must show
        which RayClusters do not exist.
        """
        path = rayclusters_path(namespace)
        return self._lists.complete_pages(path, ray_head.parse_raycluster, accept=METADATA_LIST)

    def pods(self, namespace: str, cluster_name: str) -> AsyncIterator[Page[Pod]]:
        """Lists the metadata of Pods with the label of a RayCluster, page by page.

        The label proves no ownership: Pod.raycluster_uid does. Pods that cannot be identified are
        left out. Needs the setting delete_pods.
        """
        selector = (("labelSelector", f"{names.CLUSTER_SELECTOR_KEY}={cluster_name}"),)
        path = pods_path(namespace)
        return self._lists.pages(path, pod.parse_pod, accept=METADATA_LIST, selector=selector)

    def namespaces(self) -> AsyncIterator[Page[Namespace]]:
        """Lists all Namespaces, page by page."""
        return self._lists.pages(NAMESPACES, rayjob.parse_namespace)

    async def policies(self) -> PolicyList:
        """Lists all RayJobCleanupPolicies. The list is empty if their CRD is missing.

        Raises InvalidResponseError if a policy cannot be identified. Concurrent calls may return
        out of order, so callers keep the result of the latest call.
        """
        policies: list[Policy] = []
        version = ""
        try:
            async for page in self._lists.complete_pages(POLICIES, policy.parse_policy):
                policies += page
                version = page.resource_version
        except NotFoundError:
            return PolicyList(())
        return PolicyList(tuple(policies), version)

    async def wait_for_policy_change(self, resource_version: str, timeout: timedelta) -> None:
        """Watches the policies until something changes after a list, or the timeout ends.

        The end of the watch, an expired resourceVersion and an error count as changes too, so the
        caller lists the policies again in any case.
        """
        seconds = timeout.total_seconds()
        query = (
            ("watch", "true"),
            ("resourceVersion", resource_version),
            ("timeoutSeconds", str(round(seconds))),
        )
        client_timeout = aiohttp.ClientTimeout(total=seconds + 5, sock_connect=5)
        request = Request("GET", POLICIES, query, timeout=client_timeout)
        async with self._session.open(request) as response:
            # Any bytes are a change. A whole event may be as large as a policy.
            await response.content.readany()

    async def set_policy_status(self, policy: Policy, status: Mapping[str, Any]) -> None:
        """Patches the status of exactly this policy. Raises ConflictError if it changed."""
        metadata = {"uid": policy.uid, "resourceVersion": policy.resource_version}
        body = {"metadata": metadata, "status": status}
        request = _merge_patch(f"{POLICIES}/{policy.name}/status", body)
        await self._session.send(request, self._fence.write_refusal)

    async def delete(self, target: Target) -> bool:
        """Deletes exactly this RayJob or RayCluster, by its uid and resourceVersion, if given.

        Returns whether it is gone: the API server sends a Status then. It sends the object if a
        finalizer holds it (k8s.io/apiserver pkg/registry/generic/registry/store.go,
        finalizeDelete). Raises ConflictError if the object changed or was replaced.
        """
        path = ray_object_path(target.kind, target.namespace, target.name)
        response = await self._delete(path, target, self._fence.delete_refusal)
        return response.get("kind") == "Status"

    async def delete_pod(self, target: Target) -> None:
        """Deletes exactly this Pod, by its uid and with its own grace period.

        Needs the setting delete_pods. The fence was asked for the deletion as a whole when its
        RayCluster was deleted, so a deletion in progress may continue here during a shutdown.
        """
        path = core_path(target.namespace, names.PODS, target.name)
        await self._delete(path, target, self._fence.write_refusal)

    async def _delete(self, path: str, target: Target, refusal: Refusal) -> dict[str, Any]:
        preconditions = {"uid": target.uid}
        if target.resource_version:
            preconditions["resourceVersion"] = target.resource_version
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": preconditions,
        }
        return await self._session.send(Request("DELETE", path, body=options), refusal)

    async def annotate(self, rayjob: RayJob, key: str, value: str) -> None:
        """Sets one annotation on exactly this RayJob. Raises ConflictError if it changed."""
        metadata = {
            "uid": rayjob.uid,
            "resourceVersion": rayjob.resource_version,
            "annotations": {key: value},
        }
        request = _merge_patch(rayjob_path(rayjob.namespace, rayjob.name), {"metadata": metadata})
        await self._session.send(request, self._fence.delete_refusal)

    async def post_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        """Creates an events.k8s.io/v1 Event. An Event that exists already is a success."""
        request = Request("POST", events_path(namespace), body=event)
        try:
            await self._session.send(request, self._fence.write_refusal)
        except ConflictError:
            return

    async def lease(self, name: LeaseName) -> Lease | None:
        """Reads a Lease, or None if it does not exist.

        Raises NotFoundError if the API server proves that it serves no Leases at all.
        """
        path = lease_path(name)
        try:
            return await self._session.get(path, parse_lease)
        except UnconfirmedNotFoundError as error:
            await discovery.raise_if_not_served(self._session, path, error)
            raise

    async def create_lease(self, name: LeaseName, term: Term) -> Lease:
        """Creates a Lease.

        Raises ConflictError if it exists already, and NotFoundError if its Namespace is missing.
        """
        request = Request("POST", leases_path(name.namespace), body=new_lease(name, term))
        return parsed(request, parse_lease, await self._session.send(request))

    async def replace_lease(self, name: LeaseName, lease: Lease, term: Term) -> Lease:
        """Replaces exactly this Lease. Raises ConflictError if it changed."""
        request = Request("PUT", lease_path(name), body=changed_lease(lease, term))
        return parsed(request, parse_lease, await self._session.send(request))

    async def serves(self, group_version: str, plural: str) -> bool:
        """Whether the API server serves a resource, such as the one of a CRD."""
        return await discovery.serves(self._session, group_version, plural)

    async def is_allowed(self, right: Right) -> bool:
        """Whether this client has a right (SelfSubjectAccessReview)."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asdict(right)},
        }
        response = await self._session.send(Request("POST", ACCESS_REVIEWS, body=review))
        return bool((response.get("status") or {}).get("allowed"))

    def _parse_rayjob(self, json: Json) -> RayJob:
        return rayjob.parse_rayjob(json, self.recreated_by)


def _merge_patch(path: str, body: Mapping[str, Any]) -> Request:
    return Request("PATCH", path, body=body, content_type=MERGE_PATCH)
