"""A semaphore that namespaces share fairly: a share for each, and turns for those that wait."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

Waiter = asyncio.Future[None]


class FairSemaphore:
    """Limits how many tasks run at once, in total and of one namespace.

    Namespaces that wait take turns, so the wait of one does not grow with the demand of another.
    Urgent tasks come before all others. They take turns among themselves.
    The semaphore belongs to one event loop and is not for threads.
    """

    def __init__(self, size: int, share: int) -> None:
        """`size` tasks may hold the semaphore at once, `share` of them of one namespace."""
        self._size = size
        self._share = share
        self._taken = 0
        self._held: Counter[str] = Counter()
        self._urgent = _Turns()
        self._others = _Turns()

    def locked(self) -> bool:
        """Whether no place is free."""
        return self._taken >= self._size

    def has_waiters(self) -> bool:
        """Whether a task waits for a place, or for the share of its namespace."""
        return bool(self._urgent or self._others)

    def resize(self, size: int, share: int) -> None:
        """Changes both limits. Tasks that hold a place keep it."""
        self._size = size
        self._share = share
        self._wake()

    @contextlib.asynccontextmanager
    async def hold(self, namespace: str, *, urgent: bool = False) -> AsyncIterator[None]:
        """Acquires a place, and releases it after the block."""
        await self.acquire(namespace, urgent=urgent)
        try:
            yield
        finally:
            self.release(namespace)

    async def acquire(self, namespace: str, *, urgent: bool = False) -> None:
        """Waits for a place. The caller calls release() later."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        turns = self._urgent if urgent else self._others
        turns.add(namespace, waiter)
        self._wake()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                turns.remove(namespace, waiter)
            else:  # it received a place just before the cancellation
                self.release(namespace)
            raise

    def try_acquire(self, namespace: str) -> bool:
        """Takes a place if one is free for this namespace. The caller calls release() later.

        It overtakes no waiter, because a free place that a waiter may have is given to it at once.
        """
        if self.locked() or not self._has_share(namespace):
            return False
        self._taken += 1
        self._held[namespace] += 1
        return True

    def release(self, namespace: str) -> None:
        """Frees a place for the next namespace that waits."""
        self._taken -= 1
        self._held[namespace] -= 1
        if not self._held[namespace]:
            del self._held[namespace]
        self._wake()

    def _wake(self) -> None:
        """Gives the free places to waiters."""
        while not self.locked():
            turn = self._urgent.take(self._has_share) or self._others.take(self._has_share)
            if turn is None:
                return
            namespace, waiter = turn
            if not waiter.done():
                self._taken += 1
                self._held[namespace] += 1
                waiter.set_result(None)

    def _has_share(self, namespace: str) -> bool:
        """Whether the namespace may hold one more place. At most size / share may not."""
        return self._held[namespace] < self._share


class _Turns:
    """The tasks that wait. Namespaces take turns, in the order in which they began to wait."""

    def __init__(self) -> None:
        self._waiters: dict[str, dict[Waiter, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiters)

    def add(self, namespace: str, waiter: Waiter) -> None:
        self._waiters.setdefault(namespace, {})[waiter] = None

    def remove(self, namespace: str, waiter: Waiter) -> None:
        waiters = self._waiters.get(namespace, {})
        waiters.pop(waiter, None)
        if not waiters:
            self._waiters.pop(namespace, None)

    def take(self, is_eligible: Callable[[str], bool]) -> tuple[str, Waiter] | None:
        """Takes the first task of the next eligible namespace. None if no namespace is eligible."""
        namespace = next(filter(is_eligible, self._waiters), None)
        if namespace is None:
            return None
        waiter = next(iter(self._waiters[namespace]))
        self.remove(namespace, waiter)
        if namespace in self._waiters:  # its other waiters queue behind all other namespaces
            self._waiters[namespace] = self._waiters.pop(namespace)
        return namespace, waiter
