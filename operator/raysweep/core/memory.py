"""What was seen before, as a value: a pass takes a Memory and yields the next one. The controller's store keeps it.

Two laws: without memory nothing is trusted to a grace, and forgetting never hastens a deletion.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from raysweep.core.decisions import Decision, Why
from raysweep.core.facts import Look
from raysweep.core.reasons import Reason


@dataclass(frozen=True, slots=True)
class Memory:
    """What earlier passes saw of one RayJob (by uid)."""

    first_finished: datetime | None = None
    fruitless_looks: int = 0
    look_again_at: datetime | None = None
    kept_by_look: Why | None = None
    looked_at: str = ""  # resourceVersion of the RayJob then; another one may answer differently
    cluster_gone: bool = False  # a look found no RayCluster of the name in the status, or we deleted it


NOTHING = Memory()


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `first` to `last`."""

    first: timedelta
    last: timedelta

    def after(self, times: int) -> timedelta:
        """How long to wait after so many (1 or more) in a row."""
        return min(self.first * (1 << min(times - 1, 30)), self.last)


LOOK_AGAIN = {
    Reason.STILL_RUNNING: Backoff(timedelta(minutes=1), timedelta(minutes=30)),
    Reason.CLUSTER_IN_USE: Backoff(timedelta(minutes=1), timedelta(minutes=30)),
    Reason.AMBIGUOUS: Backoff(timedelta(minutes=1), timedelta(minutes=30)),
    Reason.HEAD_UNREACHABLE: Backoff(timedelta(seconds=30), timedelta(minutes=5)),
    Reason.HEAD_UNAUTHORIZED: Backoff(timedelta(minutes=1), timedelta(minutes=30)),
    Reason.NOT_OWNED: Backoff(timedelta(minutes=1), timedelta(minutes=30)),
    Reason.OTHER_CLUSTER: Backoff(timedelta(minutes=1), timedelta(minutes=30)),
}
"""What only another look at the cluster and its head can change, and how soon to take it."""


STARTS_AFRESH = frozenset({Reason.NOT_FINISHED, Reason.SUSPENDED})
"""Once a RayJob runs (again), what was seen of an earlier end means nothing."""


def remember(memory: Memory, decision: Decision, now: datetime, look: Look | None, resource_version: str) -> Memory:
    """The memory after a pass. look: the live look that the decision rests on, if one; resource_version: of the RayJob."""
    why = decision.why
    if why.reason in STARTS_AFRESH:
        return NOTHING
    if why.finished_at is None:  # a guard before the question of the end spoke
        return memory
    seen = replace(memory, first_finished=memory.first_finished or now)
    if look is None:
        return seen
    seen = replace(seen, cluster_gone=look.cluster is None)
    if why.reason not in LOOK_AGAIN:
        return replace(seen, fruitless_looks=0, look_again_at=None, kept_by_look=None)
    as_before = memory.kept_by_look is not None and memory.kept_by_look.reason is why.reason
    looks = memory.fruitless_looks + 1 if as_before else 1
    again_at = now + LOOK_AGAIN[why.reason].after(looks)
    return replace(seen, fruitless_looks=looks, look_again_at=again_at, kept_by_look=why, looked_at=resource_version)
