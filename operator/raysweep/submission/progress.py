"""How far long work has come, as the work itself reports it. How a person sees it is the command line's matter."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

Report = Callable[[str], None]
"""Called with the stage of a wait, as often as it is looked at; with "" if it has none."""
Sent = Callable[[int], None]
"""Called with the number of bytes sent so far. It may be called in another thread."""


class Progress(Protocol):
    """Where work reports its progress."""

    def say(self, text: str) -> None:
        """Reports a finished step in one line."""

    def wait(self, what: str) -> AbstractContextManager[Report]:
        """Reports a wait whose end is unknown, until the block ends: `waiting for the Ray head`."""

    def upload(self, what: str, size: int) -> AbstractContextManager[Sent]:
        """Reports an upload of that many bytes, until the block ends: `the working directory (3 files, 1.0 MiB)`."""

    def count(self, what: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Reports how many of so many items are done, until the block ends. Call the function for each item."""
