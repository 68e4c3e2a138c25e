"""The write fence: whether this process may still write, judged by its own monotonic clock alone.

The leader election (leader.py) moves the deadline. Whoever writes asks the fence first. A watchdog
ends the process if it outlives a lost Lease.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta

log = logging.getLogger("raysweep")

LAST_LOG_LINE_WITHIN = timedelta(seconds=1)

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def lease_clock() -> timedelta:
    """A monotonic clock that also counts suspended time, if the system has such a clock."""
    return timedelta(seconds=time.clock_gettime(_CLOCK))


class LeaseFence:
    """Allows writes until a deadline. Satisfies clients.kubernetes.client.WriteFence.

    The event loop asks it right before each write, and the watchdog thread asks it regularly.
    """

    def __init__(self, clock: Callable[[], timedelta]) -> None:
        self._clock = clock
        self._deadline: timedelta | None = None
        self._is_stopping = False
        self.deletions: set[asyncio.Task[object]] = set()
        """Tasks whose deletion is in progress."""
        self.ended = threading.Event()

    def open_until(self, deadline: timedelta) -> None:
        """Allows writes until the clock reaches the deadline."""
        self._deadline = deadline

    def open_always(self) -> None:
        """Allows writes for ever, because leader election is off."""
        self._deadline = timedelta.max

    def close_lost(self) -> None:
        """Refuses writes from now on. The watchdog will end the process."""
        self._deadline = min(self._deadline or timedelta(), self._clock())

    def close(self) -> None:
        """Refuses writes from now on, in an orderly shutdown. The watchdog stops."""
        self._deadline = None
        self.ended.set()

    def remaining(self) -> timedelta:
        """How long writes are still allowed. 0 or less if they are not."""
        deadline = self._deadline
        return deadline - self._clock() if deadline is not None else timedelta()

    def write_refusal(self) -> str | None:
        if self.remaining() > timedelta():
            return None
        if self._deadline is None:
            return "this replica is not the leader"
        return "this replica has lost the Lease"

    def delete_refusal(self) -> str | None:
        """Why a request of a deletion is refused.

        During shutdown a deletion in progress may continue, and no new one may start. One task
        performs one deletion.
        """
        task = asyncio.current_task()
        refusal = self.write_refusal()
        if refusal or task is None or task in self.deletions:
            return refusal
        if self._is_stopping:
            return "this process is shutting down and starts no new deletions"
        self.deletions.add(task)
        task.add_done_callback(self.deletions.discard)
        return None

    async def drain(self, within: timedelta) -> bool:
        """Refuses new deletions and waits for those in progress. Whether all have finished."""
        self._is_stopping = True
        if not self.deletions:
            return True
        _, pending = await asyncio.wait(set(self.deletions), timeout=within.total_seconds())
        return not pending


def start_watchdog(fence: LeaseFence, grace: timedelta, die: Callable[[], None]) -> None:
    """Starts a thread that calls `die` if the process outlives the lost Lease by `grace`."""

    def watch() -> None:
        while not fence.ended.wait((grace / 4).total_seconds()):
            if fence.remaining() < -grace:
                die()
                return

    threading.Thread(target=watch, name="lease watchdog", daemon=True).start()


def die() -> None:
    """Ends the process at once.

    The log line has a thread and a time limit of its own: a loop that hangs while it logs holds
    the lock of the log handler.
    """
    message = "the Lease is lost and this process did not stop in time: exiting now"
    logging_thread = threading.Thread(target=log.critical, args=(message,), daemon=True)
    logging_thread.start()
    logging_thread.join(LAST_LOG_LINE_WITHIN.total_seconds())
    os._exit(1)
