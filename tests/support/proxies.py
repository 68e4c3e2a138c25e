"""Proxies on loopback that connect every name to one server: HTTP CONNECT and SOCKS5."""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """A proxy with the targets that clients requested and the credentials that they sent."""

    url: str
    targets: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def connect_proxy(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A CONNECT proxy that connects every target to a port on loopback."""
    proxy = Proxy("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        proxy.targets.append(head[0].split()[1])
        proxy.logins += [
            line.partition(": ")[2]
            for line in head
            if line.lower().startswith("proxy-authorization")
        ]
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await _join(reader, writer, port)

    async with _serving(serve, tls) as own_port:
        proxy.url = f"{'https' if tls else 'http'}://127.0.0.1:{own_port}"
        yield proxy


@contextlib.asynccontextmanager
async def socks_proxy(port: int) -> AsyncIterator[Proxy]:
    """A SOCKS5 proxy (RFC 1928) without authentication, which resolves names itself."""
    proxy = Proxy("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        length = (await reader.readexactly(1))[0] if kind == 3 else 4
        host = (await reader.readexactly(length)).decode("latin-1")
        (target_port,) = struct.unpack("!H", await reader.readexactly(2))
        proxy.targets.append(f"{host}:{target_port}")
        writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        await _join(reader, writer, port)

    async with _serving(serve) as own_port:
        proxy.url = f"socks5://127.0.0.1:{own_port}"
        yield proxy


@contextlib.asynccontextmanager
async def _serving(serve: object, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)  # type: ignore[arg-type]
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_copy(reader, server_writer))
            tasks.create_task(_copy(server_reader, writer))


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(65536):
            target.write(piece)
            await target.drain()
    finally:
        target.close()
