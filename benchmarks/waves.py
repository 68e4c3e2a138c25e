"""Whether memory stays flat: waves of RayJobs that are created, due at once, and deleted.

The operator has no limit of its pace. Memory is read when a wave is deleted and the operator is
idle. The first wave fills caches, so the yardstick is the second one.
"""

import asyncio
import sys
import time
from dataclasses import dataclass

from benchmarks import etcd, filling, recorded
from benchmarks.filling import NAMESPACES, say
from benchmarks.processes import peak_mib, resident_mib
from benchmarks.report import Plot, Ratio, Report, Series, arguments, finish
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.operator_process import Operator, deploy, running_operator
from tests.support.workbench import utc_now

WAVES, CHECK_WAVES = 10, 4
SIZE = 1_000
DELETED_WITHIN = 300.0
REST = 10.0
FLAT_BOUND = 1.1
"""Memory after the last wave, as a multiple of that after the second."""


@dataclass
class Wave:
    """One wave: seconds from its creation until the last RayJob was deleted, and MiB after it."""

    number: int
    seconds: float
    resident_mib: float
    peak_mib: float


async def _main(count: int, size: int) -> list[Wave]:
    async with filling.large_cluster() as cluster:
        kubeconfig = await deploy(cluster)
        await filling.create_namespaces(cluster)
        async with running_operator(cluster, kubeconfig) as operator:
            return [await _wave(cluster, operator, number, size) for number in range(count)]


async def _wave(cluster: Cluster, operator: Operator, number: int, size: int) -> Wave:
    begun = time.monotonic()
    numbers = range(number * size, (number + 1) * size)
    rayjobs = recorded.due(numbers, NAMESPACES, utc_now())
    await etcd.put(cluster.etcd, rayjobs, per_transaction=1)

    async def are_deleted() -> bool:
        return await filling.listed(cluster) == 0

    await asyncio.sleep(1)  # the first of them are listed then
    await until(are_deleted, timeout=DELETED_WITHIN, every=0.2)
    seconds = time.monotonic() - begun
    await asyncio.sleep(REST)
    pid = operator.process.pid
    wave = Wave(number + 1, seconds, resident_mib(pid), peak_mib(pid))
    say(str(wave))
    return wave


def _report(waves: list[Wave], size: int) -> Report:
    report = Report(
        "waves",
        f"Memory after {len(waves)} waves of {size:,} RayJobs",
        ("wave", "created and deleted within (s)", "memory after it (MiB)", "peak so far (MiB)"),
    )
    report.rows = [(w.number, w.seconds, w.resident_mib, w.peak_mib) for w in waves]
    second, last = waves[1], waves[-1]
    flat = last.resident_mib / second.resident_mib
    report.ratios = [Ratio("memory after the last wave / after the second", flat, FLAT_BOUND)]
    report.notes = ["The RayJobs have no RayCluster, so no head is asked."]
    numbers = [wave.number for wave in waves]
    report.plot = Plot(
        "wave",
        "MiB",
        [
            Series("memory after the wave", numbers, [wave.resident_mib for wave in waves]),
            Series("after the second wave", numbers, [second.resident_mib] * len(waves), "--"),
        ],
    )
    return report


def main() -> int:
    """Prints the report; 1 if a ratio is outside its bound."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--waves", type=int, help=f"how many, 2 or more ({WAVES})")
    parser.add_argument("--size", type=int, default=SIZE, help=f"RayJobs of each ({SIZE})")
    options = parser.parse_args()
    count = options.waves or (CHECK_WAVES if options.check else WAVES)
    return finish(_report(asyncio.run(_main(count, options.size)), options.size), options)


if __name__ == "__main__":
    sys.exit(main())
