"""How a person sees the progress of long work: drawn in place on a terminal, in plain lines elsewhere, not at all with -q."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from raysweep.cli import terminal
from raysweep.submission.progress import Progress, Report, Sent

SAY_AGAIN_AFTER = timedelta(seconds=15)
"""How often a stage that lasts is repeated in a plain line."""

Say = Callable[[str], None]


def progress_for(say: Say, *, quiet: bool) -> Progress:
    """What suits this process's stderr."""
    if quiet:
        return Lines(_nothing)
    canvas = terminal.canvas(sys.stderr)
    if canvas is None:
        return Lines(say)
    from raysweep.cli.bars import Bars  # rich loads slowly: not for a pipe

    return Bars(say, canvas)


class Lines:
    """Progress in plain lines, for a pipe or a log."""

    def __init__(self, say: Say) -> None:
        self.say = say

    @contextlib.contextmanager
    def wait(self, what: str) -> Iterator[Report]:
        """A line for each new stage, and for one that lasts every 15 seconds."""
        began, said, said_at = time.monotonic(), "nothing yet", 0.0

        def report(stage: str) -> None:
            nonlocal said, said_at
            now = time.monotonic()
            if stage != said or now - said_at >= SAY_AGAIN_AFTER.total_seconds():
                said, said_at = stage, now
                self.say(waiting(what, stage, now - began))

        yield report

    @contextlib.contextmanager
    def upload(self, what: str, size: int) -> Iterator[Sent]:  # noqa: ARG002 - as Progress has it
        """A line at the start."""
        self.say(f"uploading {what}")
        yield _nothing

    @contextlib.contextmanager
    def count(self, what: str, total: int) -> Iterator[Callable[[], None]]:  # noqa: ARG002 - as Progress has it
        """No line: the answer tells what was done."""
        yield _nothing


def waiting(what: str, stage: str, seconds: float) -> str:
    """`waiting for the Ray head: Initializing (12 s)`."""
    return f"{what}: {stage} ({seconds:.0f} s)" if stage else what


def _nothing(*_: object) -> None:
    """Reports nothing."""
