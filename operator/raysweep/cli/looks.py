"""What Ray heads said lately, for an answer that is shown for long: each is asked again now and then, never all the time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from raysweep.cli.asked import AT_ONCE, Asked
from raysweep.clients.errors import ApiError
from raysweep.core.case import Case

LOOK_AGAIN_AFTER = timedelta(seconds=30)
"""A head may say something else though nothing changed on the API server."""
NO_SOONER_THAN = timedelta(seconds=5)
"""After the last look at a RayJob that changed since."""

TakeLook = Callable[[str], Awaitable[Case | None]]


@dataclass(frozen=True, slots=True)
class _Taken:
    """A look: when it ended, at which version of the RayJob, and what it showed."""

    ended_at: float
    resource_version: str
    asked: Asked


@dataclass
class Looks:
    """Looks at heads in the background. `changed` is set whenever one has ended."""

    take: TakeLook
    changed: asyncio.Event
    _taken: dict[str, _Taken] = field(default_factory=dict)
    _under_way: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def latest(self, case: Case) -> Asked:
        """The case with what the last look at its head showed. Begins another look if that is due."""
        uid, version = case.rayjob.uid, case.rayjob.resource_version
        taken, task = self._taken.get(uid), self._under_way.get(uid)
        if task and task.done():
            task.result()
        if task is None and (taken is None or self._is_old(taken, version)):
            self._under_way[uid] = asyncio.create_task(self._look(case))
        if taken is None or taken.asked.case.rayjob.cluster_name != case.rayjob.cluster_name:
            return Asked(case)
        return Asked(replace(case, look=taken.asked.case.look), taken.asked.failed)

    def has_taken(self, case: Case) -> bool:
        """Whether a look at this RayJob has ended."""
        return case.rayjob.uid in self._taken

    async def end_of_first(self) -> None:
        """Waits for the looks that are under way."""
        await asyncio.gather(*self._under_way.values())

    def forget_all_but(self, uids: set[str]) -> None:
        """Drops what is known of other RayJobs."""
        for uid in self._taken.keys() - uids:
            del self._taken[uid]

    def _is_old(self, taken: _Taken, version: str) -> bool:
        age = asyncio.get_running_loop().time() - taken.ended_at
        least = LOOK_AGAIN_AFTER if taken.resource_version == version else NO_SOONER_THAN
        return age >= least.total_seconds()

    async def _look(self, case: Case) -> None:
        uid = case.rayjob.uid
        async with self._places:
            try:
                asked = Asked(await self.take(uid) or case)
            except ApiError as error:
                asked = Asked(case, str(error))
        now = asyncio.get_running_loop().time()
        self._taken[uid] = _Taken(now, case.rayjob.resource_version, asked)
        del self._under_way[uid]  # an error of ours leaves it there, and `latest` raises it
        self.changed.set()


@contextlib.asynccontextmanager
async def looking(take: TakeLook, changed: asyncio.Event) -> AsyncIterator[Looks]:
    """Looks that are under way when the block ends are given up."""
    looks = Looks(take, changed)
    try:
        yield looks
    finally:
        tasks = list(looks._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
