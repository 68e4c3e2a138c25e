"""Congestion control: what grows the window, what halves it, and how namespaces share it."""

import asyncio
import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from raysweep.cleanup.congestion import (
    FASTEST_OF,
    LEAST,
    LEAST_WHEN_SLOW,
    MOST,
    Answer,
    CongestionWindow,
    FastestLatency,
    Window,
    next_window,
    pause_after,
)
from raysweep.clients.kubernetes.errors import (
    ApiError,
    BusyError,
    ConflictError,
    ForbiddenError,
    InvalidResponseError,
    NotFoundError,
    NotLeaderError,
    UnreachableError,
)


def _ms(number: float) -> timedelta:
    return timedelta(milliseconds=number)


OK = Answer(_ms(0), _ms(20))
SLOW = replace(OK, is_slow=True)
OVERLOAD = replace(OK, is_overload=True)
IDLE = replace(OK, is_limited=False)
NARROW = Window(size=20)


@pytest.mark.parametrize(
    ("window", "answers", "size"),
    [
        pytest.param(Window(), [], MOST, id="it begins with the most"),
        pytest.param(NARROW, [OK] * 20, 21, id="a window of answers adds one"),
        pytest.param(NARROW, [IDLE] * 100, 20, id="it grows only if cleanups need more"),
        pytest.param(NARROW, [OK] * 5000, MOST, id="it never exceeds the most"),
        pytest.param(NARROW, [OVERLOAD], 10, id="an overload halves it at once"),
        pytest.param(NARROW, [SLOW] * 9, 20, id="a few slow answers prove nothing"),
        pytest.param(NARROW, [SLOW] * 10, 10, id="half of a round trip that is slow halves it"),
        pytest.param(
            NARROW, [*[SLOW] * 9, *[IDLE] * 11, *[SLOW] * 9], 20, id="each round trip counts anew"
        ),
        pytest.param(
            Window(size=6), [SLOW] * 3, LEAST_WHEN_SLOW, id="slow answers leave four places"
        ),
        pytest.param(
            Window(size=2), [SLOW], 2.5, id="below them it grows, however slow the answers are"
        ),
        pytest.param(Window(size=0.2), [OK] * 2, 0.8, id="below 1 it doubles"),
        pytest.param(Window(size=1), [OVERLOAD], 0.5, id="after an overload it may fall below 1"),
        pytest.param(Window(size=0.15), [OVERLOAD], LEAST, id="it never falls below the least"),
    ],
)
def test_what_changes_the_window(window: Window, answers: Iterable[Answer], size: float) -> None:
    for answer in answers:
        window = next_window(window, answer)
    assert window.size == pytest.approx(size, abs=0.1)


def test_the_window_halves_once_per_round_trip() -> None:
    """Of 64 requests in flight all are refused. Those sent after the decrease count again."""
    window = Window(size=64)
    for number in range(64):
        window = next_window(
            window, Answer(_ms(number), _ms(100 + number), is_overload=True, is_limited=True)
        )
    assert (window.size, window.decreased_at) == (32, _ms(100))
    window = next_window(window, Answer(_ms(101), _ms(200), is_overload=True))
    assert window.size == 16


def test_answers_from_before_a_decrease_do_not_grow_the_window() -> None:
    window = next_window(Window(size=8), Answer(_ms(0), _ms(50), is_overload=True))
    assert next_window(window, Answer(_ms(10), _ms(60))) == window


@pytest.mark.parametrize(
    ("size", "latency", "pause"),
    [
        pytest.param(64, 20, 0, id="a window of many"),
        pytest.param(1, 20, 0, id="one request after the other"),
        pytest.param(0.5, 20, 20, id="one request in two round trips"),
        pytest.param(LEAST, 20, 180, id="one request in ten round trips"),
        pytest.param(LEAST, 30_000, 9_000, id="a timeout does not stop cleanups for minutes"),
    ],
)
def test_a_window_below_one_pauses_between_requests(
    size: float, latency: float, pause: float
) -> None:
    assert pause_after(size, _ms(latency)) == _ms(pause)


@pytest.mark.parametrize(
    ("fastest", "latency", "is_slow"),
    [
        pytest.param(20, 60, False, id="3 times as long"),
        pytest.param(20, 299, False, id="15 times as long, but still fast"),
        pytest.param(20, 301, True, id="15 times as long"),
        pytest.param(300, 900, False, id="a distant API server, 3 times as long"),
        pytest.param(300, 901, True, id="a distant API server, longer than 3 times"),
    ],
)
def test_which_answers_are_slow(fastest: float, latency: float, *, is_slow: bool) -> None:
    latencies = FastestLatency()
    latencies.record("GET RayCluster", _ms(fastest), _ms(0))
    assert latencies.is_slow("GET RayCluster", _ms(latency), _ms(0)) is is_slow


def test_each_kind_of_request_has_its_own_fastest_latency() -> None:
    """A webhook that takes 300 ms for each DELETE is no congestion."""
    latencies = FastestLatency()
    latencies.record("GET RayCluster", _ms(5), _ms(0))
    latencies.record("DELETE RayJob", _ms(310), _ms(0))
    assert not latencies.is_slow("DELETE RayJob", _ms(350), _ms(0))


def test_the_fastest_latency_is_forgotten_after_five_to_ten_minutes() -> None:
    """An API server that stays slower is the usual one then."""
    for recorded_at, remembered in ((0, True), (1, True), (2, False)):
        latencies = FastestLatency()
        latencies.record("GET RayCluster", _ms(5), _ms(0))
        now = FASTEST_OF * recorded_at + _ms(1)
        latencies.record("GET RayCluster", _ms(400), now)
        assert latencies.is_slow("GET RayCluster", _ms(400), now) is remembered


@dataclass
class Clock:
    """A monotonic clock. Only sleeping and the tests move it."""

    uptime: timedelta = timedelta(hours=1)
    sleeps: list[float] = field(default_factory=list)

    def now(self) -> timedelta:
        return self.uptime

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.uptime += timedelta(seconds=seconds)


def _a_window() -> tuple[CongestionWindow, Clock]:
    clock = Clock()
    return CongestionWindow(clock.now, clock.sleep), clock


async def _request(
    window: CongestionWindow, clock: Clock, latency: float, error: ApiError | None = None
) -> None:
    """Sends a request that takes so many milliseconds."""
    async with window.request("team-a", "GET RayCluster"):
        clock.uptime += _ms(latency)
        if error:
            raise error


@pytest.mark.parametrize(
    ("error", "size"),
    [
        pytest.param(BusyError("429", code=429), MOST / 2, id="429"),
        pytest.param(BusyError("503", code=503), MOST / 2, id="503"),
        pytest.param(UnreachableError("connection reset"), MOST / 2, id="no answer"),
        pytest.param(NotFoundError("404", code=404), MOST, id="404"),
        pytest.param(ConflictError("409", code=409), MOST, id="409"),
        pytest.param(ForbiddenError("403", code=403), MOST, id="403"),
        pytest.param(InvalidResponseError("not JSON"), MOST, id="an unreadable answer"),
        pytest.param(NotLeaderError("not sent"), MOST, id="a request that was not sent"),
    ],
)
async def test_which_errors_are_congestion(error: ApiError, size: float) -> None:
    window, clock = _a_window()
    with pytest.raises(type(error)):
        await _request(window, clock, 20, error)
    assert window.size == size


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [
        pytest.param(None, 0, id="no Retry-After"),
        pytest.param(7, 7, id="Retry-After of 7 s"),
        pytest.param(90_000, 60, id="a Retry-After of a day pauses all for a minute"),
    ],
)
async def test_retry_after_pauses_the_requests_of_all_namespaces(
    retry_after: int | None, pause: float
) -> None:
    window, clock = _a_window()
    delay = timedelta(seconds=retry_after) if retry_after else None
    with pytest.raises(BusyError):
        await _request(window, clock, 20, BusyError("429", code=429, retry_after=delay))
    began = clock.uptime
    async with window.place("team-b"):
        assert (clock.uptime - began).total_seconds() == pause


async def test_a_deletion_that_has_begun_is_not_paused() -> None:
    """The RayCluster is deleted right after its RayJob, whatever other requests get."""
    window, clock = _a_window()
    busy = BusyError("429", code=429, retry_after=timedelta(seconds=7))
    async with window.place("team-a", urgent=True):
        with pytest.raises(BusyError), window.measure("GET RayCluster"):
            raise busy
        with window.measure("DELETE RayCluster"):
            pass
    assert clock.sleeps == []


async def _narrow(window: CongestionWindow, clock: Clock, size: float) -> None:
    """Halves the window to this size."""
    while window.size > size:
        with pytest.raises(BusyError):
            await _request(window, clock, 20, BusyError("429", code=429))
        clock.uptime += _ms(1)


async def test_an_overloaded_api_server_is_given_pauses_and_recovers() -> None:
    window, clock = _a_window()
    await _narrow(window, clock, LEAST)
    assert clock.sleeps == pytest.approx([0.02, 0.06, 0.14], abs=0.002)
    for _ in range(5):
        await _request(window, clock, 20)
    assert window.size > 1


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Places:
    """Tasks that hold a place until they are ended."""

    def __init__(self, window: CongestionWindow) -> None:
        self.window = window
        self.held: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: list[asyncio.Task[None]] = []

    async def begin(self, *names: str, urgent: bool = False) -> None:
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks.append(asyncio.create_task(self._hold(name, urgent=urgent)))
            await _settle()

    async def end(self, *names: str) -> None:
        for name in names:
            self.ends[name].set()
            await _settle()

    async def _hold(self, name: str, *, urgent: bool) -> None:
        async with self.window.place(name[0], urgent=urgent):
            self.held.append(name)
            await self.ends[name].wait()
        self.held.remove(name)


async def test_a_namespace_holds_at_most_half_of_the_window() -> None:
    window, clock = _a_window()
    await _narrow(window, clock, 8)
    places = Places(window)
    await places.begin("a1", "a2", "a3", "a4", "a5", "a6", "b1")
    assert places.held == ["a1", "a2", "a3", "a4", "b1"]


async def test_namespaces_take_turns_and_deletions_come_before_new_cleanups() -> None:
    window, clock = _a_window()
    await _narrow(window, clock, 1)
    places = Places(window)
    await places.begin("x1", "a1", "a2", "a3", "b1")
    await places.begin("c8", "c9", "d9", urgent=True)
    turns = []
    while places.held:
        turns += places.held
        await places.end(*places.held)
    assert turns == ["x1", "c8", "d9", "c9", "a1", "b1", "a2", "a3"]


async def test_a_window_that_shrinks_waits_for_the_requests_in_flight() -> None:
    window, clock = _a_window()
    await _narrow(window, clock, 8)
    places = Places(window)
    await places.begin("a1", "b1", "c1", "d1", "e1", "f1")
    with pytest.raises(BusyError):
        await _request(window, clock, 20, BusyError("429", code=429))
    await places.begin("g1")
    await places.end("a1", "b1")
    assert places.held == ["c1", "d1", "e1", "f1"]
    await places.end("c1")
    assert places.held == ["d1", "e1", "f1", "g1"]


@dataclass
class Server:
    """A model of an API server and of a client that always has more requests to send.

    Each of `workers` handles one request at a time in `service` milliseconds. The others queue.
    """

    workers: int
    service: Callable[[float], float]
    window: Window = field(default_factory=Window)
    fastest: FastestLatency = field(default_factory=FastestLatency)
    now: float = 0.0
    answered: int = 0
    sizes: list[float] = field(default_factory=list)
    _in_flight: list[tuple[float, float]] = field(default_factory=list)
    _free_at: list[float] = field(default_factory=list)

    def run(self, until: float) -> None:
        """Runs until that time, in milliseconds."""
        while self.now < until:
            while len(self._in_flight) < max(int(self.window.size), 1):
                self._send()
            received_at, sent_at = heapq.heappop(self._in_flight)
            self.now = received_at
            latency, uptime = _ms(received_at - sent_at), _ms(received_at)
            self.fastest.record("GET", latency, uptime)
            is_slow = self.fastest.is_slow("GET", latency, uptime)
            self.window = next_window(self.window, Answer(_ms(sent_at), uptime, is_slow=is_slow))
            self.now += pause_after(self.window.size, latency) / _ms(1)
            self.answered += 1
            self.sizes.append(self.window.size)

    def _send(self) -> None:
        if len(self._free_at) < self.workers:
            begins = self.now
        else:
            begins = max(self.now, heapq.heappop(self._free_at))
        ends = begins + self.service(self.now)
        heapq.heappush(self._free_at, ends)
        heapq.heappush(self._in_flight, (ends, self.now))


@pytest.mark.parametrize(
    ("workers", "service", "most"),
    [
        pytest.param(2, 5, MOST, id="two cores"),
        pytest.param(2, 25, 27, id="two slow cores"),
        pytest.param(8, 20, MOST, id="eight cores"),
        pytest.param(8, 300, 30, id="a distant API server"),
        pytest.param(32, 50, MOST, id="a large API server"),
        pytest.param(1, 400, LEAST_WHEN_SLOW + 1, id="one request after the other"),
    ],
)
def test_the_window_fills_a_server_and_settles(workers: int, service: float, most: float) -> None:
    """At least 0.8 of what the server can do."""
    server = Server(workers, lambda _: service)
    server.run(240_000)
    capacity = workers / service * server.now
    assert server.answered >= 0.8 * capacity
    assert max(server.sizes[len(server.sizes) // 2 :]) <= most


def test_a_server_that_becomes_ten_times_slower_is_relieved_within_seconds_and_recovers() -> None:
    slow_from, slow_until = 20_000, 50_000
    server = Server(8, lambda now: 200 if slow_from <= now < slow_until else 20)
    server.run(slow_from)
    before = server.window.size
    server.run(slow_from + 5_000)
    slowed = server.window.size
    server.run(slow_until + 10_000)
    assert before > 20
    assert slowed <= 8
    assert server.window.size > 20


def test_a_server_that_stays_slower_is_used_again_after_ten_minutes() -> None:
    server = Server(8, lambda now: 20 if now < 20_000 else 200)
    server.run(20_000 + 11 * 60_000)
    assert server.window.size >= 8
