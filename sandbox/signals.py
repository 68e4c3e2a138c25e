"""The signals that end a command of the sandbox. Only the first signal counts.

A command imports this module before all slow imports, so it imports little itself.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Records the first signal and calls an action. Without an action the process exits at once."""

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._act: Callable[[], object] = self._exit_now

    def listen(self) -> None:
        """Installs the handlers. SIGHUP stays ignored if it is ignored already (nohup)."""
        for number in ENDING:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._receive)

    def on_first(self, act: Callable[[], object]) -> None:
        """Sets the action. It runs between two bytecodes of the main thread."""
        self._act = act

    def ignore(self) -> None:
        """Ignores all signals from now on. Python drops handlers before the process exits."""
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.first is None:
            self.first = signal.Signals(number)
            self._act()

    def _exit_now(self) -> None:
        if self.first:
            with contextlib.suppress(OSError):
                os.write(2, f"{last_line(self.first, ())}\n".encode())
            os._exit(exit_code(self.first))


def exit_code(number: signal.Signals) -> int:
    """The exit code that a shell reports for a process that a signal ended."""
    return 128 + number


def last_line(number: signal.Signals, stopped: Sequence[str]) -> str:
    """The last line of a command that a signal ended, with the programs that it stopped."""
    return f"{number.name} received, stopped: {', '.join(stopped) or 'nothing was running'}"
