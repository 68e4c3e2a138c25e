"""Limits on probes: the places of asked and silent heads, and the memory of bodies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp import web

from raysweep.clients.fair_semaphore import FairSemaphore
from raysweep.clients.ray.probe_limits import (
    ASKED,
    LARGE,
    LIST_CAP,
    ONE_CAP,
    SILENT,
    SMALL,
    SMALL_PLACES,
    TINY,
    UNPLACED,
    ProbeLimits,
)
from raysweep.core.model.facts import HeadList, HeadSilent
from sandbox.waiting import until
from tests.support.builders import END, a_raycluster
from tests.support.scripted_api import Answer, json_response
from tests.support.scripted_head import MIB, Head, scripted_head

WAIT = 90
AT_ONCE, NEVER = timedelta(milliseconds=1), timedelta(hours=1)
ANSWERED = HeadList((), END)


def some_limits(
    asked: tuple[int, int] = (4, 2),
    silent: tuple[int, int] = (64, 64),
    patience: timedelta = AT_ONCE,
) -> ProbeLimits:
    """Few places. By default every request is silent after a moment."""
    return ProbeLimits(
        asked=FairSemaphore(*asked), silent=FairSemaphore(*silent), patience=patience
    )


def free_places(semaphore: FairSemaphore) -> int:
    """How many places are free. Each is taken for a namespace of its own, and released."""
    taken = 0
    while semaphore.try_acquire(f"count-{taken}"):
        taken += 1
    for number in range(taken):
        semaphore.release(f"count-{number}")
    return taken


@contextlib.contextmanager
def taken(semaphore: FairSemaphore) -> Iterator[Callable[[], None]]:
    """Takes the only place. Yields what gives it back, which the end of the block does too."""
    assert semaphore.try_acquire("other")
    with contextlib.ExitStack() as stack:
        stack.callback(semaphore.release, "other")
        yield stack.close


@dataclass
class Heads:
    """Heads by the name of their Service: those named hung-… answer when the gate opens."""

    head: Head
    gate: asyncio.Event
    asked: list[str]
    tasks: list[asyncio.Task[HeadList | HeadSilent]] = field(default_factory=list)

    def begin(self, *names: str) -> None:
        """Starts a probe of each head. `team-b/hung-1` is a head in the namespace team-b."""
        for name in names:
            namespace, _, service = name.rpartition("/")
            cluster = a_raycluster(namespace=namespace or "team-a", head_service=service)
            self.tasks.append(asyncio.create_task(self.head.dashboard.jobs(cluster)))

    async def until_asked(self, *names: str) -> None:
        await until(lambda: set(names) <= set(self.asked), timeout=WAIT, every=0.01)

    async def answers(self) -> list[HeadList | HeadSilent]:
        return await asyncio.gather(*self.tasks)


@contextlib.asynccontextmanager
async def some_heads(
    limits: ProbeLimits, answer_within: timedelta = timedelta(seconds=WAIT)
) -> AsyncIterator[Heads]:
    """Runs heads. At the end every place must be free."""
    gate, asked = asyncio.Event(), list[str]()
    before = [free_places(limits.asked), free_places(limits.silent)]

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        service, namespace = request.host.split(".")[:2]
        asked.append(service if namespace == "team-a" else f"{namespace}/{service}")
        if service.startswith("hung"):
            await gate.wait()
        return json_response([])

    async with scripted_head(answer, answer_within=answer_within, limits=limits) as head:
        heads = Heads(head, gate, asked)
        try:
            yield heads
        finally:
            gate.set()
            await asyncio.gather(*heads.tasks, return_exceptions=True)
    assert [free_places(limits.asked), free_places(limits.silent)] == before


async def test_healthy_heads_are_asked_while_hung_heads_wait() -> None:
    """There are 20 hung heads, and 2 places for heads that are asked in their namespace."""
    async with some_heads(some_limits()) as heads:
        heads.begin(*[f"hung-{n}" for n in range(20)])
        heads.begin(*[f"healthy-{n}" for n in range(10)])
        assert await asyncio.gather(*heads.tasks[20:]) == [ANSWERED] * 10
        assert not any(task.done() for task in heads.tasks[:20])
        assert len(heads.asked) == len(set(heads.asked)) == 30
        heads.gate.set()
        assert await heads.answers() == [ANSWERED] * 30


async def test_a_head_that_answers_at_once_takes_no_silent_place() -> None:
    limits = some_limits(silent=(0, 0), patience=NEVER)
    async with some_heads(limits) as heads:
        heads.begin("healthy-1", "healthy-2", "healthy-3")
        assert await heads.answers() == [ANSWERED] * 3


async def test_without_a_silent_place_a_request_keeps_its_place_until_one_is_free() -> None:
    limits = some_limits(asked=(2, 2), silent=(1, 1))
    async with some_heads(limits) as heads:
        heads.begin("hung-1", "hung-2", "hung-3")
        await until(lambda: free_places(limits.silent) == 0, timeout=WAIT)
        await heads.until_asked("hung-1", "hung-2", "hung-3")
        heads.begin("healthy")
        assert not (await asyncio.wait(heads.tasks, timeout=0.05))[0]
        assert "healthy" not in heads.asked
        heads.tasks[0].cancel()
        await heads.until_asked("healthy")
        assert not any(task.done() for task in heads.tasks[1:3])


async def test_a_retry_takes_no_place_of_a_head_that_was_not_asked_yet() -> None:
    """All places for heads that are asked are taken while the head is asked again."""
    limits = some_limits(asked=(1, 1), patience=NEVER)
    refused = json_response("500", 500)
    async with scripted_head(refused, refused, json_response([]), limits=limits) as head:
        first = asyncio.create_task(head.jobs())
        await until(lambda: len(head.paths) == 1, timeout=WAIT, every=0)
        await limits.asked.acquire("team-b")
        assert await first == ANSWERED
        assert (len(head.paths), free_places(limits.asked)) == (3, 0)
        limits.asked.release("team-b")


async def test_a_retry_waits_for_a_silent_place_without_using_its_time() -> None:
    limits = some_limits(silent=(1, 1), patience=NEVER)
    refused = json_response("500", 500)
    answers: list[Answer] = [refused, json_response([])]
    await limits.silent.acquire("team-b")
    async with scripted_head(*answers, limits=limits, answer_within=timedelta(seconds=0.2)) as head:
        probe = asyncio.create_task(head.jobs())
        await until(lambda: len(head.paths) == 1, timeout=WAIT)
        assert not (await asyncio.wait([probe], timeout=0.5))[0]
        assert len(head.paths) == 1
        limits.silent.release("team-b")
        assert await probe == ANSWERED


async def test_namespaces_share_the_silent_places() -> None:
    """team-a has used its share. A request of team-b moves, and gives its place to the next."""
    limits = some_limits(asked=(4, 2), silent=(3, 2))
    async with some_heads(limits) as heads:
        heads.begin(*[f"hung-{n}" for n in range(5)])
        await heads.until_asked("hung-3")
        heads.begin("team-b/hung-5", "team-b/healthy")
        await heads.until_asked("team-b/hung-5", "team-b/healthy")
        await until(lambda: free_places(limits.silent) == 0, timeout=WAIT)
        assert "hung-4" not in heads.asked


async def test_more_hung_heads_than_places_do_not_silence_a_healthy_head() -> None:
    """The healthy head waits until hung heads time out, and then answers within its own time."""
    limits = some_limits(asked=(2, 2), silent=(2, 2))
    async with some_heads(limits, answer_within=timedelta(seconds=0.3)) as heads:
        heads.begin(*[f"hung-{n}" for n in range(6)], "healthy")
        *hung, healthy = await heads.answers()
    assert healthy == ANSWERED
    assert all(isinstance(answer, HeadSilent) for answer in hung)


async def test_a_cancelled_probe_releases_the_place_that_it_holds() -> None:
    """(when, limits, free places of both kinds then)."""
    rows = [
        ("while it is asked", some_limits((1, 1), patience=NEVER), (0, 64)),
        ("while it is silent", some_limits((1, 1)), (1, 63)),
        ("while it waits for a silent place", some_limits((1, 1), (0, 0)), (0, 0)),
    ]
    for when, limits, held in rows:
        before = _free(limits)
        async with some_heads(limits) as heads:
            heads.begin("hung-1")
            await heads.until_asked("hung-1")
            await until(partial(_holds, limits, held), timeout=WAIT, every=0.001)
            heads.begin("hung-2")  # waits for a place, or moves too
            await asyncio.sleep(0)
            for task in heads.tasks:
                task.cancel()
            await asyncio.gather(*heads.tasks, return_exceptions=True)
            assert _free(limits) == before, when


def _holds(limits: ProbeLimits, free: tuple[int, int]) -> bool:
    return _free(limits) == free


def _free(limits: ProbeLimits) -> tuple[int, int]:
    return free_places(limits.asked), free_places(limits.silent)


def test_all_bodies_and_buffers_take_at_most_32_mib() -> None:
    requests = (ASKED + SILENT) * UNPLACED
    assert requests + SMALL_PLACES * SMALL + LARGE * max(LIST_CAP, ONE_CAP) <= 32 * MIB


async def test_a_response_that_waits_for_a_place_buffers_little() -> None:
    """The kernel may hand over 256 KiB at once, before aiohttp can stop it."""
    limits, received = ProbeLimits(small=FairSemaphore(1, 1)), list[aiohttp.StreamReader]()
    body = limits.body

    def recorded(response: aiohttp.ClientResponse, *args: Any) -> Any:
        received.append(response.content)
        return body(response, *args)

    with taken(limits.small) as give_back:
        limits.body = cast("Any", recorded)  # type: ignore[method-assign]
        async with scripted_head(json_response(b" " * MIB + b"[]"), limits=limits) as head:
            probe = asyncio.create_task(head.jobs())
            assert not (await asyncio.wait([probe], timeout=0.5))[0]
            assert TINY < received[0].total_bytes <= UNPLACED
            give_back()
            assert await probe == ANSWERED


async def test_a_body_waits_for_the_places_that_its_size_needs() -> None:
    """(size of the body, places that it waits for)."""
    rows = [
        (TINY, set()),
        (TINY + 1, {"small"}),
        (SMALL, {"small"}),
        (SMALL + 1, {"small", "large"}),
    ]
    for size, needed in rows:
        for name in ("small", "large"):
            limits = ProbeLimits(small=FairSemaphore(1, 1), large=FairSemaphore(1, 1))
            answer = json_response(b" " * (size - 2) + b"[]")
            with taken(getattr(limits, name)) as give_back:
                async with scripted_head(answer, limits=limits) as head:
                    probe = asyncio.create_task(head.jobs())
                    if name in needed:
                        assert not (await asyncio.wait([probe], timeout=0.2))[0], (size, name)
                        give_back()
                    assert await probe == ANSWERED, (size, name)
            assert (free_places(limits.small), free_places(limits.large)) == (1, 1)


async def test_a_large_body_waits_for_a_place_without_using_its_time() -> None:
    """Bodies that do not end hold all places. The next one waits longer than its timeout."""
    gate, large = asyncio.Event(), b" " * (2 * SMALL)

    async def stall(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(large)
        await gate.wait()
        await response.write(b"[]")
        return response

    small = json_response(b" " * (SMALL - 2) + b"[]")
    answers: list[Answer] = [*[stall] * LARGE, json_response(large + b"[]"), small]
    clusters = [a_raycluster(name=f"c{n}", namespace=f"n{n}") for n in range(LARGE + 2)]
    async with scripted_head(*answers, answer_within=timedelta(seconds=30)) as head:
        jobs = head.dashboard.jobs
        stalled = [asyncio.create_task(jobs(cluster)) for cluster in clusters[:LARGE]]
        await until(head.limits.large.locked, timeout=WAIT)
        hurried = head.dashboard_with_timeout(timedelta(seconds=1))
        last = asyncio.create_task(hurried.jobs(clusters[LARGE]))
        await until(lambda: len(head.script.requests) == LARGE + 1, timeout=WAIT)
        assert await jobs(clusters[LARGE + 1]) == ANSWERED
        assert not (await asyncio.wait([last], timeout=1.5))[0]
        gate.set()
        assert await asyncio.gather(*stalled, last) == [ANSWERED] * (LARGE + 1)
    assert len(head.script.requests) == LARGE + 2


async def test_the_timeout_continues_after_the_wait_for_a_place() -> None:
    async def never_end(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b" " * (2 * SMALL))
        await until(
            lambda: request.transport is None or request.transport.is_closing(), timeout=WAIT
        )
        return response

    async with scripted_head(never_end, answer_within=timedelta(seconds=0.2)) as head:
        silent = await asyncio.wait_for(head.jobs(), 60)
    assert isinstance(silent, HeadSilent)
    assert "Timeout" in silent.detail
