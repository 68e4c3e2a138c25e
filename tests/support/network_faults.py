"""Network faults: a relay that stalls, proxies that record or replace responses."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yaml
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from sandbox.heads import Head
from tests.support.certificates import Authority


class Relay:
    """Passes bytes between its port and a server."""

    def __init__(self) -> None:
        self.port = 0
        self.received = 0  # how often a client sent bytes
        self.sent_bytes = 0
        self.answered_bytes = 0
        self.answer_delay = 0.0  # seconds before each piece of a response is passed on
        self._answers = asyncio.Event()
        self._answers.set()
        self._frozen: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()

    def hold_answers(self) -> None:
        """Holds all responses from now on. Requests still reach the server."""
        self._answers.clear()

    def let_answers_through(self) -> None:
        """Passes on the responses that were held, and all later ones."""
        self._answers.set()

    def freeze_open_connections(self) -> None:
        """Drops all responses on open connections, such as watches. New connections work."""
        self._frozen |= self._connections

    def cut(self) -> None:
        """Closes every connection."""
        for connection in self._connections:
            connection.cancel()

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, server: str) -> AsyncIterator["Relay"]:
        """Runs a relay to https://host:port."""
        relay, address = cls(), urlsplit(server)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = asyncio.current_task()
            assert connection is not None
            relay._connections.add(connection)
            server_reader, server_writer = await asyncio.open_connection(
                address.hostname, address.port
            )
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(relay._send(reader, server_writer))
                    both.create_task(relay._respond(connection, server_reader, writer))
            except* (OSError, asyncio.CancelledError):
                pass
            finally:
                relay._connections.discard(connection)
                writer.close()
                server_writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        relay.port = int(listening.sockets[0].getsockname()[1])
        try:
            yield relay
        finally:
            listening.close()
            relay.cut()
            await asyncio.gather(*relay._connections, return_exceptions=True)

    async def _send(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(2**16):
            sink.write(data)
            await sink.drain()
            self.received += 1
            self.sent_bytes += len(data)
        sink.close()

    async def _respond(
        self,
        connection: asyncio.Task[None],
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
    ) -> None:
        while data := await source.read(2**16):
            await self._answers.wait()
            await asyncio.sleep(self.answer_delay)
            self.answered_bytes += len(data)
            if connection in self._frozen:
                await asyncio.Event().wait()
            sink.write(data)
            await sink.drain()
        sink.close()


def through(relay: Relay, kubeconfig: Path) -> Path:
    """A copy of a kubeconfig that connects through a relay."""
    config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    for cluster in config["clusters"]:
        cluster["cluster"]["server"] = f"https://127.0.0.1:{relay.port}"
    detour = kubeconfig.with_name(f"{kubeconfig.name}-relayed-{relay.port}")
    detour.write_text(yaml.safe_dump(config))
    return detour


class RecordingProxy:
    """A forward proxy that records requests and answers 502."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, str]] = []  # (host:port, path) of the request lines
        self.heads: list[str] = []  # request lines with headers

    def of(self, namespace: str) -> list[tuple[str, str]]:
        """The requests for Services of a namespace and for hosts that are not a Service."""
        return [
            (host, path)
            for host, path in self.requests
            if f".{namespace}." in host or ".svc." not in host
        ]

    @classmethod
    @contextlib.asynccontextmanager
    async def listening(cls) -> AsyncIterator["RecordingProxy"]:
        """Runs a proxy."""
        proxy = cls()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                proxy.heads.append(head)
                target = urlsplit(head.split(" ", 2)[1])
                proxy.requests.append(
                    (target.netloc, target.path + (f"?{target.query}" if target.query else ""))
                )
                writer.write(
                    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield proxy


@dataclass
class Between:
    """A proxy to a real head. `spoil` maps each response to the one that is sent instead."""

    head: Head
    spoil: Callable[[web.Request, web.Response], web.Response]
    posts: int = 0

    async def pass_on(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.posts += request.method == "POST" and request.path == "/api/jobs/"
        connector = aiohttp.UnixConnector(str(self.head.socket))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(request.method, f"http://head{request.path_qs}", data=body) as answer,
        ):
            passed = web.Response(
                status=answer.status, body=await answer.read(), content_type=answer.content_type
            )
        return self.spoil(request, passed)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Runs the proxy. Yields its URL."""
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", self.pass_on)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


HOST = "127.0.0.1"
HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}
NOT_FOUND_PAGE = "404 page not found\n"


@dataclass
class Gateway:
    """A reverse proxy before the API server that can respond itself.

    `instead` returns the response to a request, or None to pass it on. `late` returns the seconds
    by which a request is delayed.
    """

    instead: Callable[[web.Request], web.StreamResponse | None]
    late: Callable[[web.Request], float] = lambda _: 0
    answered: list[str] = field(default_factory=list)  # method and path of its own responses
    port: int = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def before(
        cls,
        kubeconfig: Path,
        instead: Callable[[web.Request], web.StreamResponse | None] = lambda _: None,
        late: Callable[[web.Request], float] = lambda _: 0,
    ) -> AsyncIterator[tuple["Gateway", Path]]:
        """Runs a gateway. Yields it and a kubeconfig that connects through it."""
        cluster = _only_cluster(kubeconfig)
        server = cluster["server"]
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        gateway, application = cls(instead, late), web.Application(client_max_size=2**30)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(),
        ) as session:

            async def handle(request: web.Request) -> web.StreamResponse:
                return await gateway._handle(request, session, server)

            application.router.add_route("*", "/{path:.*}", handle)
            authority = Authority(Path(mkdtemp(prefix="gateway-", dir=kubeconfig.parent)))
            runner = web.AppRunner(application, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, HOST, 0, ssl_context=authority.server(HOST)).start()
            gateway.port = int(runner.addresses[0][1])
            try:
                yield gateway, _led_to(f"https://{HOST}:{gateway.port}", authority.file, kubeconfig)
            finally:
                await runner.cleanup()

    async def _handle(
        self, request: web.Request, session: aiohttp.ClientSession, server: str
    ) -> web.StreamResponse:
        if own := self.instead(request):
            self.answered.append(f"{request.method} {request.path}")
            return own
        await asyncio.sleep(self.late(request))
        headers = {
            key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP
        }
        url = URL(f"{server}{request.raw_path}", encoded=True)
        async with session.request(
            request.method, url, headers=headers, data=await request.read() or None
        ) as answer:
            passed = [
                (key, value)
                for key, value in answer.headers.items()
                if key.lower() not in HOP_BY_HOP
            ]
            response = web.StreamResponse(status=answer.status, headers=CIMultiDict(passed))
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response


def _only_cluster(kubeconfig: Path) -> dict[str, Any]:
    (cluster,) = yaml.safe_load(kubeconfig.read_text())["clusters"]
    result: dict[str, Any] = cluster["cluster"]
    return result


def _led_to(server: str, authority: Path, kubeconfig: Path) -> Path:
    """A copy of a kubeconfig for another server."""
    config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    config["clusters"][0]["cluster"] = {"server": server, "certificate-authority": str(authority)}
    detour = kubeconfig.with_name(f"{kubeconfig.name}-gateway-{urlsplit(server).port}")
    detour.write_text(yaml.safe_dump(config))
    return detour


def not_found_page() -> web.Response:
    """The 404 of a gateway without a route and of the API server for an unknown resource."""
    return web.Response(status=404, text=NOT_FOUND_PAGE)
