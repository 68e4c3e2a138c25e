"""The latest probes of Ray heads, for an answer that stays current.

Probes are repeated in the background.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from raysweep.cli.common.probing import MOST_PROBES_AT_ONCE, ProbedRayJob
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.core.assessment import Assessment

REPEAT_AFTER = timedelta(seconds=30)
"""A head may change its answer although nothing changes on the API server."""
REPEAT_AFTER_CHANGE = timedelta(seconds=5)
"""If the RayJob has changed since the last probe."""

Probe = Callable[[str], Awaitable[Assessment | None]]
"""Probes for the RayJob with this uid. Returns None if it does not exist. Raises ApiError."""


@dataclass(frozen=True, slots=True)
class _CachedProbe:
    """The end of a probe, the RayJob's version when it began, and its result."""

    ended_at: float
    resource_version: str
    result: ProbedRayJob


@dataclass
class ProbeCache:
    """The latest probe of each RayJob. `changed` is set when a probe ends."""

    probe: Probe
    changed: asyncio.Event
    _latest: dict[str, _CachedProbe] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _places: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(MOST_PROBES_AT_ONCE)
    )

    def latest(self, assessment: Assessment) -> ProbedRayJob:
        """The assessment with the result of the latest probe. Begins another probe if it is due."""
        rayjob = assessment.rayjob
        cached, task = self._latest.get(rayjob.uid), self._tasks.get(rayjob.uid)
        if task and task.done():
            task.result()  # raises: a task that succeeds removes itself
        if task is None and (cached is None or _is_due(cached, rayjob.resource_version)):
            self._tasks[rayjob.uid] = asyncio.create_task(self._run(assessment))
        if cached is None:
            return ProbedRayJob(assessment)
        probed = cached.result.assessment
        if probed.rayjob.cluster_name != rayjob.cluster_name:
            return ProbedRayJob(assessment)
        return ProbedRayJob(replace(assessment, probe=probed.probe), cached.result.error)

    def has_result(self, assessment: Assessment) -> bool:
        """Whether a probe for this RayJob has ended."""
        return assessment.rayjob.uid in self._latest

    def keep_only(self, uids: set[str]) -> None:
        """Drops the results for other RayJobs."""
        for uid in self._latest.keys() - uids:
            del self._latest[uid]

    async def end(self) -> None:
        """Waits for the probes in progress."""
        await asyncio.gather(*self._tasks.values())

    async def close(self) -> None:
        """Cancels the probes in progress."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, assessment: Assessment) -> None:
        rayjob = assessment.rayjob
        async with self._places:
            try:
                result = ProbedRayJob(await self.probe(rayjob.uid) or assessment)
            except ApiError as error:
                result = ProbedRayJob(assessment, str(error))
        now = asyncio.get_running_loop().time()
        self._latest[rayjob.uid] = _CachedProbe(now, rayjob.resource_version, result)
        del self._tasks[rayjob.uid]
        self.changed.set()


@contextlib.asynccontextmanager
async def keep_probing(probe: Probe, changed: asyncio.Event) -> AsyncIterator[ProbeCache]:
    """A cache whose probes are repeated until the block ends."""
    probes = ProbeCache(probe, changed)
    try:
        yield probes
    finally:
        await probes.close()


def _is_due(probe: _CachedProbe, resource_version: str) -> bool:
    age = asyncio.get_running_loop().time() - probe.ended_at
    is_same = probe.resource_version == resource_version
    least = REPEAT_AFTER if is_same else REPEAT_AFTER_CHANGE
    return age >= least.total_seconds()
