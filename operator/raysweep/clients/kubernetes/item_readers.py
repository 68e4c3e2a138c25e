"""Readers of list items. One of them recognizes unchanged items without decoding them."""

from collections.abc import Callable
from enum import Enum
from hashlib import blake2b
from typing import Generic, TypeVar

from raysweep.clients.kubernetes.pages import decode_json
from raysweep.clients.parsing.common import Json

Fact = TypeVar("Fact")

DIGEST_BYTES = 16
BEGINNING = 40
"""So many characters are the same at the beginning of all custom resources of a list.

The API server writes `{"apiVersion":"ray.io/v1","kind":"RayJob",` first. The entries of
metadata.managedFields begin with the same 26 characters.
"""


class Unnamed(Enum):
    """Stands for an item that is not an object, or cannot be identified."""

    UNNAMED = "an item without readable name and uid"


class ItemReader(Generic[Fact]):
    """Decodes and parses the items of a list."""

    def __init__(self, parse: Callable[[Json], Fact]) -> None:
        """parse: raises ValueError if it cannot identify the object."""
        self._parse = parse

    def begin_list(self) -> None:
        """Begins a list."""

    def end_list(self) -> None:
        """The list is complete."""

    def decode(self, text: str, position: int) -> tuple[Fact | Unnamed, int]:
        """The fact of the item that begins at this position, and the end of the item.

        Raises ValueError or IndexError if no JSON value begins there.
        """
        item, end = decode_json(text, position)
        if not isinstance(item, dict):
            return Unnamed.UNNAMED, end
        try:
            return self._parse(item), end
        except ValueError:
            return Unnamed.UNNAMED, end


class CachedItemReader(ItemReader[Fact]):
    """Neither decodes nor parses an item whose JSON text is the same as in the previous list.

    It keeps the fact of each item with the digest of its text. The resourceVersion is not
    compared: if etcd is restored from a backup, another text may have the same one.
    """

    def __init__(self, parse: Callable[[Json], Fact]) -> None:
        super().__init__(parse)
        self._previous: dict[bytes, Fact] = {}
        self._current: dict[bytes, Fact] = {}

    def __len__(self) -> int:
        return len(self._previous) + len(self._current)

    def begin_list(self) -> None:
        """Begins a list. Of a list that was not complete, it keeps what that list has shown."""
        self._previous, self._current = self._current, {}

    def end_list(self) -> None:
        """Forgets what the complete list did not show."""
        self._previous = {}

    def decode(self, text: str, position: int) -> tuple[Fact | Unnamed, int]:
        """As of an ItemReader, without decoding and parsing if the text is unchanged."""
        return self._find(text, position) or self._read(text, position)

    def _find(self, text: str, position: int) -> tuple[Fact, int] | None:
        """The fact of an unchanged item, and the end of the item.

        The end is only guessed. The digest proves it: the text up to there was a whole JSON object
        in the previous list, and a whole object is not the beginning of a longer one.
        """
        end = _likely_end(text, position) if self._previous else None
        if end is None:
            return None
        digest = _digest(text[position:end])
        fact = self._previous.pop(digest, None)
        if fact is None:
            return None
        self._current[digest] = fact
        return fact, end

    def _read(self, text: str, position: int) -> tuple[Fact | Unnamed, int]:
        fact, end = super().decode(text, position)
        if not isinstance(fact, Unnamed):
            self._current[_digest(text[position:end])] = fact
        return fact, end


def _likely_end(text: str, position: int) -> int | None:
    """Where the item ends if the next one begins in the same way."""
    beginning = text[position : position + BEGINNING]
    brace = text.find("}," + beginning, position)
    return None if brace < 0 else brace + 1


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()
