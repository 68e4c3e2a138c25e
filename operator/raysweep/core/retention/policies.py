"""RayJobCleanupPolicies: which of them select a RayJob, what they say together, and how the tightest limits bound a time. Pure.

A policy is named strongest first: by priority, the higher the stronger, then by name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from raysweep.core.durations import Duration, Never, format_duration
from raysweep.core.model.facts import Namespace, Policy, RayJob, Requirement, Selector
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import BUILT_IN, InvalidValue, SourcedDuration, place

RAYJOB, RAYCLUSTER = "rayJob", "rayCluster"


def strongest_first(policies: Iterable[Policy]) -> list[Policy]:
    """By priority, then by name."""
    return sorted(policies, key=lambda policy: (-policy.priority, policy.name))


def selecting(
    policies: Iterable[Policy], rayjob: RayJob, namespace: Namespace
) -> tuple[Policy, ...]:
    """Those that select the RayJob, strongest first. One with a fault is not trusted to leave a RayJob out by its labels."""
    found = (policy for policy in policies if selects(policy.namespaces, namespace.labels))
    return tuple(
        policy
        for policy in strongest_first(found)
        if policy.errors or selects(policy.rayjobs, rayjob.labels)
    )


def selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    """As Kubernetes reads a LabelSelector (apimachinery meta/v1): every label and every requirement holds."""
    return all(labels.get(key) == value for key, value in selector.labels.items()) and all(
        _holds(requirement, labels) for requirement in selector.requirements
    )


def _holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    """NotIn holds too where the label is not there."""
    is_there, is_in = requirement.key in labels, labels.get(requirement.key) in requirement.values
    return {
        "In": is_there and is_in,
        "NotIn": not is_there or not is_in,
        "Exists": is_there,
        "DoesNotExist": not is_there,
    }[requirement.operator]


def dry_run_policy(policies: Iterable[Policy]) -> str:
    """The first policy that lets nothing go; "" where none does."""
    return next((place(policy) for policy in policies if policy.is_dry_run), "")


def first_error(policies: Iterable[Policy]) -> InvalidValue | None:
    """The first thing that cannot be understood."""
    return next(
        (InvalidValue(place(policy), policy.errors[0]) for policy in policies if policy.errors),
        None,
    )


def retention_for(
    policies: Iterable[Policy], what: str, outcome: Outcome
) -> SourcedDuration | None:
    """What they say together about `what` (RAYJOB or RAYCLUSTER); the outcome's own time beats the default, as in any source."""
    said = list(policies)
    return strongest(said, f"retention.{what}.{outcome}") or strongest(
        said, f"retention.{what}.default"
    )


def strongest(policies: Iterable[Policy], path: str) -> SourcedDuration | None:
    """The time at that path below spec, of the strongest that sets it."""
    return next((_sourced(policy, path) for policy in policies if path in policy.times), None)


def tightest(policies: Iterable[Policy], path: str) -> SourcedDuration | None:
    """The limit at that path that leaves least: the longest min, the shortest max."""
    said = [_sourced(policy, path) for policy in policies if path in policy.times]
    return (max if path.endswith(".min") else min)(
        said, key=lambda one: _length(one.value), default=None
    )


def conflict(policies: tuple[Policy, ...]) -> str:
    """Two limits that cannot both be kept; "" where all can. A RayJob never goes before its RayCluster."""
    for low, high in (
        ("limits.rayJob.min", "limits.rayJob.max"),
        ("limits.rayCluster.min", "limits.rayCluster.max"),
        ("limits.rayCluster.min", "limits.rayJob.max"),
    ):
        least, most = tightest(policies, low), tightest(policies, high)
        if least and most and _length(least.value) > _length(most.value):
            told = (f"{one.source} {format_duration(one.value)}" for one in (least, most))
            return " contradicts ".join(told)
    return ""


def bounded(
    policies: tuple[Policy, ...], ttl: SourcedDuration, cluster_ttl: SourcedDuration
) -> tuple[SourcedDuration, SourcedDuration]:
    """The two times within the limits. What nobody set is not bounded, and stays never.

    A RayJob goes with its cluster, so the RayJob's maximum is one for the cluster too wherever the RayJob has a time.
    """
    return (
        _within(
            ttl, tightest(policies, "limits.rayJob.min"), tightest(policies, "limits.rayJob.max")
        ),
        _within(
            cluster_ttl,
            tightest(policies, "limits.rayCluster.min"),
            longest_for_cluster(policies, ttl),
        ),
    )


def longest_for_cluster(
    policies: tuple[Policy, ...], ttl: SourcedDuration
) -> SourcedDuration | None:
    """How long a RayCluster may be kept, where its RayJob has that ttl."""
    limits = [tightest(policies, "limits.rayCluster.max")]
    limits += [tightest(policies, "limits.rayJob.max")] if ttl != BUILT_IN else []
    return min((one for one in limits if one), key=lambda one: _length(one.value), default=None)


def _within(
    said: SourcedDuration, least: SourcedDuration | None, most: SourcedDuration | None
) -> SourcedDuration:
    if said == BUILT_IN:
        return said
    length = _length(said.value)
    if most and length > _length(most.value):
        return _moved(said, "lowered", most)
    if least and length < _length(least.value):
        return _moved(said, "raised", least)
    return said


def _moved(said: SourcedDuration, how: str, limit: SourcedDuration) -> SourcedDuration:
    clamp = f"{how} from {format_duration(said.value)} by {limit.source}"
    return replace(said, value=limit.value, inherited=True, clamp=clamp)


def _sourced(policy: Policy, path: str) -> SourcedDuration:
    return SourcedDuration(policy.times[path], f"{place(policy)} spec.{path}", inherited=True)


def _length(value: Duration) -> timedelta:
    return timedelta.max if isinstance(value, Never) else value
