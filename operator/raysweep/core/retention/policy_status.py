"""The status of a RayJobCleanupPolicy: whether it is valid, and whether others overlap with it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from raysweep import names
from raysweep.core.model.facts import Namespace, Policy, Selector
from raysweep.core.retention.policies import conflict, selects, strongest_first

MAX_MESSAGE = 1000
"""Characters of a message of a condition. metav1.Condition allows 32,768."""
_TIMES_BY_FIELD = {
    "retention": names.RETENTION_DURATIONS,
    "limits": names.LIMIT_DURATIONS,
    "stuck": names.STUCK_DURATIONS,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition (meta/v1), without its times."""

    type: str
    is_true: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _Disagreement:
    """Why two policies that select the same RayJobs do not fit together."""

    reason: str
    message: str


def selected_namespaces(policy: Policy, namespaces: Iterable[Namespace]) -> frozenset[str]:
    """The uids of the Namespaces that the policy selects.

    Compute it once for each policy: hundreds of policies compared pair by pair would take seconds.
    """
    return frozenset(
        namespace.uid for namespace in namespaces if selects(policy.namespaces, namespace.labels)
    )


def status(
    policy: Policy,
    policies: Iterable[Policy],
    selected: Mapping[str, frozenset[str]],
    now: datetime,
) -> dict[str, Any] | None:
    """The status to write. None if the policy has it already.

    selected: the result of selected_namespaces() for each policy, by its uid.
    """
    written = policy.status.get("conditions")
    previous: dict[Any, Any] = {}
    if isinstance(written, list):
        previous = {entry.get("type"): entry for entry in written if isinstance(entry, Mapping)}
    conditions = [
        _as_json(condition, previous.get(condition.type, {}), policy.generation, now)
        for condition in (_accepted(policy), _overlaps(policy, policies, selected))
    ]
    is_current = policy.status.get("observedGeneration") == policy.generation
    if is_current and written == conditions:
        return None
    return {"observedGeneration": policy.generation, "conditions": conditions}


def _as_json(
    condition: Condition, previous: Mapping[str, Any], generation: int, now: datetime
) -> dict[str, Any]:
    word = "True" if condition.is_true else "False"
    since = previous.get("lastTransitionTime") if previous.get("status") == word else None
    return {
        "type": condition.type,
        "status": word,
        "reason": condition.reason,
        "message": condition.message[:MAX_MESSAGE],
        "observedGeneration": generation,
        "lastTransitionTime": since or f"{now:%Y-%m-%dT%H:%M:%SZ}",
    }


def describe(policy: Policy) -> str:
    """What the policy does, in words."""
    if policy.errors:
        errors = "; ".join(policy.errors)
        return f"{errors}. Every RayJob that it selects is kept until you correct this."
    if policy.is_dry_run:
        return "The mode is DryRun: nothing that it selects is deleted."
    fields = [
        field
        for field, paths in _TIMES_BY_FIELD.items()
        if any(path in policy.times for path in paths)
    ]
    sentence = f"It sets {' and '.join(fields)}."
    if fields == ["limits"]:
        sentence += " Limits bound TTLs that are set elsewhere, and set none themselves."
    return sentence


def _accepted(policy: Policy) -> Condition:
    reason = "Invalid" if policy.errors else "Accepted"
    return Condition("Accepted", not policy.errors, reason, describe(policy))


def _overlaps(
    policy: Policy, policies: Iterable[Policy], selected: Mapping[str, frozenset[str]]
) -> Condition:
    """Whether another policy may select the same RayJobs, in the Namespaces that exist now."""
    disagreements = [
        disagreement
        for other in strongest_first(policies)
        if other.uid != policy.uid and _may_meet(policy, other, selected)
        for disagreement in _disagreements(policy, other)
    ]
    if not disagreements:
        message = "No other policy of the same priority sets the same fields for the same RayJobs."
        return Condition("Overlaps", False, "None", message)
    reasons = {disagreement.reason for disagreement in disagreements}
    reason = "LimitsConflict" if "LimitsConflict" in reasons else "SamePriority"
    message = "; ".join(disagreement.message for disagreement in disagreements)
    return Condition("Overlaps", True, reason, message)


def _disagreements(policy: Policy, other: Policy) -> Iterator[_Disagreement]:
    contradiction = conflict((policy, other))
    if contradiction:
        message = f"limits conflict, so RayJobs that both policies select are kept: {contradiction}"
        yield _Disagreement("LimitsConflict", message)
    shared = [
        path
        for path in (*names.RETENTION_DURATIONS, *names.STUCK_DURATIONS)
        if path in policy.times and path in other.times
    ]
    if shared and policy.priority == other.priority:
        stronger = strongest_first((policy, other))[0]
        message = (
            f"RayJobCleanupPolicy {other.name} has the same priority {other.priority} and also"
            f" sets {', '.join(shared)}: {stronger.name} takes precedence"
        )
        yield _Disagreement("SamePriority", message)


def _may_meet(policy: Policy, other: Policy, selected: Mapping[str, frozenset[str]]) -> bool:
    """Whether one RayJob may match both policies."""
    if selected[policy.uid].isdisjoint(selected[other.uid]):
        return False
    return not _exclude(policy.rayjobs, other.rayjobs)


def _exclude(selector: Selector, other: Selector) -> bool:
    """Whether the selectors require different values of the same label."""
    return any(other.labels.get(key, value) != value for key, value in selector.labels.items())
