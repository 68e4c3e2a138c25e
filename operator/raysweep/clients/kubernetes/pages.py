"""Lists in pages that weigh at most so many bytes, whatever one object weighs, read item by item. Nothing is fetched here."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Fact = TypeVar("Fact")

LARGEST_PAGE = 200
"""Objects."""
PAGE_BYTES = 4 * 2**20
"""Two hundred objects of 20 KiB. A page is in memory twice for a moment, as bytes and as text."""
OBJECT_BYTES = 4 * 2**20
"""The API server takes no object above 3 MiB (apiserver pkg/server/config.go, MaxRequestBodyBytes)."""
SHRINK_BY = 4

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


class PageTooLargeError(Exception):
    """The answer is longer than may be read."""


class Page(list[Fact], Generic[Fact]):
    """The facts of one page. `unnamed`: how many of its objects cannot even be named, and are not in it.

    `resource_version`: that of the list, from which a watch can begin.
    """

    unnamed: int = 0
    resource_version: str = ""


@dataclass
class PageSize:
    """How many objects a page of one list may have, as far as is known."""

    limit: int = LARGEST_PAGE
    _smallest: int = LARGEST_PAGE  # of the list that is being read
    _smallest_before: int = LARGEST_PAGE  # of the list before

    @property
    def safe(self) -> int:
        """As many objects as any page of the two latest lists could have."""
        return min(self._smallest, self._smallest_before)

    def begin(self) -> None:
        """A list begins."""
        self._smallest_before, self._smallest = self._smallest, self.limit

    def shrink(self) -> None:
        """The page was too large."""
        self.limit = max(self.limit // SHRINK_BY, 1)
        self._smallest = min(self._smallest, self.limit)

    def grow(self, weight: int, most: int) -> None:
        """The page weighed so much of so much: twice as many objects, if those would fill no more than half of it."""
        if 4 * weight <= most:
            self.limit = min(2 * self.limit, LARGEST_PAGE)


def members(text: str, position: int = 0) -> Iterator[tuple[str, Any, int]]:
    """The members of a list as Kubernetes writes it: ("items", one of them, where it ends) for each, and what else there is.

    json.loads would build the whole page at once, ten times its size if its objects are small, and hold the event loop and
    all threads (it does not release the GIL). ValueError where it is no JSON object or has no list `items`, for an empty
    answer must not pass for an empty list.
    """
    has_items = False
    position = _expect(text, position, "{")
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, position)
        position = _expect(text, position, ":")
        has_items |= key == "items"
        if key == "items" and text[position] == "[":
            position = _space(text, position + 1)
            while text[position] != "]":
                item, position = _DECODER.raw_decode(text, position)
                yield "items", item, position
                position = _next(text, position, "]")
            position += 1
        else:
            value, position = _DECODER.raw_decode(text, position)
            if key != "items":
                yield str(key), value, position
            elif value is not None:  # null where a list of metadata is empty
                raise ValueError("items: not a list")
        position = _next(text, position, "}")
    if not has_items:
        raise ValueError("items: missing")


def _space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    end = match.end() if match else position
    if end >= len(text):
        raise ValueError("it ends in the middle")
    return end


def _expect(text: str, position: int, character: str) -> int:
    position = _space(text, position)
    if text[position] != character:
        raise ValueError(f"{character!r} is missing")
    return _space(text, position + 1)


def _next(text: str, position: int, end: str) -> int:
    """To the next member, or to the end."""
    position = _space(text, position)
    if text[position] == end:
        return position
    position = _expect(text, position, ",")
    if text[position] == end:
        raise ValueError("a member is missing")
    return position
