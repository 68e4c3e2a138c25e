"""Requests that a Ray head acts on, and the log of its job: one method per request.

Nothing is retried or decided here. Sources: docs.ray.io "Ray Jobs REST API" and "State API",
ray.dashboard.modules.job.job_head and modules.state.state_head; measured on Ray 2.60.
"""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from raysweep.clients.kubernetes.errors import ApiError
from raysweep.clients.ray.probe_limits import read_error_text
from raysweep.clients.ray.tokens import NoTokenError, Tokens
from raysweep.clients.ray.transport import HeadTransport, head_service, request_options
from raysweep.core.model.facts import HeadList, HeadSilent, RayCluster
from raysweep.core.text import plain, quoted
from raysweep.submission.progress import BytesSent

REQUEST_TIMEOUT = timedelta(seconds=20)
"""A head waits up to 10 s for the agent of its node before it answers a submission."""
LOG_READ_TIMEOUT = timedelta(seconds=30)
"""Longest pause between two chunks of a log that is read to its end."""
LONGEST_ID = 253
NO_AGENT = "No available agent"
ID_IN_USE = "Please use a different submission_id"

Json = Mapping[str, Any]
Probe = Callable[[], Awaitable[HeadList | HeadSilent]]
"""Asks a head for its jobs."""


class RefusedError(Exception):
    """The head, or a proxy before it, refused the request and did nothing.

    code: the HTTP status. body: the beginning of the answer.
    """

    def __init__(self, message: str, *, code: int, body: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.body = body


class NotSentError(Exception):
    """The request did not reach the head."""


class AnswerLostError(Exception):
    """The answer is missing or unusable, so the head may have acted on the request."""


@dataclass(frozen=True)
class Head:
    """A head that accepts requests. The headers may hold a token, so repr leaves them out."""

    transport: HeadTransport
    base_url: str
    headers: Mapping[str, str] = field(repr=False)

    async def ray_version(self) -> str:
        """GET /api/version. Returns "" if the head does not report it."""
        with contextlib.suppress(RefusedError, NotSentError, AnswerLostError):
            async with self._request("GET", "/api/version") as response:
                if response.status == 200:
                    return str(_json_object(await _body(response)).get("ray_version") or "")
        return ""

    async def has_package(self, name: str) -> bool:
        """GET /api/packages/gcs/NAME. The head pins an existing package for ten minutes."""
        async with self._request("GET", _package_path(name)) as response:
            if response.status not in (200, 404):
                raise await _refusal(response)
            return response.status == 200

    async def upload(
        self, name: str, path: Path, timeout: timedelta, bytes_sent: BytesSent
    ) -> None:
        """PUT /api/packages/gcs/NAME, streamed from disk."""
        with _CountedFile(io.FileIO(path), bytes_sent) as data:
            request = self._request("PUT", _package_path(name), timeout=timeout, data=data)
            async with request as response:
                if response.status != 200:
                    raise await _refusal(response)

    async def submit(self, job: Json) -> str:
        """POST /api/jobs/. Returns the submission ID of the answer.

        Only a 4xx, and Ray's own messages about a missing agent or an ID in use, prove that the
        head did not accept the job.
        """
        async with self._request("POST", "/api/jobs/", json=job) as response:
            if response.status == 200:
                return _submission_id(await _body(response))
            refusal = await _refusal(response)
        if _was_not_forwarded(self.transport, refusal):
            raise NotSentError(str(refusal))
        is_client_error = 400 <= refusal.code < 500
        if is_client_error or NO_AGENT in refusal.body or ID_IN_USE in refusal.body:
            raise refusal
        raise AnswerLostError(str(refusal))

    async def stop(self, job_id: str) -> bool:
        """POST /api/jobs/ID/stop. Returns False if the job had already ended."""
        path = f"/api/jobs/{quote(job_id, safe='')}/stop"
        async with self._request("POST", path) as response:
            if response.status != 200:
                raise await _refusal(response)
            return bool(_json_object(await _body(response)).get("stopped"))

    @contextlib.asynccontextmanager
    async def log(
        self, job_id: str, node_id: str, *, follow: bool, lines: int = -1
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The driver's log in chunks. With `follow` it continues until the block ends.

        GET /api/v0/logs/file returns raw bytes and needs constant memory in the head, while
        /api/jobs/ID/logs needs three times the size of the log. /api/v0/logs/stream follows it.
        Raises AnswerLostError if the connection breaks.
        """
        query = urlencode({"node_id": node_id, "submission_id": job_id, "lines": lines})
        # The headers of a stream arrive with the first line of the log.
        kind, limit = ("stream", None) if follow else ("file", REQUEST_TIMEOUT)
        path = f"/api/v0/logs/{kind}?{query}"
        async with self._request("GET", path, timeout=limit, headers_only=True) as response:
            if response.status != 200:
                raise await _refusal(response)
            yield _chunks(response, None if follow else LOG_READ_TIMEOUT)

    @contextlib.asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        timeout: timedelta | None = REQUEST_TIMEOUT,
        headers_only: bool = False,
        **content: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """headers_only: the timeout ends when the headers arrive."""
        operation = f"{method} {path.partition('?')[0]}"
        options = request_options(self.transport, self.headers)
        url = URL(self.base_url + path, encoded=True)
        try:
            async with (
                asyncio.timeout(timeout.total_seconds() if timeout else None) as deadline,
                self.transport.session.request(method, url, **options, **content) as response,
            ):
                if headers_only:
                    deadline.reschedule(None)
                yield response
        except TimeoutError as error:
            raise AnswerLostError(f"{operation}: no answer in time") from error
        except aiohttp.ClientConnectorError as error:
            raise NotSentError(f"{type(error).__name__}: {plain(error)}") from error
        except (aiohttp.ClientError, OSError) as error:
            message = f"{operation}: {type(error).__name__} {plain(error)}"
            raise AnswerLostError(message) from error


class _CountedFile(io.BufferedReader):
    """A file that reports how far it was read. aiohttp reads a chunk once the last one is sent.

    It reports a position, not a sum: to repeat a request, aiohttp reads from the start.
    """

    def __init__(self, file: io.FileIO, bytes_sent: BytesSent) -> None:
        super().__init__(file)
        self._bytes_sent = bytes_sent

    def read(self, size: int | None = -1, /) -> bytes:
        """Returns the next chunk and reports the position after it."""
        chunk = super().read(size)
        self._bytes_sent(self.tell())
        return chunk


async def head_of(transport: HeadTransport, tokens: Tokens, cluster: RayCluster) -> Head:
    """Returns the head of a cluster, with its token if it requires one.

    Raises NoTokenError, and ApiError of the API server.
    """
    try:
        service = head_service(cluster)
    except ValueError:
        name = quoted(cluster.head_service)
        raise NoTokenError(f"invalid name {name} of the head Service") from None
    base_url = transport.address(cluster, service)
    return Head(transport, base_url, await tokens.header(cluster, service))


def silent_on_api_error(probe: Probe) -> Probe:
    """Turns an ApiError of the probe into HeadSilent.

    The API server provides the head's token. If it is away for a moment after a job was posted,
    that must not count as a head that did not accept the job.
    """

    async def tolerant_probe() -> HeadList | HeadSilent:
        try:
            return await probe()
        except ApiError as error:
            return HeadSilent(plain(error))

    return tolerant_probe


def is_usable(job_id: str) -> bool:
    """Whether the ID fits into a URL path and into an object's field.

    Ray checks nothing: it accepts `..`, blanks and unpaired surrogates.
    """
    is_path_segment = job_id not in ("", ".", "..") and not set(job_id) & set("/ \\%?#")
    return is_path_segment and len(job_id) <= LONGEST_ID and job_id.isprintable()


def _package_path(name: str) -> str:
    return f"/api/packages/gcs/{quote(name, safe='')}"


async def _chunks(
    response: aiohttp.ClientResponse, timeout: timedelta | None
) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(timeout.total_seconds() if timeout else None):
            chunk = await response.content.readany()
        if not chunk:
            return
        yield chunk


async def _body(response: aiohttp.ClientResponse) -> bytes:
    return (await read_error_text(response)).encode()


async def _refusal(response: aiohttp.ClientResponse) -> RefusedError:
    """Ray answers errors with a traceback, whose last line holds the message."""
    body = await read_error_text(response)
    lines = [line for line in body.splitlines() if line.strip()]
    message = lines[-1] if lines else response.reason or ""
    text = f"HTTP {response.status} {plain(message)}".strip()
    return RefusedError(text, code=response.status, body=body)


def _was_not_forwarded(transport: HeadTransport, refusal: RefusedError) -> bool:
    """Whether the API server reports that the request never reached the head.

    It counts only through the API server, since a head could send the same words. Kubernetes,
    pkg/registry/core/service/storage/storage.go (ResourceLocation): 404 for the Service itself,
    503 `no endpoints available for service "x"`. apimachinery pkg/util/proxy/transport.go: 503
    `error trying to reach service: dial tcp 10.0.0.1:8265: connect: connection refused`.
    """
    if not transport.by_api_server or refusal.code not in (404, 503):
        return False
    status = _json_object(refusal.body.encode("utf-8", "replace"))
    identity = (status.get("kind"), status.get("apiVersion"), status.get("code"))
    if identity != ("Status", "v1", refusal.code):
        return False
    if refusal.code == 404:
        details = status.get("details")
        return isinstance(details, dict) and details.get("kind") == "services"
    message = str(status.get("message"))
    if message.startswith("no endpoints available for service "):
        return True
    is_unreachable = message.startswith("error trying to reach service: ")
    return is_unreachable and message.endswith(": connection refused")


def _submission_id(body: bytes) -> str:
    """A 200 without a usable ID still means that the job was accepted, so the answer is lost."""
    answer = _json_object(body)
    job_id = answer.get("submission_id") or answer.get("job_id")
    if not isinstance(job_id, str) or not is_usable(job_id):
        shown = plain(body.decode("utf-8", "replace"))
        raise AnswerLostError(f"HTTP 200 without a usable submission ID: {shown}")
    return job_id


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
