"""Resolves the names of head Services, fairly over namespaces: slow DNS for one namespace's names delays no other's.

The C library's getaddrinfo answers (nsswitch, /etc/hosts, search domains). It blocks a thread for as
long as DNS servers take, up to minutes, and nothing can end it earlier. So each lookup has a thread and
a place of its own, both held until it really ends, and no place of the event loop's shared threads.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from raysweep.clients.ray.fair_semaphore import FairSemaphore

LOOKUPS, LOOKUPS_PER_NAMESPACE = 64, 4
"""Threads in all and for the names of one namespace. A lookup that succeeds takes milliseconds."""
RESOLVE_WITHIN = timedelta(seconds=3)
"""Less than an answer of a head may take, so that slow DNS is told from a slow head."""

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV

Lookup = Callable[..., list[tuple[Any, Any, Any, Any, Any]]]
"""socket.getaddrinfo, or one like it: it may block, and raises OSError."""
_Infos = list[tuple[Any, Any, Any, Any, Any]]
_Key = tuple[str, int]


class ResolveTimeoutError(OSError):
    """DNS did not answer in time, or all lookups that the namespace may have at once are under way."""


@dataclass
class FairResolver(AbstractResolver):
    """A resolver for aiohttp. Raises ResolveTimeoutError, and OSError (socket.gaierror) of the lookup.

    A lookup that outlives its question goes on; the next question for the same name waits for that one.
    """

    lookup: Lookup = socket.getaddrinfo
    within: timedelta = RESOLVE_WITHIN
    places: FairSemaphore = field(
        default_factory=lambda: FairSemaphore(LOOKUPS, LOOKUPS_PER_NAMESPACE)
    )
    _running: dict[_Key, asyncio.Future[_Infos]] = field(default_factory=dict)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host."""
        try:
            async with asyncio.timeout(self.within.total_seconds()):
                infos = await self._infos((host, family))
        except TimeoutError:
            raise ResolveTimeoutError(0, "no answer in time: DNS") from None
        return [
            ResolveResult(
                hostname=host, host=address[0], port=port, family=found, proto=proto, flags=_NUMERIC
            )
            for found, _, proto, _, address in infos
        ]

    async def close(self) -> None:
        """Nothing to close: threads end when their lookups do, and hold up no exit."""

    async def _infos(self, key: _Key) -> _Infos:
        if key not in self._running:
            namespace = _namespace(key[0])
            await self.places.take(namespace)
            if key in self._running:  # somebody else has begun meanwhile
                self.places.release(namespace)
            else:
                self._begin(key, namespace)
        return await asyncio.shield(self._running[key])

    def _begin(self, key: _Key, namespace: str) -> None:
        loop = asyncio.get_running_loop()
        running: asyncio.Future[_Infos] = loop.create_future()
        self._running[key] = running

        def end(infos: _Infos | None, error: Exception | None) -> None:
            del self._running[key]
            self.places.release(namespace)
            if infos is None:
                running.set_exception(error or OSError("no address"))
                running.exception()  # it is no fault if nobody waits any more
            else:
                running.set_result(infos)

        def look_up() -> None:
            infos, failed = None, None
            try:
                infos = self.lookup(
                    key[0], None, family=key[1], type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, the one who asks gets it
                failed = error
            with contextlib.suppress(RuntimeError):  # the loop is closed by now
                loop.call_soon_threadsafe(end, infos, failed)

        try:
            threading.Thread(target=look_up, name=f"lookup {key[0]}", daemon=True).start()
        except RuntimeError as error:  # no more threads
            end(None, OSError(str(error)))
            raise ResolveTimeoutError(0, "no thread for DNS") from error


def _namespace(host: str) -> str:
    """Of `SERVICE.NAMESPACE.svc.DOMAIN`; of another name, such as a proxy's, a part that is as good."""
    labels = host.split(".")
    return labels[1] if len(labels) > 1 else host
