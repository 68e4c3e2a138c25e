"""A session with one API server: sends requests, bounds responses and translates errors."""

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import aiohttp

from raysweep.clients.connection.credentials import OnRequest
from raysweep.clients.connection.identity import CredentialsError
from raysweep.clients.kubernetes.errors import (
    ApiError,
    InvalidResponseError,
    NotFoundError,
    NotLeaderError,
    UnreachableError,
    error_for_status,
)
from raysweep.clients.kubernetes.not_found import confirms_not_found
from raysweep.clients.kubernetes.pages import OBJECT_BYTES, TooLargeError
from raysweep.clients.kubernetes.write_fence import NotSentError, Refusal, WriteFence, fence_trace
from raysweep.clients.parsing.common import Json
from raysweep.core.text import plain

ERROR_BYTES = 64 * 2**10
"""How much of an error's body is read. A proxy may send a page of any size."""
TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
SERVER_SIDE_APPLY = "application/apply-patch+yaml"

Fact = TypeVar("Fact")
Query = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the API server."""

    method: str
    path: str
    query: Query = ()
    body: Mapping[str, Any] | None = None
    accept: str = JSON
    content_type: str = JSON
    timeout: aiohttp.ClientTimeout | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class ApiSession:
    """Sends requests to one API server. Every method raises ApiError and nothing else."""

    def __init__(
        self,
        api_client: Any,
        on_request: OnRequest,
        fence: WriteFence | None = None,
        request_timeout: timedelta | None = None,
    ) -> None:
        """Without `request_timeout` a request may take 30 s. Zero means no limit."""
        self.request_timeout = request_timeout
        self._client = api_client
        self._on_request = on_request
        self._timeout = _client_timeout(request_timeout)
        if fence:
            trace = fence_trace(fence.write_refusal)
            api_client.rest_client.pool_manager.trace_configs.append(trace)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def get(self, path: str, parse: Callable[[Json], Fact]) -> Fact | None:
        """Reads one object, or None if it does not exist."""
        request = Request("GET", path)
        try:
            return parsed(request, parse, await self.send(request))
        except NotFoundError:
            return None

    async def send(self, request: Request, refusal: Refusal | None = None) -> dict[str, Any]:
        """Sends a request and returns the JSON object of the response.

        `refusal` is called right before. If it returns a reason, NotLeaderError is raised.
        """
        reason = refusal() if refusal else None
        if reason:
            raise NotLeaderError(f"{request}: not sent: {reason}")
        try:
            raw = await self.read(request, OBJECT_BYTES)
        except TooLargeError:
            message = f"{request}: the response is larger than {OBJECT_BYTES} bytes"
            raise InvalidResponseError(message) from None
        body = _json(raw)
        if not isinstance(body, dict):
            raise InvalidResponseError(f"{request}: the response is not a JSON object")
        return body

    async def read(self, request: Request, max_bytes: int) -> bytearray:
        """Sends a request and returns the body of the response.

        Raises TooLargeError if the body is longer than `max_bytes`.
        """
        async with self.open(request) as response:
            is_error = response.status >= 400
            raw = await read_body(response, ERROR_BYTES if is_error else max_bytes)
            if raw is None:
                response.close()  # the rest of the body is not read
        if is_error:
            raise error_from_response(request, response, raw)
        if raw is None:
            raise TooLargeError
        return raw

    @asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """Sends a request and yields the response while its body is read.

        Each request that was sent is counted once, with status 0 if it did not end well.
        """
        status, is_sent = 0, True
        try:
            response = await self._client.call_api(
                request.path,
                request.method,
                query_params=list(request.query),
                header_params={
                    "Accept": request.accept,
                    "Accept-Encoding": "identity",  # compression would evade the limits on bodies
                    "Content-Type": request.content_type,
                },
                body=request.body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=request.timeout or self._timeout,
            )
            async with response:
                yield response
                status = response.status
        except CredentialsError as error:
            is_sent = False
            raise UnreachableError(str(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if isinstance(error.__cause__, NotSentError):
                is_sent = False
                raise NotLeaderError(f"{request}: not sent: {error.__cause__}") from error
            raise UnreachableError(f"{request}: {_connection_problem(error)}") from error
        finally:
            if is_sent:
                self._on_request(request.method, status)


def parsed(request: Request, parse: Callable[[Json], Fact], body: Json) -> Fact:
    """Parses the body of a response. Raises InvalidResponseError."""
    try:
        return parse(body)
    except ValueError as error:
        raise InvalidResponseError(
            f"{request}: cannot parse the response: {plain(error)}"
        ) from error


async def read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytearray | None:
    """The body, or None if it is longer than `max_bytes`. Content-Length is not trusted."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        if len(body) + len(chunk) > max_bytes:
            return None
        body += chunk
    return body


def error_from_response(
    request: Request, response: aiohttp.ClientResponse, raw: bytearray | None
) -> ApiError:
    """The error for a status of 400 or more, with the API server's message."""
    body = _json(raw)
    reason = body.get("message") if isinstance(body, dict) else None
    reason = plain(reason or response.reason or "")
    message = f"{request}: {response.status} {reason}"
    if response.status == 404 and confirms_not_found(request.method, request.path, body):
        return NotFoundError(message, code=404)
    return error_for_status(response.status, message, _retry_after(response))


def _retry_after(response: aiohttp.ClientResponse) -> timedelta | None:
    seconds = response.headers.get("Retry-After", "")
    if seconds.isdecimal() and len(seconds) < 6:
        return timedelta(seconds=int(seconds))
    return None


def _json(raw: bytearray | None) -> object:
    """The value of a JSON text, or None if the text is not JSON."""
    try:
        return json.loads(raw or b"")
    except (ValueError, RecursionError):
        return None


def _client_timeout(request_timeout: timedelta | None) -> aiohttp.ClientTimeout:
    if request_timeout is None:
        return TIMEOUT
    total = request_timeout.total_seconds() or None
    return aiohttp.ClientTimeout(total=total, sock_connect=TIMEOUT.sock_connect)


def _connection_problem(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        certificate_error = error.certificate_error
        reason = getattr(certificate_error, "verify_message", "") or plain(certificate_error)
        return f"the certificate of {error.host} is not valid: {reason}"
    if isinstance(error, aiohttp.ClientConnectorError):
        is_proxy = isinstance(error, aiohttp.ClientProxyConnectionError)
        address = f"{'the proxy ' if is_proxy else ''}{error.host}:{error.port}"
        return f"cannot connect to {address}: {_os_problem(error.os_error)}"
    if type(error) is aiohttp.ClientConnectionError:
        return plain(error)
    return f"{type(error).__name__}: {plain(error)}"


def _os_problem(error: OSError) -> str:
    if error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return error.strerror or plain(error)
