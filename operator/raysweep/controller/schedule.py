"""Which RayJob is to be judged when: a heap of times, one per uid, in which a new time replaces the old. No I/O."""

import asyncio
import heapq
from collections.abc import Callable
from datetime import datetime, timedelta

LONGEST_NAP = timedelta(seconds=30)
"""The wall clock may be set while we sleep; due times are wall-clock times."""


class Schedule:
    """Times by uid. `next` waits for the first that comes."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._heap: list[tuple[datetime, int, str]] = []
        self._when: dict[str, tuple[datetime, int]] = {}
        self._entries = 0
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._when)

    def __contains__(self, uid: str) -> bool:
        return uid in self._when

    def at_of(self, uid: str) -> datetime | None:
        """When this RayJob is to be judged; None where no time is set."""
        found = self._when.get(uid)
        return found[0] if found else None

    def at(self, uid: str, when: datetime) -> None:
        """Judge this RayJob then, whatever was said before."""
        self._entries += 1
        self._when[uid] = (when, self._entries)
        heapq.heappush(self._heap, (when, self._entries, uid))
        if self._heap[0][2] == uid:
            self._news.set()

    def overdue(self) -> timedelta:
        """How long the first one has been waiting past its time; 0 where none is."""
        wait = self._until_first()
        return max(-wait, timedelta()) if wait is not None else timedelta()

    def soon(self, uid: str) -> None:
        """Judge this RayJob at once."""
        self.at(uid, self._now())

    def forget(self, uid: str) -> None:
        """That RayJob is gone."""
        self._when.pop(uid, None)

    async def next(self) -> str:
        """The uid whose time has come first; waits for one. It is off the schedule then."""
        while True:
            wait = self._until_first()
            if wait is not None and wait <= timedelta():
                _, _, uid = heapq.heappop(self._heap)
                del self._when[uid]
                return uid
            self._news.clear()
            nap = LONGEST_NAP if wait is None else min(wait, LONGEST_NAP)
            try:
                async with asyncio.timeout(nap.total_seconds()):
                    await self._news.wait()
            except TimeoutError:
                continue

    def _until_first(self) -> timedelta | None:
        while self._heap:
            when, entry, uid = self._heap[0]
            if self._when.get(uid) == (when, entry):
                return when - self._now()
            heapq.heappop(self._heap)  # replaced or forgotten since
        return None
