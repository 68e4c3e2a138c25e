"""Looks at clusters and heads, many at once, as the operator does before a deletion. It only reads, and judges nothing."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raysweep.clients.kubernetes.errors import ApiError
from raysweep.core.assessment import Case
from raysweep.submission.progress import Progress

if TYPE_CHECKING:
    from raysweep.cleanup.observe import Observer  # with it come the clients, which load slowly

AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Asked:
    """A case after a look; `failed` says why none could be taken."""

    case: Case
    failed: str = ""


async def look_at(observer: "Observer", cases: list[Case], progress: Progress) -> list[Asked]:
    """All of them; what vanished meanwhile is left out."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case) -> Asked | None:
        async with places:
            asked = await _look(observer, case)
            done()
            return asked

    with progress.count("asking Ray heads", len(cases)) as done:
        found = await asyncio.gather(*(one(case) for case in cases))
    return [asked for asked in found if asked]


async def _look(observer: "Observer", case: Case) -> Asked | None:
    try:
        seen = await observer.look(case.rayjob.uid)
    except ApiError as error:
        return Asked(case, str(error))
    return Asked(seen) if seen else None
