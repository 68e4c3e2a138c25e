"""Which RayJob is to be judged when: a heap of times, one per uid, in which a new time replaces the old. No I/O.

What becomes due all at once waits apart, and takes turns with what becomes due one by one: a change
of a default for 100,000 RayJobs neither holds the event loop nor holds up a single RayJob.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

LONGEST_NAP = timedelta(seconds=30)
"""The wall clock may be set while we sleep; due times are wall-clock times."""
STALE_SHARE, STALE_AT_LEAST = 0.25, 1000
"""The heap is compacted if it holds more replaced times than this share of the valid ones, and
more than this many: few enough to drop in one go, and seldom enough to cost nothing."""


class DelayingQueue:
    """Times by uid. `next` waits for the first that comes."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._heap: list[tuple[float, int, str]] = []  # numbers compare faster than datetimes
        self._when: dict[str, tuple[datetime, int]] = {}
        self._many: dict[str, datetime] = {}  # since when each is due
        self._turns: deque[str] = deque()  # of _many; what was forgotten since is passed over
        self._is_turn_of_many = False
        self._entries = 0
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._when.keys() | self._many.keys())

    def __contains__(self, uid: str) -> bool:
        return uid in self._when or uid in self._many

    def at_of(self, uid: str) -> datetime | None:
        """When this RayJob is to be judged; None where no time is set."""
        found = self._when.get(uid)
        return self._many.get(uid) or (found[0] if found else None)

    def at(self, uid: str, when: datetime) -> None:
        """Judge this RayJob then, whatever was said before."""
        self._entries += 1
        self._many.pop(uid, None)
        self._when[uid] = (when, self._entries)
        heapq.heappush(self._heap, (when.timestamp(), self._entries, uid))
        if len(self._heap) > (1 + STALE_SHARE) * len(self._when) + STALE_AT_LEAST:
            self._compact()
        if self._heap[0][2] == uid:
            self._news.set()

    def overdue(self) -> timedelta:
        """How long the first one has been waiting past its time; 0 where none is."""
        waits = (self._until_first(), self._until_first_of_many())
        return max([timedelta(), *(-wait for wait in waits if wait is not None)])

    def soon(self, uid: str) -> None:
        """Judge this RayJob at once."""
        self.at(uid, self._now())

    def soon_all(self, uids: Iterable[str]) -> None:
        """Judge these RayJobs at once, in turns with what else is due. One that waits keeps its place."""
        many = self._many
        fresh = dict.fromkeys([uid for uid in uids if uid not in many], self._now())
        many |= fresh
        self._turns.extend(fresh)
        if len(self._turns) > 2 * len(many) + STALE_AT_LEAST:
            self._turns = deque(dict.fromkeys(uid for uid in self._turns if uid in many))
        if many:
            self._news.set()

    def without_time(self, uids: Iterable[str]) -> list[str]:
        """Those of these RayJobs that are not to be judged at any time."""
        when, many = self._when, self._many
        return [uid for uid in uids if uid not in when and uid not in many]

    def forget(self, uid: str) -> None:
        """That RayJob is gone."""
        self._when.pop(uid, None)
        self._many.pop(uid, None)

    async def next(self) -> str:
        """The uid whose time has come first; waits for one. It is off the schedule then."""
        while True:
            wait = self._until_first()
            is_due = wait is not None and wait <= timedelta()
            if self._many and (self._is_turn_of_many or not is_due):
                self._is_turn_of_many = False
                uid = self._first_of_many()
                self.forget(uid)
                return uid
            if is_due:
                self._is_turn_of_many = True
                _, _, uid = heapq.heappop(self._heap)
                self.forget(uid)
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
            _, entry, uid = self._heap[0]
            when, valid = self._when.get(uid, (None, 0))
            if when and entry == valid:
                return when - self._now()
            heapq.heappop(self._heap)  # replaced or forgotten since
        return None

    def _until_first_of_many(self) -> timedelta | None:
        return self._many[self._first_of_many()] - self._now() if self._many else None

    def _first_of_many(self) -> str:
        """There must be one."""
        while self._turns[0] not in self._many:
            self._turns.popleft()
        return self._turns[0]

    def _compact(self) -> None:
        """Drops what was replaced or forgotten; its cost is spread over as many new times."""
        valid = {entry for _, entry in self._when.values()}
        self._heap = [item for item in self._heap if item[1] in valid]
        heapq.heapify(self._heap)
