"""Parses the events of a watch, line by line.

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
"""The longest event that is accepted: one whole object."""
EXPIRED = 410
"""The HTTP status for a resourceVersion that is too old. The caller must list again."""


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[Fact]):
    """One event of a watch, with the resourceVersion from which the next watch continues."""

    resource_version: str
    fact: Fact | None = None
    """None for a bookmark, which only reports the resourceVersion."""
    is_deleted: bool = False


async def watch_events(
    request: object,
    chunks: AsyncIterable[bytes],
    parse: Callable[[Json], Fact],
) -> AsyncIterator[WatchEvent[Fact]]:
    """Yields the events as they arrive. `request` is named in errors.

    Raises the ApiError of an event of type ERROR, and InvalidResponseError for an unreadable event.
    """
    async for line in _lines(request, chunks):
        try:
            event = _parse_event(request, json.loads(line), parse)
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
            message = f"{request}: cannot parse a watch event: {plain(error)}"
            raise InvalidResponseError(message) from None
        if event:
            yield event


def _parse_event(
    request: object, event: Any, parse: Callable[[Json], Fact]
) -> WatchEvent[Fact] | None:
    """The event, or None if its type is unknown."""
    kind, item = event["type"], event["object"]
    if kind == "ERROR":
        code, message = item.get("code"), plain(item.get("message") or kind)
        status = code if isinstance(code, int) else 0
        raise error_for_status(status, f"{request}: {message}")
    version = str(item["metadata"]["resourceVersion"])
    if kind == "BOOKMARK":
        return WatchEvent(version)
    if kind in ("ADDED", "MODIFIED", "DELETED"):
        return WatchEvent(version, parse(item), is_deleted=kind == "DELETED")
    return None


async def _lines(request: object, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Complete lines. Bytes after the last line break are an incomplete event and are dropped."""
    rest = bytearray()
    async for chunk in chunks:
        *line_ends, last = chunk.split(b"\n")
        for line_end in line_ends:
            yield bytes(rest + line_end)
            rest.clear()
        rest += last
        if len(rest) > LINE_BYTES:
            raise InvalidResponseError(
                f"{request}: a watch event is larger than {LINE_BYTES} bytes"
            )
