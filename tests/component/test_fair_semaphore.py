"""The semaphore that namespaces share: shares, turns, and waiters that are cancelled."""

import asyncio
import contextlib

from raysweep.clients.fair_semaphore import FairSemaphore


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Waiters:
    """Tasks that hold a place until they are ended. `held` is in the order of their turns."""

    def __init__(self, semaphore: FairSemaphore) -> None:
        self.semaphore = semaphore
        self.held: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.ends: dict[str, asyncio.Event] = {}

    async def begin(self, *names: str, urgent: bool = False) -> None:
        """Names such as a1, whose namespace is a."""
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._hold(name, urgent=urgent))
            await _settle()

    async def end(self, *names: str) -> None:
        for name in names:
            self.ends[name].set()
            await _settle()

    async def cancel(self, *names: str) -> None:
        for name in names:
            self.tasks[name].cancel()
        await _settle()

    async def _hold(self, name: str, *, urgent: bool) -> None:
        async with self.semaphore.hold(name[0], urgent=urgent):
            self.held.append(name)
            await self.ends[name].wait()
        self.held.remove(name)


async def test_a_namespace_holds_its_share_and_leaves_the_rest_to_others() -> None:
    waiters = Waiters(FairSemaphore(4, 2))
    await waiters.begin("a1", "a2", "a3", "a4", "a5", "b1")
    assert waiters.held == ["a1", "a2", "b1"]
    assert not waiters.semaphore.locked()
    await waiters.end("a1")
    assert waiters.held == ["a2", "b1", "a3"]


async def test_a_place_is_tried_without_waiting() -> None:
    rows = [
        ("all places are free", [], "a", True),
        ("the namespace has not used its share", ["a"], "a", True),
        ("the namespace has used its share", ["a", "a"], "a", False),
        ("another namespace has used its share", ["a", "a"], "b", True),
        ("no place is free", ["a", "a", "b"], "c", False),
    ]
    for sentence, held, namespace, is_acquired in rows:
        semaphore = FairSemaphore(3, 2)
        for holder in held:
            await semaphore.acquire(holder)
        assert semaphore.try_acquire(namespace) is is_acquired, sentence
        if is_acquired:
            semaphore.release(namespace)
        for holder in held:
            semaphore.release(holder)
        assert [semaphore.try_acquire("d") for _ in range(3)] == [True, True, False], sentence


async def test_a_try_overtakes_no_waiter() -> None:
    waiters = Waiters(FairSemaphore(1, 1))
    await waiters.begin("a1", "b1")
    waiters.ends["a1"].set()
    await asyncio.sleep(0)
    assert not waiters.semaphore.try_acquire("c")
    await _settle()
    assert waiters.held == ["b1"]


async def test_namespaces_that_wait_take_turns() -> None:
    """H13."""
    waiters = Waiters(FairSemaphore(1, 1))
    await waiters.begin("x1", "a1", "a2", "a3", "b1", "c1", "c2")
    turns = []
    while waiters.held:
        turns.append(waiters.held[0])
        await waiters.end(waiters.held[0])
    assert turns == ["x1", "a1", "b1", "c1", "a2", "c2", "a3"]


async def test_a_cancelled_waiter_takes_no_turn() -> None:
    waiters = Waiters(FairSemaphore(1, 1))
    await waiters.begin("x1", "a1", "a2", "b1")
    await waiters.cancel("a1", "b1")
    await waiters.end("x1")
    assert waiters.held == ["a2"]
    await waiters.end("a2")
    assert not waiters.semaphore.locked()


async def test_a_place_given_at_the_moment_of_cancellation_is_released() -> None:
    waiters = Waiters(FairSemaphore(1, 1))
    await waiters.begin("x1", "a1", "b1")
    waiters.ends["x1"].set()
    await asyncio.sleep(0)
    waiters.tasks["a1"].cancel()
    await _settle()
    assert waiters.held == ["b1"]
    await waiters.end("b1")
    assert not waiters.semaphore.locked()


async def test_a_place_is_released_after_an_error() -> None:
    semaphore = FairSemaphore(1, 1)
    with contextlib.suppress(ValueError):
        async with semaphore.hold("a"):
            raise ValueError
    assert not semaphore.locked()


async def test_urgent_waiters_take_turns_before_all_others() -> None:
    waiters = Waiters(FairSemaphore(1, 1))
    await waiters.begin("x1", "a1", "b1")
    await waiters.begin("c1", "c2", "d1", urgent=True)
    turns = []
    while waiters.held:
        turns.append(waiters.held[0])
        await waiters.end(waiters.held[0])
    assert turns == ["x1", "c1", "d1", "c2", "a1", "b1"]


async def test_a_larger_semaphore_admits_waiters_at_once() -> None:
    waiters = Waiters(FairSemaphore(1, 1))
    await waiters.begin("a1", "a2", "a3", "b1")
    waiters.semaphore.resize(3, 2)
    await _settle()
    assert waiters.held == ["a1", "a2", "b1"]
    assert waiters.semaphore.has_waiters()


async def test_a_smaller_semaphore_admits_nobody_until_enough_places_are_released() -> None:
    waiters = Waiters(FairSemaphore(4, 4))
    await waiters.begin("a1", "a2", "a3", "b1", "b2")
    waiters.semaphore.resize(2, 1)
    await waiters.end("b1", "a1")
    assert waiters.held == ["a2", "a3"]
    await waiters.end("a2")
    assert waiters.held == ["a3", "b2"]
    assert not waiters.semaphore.has_waiters()
