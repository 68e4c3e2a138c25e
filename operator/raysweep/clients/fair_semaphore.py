"""A semaphore that namespaces share fairly: a share for each, and turns for those that wait."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator


class FairSemaphore:
    """Limits how many tasks run at once, in total and of one namespace.

    Namespaces that wait take turns, so the wait of one does not grow with the demand of another.
    The semaphore belongs to one event loop and is not for threads.
    """

    def __init__(self, size: int, share: int) -> None:
        """`size` tasks may hold the semaphore at once, `share` of them of one namespace."""
        self._free = size
        self._share = share
        self._held: Counter[str] = Counter()
        self._waiters: dict[str, dict[asyncio.Future[None], None]] = {}

    def locked(self) -> bool:
        """Whether no place is free."""
        return self._free == 0

    @contextlib.asynccontextmanager
    async def hold(self, namespace: str) -> AsyncIterator[None]:
        """Acquires a place, and releases it after the block."""
        await self.acquire(namespace)
        try:
            yield
        finally:
            self.release(namespace)

    async def acquire(self, namespace: str) -> None:
        """Waits for a place. The caller calls release() later."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(namespace, {})[waiter] = None
        self._wake()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._remove(namespace, waiter)
            else:  # it received a place just before the cancellation
                self.release(namespace)
            raise

    def try_acquire(self, namespace: str) -> bool:
        """Takes a place if one is free for this namespace. The caller calls release() later.

        It overtakes no waiter, because a free place that a waiter may have is given to it at once.
        """
        if not self._free or self._held[namespace] >= self._share:
            return False
        self._free -= 1
        self._held[namespace] += 1
        return True

    def release(self, namespace: str) -> None:
        """Frees a place for the next namespace that waits."""
        self._free += 1
        self._held[namespace] -= 1
        if not self._held[namespace]:
            del self._held[namespace]
        self._wake()

    def _wake(self) -> None:
        """Gives the free places to waiters."""
        while self._free:
            namespace = self._next()
            if namespace is None:
                return
            waiter = next(iter(self._waiters[namespace]))
            self._remove(namespace, waiter)
            if namespace in self._waiters:  # its other waiters queue behind all other namespaces
                self._waiters[namespace] = self._waiters.pop(namespace)
            if not waiter.done():
                self._free -= 1
                self._held[namespace] += 1
                waiter.set_result(None)

    def _next(self) -> str | None:
        """The namespace whose turn it is. At most size / share namespaces have used their share."""
        eligible = (name for name in self._waiters if self._held[name] < self._share)
        return next(eligible, None)

    def _remove(self, namespace: str, waiter: asyncio.Future[None]) -> None:
        waiters = self._waiters.get(namespace, {})
        waiters.pop(waiter, None)
        if not waiters:
            self._waiters.pop(namespace, None)
