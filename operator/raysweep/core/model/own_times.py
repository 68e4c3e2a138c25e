"""The times that a RayJob sets itself. Pure.

If one of these changes, the RayJob itself asks for an earlier or later deletion.
"""

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
    annotations = tuple(
        (key, rayjob.annotations[key]) for key in _KEYS if key in rayjob.annotations
    )
    return OwnTimes(annotations, rayjob.kuberay_cleanup)
