"""Measures memory and CPU of an operator by the number of finished RayJobs.

`python -m benchmarks.footprint [--counts 1000,5000,10000] [--json FILE]`. It measures the start,
the idle operator and its deletions. The API server runs on the same machine.
"""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import cpu_seconds, peak_mib
from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.operator_process import Operator, deploy, running_operator
from tests.support.workbench import Lab, utc_now

AT_ONCE = 32
REST = 60.0


@dataclass
class Row:
    """One number of RayJobs: MiB, seconds, and requests to the API server."""

    rayjobs: int
    ready_after_s: float
    cpu_until_ready_s: float
    peak_mib: float
    cpu_at_rest_percent: float
    requests_at_rest_per_minute: float
    deletions_per_s: float


async def _fill(lab: Lab, count: int) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with places:
            nothing: dict[str, Any] = {
                "with_cluster": False,
                "head_status": None,
                "status": {"rayClusterName": ""},
            }
            await lab.create_finished(f"job-{number}", ended_at=utc_now(), **nothing)

    await asyncio.gather(*(one(number) for number in range(count)))


async def _requests(cluster: Cluster) -> int:
    return len(await cluster.audit("raysweep"))


async def _measured(cluster: Cluster, kubeconfig: Path, count: int) -> Row:
    lab = await Lab.open(cluster, await cluster.heads.light("quiet"))
    await _fill(lab, count)
    begun = time.monotonic()
    fast = {
        "leader_election": "false",
        "deletions_per_second": "1000",
        "deletion_burst": "1000",
        "bulk_expiry_max": "1000000",
        "bulk_expiry_wait": "1s",
    }
    async with running_operator(cluster, kubeconfig, **fast) as operator:  # type: ignore[arg-type]
        await until(lambda: _knows(operator, count), timeout=120)
        ready, cpu = time.monotonic() - begun, cpu_seconds(operator.process.pid)
        before, asked = cpu, await _requests(cluster)
        await asyncio.sleep(REST)
        at_rest = (cpu_seconds(operator.process.pid) - before) / REST * 100
        requests = (await _requests(cluster) - asked) * 60 / REST
        peak = peak_mib(operator.process.pid)
        rate = await _deleting(lab, count)
    return Row(count, ready, cpu, peak, at_rest, requests, rate)


async def _knows(operator: Operator, count: int) -> bool:
    return await operator.metric("raysweep_rayjobs", reason="NoTTL") >= count


async def _deleting(lab: Lab, count: int) -> float:
    """Deletions a second, after one annotation made all of them due."""
    await lab.annotate_namespace({"raysweep.io/ttl": "0"})

    async def left() -> int:
        page = await lab.cluster.api.request("GET", lab.path("rayjobs"), params={"limit": "1"})
        return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))

    async def has_begun() -> bool:
        return await left() < count

    async def is_empty() -> bool:
        return await left() == 0

    await until(has_begun, timeout=120)
    begun = time.monotonic()
    await until(is_empty, timeout=900)
    return count / (time.monotonic() - begun)


async def _main(counts: list[int]) -> list[Row]:
    async with sandbox_cluster.start(say=lambda _: None) as cluster:
        kubeconfig = await deploy(cluster)
        return [await _measured(cluster, kubeconfig, count) for count in counts]


COLUMNS = (
    "RayJobs",
    "ready after",
    "CPU until then",
    "peak memory",
    "CPU at rest",
    "requests a minute at rest",
    "deletions a second",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.footprint", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--counts", default="1000,5000", help="numbers of RayJobs, with commas")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    arguments = parser.parse_args()
    rows = asyncio.run(_main([int(count) for count in arguments.counts.split(",")]))
    print(" | ".join(COLUMNS))
    print(" | ".join("---:" for _ in COLUMNS))
    for row in rows:
        cells = (
            f"{row.rayjobs}",
            f"{row.ready_after_s:.1f} s",
            f"{row.cpu_until_ready_s:.1f} s",
            f"{row.peak_mib:.0f} MiB",
            f"{row.cpu_at_rest_percent:.1f} %",
            f"{row.requests_at_rest_per_minute:.0f}",
            f"{row.deletions_per_s:.0f}",
        )
        print(" | ".join(cells))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
