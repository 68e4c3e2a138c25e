"""Keeps what a command has listed current: one list, then a watch from its resourceVersion.

The rules are those of client-go's reflector (tools/cache/reflector.go).
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

from raysweep.clients.kubernetes.errors import ApiError, BusyError, ForbiddenError, UnreachableError
from raysweep.clients.kubernetes.watches import EXPIRED, WatchEvent

Fact = TypeVar("Fact")

READ_AGAIN_AFTER = timedelta(seconds=10)
"""How often objects are read again that the user may not watch."""
TRY_AGAIN_AFTER = timedelta(seconds=60)
"""How often an attempt is made to read what is missing: a CRD, or a right."""
LONGEST_PAUSE = timedelta(seconds=30)
"""Between two attempts while the API server fails. The first pause is a second, the next is twice
as long."""
SHORT = timedelta(seconds=1)
"""After a watch that ends sooner there is a pause as well."""
AWAY = (BusyError, UnreachableError)


@dataclass(frozen=True)
class Source(Generic[Fact]):
    """One kind of objects: how they are listed and watched, and where changes go.

    read returns the resourceVersion from which to watch. "" means that the watch begins with every
    existing object, None that there is nothing to watch.
    """

    kind: str
    read: Callable[[], Awaitable[str | None]]
    watch: Callable[[str], AbstractAsyncContextManager[AsyncIterator[WatchEvent[Fact]]]]
    upsert: Callable[[Fact], None]
    remove: Callable[[Fact], None]


@dataclass
class News:
    """What reflectors report to their reader. The two mappings are by kind of objects."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    problems: dict[str, str] = field(default_factory=dict)  # why the objects may be out of date
    forbidden: dict[str, str] = field(default_factory=dict)  # why they may not be watched


class Reflector(Generic[Fact]):
    """Keeps one kind of objects current. Await `read` once, then start `run`."""

    def __init__(self, source: Source[Fact], news: News) -> None:
        self._source = source
        self._news = news
        self._since: str | None = None
        self._is_read = False
        self._failures = 0

    async def read(self) -> None:
        """Reads all objects. Raises ApiError."""
        self._since = await self._source.read()
        self._is_read = True
        self._solved()
        self._news.changed.set()

    async def run(self) -> None:
        """Runs until it is cancelled, whatever the API server answers."""
        while True:
            try:
                await self._step()
            except ApiError as error:
                await self._failed(error)

    async def _step(self) -> None:
        if not self._is_read:
            await self.read()
        elif self._source.kind in self._news.forbidden:
            await self._read_after(READ_AGAIN_AFTER)
        elif self._since is None:
            await self._read_after(TRY_AGAIN_AFTER)
        else:
            await self._watch(self._since)

    async def _read_after(self, pause: timedelta) -> None:
        await asyncio.sleep(pause.total_seconds())
        await self.read()

    async def _watch(self, since: str) -> None:
        """Watches until the API server ends the watch, after a minute or two."""
        clock = asyncio.get_running_loop().time
        began, is_open = clock(), False
        try:
            async with self._source.watch(since) as changes:
                is_open = True
                self._solved()
                async for change in changes:
                    self._failures = 0
                    self._since = change.resource_version
                    self._apply(change)
        except ForbiddenError as error:
            if is_open or error.code != 403:
                raise
            self._news.forbidden[self._source.kind] = str(error)
            self._news.changed.set()
            return
        if clock() - began < SHORT.total_seconds():
            await self._pause()
        else:
            self._failures = 0

    def _apply(self, change: WatchEvent[Fact]) -> None:
        if change.fact is None:
            return
        if change.is_deleted:
            self._source.remove(change.fact)
        else:
            self._source.upsert(change.fact)
        self._news.changed.set()

    def _solved(self) -> None:
        if self._news.problems.pop(self._source.kind, None):
            self._news.changed.set()

    async def _failed(self, error: ApiError) -> None:
        """If the API server is away, the watch is resumed later. Otherwise all is read again."""
        self._is_read = self._is_read and isinstance(error, AWAY)
        if error.code != EXPIRED:
            self._news.problems[self._source.kind] = str(error)
            self._news.changed.set()
        await self._pause()

    async def _pause(self) -> None:
        self._failures += 1
        longest = min(2.0 ** (self._failures - 1), LONGEST_PAUSE.total_seconds())
        await asyncio.sleep(longest * random.uniform(0.5, 1.0))
