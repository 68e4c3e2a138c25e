"""Keeps what a command has listed current: one list, then its watch, as client-go's reflector does (tools/cache/reflector.go)."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

from raysweep.clients.errors import ApiError, BusyError, ForbiddenError, UnreachableError
from raysweep.clients.watches import EXPIRED, Change

Fact = TypeVar("Fact")

READ_AGAIN_AFTER = timedelta(seconds=10)
"""How often objects are read again that the user may not watch."""
LOOK_AGAIN_AFTER = timedelta(seconds=60)
"""How often it is tried to read what could not be watched: its CRD may be installed, or a right granted."""
LONGEST_PAUSE = timedelta(seconds=30)
"""Between two tries while the API server fails. The first is a second long, each further one twice as long."""
VERY_SHORT = timedelta(seconds=1)
"""A watch that ends sooner is not opened again at once."""
AWAY = (BusyError, UnreachableError)


@dataclass(frozen=True)
class Source(Generic[Fact]):
    """One kind of objects: how all of them are read, how they are watched, and where changes go.

    read returns the resourceVersion to watch from. "": the watch begins with every object that is
    there. None: there is nothing to watch.
    """

    kind: str
    read: Callable[[], Awaitable[str | None]]
    watch: Callable[[str], AbstractAsyncContextManager[AsyncIterator[Change[Fact]]]]
    saw: Callable[[Fact], None]
    lost: Callable[[Fact], None]


@dataclass
class News:
    """What reflectors tell their reader."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    problems: dict[str, str] = field(default_factory=dict)  # by kind: why it is not current
    unwatched: dict[str, str] = field(default_factory=dict)  # by kind: why it may not be watched


class Reflector(Generic[Fact]):
    """Keeps one kind of objects current. Await `read` once, then let `run` go on."""

    def __init__(self, source: Source[Fact], news: News) -> None:
        self._source = source
        self._news = news
        self._since: str | None = None
        self._is_read = False
        self._failures = 0

    async def read(self) -> None:
        """Reads all of them. Raises ApiError."""
        self._since = await self._source.read()
        self._is_read = True
        self._is_current()
        self._news.changed.set()

    async def run(self) -> None:
        """Goes on until it is cancelled, whatever the API server answers."""
        while True:
            try:
                await self._step()
            except ApiError as error:
                await self._failed(error)

    async def _step(self) -> None:
        if not self._is_read:
            await self.read()
        elif self._source.kind in self._news.unwatched:
            await self._read_again(READ_AGAIN_AFTER)
        elif self._since is None:
            await self._read_again(LOOK_AGAIN_AFTER)
        else:
            await self._watch(self._since)

    async def _read_again(self, after: timedelta) -> None:
        await asyncio.sleep(after.total_seconds())
        await self.read()

    async def _watch(self, since: str) -> None:
        """Until the API server ends the watch, as it does every minute or two."""
        clock = asyncio.get_running_loop().time
        began, is_open = clock(), False
        try:
            async with self._source.watch(since) as changes:
                is_open = True
                self._is_current()
                async for change in changes:
                    self._failures = 0
                    self._since = change.resource_version
                    self._take(change)
        except ForbiddenError as error:
            if is_open or error.code != 403:
                raise
            self._news.unwatched[self._source.kind] = str(error)
            self._news.changed.set()
            return
        if clock() - began < VERY_SHORT.total_seconds():
            await self._pause()
        else:
            self._failures = 0

    def _take(self, change: Change[Fact]) -> None:
        if change.fact is None:
            return
        if change.is_deleted:
            self._source.lost(change.fact)
        else:
            self._source.saw(change.fact)
        self._news.changed.set()

    def _is_current(self) -> None:
        if self._news.problems.pop(self._source.kind, None):
            self._news.changed.set()

    async def _failed(self, error: ApiError) -> None:
        """If the API server is only away, the watch goes on where it ended. After anything else all is read anew."""
        self._is_read = self._is_read and isinstance(error, AWAY)
        if error.code != EXPIRED:
            self._news.problems[self._source.kind] = str(error)
            self._news.changed.set()
        await self._pause()

    async def _pause(self) -> None:
        self._failures += 1
        longest = min(2.0 ** (self._failures - 1), LONGEST_PAUSE.total_seconds())
        await asyncio.sleep(longest * random.uniform(0.5, 1.0))
