"""Programs at a pseudo-terminal: the bytes that they write, and what the screen shows."""

import asyncio
import fcntl
import os
import re
import signal
import struct
import sys
import termios
import tty
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pyte

from raysweep.core.text import is_control
from sandbox.waiting import until

OWNED = "\x1b]0;owned\x07\x1b[2J"
"""Sets the title of the window and clears the screen, unless it is escaped."""
HOSTILE = f"{OWNED}\x9b2J\u202egpj.exe\u2066\x08\x7f\x00"
"""The same by a C1 control, and characters that reorder or erase text."""
DRAWING = re.compile(r"\r|\x1b\[[0-9;]*[AKm]")
"""Sequences that redraw in place: carriage return, cursor up, erase line, colors."""
ROWS, COLUMNS = 24, 100
OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Makes the terminal the controlling one, so that Ctrl-C is a signal, and runs the command."""


@dataclass(frozen=True)
class TerminalOutput:
    """The exit code, and the bytes that were written. The terminal changes none (raw mode)."""

    code: int
    raw: bytes

    @property
    def text(self) -> str:
        return self.raw.decode()

    def controls(self, but: str = "\n\t") -> set[str]:
        """The control characters in the output, except these."""
        return {
            character for character in self.text if is_control(character) and character not in but
        }

    @property
    def without_drawing(self) -> "TerminalOutput":
        """The output without sequences that redraw in place."""
        return TerminalOutput(self.code, DRAWING.sub("", self.text).encode())


async def run_at_terminal(
    command: Sequence[str], environment: Mapping[str, str], *, timeout: float = 150
) -> TerminalOutput:
    """Runs the command to its end with stdout and stderr at one pseudo-terminal."""
    screen, terminal = os.openpty()
    tty.setraw(terminal)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
        )
    finally:
        os.close(terminal)
    reading = asyncio.create_task(asyncio.to_thread(_all_of, screen))
    try:
        async with asyncio.timeout(timeout):
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        raw = await reading
        os.close(screen)
    return TerminalOutput(code, raw)


def _all_of(screen: int) -> bytes:
    """Reads until the last program has closed the terminal, which is EIO on Linux."""
    raw = bytearray()
    while True:
        try:
            piece = os.read(screen, 65536)
        except OSError:
            return bytes(raw)
        if not piece:
            return bytes(raw)
        raw += piece


@dataclass
class TerminalSession:
    """A program at a terminal, whose screen is emulated."""

    process: asyncio.subprocess.Process
    raw: bytearray = field(default_factory=bytearray)
    _terminal: int = -1
    _screen: pyte.HistoryScreen = field(
        default_factory=lambda: pyte.HistoryScreen(COLUMNS, ROWS, history=10_000)
    )

    @property
    def lines(self) -> list[str]:
        """The lines of the screen, and those that have scrolled away."""
        above = [
            "".join(row[x].data for x in range(self._screen.columns))
            for row in self._screen.history.top
        ]
        return [line.rstrip() for line in (*above, *self._screen.display)]

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip()

    @property
    def is_as_before(self) -> bool:
        """Whether the cursor is visible at the start of a line, as a shell leaves it."""
        return self._screen.cursor.x == 0 and not self._screen.cursor.hidden

    async def sees(self, words: str, *, timeout: float = 90) -> None:
        """Waits until the screen shows these words."""
        await self.sees_that(lambda text: words in text, timeout=timeout)

    async def sees_that(self, holds: Callable[[str], bool], *, timeout: float = 90) -> None:
        """Waits until the condition holds for the text of the screen."""
        try:
            await until(lambda: holds(self.text), timeout=timeout)
        except TimeoutError:
            raise AssertionError(f"never seen:\n{self.text}") from None

    def types(self, text: str) -> None:
        """Keys; Ctrl-C is \x03."""
        os.write(self._terminal, text.encode())

    async def ends(self, code: int, *, timeout: float = 90) -> None:
        """Waits until the program ends, and checks its exit code."""
        try:
            async with asyncio.timeout(timeout):
                exit_code = await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"the program does not end:\n{self.text}") from None
        await until(lambda: self._terminal == -1, timeout=timeout)
        assert exit_code == code, self.text

    def read(self) -> None:
        """Reads what the program has written."""
        try:
            piece = os.read(self._terminal, 65536)
        except OSError:  # no program has the terminal open any more
            piece = b""
        if not piece:
            asyncio.get_running_loop().remove_reader(self._terminal)
            os.close(self._terminal)
            self._terminal = -1
            return
        self.raw += piece
        self._stream.feed(piece)

    def __post_init__(self) -> None:
        self._stream = pyte.ByteStream(self._screen)


@asynccontextmanager
async def terminal_session(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    columns: int = COLUMNS,
    stdout: int | None = None,
    stderr: int | None = None,
) -> AsyncIterator[TerminalSession]:
    """Runs the command at a terminal of its own. stdout and stderr can be files instead."""
    person, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", OWN_TERMINAL, *command),
            env=dict(environment),
            stdin=terminal,
            stdout=terminal if stdout is None else stdout,
            stderr=terminal if stderr is None else stderr,
            start_new_session=True,
        )
    finally:
        os.close(terminal)
    session = TerminalSession(
        process, _terminal=person, _screen=pyte.HistoryScreen(columns, ROWS, history=10_000)
    )
    asyncio.get_running_loop().add_reader(person, session.read)
    try:
        yield session
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()
        if session._terminal != -1:
            asyncio.get_running_loop().remove_reader(person)
            os.close(person)
