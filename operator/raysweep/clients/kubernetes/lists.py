"""Reads lists from the API server page by page, within a bound on the bytes of a page."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar, cast

from raysweep.clients.kubernetes.discovery import raise_if_not_served
from raysweep.clients.kubernetes.errors import InvalidResponseError, UnconfirmedNotFoundError
from raysweep.clients.kubernetes.item_readers import CachedItemReader, ItemReader, Unnamed
from raysweep.clients.kubernetes.pages import (
    OBJECT_BYTES,
    PAGE_BYTES,
    Page,
    PageSize,
    TooLargeError,
    members,
)
from raysweep.clients.kubernetes.session import JSON, ApiSession, Query, Request
from raysweep.clients.parsing.common import Json
from raysweep.core.text import plain

YIELD_EVERY = 64 * 2**10
"""After so many parsed bytes of a list, the other tasks of the event loop run."""

Fact = TypeVar("Fact")


class ListReader:
    """Reads lists in pages. Remembers for each list how many of its objects fit in a page.

    If it repeats its lists, it keeps the facts of each list to skip unchanged objects in the next.
    """

    def __init__(
        self, session: ApiSession, page_bytes: int = PAGE_BYTES, *, repeats: bool = False
    ) -> None:
        self._session = session
        self._page_bytes = page_bytes
        self._repeats = repeats
        self._sizes: defaultdict[str, PageSize] = defaultdict(PageSize)
        self._readers: dict[str, CachedItemReader[Any]] = {}

    async def pages(
        self,
        path: str,
        parse: Callable[[Json], Fact],
        *,
        accept: str = JSON,
        selector: Query = (),
    ) -> AsyncIterator[Page[Fact]]:
        """The pages of a list. An object for which `parse` raises ValueError is only counted.

        `selector` is a labelSelector or a fieldSelector. If this reader repeats its lists, `parse`
        must be the same for every list of a path.
        """
        size, reader = self._sizes[path], self._reader(path, parse)
        reader.begin_list()
        query = selector
        while True:
            raw = await self._read(Request("GET", path, query, accept=accept), size)
            page, metadata = await _parse_page(path, raw, reader)
            size.grow(len(raw), self._page_bytes)
            del raw  # a page may have megabytes, and the caller may take long
            yield page
            token = str(metadata.get("continue") or "")
            if not token:
                reader.end_list()
                return
            query = (*selector, ("continue", token))

    async def complete_pages(
        self, path: str, parse: Callable[[Json], Fact], *, accept: str = JSON
    ) -> AsyncIterator[Page[Fact]]:
        """The pages of a list. Raises InvalidResponseError if an object cannot be identified."""
        async for page in self.pages(path, parse, accept=accept):
            if page.unnamed:
                problem = f"{page.unnamed} objects have no readable name and uid"
                raise InvalidResponseError(f"GET {path}: {problem}")
            yield page

    def _reader(self, path: str, parse: Callable[[Json], Fact]) -> ItemReader[Fact]:
        if not self._repeats:
            return ItemReader(parse)
        reader = self._readers.setdefault(path, CachedItemReader(parse))
        return cast("ItemReader[Fact]", reader)

    async def _read(self, request: Request, size: PageSize) -> bytearray:
        """The bytes of one page. The limit shrinks until the page fits.

        The API server accepts the same continue token with another limit.
        """
        while True:
            max_bytes = self._page_bytes
            if size.limit == 1:
                max_bytes = max(max_bytes, OBJECT_BYTES)
            query = (("limit", str(size.limit)), *request.query)
            page_request = Request("GET", request.path, query, accept=request.accept)
            try:
                return await self._session.read(page_request, max_bytes)
            except TooLargeError:
                if size.limit == 1:
                    message = f"{request}: one object is larger than {max_bytes} bytes"
                    raise InvalidResponseError(message) from None
                size.shrink()
            except UnconfirmedNotFoundError as error:
                await raise_if_not_served(self._session, request.path, error)
                raise


async def _parse_page(
    path: str, raw: bytearray, reader: ItemReader[Fact]
) -> tuple[Page[Fact], Json]:
    """The facts of a page and its metadata. Only one object at a time is held as JSON."""
    page, next_yield = Page[Fact](), YIELD_EVERY
    metadata: Any = {}
    try:
        for key, value, position in members(raw.decode(), reader.decode):
            if key == "metadata":
                metadata = value or {}
            elif key == "items":
                _add(page, value)
            if position >= next_yield:
                next_yield = position + YIELD_EVERY
                await asyncio.sleep(0)
    except (ValueError, IndexError, RecursionError) as error:
        message = f"GET {path}: cannot parse the response: {plain(error)}"
        raise InvalidResponseError(message) from None
    if not isinstance(metadata, dict):
        raise InvalidResponseError(f"GET {path}: the metadata of the list is not an object")
    page.resource_version = str(metadata.get("resourceVersion") or "")
    return page, metadata


def _add(page: Page[Fact], fact: Fact | Unnamed) -> None:
    if isinstance(fact, Unnamed):
        page.unnamed += 1
    else:
        page.append(fact)
