"""The RayClusters that were read so that polls ask where a deletion would ask: one GET for each, kept as long as its RayJob."""

from collections.abc import Callable
from dataclasses import dataclass, field

from raysweep.core.model.facts import RayCluster, RayJob

FIRST_TIDY_UP = 64


@dataclass
class ProbedClusters:
    """By the uid of the RayJob. is_known: whether there is still a RayJob of that uid."""

    is_known: Callable[[str], bool]
    _clusters: dict[str, RayCluster] = field(default_factory=dict)
    _tidy_up_at: int = FIRST_TIDY_UP

    def __len__(self) -> int:
        return len(self._clusters)

    def get(self, rayjob: RayJob) -> RayCluster | None:
        """The cluster that this RayJob names, if it was read."""
        found = self._clusters.get(rayjob.uid)
        return found if found and found.name == rayjob.cluster_name else None

    def keep(self, rayjob: RayJob, cluster: RayCluster) -> None:
        """Those of RayJobs that are gone are dropped each time that there are twice as many as were left the last time."""
        self._clusters[rayjob.uid] = cluster
        if len(self._clusters) >= self._tidy_up_at:
            self._clusters = {uid: one for uid, one in self._clusters.items() if self.is_known(uid)}
            self._tidy_up_at = max(2 * len(self._clusters), FIRST_TIDY_UP)
