"""How long work reports its progress. How a person sees it is up to the command line."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

Sent = Callable[[int], None]
"""Called with the number of bytes sent so far, possibly in another thread."""


class Report(Protocol):
    """Reports the stage of a wait. Call it as often as the stage is read."""

    def __call__(self, stage: str, what: str = "") -> None:
        """stage: "" if the wait has none. what: the wait, if it is another one than before, such as
        `waiting in the queue`; its time begins anew.
        """


class Progress(Protocol):
    """Where work reports its progress."""

    def say(self, text: str) -> None:
        """Reports one step in a line that remains."""

    def wait(self, what: str) -> AbstractContextManager[Report]:
        """Reports a wait until the block ends, such as `waiting for the Ray head`."""

    def upload(self, what: str, size: int) -> AbstractContextManager[Sent]:
        """Reports an upload of that many bytes until the block ends."""

    def count(self, what: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Reports work on `total` items until the block ends. Call the function for each item."""
