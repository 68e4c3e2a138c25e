"""The network of the sandbox: which head answers for which Service, and two proxies to the heads.

It knows bytes and addresses. Ray and Kubernetes objects must not enter here.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

HEAD_LIMIT = 65536


class Network:
    """Routes Services to heads and invents Pod addresses for them."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, str], Path | None] = {}
        self._addresses: dict[str, tuple[str, str]] = {}
        self._exposed: set[str] = set()
        self._connections: dict[asyncio.Task[None], tuple[str, str] | None] = {}

    def route(self, namespace: str, service: str, target: Path | None) -> None:
        """Sets the UNIX socket that answers for a Service. None: connections are refused."""
        if self.routed(namespace, service) != target:
            self._cut(namespace, service)
        self._routes[namespace, service] = target

    def unroute(self, namespace: str, service: str, target: Path) -> None:
        """Removes a route, unless the Service has another target by now."""
        if self.routed(namespace, service) == target:
            self._cut(namespace, service)
            del self._routes[namespace, service]

    def _cut(self, namespace: str, service: str) -> None:
        """Closes the connections of a Service, by which kube-apiserver reaches the old head."""
        for task, leads_to in self._connections.items():
            if leads_to == (namespace, service):
                task.cancel()

    def routed(self, namespace: str, service: str) -> Path | None:
        return self._routes.get((namespace, service))

    def address(self, namespace: str, service: str) -> str:
        """Invents a Pod address for a Service."""
        number = len(self._addresses) + 1
        address = f"10.244.{number // 250}.{number % 250 + 1}"
        self._addresses[address] = (namespace, service)
        return address

    def expose(self, port: int) -> None:
        """Lets kube-apiserver connect to a port of this machine's loopback, such as a webhook."""
        self._exposed.add(f"127.0.0.1:{port}")

    @contextlib.asynccontextmanager
    async def proxies(self, connect_socket: Path) -> AsyncIterator[str]:
        """Runs a forward proxy and one for kube-apiserver. Yields the URL of the first."""
        forward = await asyncio.start_server(
            self._forward, "127.0.0.1", 0, limit=HEAD_LIMIT, backlog=1000
        )
        connect = await asyncio.start_unix_server(
            self._connect, connect_socket, limit=HEAD_LIMIT, backlog=1000
        )
        try:
            yield f"http://127.0.0.1:{forward.sockets[0].getsockname()[1]}"
        finally:
            for server in (forward, connect):
                server.close()
            for task in tuple(self._connections):
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one request per connection: absolute-form becomes origin-form."""
        async with self._connection(writer):
            line, *headers = await _request_head(reader)
            method, url, version = line.split(" ")
            target = urlsplit(url)
            # The name may end with any domain.
            service, namespace, kind, *_ = f"{target.hostname}...".split(".")
            target_socket = (
                self._lead(namespace, service) if (target.port, kind) == (8265, "svc") else None
            )
            if target_socket is None:
                _reset(writer)
                return
            path = url.split("/", 3)[3] if url.count("/") > 2 else ""
            kept = [
                h
                for h in headers
                if not h.lower().startswith(("connection:", "proxy-connection:", "keep-alive:"))
            ]
            first = "\r\n".join([f"{method} /{path} {version}", *kept, "Connection: close", "", ""])
            there = await asyncio.open_unix_connection(target_socket)
            await _join(reader, writer, there, first=first.encode("latin-1"))

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves CONNECT requests for port 8265 of Pod addresses and of names such as head.team-a.

        Those for addresses come from kube-apiserver, those for names from scripts.
        """
        async with self._connection(writer):
            target = (await _request_head(reader))[0].split(" ")[1]
            established = b"HTTP/1.1 200 Connection established\r\n\r\n"
            host, _, port = target.rpartition(":")
            if target in self._exposed:
                there = await asyncio.open_connection(host, int(port))
                await _join(reader, writer, there, answer=established)
                return
            service, _, namespace = host.partition(".")
            known = self._addresses.get(host, (namespace, service))
            target_socket = self._lead(*known) if port == "8265" else None
            if target_socket is None:
                writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
                return
            there = await asyncio.open_unix_connection(target_socket)
            await _join(reader, writer, there, answer=established)

    @contextlib.asynccontextmanager
    async def _connection(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        task = _this_task()
        self._connections[task] = None
        try:
            yield
        except (OSError, ValueError, EOFError, asyncio.LimitOverrunError, asyncio.CancelledError):
            _reset(writer)  # if _cut canceled it: asyncio of Python 3.11 would print a traceback
        finally:
            del self._connections[task]
            writer.close()

    def _lead(self, namespace: str, service: str) -> Path | None:
        """The head for this connection. The connection ends with the route."""
        self._connections[_this_task()] = (namespace, service)
        return self.routed(namespace, service)


def _this_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def _request_head(reader: asyncio.StreamReader) -> list[str]:
    head = await reader.readuntil(b"\r\n\r\n")
    return head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    *,
    first: bytes = b"",
    answer: bytes = b"",
) -> None:
    """Copies bytes both ways until either side closes."""
    head_reader, head_writer = there
    try:
        head_writer.write(first)
        writer.write(answer)
        await asyncio.gather(_copy(reader, head_writer), _copy(head_reader, writer))
    finally:
        head_writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(HEAD_LIMIT):
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Resets the connection without a byte, which is close to a refused connection."""
    raw = writer.get_extra_info("socket")
    is_open = raw.fileno() >= 0
    if is_open and raw.family == socket.AF_INET:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
