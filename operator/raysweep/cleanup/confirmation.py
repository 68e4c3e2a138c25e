"""Confirm: Namespace and policies as they are now, right before a deletion. One read serves everyone who waits for it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class _Read:
    sent: timedelta
    task: asyncio.Task[None]


@dataclass
class Confirmations:
    """Reads under way, by what is read."""

    _under_way: dict[str, _Read] = field(default_factory=dict)

    async def confirm(
        self,
        what: str,
        read: Callable[[timedelta], Awaitable[None]],
        *,
        confirmed_at: timedelta | None,
        now: timedelta,
        max_age: timedelta,
    ) -> None:
        """Returns once `what` is confirmed. Raises what `read` raises.

        All times are of the monotonic clock. confirmed_at: when the request was sent that last
        confirmed it. max_age: how long ago a request may have been sent that confirms it now; its
        answer may take longer, else a slow API server would confirm nothing. read: sends the
        request, given the time at which it is sent, and keeps the answer.
        """
        if confirmed_at is not None and now - confirmed_at <= max_age:
            return
        under_way = self._under_way.get(what)
        if under_way is None or now - under_way.sent > max_age:
            under_way = self._start(what, read, now)
        await asyncio.shield(under_way.task)  # who is canceled does not cancel the others' read

    def _start(
        self, what: str, read: Callable[[timedelta], Awaitable[None]], now: timedelta
    ) -> _Read:
        async def run() -> None:
            await read(now)

        started = _Read(now, asyncio.create_task(run()))
        self._under_way[what] = started
        started.task.add_done_callback(lambda _: self._end(what, started))
        return started

    def _end(self, what: str, ended: _Read) -> None:
        if self._under_way.get(what) is ended:
            del self._under_way[what]
        if not ended.task.cancelled():
            ended.task.exception()  # everyone who waited has it; if nobody did, it is no news
