"""Many finished RayJobs with RayClusters, written without KubeRay, that become due when told.

All have ended at the same second, plus an offset. The TTL is an annotation of their Namespace, so
one PATCH for each namespace makes them due at an exact time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from benchmarks.audit import Key
from benchmarks.heads import ScriptedHead, scripted_head
from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.support.workbench import Lab, utc_now

AT_ONCE = 32
"""Requests of the benchmark at the same time."""
TRUNCATED = timedelta(seconds=1)
"""KubeRay writes whole seconds, so a job counts as ended a second later."""
ENDED_BEFORE = timedelta(hours=1)


def whole_second(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


async def in_parallel(jobs: Iterable[Callable[[], object]]) -> None:
    """Runs coroutine functions, AT_ONCE at a time."""
    waiting = iter(list(jobs))

    async def work() -> None:
        for job in waiting:
            await job()  # type: ignore[misc]

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(work())


@dataclass
class FinishedJobs:
    """RayJobs of several namespaces. `offsets` has the seconds after which each is due."""

    labs: list[Lab]
    ended_at: datetime
    offsets: dict[Key, int] = field(default_factory=dict)

    @classmethod
    @contextlib.asynccontextmanager
    async def in_namespaces(
        cls, cluster: Cluster, names: Sequence[str]
    ) -> AsyncIterator["FinishedJobs"]:
        """Namespaces without RayJobs. What is left in them is deleted at the end of the block.

        The heads of each namespace are one server, which answers each Service with its own job.
        """
        async with contextlib.AsyncExitStack() as stack:
            labs: list[Lab] = []
            for name in names:
                head = await stack.enter_async_context(scripted_head(name, cluster.folder))
                labs.append(await Lab.open(cluster, head, name=name))
            jobs = cls(labs, whole_second(utc_now() - ENDED_BEFORE))
            stack.push_async_callback(jobs.clear)
            yield jobs

    @property
    def head(self) -> ScriptedHead:
        """The head of the first namespace."""
        head = self.labs[0].head
        assert isinstance(head, ScriptedHead)
        return head

    async def create(
        self,
        per_namespace: int,
        *,
        offset: Callable[[int], int] = lambda _: 0,
        hung: int = 0,
        hanging_head: Head | None = None,
    ) -> None:
        """Creates that many in each namespace. The heads of `hung` of them hang.

        offset: seconds, by the number of the RayJob in its namespace.
        """
        numbers = [(lab, number) for number in range(per_namespace) for lab in self.labs]

        def creation(lab: Lab, number: int) -> Callable[[], object]:
            is_hung = is_chosen(number, hung, per_namespace)
            name = f"{'hung' if is_hung else 'job'}-{number}"
            return lambda: self._create(
                lab, name, offset(number), hanging_head if is_hung else None
            )

        await in_parallel([creation(lab, number) for lab, number in numbers])

    async def _create(self, lab: Lab, name: str, offset: int, hanging_head: Head | None) -> None:
        ended_at = self.ended_at + timedelta(seconds=offset)
        await lab.create_finished(name, ended_at=ended_at)
        if hanging_head:
            lab.cluster.heads.route(lab.namespace, f"{name}-c-head-svc", hanging_head)
        self.offsets[lab.namespace, name] = offset

    async def due_from(self, start: datetime) -> dict[Key, datetime]:
        """Sets the TTL so that the first is due at `start`, a whole second. Returns all due times.

        The keys are the names of RayClusters.
        """
        ttl = start - self.ended_at - TRUNCATED
        for lab in self.labs:
            await lab.annotate_namespace({"raysweep.io/ttl": f"{round(ttl.total_seconds())}s"})
        return {
            (namespace, f"{name}-c"): start + timedelta(seconds=offset)
            for (namespace, name), offset in self.offsets.items()
        }

    async def clear(self) -> None:
        """Removes the TTL and deletes all objects. Their number in etcd would slow later runs."""
        for lab in self.labs:
            await lab.annotate_namespace({"raysweep.io/ttl": None})
            for plural in ("rayjobs", "rayclusters"):
                await lab.cluster.api.request("DELETE", lab.path(plural))
        self.offsets.clear()


def is_chosen(number: int, chosen: int, total: int) -> bool:
    """Spreads `chosen` numbers evenly over `total`."""
    return (number + 1) * chosen // total > number * chosen // total


def healthy(due: dict[Key, datetime]) -> dict[Key, datetime]:
    """Those whose heads answer."""
    return {key: moment for key, moment in due.items() if not key[1].startswith("hung-")}


async def pause_until(moment: datetime) -> None:
    """Sleeps until a wall-clock time."""
    await asyncio.sleep(max((moment - utc_now()).total_seconds(), 0))
