"""What KubeRay itself will do with a finished RayJob, read from its spec: as a source of TTLs, and as a forecast.

Source: KubeRay's rayjob_controller.go and validation, versions 1.3 to 1.7 (facts of the field, not our wishes).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from raysweep.core.durations import NEVER, Duration
from raysweep.core.job_status import TERMINAL_JOB_STATUS
from raysweep.core.model.facts import KubeRayCleanup, RayJob
from raysweep.core.model.outcome import Outcome

ACTS_LATER = timedelta(seconds=2)
"""KubeRay looks again at the deadline + 2 s (a constant of its rayjob_controller.go)."""


@dataclass(frozen=True, slots=True)
class RequestedTTLs:
    """When a spec wants the RayJob and the RayCluster gone, after the end; None: it does not say."""

    ttl: Duration | None = None
    cluster_ttl: Duration | None = None
    negative: bool = False  # a TTL below 0 stands somewhere in it


@dataclass(frozen=True, slots=True)
class Forecast:
    """What KubeRay will delete by itself, and when; None: it will not."""

    raycluster_at: datetime | None = None
    rayjob_at: datetime | None = None


def requested_ttls(rayjob: RayJob, outcome: Outcome, *, ttl_is_clusters: bool) -> RequestedTTLs:
    """What the spec says as a source of retention. ttl_is_clusters: the reading of a top-level TTL above 0."""
    kuberay_cleanup = rayjob.kuberay_cleanup
    if kuberay_cleanup.has_strategy:
        return _of_strategy(list(_matching(rayjob, outcome)))
    if not kuberay_cleanup.shutdown:
        return RequestedTTLs()
    if kuberay_cleanup.seconds < 0:
        return RequestedTTLs(negative=True)
    seconds = timedelta(seconds=kuberay_cleanup.seconds)
    if (
        not seconds or ttl_is_clusters
    ):  # 0 is the CRD's default, and Kueue forces the flag: nothing about the record
        return RequestedTTLs(cluster_ttl=seconds)
    return RequestedTTLs(ttl=seconds)


def forecast(rayjob: RayJob) -> Forecast:
    """What KubeRay will do by itself; nothing where a clusterSelector is set, or the status is not Complete or Failed."""
    if (
        rayjob.deployment_status not in ("Complete", "Failed")
        or rayjob.has_selector
        or rayjob.end_time is None
    ):
        return Forecast()
    kuberay_cleanup = rayjob.kuberay_cleanup
    if not kuberay_cleanup.has_strategy:
        return (
            Forecast(raycluster_at=_at(rayjob.end_time, kuberay_cleanup.seconds))
            if kuberay_cleanup.shutdown
            else Forecast()
        )
    outcome = TERMINAL_JOB_STATUS.get(rayjob.job_status)
    found = list(_matching(rayjob, outcome))
    clusters = [seconds for policy, seconds in found if policy in ("DeleteCluster", "DeleteSelf")]
    jobs = [seconds for policy, seconds in found if policy == "DeleteSelf"]
    return Forecast(
        _at(rayjob.end_time, min(clusters)) if clusters else None,
        _at(rayjob.end_time, min(jobs)) if jobs else None,
    )


def _matching(rayjob: RayJob, outcome: Outcome | None) -> Iterator[tuple[str, int]]:
    """(policy, seconds) of everything in the strategy that applies to this outcome in this state."""
    kuberay_cleanup = rayjob.kuberay_cleanup
    for rule in kuberay_cleanup.rules:
        by_status = outcome is not None and TERMINAL_JOB_STATUS.get(rule.job_status) is outcome
        by_deployment = (
            rule.deployment_status and rule.deployment_status == rayjob.deployment_status
        )
        if by_status or by_deployment:
            yield rule.policy, rule.seconds
    yield from (
        (policy, kuberay_cleanup.seconds)
        for policy in _older_forms(kuberay_cleanup, outcome)
        if policy
    )


def _older_forms(kuberay_cleanup: KubeRayCleanup, outcome: Outcome | None) -> tuple[str, ...]:
    """onSuccess and onFailure name no stopped job; deletionPolicy is for all."""
    by_outcome = {
        Outcome.SUCCEEDED: kuberay_cleanup.on_success,
        Outcome.FAILED: kuberay_cleanup.on_failure,
    }
    return (by_outcome.get(outcome, "") if outcome else "", kuberay_cleanup.policy)


def _of_strategy(found: list[tuple[str, int]]) -> RequestedTTLs:
    if any(seconds < 0 for _, seconds in found):
        return RequestedTTLs(negative=True)
    jobs = [timedelta(seconds=s) for policy, s in found if policy == "DeleteSelf"]
    clusters = [
        timedelta(seconds=s) for policy, s in found if policy in ("DeleteSelf", "DeleteCluster")
    ]
    policies = {policy for policy, _ in found}
    keeps_cluster = policies & {"DeleteWorkers", "DeleteNone"}
    return RequestedTTLs(
        ttl=min(jobs) if jobs else NEVER if "DeleteNone" in policies else None,
        cluster_ttl=min(clusters) if clusters else NEVER if keeps_cluster else None,
    )


def _at(end: datetime, seconds: int) -> datetime | None:
    try:
        return end + timedelta(seconds=seconds) + ACTS_LATER
    except OverflowError:
        return None
