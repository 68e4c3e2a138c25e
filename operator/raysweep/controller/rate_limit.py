"""A token bucket: limits how many operations start per second."""

import asyncio
import time
from collections.abc import Awaitable, Callable


class TokenBucket:
    """Allows a burst of operations, then a fixed number per second. First come, first served."""

    def __init__(
        self,
        per_second: float,
        burst: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`clock` is monotonic, in seconds. `sleep` waits for some seconds of that clock."""
        self._per_second = per_second
        self._burst = float(burst)
        self._clock = clock
        self._sleep = sleep
        self._tokens = float(burst)
        self._refilled_at = clock()
        self._turn = asyncio.Lock()
        self._is_open = asyncio.Event()
        self._is_open.set()

    async def take(self) -> None:
        """Waits for a token and takes it."""
        async with self._turn:  # only the first waiter sleeps, however many wait
            while not self._try_take():
                await self._sleep((1 - self._tokens) / self._per_second)
            await self._is_open.wait()

    def close(self) -> None:
        """Hands out no more tokens. Whoever takes one waits until its task is canceled."""
        self._is_open.clear()

    def _try_take(self) -> bool:
        now = self._clock()
        refill = (now - self._refilled_at) * self._per_second
        self._tokens = min(self._burst, self._tokens + refill)
        self._refilled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
