"""Resolves the names of head Services, fairly over namespaces: slow DNS of one delays no other.

getaddrinfo of the C library resolves names (nsswitch, /etc/hosts, search domains). It blocks a
thread until the DNS servers respond, up to minutes, and cannot be interrupted. So each lookup has a
thread of its own instead of one that the event loop shares, and keeps its place until it ends.
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

from raysweep.clients.fair_semaphore import FairSemaphore

LOOKUPS, LOOKUPS_PER_NAMESPACE = 64, 4
"""How many threads run in total and for one namespace. A successful lookup takes milliseconds."""
RESOLVE_WITHIN = timedelta(seconds=3)
"""Less than the timeout of a probe, so that slow DNS and a slow head have different messages."""

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV

_AddressInfos = list[tuple[Any, Any, Any, Any, Any]]
_Name = tuple[str, int]
Lookup = Callable[..., _AddressInfos]
"""socket.getaddrinfo or a function like it: it may block and raises OSError."""


class ResolveTimeoutError(OSError):
    """DNS did not respond in time, or the namespace has too many lookups in progress."""


@dataclass
class FairResolver(AbstractResolver):
    """A resolver for aiohttp. Raises ResolveTimeoutError, or the OSError of the lookup.

    A lookup continues after its timeout. The next request for the same name waits for it.
    """

    lookup: Lookup = socket.getaddrinfo
    timeout: timedelta = RESOLVE_WITHIN
    semaphore: FairSemaphore = field(
        default_factory=lambda: FairSemaphore(LOOKUPS, LOOKUPS_PER_NAMESPACE)
    )
    _running: dict[_Name, asyncio.Future[_AddressInfos]] = field(default_factory=dict)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Returns the addresses of a host."""
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                infos = await self._infos((host, family))
        except TimeoutError:
            raise ResolveTimeoutError(0, "no answer in time: DNS") from None
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=port,
                family=address_family,
                proto=protocol,
                flags=_NUMERIC,
            )
            for address_family, _, protocol, _, address in infos
        ]

    async def close(self) -> None:
        """Does nothing. The threads end with their lookups and do not delay the exit."""

    async def _infos(self, name: _Name) -> _AddressInfos:
        if name not in self._running:
            namespace = _namespace(name[0])
            await self.semaphore.acquire(namespace)
            if name in self._running:  # another task began the lookup meanwhile
                self.semaphore.release(namespace)
            else:
                self._begin(name, namespace)
        return await asyncio.shield(self._running[name])

    def _begin(self, name: _Name, namespace: str) -> None:
        loop = asyncio.get_running_loop()
        result: asyncio.Future[_AddressInfos] = loop.create_future()
        self._running[name] = result

        def end(infos: _AddressInfos | None, error: Exception | None) -> None:
            del self._running[name]
            self.semaphore.release(namespace)
            if infos is None:
                result.set_exception(error or OSError("no address"))
                result.exception()  # it is no error if no task waits any more
            else:
                result.set_result(infos)

        def look_up() -> None:
            infos, failure = None, None
            try:
                infos = self.lookup(
                    name[0],
                    None,
                    family=name[1],
                    type=socket.SOCK_STREAM,
                    flags=socket.AI_ADDRCONFIG,
                )
            except Exception as error:  # noqa: BLE001 - the waiting task raises it
                failure = error
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(end, infos, failure)

        try:
            threading.Thread(target=look_up, name=f"lookup {name[0]}", daemon=True).start()
        except RuntimeError as error:  # the system has no thread left
            end(None, OSError(str(error)))
            raise ResolveTimeoutError(0, "no thread for DNS") from error


def _namespace(host: str) -> str:
    """The namespace in `SERVICE.NAMESPACE.svc.DOMAIN`, or the second label of another name."""
    labels = host.split(".")
    return labels[1] if len(labels) > 1 else host
