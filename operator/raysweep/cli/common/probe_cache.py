"""The latest looks at Ray heads, for an answer that is shown for long.

A look is repeated from time to time, in the background.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from raysweep.cli.common.probing import AT_ONCE, Asked
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.core.assessment import Assessment

REPEAT_AFTER = timedelta(seconds=30)
"""A head may change its answer although nothing changes on the API server."""
REPEAT_AFTER_CHANGE = timedelta(seconds=5)
"""If the RayJob has changed since the last look."""

TakeProbe = Callable[[str], Awaitable[Assessment | None]]
"""Takes a look for the RayJob of this uid; None if it is gone. Raises ApiError."""


@dataclass(frozen=True, slots=True)
class _CachedProbe:
    """The end of a look, the RayJob's version when it began, and its result."""

    ended_at: float
    resource_version: str
    result: Asked


@dataclass
class ProbeCache:
    """Looks by RayJob. `changed` is set whenever one has ended."""

    take: TakeProbe
    changed: asyncio.Event
    _latest: dict[str, _CachedProbe] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def latest(self, assessment: Assessment) -> Asked:
        """The case with the result of the latest look. Begins another look if one is due."""
        rayjob = assessment.rayjob
        probe, task = self._latest.get(rayjob.uid), self._tasks.get(rayjob.uid)
        if task and task.done():
            task.result()  # raises what must not happen: a task that succeeds removes itself
        if task is None and (probe is None or _is_due(probe, rayjob.resource_version)):
            self._tasks[rayjob.uid] = asyncio.create_task(self._probe(assessment))
        if probe is None or probe.result.assessment.rayjob.cluster_name != rayjob.cluster_name:
            return Asked(assessment)
        return Asked(replace(assessment, probe=probe.result.assessment.probe), probe.result.failed)

    def has_result(self, assessment: Assessment) -> bool:
        """Whether a look at this RayJob has ended."""
        return assessment.rayjob.uid in self._latest

    def keep_only(self, uids: set[str]) -> None:
        """Drops the results for other RayJobs."""
        for uid in self._latest.keys() - uids:
            del self._latest[uid]

    async def end(self) -> None:
        """Waits for the looks in progress."""
        await asyncio.gather(*self._tasks.values())

    async def close(self) -> None:
        """Cancels the looks in progress."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _probe(self, assessment: Assessment) -> None:
        rayjob = assessment.rayjob
        async with self._places:
            try:
                result = Asked(await self.take(rayjob.uid) or assessment)
            except ApiError as error:
                result = Asked(assessment, str(error))
        now = asyncio.get_running_loop().time()
        self._latest[rayjob.uid] = _CachedProbe(now, rayjob.resource_version, result)
        del self._tasks[rayjob.uid]
        self.changed.set()


@contextlib.asynccontextmanager
async def keep_probing(take: TakeProbe, changed: asyncio.Event) -> AsyncIterator[ProbeCache]:
    """Looks until the block ends."""
    probes = ProbeCache(take, changed)
    try:
        yield probes
    finally:
        await probes.close()


def _is_due(probe: _CachedProbe, resource_version: str) -> bool:
    age = asyncio.get_running_loop().time() - probe.ended_at
    is_same = probe.resource_version == resource_version
    least = REPEAT_AFTER if is_same else REPEAT_AFTER_CHANGE
    return age >= least.total_seconds()
