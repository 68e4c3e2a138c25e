"""The conditions of a RayJobCleanupPolicy: whether it counts, and whether others of equal priority get in its way. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from raysweep import names
from raysweep.core.model.facts import Namespace, Policy, Selector
from raysweep.core.retention.policies import conflict, selects, strongest_first

LONGEST_MESSAGE = 1000
"""Of a condition; metav1.Condition takes 32768."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition (meta/v1), without its times."""

    type: str
    is_true: bool
    reason: str
    message: str


def selected_namespaces(policy: Policy, namespaces: Iterable[Namespace]) -> frozenset[str]:
    """The uids of the Namespaces that it selects. Found once for each policy: pair by pair, hundreds of them take seconds."""
    return frozenset(
        namespace.uid for namespace in namespaces if selects(policy.namespaces, namespace.labels)
    )


def status(
    policy: Policy, policies: Iterable[Policy], where: Mapping[str, frozenset[str]], now: datetime
) -> dict[str, Any] | None:
    """The status to write; None where it says so already. where: what is `selected`, by the policy's uid."""
    found = (_accepted(policy), _overlaps(policy, policies, where))
    known = policy.status.get("conditions")
    before = (
        {c.get("type"): c for c in known if isinstance(c, Mapping)}
        if isinstance(known, list)
        else {}
    )
    whole = {
        "observedGeneration": policy.generation,
        "conditions": [
            _written(one, before.get(one.type, {}), policy.generation, now) for one in found
        ],
    }
    is_so = (
        policy.status.get("observedGeneration") == policy.generation
        and known == whole["conditions"]
    )
    return None if is_so else whole


def _written(
    condition: Condition, before: Mapping[str, Any], generation: int, now: datetime
) -> dict[str, Any]:
    word = "True" if condition.is_true else "False"
    since = before.get("lastTransitionTime") if before.get("status") == word else None
    return {
        "type": condition.type,
        "status": word,
        "reason": condition.reason,
        "message": condition.message[:LONGEST_MESSAGE],
        "observedGeneration": generation,
        "lastTransitionTime": since or f"{now:%Y-%m-%dT%H:%M:%SZ}",
    }


def describe(policy: Policy) -> str:
    """What it does, in words."""
    if policy.errors:
        return f"{'; '.join(policy.errors)}. Every RayJob that it selects is kept until this is corrected."
    if policy.is_dry_run:
        return "Nothing that it selects is deleted: the mode is DryRun."
    kinds = {
        "retention": names.RETENTION_DURATIONS,
        "limits": names.LIMIT_DURATIONS,
        "stuck": names.STUCK_DURATIONS,
    }
    parts = [kind for kind, paths in kinds.items() if any(path in policy.times for path in paths)]
    hint = (
        " Limits bound times that somebody set; where nobody sets any, nothing goes."
        if parts == ["limits"]
        else ""
    )
    return f"It sets {' and '.join(parts)}.{hint}"


def _accepted(policy: Policy) -> Condition:
    is_accepted = not policy.errors
    return Condition(
        "Accepted", is_accepted, "Accepted" if is_accepted else "Invalid", describe(policy)
    )


def _overlaps(
    policy: Policy, policies: Iterable[Policy], where: Mapping[str, frozenset[str]]
) -> Condition:
    """By the Namespaces that there are; two selectors over RayJobs may always meet, but where one label has two values."""
    told = [
        message
        for other in strongest_first(policies)
        if other.uid != policy.uid and _meet(policy, other, where)
        for message in _disagreement(policy, other)
    ]
    if not told:
        return Condition(
            "Overlaps",
            False,
            "None",
            "No other policy of the same priority sets the same for the same RayJobs.",
        )
    reason = (
        "LimitsConflict"
        if any(message.startswith("limits") for message in told)
        else "SamePriority"
    )
    return Condition("Overlaps", True, reason, "; ".join(told))


def _disagreement(policy: Policy, other: Policy) -> Iterable[str]:
    first, _ = strongest_first((policy, other))
    both = [
        path
        for path in (*names.RETENTION_DURATIONS, *names.STUCK_DURATIONS)
        if path in policy.times and path in other.times
    ]
    if clash := conflict((policy, other)):
        yield f"limits that cannot both be kept, so RayJobs that both select stay: {clash}"
    if both and policy.priority == other.priority:
        told = f"RayJobCleanupPolicy {other.name} has priority {other.priority} too and sets {', '.join(both)}"
        yield f"{told}: {first.name}'s counts"


def _meet(one: Policy, other: Policy, where: Mapping[str, frozenset[str]]) -> bool:
    return not where[one.uid].isdisjoint(where[other.uid]) and not _exclude(
        one.rayjobs, other.rayjobs
    )


def _exclude(one: Selector, other: Selector) -> bool:
    """Whether one label would need two values."""
    return any(other.labels.get(key, value) != value for key, value in one.labels.items())
