"""Ctrl-C as an event, for commands that must say what they have done so far. What a command does about it is its own matter."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interrupts:
    """Ctrl-C, and Ctrl-C once more; SIGTERM counts as one."""

    first: asyncio.Event
    second: asyncio.Event

    def press(self) -> None:
        """It was pressed."""
        (self.second if self.first.is_set() else self.first).set()


@contextlib.asynccontextmanager
async def ctrl_c() -> AsyncIterator[Interrupts]:
    """While this lasts, Ctrl-C interrupts nothing by itself."""
    pressed, loop = Interrupts(asyncio.Event(), asyncio.Event()), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, pressed.press)
    try:
        yield pressed
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
