"""The brake: when many heads fail at once the fault is probably ours, and then nothing goes unconfirmed. No I/O."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass
class Brake:
    """The last answer of each head asked lately. uptime is a monotonic clock."""

    uptime: Callable[[], timedelta]
    window: timedelta = timedelta(minutes=10)
    at_least: int = 10
    share: float = 0.3
    _last: dict[str, tuple[timedelta, bool]] = field(default_factory=dict)

    def answered(self, head: str, *, usable: bool) -> None:
        """A head was asked. One that is known not to be ready is no sign of a fault of ours: do not tell of it."""
        self._last[head] = (self.uptime(), usable)

    def is_on(self) -> bool:
        """Whether more than that share of at least so many heads gave no usable answer within the window."""
        begin = self.uptime() - self.window
        self._last = {head: seen for head, seen in self._last.items() if seen[0] >= begin}
        silent = sum(not usable for _, usable in self._last.values())
        return len(self._last) >= self.at_least and silent > self.share * len(self._last)
