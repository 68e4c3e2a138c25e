"""What is sent to a Ray head, and its job's log: one method for each request. Nothing is tried twice or decided here.

Sources: docs.ray.io "Ray Jobs REST API" and "State API", ray.dashboard.modules.job.job_head and modules.state.state_head;
measured on Ray 2.60.
"""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from raysweep.clients.ray import endpoint
from raysweep.clients.ray.endpoint import HeadTransport
from raysweep.clients.ray.tokens import NoTokenError, Tokens
from raysweep.core.model.facts import RayCluster
from raysweep.core.text import plain, quoted
from raysweep.submission.progress import Sent

SEND_WITHIN = timedelta(seconds=20)
"""A head waits up to 10 s for its node's agent before it answers a submission."""
QUIET_AT_MOST = timedelta(seconds=30)
"""Between two pieces of a log that is read to its end."""
NO_AGENT = "No available agent"
ID_TAKEN = "Please use a different submission_id"

Json = Mapping[str, Any]


class RefusedError(Exception):
    """The head, or something before it, said no: nothing was taken. `code` is the HTTP status, `said` its whole text."""

    def __init__(self, message: str, *, code: int, said: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.said = said


class NotSentError(Exception):
    """The request never reached the head: nobody is there."""


class LostError(Exception):
    """The answer got lost, or is none: nobody knows whether the head has taken it."""


@dataclass(frozen=True)
class Head:
    """A head that things are sent to. The headers may hold a token, so they are in no repr."""

    way: HeadTransport
    base: str
    headers: Mapping[str, str] = field(repr=False)

    async def ray_version(self) -> str:
        """GET /api/version; "" if the head does not tell."""
        with contextlib.suppress(RefusedError, NotSentError, LostError):
            async with self._sent("GET", "/api/version", within=SEND_WITHIN) as response:
                if response.status == 200:
                    return str(_object(await _body(response)).get("ray_version") or "")
        return ""

    async def has_package(self, name: str) -> bool:
        """GET /api/packages/gcs/NAME; a package that is there is pinned for ten minutes by it."""
        async with self._sent(
            "GET", f"/api/packages/gcs/{quote(name, safe='')}", within=SEND_WITHIN
        ) as response:
            if response.status not in (200, 404):
                raise await _refused(response)
            return response.status == 200

    async def upload(self, name: str, path: Path, within: timedelta, sent: Sent) -> None:
        """PUT /api/packages/gcs/NAME, from disk."""
        with _Counted(io.FileIO(path), sent) as data:
            path_there = f"/api/packages/gcs/{quote(name, safe='')}"
            async with self._sent("PUT", path_there, within=within, data=data) as response:
                if response.status != 200:
                    raise await _refused(response)

    async def submit(self, job: Json) -> str:
        """POST /api/jobs/; the submission ID that the head answers with.

        Only a 4xx, and Ray's own words for want of an agent or for an ID in use, say that this request was not taken.
        """
        async with self._sent("POST", "/api/jobs/", within=SEND_WITHIN, json=job) as response:
            if response.status == 200:
                return _submission_id(await _body(response))
            refused = await _refused(response)
            if _was_not_forwarded(self.way, refused.code, refused.said):
                raise NotSentError(str(refused))
            if 400 <= refused.code < 500 or NO_AGENT in refused.said or ID_TAKEN in refused.said:
                raise refused
            raise LostError(str(refused))

    async def stop(self, job_id: str) -> bool:
        """POST /api/jobs/ID/stop; False where it had ended already."""
        async with self._sent(
            "POST", f"/api/jobs/{quote(job_id, safe='')}/stop", within=SEND_WITHIN
        ) as response:
            if response.status != 200:
                raise await _refused(response)
            return bool(_object(await _body(response)).get("stopped"))

    @contextlib.asynccontextmanager
    async def log(
        self, job_id: str, node_id: str, *, follow: bool, lines: int = -1
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The driver's log in pieces as they come; following, it goes on until it is left.

        GET /api/v0/logs/file: constant memory in the head, raw bytes, where /api/jobs/ID/logs costs it three times the
        log. Followed it is /api/v0/logs/stream. LostError where it breaks off.
        """
        query = urlencode({"node_id": node_id, "submission_id": job_id, "lines": lines})
        kind = "stream" if follow else "file"
        begins = (
            None if follow else SEND_WITHIN
        )  # a stream's headers come with the first line of the log
        async with self._sent(
            "GET", f"/api/v0/logs/{kind}?{query}", within=None, begins=begins
        ) as response:
            if response.status != 200:
                raise await _refused(response)
            yield _pieces(response, None if follow else QUIET_AT_MOST)

    @contextlib.asynccontextmanager
    async def _sent(
        self,
        method: str,
        path: str,
        *,
        within: timedelta | None,
        begins: timedelta | None = None,
        **content: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """within: the whole exchange; begins: until the headers are there, where the whole may last."""
        limit = within or begins
        try:
            async with (
                asyncio.timeout(limit.total_seconds() if limit else None) as ends,
                self.way.session.request(
                    method,
                    URL(self.base + path, encoded=True),
                    **endpoint.request_options(self.way, self.headers),
                    **content,
                ) as response,
            ):
                if within is None:
                    ends.reschedule(None)
                yield response
        except TimeoutError as error:
            raise LostError(f"{method} {path.partition('?')[0]}: no answer in time") from error
        except aiohttp.ClientConnectorError as error:
            raise NotSentError(f"{type(error).__name__}: {plain(error)}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise LostError(
                f"{method} {path.partition('?')[0]}: {type(error).__name__} {plain(error)}"
            ) from error


class _Counted(io.BufferedReader):
    """A file that reports how much of it was read. A piece is read when the one before has left.

    It reports a position, not a sum: to send a request again, aiohttp reads from the start.
    """

    def __init__(self, file: io.FileIO, sent: Sent) -> None:
        super().__init__(file)
        self._sent = sent

    def read(self, size: int | None = -1, /) -> bytes:
        """The next piece."""
        piece = super().read(size)
        self._sent(self.tell())
        return piece


async def head_of(way: HeadTransport, tokens: Tokens, cluster: RayCluster) -> Head:
    """The head of a cluster, with its token where it wants one. Raises NoTokenError, and ApiError of the API server."""
    try:
        service = endpoint.service_of(cluster)
    except ValueError:
        raise NoTokenError(f"{quoted(cluster.head_service)} is no name of a head Service") from None
    return Head(way, way.address(cluster, service), await tokens.header(cluster, service))


async def _pieces(
    response: aiohttp.ClientResponse, quiet: timedelta | None
) -> AsyncIterator[bytes]:
    while True:
        async with asyncio.timeout(quiet.total_seconds() if quiet else None):
            piece = await response.content.readany()
        if not piece:
            return
        yield piece


async def _body(response: aiohttp.ClientResponse) -> bytes:
    return (await endpoint.beginning(response)).encode()


async def _refused(response: aiohttp.ClientResponse) -> RefusedError:
    """Ray answers faults with a traceback; its last line says what it was."""
    said = await endpoint.beginning(response)
    lines = [line for line in said.splitlines() if line.strip()]
    told = f"HTTP {response.status} {plain(lines[-1] if lines else response.reason or '')}".strip()
    return RefusedError(told, code=response.status, said=said)


def _was_not_forwarded(way: HeadTransport, status: int, text: str) -> bool:
    """Whether the API server says that the request never reached the head, so that it may be sent again.

    Only through the API server: in a head's own mouth the same words mean nothing. Kubernetes,
    pkg/registry/core/service/storage/storage.go (ResourceLocation): 404 for the Service itself, 503 `no endpoints
    available for service "x"`; apimachinery pkg/util/proxy/transport.go: 503 `error trying to reach service: dial tcp
    10.0.0.1:8265: connect: connection refused`.
    """
    if not way.by_api_server or status not in (404, 503):
        return False
    said = _object(text.encode("utf-8", "replace"))
    if (said.get("kind"), said.get("apiVersion"), said.get("code")) != ("Status", "v1", status):
        return False
    message, details = str(said.get("message")), said.get("details")
    if status == 404:
        return isinstance(details, dict) and details.get("kind") == "services"
    unreached = message.startswith("error trying to reach service: ") and message.endswith(
        ": connection refused"
    )
    return unreached or message.startswith("no endpoints available for service ")


def _submission_id(body: bytes) -> str:
    """An odd answer of 200 was a taking all the same, so it counts as lost."""
    found = _object(body)
    said = found.get("submission_id") or found.get("job_id")
    if not isinstance(said, str) or not is_usable(said):
        raise LostError(
            f"it answered 200 with no usable submission ID: {plain(body.decode('utf-8', 'replace'))}"
        )
    return said


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def is_usable(job_id: str) -> bool:
    """Whether it can be asked for and written down. Ray checks nothing: `..`, blanks and half characters come through."""
    return (
        job_id not in ("", ".", "..")
        and len(job_id) <= 253
        and job_id.isprintable()
        and not set(job_id) & set("/ \\%?#")
    )
