"""The signals that end a command of the sandbox, heard from its first line on. The first one counts, later ones change nothing.

It is imported before everything that takes time to import, so it imports little itself.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Which signal came first, and what is done then: until `on_first` is given, the process ends at once."""

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._act: Callable[[], object] = self._leave

    def listen(self) -> None:
        """From now on. SIGHUP stays ignored if it was (nohup)."""
        for number in ENDING:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._receive)

    def on_first(self, act: Callable[[], object]) -> None:
        """What to do at the first signal, between any two lines of the main thread."""
        self._act = act

    def ignore(self) -> None:
        """From now on, when nothing is left to end. Python would give up handlers of its own before it has exited."""
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.first is None:
            self.first = signal.Signals(number)
            self._act()

    def _leave(self) -> None:
        if self.first:
            with contextlib.suppress(OSError):
                os.write(2, f"{last_line(self.first, ())}\n".encode())
            os._exit(exit_code(self.first))


def exit_code(number: signal.Signals) -> int:
    """As a shell tells of a process that a signal ended."""
    return 128 + number


def last_line(number: signal.Signals, ended: Sequence[str]) -> str:
    """What a command says that a signal ended. ended: what it had started."""
    return f"ended by {number.name}: {', '.join(ended) or 'nothing was running yet'}"
