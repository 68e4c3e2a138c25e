"""What can be decided about a RayJob, and the explanation that goes with it: records only, no judgement."""

from dataclasses import dataclass
from datetime import datetime

from raysweep.core.model.facts import ProbeKind
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import SourcedDuration
from raysweep.core.model.reasons import Reason


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of a decision: which guard, which word, on what evidence, and the times it reckoned with."""

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
    """One object to delete. resource_version is "" where the uid alone is to match."""

    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str = ""


@dataclass(frozen=True, slots=True)
class Keep:
    """It stays until something about it changes."""

    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Wait:
    """It stays at least until then."""

    until: datetime
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class ProbeHead:
    """It is due as far as can be told from here: take a live look at its cluster and head, and judge again."""

    explanation: Explanation
    kind: ProbeKind = ProbeKind.BEFORE_DELETION


@dataclass(frozen=True, slots=True)
class Delete:
    """These go, in this order. The RayJob comes first, because one that is being deleted never rebuilds its cluster."""

    targets: tuple[Target, ...]
    explanation: Explanation
    note: str = (
        ""  # for raysweep.io/outcome, before a cluster goes whose head knows more than the status
    )


Decision = Keep | Wait | ProbeHead | Delete
