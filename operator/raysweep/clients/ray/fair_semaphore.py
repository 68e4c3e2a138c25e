"""Places that namespaces share fairly: a fixed number in all, a share for each, and turns for those that wait."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator


class FairSemaphore:
    """A number of places of which one namespace holds its share at most.

    Namespaces that wait for a place take turns, so the wait of one does not grow with the demand of
    another. Bound to the event loop that uses it; not for threads.
    """

    def __init__(self, size: int, share: int) -> None:
        """size: all places; share: how many of them one namespace may hold at once."""
        self._free = size
        self._share = share
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, dict[asyncio.Future[None], None]] = {}

    def locked(self) -> bool:
        """Whether all places are taken."""
        return self._free == 0

    @contextlib.asynccontextmanager
    async def hold(self, namespace: str) -> AsyncIterator[None]:
        """A place for as long as the block lasts."""
        await self.take(namespace)
        try:
            yield
        finally:
            self.release(namespace)

    async def take(self, namespace: str) -> None:
        """Waits for a place, which stays taken until release()."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(namespace, {})[turn] = None
        self._give()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(namespace, turn)
            else:  # the place was given in the same moment
                self.release(namespace)
            raise

    def release(self, namespace: str) -> None:
        """Gives a place back, to the next namespace that waits."""
        self._free += 1
        self._held[namespace] -= 1
        if not self._held[namespace]:
            del self._held[namespace]
        self._give()

    def _give(self) -> None:
        while self._free and (namespace := self._next()) is not None:
            turn = next(iter(self._waiting[namespace]))
            self._forget(namespace, turn)
            if namespace in self._waiting:  # its other turns come after those of everybody else
                self._waiting[namespace] = self._waiting.pop(namespace)
            if not turn.done():
                self._free -= 1
                self._held[namespace] += 1
                turn.set_result(None)

    def _next(self) -> str | None:
        """The namespace whose turn it is. At most size / share of them are passed over."""
        below = (name for name in self._waiting if self._held[name] < self._share)
        return next(below, None)

    def _forget(self, namespace: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(namespace, {})
        turns.pop(turn, None)
        if not turns:
            self._waiting.pop(namespace, None)
