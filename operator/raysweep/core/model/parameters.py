"""The durations and counts of the decisions, with their defaults. Each one is a setting."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from raysweep import names


class Mode(StrEnum):
    """Whether deletions are carried out or only reported."""

    ENFORCE = "Enforce"
    DRY_RUN = "DryRun"


class KubeRayTTL(StrEnum):
    """What shutdownAfterJobFinishes with ttlSecondsAfterFinished above 0 is a TTL of."""

    RAYJOB = "RayJob"
    RAYCLUSTER = "RayCluster"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `first` to `last`."""

    first: timedelta
    last: timedelta

    def after(self, times: int) -> timedelta:
        """The wait after so many failures in a row, 1 or more."""
        return min(self.first * (1 << min(times - 1, 30)), self.last)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The settings of the decisions."""

    mode: Mode = Mode.ENFORCE
    protected_namespaces: frozenset[str] = names.ALWAYS_PROTECTED_NAMESPACES
    recreated_by: frozenset[str] = names.RECREATED_BY
    kuberay_ttl: KubeRayTTL = KubeRayTTL.RAYJOB
    kuberay_grace: timedelta = timedelta(seconds=60)
    cron_grace: timedelta = timedelta(minutes=2)
    unconfirmed_probes: int = 3
    unconfirmed_after: timedelta = timedelta(minutes=5)
    unchanged_after: timedelta = timedelta(minutes=30)
    unreported_after: timedelta = timedelta(minutes=10)
    probe_again: Backoff = Backoff(timedelta(minutes=1), timedelta(minutes=30))
    """After a probe that led to no deletion."""
    silent_probe: Backoff = Backoff(timedelta(seconds=30), timedelta(minutes=5))
    """After a probe without a usable answer."""
    status_probe: Backoff = Backoff(timedelta(minutes=5), timedelta(minutes=30))
    """Of a job that seems to run forever."""
    bulk_expiry_wait: timedelta = timedelta(minutes=15)
    bulk_expiry_overdue: timedelta = timedelta(minutes=2)
    bulk_expiry_max: int = 100


DEFAULTS = Parameters()
