"""What a terminal is sent. All that the program writes to one passes here, so nothing foreign can control it.

A stream that is no terminal is left alone: its bytes pass unchanged, for pipes and files. A job's log may color its text and
draw progress bars; everything else is text of Raysweep with foreign parts, and keeps line breaks and tabs only.
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

OUR_OWN = "\n\t"
OF_A_LOG = "\n\t\r\u200c\u200d"
"""Also the return to the line's start, as progress bars need it, and the joiners that scripts and emoji need."""
RESET = "\x1b[0m"
CANNOT_DRAW = ("", "dumb", "unknown")
"""Values of TERM for terminals that only append text."""
_COLOR = re.compile(r"\x1b\[[0-9;:]{0,64}m")
"""Select Graphic Rendition (ECMA-48 8.3.117): colors and styles."""
_BEGUN = re.compile(r"\x1b(\[[0-9;:]{0,64})?\Z")

Write = Callable[[bytes], None]


class Terminal(io.BufferedIOBase):
    """The bytes of a stream that is a terminal; control characters in them are written out."""

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
        self.show(escaped(self._decoder.decode(raw), OUR_OWN))
        return len(raw)

    def flush(self) -> None:
        self.screen.flush()

    def close(self) -> None:
        """The screen stays open: it belongs to the process."""
        self.flush()

    def show(self, text: str) -> None:
        """Text as it is. It was made safe before."""
        self.screen.write(text.encode(self.encoding, "backslashreplace"))


def check() -> None:
    """Puts a Terminal under stdout and stderr, each if it is one. Calling it again changes nothing."""
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
    """Writes text to a terminal as it is: it was made safe before, and may move the cursor."""

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
    """Where lines of this stream can be drawn again; None if it is not such a terminal."""
    terminal = getattr(stream, "buffer", None)
    if not isinstance(terminal, Terminal) or os.environ.get("TERM", "dumb").lower() in CANNOT_DRAW:
        return None
    return Canvas(terminal)


@contextlib.contextmanager
def log_to(stream: TextIO) -> Iterator[Write]:
    """Writes a job's log, piece by piece: unchanged, or on a terminal with colors and without anything that controls it."""
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
    """The text of a log that comes in pieces; a piece may end within a character or a color."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""
        self._is_colored = False

    def next(self, piece: bytes) -> str:
        """What of it can be shown by now."""
        text = self._rest + self._decoder.decode(piece)
        begun = _BEGUN.search(text)
        self._rest = begun[0] if begun else ""
        return self._shown(text.removesuffix(self._rest))

    def end(self) -> str:
        """The rest. Colors end with the log."""
        last = self._shown(self._rest + self._decoder.decode(b"", final=True))
        return last + (RESET if self._is_colored else "")

    def _shown(self, text: str) -> str:
        colors = _COLOR.findall(text)
        self._is_colored = self._is_colored or bool(colors)
        parts = [escaped(part, OF_A_LOG) for part in _COLOR.split(text)]
        return "".join(part + color for part, color in zip(parts, [*colors, ""], strict=True))
