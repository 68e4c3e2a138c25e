"""The interface through which work reports its progress. cli/common/progress.py implements it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

BytesSent = Callable[[int], None]
"""Called with the number of bytes sent so far, possibly in another thread."""


class Report(Protocol):
    """Reports the stage of a wait. Call it whenever the stage is read."""

    def __call__(self, stage: str, title: str = "") -> None:
        """stage: "" if the wait has none. title: the new subject if it changes, such as
        `waiting in the queue`, and its time starts at 0.
        """


class Progress(Protocol):
    """Receives the progress of long work."""

    def say(self, text: str) -> None:
        """Reports one step in a line that remains."""

    def wait(self, title: str) -> AbstractContextManager[Report]:
        """Reports a wait until the block ends, such as `waiting for the Ray head`."""

    def upload(self, title: str, size: int) -> AbstractContextManager[BytesSent]:
        """Reports an upload of `size` bytes until the block ends."""

    def count(self, title: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Reports work on `total` items until the block ends. Call the function for each item."""
