"""Pages of a list: how many objects one page may have, and how its JSON is read item by item."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Fact = TypeVar("Fact")

LARGEST_PAGE = 200
"""The most objects that one page may have."""
PAGE_BYTES = 4 * 2**20
"""Enough for 200 objects of 20 KiB. A page is briefly in memory twice, as bytes and as text."""
OBJECT_BYTES = 4 * 2**20
"""The API server accepts objects of up to 3 MiB (pkg/server/config.go, MaxRequestBodyBytes)."""
SHRINK_BY = 4

DecodeItem = Callable[[str, int], tuple[Any, int]]
"""Decodes the item of a list that begins at a position. Returns its value and its end.

Raises ValueError or IndexError if no JSON value begins there.
"""

decode_json: DecodeItem = json.JSONDecoder().raw_decode
_SPACE = re.compile(r"[ \t\n\r]*")


class TooLargeError(Exception):
    """A response is longer than the caller accepts."""


class Page(list[Fact], Generic[Fact]):
    """The facts of one page."""

    unnamed: int = 0
    """How many of its objects cannot be identified. They are not in the page."""
    resource_version: str = ""
    """The resourceVersion of the list, from which a watch can begin."""


@dataclass
class PageSize:
    """How many objects one page of a list may have, as measured so far."""

    limit: int = LARGEST_PAGE

    def shrink(self) -> None:
        """Lowers the limit after a page that was too large."""
        self.limit = max(self.limit // SHRINK_BY, 1)

    def grow(self, page_bytes: int, max_bytes: int) -> None:
        """Doubles the limit if the page filled at most a quarter of what it may have."""
        if 4 * page_bytes <= max_bytes:
            self.limit = min(2 * self.limit, LARGEST_PAGE)


def members(text: str, decode_item: DecodeItem = decode_json) -> Iterator[tuple[str, Any, int]]:
    """Yields the key, the value and the end position of each member of a list's JSON object.

    The member `items` is yielded item by item, each as `decode_item` returns it. json.loads would
    build the whole page at once, ten times its size if its objects are small, and would block the
    event loop and all threads, since it does not release the GIL.

    Raises ValueError or IndexError if the text is not a JSON object with a list `items`. An empty
    response must not pass for an empty list.
    """
    has_items = False
    position = _expect(text, 0, "{")
    while text[position] != "}":
        key, position = decode_json(text, position)
        position = _expect(text, position, ":")
        has_items |= key == "items"
        if key == "items" and text[position] == "[":
            position = _skip_space(text, position + 1)
            while text[position] != "]":
                item, position = decode_item(text, position)
                yield "items", item, position
                position = _next(text, position, "]")
            position += 1
        else:
            value, position = decode_json(text, position)
            if key != "items":
                yield str(key), value, position
            elif value is not None:  # the API server writes an empty list of metadata as null
                raise ValueError("items: not a list")
        position = _next(text, position, "}")
    if not has_items:
        raise ValueError("items: missing")


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    end = match.end() if match else position
    if end >= len(text):
        raise ValueError("the JSON text is incomplete")
    return end


def _expect(text: str, position: int, character: str) -> int:
    position = _skip_space(text, position)
    if text[position] != character:
        raise ValueError(f"expected {character!r} at position {position}")
    return _skip_space(text, position + 1)


def _next(text: str, position: int, end: str) -> int:
    """The position of the next member, or of the end."""
    position = _skip_space(text, position)
    if text[position] == end:
        return position
    position = _expect(text, position, ",")
    if text[position] == end:
        raise ValueError(f"expected a value at position {position}")
    return position
