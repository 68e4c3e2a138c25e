"""The yardstick of other benchmarks: what the least possible client of RayJobs costs.

`python -m benchmarks.bare list KUBECONFIG` lists all RayJobs in pages of 500 and parses each page.
`python -m benchmarks.bare watch KUBECONFIG` parses each watch event until its standard input ends.
Both keep nothing and print one line of JSON: the fields of Cost. Time and CPU time begin after the
imports.
"""

import asyncio
import json
import os
import ssl
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from benchmarks.processes import peak_mib

RAYJOBS = "/apis/ray.io/v1/rayjobs"
WRITTEN_AT = "written at "
"""Followed by seconds since the epoch, in the message of a status."""
PAGE = "500"
"""As kubectl and client-go list."""


@dataclass
class Cost:
    """Objects or events, and what they cost: seconds, seconds of CPU, MiB at most.

    lags: seconds from write to parsed event, if the message of a status says WRITTEN_AT.
    """

    count: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    lags: list[float] = field(default_factory=list)


def main() -> int:
    """Runs one of the two clients."""
    act = {"list": _list, "watch": _watch}[sys.argv[1]]
    cost = asyncio.run(_measured(act, Path(sys.argv[2])))
    print(json.dumps(asdict(cost)))
    return 0


async def _measured(act: Any, kubeconfig: Path) -> Cost:
    server, session = _session(kubeconfig)
    async with session:
        begun, cpu_begun = time.monotonic(), time.process_time()
        count, lags = await act(session, f"{server}{RAYJOBS}")
        seconds, cpu_seconds = time.monotonic() - begun, time.process_time() - cpu_begun
    return Cost(count, seconds, cpu_seconds, peak_mib(os.getpid()), lags)


def _session(kubeconfig: Path) -> tuple[str, aiohttp.ClientSession]:
    """The server of a sandbox's kubeconfig, and a client of its user."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    token = user.get("token") or Path(user["tokenFile"]).read_text()
    context = ssl.create_default_context(cafile=cluster["certificate-authority"])
    session = aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {token}", "User-Agent": "bare"},
        connector=aiohttp.TCPConnector(ssl=context),
        timeout=aiohttp.ClientTimeout(total=None),
        trust_env=False,
        raise_for_status=True,
    )
    return cluster["server"], session


async def _list(session: aiohttp.ClientSession, url: str) -> tuple[int, list[float]]:
    count, page = 0, {"limit": PAGE}
    while True:
        async with session.get(url, params=page) as response:
            listed = json.loads(await response.read())
        count += len(listed["items"])
        page["continue"] = listed["metadata"].get("continue", "")
        if not page["continue"]:
            return count, []


async def _watch(session: aiohttp.ClientSession, url: str) -> tuple[int, list[float]]:
    async with session.get(url, params={"limit": "1"}) as response:
        listed = json.loads(await response.read())
    since = {"watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}
    count, lags = 0, list[float]()

    async def read_events() -> None:
        nonlocal count
        async with session.get(url, params=since) as response:
            async for line in response.content:
                event = json.loads(line)
                count += 1
                _, mark, at = event["object"]["status"].get("message", "").partition(WRITTEN_AT)
                if mark:
                    lags.append(time.time() - float(at))

    reading = asyncio.create_task(read_events())
    await asyncio.to_thread(sys.stdin.read)
    reading.cancel()
    return count, lags


if __name__ == "__main__":
    sys.exit(main())
