"""RayJobCleanupPolicies: which of them select a RayJob, what they set together, and their limits.

A policy is stronger the higher its priority is. If priorities are equal, the name decides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from raysweep.core.durations import Duration, Never, format_duration
from raysweep.core.model.facts import (
    EVERYTHING,
    Namespace,
    Policy,
    RayJob,
    Requirement,
    Selector,
)
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import BUILT_IN, InvalidValue, SourcedDuration, place

RAYJOB, RAYCLUSTER = "rayJob", "rayCluster"
RAYJOB_MIN, RAYJOB_MAX = "limits.rayJob.min", "limits.rayJob.max"
RAYCLUSTER_MIN, RAYCLUSTER_MAX = "limits.rayCluster.min", "limits.rayCluster.max"
LIMIT_PAIRS = (
    (RAYJOB_MIN, RAYJOB_MAX),
    (RAYCLUSTER_MIN, RAYCLUSTER_MAX),
    (RAYCLUSTER_MIN, RAYJOB_MAX),
)
"""Limits of which the first must not exceed the second. A RayJob outlives its RayCluster."""


def strongest_first(policies: Iterable[Policy]) -> list[Policy]:
    """The policies by descending priority, then by name."""
    return sorted(policies, key=lambda policy: (-policy.priority, policy.name))


def selecting(
    policies: Iterable[Policy], rayjob: RayJob, namespace: Namespace
) -> tuple[Policy, ...]:
    """The policies that select the RayJob, strongest first.

    An invalid policy selects every RayJob of its Namespaces, since its label selector may be wrong.
    """
    of_namespace = [policy for policy in policies if selects(policy.namespaces, namespace.labels)]
    return tuple(
        policy
        for policy in strongest_first(of_namespace)
        if policy.errors or selects(policy.rayjobs, rayjob.labels)
    )


def selects(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether every label and every requirement holds, as for any LabelSelector (meta/v1)."""
    if selector is EVERYTHING:
        return True
    if any(labels.get(key) != value for key, value in selector.labels.items()):
        return False
    return all(_holds(requirement, labels) for requirement in selector.requirements)


def _holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    """NotIn also holds if the label is absent."""
    is_present = requirement.key in labels
    is_in = labels.get(requirement.key) in requirement.values
    return {
        "In": is_present and is_in,
        "NotIn": not is_present or not is_in,
        "Exists": is_present,
        "DoesNotExist": not is_present,
    }[requirement.operator]


def dry_run_policy(policies: Iterable[Policy]) -> str:
    """The first policy with the mode DryRun, in words. "" if there is none."""
    return next((place(policy) for policy in policies if policy.is_dry_run), "")


def first_error(policies: Iterable[Policy]) -> InvalidValue | None:
    """The first validation error of the first invalid policy."""
    invalid = (policy for policy in policies if policy.errors)
    return next((InvalidValue(place(policy), policy.errors[0]) for policy in invalid), None)


def retention_for(
    policies: Iterable[Policy], kind: str, outcome: Outcome
) -> SourcedDuration | None:
    """The time that the policies together set for this outcome.

    kind: RAYJOB or RAYCLUSTER. The time of the outcome takes precedence over the default.
    """
    candidates = list(policies)
    own = strongest(candidates, f"retention.{kind}.{outcome}")
    return own or strongest(candidates, f"retention.{kind}.default")


def strongest(policies: Iterable[Policy], path: str) -> SourcedDuration | None:
    """The time at this path below spec, of the strongest policy that sets it."""
    return next((_sourced(policy, path) for policy in policies if path in policy.times), None)


def tightest(policies: Iterable[Policy], path: str) -> SourcedDuration | None:
    """The tightest limit at this path: the longest min, or the shortest max."""
    limiting = [policy for policy in policies if path in policy.times]
    if not limiting:
        return None
    choose = max if path.endswith(".min") else min
    policy = choose(limiting, key=lambda policy: _length(policy.times[path]))
    return _sourced(policy, path)


def conflict(policies: tuple[Policy, ...]) -> str:
    """Two limits that contradict each other, in words. "" if there are none."""
    for low, high in LIMIT_PAIRS:
        minimum, maximum = tightest(policies, low), tightest(policies, high)
        if minimum and maximum and _length_of(minimum) > _length_of(maximum):
            return f"{_in_words(minimum)} contradicts {_in_words(maximum)}"
    return ""


def _in_words(limit: SourcedDuration) -> str:
    return f"{limit.source} {format_duration(limit.value)}"


def bounded(
    policies: tuple[Policy, ...], ttl: SourcedDuration, cluster_ttl: SourcedDuration
) -> tuple[SourcedDuration, SourcedDuration]:
    """The two times within the limits. The built-in never is not bounded.

    The deletion of a RayJob deletes its RayCluster. So if the RayJob has a TTL, its maximum is also
    one for the RayCluster.
    """
    job_limits = (tightest(policies, RAYJOB_MIN), tightest(policies, RAYJOB_MAX))
    cluster_limits = (tightest(policies, RAYCLUSTER_MIN), longest_for_cluster(policies, ttl))
    return _within(ttl, *job_limits), _within(cluster_ttl, *cluster_limits)


def longest_for_cluster(
    policies: tuple[Policy, ...], ttl: SourcedDuration
) -> SourcedDuration | None:
    """The maximum for the RayCluster of a RayJob with this ttl."""
    limits = [tightest(policies, RAYCLUSTER_MAX)]
    if ttl != BUILT_IN:
        limits.append(tightest(policies, RAYJOB_MAX))
    return min((limit for limit in limits if limit), key=_length_of, default=None)


def _within(
    ttl: SourcedDuration, minimum: SourcedDuration | None, maximum: SourcedDuration | None
) -> SourcedDuration:
    if ttl == BUILT_IN:
        return ttl
    if maximum and _length_of(ttl) > _length_of(maximum):
        return _clamped(ttl, "lowered", maximum)
    if minimum and _length_of(ttl) < _length_of(minimum):
        return _clamped(ttl, "raised", minimum)
    return ttl


def _clamped(ttl: SourcedDuration, verb: str, limit: SourcedDuration) -> SourcedDuration:
    clamp = f"{verb} from {format_duration(ttl.value)} by {limit.source}"
    return replace(ttl, value=limit.value, inherited=True, clamp=clamp)


def _sourced(policy: Policy, path: str) -> SourcedDuration:
    return SourcedDuration(policy.times[path], f"{place(policy)} spec.{path}", inherited=True)


def _length_of(duration: SourcedDuration) -> timedelta:
    return _length(duration.value)


def _length(duration: Duration) -> timedelta:
    return timedelta.max if isinstance(duration, Never) else duration
