"""Looks at clusters and heads, many at once, as the operator does before a deletion. It only reads, and judges nothing."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raysweep.clients.kubernetes.errors import ApiError
from raysweep.core.assessment import Assessment
from raysweep.submission.progress import Progress

if TYPE_CHECKING:
    from raysweep.cleanup.observe import Observer  # with it come the clients, which load slowly

AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Asked:
    """A case after a look; `failed` says why none could be taken."""

    assessment: Assessment
    failed: str = ""


async def probe_heads(
    observer: "Observer", assessments: list[Assessment], progress: Progress
) -> list[Asked]:
    """All of them; what vanished meanwhile is left out."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(assessment: Assessment) -> Asked | None:
        async with places:
            asked = await _probe(observer, assessment)
            done()
            return asked

    with progress.count("asking Ray heads", len(assessments)) as done:
        found = await asyncio.gather(*(one(assessment) for assessment in assessments))
    return [asked for asked in found if asked]


async def _probe(observer: "Observer", assessment: Assessment) -> Asked | None:
    try:
        seen = await observer.probe(assessment.rayjob.uid)
    except ApiError as error:
        return Asked(assessment, str(error))
    return Asked(seen) if seen else None
