"""Which RayClusters a RayJob owns, and which unfinished RayJobs use a RayCluster.

The operator's store and the command line's snapshot both keep one.
"""

from bisect import bisect_left, insort
from collections import defaultdict

from raysweep.core.job_status import kuberay_reports_end
from raysweep.core.model.facts import RayCluster, RayJob

MOST_NAMES = 10
"""How many RayJobs that select one RayCluster are named. Thousands may select it."""


class RelationIndex:
    """An index over cached RayJobs and RayClusters. Its owner reports every change to it."""

    def __init__(self) -> None:
        self._clusters_by_owner: defaultdict[str, dict[str, RayCluster]] = defaultdict(dict)
        self._jobs_by_selection: defaultdict[tuple[str, str], list[tuple[str, str]]]
        self._jobs_by_selection = defaultdict(list)

    def owned_by(self, uid: str) -> tuple[RayCluster, ...]:
        """The RayClusters whose controller has this uid."""
        owned = self._clusters_by_owner.get(uid, {})
        return tuple(owned[cluster_uid] for cluster_uid in sorted(owned))

    def selecting(self, rayjob: RayJob) -> tuple[str, ...]:
        """The unfinished RayJobs whose clusterSelector names this RayJob's RayCluster.

        These are at most MOST_NAMES names of RayJobs in the same namespace, in order.
        """
        selecting = self._jobs_by_selection.get((rayjob.namespace, rayjob.cluster_name), [])
        return tuple(name for name, _ in selecting[:MOST_NAMES])

    def on_rayjob_change(self, old: RayJob | None, new: RayJob | None) -> None:
        """Replaces the old RayJob by the new one. None means absent."""
        old_selection = _selection(old)
        new_selection = _selection(new)
        if old_selection == new_selection:
            return
        if old and old_selection:
            self._remove_selection(old, old_selection)
        if new and new_selection:
            insort(self._jobs_by_selection[new_selection], (new.name, new.uid))

    def on_raycluster_change(self, old: RayCluster | None, new: RayCluster | None) -> None:
        """Replaces the old RayCluster by the new one. None means absent."""
        if old and old.controller_uid:
            owned = self._clusters_by_owner[old.controller_uid]
            owned.pop(old.uid, None)
            if not owned:
                del self._clusters_by_owner[old.controller_uid]
        if new and new.controller_uid:
            self._clusters_by_owner[new.controller_uid][new.uid] = new

    def _remove_selection(self, rayjob: RayJob, selection: tuple[str, str]) -> None:
        selecting = self._jobs_by_selection[selection]
        del selecting[bisect_left(selecting, (rayjob.name, rayjob.uid))]
        if not selecting:
            del self._jobs_by_selection[selection]


def _selection(rayjob: RayJob | None) -> tuple[str, str] | None:
    """Namespace and name of the RayCluster that an unfinished RayJob selects."""
    if rayjob is None or not rayjob.selected_cluster or kuberay_reports_end(rayjob):
        return None
    return rayjob.namespace, rayjob.selected_cluster
