"""A client of the API server that reads one object at a steady rate, as a process of its own.

Its latencies show what the load of others costs it. `python -m benchmarks.steady` reads its Plan as
JSON from standard input, and prints the latencies in seconds as JSON when standard input ends.
"""

import asyncio
import contextlib
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass

import aiohttp

from sandbox.cluster import Cluster

PER_SECOND = 20


@dataclass(frozen=True)
class Plan:
    """What it reads."""

    url: str
    certificate: str
    token: str


@contextlib.asynccontextmanager
async def reading(cluster: Cluster, path: str) -> AsyncIterator[list[float]]:
    """Reads an object during the block. The list has the latencies at its end."""
    plan = Plan(f"{cluster.server}{path}", str(cluster.certificate), cluster.token)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.steady"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    process.stdin.write(json.dumps(asdict(plan)).encode() + b"\n")
    latencies: list[float] = []
    try:
        yield latencies
    finally:
        output, _ = await process.communicate(b"")
    latencies += json.loads(output)


async def main() -> None:
    plan = Plan(**json.loads(sys.stdin.readline()))
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    latencies: list[float] = []
    headers = {"Authorization": f"Bearer {plan.token}", "User-Agent": "steady"}
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=plan.certificate))
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as session,
        asyncio.TaskGroup() as tasks,
    ):
        started = time.monotonic()
        while not ended.done():
            tasks.create_task(_read(session, plan.url, latencies))
            next_at = started + (int((time.monotonic() - started) * PER_SECOND) + 1) / PER_SECOND
            await asyncio.sleep(next_at - time.monotonic())
    print(json.dumps(latencies))


async def _read(session: aiohttp.ClientSession, url: str, latencies: list[float]) -> None:
    started = time.monotonic()
    async with session.get(url) as response:
        await response.read()
        response.raise_for_status()
    latencies.append(time.monotonic() - started)


if __name__ == "__main__":
    asyncio.run(main())
