"""How fast, and who is next: a token bucket, waits after failures, and queues that take turns by namespace."""

import asyncio
import heapq
import time
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

Item = TypeVar("Item", bound=Any)


class TokenBucket:
    """So many at once, so many per second after that. A token that was not needed can be given back."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._tokens = float(burst)
        self._counted_at = time.monotonic()

    async def take(self) -> None:
        """Waits for a token and takes it."""
        while not self.take_if_there():  # noqa: ASYNC110 - tokens come with time, there is no event to wait for
            await asyncio.sleep((1 - self._tokens) / self._per_second)

    def take_if_there(self) -> bool:
        """Takes a token if there is one."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._counted_at) * self._per_second)
        self._counted_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def close(self) -> None:
        """There are no tokens any more."""
        self._burst = 0.0

    def give_back(self) -> None:
        """Nothing came of it."""
        self._tokens = min(self._burst, self._tokens + 1)


class FairQueue(Generic[Item]):
    """Items that wait, in turns by key; of one key the smallest comes first.

    at_once: how many of one key may be in hand; give each back by `release`. at_most: how many may
    wait in all; if there are more, the key with the most of them loses one.
    """

    def __init__(self, *, at_once: int | None = None, at_most: int | None = None) -> None:
        self._at_once = at_once
        self._at_most = at_most
        self._ready: OrderedDict[str, list[Item]] = OrderedDict()
        self._paused: dict[str, list[Item]] = {}  # so many are in hand that others come first
        self._in_hand: dict[str, int] = {}
        self._waiting = 0
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return self._waiting

    def join(self, key: str, item: Item) -> bool:
        """Waits for its turn. False: there was no room, and an item was dropped, maybe this one."""
        has_room = self._at_most is None or self._waiting < self._at_most
        if not has_room and not self._make_room_for(key):
            return False
        waiting = self._paused.get(key)
        if waiting is None:
            waiting = self._ready.setdefault(key, [])
            self._news.set()
        heapq.heappush(waiting, item)
        self._waiting += 1
        return has_room

    async def wait(self) -> None:
        """Until there is one whose turn it can be."""
        while not self._ready:
            self._news.clear()
            await self._news.wait()

    def next(self) -> tuple[str, Item]:
        """The key whose turn it is, and its first item. There must be one."""
        key, waiting = next(iter(self._ready.items()))
        item = heapq.heappop(waiting)
        self._waiting -= 1
        self._ready.move_to_end(key)  # every other key comes before this one again
        if self._at_once is not None:
            self._in_hand[key] = self._in_hand.get(key, 0) + 1
        if self._at_once is not None and self._in_hand[key] >= self._at_once:
            self._paused[key] = self._ready.pop(key)
        elif not waiting:
            del self._ready[key]
        return key, item

    def release(self, key: str) -> None:
        """An item of this key is no longer in hand."""
        self._in_hand[key] -= 1
        if not self._in_hand[key]:
            del self._in_hand[key]
        waiting = self._paused.pop(key, None)
        if waiting:
            self._ready[key] = waiting
            self._news.set()

    def _make_room_for(self, key: str) -> bool:
        """Whether another key has more, and lost a late one of them: the last leaf of its heap."""
        longest = max(self._ready, key=lambda each: len(self._ready[each]), default=key)
        items = self._ready.get(longest, [])
        if len(items) <= len(self._ready.get(key, ())):
            return False
        items.pop()
        self._waiting -= 1
        if not items:
            del self._ready[longest]
        return True


class Line:
    """RayJobs that wait for their turn. A uid stands in it once.

    at_once: how many RayJobs of one namespace may be in hand, so that slow heads of one namespace
    do not take every place; call `release` for each that was taken.
    """

    def __init__(self, at_once: int | None = None) -> None:
        self._queue: FairQueue[tuple[datetime, str]] = FairQueue(at_once=at_once)
        self._waiting: set[str] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, uid: str) -> bool:
        return uid in self._waiting

    def join(self, namespace: str, uid: str, due_at: datetime) -> None:
        """Stands in line; who stands there already keeps the place."""
        if uid in self._waiting:
            return
        self._waiting.add(uid)
        self._queue.join(namespace, (due_at, uid))

    async def wait(self) -> None:
        """Until there is one whose turn it can be."""
        await self._queue.wait()

    def next(self) -> str:
        """Whose turn it is. There must be one."""
        return self.turn()[1]

    def turn(self) -> tuple[str, str]:
        """The namespace whose turn it is, and the RayJob. There must be one."""
        namespace, (_, uid) = self._queue.next()
        self._waiting.discard(uid)
        return namespace, uid

    def release(self, namespace: str) -> None:
        """A RayJob of this namespace is no longer in hand."""
        self._queue.release(namespace)


class ItemBackoff:
    """Waits after failures, per object, that double from `first` to `last`; a success forgets them."""

    def __init__(self, first: timedelta, last: timedelta) -> None:
        self._first = first
        self._last = last
        self._failures: dict[str, int] = {}

    def after_failure(self, uid: str, at_least: timedelta | None = None) -> timedelta:
        """How long to wait now; at_least: what the server asked for (Retry-After)."""
        times = self._failures.get(uid, 0)
        self._failures[uid] = times + 1
        return max(min(self._first * (1 << min(times, 30)), self._last), at_least or timedelta())

    def forget(self, uid: str) -> None:
        """It went well, or is gone."""
        self._failures.pop(uid, None)
