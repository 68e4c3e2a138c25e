"""Faults in between: a relay of bytes to the API server that can stall, and a proxy to a head that spoils its answers."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

from sandbox.heads import Head


class Relay:
    """Passes bytes between its port and the server's."""

    def __init__(self) -> None:
        self.port = 0
        self.heard = 0  # how often something came for the server
        self._answers = asyncio.Event()
        self._answers.set()
        self._frozen: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.Task[None]] = set()

    def hold_answers(self) -> None:
        """From now on nothing comes back from the server; requests still reach it."""
        self._answers.clear()

    def let_answers_through(self) -> None:
        """What was held back comes now, and all that follows."""
        self._answers.set()

    def freeze_open_connections(self) -> None:
        """Nothing comes back any more on what is open now, such as watches; new connections work."""
        self._frozen |= self._connections

    def cut(self) -> None:
        """Ends every connection."""
        for connection in self._connections:
            connection.cancel()

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, server: str) -> AsyncIterator["Relay"]:
        """A relay to https://host:port on a port of its own."""
        relay, address = cls(), urlsplit(server)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = asyncio.current_task()
            assert connection is not None
            relay._connections.add(connection)
            there_reader, there_writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(relay._ask(reader, there_writer))
                    both.create_task(relay._answer(connection, there_reader, writer))
            except* (OSError, asyncio.CancelledError):
                pass
            finally:
                relay._connections.discard(connection)
                writer.close()
                there_writer.close()

        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        relay.port = int(listening.sockets[0].getsockname()[1])
        try:
            yield relay
        finally:
            listening.close()
            relay.cut()
            await asyncio.gather(*relay._connections, return_exceptions=True)

    async def _ask(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(2**16):
            sink.write(data)
            await sink.drain()
            self.heard += 1
        sink.close()

    async def _answer(self, connection: asyncio.Task[None], source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(2**16):
            await self._answers.wait()
            if connection in self._frozen:
                await asyncio.Event().wait()
            sink.write(data)
            await sink.drain()
        sink.close()


def through(relay: Relay, kubeconfig: Path) -> Path:
    """The same kubeconfig, but by way of the relay."""
    told: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    for cluster in told["clusters"]:
        cluster["cluster"]["server"] = f"https://127.0.0.1:{relay.port}"
    detour = kubeconfig.with_name(f"{kubeconfig.name}-relayed-{relay.port}")
    detour.write_text(yaml.safe_dump(told))
    return detour


class RecordingProxy:
    """A forward proxy that writes down what it is asked for, and answers nothing usable."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, str]] = []  # (host:port, path), as the request line has them
        self.heads: list[str] = []  # everything that came with the requests

    def of(self, namespace: str) -> list[tuple[str, str]]:
        """What was asked of hosts that name this namespace, or of hosts that are no Service's at all."""
        return [(host, path) for host, path in self.asked if f".{namespace}." in host or ".svc." not in host]

    @classmethod
    @contextlib.asynccontextmanager
    async def listening(cls) -> AsyncIterator["RecordingProxy"]:
        """A proxy on a port of its own."""
        proxy = cls()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                proxy.heads.append(head)
                target = urlsplit(head.split(" ", 2)[1])
                proxy.asked.append((target.netloc, target.path + (f"?{target.query}" if target.query else "")))
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield proxy


@dataclass
class Between:
    """Stands between the command line and a real head, at an address of its own, and spoils what it is told to.

    spoil: given each answer, the one that is sent instead.
    """

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
            passed = web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)
        return self.spoil(request, passed)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Its address."""
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


@dataclass
class Gateway:
    """A gateway in front of the API server, plain HTTP on loopback, that answers some requests itself.

    spoil: given each request, the answer that is sent instead of the API server's; None: pass it on.
    """

    spoil: Callable[[web.Request], web.Response | None]
    server: str
    certificate: Path
    _session: aiohttp.ClientSession = field(init=False)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if spoiled := self.spoil(request):
            return spoiled
        headers = {key: value for key, value in request.headers.items() if key not in HOP_BY_HOP}
        url = URL(f"{self.server}{request.raw_path}", encoded=True)
        body = await request.read()
        async with self._session.request(request.method, url, headers=headers, data=body) as answer:
            kept = {key: value for key, value in answer.headers.items() if key not in HOP_BY_HOP}
            passed = web.StreamResponse(status=answer.status, headers=kept)
            await passed.prepare(request)
            async for chunk in answer.content.iter_any():
                await passed.write(chunk)
            return passed

    @contextlib.asynccontextmanager
    async def open(self, kubeconfig: Path) -> AsyncIterator[Path]:
        """The same kubeconfig, but by way of the gateway."""
        trust = ssl.create_default_context(cafile=str(self.certificate))
        connector = aiohttp.TCPConnector(ssl=trust, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(application, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        detour = _by_way_of(runner.addresses[0][1], kubeconfig)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as self._session:
            try:
                yield detour
            finally:
                await runner.cleanup()


def _by_way_of(port: int, kubeconfig: Path) -> Path:
    told: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    for cluster in told["clusters"]:
        cluster["cluster"] = {"server": f"http://127.0.0.1:{port}"}
    detour = kubeconfig.with_name(f"{kubeconfig.name}-gateway-{port}")
    detour.write_text(yaml.safe_dump(told))
    return detour


HOP_BY_HOP = frozenset({"Host", "Connection", "Transfer-Encoding", "Content-Length"})
