"""Serves /livez, /readyz and /metrics.

Liveness depends only on the loops of this process, never on the API server or a head. Anyone who
can reach the port can open connections and scrape, so both are limited: see Exposition and
Connections.
"""

import asyncio
import contextlib
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

MIN_INTERVAL = 1.0
"""Seconds between the starts of two computations of the metrics."""
MAX_CONNECTIONS = 256
CONNECTION_LIFETIME = 30.0
"""In seconds. A probe takes milliseconds, and Prometheus by default gives up after 10 s."""
REAP_INTERVAL = 1.0
SOCKET_BACKLOG = 1024
"""How many connections the kernel queues until they are accepted."""
ACCEPT_BATCH = 32
"""A busy event loop has few iterations per second. If each accepted one connection, a probe would
wait for as many iterations as connections were queued before it."""
CHUNK = 64 * 1024
"""In bytes. No more is buffered for a client that does not read."""

Problem = Callable[[], str | None]
"""What is wrong, in one sentence. None if nothing is."""


async def no_preparation() -> None:
    """Does nothing."""


@dataclass(frozen=True, slots=True)
class Probes:
    """The answers of the endpoints.

    ready_text: what /readyz answers without a problem. prepare: called before each computation of
    the metrics.
    """

    liveness_problem: Problem
    readiness_problem: Problem
    registry: CollectorRegistry
    ready_text: Callable[[], str] = lambda: "ok"
    prepare: Callable[[], Awaitable[None]] = no_preparation


class Exposition:
    """The text of /metrics, computed at most once per second whatever the number of scrapes.

    All waiting scrapes share the next computation. It begins after they arrived, so none gets old
    values. A thread renders the text, because thousands of series would block the event loop for
    too long. The waiting scrapes are answered one after the other, so that a probe waits for one
    of them and not for all.
    """

    def __init__(self, registry: CollectorRegistry, prepare: Callable[[], Awaitable[None]]) -> None:
        self._registry = registry
        self._prepare = prepare
        self._thread = ThreadPoolExecutor(1, "metrics")
        self._computing = asyncio.Lock()
        self._answering = asyncio.Lock()
        self._next: asyncio.Task[bytes] | None = None  # has not begun to compute
        self._tasks: set[asyncio.Task[bytes]] = set()
        self._began_at = -MIN_INTERVAL

    async def text(self) -> bytes:
        """The current metrics. A scrape that is canceled cancels no other."""
        if self._next is None:
            self._next = asyncio.create_task(self._compute())
            self._tasks.add(self._next)
            self._next.add_done_callback(self._tasks.discard)
        text = await asyncio.shield(self._next)
        async with self._answering:
            await asyncio.sleep(0)  # let other ready tasks run first
        return text

    async def close(self) -> None:
        """Cancels all computations."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _compute(self) -> bytes:
        async with self._computing:
            await asyncio.sleep(self._began_at + MIN_INTERVAL - time.monotonic())
            self._began_at = time.monotonic()
            self._next = None  # later scrapes wait for the next computation
            await self._prepare()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, generate_latest, self._registry)


class Connections:
    """Accepts connections in batches, and limits their number and lifetime.

    A new connection is always accepted, so that the kubelet can probe. If there are too many, the
    oldest connection of the address with the most connections is closed. Each serves one request.
    """

    def __init__(
        self, protocol: Callable[[], asyncio.Protocol], lifetime: float = CONNECTION_LIFETIME
    ) -> None:
        """lifetime: seconds after which a connection is closed."""
        self._protocol = protocol
        self._lifetime = lifetime
        self._open: dict[asyncio.Transport, tuple[str, float]] = {}  # address and start

    def __len__(self) -> int:
        return len(self._open)

    async def accept_connections(self, listening: socket.socket) -> None:
        """Accepts up to ACCEPT_BATCH connections per iteration of the event loop."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                first = await loop.sock_accept(listening)
            except OSError:  # it is closed already, or too many files are open
                await asyncio.sleep(0.01)
                continue
            accepted = [first, *_accept_more(listening, ACCEPT_BATCH - 1)]
            await asyncio.gather(*(self._serve(*connection) for connection in accepted))

    async def _serve(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        try:
            loop = asyncio.get_running_loop()
            transport, _ = await loop.connect_accepted_socket(self._protocol, connection)
        except OSError:
            return
        self._open[transport] = (str(address[0]), time.monotonic())
        self._forget_closed()
        if len(self._open) > MAX_CONNECTIONS:
            self._close_one()

    async def close_old(self) -> None:
        """Closes connections that have reached their lifetime."""
        while True:
            await asyncio.sleep(REAP_INTERVAL)
            self._forget_closed()
            latest_start = time.monotonic() - self._lifetime
            for transport, (_, start) in tuple(self._open.items()):
                if start < latest_start:
                    self._close(transport)

    def _forget_closed(self) -> None:
        for transport in tuple(self._open):
            if transport.is_closing():
                del self._open[transport]

    def _close_one(self) -> None:
        counts = Counter(address for address, _ in self._open.values())
        [(busiest, _)] = counts.most_common(1)
        self._close(next(key for key, (address, _) in self._open.items() if address == busiest))

    def _close(self, transport: asyncio.Transport) -> None:
        del self._open[transport]
        transport.abort()


@contextlib.asynccontextmanager
async def serve(probes: Probes, host: str, port: int) -> AsyncIterator[None]:
    """Serves until the context exits. Raises OSError if the address is in use."""
    exposition = Exposition(probes.registry, probes.prepare)
    app = web.Application()
    app.router.add_get("/livez", _probe(probes.liveness_problem, lambda: "ok"))
    app.router.add_get("/readyz", _probe(probes.readiness_problem, probes.ready_text))
    app.router.add_get("/metrics", _metrics(exposition))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    assert runner.server is not None
    connections = Connections(runner.server)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(exposition.close)
        stack.push_async_callback(runner.cleanup)
        sockets = [stack.enter_context(socket_) for socket_ in await _listen(host, port)]
        loops = [connections.accept_connections(listening) for listening in sockets]
        tasks = [asyncio.create_task(loop) for loop in (*loops, connections.close_old())]
        stack.push_async_callback(_cancel, tasks)
        yield


def _accept_more(listening: socket.socket, limit: int) -> Iterator[tuple[socket.socket, Any]]:
    """Accepts the connections that are queued already."""
    with contextlib.suppress(OSError):  # none is queued, or one is closed already
        for _ in range(limit):
            connection, address = listening.accept()
            connection.setblocking(False)
            yield connection, address


async def _listen(host: str, port: int) -> list[socket.socket]:
    """Opens a listening socket for each address of the host."""
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(addresses):
            sockets.append(socket.create_server(address[:2], family=family, backlog=SOCKET_BACKLOG))
            sockets[-1].setblocking(False)
    except OSError:
        for opened in sockets:
            opened.close()
        raise
    return sockets


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _probe(
    find_problem: Problem, ready_text: Callable[[], str]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        problem = find_problem()
        response = web.Response(text=f"{problem or ready_text()}\n", status=503 if problem else 200)
        response.force_close()
        return response

    return answer


def _metrics(exposition: Exposition) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        text = await exposition.text()
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE_LATEST})
        response.content_length = len(text)
        response.force_close()
        await response.prepare(request)
        if request.method != "HEAD":
            for start in range(0, len(text), CHUNK):
                await response.write(text[start : start + CHUNK])
        await response.write_eof()
        return response

    return answer
