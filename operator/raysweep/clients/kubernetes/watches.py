"""The events of a watch, line by line. Nothing is fetched here.

Source: Kubernetes documentation, "API concepts", "Efficient detection of changes".
"""

import json
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from raysweep.clients.kubernetes.errors import InvalidResponseError, error_for_status
from raysweep.clients.kubernetes.pages import OBJECT_BYTES
from raysweep.clients.parsing.common import Json
from raysweep.core.text import plain

Fact = TypeVar("Fact")

LINE_BYTES = OBJECT_BYTES
"""The longest event that is read: one whole object."""
EXPIRED = 410
"""The HTTP status of a resourceVersion that the API server no longer knows. List again."""


@dataclass(frozen=True, slots=True)
class Change(Generic[Fact]):
    """One event of a watch, and the resourceVersion from which a later watch goes on."""

    resource_version: str
    fact: Fact | None = None  # None: a bookmark, which tells the resourceVersion alone
    is_deleted: bool = False


async def changes(
    request: str,
    pieces: AsyncIterable[bytes],
    parse: Callable[[Json], Fact],
) -> AsyncIterator[Change[Fact]]:
    """The events as they come. Raises the ApiError that an event of type ERROR stands for.

    Raises InvalidResponseError for an event that cannot be read.
    """
    async for line in _lines(request, pieces):
        try:
            event = json.loads(line)
            change = _change(request, event, parse)
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
            problem = f"an event that cannot be read: {plain(error)}"
            raise InvalidResponseError(f"{request}: {problem}") from None
        if change:
            yield change


def _change(request: str, event: Any, parse: Callable[[Json], Fact]) -> Change[Fact] | None:
    """None if its type is unknown."""
    kind, item = event["type"], event["object"]
    if kind == "ERROR":
        code, message = item.get("code"), plain(item.get("message") or kind)
        raise error_for_status(code if isinstance(code, int) else 0, f"{request}: {message}")
    version = str(item["metadata"]["resourceVersion"])
    if kind == "BOOKMARK":
        return Change(version)
    if kind in ("ADDED", "MODIFIED", "DELETED"):
        return Change(version, parse(item), is_deleted=kind == "DELETED")
    return None


async def _lines(request: str, pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Whole lines. What comes after the last line break was cut off, and is dropped."""
    rest = bytearray()
    async for piece in pieces:
        *ends, last = piece.split(b"\n")
        for end in ends:
            yield bytes(rest + end)
            rest.clear()
        rest += last
        if len(rest) > LINE_BYTES:
            raise InvalidResponseError(f"{request}: an event of more than {LINE_BYTES} bytes")
