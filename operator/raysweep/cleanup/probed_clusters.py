"""Remembers the RayCluster that a status probe read, so that each is read only once."""

from collections.abc import Callable
from dataclasses import dataclass, field

from raysweep.core.model.facts import RayCluster, RayJob

MIN_PRUNE_SIZE = 64


@dataclass
class ProbedClusters:
    """RayClusters by the uid of their RayJob. exists: whether a RayJob of that uid still exists."""

    exists: Callable[[str], bool]
    _clusters: dict[str, RayCluster] = field(default_factory=dict)
    _prune_size: int = MIN_PRUNE_SIZE

    def __len__(self) -> int:
        return len(self._clusters)

    def get(self, rayjob: RayJob) -> RayCluster | None:
        """The cluster that this RayJob names, if it was added."""
        cluster = self._clusters.get(rayjob.uid)
        return cluster if cluster and cluster.name == rayjob.cluster_name else None

    def add(self, rayjob: RayJob, cluster: RayCluster) -> None:
        """Adds a cluster. Prunes those of deleted RayJobs whenever the size has doubled."""
        self._clusters[rayjob.uid] = cluster
        if len(self._clusters) >= self._prune_size:
            self._clusters = {
                uid: cluster for uid, cluster in self._clusters.items() if self.exists(uid)
            }
            self._prune_size = max(2 * len(self._clusters), MIN_PRUNE_SIZE)
