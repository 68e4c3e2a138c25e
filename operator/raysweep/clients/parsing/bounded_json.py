"""JSON that strangers sent, decoded in short steps and with bounded memory.

json.loads makes up to 50 bytes of objects from one byte (`[[[...]]]`) and holds the interpreter's lock
all the while. So at most 1 MiB with 100,000 containers is decoded at once, a list item by item, and
whoever reads a list may stop at any item.
"""

import contextlib
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from json.decoder import JSONDecoder

ITEM_CAP = 2**20
"""Characters decoded at once. An entry of Ray's has some 400, up to 1 MiB with large metadata."""
MOST_CONTAINERS = 100_000
"""Objects and lists decoded at once, counted by brackets, also those inside texts. Ray's have a handful."""
_WINDOWS = (64 * 2**10, 256 * 2**10, ITEM_CAP)
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = JSONDecoder()


class NotJsonError(ValueError):
    """It is not JSON, or not a list. The text says which, and nothing of what was sent."""


class TooComplexError(ValueError):
    """It is more than may be decoded at once. The text says what, and nothing of what was sent."""


def value(body: bytes | bytearray) -> object:
    """The JSON value that is the whole body. Raises NotJsonError, TooComplexError."""
    text = _text(body)
    found, end = _Window(text).item(_skip(text, 0))
    if _skip(text, end) != len(text):
        raise NotJsonError("not JSON")
    return found


def items(body: bytes | bytearray) -> Iterator[object]:
    """The items of the list that is the whole body, decoded one by one while they are taken.

    Raises NotJsonError when it reaches what is not JSON, TooComplexError at an item that is too large.
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
    """The part of a text that is decoded at present. It is moved, and grows, if an item is not whole in it."""

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
        found, end = _DECODER.raw_decode(self.part, position - self.start)
        if end == len(self.part) and self.start + end < len(self.text):
            raise NotJsonError("not JSON")  # a number that may go on
        return found, self.start + end


def _text(body: bytes | bytearray) -> str:
    """UTF-8; half characters are let through, since Ray lets them through."""
    try:
        return body.decode("utf-8", "surrogatepass").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise NotJsonError("not JSON") from None


def _skip(text: str, position: int) -> int:
    """The position after white space."""
    found = _SPACE.match(text, position)
    assert found is not None
    return found.end()
