"""How long work reports its progress. How a person sees it is up to the command line."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

Report = Callable[[str], None]
"""Called with the stage of a wait, as often as the stage is read. "" if the wait has no stages."""
Sent = Callable[[int], None]
"""Called with the number of bytes sent so far, possibly in another thread."""


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
