"""Looks at clusters and heads, many at once, as the operator does before a deletion, and judges again. It only reads."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from raysweep.cli.outlook import Outlook, foresee
from raysweep.clients.errors import ApiError

if TYPE_CHECKING:
    from raysweep.cleanup.observe import Observer  # with it come the clients, which load slowly

AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Asked:
    """An outlook after a look; `failed` says why none could be taken."""

    outlook: Outlook
    failed: str = ""


async def look_at(observer: "Observer", outlooks: list[Outlook], now: datetime) -> dict[str, Asked]:
    """By uid; what vanished meanwhile is left out."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(outlook: Outlook) -> tuple[str, Asked | None]:
        async with places:
            return outlook.case.rayjob.uid, await _look(observer, outlook, now)

    found = await asyncio.gather(*(one(outlook) for outlook in outlooks))
    return {uid: asked for uid, asked in found if asked}


async def _look(observer: "Observer", outlook: Outlook, now: datetime) -> Asked | None:
    try:
        case = await observer.look(outlook.case.rayjob.uid)
    except ApiError as error:
        return Asked(outlook, str(error))
    return Asked(foresee(case, max(now, observer.now()))) if case else None
