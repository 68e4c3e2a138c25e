"""How fast: a token bucket, and who is next for a token: round-robin over namespaces, the oldest due first within one."""

import asyncio
import heapq
import time
from collections import OrderedDict
from datetime import datetime, timedelta


class Bucket:
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


class Line:
    """RayJobs that wait for their turn. A uid stands in it once."""

    def __init__(self) -> None:
        self._namespaces: OrderedDict[str, list[tuple[datetime, str]]] = OrderedDict()
        self._waiting: set[str] = set()
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, uid: str) -> bool:
        return uid in self._waiting

    def join(self, namespace: str, uid: str, due_at: datetime) -> None:
        """Stands in line; who stands there already keeps the place."""
        if uid in self._waiting:
            return
        self._waiting.add(uid)
        heapq.heappush(self._namespaces.setdefault(namespace, []), (due_at, uid))
        self._news.set()

    async def wait(self) -> None:
        """Until somebody stands in line."""
        while not self._namespaces:
            self._news.clear()
            await self._news.wait()

    def next(self) -> str:
        """Whose turn it is. Somebody must stand in line."""
        namespace, line = next(iter(self._namespaces.items()))
        _, uid = heapq.heappop(line)
        self._waiting.discard(uid)
        self._namespaces.move_to_end(namespace)  # every other namespace comes before this one again
        if not line:
            del self._namespaces[namespace]
        return uid


class Backoffs:
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
