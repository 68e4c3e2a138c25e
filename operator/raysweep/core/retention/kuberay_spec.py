"""What KubeRay itself does with a finished RayJob, read from its spec.

The spec is a source of TTLs, and it determines what KubeRay will delete and when.
Source: KubeRay's rayjob_controller.go and validation.go, versions 1.3 to 1.7.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from raysweep.core.durations import NEVER, Duration
from raysweep.core.job_status import TERMINAL_JOB_STATUS
from raysweep.core.model.facts import KubeRayCleanup, RayJob
from raysweep.core.model.outcome import Outcome

ACTS_LATER = timedelta(seconds=2)
"""KubeRay requeues the RayJob for its deadline + 2 s (a constant of its rayjob_controller.go)."""


@dataclass(frozen=True, slots=True)
class RequestedTTLs:
    """How long after its end a spec keeps the RayJob and the RayCluster. None: it sets no time."""

    ttl: Duration | None = None
    cluster_ttl: Duration | None = None
    negative: bool = False  # whether a TTL of the spec is below 0, so that none of them counts


@dataclass(frozen=True, slots=True)
class Forecast:
    """When KubeRay will delete the RayCluster and the RayJob. None: never."""

    raycluster_at: datetime | None = None
    rayjob_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Deletion:
    """A policy of a deletionStrategy, and how long after the end KubeRay carries it out."""

    policy: str
    seconds: int


def requested_ttls(rayjob: RayJob, outcome: Outcome, *, ttl_is_clusters: bool) -> RequestedTTLs:
    """The spec as a source of retention.

    ttl_is_clusters: whether a top-level TTL above 0 is about the RayCluster alone.
    """
    cleanup = rayjob.kuberay_cleanup
    if cleanup.has_strategy:
        return _of_strategy(list(_deletions(rayjob, outcome)))
    if not cleanup.shutdown:
        return RequestedTTLs()
    if cleanup.seconds < 0:
        return RequestedTTLs(negative=True)
    ttl = timedelta(seconds=cleanup.seconds)
    # 0 is the default of the CRD, and Kueue requires the flag. So 0 does not ask for the
    # deletion of the RayJob.
    if ttl_is_clusters or not ttl:
        return RequestedTTLs(cluster_ttl=ttl)
    return RequestedTTLs(ttl=ttl)


def forecast(rayjob: RayJob) -> Forecast:
    """What KubeRay will delete by itself.

    It deletes nothing if the RayJob has a clusterSelector, or is neither Complete nor Failed.
    """
    is_final = rayjob.deployment_status in ("Complete", "Failed")
    if not is_final or rayjob.has_selector or rayjob.end_time is None:
        return Forecast()
    cleanup = rayjob.kuberay_cleanup
    if cleanup.has_strategy:
        outcome = TERMINAL_JOB_STATUS.get(rayjob.job_status)
        deletions = list(_deletions(rayjob, outcome))
        return Forecast(
            _earliest(rayjob.end_time, deletions, ("DeleteCluster", "DeleteSelf")),
            _earliest(rayjob.end_time, deletions, ("DeleteSelf",)),
        )
    if cleanup.shutdown:
        return Forecast(raycluster_at=_acts_at(rayjob.end_time, cleanup.seconds))
    return Forecast()


def _deletions(rayjob: RayJob, outcome: Outcome | None) -> Iterator[_Deletion]:
    """Everything in the strategy that applies to this outcome and to the RayJob's status."""
    cleanup = rayjob.kuberay_cleanup
    for rule in cleanup.rules:
        is_for_outcome = outcome is not None and TERMINAL_JOB_STATUS.get(rule.job_status) is outcome
        is_for_status = (
            rule.deployment_status != "" and rule.deployment_status == rayjob.deployment_status
        )
        if is_for_outcome or is_for_status:
            yield _Deletion(rule.policy, rule.seconds)
    for policy in (_policy_of_outcome(cleanup, outcome), cleanup.policy):
        if policy:
            yield _Deletion(policy, cleanup.seconds)


def _policy_of_outcome(cleanup: KubeRayCleanup, outcome: Outcome | None) -> str:
    """The policy of onSuccess or onFailure. Neither applies to a stopped job."""
    if outcome is Outcome.SUCCEEDED:
        return cleanup.on_success
    return cleanup.on_failure if outcome is Outcome.FAILED else ""


def _of_strategy(deletions: list[_Deletion]) -> RequestedTTLs:
    if any(deletion.seconds < 0 for deletion in deletions):
        return RequestedTTLs(negative=True)
    policies = {deletion.policy for deletion in deletions}
    ttl = _shortest(deletions, ("DeleteSelf",))
    if ttl is None and "DeleteNone" in policies:
        ttl = NEVER
    cluster_ttl = _shortest(deletions, ("DeleteSelf", "DeleteCluster"))
    if cluster_ttl is None and policies & {"DeleteWorkers", "DeleteNone"}:
        cluster_ttl = NEVER
    return RequestedTTLs(ttl, cluster_ttl)


def _shortest(deletions: list[_Deletion], policies: tuple[str, ...]) -> Duration | None:
    seconds = [deletion.seconds for deletion in deletions if deletion.policy in policies]
    return timedelta(seconds=min(seconds)) if seconds else None


def _earliest(
    end: datetime, deletions: list[_Deletion], policies: tuple[str, ...]
) -> datetime | None:
    seconds = [deletion.seconds for deletion in deletions if deletion.policy in policies]
    return _acts_at(end, min(seconds)) if seconds else None


def _acts_at(end: datetime, seconds: int) -> datetime | None:
    try:
        return end + timedelta(seconds=seconds) + ACTS_LATER
    except OverflowError:
        return None
