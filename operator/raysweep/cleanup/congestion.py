"""Congestion control: limits how many requests of cleanups the API server handles at once.

The pace is additive increase and multiplicative decrease (AIMD), as in TCP: the window halves if
the API server is slow or overloaded, and grows again while it answers as fast as usual.
docs/decisions/0029-pace.md explains the constants.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

from raysweep.clients.fair_semaphore import FairSemaphore
from raysweep.clients.kubernetes.errors import (
    ApiError,
    BusyError,
    NotLeaderError,
    UnreachableError,
)

MOST = 32.0
LEAST_WHEN_SLOW = 4.0
"""Slow answers alone shrink the window no further: the API server may only be far away."""
LEAST = 0.1
"""A window below 1 is one request with a pause after it: 0.1 is one request in ten round trips."""
DECREASE = 0.5
FAST = timedelta(milliseconds=300)
"""A faster answer is never slow."""
SLOWER = 3
"""A slow answer takes more than this many times the fastest latency."""
FASTEST_OF = timedelta(minutes=5)
"""The fastest latency is that of the last one to two periods of this length."""
LONGEST_ROUND_TRIP = timedelta(seconds=1)
"""A window below 1 pauses for at most nine round trips of this length."""
LONGEST_RETRY_AFTER = timedelta(minutes=1)
"""A longer Retry-After delays only its own RayJob."""


@dataclass(frozen=True, slots=True)
class Window:
    """How many requests may be in flight, and what the current round trip has shown.

    size: from LEAST to MOST.
    decreased_at: the uptime of the last decrease.
    answers, slow_answers: of this round trip. It ends after as many answers as the window allows.
    """

    size: float = MOST
    decreased_at: timedelta = timedelta()
    answers: int = 0
    slow_answers: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one request, with its uptimes.

    is_overload: 429, 5xx, or no answer.
    is_slow: it took much longer than usual.
    is_limited: more requests would be in flight if the window were larger.
    """

    sent_at: timedelta
    received_at: timedelta
    is_overload: bool = False
    is_slow: bool = False
    is_limited: bool = True


def next_window(window: Window, answer: Answer) -> Window:
    """The window after an answer.

    It halves at the first overload, or once half of a round trip is slow: a single slow answer
    proves nothing. It halves at most once per round trip, because answers to requests that were
    sent before the last decrease say nothing about the smaller window. It grows only if cleanups
    need more: by one in a round trip, and below 1 it doubles.
    """
    if answer.sent_at < window.decreased_at:
        return window
    if answer.is_overload:
        return Window(max(window.size * DECREASE, LEAST), decreased_at=answer.received_at)
    is_slow = answer.is_slow and window.size > LEAST_WHEN_SLOW
    answers, slow_answers = window.answers + 1, window.slow_answers + is_slow
    if is_slow and slow_answers >= window.size / 2:
        size = max(window.size * DECREASE, LEAST_WHEN_SLOW)
        return Window(size, decreased_at=answer.received_at)
    size = window.size
    if answer.is_limited and not is_slow:
        size = min(size + min(size, 1 / size), MOST)
    if answers >= window.size:
        answers, slow_answers = 0, 0
    return replace(window, size=size, answers=answers, slow_answers=slow_answers)


def pause_after(size: float, latency: timedelta) -> timedelta:
    """How long a window below 1 waits after an answer before it sends the next request."""
    if size >= 1:
        return timedelta()
    return min(latency, LONGEST_ROUND_TRIP) * (1 / size - 1)


@dataclass
class FastestLatency:
    """The fastest latency of each kind of request, of the current and the previous period."""

    _period: int = 0
    _current: dict[str, timedelta] = field(default_factory=dict)
    _previous: dict[str, timedelta] = field(default_factory=dict)

    def record(self, kind: str, latency: timedelta, uptime: timedelta) -> None:
        """Records the latency of a success. Errors may be faster than what they refuse."""
        self._rotate(uptime)
        self._current[kind] = min(latency, self._current.get(kind, latency))

    def is_slow(self, kind: str, latency: timedelta, uptime: timedelta) -> bool:
        """Whether a request of this kind took much longer than usual."""
        self._rotate(uptime)
        fastest = min(self._current.get(kind, latency), self._previous.get(kind, latency))
        return latency > FAST and latency > SLOWER * fastest

    def _rotate(self, uptime: timedelta) -> None:
        period = uptime // FASTEST_OF
        if period == self._period:
            return
        self._previous = self._current if period == self._period + 1 else {}
        self._current = {}
        self._period = period


def _uptime() -> timedelta:
    return timedelta(seconds=time.monotonic())


class CongestionWindow:
    """The places of the requests that cleanups send to the API server, shared by all namespaces.

    A place is held for requests that follow one another, and never while a head is asked.
    """

    def __init__(
        self,
        uptime: Callable[[], timedelta] = _uptime,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`uptime` is a monotonic clock. `sleep` waits for some seconds of that clock."""
        self._uptime = uptime
        self._sleep = sleep
        self._window = Window()
        self._fastest = FastestLatency()
        self._paused_until = timedelta()
        self._places = FairSemaphore(*_limits(self._window))

    @property
    def size(self) -> float:
        """How many requests may be in flight."""
        return self._window.size

    @contextlib.asynccontextmanager
    async def request(self, namespace: str, kind: str) -> AsyncIterator[None]:
        """Waits for a place, holds it during one request, and measures the request."""
        async with self.place(namespace):
            with self.measure(kind):
                yield

    @contextlib.asynccontextmanager
    async def place(self, namespace: str, *, urgent: bool = False) -> AsyncIterator[None]:
        """Waits for a place and the end of a pause, and holds the place during the block.

        urgent: for a deletion whose head has answered, and for the Pods of a deleted RayCluster. It
        comes before the reads of cleanups that begin, so that the answer of the head is recent.
        """
        async with self._places.hold(namespace, urgent=urgent):
            while (pause := self._paused_until - self._uptime()) > timedelta():
                await self._sleep(pause.total_seconds())
            yield

    @contextlib.contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        """Measures one request, such as "DELETE RayJob", and adapts the window to its end.

        Kinds have latencies of their own, because only writes wait for etcd and webhooks.
        """
        sent_at = self._uptime()
        try:
            yield
        except NotLeaderError:  # the request was not sent
            raise
        except ApiError as error:
            self._end(kind, sent_at, error)
            raise
        self._end(kind, sent_at)

    def _end(self, kind: str, sent_at: timedelta, error: ApiError | None = None) -> None:
        received_at = self._uptime()
        latency = received_at - sent_at
        if error is None:
            self._fastest.record(kind, latency, received_at)
        is_overload = isinstance(error, BusyError | UnreachableError)
        answer = Answer(
            sent_at,
            received_at,
            is_overload=is_overload,
            is_slow=self._fastest.is_slow(kind, latency, received_at),
            is_limited=self._places.locked() or self._places.has_waiters(),
        )
        self._window = next_window(self._window, answer)
        self._places.resize(*_limits(self._window))
        self._pause(received_at, pause_after(self._window.size, latency))
        if error and error.retry_after and is_overload:
            self._pause(received_at, min(error.retry_after, LONGEST_RETRY_AFTER))

    def _pause(self, now: timedelta, pause: timedelta) -> None:
        """Sends no first request of a place until then. A deletion that has begun goes on."""
        if pause:
            self._paused_until = max(self._paused_until, now + pause)


def _limits(window: Window) -> tuple[int, int]:
    """How many places there are, and how many of them one namespace may hold."""
    size = max(int(window.size), 1)
    return size, max(size // 2, 1)
