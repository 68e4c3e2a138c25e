"""Progress in plain lines, for a pipe or a log."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from raysweep.submission.progress import BytesSent, Report

REPEAT_AFTER = timedelta(seconds=15)
"""How often a plain line repeats a stage that lasts."""
REPEAT_LATER_AFTER = timedelta(minutes=1)
LONG = timedelta(minutes=5)

Say = Callable[[str], None]


class Lines:
    """Prints each stage of a wait as a line."""

    def __init__(self, say: Say) -> None:
        self.say = say

    @contextlib.contextmanager
    def wait(self, title: str) -> Iterator[Report]:
        """Prints a line for each new stage. Repeats it every 15 seconds, and later every minute."""
        wait = Wait(title)
        last_stage: str | None = None
        printed_at = 0.0

        def report(stage: str, title: str = "") -> None:
            nonlocal last_stage, printed_at
            is_new, now = wait.turn_to(title), time.monotonic()
            is_late = now - printed_at >= repeat_after(wait.seconds).total_seconds()
            if is_new or is_late or stage != last_stage:
                last_stage, printed_at = stage, now
                self.say(wait.line(stage))

        yield report

    @contextlib.contextmanager
    def upload(self, title: str, size: int) -> Iterator[BytesSent]:  # noqa: ARG002 - see Progress
        """Prints one line at the start."""
        self.say(f"uploading {title}")
        yield ignore

    @contextlib.contextmanager
    def count(
        self,
        title: str,  # noqa: ARG002 - see Progress
        total: int,  # noqa: ARG002
    ) -> Iterator[Callable[[], None]]:
        """Prints nothing: the answer lists the results."""
        yield ignore


@dataclass
class Wait:
    """A wait, and when it began."""

    title: str
    began: float = field(default_factory=time.monotonic)

    def turn_to(self, title: str) -> bool:
        """Begins another wait if `title` names one. Returns whether it does."""
        if title in ("", self.title):
            return False
        self.title, self.began = title, time.monotonic()
        return True

    @property
    def seconds(self) -> float:
        """The duration of the wait so far."""
        return time.monotonic() - self.began

    def line(self, stage: str) -> str:
        """`waiting for the Ray head: Initializing (12 s)`."""
        return f"{self.title}: {stage} ({self.seconds:.0f} s)" if stage else self.title


def repeat_after(seconds: float) -> timedelta:
    """How long after a line the same stage is printed again, by the duration of the wait."""
    is_long = seconds >= LONG.total_seconds()
    return REPEAT_LATER_AFTER if is_long else REPEAT_AFTER


def ignore(*_: object) -> None:
    """Does nothing with a report."""
