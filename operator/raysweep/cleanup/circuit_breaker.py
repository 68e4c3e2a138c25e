"""The circuit breaker: if many heads fail at once, the fault is probably Raysweep's. No I/O.

While it is on for a namespace, nothing there is deleted as Unconfirmed. Namespaces are counted
apart, so that the dead heads of one tenant change nothing for another.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(slots=True)
class _Count:
    """The heads of one namespace that were asked within the window."""

    asked: int = 0
    silent: int = 0


@dataclass
class CircuitBreaker:
    """The last answer of each head that was asked within the window, counted by namespace.

    uptime is a monotonic clock. Each method takes constant time, amortized: an answer is counted
    once when it comes and once when it leaves the window.
    """

    uptime: Callable[[], timedelta]
    window: timedelta = timedelta(minutes=10)
    at_least: int = 10
    share: float = 0.3
    _last: OrderedDict[tuple[str, str], tuple[timedelta, bool]] = field(default_factory=OrderedDict)
    _counts: dict[str, _Count] = field(default_factory=dict)
    _failing: set[str] = field(default_factory=set)

    def answered(self, namespace: str, head: str, *, usable: bool) -> None:
        """Counts the answer of a head, by its name in that namespace.

        Do not count a head that is known not to be ready: its silence says nothing about Raysweep.
        """
        before = self._last.pop((namespace, head), None)
        if before is not None:
            self._count(namespace, -1, usable=before[1])
        self._last[(namespace, head)] = (self.uptime(), usable)
        self._count(namespace, 1, usable=usable)
        self._expire()

    def is_on(self, namespace: str) -> bool:
        """Whether so many heads gave no usable answer that a silent head there proves nothing.

        Either the namespace's own heads fail, at least `at_least` of them asked, or the failure is
        widespread: at least `at_least` heads asked in all, and of the namespaces at least two, and
        more than `share`, fail. A namespace fails if more than `share` of its heads are silent.
        """
        self._expire()
        own = self._counts.get(namespace)
        if own and own.asked >= self.at_least and namespace in self._failing:
            return True
        failing = len(self._failing)
        is_widespread = failing >= 2 and failing > self.share * len(self._counts)
        return is_widespread and len(self._last) >= self.at_least

    def _expire(self) -> None:
        """Drops the answers from before the window; the oldest stands first."""
        begin = self.uptime() - self.window
        while self._last:
            (namespace, head), (at, usable) = next(iter(self._last.items()))
            if at >= begin:
                return
            del self._last[(namespace, head)]
            self._count(namespace, -1, usable=usable)

    def _count(self, namespace: str, change: int, *, usable: bool) -> None:
        count = self._counts.setdefault(namespace, _Count())
        count.asked += change
        if not usable:
            count.silent += change
        if count.silent > self.share * count.asked:
            self._failing.add(namespace)
        else:
            self._failing.discard(namespace)
        if not count.asked:
            del self._counts[namespace]
