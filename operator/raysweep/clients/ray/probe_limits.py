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
"""Every probe may hold that much of a body. An error's text is not read further."""
TINY = 8 * 2**10
"""A body of at most that size is parsed on the event loop, in 2 ms at worst."""
ANSWER_WITHIN = timedelta(seconds=5)

OVERALL, PER_NAMESPACE, PER_HEAD = 64, 8, 1
LARGE, LARGE_PER_NAMESPACE = 7, 3
"""How many bodies may be larger than SMALL at once. Together with SMALL for each probe: 32 MiB."""
_CHUNK = 16 * 2**10

Value = TypeVar("Value")


class BodyTooLargeError(Exception):
    """A body is larger than the probe accepts."""


@dataclass
class ProbeLimits:
    """Limits that namespaces share fairly: a tenant's slow or hostile heads delay no other tenant.

    - OVERALL probes run at once, PER_NAMESPACE in one namespace, one request at a time per head.
    - Bodies take at most 32 MiB. A body that outgrows SMALL waits for one of LARGE places.
      Meanwhile its deadline is paused, so a lack of memory here does not look like a silent head.
      The rest of the body stays in the network buffers.
    - One body larger than TINY is parsed at a time, in a thread, with its deadline paused.

    No place is held for longer than a response may take, so every wait ends.
    """

    overall: FairSemaphore = field(default_factory=lambda: FairSemaphore(OVERALL, PER_NAMESPACE))
    large: FairSemaphore = field(default_factory=lambda: FairSemaphore(LARGE, LARGE_PER_NAMESPACE))
    parsing: FairSemaphore = field(default_factory=lambda: FairSemaphore(1, 1))
    heads: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = field(
        default_factory=WeakValueDictionary
    )

    @contextlib.asynccontextmanager
    async def probe(self, cluster: RayCluster, service: str) -> AsyncIterator[None]:
        """Waits for the place of one probe, and holds it during the block."""
        key = (cluster.namespace, service)
        head = self.heads.get(key)
        if head is None:
            head = self.heads[key] = asyncio.Semaphore(PER_HEAD)
        async with head, self.overall.hold(cluster.namespace):
            yield

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
            body, has_place = bytearray(), False
            async for chunk in response.content.iter_chunked(_CHUNK):
                size = len(body) + len(chunk)
                if size > max_bytes:
                    raise BodyTooLargeError
                if size > SMALL and not has_place:
                    async with _paused(deadline):
                        await stack.enter_async_context(self.large.hold(namespace))
                    has_place = True
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


async def read_error_text(response: aiohttp.ClientResponse) -> str:
    """The text of an error, up to SMALL bytes."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk[: SMALL - len(body)]
        if len(body) == SMALL:
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
