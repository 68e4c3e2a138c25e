"""How a person sees the progress of long work.

On a terminal it is drawn in place (bars.py), elsewhere it is printed in plain lines. With --quiet
it is not shown at all.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from raysweep.cli import terminal
from raysweep.submission.progress import Progress, Report, Sent

REPEAT_AFTER = timedelta(seconds=15)
"""How often a plain line repeats a stage that lasts."""

Say = Callable[[str], None]


def progress_for(say: Say, *, quiet: bool) -> Progress:
    """The kind of progress that suits the stderr of this process."""
    if quiet:
        return Lines(_ignore)
    canvas = terminal.canvas(sys.stderr)
    if canvas is None:
        return Lines(say)
    from raysweep.cli.bars import Bars  # rich loads slowly, and a pipe does not need it

    return Bars(say, canvas)


class Lines:
    """Progress in plain lines, for a pipe or a log."""

    def __init__(self, say: Say) -> None:
        self.say = say

    @contextlib.contextmanager
    def wait(self, what: str) -> Iterator[Report]:
        """Prints a line for each new stage, and repeats it every 15 seconds."""
        began = time.monotonic()
        last_stage: str | None = None
        printed_at = 0.0

        def report(stage: str) -> None:
            nonlocal last_stage, printed_at
            now = time.monotonic()
            if stage != last_stage or now - printed_at >= REPEAT_AFTER.total_seconds():
                last_stage, printed_at = stage, now
                self.say(wait_line(what, stage, now - began))

        yield report

    @contextlib.contextmanager
    def upload(self, what: str, size: int) -> Iterator[Sent]:  # noqa: ARG002 - see Progress
        """Prints one line at the start."""
        self.say(f"uploading {what}")
        yield _ignore

    @contextlib.contextmanager
    def count(
        self,
        what: str,  # noqa: ARG002 - see Progress
        total: int,  # noqa: ARG002
    ) -> Iterator[Callable[[], None]]:
        """Prints nothing: the answer lists what was done."""
        yield _ignore


def wait_line(what: str, stage: str, seconds: float) -> str:
    """`waiting for the Ray head: Initializing (12 s)`."""
    return f"{what}: {stage} ({seconds:.0f} s)" if stage else what


def _ignore(*_: object) -> None:
    """Reports nothing."""
