"""Confirms Namespace and policies right before a deletion, with one read for all waiters."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class _Read:
    sent_at: timedelta
    task: asyncio.Task[None]


@dataclass
class Confirmations:
    """The reads in progress, by what they read."""

    _reads: dict[str, _Read] = field(default_factory=dict)

    async def confirm(
        self,
        subject: str,
        read: Callable[[timedelta], Awaitable[None]],
        *,
        confirmed_at: timedelta | None,
        now: timedelta,
        max_age: timedelta,
    ) -> None:
        """Returns once the subject is confirmed. Raises what `read` raises.

        All times are of the monotonic clock. confirmed_at: when the request was sent that last
        confirmed it. max_age: how long ago a request may have been sent. Its response may take
        longer, or a slow API server would confirm nothing. read: sends the request, given the time
        at which it is sent, and stores the response.
        """
        if confirmed_at is not None and now - confirmed_at <= max_age:
            return
        current = self._reads.get(subject)
        if current is None or now - current.sent_at > max_age:
            current = self._start(subject, read, now)
        # Canceling one waiter must not cancel the read of the others.
        await asyncio.shield(current.task)

    def _start(
        self, subject: str, read: Callable[[timedelta], Awaitable[None]], now: timedelta
    ) -> _Read:
        async def run() -> None:
            await read(now)

        started = _Read(now, asyncio.create_task(run()))
        self._reads[subject] = started
        started.task.add_done_callback(lambda _: self._finish(subject, started))
        return started

    def _finish(self, subject: str, finished: _Read) -> None:
        if self._reads.get(subject) is finished:
            del self._reads[subject]
        if not finished.task.cancelled():
            finished.task.exception()  # marks it as retrieved, even if all waiters were canceled
