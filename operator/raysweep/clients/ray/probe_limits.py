"""Limits on probes of Ray heads: how many run at once, and the memory that responses take."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from weakref import WeakValueDictionary

import aiohttp

from raysweep.clients.fair_semaphore import FairSemaphore
from raysweep.core.model.facts import RayCluster

LIST_CAP = 4 * 2**20
"""The most bytes of a response with a list of jobs."""
ONE_CAP = 2**20
"""The most bytes of any other response."""
SMALL = 64 * 2**10
"""The most bytes of a body that needs no LARGE place, and of an error's text."""
TINY = 8 * 2**10
"""Every request may hold that much of a body. It is parsed on the event loop, in 2 ms at worst."""
RECEIVE = 2**10
"""The most bytes that one read from a head's socket returns."""
UNPLACED = TINY + 4 * RECEIVE
"""The most bytes that a request holds without a place for its body.

Besides TINY it holds one chunk, and aiohttp buffers twice the size of a chunk and one more read.
"""
ANSWER_WITHIN = timedelta(seconds=5)

ASKED, ASKED_PER_NAMESPACE, PER_HEAD = 128, 16, 1
PATIENCE = timedelta(milliseconds=50)
"""After that time a request is silent. A head that works answers in 2 to 12 ms."""
SILENT, SILENT_PER_NAMESPACE = 1088, 144
"""As many as the probes that the operator has in progress, so that none waits for such a place."""

SMALL_PLACES, SMALL_PER_NAMESPACE = 28, 4
"""How many bodies may be larger than TINY at once."""
LARGE, LARGE_PER_NAMESPACE = 4, 1
"""How many bodies may be larger than SMALL at once. All bodies and buffers fit in 32 MiB."""

Value = TypeVar("Value")


class BodyTooLargeError(Exception):
    """A body is larger than the probe accepts."""


class _Place:
    """The place of one request. It becomes a silent one if the request outlasts the patience."""

    def __init__(
        self, asked: FairSemaphore, silent: FairSemaphore, namespace: str, patience: timedelta
    ) -> None:
        """The caller has acquired the place among `asked`."""
        self._held = asked
        self._silent = silent
        self._namespace = namespace
        self._patience = patience.total_seconds()
        self._timer = self._move_later()

    def release(self) -> None:
        """Frees the place that the request holds now."""
        self._timer.cancel()
        self._held.release(self._namespace)

    def _move_later(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._patience, self._move)

    def _move(self) -> None:
        if not self._silent.try_acquire(self._namespace):
            self._timer = self._move_later()
            return
        asked, self._held = self._held, self._silent
        asked.release(self._namespace)


@dataclass
class ProbeLimits:
    """Limits that namespaces share fairly: slow or hostile heads delay no others.

    - A request starts in one of ASKED places, ASKED_PER_NAMESPACE in one namespace. If it has not
      ended after PATIENCE, it moves to one of SILENT places and goes on there. A head that hangs
      thus delays the next head by PATIENCE. If no SILENT place is free, it keeps its place.
    - A request that repeats a failed one starts in a SILENT place.
    - One request at a time is sent to each head.
    - Bodies and the buffers of connections take at most 32 MiB. A body that outgrows TINY waits for
      one of SMALL_PLACES, and one that outgrows SMALL also for one of LARGE places. Meanwhile its
      deadline is paused, so a lack of memory here does not look like a silent head.
    - One body larger than TINY is parsed at a time, in a thread, with its deadline paused.

    No place is held for longer than a response may take, so every wait ends.
    """

    asked: FairSemaphore = field(default_factory=lambda: FairSemaphore(ASKED, ASKED_PER_NAMESPACE))
    silent: FairSemaphore = field(
        default_factory=lambda: FairSemaphore(SILENT, SILENT_PER_NAMESPACE)
    )
    patience: timedelta = PATIENCE
    small: FairSemaphore = field(
        default_factory=lambda: FairSemaphore(SMALL_PLACES, SMALL_PER_NAMESPACE)
    )
    large: FairSemaphore = field(default_factory=lambda: FairSemaphore(LARGE, LARGE_PER_NAMESPACE))
    parsing: FairSemaphore = field(default_factory=lambda: FairSemaphore(1, 1))
    heads: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = field(
        default_factory=WeakValueDictionary
    )

    @contextlib.asynccontextmanager
    async def head(self, cluster: RayCluster, service: str) -> AsyncIterator[None]:
        """Waits until no other probe asks this head, and holds it during the block."""
        key = (cluster.namespace, service)
        head = self.heads.get(key)
        if head is None:
            head = self.heads[key] = asyncio.Semaphore(PER_HEAD)
        async with head:
            yield

    @contextlib.asynccontextmanager
    async def request(self, namespace: str, *, is_retry: bool) -> AsyncIterator[None]:
        """Waits for the place of one request, and holds it during the block."""
        if is_retry:
            async with self.silent.hold(namespace):
                yield
            return
        await self.asked.acquire(namespace)
        place = _Place(self.asked, self.silent, namespace, self.patience)
        try:
            yield
        finally:
            place.release()

    @contextlib.asynccontextmanager
    async def body(
        self,
        response: aiohttp.ClientResponse,
        max_bytes: int,
        deadline: asyncio.Timeout,
        namespace: str = "",
    ) -> AsyncIterator[bytearray]:
        """Reads the whole body and yields it. Raises BodyTooLargeError beyond `max_bytes`.

        Content-Length is not trusted.
        """
        async with contextlib.AsyncExitStack() as stack:
            body, places = bytearray(), [(TINY, self.small), (SMALL, self.large)]
            async for chunk in response.content.iter_chunked(RECEIVE):
                size = len(body) + len(chunk)
                if size > max_bytes:
                    raise BodyTooLargeError
                while places and size > places[0][0]:
                    _, semaphore = places.pop(0)
                    async with _paused(deadline):
                        await stack.enter_async_context(semaphore.hold(namespace))
                body += chunk
            yield body

    async def parsed(
        self,
        body: bytearray,
        parse: Callable[[bytearray], Value],
        deadline: asyncio.Timeout,
        namespace: str = "",
    ) -> Value:
        """Parses a body. A thread does it unless the body is tiny, since it may take 0.1 s."""
        if len(body) <= TINY:
            return parse(body)
        async with _paused(deadline), self.parsing.hold(namespace):
            return await asyncio.to_thread(parse, body)


async def read_error_text(response: aiohttp.ClientResponse, max_bytes: int = SMALL) -> str:
    """The text of an error, up to `max_bytes`."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(RECEIVE):
        body += chunk[: max_bytes - len(body)]
        if len(body) == max_bytes:
            break
    return body.decode("utf-8", "replace").strip()


@contextlib.asynccontextmanager
async def _paused(deadline: asyncio.Timeout) -> AsyncIterator[None]:
    """Extends the deadline by the duration of the block."""
    end, clock = deadline.when(), asyncio.get_running_loop().time
    start = clock()
    deadline.reschedule(None)
    yield
    if end is not None:
        deadline.reschedule(end + clock() - start)
