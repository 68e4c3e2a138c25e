"""A token bucket: limits how many operations start per second."""

import asyncio
import time


class TokenBucket:
    """Allows a burst of operations, then a fixed number per second.

    Return an unused token with `give_back`.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._tokens = float(burst)
        self._refilled_at = time.monotonic()

    async def take(self) -> None:
        """Waits for a token and takes it."""
        while not self.try_take():  # noqa: ASYNC110 - no event announces a new token
            await asyncio.sleep((1 - self._tokens) / self._per_second)

    def try_take(self) -> bool:
        """Takes a token if one is available."""
        now = time.monotonic()
        refill = (now - self._refilled_at) * self._per_second
        self._tokens = min(self._burst, self._tokens + refill)
        self._refilled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def close(self) -> None:
        """Hands out no more tokens."""
        self._burst = 0.0

    def give_back(self) -> None:
        """Returns a token that was taken but not used."""
        self._tokens = min(self._burst, self._tokens + 1)
