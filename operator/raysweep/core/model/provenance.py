"""Durations with the place that sets them, and values that cannot be read."""

from dataclasses import dataclass
from datetime import timedelta

from raysweep.core.durations import NEVER, Duration
from raysweep.core.model.facts import Namespace, Policy, RayJob


@dataclass(frozen=True, slots=True)
class SourcedDuration:
    """A duration and the place that sets it."""

    value: Duration
    source: str  # `RayJob team-a/train annotation raysweep.io/ttl`
    inherited: bool = False  # whether a Namespace, a policy or a limit sets it for many RayJobs
    clamp: str = ""  # `lowered from never by RayJobCleanupPolicy bounds spec.limits.rayJob.max`

    @property
    def origin(self) -> str:
        """The source, and the limit that changed the value, if any."""
        return f"{self.source}, {self.clamp}" if self.clamp else self.source


@dataclass(frozen=True, slots=True)
class InvalidValue:
    """A value that cannot be read: its owner, what is wrong with it, and what to write instead."""

    owner: str  # `RayJob team-a/train`
    problem: str  # `invalid duration 'soon'`
    field: str = ""  # `annotation raysweep.io/ttl`; "" if the problem names its place itself
    hint: str = ""

    @property
    def source(self) -> str:
        """The place of the value, as SourcedDuration.source has it."""
        return f"{self.owner} {self.field}".strip()

    @property
    def message(self) -> str:
        """The problem and the hint, for a reader who sees the place elsewhere."""
        return f"{self.problem}: {self.hint}" if self.hint else self.problem

    def __str__(self) -> str:
        if not self.field:
            return f"{self.owner}: {self.message}"
        return f"{self.problem} in {self.field} of {self.owner}: {self.hint}"


BUILT_IN = SourcedDuration(NEVER, "built in: nothing is deleted until you set a TTL")
SWEPT = SourcedDuration(timedelta(), "swept by a person")


def place(owner: RayJob | Namespace | Policy) -> str:
    """`RayJob team-a/train`, `Namespace team-a` or `RayJobCleanupPolicy base`."""
    if isinstance(owner, RayJob):
        return f"RayJob {owner.key}"
    kind = "Namespace" if isinstance(owner, Namespace) else "RayJobCleanupPolicy"
    return f"{kind} {owner.name}"


def or_never(value: SourcedDuration | InvalidValue) -> SourcedDuration:
    """The duration; never if the value is invalid."""
    if isinstance(value, SourcedDuration):
        return value
    return SourcedDuration(NEVER, f"{value.source}, invalid")
