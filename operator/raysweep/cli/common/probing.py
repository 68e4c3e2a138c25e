"""Probes RayClusters and Ray heads, many at once, as the operator does before a deletion."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from raysweep.cleanup.observe import Observer
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.core.assessment import Assessment
from raysweep.submission.progress import Progress

MOST_PROBES_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class ProbedRayJob:
    """An assessment after a probe. error: why the probe failed."""

    assessment: Assessment
    error: str | None = None


async def probe_heads(
    observer: Observer, assessments: Sequence[Assessment], progress: Progress
) -> list[ProbedRayJob]:
    """Probes each of them. RayJobs that do not exist anymore are left out."""
    places = asyncio.Semaphore(MOST_PROBES_AT_ONCE)

    async def probe_in_turn(assessment: Assessment) -> ProbedRayJob | None:
        async with places:
            probed = await _probe(observer, assessment)
            report_done()
            return probed

    with progress.count("asking Ray heads", len(assessments)) as report_done:
        results = await asyncio.gather(*map(probe_in_turn, assessments))
    return [probed for probed in results if probed]


async def _probe(observer: Observer, assessment: Assessment) -> ProbedRayJob | None:
    try:
        probed = await observer.probe(assessment.rayjob.uid)
    except ApiError as error:
        return ProbedRayJob(assessment, str(error))
    return ProbedRayJob(probed) if probed else None
