"""Decisions about a RayJob and their explanations."""

from dataclasses import dataclass
from datetime import datetime

from raysweep.core.model.facts import ProbeKind
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import SourcedDuration
from raysweep.core.model.reasons import Reason


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which check decided, its reason, the details, and the times that it used."""

    check: str
    reason: Reason
    message: str
    outcome: Outcome | None = None
    finished_at: datetime | None = None
    due_at: datetime | None = None
    ttl: SourcedDuration | None = None
    cluster_ttl: SourcedDuration | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One object to delete. If resource_version is "", only the uid has to match."""

    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class Keep:
    """The RayJob is kept until something about it changes."""

    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Wait:
    """The RayJob is kept at least until a time."""

    until: datetime
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class ProbeHead:
    """The decision needs a probe of the cluster and its head first."""

    explanation: Explanation
    kind: ProbeKind = ProbeKind.BEFORE_DELETION


@dataclass(frozen=True, slots=True)
class Delete:
    """The targets are deleted in this order.

    The RayJob comes first, because KubeRay does not rebuild the cluster of a RayJob that is being
    deleted. note: the value of raysweep.io/outcome, written before the deletion of a cluster whose
    head knows more than the status.
    """

    targets: tuple[Target, ...]
    explanation: Explanation
    note: str = ""


Decision = Keep | Wait | ProbeHead | Delete
