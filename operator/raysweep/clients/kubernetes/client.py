"""The API server: a method for each thing Raysweep asks of it, in and out as facts. The border where errors are translated.

What RBAC must grant is what stands in this file, and Kopf's list and watch of what handlers.py registers.
"""

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import aiohttp
from pydantic import SecretStr

from raysweep import names
from raysweep.clients.connection.credentials import NotSentError, OnRequest, refusing
from raysweep.clients.connection.identity import CredentialsError
from raysweep.clients.kubernetes import absence
from raysweep.clients.kubernetes.errors import (
    ApiError,
    InvalidResponseError,
    NotFoundError,
    NotLeaderError,
    UnconfirmedNotFoundError,
    UnreachableError,
    error_for_status,
)
from raysweep.clients.kubernetes.leases import (
    Lease,
    LeaseName,
    Term,
    changed_lease,
    new_lease,
    parse_lease,
)
from raysweep.clients.kubernetes.pages import (
    LARGEST_PAGE,
    OBJECT_BYTES,
    PAGE_BYTES,
    Page,
    PageSize,
    PageTooLargeError,
    members,
)
from raysweep.clients.parsing import policy, ray_head, rayjob
from raysweep.clients.parsing.common import Json
from raysweep.core.model.decisions import Target
from raysweep.core.model.facts import Namespace, Policy, RayCluster, RayJob, Service
from raysweep.core.text import plain

PAGE = LARGEST_PAGE
ERROR_BYTES = 64 * 2**10
"""Of the body of an error, which may be anybody's page."""
YIELD_EVERY = 64 * 2**10
"""Bytes of a list that are parsed before others on the event loop have their turn."""
TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
MERGE_PATCH = "application/merge-patch+json"
SERVER_SIDE_APPLY = "application/apply-patch+yaml"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"

NAMESPACES = "/api/v1/namespaces"
POLICIES = f"/apis/{names.POLICY_GROUP}/{names.POLICY_VERSION}/{names.POLICIES}"
RAY = f"/apis/{names.RAY_GROUP}/{names.RAY_VERSION}"
_PLURAL = {"RayJob": names.RAYJOBS, "RayCluster": names.RAYCLUSTERS}

Fact = TypeVar("Fact")


@dataclass(frozen=True, slots=True)
class Right:
    """One thing the operator must be allowed to do, as SelfSubjectAccessReview asks it."""

    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""  # "": everywhere
    name: str = ""  # "": whatever its name

    def __str__(self) -> str:
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        which = f" {self.name}" if self.name else ""
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {resource}{'.' + self.group if self.group else ''}{which}{where}"


@dataclass(frozen=True, slots=True)
class PolicyList:
    """All RayJobCleanupPolicies, and the resourceVersion of that list; "" where the CRD is not there."""

    policies: tuple[Policy, ...]
    resource_version: str = ""


class WriteFence(Protocol):
    """Asked right before each write. Answers why it may not be sent, in half a sentence; None where it may."""

    def delete_refusal(self) -> str | None:
        """For each request of a deletion."""

    def write_refusal(self) -> str | None:
        """For any other write; and again for each DELETE and PATCH when its bytes leave."""


class OpenFence:
    """Where nobody else could be at work."""

    def delete_refusal(self) -> None:
        """It may."""

    def write_refusal(self) -> None:
        """It may."""


class Kubernetes:
    """Raysweep's view of one API server. Every method raises ApiError's tree (errors.py) and nothing else."""

    def __init__(
        self,
        api_client: Any,
        on_request: OnRequest,
        fence: WriteFence | None = None,
        *,
        recreated_by: frozenset[str] = names.RECREATED_BY,
        page_bytes: int = PAGE_BYTES,
        request_timeout: timedelta | None = None,
    ) -> None:
        """recreated_by: the labels and annotations that RayJob.keys tells of. page_bytes: what one page of a list may weigh.

        request_timeout: for each request, instead of 30 s; zero means no limit.
        """
        self._timeout = _timeout(request_timeout)
        self.request_timeout = request_timeout
        self.recreated_by = recreated_by
        self._page_bytes = page_bytes
        self._page_sizes: defaultdict[str, PageSize] = defaultdict(PageSize)
        self._client = api_client
        self._on_request = on_request
        self._fence: WriteFence = fence or OpenFence()
        if fence:
            api_client.rest_client.pool_manager.trace_configs.append(
                refusing(("DELETE", "PATCH"), fence.write_refusal)
            )

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def rayjob(self, namespace: str, name: str) -> RayJob | None:
        """GET of one RayJob; None where it is gone."""
        return await self._get(f"{RAY}/namespaces/{namespace}/{names.RAYJOBS}/{name}", self._rayjob)

    async def raycluster(self, namespace: str, name: str) -> RayCluster | None:
        """GET of one RayCluster; None where there is none."""
        return await self._get(
            f"{RAY}/namespaces/{namespace}/{names.RAYCLUSTERS}/{name}", ray_head.parse_raycluster
        )

    async def namespace(self, name: str) -> Namespace | None:
        """GET of one Namespace; None where it is gone."""
        return await self._get(f"/api/v1/namespaces/{name}", rayjob.parse_namespace)

    async def service(self, namespace: str, name: str) -> Service | None:
        """GET of one Service; None where there is none. Only with the setting head_tokens."""
        return await self._get(
            f"/api/v1/namespaces/{namespace}/services/{name}", ray_head.parse_service
        )

    async def head_token(self, namespace: str, secret: str) -> SecretStr | None:
        """GET of the Secret with a head's token; None where it, or the key auth_token, is not there. Only with head_tokens."""
        return await self._get(
            f"/api/v1/namespaces/{namespace}/secrets/{secret}", ray_head.parse_head_token
        )

    def rayjobs(self, namespace: str = "") -> AsyncIterator[Page[RayJob]]:
        """All RayJobs, or those of one namespace, page by page."""
        return self._pages(list_path(namespace, names.RAYJOBS), self._rayjob)

    def rayclusters(self, namespace: str = "") -> AsyncIterator[Page[RayCluster]]:
        """The metadata of all RayClusters, or of one namespace's, page by page: who owns which.

        InvalidResponseError where one cannot be named: which cluster is not there is concluded from this list.
        """
        path = list_path(namespace, names.RAYCLUSTERS)
        return _all_named(path, self._pages(path, ray_head.parse_raycluster, accept=METADATA_ONLY))

    def namespaces(self) -> AsyncIterator[Page[Namespace]]:
        """All Namespaces, page by page."""
        return self._pages(NAMESPACES, rayjob.parse_namespace)

    def page_limit(self, path: str) -> int:
        """How many objects a page of the list at that path may have, by what the latest complete lists found."""
        return self._page_sizes[path].safe if path in self._page_sizes else PAGE

    async def policies(self) -> PolicyList:
        """All RayJobCleanupPolicies; none where their CRD is not there. InvalidResponseError where one cannot be named.

        Several may ask at once: whoever keeps the answer keeps the one that was asked for last.
        """
        found: list[Policy] = []
        version = ""
        try:
            async for page in self._pages(POLICIES, policy.parse_policy):
                found += _named(POLICIES, page)
                version = page.resource_version
        except NotFoundError:
            return PolicyList(())
        return PolicyList(tuple(found), version)

    async def wait_for_policy_change(self, since: str, within: timedelta) -> None:
        """Returns at the first sign that they changed since that list, or when the time is up: list them again then.

        A watch that says no more than that. Its end, an expired resourceVersion and an error are signs too.
        """
        query = [
            ("watch", "true"),
            ("resourceVersion", since),
            ("timeoutSeconds", str(round(within.total_seconds()))),
        ]
        timeout = aiohttp.ClientTimeout(total=within.total_seconds() + 5, sock_connect=5)
        async with self._asked("GET", POLICIES, query=query, timeout=timeout) as response:
            await response.content.readany()  # a whole event may be as large as a policy

    async def set_policy_status(self, policy: Policy, status: Mapping[str, Any]) -> None:
        """PATCH of the status of exactly this RayJobCleanupPolicy; 409 where it changed."""
        metadata = {"uid": policy.uid, "resourceVersion": policy.resource_version}
        body = {"metadata": metadata, "status": status}
        await self._request(
            "PATCH", f"{POLICIES}/{policy.name}/status", body=body, permit=self._fence.write_refusal
        )

    async def delete(self, target: Target) -> None:
        """DELETE of exactly this object, by uid and, where given, resourceVersion; 409 where it is another by now."""
        preconditions = {"uid": target.uid}
        if target.resource_version:
            preconditions["resourceVersion"] = target.resource_version
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": preconditions,
        }
        path = f"{RAY}/namespaces/{target.namespace}/{_PLURAL[target.kind]}/{target.name}"
        await self._request("DELETE", path, body=options, permit=self._fence.delete_refusal)

    async def annotate(self, rayjob: RayJob, key: str, value: str) -> None:
        """PATCH of one annotation on exactly this RayJob, at exactly this resourceVersion; 409 where it changed."""
        metadata = {
            "uid": rayjob.uid,
            "resourceVersion": rayjob.resource_version,
            "annotations": {key: value},
        }
        path = f"{RAY}/namespaces/{rayjob.namespace}/{names.RAYJOBS}/{rayjob.name}"
        await self._request(
            "PATCH", path, body={"metadata": metadata}, permit=self._fence.delete_refusal
        )

    async def post_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        """POST of an events.k8s.io/v1 Event; one of that name that is there already is as good."""
        path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        try:
            await self._request("POST", path, body=event, permit=self._fence.write_refusal)
        except ApiError as error:
            if error.code != 409:
                raise

    async def lease(self, name: LeaseName) -> Lease | None:
        """GET of a Lease; None if there is none. NotFoundError if the API server proves that it serves no Leases at all."""
        try:
            return await self._get(f"{_leases(name)}/{name.name}", parse_lease)
        except UnconfirmedNotFoundError as error:
            await self._raise_if_not_served(_leases(name), error)
            raise

    async def create_lease(self, name: LeaseName, term: Term) -> Lease:
        """POST of a Lease; ConflictError where somebody was quicker, NotFoundError where its namespace is not there."""
        return _parsed(
            parse_lease, await self._request("POST", _leases(name), body=new_lease(name, term))
        )

    async def replace_lease(self, name: LeaseName, lease: Lease, term: Term) -> Lease:
        """PUT of exactly this Lease at exactly this resourceVersion; ConflictError where it changed."""
        path = f"{_leases(name)}/{name.name}"
        return _parsed(
            parse_lease, await self._request("PUT", path, body=changed_lease(lease, term))
        )

    async def serves(self, group_version: str, plural: str) -> bool:
        """Whether the API server has this resource: whether the CRD is there. False only on its own word, by discovery."""
        try:
            found = await self._request("GET", f"/apis/{group_version}")
        except (
            UnconfirmedNotFoundError
        ):  # so it answers for a version that no CRD has; and so does anything in between
            groups = await self._request("GET", "/apis")
            if _parsed(lambda answer: absence.has_group_version(answer, group_version), groups):
                raise
            return False
        return _parsed(lambda answer: absence.has_resource(answer, group_version, plural), found)

    async def is_allowed(self, right: Right) -> bool:
        """Whether we are allowed to, everywhere or where the right says (SelfSubjectAccessReview)."""
        attributes = asdict(right)
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = await self._request(
            "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review
        )
        return bool((answer.get("status") or {}).get("allowed"))

    async def _get(self, path: str, parse: Callable[[Json], Fact]) -> Fact | None:
        try:
            return _parsed(parse, await self._request("GET", path))
        except NotFoundError:
            return None

    def _rayjob(self, json: Json) -> RayJob:
        return rayjob.parse_rayjob(json, self.recreated_by)

    async def _pages(
        self,
        path: str,
        parse: Callable[[Json], Fact],
        *,
        accept: str = "application/json",
        only: tuple[tuple[str, str], ...] = (),
    ) -> AsyncIterator[Page[Fact]]:
        """The pages of a list. An object that `parse` refuses with ValueError is left out and counted.

        only: labelSelector or fieldSelector, where not everything is wanted.
        """
        size, token = self._page_sizes[path], ""
        size.begin()
        while True:
            query = [*only, *([("continue", token)] if token else [])]
            raw = await self._page(path, query, accept, size)
            page, metadata = await _read_page(f"GET {path}", raw, parse)
            size.grow(len(raw), self._page_bytes)
            del raw
            yield page
            token = str(metadata.get("continue") or "")
            if not token:
                return

    async def _page(
        self, path: str, query: list[tuple[str, str]], accept: str, size: PageSize
    ) -> bytearray:
        """The bytes of one page, with as many objects as fit. The same continue token may be used with another limit."""
        while True:
            most = max(self._page_bytes, OBJECT_BYTES) if size.limit == 1 else self._page_bytes
            asked = [("limit", str(size.limit)), *query]
            try:
                return await self._raw("GET", path, query=asked, accept=accept, most=most)
            except PageTooLargeError:
                if size.limit == 1:
                    raise InvalidResponseError(
                        f"GET {path}: one object is larger than {most} bytes"
                    ) from None
                size.shrink()
            except UnconfirmedNotFoundError as error:
                await self._raise_if_not_served(path, error)
                raise

    async def _raise_if_not_served(self, path: str, error: UnconfirmedNotFoundError) -> None:
        """NotFoundError where discovery proves that there is no such resource to list."""
        listed = absence.resource_of(path)
        if listed and listed.group and not await self.serves(listed.group_version, listed.plural):
            raise NotFoundError(
                f"{error}; the API server does not serve {listed.plural}.{listed.group}", code=404
            ) from error

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: list[tuple[str, str]] | None = None,
        body: Mapping[str, Any] | None = None,
        accept: str = "application/json",
        permit: Callable[[], str | None] | None = None,
        patch: str = MERGE_PATCH,
    ) -> dict[str, Any]:
        """permit: asked at the last moment whether this may be sent. patch: the kind of a PATCH."""
        if permit and (refused := permit()):
            raise NotLeaderError(f"{method} {path}: not sent: {refused}")
        request = f"{method} {path}"
        try:
            raw = await self._raw(
                method,
                path,
                query=query,
                body=body,
                accept=accept,
                patch=patch,
                most=OBJECT_BYTES,
            )
        except PageTooLargeError:
            raise InvalidResponseError(
                f"{request}: an answer of more than {OBJECT_BYTES} bytes"
            ) from None
        answer = _json(raw)
        if not isinstance(answer, dict):
            raise InvalidResponseError(f"{request}: an answer with a body that is no JSON object")
        return answer

    async def _raw(
        self,
        method: str,
        path: str,
        *,
        query: list[tuple[str, str]] | None = None,
        body: Mapping[str, Any] | None = None,
        accept: str = "application/json",
        patch: str = MERGE_PATCH,
        most: int,
    ) -> bytearray:
        """The body of a good answer; PageTooLargeError where it is longer than `most` bytes, else an error of the tree."""
        asking = self._asked(method, path, query=query, body=body, accept=accept, patch=patch)
        async with asking as response:
            is_error = response.status >= 400
            raw = await read_body(response, ERROR_BYTES if is_error else most)
            if raw is None:
                response.close()  # the rest is not read
        if is_error:
            raise error_from_response(method, path, response, raw)
        if raw is None:
            raise PageTooLargeError
        return raw

    @asynccontextmanager
    async def _asked(
        self,
        method: str,
        path: str,
        *,
        query: list[tuple[str, str]] | None = None,
        body: Mapping[str, Any] | None = None,
        accept: str = "application/json",
        patch: str = MERGE_PATCH,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer while it is being read; whatever happens to it is counted once, but what was never sent."""
        status: int | None = 0
        try:
            response = await self._client.call_api(
                path,
                method,
                query_params=query or [],
                header_params={
                    "Accept": accept,
                    "Accept-Encoding": "identity",  # what is read is bounded, so what comes is what counts
                    "Content-Type": patch if method == "PATCH" else "application/json",
                },
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=timeout or self._timeout,
            )
            async with response:
                yield response
                status = response.status
        except CredentialsError as error:
            status = None
            raise UnreachableError(str(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error.__cause__, NotSentError):
                status = None
                raise NotLeaderError(f"{method} {path}: not sent: {error.__cause__}") from error
            raise UnreachableError(f"{method} {path}: {_reason(error)}") from error
        finally:
            if status is not None:
                self._on_request(method, status)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = getattr(error.certificate_error, "verify_message", "") or plain(
            error.certificate_error
        )
        return f"the certificate of {error.host} is not valid: {reason}"
    if isinstance(error, aiohttp.ClientConnectorError):
        to = "the proxy " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
        return f"cannot connect to {to}{error.host}:{error.port}: {_os_reason(error.os_error)}"
    if type(error) is aiohttp.ClientConnectionError:
        return plain(error)
    return f"{type(error).__name__}: {plain(error)}"


def _os_reason(error: OSError) -> str:
    if error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return error.strerror or plain(error)


def list_path(namespace: str, plural: str) -> str:
    """Where objects of KubeRay are listed, in one namespace or in all."""
    return f"{RAY}/namespaces/{namespace}/{plural}" if namespace else f"{RAY}/{plural}"


def _timeout(request_timeout: timedelta | None) -> aiohttp.ClientTimeout:
    if request_timeout is None:
        return TIMEOUT
    return aiohttp.ClientTimeout(
        total=request_timeout.total_seconds() or None, sock_connect=TIMEOUT.sock_connect
    )


def _leases(name: LeaseName) -> str:
    return f"/apis/{names.LEASE_GROUP}/v1/namespaces/{name.namespace}/{names.LEASES}"


async def read_body(response: aiohttp.ClientResponse, most: int) -> bytearray | None:
    """The body; None where it is longer than `most` bytes. Content-Length is only a claim."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        if len(body) + len(chunk) > most:
            return None
        body += chunk
    return body


async def _read_page(
    request: str, raw: bytearray, parse: Callable[[Json], Fact]
) -> tuple[Page[Fact], Json]:
    """The facts of a list and its metadata. Each object is dropped as soon as its facts are known; others have their turns."""
    page, turn_at = Page[Fact](), YIELD_EVERY
    metadata: Any = {}
    try:
        for key, value, position in members(raw.decode()):
            if key == "metadata":
                metadata = value or {}
            elif key == "items":
                _add(page, value, parse)
            if position >= turn_at:
                turn_at = position + YIELD_EVERY
                await asyncio.sleep(0)
    except (ValueError, IndexError, RecursionError) as error:
        raise InvalidResponseError(
            f"{request}: the API server's answer cannot be read: {plain(error)}"
        ) from None
    if not isinstance(metadata, dict):
        raise InvalidResponseError(f"{request}: a list whose metadata is no object")
    page.resource_version = str(metadata.get("resourceVersion") or "")
    return page, metadata


def _add(page: Page[Fact], item: object, parse: Callable[[Json], Fact]) -> None:
    try:
        if not isinstance(item, dict):
            raise ValueError("not an object")  # noqa: TRY004 - as the parsers say it
        page.append(parse(item))
    except ValueError:
        page.unnamed += 1


def _named(path: str, page: Page[Fact]) -> Page[Fact]:
    """The page, if nothing is missing in it."""
    if page.unnamed:
        raise InvalidResponseError(
            f"GET {path}: {page.unnamed} objects have no readable name and uid"
        )
    return page


async def _all_named(path: str, pages: AsyncIterator[Page[Fact]]) -> AsyncIterator[Page[Fact]]:
    async for page in pages:
        yield _named(path, page)


def _json(raw: bytearray | None) -> object:
    """None where it is no JSON."""
    try:
        return json.loads(raw or b"")
    except (ValueError, RecursionError):
        return None


def error_from_response(
    method: str, path: str, response: aiohttp.ClientResponse, raw: bytearray | None
) -> ApiError:
    """The error that the status, and the server's own words, make."""
    body = _json(raw)
    said = body.get("message", "") if isinstance(body, dict) else ""
    message = f"{method} {path}: {response.status} {plain(said or response.reason or '')}"
    if response.status == 404 and absence.is_proven(method, path, body):
        return NotFoundError(message, code=404)
    return error_for_status(response.status, message, _retry_after(response))


def _retry_after(response: aiohttp.ClientResponse) -> timedelta | None:
    seconds = response.headers.get("Retry-After", "")
    return timedelta(seconds=int(seconds)) if seconds.isdecimal() and len(seconds) < 6 else None


def _parsed(parse: Callable[[Json], Fact], json: Json) -> Fact:
    try:
        return parse(json)
    except ValueError as error:
        raise InvalidResponseError(
            f"the API server's answer cannot be read: {plain(error)}"
        ) from error
