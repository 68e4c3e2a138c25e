"""Waits for a condition by asking again and again, bounded. What is waited for must not enter here."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(
    holds: Callable[[], Awaitable[bool] | bool], *, timeout: float | None, every: float = 0.05
) -> None:
    """Asks at once, and raises TimeoutError where it does not hold in time."""
    async with asyncio.timeout(timeout):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(every)
