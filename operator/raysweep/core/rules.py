"""The durations and counts that decisions reckon with: each is a setting, and here are their defaults. No logic enters."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from raysweep import names


class Mode(StrEnum):
    """Whether deletions are carried out, or only told of."""

    ENFORCE = "Enforce"
    OBSERVE = "Observe"


class NativeTTL(StrEnum):
    """What shutdownAfterJobFinishes with a ttlSecondsAfterFinished above 0 says: when the RayJob goes, or the RayCluster."""

    RAYJOB = "RayJob"
    RAYCLUSTER = "RayCluster"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator was told about deciding."""

    mode: Mode = Mode.ENFORCE
    protected_namespaces: frozenset[str] = names.ALWAYS_PROTECTED_NAMESPACES
    recreated_by: frozenset[str] = names.RECREATED_BY
    native_ttl: NativeTTL = NativeTTL.RAYJOB
    native_grace: timedelta = timedelta(seconds=60)
    cron_grace: timedelta = timedelta(minutes=2)
    unconfirmed_looks: int = 3
    unconfirmed_after: timedelta = timedelta(minutes=5)
    unchanged_after: timedelta = timedelta(minutes=30)
    unreported_after: timedelta = timedelta(minutes=10)
    backlog_wait: timedelta = timedelta(minutes=15)
    backlog_overdue: timedelta = timedelta(minutes=2)
    backlog_max: int = 100


DEFAULTS = Rules()
