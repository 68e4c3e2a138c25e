"""Output to a terminal. Everything passes here, so foreign text cannot control the terminal.

Pipes and files get every byte unchanged. On a terminal, a job's log may use colors and draw
progress bars. All other text keeps only line breaks and tabs.
"""

import codecs
import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import BinaryIO, TextIO

from raysweep.core.text import escaped

TEXT_CONTROLS = "\n\t"
LOG_CONTROLS = "\n\t\r\u200c\u200d"
"""Progress bars need the carriage return; scripts and emoji need the joiners."""
RESET = "\x1b[0m"
CANNOT_DRAW = ("", "dumb", "unknown")
"""Values of TERM for terminals that only append text."""
_COLOR = re.compile(r"\x1b\[[0-9;:]{0,64}m")
"""Select Graphic Rendition (ECMA-48 8.3.117): colors and styles."""
_INCOMPLETE_COLOR = re.compile(r"\x1b(\[[0-9;:]{0,64})?\Z")

Write = Callable[[bytes], None]


class Terminal(io.BufferedIOBase):
    """The bytes of a terminal. Control characters are escaped."""

    def __init__(self, screen: BinaryIO, encoding: str) -> None:
        self.screen, self.encoding = screen, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("backslashreplace")

    @property
    def name(self) -> str:
        return self.screen.name

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.screen.fileno()

    def write(self, data: object) -> int:
        raw = bytes(data)  # type: ignore[call-overload]
        self.show(escaped(self._decoder.decode(raw), TEXT_CONTROLS))
        return len(raw)

    def flush(self) -> None:
        self.screen.flush()

    def close(self) -> None:
        """Leaves the screen open: it belongs to the process."""
        self.flush()

    def show(self, text: str) -> None:
        """Writes safe text as it is."""
        self.screen.write(text.encode(self.encoding, "backslashreplace"))


def protect() -> None:
    """Wraps stdout and stderr, each if it is a terminal. Calling it again changes nothing."""
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None or not stream.isatty() or isinstance(stream.buffer, Terminal):
            continue
        terminal = Terminal(stream.buffer, stream.encoding)
        safe = io.TextIOWrapper(
            terminal, stream.encoding, "backslashreplace", line_buffering=True, write_through=True
        )
        setattr(sys, name, safe)


class Canvas(io.TextIOBase):
    """Writes safe text to a terminal as it is. It may move the cursor."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._terminal.encoding

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._terminal.fileno()

    def write(self, text: str) -> int:
        self._terminal.show(text)
        return len(text)

    def flush(self) -> None:
        self._terminal.flush()


def canvas(stream: TextIO) -> Canvas | None:
    """The canvas of this stream; None if it is not a terminal that can redraw lines."""
    terminal = getattr(stream, "buffer", None)
    if not isinstance(terminal, Terminal) or os.environ.get("TERM", "dumb").lower() in CANNOT_DRAW:
        return None
    return Canvas(terminal)


@contextlib.contextmanager
def log_to(stream: TextIO) -> Iterator[Write]:
    """Writes a job's log piece by piece.

    A pipe gets it unchanged. A terminal gets its colors, and other control characters escaped.
    """
    terminal = stream.buffer
    log = _Log() if isinstance(terminal, Terminal) else None

    def write(piece: bytes) -> None:
        if log is None or not isinstance(terminal, Terminal):
            terminal.write(piece)
        else:
            terminal.show(log.next(piece))
        stream.flush()

    try:
        yield write
    finally:
        if log is not None and isinstance(terminal, Terminal):
            terminal.show(log.end())
            stream.flush()


class _Log:
    """The text of a log in pieces. A piece may end within a character or a color."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""
        self._is_colored = False

    def next(self, piece: bytes) -> str:
        """The text that can be shown so far."""
        text = self._rest + self._decoder.decode(piece)
        incomplete = _INCOMPLETE_COLOR.search(text)
        self._rest = incomplete[0] if incomplete else ""
        return self._shown(text.removesuffix(self._rest))

    def end(self) -> str:
        """The rest of the text. Colors end with the log."""
        last = self._shown(self._rest + self._decoder.decode(b"", final=True))
        return last + (RESET if self._is_colored else "")

    def _shown(self, text: str) -> str:
        colors = _COLOR.findall(text)
        self._is_colored = self._is_colored or bool(colors)
        parts = [escaped(part, LOG_CONTROLS) for part in _COLOR.split(text)]
        return "".join(part + color for part, color in zip(parts, [*colors, ""], strict=True))
