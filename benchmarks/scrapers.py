"""Many connections that read /metrics without a pause, as a process of its own.

`python -m benchmarks.scrapers URL CONNECTIONS SECONDS`. A connection that is refused or closed
waits 0.1 s before it tries again.
"""

import asyncio
import sys

import aiohttp

PAUSE = 0.1


async def _scrape(session: aiohttp.ClientSession, url: str) -> None:
    while True:
        try:
            async with session.get(url) as response:
                await response.read()
                is_served = response.status == 200
        except (aiohttp.ClientError, OSError):
            is_served = False
        if not is_served:
            await asyncio.sleep(PAUSE)


async def _main(url: str, connections: int, seconds: float) -> None:
    connector = aiohttp.TCPConnector(limit=connections)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        tasks = [asyncio.create_task(_scrape(session, url)) for _ in range(connections)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
