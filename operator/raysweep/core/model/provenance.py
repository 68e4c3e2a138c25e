"""A value with the place that it comes from, and one that cannot be understood. Where values are looked up stands elsewhere."""

from dataclasses import dataclass
from datetime import timedelta

from raysweep.core.durations import NEVER, Duration
from raysweep.core.model.facts import Namespace, Policy, RayJob


@dataclass(frozen=True, slots=True)
class SourcedDuration:
    """A duration, and the place that set it; inherited: a default or limit for many RayJobs decides, not the RayJob itself."""

    value: Duration
    source: str
    inherited: bool = False
    clamp: str = ""  # `lowered from never by RayJobCleanupPolicy bounds spec.limits.rayJob.max`

    @property
    def origin(self) -> str:
        """The source, and the limit that moved the value where one did."""
        return f"{self.source}, {self.clamp}" if self.clamp else self.source


@dataclass(frozen=True, slots=True)
class InvalidValue:
    """A value that cannot be understood: where it stands, what it is and what would be right."""

    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}"


BUILT_IN = SourcedDuration(NEVER, "built in: nothing is deleted until somebody sets a TTL")
SWEPT = SourcedDuration(timedelta(), "swept by a person")


def place(thing: RayJob | Namespace | Policy) -> str:
    """`RayJob team-a/train`, `Namespace team-a`, `RayJobCleanupPolicy base`."""
    if isinstance(thing, RayJob):
        return f"RayJob {thing.key}"
    return (
        f"Namespace {thing.name}"
        if isinstance(thing, Namespace)
        else f"RayJobCleanupPolicy {thing.name}"
    )


def or_never(said: SourcedDuration | InvalidValue) -> SourcedDuration:
    """What cannot be understood is never."""
    return (
        said
        if isinstance(said, SourcedDuration)
        else SourcedDuration(NEVER, f"{said.place}, malformed")
    )
