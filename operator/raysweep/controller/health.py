"""/livez, /readyz and /metrics. Liveness never depends on the API server or on any head; only on our own loops moving.

Whoever can reach the port can open connections and scrape, so both are bounded: see Exposition
and Connections.
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

EXPOSED_EVERY = 1.0
"""Seconds from the beginning of one computation of the metrics to that of the next, at least."""
CONNECTIONS_AT_MOST = 256
CONNECTION_LASTS = 30.0
"""Seconds from its beginning to its end, whatever it does: a probe takes milliseconds, and
Prometheus gives up after 10 s unless it is told otherwise."""
REAPED_EVERY = 1.0
BULK_EXPIRY_DELAY = 1024
"""How many connections the kernel holds until they are accepted."""
ACCEPTED_AT_ONCE = 32
"""A busy event loop has few turns a second: with one connection a turn, a probe would wait for as
many turns as there are connections before it."""
CHUNK = 64 * 1024
"""In bytes: no more of an exposition is held in memory for a client that does not read."""

Check = Callable[[], str | None]
"""None where all is well, else one sentence that says what is not."""
Word = Callable[[], str]
"""What is answered where all is well."""


async def nothing() -> None:
    """There is nothing to prepare."""


@dataclass(frozen=True, slots=True)
class Probes:
    """What is asked at each probe. prepare: called before the metrics are written down."""

    alive: Check
    ready: Check
    metrics: CollectorRegistry
    word: Word = lambda: "ok"
    prepare: Callable[[], Awaitable[None]] = nothing


class Exposition:
    """The text of /metrics. It is computed at most once a second, whatever the number of scrapes.

    All scrapes that wait get the next one: it begins after they came, so none gets old values. It is
    written down in a thread of its own: thousands of series take longer than the event loop may
    stand still. The scrapes that waited for it are answered one after the other, so that a probe
    waits for one of them and not for all.
    """

    def __init__(self, registry: CollectorRegistry, prepare: Callable[[], Awaitable[None]]) -> None:
        self._registry = registry
        self._prepare = prepare
        self._thread = ThreadPoolExecutor(1, "metrics")
        self._one_at_a_time = asyncio.Lock()
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[bytes] | None = None  # that has not begun to compute
        self._tasks: set[asyncio.Task[bytes]] = set()
        self._began_at = -EXPOSED_EVERY

    async def text(self) -> bytes:
        """An exposition of now. A scrape that is given up cancels no other."""
        if self._next is None:
            self._next = asyncio.create_task(self._compute())
            self._tasks.add(self._next)
            self._next.add_done_callback(self._tasks.discard)
        text = await asyncio.shield(self._next)
        async with self._turn:
            await asyncio.sleep(0)  # whatever else is ready goes first
        return text

    async def close(self) -> None:
        """Ends what is being computed."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _compute(self) -> bytes:
        async with self._one_at_a_time:
            await asyncio.sleep(self._began_at + EXPOSED_EVERY - time.monotonic())
            self._began_at = time.monotonic()
            self._next = None  # whoever comes from now on waits for another
            await self._prepare()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, generate_latest, self._registry)


class Connections:
    """Accepts connections a few at once, and keeps few of them open, none for long.

    A new connection is always let in, so that a probe of the kubelet is. If there are too many, the
    oldest one of the address that has the most of them ends. One request is answered on each.
    """

    def __init__(
        self, protocol: Callable[[], asyncio.Protocol], lasts: float = CONNECTION_LASTS
    ) -> None:
        """lasts: seconds after which a connection ends."""
        self._protocol = protocol
        self._lasts = lasts
        self._open: dict[asyncio.Transport, tuple[str, float]] = {}  # address, and since when

    def __len__(self) -> int:
        return len(self._open)

    async def accept_for_ever(self, listening: socket.socket) -> None:
        """Accepts up to ACCEPTED_AT_ONCE connections at each turn of the event loop."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                first = await loop.sock_accept(listening)
            except OSError:  # it ended already, or there are too many open files
                await asyncio.sleep(0.01)
                continue
            accepted = [first, *_accept_more(listening, ACCEPTED_AT_ONCE - 1)]
            await asyncio.gather(*(self._serve(*each) for each in accepted))

    async def _serve(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        try:
            loop = asyncio.get_running_loop()
            transport, _ = await loop.connect_accepted_socket(self._protocol, connection)
        except OSError:
            return
        self._open[transport] = (str(address[0]), time.monotonic())
        self._forget_closed()
        if len(self._open) > CONNECTIONS_AT_MOST:
            self._end_one()

    async def reap_for_ever(self) -> None:
        """Ends what has lasted too long."""
        while True:
            await asyncio.sleep(REAPED_EVERY)
            self._forget_closed()
            begin = time.monotonic() - self._lasts
            for transport in [each for each, (_, since) in self._open.items() if since < begin]:
                self._end(transport)

    def _forget_closed(self) -> None:
        for transport in [each for each in self._open if each.is_closing()]:
            del self._open[transport]

    def _end_one(self) -> None:
        [(most, _)] = Counter(address for address, _ in self._open.values()).most_common(1)
        self._end(next(each for each, (address, _) in self._open.items() if address == most))

    def _end(self, transport: asyncio.Transport) -> None:
        del self._open[transport]
        transport.abort()


@contextlib.asynccontextmanager
async def serve(probes: Probes, host: str, port: int) -> AsyncIterator[None]:
    """Answers while the context lasts. Raises OSError if the address is taken."""
    exposition = Exposition(probes.metrics, probes.prepare)
    app = web.Application()
    app.router.add_get("/livez", _probe(probes.alive, lambda: "ok"))
    app.router.add_get("/readyz", _probe(probes.ready, probes.word))
    app.router.add_get("/metrics", _metrics(exposition))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    assert runner.server is not None
    connections = Connections(runner.server)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(exposition.close)
        stack.push_async_callback(runner.cleanup)
        sockets = [stack.enter_context(each) for each in await _listen(host, port)]
        loops = [connections.accept_for_ever(each) for each in sockets]
        tasks = [asyncio.create_task(loop) for loop in (*loops, connections.reap_for_ever())]
        stack.push_async_callback(_end, tasks)
        yield


def _accept_more(listening: socket.socket, at_most: int) -> Iterator[tuple[socket.socket, Any]]:
    """The connections that wait, without waiting for others."""
    with contextlib.suppress(OSError):  # none waits, or one ended already
        for _ in range(at_most):
            connection, address = listening.accept()
            connection.setblocking(False)
            yield connection, address


async def _listen(host: str, port: int) -> list[socket.socket]:
    """A listening socket for each address of that host."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            sockets.append(
                socket.create_server(address[:2], family=family, backlog=BULK_EXPIRY_DELAY)
            )
            sockets[-1].setblocking(False)
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _probe(check: Check, word: Word) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        problem = check()
        response = web.Response(text=f"{problem or word()}\n", status=503 if problem else 200)
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
            for begin in range(0, len(text), CHUNK):
                await response.write(text[begin : begin + CHUNK])
        await response.write_eof()
        return response

    return answer
