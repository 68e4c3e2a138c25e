"""What is wrong with RayJobCleanupPolicies, each alone and some together. How one is read and bounded is decided elsewhere."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import combinations

from raysweep import names
from raysweep.cli.lint.problems import Kind, Problem, Rule, Subject
from raysweep.clients.parsing.policy import parse_policy
from raysweep.core.durations import format_duration, longest
from raysweep.core.model.facts import Namespace, Policy, Selector
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.provenance import BUILT_IN, SourcedDuration
from raysweep.core.retention import policies, policy_status
from raysweep.core.retention.policies import RAYCLUSTER, RAYJOB, strongest_first
from raysweep.core.text import quoted

API_VERSION = f"{names.POLICY_GROUP}/{names.POLICY_VERSION}"
MOST_COMPARED = 100
"""Policies that are compared with each other, which takes the time of their number squared."""
_WORDS = sorted(
    {
        *(word for path in names.POLICY_DURATIONS for word in path.split(".")),
        "priority",
        "mode",
        "namespaceSelector",
    }
)


@dataclass(frozen=True, slots=True)
class Read:
    """A policy with the object that it was read from."""

    subject: Subject
    policy: Policy


def read(subjects: Sequence[Subject]) -> list[Read]:
    """The policies among them. In a file they have no uid, so each gets one of its own."""
    found = [subject for subject in subjects if subject.kind is Kind.POLICY]
    return [Read(subject, _policy(subject, str(number))) for number, subject in enumerate(found)]


def misplaced(subject: Subject) -> Iterator[Problem]:
    """An object that says it is of our API group, or a policy, and is not where a policy is."""
    body = subject.part.value
    version, kind = body.get("apiVersion"), str(body.get("kind"))
    if subject.kind is not Kind.POLICY:
        if isinstance(version, str) and version.startswith(f"{names.POLICY_GROUP}/"):
            said = f"{quoted(kind)} is no kind of {names.POLICY_GROUP}; write {names.POLICY_KIND}"
            yield subject.problem(Rule.UNKNOWN_KIND, said, ("kind",))
        return
    if version != API_VERSION:
        said = f"{quoted(version)} is none that a policy has" if version else "it is missing"
        yield subject.problem(Rule.API_VERSION, f"{said}; write {API_VERSION}", ("apiVersion",))
    if subject.namespace:
        said = f"{quoted(subject.namespace)} has no effect, a policy is cluster-scoped"
        hint = "remove it, and select Namespaces with spec.namespaceSelector"
        yield subject.problem(Rule.POLICY_NAMESPACE, f"{said}; {hint}", ("metadata", "namespace"))


def alone(one: Read) -> Iterator[Problem]:
    """What is wrong with it by itself."""
    subject, policy = one.subject, one.policy
    spec = subject.part.value.get("spec")
    if not isinstance(spec, dict):
        yield subject.problem(
            Rule.INVALID_POLICY,
            "it says nothing; set retention, limits or stuck, or the mode DryRun",
            ("spec",),
        )
        return
    for fault in policy.errors:
        found = subject.told(Rule.INVALID_POLICY, fault, ("spec",))
        hint = _meant(found.place) if found.message.startswith("unknown key") else ""
        yield replace(found, message=f"unknown key; did you mean {hint}?") if hint else found
    yield from _clamped(subject, policy)
    yield from _too_short(subject, policy)


def together(
    read: Sequence[Read], namespaces: Sequence[Namespace] | None, now: datetime
) -> Iterator[Problem]:
    """Where two get in each other's way, told of the weaker.

    namespaces: all that there are; None where that is not known, so that two meet wherever a Namespace could be selected by both.
    """
    if len(read) > MOST_COMPARED:
        return
    for one, other in combinations(read, 2):
        if one.policy.name == other.policy.name:  # one object written twice, as for two clusters
            continue
        stronger, _ = strongest_first((one.policy, other.policy))
        weaker = other if stronger is one.policy else one
        meet = (
            [_example(one.policy.namespaces, other.policy.namespaces)]
            if namespaces is None
            else namespaces
        )
        policy = replace(weaker.policy, status={})
        where = {
            each.uid: policy_status.selected_namespaces(each, meet) for each in (policy, stronger)
        }
        told = policy_status.status(policy, (policy, stronger), where, now) or {"conditions": []}
        for condition in told["conditions"]:
            if condition["type"] == "Overlaps" and condition["status"] == "True":
                yield _overlap(weaker.subject, condition)


def _overlap(subject: Subject, condition: dict[str, str]) -> Problem:
    if condition["reason"] == "LimitsConflict":
        return subject.problem(
            Rule.LIMITS_CONFLICT, f"{condition['message']}; change one of them", ("spec", "limits")
        )
    message = f"{condition['message']}; give one of them another priority"
    return subject.problem(Rule.SAME_PRIORITY, message, ("spec", "priority"))


def _policy(subject: Subject, uid: str) -> Policy:
    metadata = {"name": subject.name, "uid": uid, "resourceVersion": ""}
    return parse_policy({"metadata": metadata, "spec": subject.part.value.get("spec")})


def _meant(place: str) -> str:
    """A known word of a policy that the last one of the place is close to; "" where it is one, but stands elsewhere."""
    word = place.rpartition(".")[2][:100]
    return (
        ""
        if word in _WORDS
        else next(iter(difflib.get_close_matches(word, _WORDS, n=1, cutoff=0.7)), "")
    )


def _clamped(subject: Subject, policy: Policy) -> Iterator[Problem]:
    told = set()
    for outcome in Outcome:
        ttl, cluster = (
            policies.retention_for((policy,), what, outcome) or BUILT_IN
            for what in (RAYJOB, RAYCLUSTER)
        )
        for before, after in zip(
            (ttl, cluster), policies.bounded((policy,), ttl, cluster), strict=True
        ):
            if after.clamp and before.source not in told:
                told.add(before.source)
                yield _on_time(
                    subject,
                    Rule.CLAMPED,
                    before,
                    f"it is {after.clamp}; write a time within the limits",
                )


def _too_short(subject: Subject, policy: Policy) -> Iterator[Problem]:
    told = set()
    for outcome in Outcome:
        ttl, cluster = (
            policies.retention_for((policy,), what, outcome) for what in (RAYJOB, RAYCLUSTER)
        )
        if (
            ttl
            and cluster
            and longest(ttl.value, cluster.value) != ttl.value
            and (ttl, cluster) not in told
        ):
            told.add((ttl, cluster))
            longer = f"{cluster.source.rpartition(' ')[2]} {quoted(format_duration(cluster.value))}"
            said = f"{quoted(format_duration(ttl.value))} is shorter than {longer}, so the RayJob stays as long as its RayCluster"
            yield _on_time(
                subject,
                Rule.TTL_BEFORE_CLUSTER,
                ttl,
                f"{said}; make it longer, or the other shorter",
            )


def _on_time(subject: Subject, rule: Rule, said: SourcedDuration, message: str) -> Problem:
    """source: `RayJobCleanupPolicy base spec.retention.rayJob.failed`."""
    return subject.problem(rule, message, tuple(said.source.rpartition(" ")[2].split(".")))


def _example(*selectors: Selector) -> Namespace:
    """A Namespace that all of them select, where there can be one."""
    labels: dict[str, set[str]] = {}
    asked = [one for selector in selectors for one in selector.requirements]
    fixed = [(key, {value}) for selector in selectors for key, value in selector.labels.items()]
    for key, values in [
        *fixed,
        *((one.key, set(one.values)) for one in asked if one.operator == "In"),
    ]:
        labels[key] = labels.get(key, values) & values
    for one in asked:
        if one.operator == "NotIn" and one.key in labels:
            labels[one.key] -= one.values
    excluded = {value for one in asked for value in one.values}
    free = next(
        word for number in range(len(excluded) + 1) if (word := f"any-{number}") not in excluded
    )
    labels |= {
        one.key: {free} for one in asked if one.operator == "Exists" and one.key not in labels
    }
    return Namespace(
        "example", "", "", labels={key: min(values) for key, values in labels.items() if values}
    )
