"""Ctrl-C as an event, for commands that report what they did before they end."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


class InterruptedByUserError(Exception):
    """The user pressed Ctrl-C before the work was done."""


@dataclass(frozen=True, slots=True)
class Interrupts:
    """Events for the first and the second Ctrl-C. SIGTERM counts as Ctrl-C."""

    first: asyncio.Event
    second: asyncio.Event

    def press(self) -> None:
        """Records one more Ctrl-C."""
        event = self.second if self.first.is_set() else self.first
        event.set()


@contextlib.asynccontextmanager
async def ctrl_c() -> AsyncIterator[Interrupts]:
    """Turns Ctrl-C into events until the block ends. It interrupts nothing by itself."""
    interrupts = Interrupts(asyncio.Event(), asyncio.Event())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupts.press)
    try:
        yield interrupts
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def run_until_interrupted(interrupted: asyncio.Event, work: Awaitable[Result]) -> Result:
    """Returns the result of the work. Cancels it if the event is set first.

    Raises InterruptedByUserError.
    """
    task = asyncio.ensure_future(work)
    interrupt = asyncio.create_task(interrupted.wait())
    try:
        await asyncio.wait({task, interrupt}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise InterruptedByUserError("interrupted")
        return task.result()
    finally:
        for each in (task, interrupt):
            each.cancel()
        await asyncio.gather(task, interrupt, return_exceptions=True)
