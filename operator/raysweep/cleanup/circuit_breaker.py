"""The circuit breaker: if many heads fail at once, the cause is probably not the heads. No I/O.

While it is open for a namespace, nothing there is deleted as Unconfirmed. Namespaces are counted
separately, so that dead heads of one tenant do not affect another.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(slots=True)
class _Count:
    """The heads of one namespace that were probed within the window."""

    probed: int = 0
    failed: int = 0


@dataclass
class CircuitBreaker:
    """The last probe of each head within the window, counted by namespace.

    uptime: a monotonic clock. Each method takes constant time, amortized: a probe is counted once
    when it is recorded and once when it leaves the window.
    """

    uptime: Callable[[], timedelta]
    window: timedelta = timedelta(minutes=10)
    at_least: int = 10
    share: float = 0.3
    _last: OrderedDict[tuple[str, str], tuple[timedelta, bool]] = field(default_factory=OrderedDict)
    _counts: dict[str, _Count] = field(default_factory=dict)
    _failing: set[str] = field(default_factory=set)

    def record(self, namespace: str, head: str, *, is_usable: bool) -> None:
        """Records a probe of a head. is_usable: whether the head gave a usable answer.

        Do not record a head that is known not to be ready: its failure shows nothing else.
        """
        before = self._last.pop((namespace, head), None)
        if before is not None:
            self._count(namespace, -1, is_usable=before[1])
        self._last[(namespace, head)] = (self.uptime(), is_usable)
        self._count(namespace, 1, is_usable=is_usable)
        self._expire()

    def is_open(self, namespace: str) -> bool:
        """Whether so many probes failed that a failed probe there proves nothing.

        A namespace fails if more than `share` of its heads fail. The circuit breaker is open if
        the namespace itself fails and at least `at_least` of its heads were probed. It is open too
        if the failure is widespread: at least two namespaces and more than `share` of them fail,
        and at least `at_least` heads were probed in total.
        """
        self._expire()
        own = self._counts.get(namespace)
        if own and own.probed >= self.at_least and namespace in self._failing:
            return True
        failing = len(self._failing)
        is_widespread = failing >= 2 and failing > self.share * len(self._counts)
        return is_widespread and len(self._last) >= self.at_least

    def _expire(self) -> None:
        """Drops the probes before the window. The oldest comes first."""
        window_start = self.uptime() - self.window
        while self._last:
            (namespace, head), (probed_at, is_usable) = next(iter(self._last.items()))
            if probed_at >= window_start:
                return
            del self._last[(namespace, head)]
            self._count(namespace, -1, is_usable=is_usable)

    def _count(self, namespace: str, change: int, *, is_usable: bool) -> None:
        count = self._counts.setdefault(namespace, _Count())
        count.probed += change
        if not is_usable:
            count.failed += change
        if count.failed > self.share * count.probed:
            self._failing.add(namespace)
        else:
            self._failing.discard(namespace)
        if not count.probed:
            del self._counts[namespace]
