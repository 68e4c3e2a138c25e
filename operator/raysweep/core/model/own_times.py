"""The times that a RayJob sets itself: only a change of these is the RayJob's own wish to be deleted earlier or later. Pure."""

from dataclasses import dataclass

from raysweep import names
from raysweep.core.model.facts import KubeRayCleanup, RayJob

_KEYS = (*names.DURATION_ANNOTATIONS, names.TTL_UNSUBMITTED, names.KEEP_UNTIL)


@dataclass(frozen=True, slots=True)
class OwnTimes:
    """The annotations that set times, as (key, value), and what the spec asks of KubeRay."""

    annotations: tuple[tuple[str, str], ...]
    kuberay_cleanup: KubeRayCleanup


def own_times(rayjob: RayJob) -> OwnTimes:
    """The times that this RayJob sets itself."""
    said = rayjob.annotations
    return OwnTimes(tuple((key, said[key]) for key in _KEYS if key in said), rayjob.kuberay_cleanup)
