"""A scripted HTTP server on loopback, for responses that a real server sends only when it fails."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Answer = web.StreamResponse | Exception | Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass
class RecordedRequest:
    """One request that the server received."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    target: str = ""  # path and query, still encoded
    groups: tuple[str, ...] = ()  # the values of all Impersonate-Group headers
    certificate: str = ""  # the common name of the client certificate


@dataclass
class Script:
    """Sends the answers in turn, and the last one from then on.

    An exception closes the connection without a response.
    """

    answers: list[Answer] = field(default_factory=list)
    requests: list[RecordedRequest] = field(default_factory=list)
    url: str = ""
    concurrent: int = 0
    most_concurrent: int = 0
    received: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(
        self, is_last: Callable[[RecordedRequest], bool]
    ) -> AsyncIterator[RecordedRequest]:
        """Yields the requests from the first to the last, for which it waits."""
        position = 0
        async with asyncio.timeout(90):
            while True:
                while position == len(self.requests):
                    self.received.clear()
                    await self.received.wait()
                yield self.requests[position]
                if is_last(self.requests[position]):
                    return
                position += 1

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.concurrent += 1
        self.most_concurrent = max(self.most_concurrent, self.concurrent)
        try:
            return await self._answer(request)
        finally:
            self.concurrent -= 1

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        self.requests.append(
            RecordedRequest(
                request.method,
                request.path,
                dict(request.query),
                dict(request.headers),
                body,
                request.raw_path,
                tuple(request.headers.getall("Impersonate-Group", ())),
                _common_name(request),
            )
        )
        self.received.set()
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            assert request.transport is not None
            request.transport.abort()
            raise answer
        if isinstance(answer, web.StreamResponse):
            return _copy(answer)
        return await answer(request)


def _common_name(request: web.BaseRequest) -> str:
    certificate = request.get_extra_info("peercert") or {}
    parts = dict(pair for name in certificate.get("subject", ()) for pair in name)
    return str(parts.get("commonName", ""))


def _copy(answer: web.StreamResponse) -> web.StreamResponse:
    """A copy to send, since a response object can be sent only once."""
    assert isinstance(answer, web.Response)
    return web.Response(status=answer.status, headers=answer.headers.copy(), body=answer.body)


def json_response(body: Any, status: int = 200, **headers: str) -> web.Response:
    """A response with a JSON body. Text and bytes are sent as they are."""
    all_headers = {"Content-Type": "application/json"}
    all_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
    if not isinstance(body, str | bytes):
        body = json.dumps(body)
    raw = body.encode() if isinstance(body, str) else body
    return web.Response(status=status, headers=all_headers, body=raw)


def status_response(code: int, message: str, **headers: str) -> web.Response:
    """A Kubernetes Status about a failure, without the details that prove a 404."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
    return json_response(status | {"message": message, "code": code}, code, **headers)


@contextlib.asynccontextmanager
async def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Script]:
    """Runs a server with a script of answers."""
    script = Script(list(answers))
    async with listening(script.handle, tls) as script.url:
        yield script


@contextlib.asynccontextmanager
async def listening(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Runs a server that leaves every request to a function, and yields its URL."""
    runner = web.ServerRunner(web.Server(handle), access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def slowly(request: web.BaseRequest) -> web.StreamResponse:
    """Sends an empty list after a moment, so that concurrent requests would meet."""
    await asyncio.sleep(0.02)
    return json_response([])


async def object_not_found(request: web.BaseRequest) -> web.StreamResponse:
    """Sends the 404 of a real API server: a Status about the requested object.

    The Status of a POST is about its Namespace. For an unknown resource the response is plain text
    (k8s.io/apiserver, notFoundHandler).
    """
    root, *parts = request.path.strip("/").split("/")
    group, namespace = "", ""
    if root == "apis":
        group, *parts = parts
    _, *parts = parts  # the version
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        _, namespace, *parts = parts
    if request.method == "POST":
        return not_found("namespaces", namespace)
    if len(parts) < 2:
        return web.Response(status=404, text="404 page not found\n")
    return not_found(parts[0], parts[1], group)


def not_found(plural: str, name: str, group: str = "") -> web.Response:
    """A Status that states that an object is missing (apimachinery pkg/api/errors, NewNotFound)."""
    resource = f"{plural}.{group}" if group else plural
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'{resource} "{name}" not found',
        "reason": "NotFound",
        "details": {"name": name, "kind": plural} | ({"group": group} if group else {}),
        "code": 404,
    }
    return json_response(status, 404)
