"""The durations and counts that decisions reckon with: each is a setting, and here are their defaults. No logic enters."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from raysweep import names


class Mode(StrEnum):
    """Whether deletions are carried out, or only told of."""

    ENFORCE = "Enforce"
    DRY_RUN = "DryRun"


class KubeRayTTL(StrEnum):
    """What shutdownAfterJobFinishes with a ttlSecondsAfterFinished above 0 says: when the RayJob goes, or the RayCluster."""

    RAYJOB = "RayJob"
    RAYCLUSTER = "RayCluster"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from `first` to `last`."""

    first: timedelta
    last: timedelta

    def after(self, times: int) -> timedelta:
        """How long to wait after so many (1 or more) in a row."""
        return min(self.first * (1 << min(times - 1, 30)), self.last)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the operator was told about deciding."""

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
    probe_again: Backoff = Backoff(
        timedelta(minutes=1), timedelta(minutes=30)
    )  # after a look that led to no deletion
    silent_probe: Backoff = Backoff(
        timedelta(seconds=30), timedelta(minutes=5)
    )  # after a head's silence
    status_probe: Backoff = Backoff(
        timedelta(minutes=5), timedelta(minutes=30)
    )  # of jobs that seem to run for ever
    bulk_expiry_wait: timedelta = timedelta(minutes=15)
    bulk_expiry_overdue: timedelta = timedelta(minutes=2)
    bulk_expiry_max: int = 100


DEFAULTS = Parameters()
