"""Detects when the wall clock was set forward. Decides nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

STEP = timedelta(seconds=5)
"""NTP slews a clock by less than a second within minutes. A larger difference is a step."""


@dataclass
class WallClock:
    """Compares the wall clock with uptime, a monotonic clock, at each reading.

    settle: how long after a step forward the wall clock is not trusted. A suspended machine looks
    the same, because its monotonic clock stops.
    """

    now: Callable[[], datetime]
    uptime: Callable[[], timedelta]
    settle: timedelta
    _offset: datetime | None = None
    _settles_at: timedelta | None = None

    def settles_at(self) -> timedelta | None:
        """The uptime from which the wall clock is trusted again. None if it was not set forward."""
        uptime = self.uptime()
        offset = self.now() - uptime
        if self._offset is not None and offset - self._offset > STEP:
            self._settles_at = uptime + self.settle
        self._offset = offset
        return self._settles_at
