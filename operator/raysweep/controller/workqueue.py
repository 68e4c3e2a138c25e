"""Work queues in the manner of client-go. No I/O."""

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

Item = TypeVar("Item", bound=Any)

LONGEST_SLEEP = timedelta(seconds=30)
"""Due times are wall-clock times, and the wall clock may be set while a queue sleeps."""
STALE_SHARE, STALE_MINIMUM = 0.25, 1000
"""A heap is compacted if it holds more stale entries than this share of its valid ones, and more
than this number. Few enough to drop at once, and rarely enough to cost nothing."""


class FairQueue(Generic[Item]):
    """A queue that takes turns by key. Within one key the smallest item comes first.

    in_progress_per_key: how many items of one key may be in progress. Call `done` for each.
    max_waiting: how many items may wait in total. If more do, the key with the most loses one.
    """

    def __init__(
        self, *, in_progress_per_key: int | None = None, max_waiting: int | None = None
    ) -> None:
        self._in_progress_per_key = in_progress_per_key
        self._max_waiting = max_waiting
        self._ready: OrderedDict[str, list[Item]] = OrderedDict()
        self._paused: dict[str, list[Item]] = {}  # keys that reached their limit in progress
        self._in_progress: dict[str, int] = {}
        self._waiting = 0
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return self._waiting

    def add(self, key: str, item: Item) -> bool:
        """Adds an item. False: the queue was full, and an item was dropped, perhaps this one."""
        has_room = self._max_waiting is None or self._waiting < self._max_waiting
        if not has_room and not self._drop_from_longest(key):
            return False
        items = self._paused.get(key)
        if items is None:
            items = self._ready.setdefault(key, [])
            self._changed.set()
        heapq.heappush(items, item)
        self._waiting += 1
        return has_room

    async def wait(self) -> None:
        """Waits until `get` has an item to return."""
        while not self._ready:
            self._changed.clear()
            await self._changed.wait()

    def get(self) -> tuple[str, Item]:
        """Takes the first item of the next key. At least one item must be ready."""
        key, items = next(iter(self._ready.items()))
        item = heapq.heappop(items)
        self._waiting -= 1
        self._ready.move_to_end(key)  # all other keys come first now
        if self._start(key):
            self._paused[key] = self._ready.pop(key)
        elif not items:
            del self._ready[key]
        return key, item

    def done(self, key: str) -> None:
        """Ends the progress of one item of this key."""
        self._in_progress[key] -= 1
        if not self._in_progress[key]:
            del self._in_progress[key]
        items = self._paused.pop(key, None)
        if items:
            self._ready[key] = items
            self._changed.set()

    def _start(self, key: str) -> bool:
        """Counts an item as in progress. True if its key has reached the limit."""
        if self._in_progress_per_key is None:
            return False
        self._in_progress[key] = self._in_progress.get(key, 0) + 1
        return self._in_progress[key] >= self._in_progress_per_key

    def _drop_from_longest(self, key: str) -> bool:
        """Drops the last leaf of the longest heap. False if no key has more items than this one."""
        longest = max(self._ready, key=lambda name: len(self._ready[name]), default=key)
        items = self._ready.get(longest, [])
        if len(items) <= len(self._ready.get(key, ())):
            return False
        items.pop()
        self._waiting -= 1
        if not items:
            del self._ready[longest]
        return True


class UniqueFairQueue:
    """A FairQueue of RayJobs, keyed by namespace. Each uid waits at most once.

    in_progress_per_namespace: how many RayJobs of one namespace may be in progress, so that slow
    heads of one namespace do not take every worker. Call `done` for each.
    """

    def __init__(self, in_progress_per_namespace: int | None = None) -> None:
        self._queue: FairQueue[tuple[datetime, str]] = FairQueue(
            in_progress_per_key=in_progress_per_namespace
        )
        self._waiting: set[str] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, uid: str) -> bool:
        return uid in self._waiting

    def add(self, namespace: str, uid: str, due_at: datetime) -> None:
        """Adds a RayJob. If it waits already, it keeps its place."""
        if uid in self._waiting:
            return
        self._waiting.add(uid)
        self._queue.add(namespace, (due_at, uid))

    async def wait(self) -> None:
        """Waits until `get` has a RayJob to return."""
        await self._queue.wait()

    def get(self) -> tuple[str, str]:
        """Takes the next RayJob: its namespace and its uid. At least one must be ready."""
        namespace, (_, uid) = self._queue.get()
        self._waiting.discard(uid)
        return namespace, uid

    def done(self, namespace: str) -> None:
        """Ends the progress of one RayJob of this namespace."""
        self._queue.done(namespace)


class DelayingQueue:
    """Releases each uid at its time. A new time replaces the previous time of the same uid.

    `add_all` keeps uids apart from those added one by one, and `get` alternates between the two.
    A changed default for 100,000 RayJobs therefore neither blocks the event loop nor delays a
    single RayJob.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._heap: list[tuple[float, int, str]] = []  # numbers compare faster than datetimes
        self._single: dict[str, tuple[datetime, int]] = {}  # time and number of the valid entry
        self._bulk: dict[str, datetime] = {}  # since when each is due
        self._bulk_order: deque[str] = deque()  # may hold uids that have left _bulk
        self._is_turn_of_bulk = False
        self._last_entry = 0
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._single.keys() | self._bulk.keys())

    def __contains__(self, uid: str) -> bool:
        return uid in self._single or uid in self._bulk

    def due_at(self, uid: str) -> datetime | None:
        """When this RayJob will be judged. None if it is not in the queue."""
        if uid in self._bulk:
            return self._bulk[uid]
        entry = self._single.get(uid)
        return entry[0] if entry else None

    def add(self, uid: str) -> None:
        """Makes this RayJob due now."""
        self.add_at(uid, self._now())

    def add_at(self, uid: str, time: datetime) -> None:
        """Makes this RayJob due at that time."""
        self._last_entry += 1
        self._bulk.pop(uid, None)
        self._single[uid] = (time, self._last_entry)
        heapq.heappush(self._heap, (time.timestamp(), self._last_entry, uid))
        if len(self._heap) > (1 + STALE_SHARE) * len(self._single) + STALE_MINIMUM:
            self._compact()
        if self._heap[0][2] == uid:
            self._changed.set()

    def add_all(self, uids: Iterable[str]) -> None:
        """Makes these RayJobs due now. One that waits in bulk already keeps its place."""
        bulk = self._bulk
        added = dict.fromkeys([uid for uid in uids if uid not in bulk], self._now())
        bulk |= added
        self._bulk_order.extend(added)
        if len(self._bulk_order) > 2 * len(bulk) + STALE_MINIMUM:
            self._bulk_order = deque(dict.fromkeys(uid for uid in self._bulk_order if uid in bulk))
        if bulk:
            self._changed.set()

    def missing(self, uids: Iterable[str]) -> list[str]:
        """Those of these uids that are not in the queue."""
        single, bulk = self._single, self._bulk
        return [uid for uid in uids if uid not in single and uid not in bulk]

    def overdue(self) -> timedelta:
        """How long the first RayJob has been due. 0 if none is."""
        waits = (self._until_first(), self._until_first_of_bulk())
        return max([timedelta(), *(-wait for wait in waits if wait is not None)])

    def remove(self, uid: str) -> None:
        """Removes this RayJob from the queue, if it is there."""
        self._single.pop(uid, None)
        self._bulk.pop(uid, None)

    async def get(self) -> str:
        """Waits for the first RayJob that is due, and removes it from the queue."""
        while True:
            wait = self._until_first()
            is_due = wait is not None and wait <= timedelta()
            if self._bulk and (self._is_turn_of_bulk or not is_due):
                self._is_turn_of_bulk = False
                uid = self._first_of_bulk()
                self.remove(uid)
                return uid
            if is_due:
                self._is_turn_of_bulk = True
                _, _, uid = heapq.heappop(self._heap)
                self.remove(uid)
                return uid
            await self._sleep(LONGEST_SLEEP if wait is None else min(wait, LONGEST_SLEEP))

    async def _sleep(self, longest: timedelta) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(longest.total_seconds()):
                await self._changed.wait()
        except TimeoutError:
            return

    def _until_first(self) -> timedelta | None:
        while self._heap:
            _, entry, uid = self._heap[0]
            time, valid_entry = self._single.get(uid, (None, 0))
            if time and entry == valid_entry:
                return time - self._now()
            heapq.heappop(self._heap)  # stale: replaced or removed
        return None

    def _until_first_of_bulk(self) -> timedelta | None:
        return self._bulk[self._first_of_bulk()] - self._now() if self._bulk else None

    def _first_of_bulk(self) -> str:
        """The first uid of the bulk. There must be one."""
        while self._bulk_order[0] not in self._bulk:
            self._bulk_order.popleft()
        return self._bulk_order[0]

    def _compact(self) -> None:
        """Drops stale entries. Its cost is spread over as many calls of `add_at`."""
        valid = {entry for _, entry in self._single.values()}
        self._heap = [item for item in self._heap if item[1] in valid]
        heapq.heapify(self._heap)


class ItemBackoff:
    """Delays after failures, per item. They double from `first` to `last`."""

    def __init__(self, first: timedelta, last: timedelta) -> None:
        self._first = first
        self._last = last
        self._failures: dict[str, int] = {}

    def after_failure(self, uid: str, at_least: timedelta | None = None) -> timedelta:
        """Counts a failure and returns the delay. at_least: the server's Retry-After."""
        failures = self._failures.get(uid, 0)
        self._failures[uid] = failures + 1
        delay = min(self._first * (1 << min(failures, 30)), self._last)
        return max(delay, at_least or timedelta())

    def forget(self, uid: str) -> None:
        """Resets the delay, after a success or when the item is gone."""
        self._failures.pop(uid, None)
