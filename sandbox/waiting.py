"""Waits for a condition. What the condition means must not enter here."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(
    holds: Callable[[], Awaitable[bool] | bool], *, timeout: float | None, every: float = 0.05
) -> None:
    """Checks a condition until it holds. Raises TimeoutError after `timeout` seconds."""
    async with asyncio.timeout(timeout):
        while True:
            result = holds()
            if not isinstance(result, bool):
                result = await result
            if result:
                return
            await asyncio.sleep(every)
