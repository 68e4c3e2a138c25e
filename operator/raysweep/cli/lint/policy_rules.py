"""Rules about RayJobCleanupPolicies, each alone and several together."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import combinations

from raysweep import names
from raysweep.cli.lint.object_rules import shorter_than_cluster
from raysweep.cli.lint.problems import Problem, Rule
from raysweep.cli.lint.subjects import Kind, Subject
from raysweep.clients.parsing.policy import invalid_fields, parse_policy
from raysweep.core.durations import format_duration, longest
from raysweep.core.model.facts import Namespace, Policy, Requirement, Selector
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import BUILT_IN, SourcedDuration
from raysweep.core.retention import policies
from raysweep.core.retention.policies import RAYCLUSTER, RAYJOB, strongest_first
from raysweep.core.retention.policy_status import selected_namespaces, status
from raysweep.core.text import quoted

API_VERSION = f"{names.POLICY_GROUP}/{names.POLICY_VERSION}"
MOST_COMPARED = 100
"""Policies that are compared with each other. The comparison takes quadratic time."""
_KNOWN_WORDS = sorted(
    {
        *(word for path in names.POLICY_DURATIONS for word in path.split(".")),
        "priority",
        "mode",
        "namespaceSelector",
    }
)


@dataclass(frozen=True, slots=True)
class ParsedPolicy:
    """A policy with its subject."""

    subject: Subject
    policy: Policy


def parse(subjects: Sequence[Subject]) -> list[ParsedPolicy]:
    """The policies. In a file they have no uid, so each gets its number."""
    return [
        ParsedPolicy(subject, _policy(subject, str(number)))
        for number, subject in enumerate(subjects)
    ]


def _policy(subject: Subject, uid: str) -> Policy:
    metadata = {"name": subject.name, "uid": uid, "resourceVersion": ""}
    return parse_policy({"metadata": metadata, "spec": subject.part.value.get("spec")})


def misplaced(subject: Subject) -> Iterator[Problem]:
    """A misspelled kind of raysweep.io, a wrong apiVersion, or a policy with a namespace."""
    version = subject.part.value.get("apiVersion")
    if subject.kind is not Kind.POLICY:
        if isinstance(version, str) and version.startswith(f"{names.POLICY_GROUP}/"):
            kind = quoted(str(subject.part.value.get("kind")))
            message = f"{kind} is not a kind of {names.POLICY_GROUP}: use {names.POLICY_KIND}"
            yield subject.problem(Rule.UNKNOWN_KIND, message, ("kind",))
        return
    if version != API_VERSION:
        problem = f"invalid apiVersion {quoted(version)}" if version else "missing apiVersion"
        message = f"{problem}: use {API_VERSION}"
        yield subject.problem(Rule.API_VERSION, message, ("apiVersion",))
    if subject.namespace:
        message = (
            f"{quoted(subject.namespace)} has no effect, since a policy is cluster-scoped:"
            " remove it, and select Namespaces with spec.namespaceSelector"
        )
        yield subject.problem(Rule.POLICY_NAMESPACE, message, ("metadata", "namespace"))


def invalid(parsed: ParsedPolicy) -> Iterator[Problem]:
    """The validation errors of the spec."""
    for error in invalid_fields(parsed.subject.part.value.get("spec")):
        message = error.message
        suggestion = _suggestion(str(error.path[-1])) if error.is_unknown_key else ""
        if suggestion:
            message = f"unknown key: did you mean {suggestion}?"
        yield parsed.subject.problem(
            Rule.INVALID_POLICY, message, error.path, is_key=error.is_unknown_key
        )


def _suggestion(key: str) -> str:
    """A similar word of a policy. "" if there is none, or if the key is misplaced."""
    if key in _KNOWN_WORDS:
        return ""
    similar = difflib.get_close_matches(key[:100], _KNOWN_WORDS, n=1, cutoff=0.7)
    return similar[0] if similar else ""


def outside_own_limits(parsed: ParsedPolicy) -> Iterator[Problem]:
    """Times of a policy that its own limits change."""
    reported = set()
    for outcome in Outcome:
        ttl, cluster_ttl = _times(parsed.policy, outcome)
        times = (ttl or BUILT_IN, cluster_ttl or BUILT_IN)
        bounded = policies.bounded((parsed.policy,), *times)
        for before, after in zip(times, bounded, strict=True):
            if after.clamp and before.source not in reported:
                reported.add(before.source)
                message = f"the time is {after.clamp}: use a time within the limits"
                yield _on_time(parsed.subject, Rule.CLAMPED, before, message)


def ttl_before_cluster(parsed: ParsedPolicy) -> Iterator[Problem]:
    """Times for RayJobs that longer times for RayClusters override."""
    reported = set()
    for outcome in Outcome:
        ttl, cluster_ttl = _times(parsed.policy, outcome)
        if ttl is None or cluster_ttl is None or (ttl, cluster_ttl) in reported:
            continue
        if longest(ttl.value, cluster_ttl.value) == ttl.value:
            continue
        reported.add((ttl, cluster_ttl))
        cluster = f"{_path(cluster_ttl)} {quoted(format_duration(cluster_ttl.value))}"
        message = shorter_than_cluster(ttl, cluster)
        yield _on_time(parsed.subject, Rule.TTL_BEFORE_CLUSTER, ttl, message)


def _times(
    policy: Policy, outcome: Outcome
) -> tuple[SourcedDuration | None, SourcedDuration | None]:
    """The times for RayJobs and for RayClusters."""
    return (
        policies.retention_for((policy,), RAYJOB, outcome),
        policies.retention_for((policy,), RAYCLUSTER, outcome),
    )


def _path(time: SourcedDuration) -> str:
    """The path in a source, as `RayJobCleanupPolicy base spec.retention.rayJob.failed`."""
    return time.source.rpartition(" ")[2]


def _on_time(subject: Subject, rule: Rule, time: SourcedDuration, message: str) -> Problem:
    return subject.problem(rule, message, tuple(_path(time).split(".")))


def overlapping(
    parsed: Sequence[ParsedPolicy], namespaces: Sequence[Namespace] | None, now: datetime
) -> Iterator[Problem]:
    """Pairs of policies that contradict each other. The weaker policy of a pair is reported.

    namespaces: all Namespaces. If they are unknown (None), two policies meet if any Namespace could
    be selected by both.
    """
    for one, other in combinations(parsed, 2):
        # The same object may be written twice, for example for two clusters.
        if one.policy.name == other.policy.name:
            continue
        stronger, _ = strongest_first((one.policy, other.policy))
        weaker = other if stronger is one.policy else one
        possible = namespaces
        if possible is None:
            possible = [_example(one.policy.namespaces, other.policy.namespaces)]
        policy = replace(weaker.policy, status={})
        selected = {each.uid: selected_namespaces(each, possible) for each in (policy, stronger)}
        written = status(policy, (policy, stronger), selected, now) or {"conditions": []}
        for condition in written["conditions"]:
            if condition["type"] == "Overlaps" and condition["status"] == "True":
                yield _overlap(weaker.subject, condition)


def _overlap(subject: Subject, condition: dict[str, str]) -> Problem:
    message = condition["message"]
    if condition["reason"] == "LimitsConflict":
        hint = "change one of the limits"
        return subject.problem(Rule.LIMITS_CONFLICT, f"{message}; {hint}", ("spec", "limits"))
    hint = "give one of them another priority"
    return subject.problem(Rule.SAME_PRIORITY, f"{message}; {hint}", ("spec", "priority"))


def _example(*selectors: Selector) -> Namespace:
    """A Namespace that every selector selects, if one is possible."""
    requirements = [each for selector in selectors for each in selector.requirements]
    allowed: dict[str, set[str]] = {}
    for selector in selectors:
        for key, value in selector.labels.items():
            allowed[key] = allowed.get(key, {value}) & {value}
    for each in requirements:
        if each.operator == "In":
            allowed[each.key] = allowed.get(each.key, set(each.values)) & each.values
    for each in requirements:
        if each.operator == "NotIn" and each.key in allowed:
            allowed[each.key] -= each.values
    for each in requirements:
        if each.operator == "Exists":
            allowed.setdefault(each.key, {_unused_value(requirements)})
    labels = {key: min(values) for key, values in allowed.items() if values}
    return Namespace("example", "", "", labels=labels)


def _unused_value(requirements: Sequence[Requirement]) -> str:
    """A value that no requirement names."""
    used = {value for each in requirements for value in each.values}
    number = 0
    while f"any-{number}" in used:
        number += 1
    return f"any-{number}"
