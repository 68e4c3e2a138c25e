"""A scripted HTTP server on loopback, for answers that a real API server or Ray head gives only on its worst days."""

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
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    target: str = ""  # path and query, encoded as they came
    groups: tuple[str, ...] = ()  # values of Impersonate-Group, which may be sent several times
    certificate: str = ""  # common name of the client's certificate


@dataclass
class Script:
    """Answers in turn, the last one for ever; an exception closes the connection without an answer."""

    answers: list[Answer] = field(default_factory=list)
    requests: list[RecordedRequest] = field(default_factory=list)
    url: str = ""
    at_once: int = 0
    most_at_once: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(
        self, is_last: Callable[[RecordedRequest], bool]
    ) -> AsyncIterator[RecordedRequest]:
        """What is asked, from the beginning, up to and with the last; waits for it."""
        position = 0
        async with asyncio.timeout(90):
            while True:
                while position == len(self.requests):
                    self.news.clear()
                    await self.news.wait()
                yield self.requests[position]
                if is_last(self.requests[position]):
                    return
                position += 1

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._answer(request)
        finally:
            self.at_once -= 1

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
        self.news.set()
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            assert request.transport is not None
            request.transport.abort()
            raise answer
        if isinstance(answer, web.StreamResponse):
            return _again(answer)
        return await answer(request)


def _common_name(request: web.BaseRequest) -> str:
    certificate = request.get_extra_info("peercert") or {}
    parts = dict(pair for name in certificate.get("subject", ()) for pair in name)
    return str(parts.get("commonName", ""))


def _again(answer: web.StreamResponse) -> web.StreamResponse:
    """A response object can be sent once only."""
    assert isinstance(answer, web.Response)
    return web.Response(status=answer.status, headers=answer.headers.copy(), body=answer.body)


def json_response(body: Any, status: int = 200, **headers: str) -> web.Response:
    """An answer of JSON, or of text or bytes as they are."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    raw = (
        body
        if isinstance(body, bytes)
        else body.encode()
        if isinstance(body, str)
        else json.dumps(body).encode()
    )
    return web.Response(
        status=status, headers={"Content-Type": "application/json"} | named, body=raw
    )


@contextlib.asynccontextmanager
async def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Script]:
    """A server with this script; `url` is where it is."""
    script = Script(list(answers))
    async with listening(script.handle, tls) as script.url:
        yield script


@contextlib.asynccontextmanager
async def listening(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that leaves everything to that function, also how a request is read; where it is."""
    runner = web.ServerRunner(web.Server(handle), access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def slowly(request: web.BaseRequest) -> web.StreamResponse:
    """An empty list after a moment, so that two questions would meet."""
    await asyncio.sleep(0.02)
    return json_response([])


async def object_not_found(request: web.BaseRequest) -> web.StreamResponse:
    """The 404 of a real API server: its Status about the object that is asked for, and about a POST's Namespace.

    Of a whole resource that it does not have it says so in plain text (k8s.io/apiserver, notFoundHandler).
    """
    root, *parts = request.path.strip("/").split("/")
    group = parts[0] if root == "apis" else ""
    named = parts[2:] if root == "apis" else parts[1:]
    namespace = named[1] if named[:1] == ["namespaces"] and len(named) > 2 else ""
    named = named[2:] if namespace else named
    if request.method == "POST":
        group, named = "", ["namespaces", namespace]
    if len(named) < 2:
        return web.Response(status=404, text="404 page not found\n")
    return not_found(named[0], named[1], group)


def not_found(plural: str, name: str, group: str = "") -> web.Response:
    """A Status that says that this object is not there (apimachinery pkg/api/errors, NewNotFound)."""
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
