"""Untrusted JSON, decoded in short steps and with bounded memory.

json.loads makes up to 50 bytes of objects from one byte (`[[[...]]]`) and holds the interpreter's
lock all the while. So at most 1 MiB with 100,000 containers is decoded at once. A list is decoded
item by item, and its reader may stop at any item.
"""

import contextlib
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from json.decoder import JSONDecoder

ITEM_CAP = 2**20
"""Characters decoded at once. A job entry of Ray has some 400, or up to 1 MiB with metadata."""
MOST_CONTAINERS = 100_000
"""Objects and lists decoded at once. Brackets inside texts count too. A job entry has a handful."""
_WINDOWS = (64 * 2**10, 256 * 2**10, ITEM_CAP)
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = JSONDecoder()


class NotJsonError(ValueError):
    """The body is not JSON, or not a list. The message shows nothing of the body."""


class TooComplexError(ValueError):
    """The body exceeds a limit. The message shows nothing of the body."""


def value(body: bytes | bytearray) -> object:
    """The JSON value that is the whole body. Raises NotJsonError, TooComplexError."""
    text = _text(body)
    item, end = _Window(text).item(_skip(text, 0))
    if _skip(text, end) != len(text):
        raise NotJsonError("not JSON")
    return item


def items(body: bytes | bytearray) -> Iterator[object]:
    """The items of the list that is the whole body, each decoded when the caller takes it.

    Raises NotJsonError if the body is not JSON, and TooComplexError at an item that is too large.
    """
    text = _text(body)
    start = _skip(text, 0)
    if text[start : start + 1] != "[":
        raise NotJsonError("not a JSON list")
    end = _skip(text, start + 1)
    if text[end : end + 1] == "]":
        end += 1
    else:
        end = yield from _items(text, end)
    if _skip(text, end) != len(text):
        raise NotJsonError("not JSON")


def _items(text: str, position: int) -> Generator[object, None, int]:
    """At least one item; returns the position after the closing bracket."""
    window = _Window(text)
    while True:
        item, end = window.item(position)
        yield item
        end = _skip(text, end)
        mark = text[end : end + 1]
        if mark == "]":
            return end + 1
        if mark != ",":
            raise NotJsonError("not JSON")
        position = _skip(text, end + 1)


@dataclass
class _Window:
    """The part of a text that is being decoded. It moves and grows until it holds a whole item."""

    text: str
    start: int = 0
    part: str = ""

    def item(self, position: int) -> tuple[object, int]:
        """The JSON value at that position, and the position after it."""
        if position < self.start + len(self.part):
            with contextlib.suppress(ValueError, RecursionError):
                return self._decoded(position)
        for size in _WINDOWS:
            self.start, self.part = position, self.text[position : position + size]
            if size > _WINDOWS[0] and self.part.count("[") + self.part.count("{") > MOST_CONTAINERS:
                raise TooComplexError(f"more than {MOST_CONTAINERS:,} objects and lists")
            try:
                return self._decoded(position)
            except (ValueError, RecursionError):
                if position + size >= len(self.text):
                    raise NotJsonError("not JSON") from None
        raise TooComplexError(f"larger than {ITEM_CAP // 2**20} MiB")

    def _decoded(self, position: int) -> tuple[object, int]:
        item, end = _DECODER.raw_decode(self.part, position - self.start)
        if end == len(self.part) and self.start + end < len(self.text):
            raise NotJsonError("not JSON")  # a number may continue behind the window
        return item, self.start + end


def _text(body: bytes | bytearray) -> str:
    """The body as UTF-8. Surrogates are accepted, since Ray accepts them."""
    try:
        return body.decode("utf-8", "surrogatepass").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise NotJsonError("not JSON") from None


def _skip(text: str, position: int) -> int:
    """The position after white space."""
    space = _SPACE.match(text, position)
    assert space is not None
    return space.end()
