"""Reads the audit log of a sandbox while it grows: who deleted what, and when.

Times are those at which the API server received a request, to the microsecond.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sandbox.cluster import Cluster
from sandbox.waiting import until

Event = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""

OPERATOR, KUBERAY, KUBELET, BARE = "raysweep", "kuberay-operator", "kubelet", "bare"
"""Prefixes of User-Agents."""
DELETED = (200, 404)


@dataclass
class AuditLog:
    """The events that were written after this reader was created."""

    cluster: Cluster
    offset: int = -1

    def __post_init__(self) -> None:
        if self.offset < 0:
            self.offset = self.cluster.audit_log.stat().st_size

    def read(self, *words: str) -> list[Event]:
        """The events since the last call whose line contains all these words."""
        with self.cluster.audit_log.open("rb") as file:
            file.seek(self.offset)
            data = file.read()
        complete = data[: data.rfind(b"\n") + 1]
        self.offset += len(complete)
        needed = [word.encode() for word in words]
        lines = (line for line in complete.splitlines() if all(word in line for word in needed))
        return [json.loads(line) for line in lines]


@dataclass
class Deletions:
    """When one program deleted objects of one resource: its first DELETE of each.

    A DELETE of an object that the garbage collector has deleted already counts too.
    """

    log: AuditLog
    agent: str
    resource: str = "rayclusters"
    namespaces: frozenset[str] | None = None
    times: dict[Key, datetime] = field(default_factory=dict)

    @classmethod
    def by(
        cls,
        cluster: Cluster,
        agent: str,
        resource: str = "rayclusters",
        namespaces: Iterable[str] | None = None,
    ) -> "Deletions":
        """Those that are requested from now on, in these namespaces or in all."""
        only = None if namespaces is None else frozenset(namespaces)
        return cls(AuditLog(cluster), agent, resource, only)

    def update(self) -> None:
        """Reads what is new in the audit log."""
        words = ('"verb":"delete"', f'"userAgent":"{self.agent}', f'"resource":"{self.resource}"')
        for event in self.log.read(*words):
            target = event["objectRef"]
            is_here = self.namespaces is None or target["namespace"] in self.namespaces
            if is_here and event["responseStatus"]["code"] in DELETED:
                key = (target["namespace"], target["name"])
                self.times.setdefault(key, received_at(event))

    async def until(self, count: int, timeout: float) -> None:
        """Waits until that many objects were deleted. Raises TimeoutError."""

        def are_deleted() -> bool:
            self.update()
            return len(self.times) >= count

        try:
            await until(are_deleted, timeout=timeout, every=0.5)
        except TimeoutError as error:
            found = f"{len(self.times)} of {count} {self.resource}"
            raise TimeoutError(f"{self.agent} deleted {found} within {timeout:.0f} s") from error


def received_at(event: Event) -> datetime:
    """When the API server received the request."""
    return datetime.fromisoformat(event["requestReceivedTimestamp"])


def answered_at(event: Event) -> datetime:
    """When the API server had sent its response."""
    return datetime.fromisoformat(event["stageTimestamp"])


def lags(times: Mapping[Key, datetime], due: Mapping[Key, datetime]) -> list[float]:
    """Seconds from due to DELETE, of all that were due.

    Raises ValueError if one was not deleted, or was deleted before it was due.
    """
    missing = due.keys() - times.keys()
    if missing:
        raise ValueError(f"{len(missing)} were not deleted, such as {min(missing)}")
    result = [(times[key] - moment).total_seconds() for key, moment in due.items()]
    if min(result) < 0:
        raise ValueError(f"one was deleted {-min(result):.3f} s before it was due")
    return result


def per_second(times: Iterable[datetime], since: datetime) -> float:
    """How many there were per second, from `since` to the last."""
    ordered = sorted(times)
    return len(ordered) / (ordered[-1] - since).total_seconds()


def most_in_flight(events: Sequence[Event]) -> int:
    """How many of these requests the API server worked on at once, at most."""
    changes = [(received_at(event), 1) for event in events]
    changes += [(answered_at(event), -1) for event in events]
    current = most = 0
    for _, change in sorted(changes):
        current += change
        most = max(most, current)
    return most


def by_verb(events: Iterable[Event]) -> Counter[str]:
    """How many requests there were of each verb and resource, such as "delete rayjobs"."""
    return Counter(_described(event) for event in events)


def _described(event: Event) -> str:
    target = event.get("objectRef")
    if target is None:
        return f"{event['verb']} {event['requestURI'].partition('?')[0]}"
    subresource = f"/{target['subresource']}" if "subresource" in target else ""
    return f"{event['verb']} {target['resource']}{subresource}"
