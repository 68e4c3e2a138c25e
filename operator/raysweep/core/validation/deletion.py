"""Rules about deletionStrategy: the old form and deletionRules.

Source: kuberay validation.go (validateDeletionConfiguration and below), the CEL rules of the CRD.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from raysweep.core.text import quoted
from raysweep.core.validation.violation import (
    Authority,
    Candidate,
    FieldError,
    FieldErrors,
    Json,
    Path,
    Severity,
    rule,
)

STRATEGY: Path = ("spec", "deletionStrategy")
RULES_PATH: Path = (*STRATEGY, "deletionRules")
POLICIES = ("DeleteCluster", "DeleteWorkers", "DeleteSelf", "DeleteNone")
NAME_A_POLICY = f"use one of {', '.join(POLICIES)}"
ORDER = ("DeleteWorkers", "DeleteCluster", "DeleteSelf")
"""The order in which KubeRay must delete."""
JOB_STATUSES = ("SUCCEEDED", "FAILED")
STATUSES = {"jobStatus": JOB_STATUSES, "jobDeploymentStatus": ("Failed",)}
OLD_FORM = ("onSuccess", "onFailure")


def _old_form(job: Candidate) -> list[str]:
    return [key for key in OLD_FORM if key in job.strategy]


def _policies(job: Candidate) -> Iterator[tuple[Path, str]]:
    """Every policy of the strategy, with its path."""
    for key in _old_form(job):
        if "policy" in job.strategy[key]:
            yield (*STRATEGY, key, "policy"), job.strategy[key]["policy"]
    for number, rule_spec in enumerate(job.deletion_rules):
        if "policy" in rule_spec:
            yield (*RULES_PATH, number, "policy"), rule_spec["policy"]


def _conditions(job: Candidate) -> Iterator[tuple[Path, Json]]:
    for number, rule_spec in enumerate(job.deletion_rules):
        if "condition" in rule_spec:
            yield (*RULES_PATH, number, "condition"), rule_spec["condition"]


@rule(Authority.CRD)
def empty_strategy(job: Candidate) -> FieldErrors:
    """A deletionStrategy has deletionRules, or both onSuccess and onFailure."""
    old = _old_form(job)
    has_rules = "deletionRules" in job.strategy
    if "deletionStrategy" not in job.spec or has_rules or len(old) == len(OLD_FORM):
        return
    missing = next((key for key in OLD_FORM if old and key not in old), "")
    problem = f"{old[0]} without {missing}" if missing else "it is empty"
    yield FieldError(STRATEGY, problem, "use deletionRules, or both onSuccess and onFailure")


@rule(Authority.CRD)
def empty_rules(job: Candidate) -> FieldErrors:
    """A list of deletionRules is not empty."""
    if "deletionRules" in job.strategy and not job.deletion_rules:
        yield FieldError(RULES_PATH, "it is empty", "use a rule, or leave the strategy out")


@rule(Authority.CRD)
def mixed_strategy(job: Candidate) -> FieldErrors:
    """onSuccess and onFailure are not combined with deletionRules."""
    if _old_form(job) and "deletionRules" in job.strategy:
        problem = f"deletionRules with {' and '.join(_old_form(job))}"
        yield FieldError(STRATEGY, problem, "leave out the old form, which is deprecated")


@rule(Authority.CRD)
def unknown_policy(job: Candidate) -> FieldErrors:
    """The policy of a strategy is one of KubeRay's four."""
    for path, policy in _policies(job):
        if policy not in POLICIES:
            yield FieldError(path, f"{quoted(policy)} is not a policy", NAME_A_POLICY)


@rule(Authority.KUBERAY)
def missing_policy(job: Candidate) -> FieldErrors:
    """onSuccess and onFailure each name a policy."""
    for key in _old_form(job):
        if "policy" not in job.strategy[key]:
            yield FieldError((*STRATEGY, key), "it names no policy", NAME_A_POLICY)


@rule(Authority.CRD)
def incomplete_rule(job: Candidate) -> FieldErrors:
    """A deletion rule has a policy and a condition."""
    for number, rule_spec in enumerate(job.deletion_rules):
        for key in ("policy", "condition"):
            if key not in rule_spec:
                yield FieldError((*RULES_PATH, number), f"it has no {key}", "add one")


@rule(Authority.CRD)
def condition_of_one_status(job: Candidate) -> FieldErrors:
    """The condition of a rule has either jobStatus or jobDeploymentStatus."""
    for path, condition in _conditions(job):
        statuses = [key for key in STATUSES if key in condition]
        if len(statuses) != 1:
            problem = f"it has {' and '.join(statuses) or 'no status'}"
            yield FieldError(path, problem, "use either jobStatus or jobDeploymentStatus")


@rule(Authority.CRD)
def unknown_status(job: Candidate) -> FieldErrors:
    """The status of a condition is SUCCEEDED, FAILED or, as jobDeploymentStatus, Failed."""
    for path, condition in _conditions(job):
        for key, allowed in STATUSES.items():
            if condition.get(key, allowed[0]) in allowed:
                continue
            hint = f"use {' or '.join(allowed)}"
            if condition[key] == "STOPPED":
                hint += ", or set the annotation raysweep.io/ttl-stopped for stopped jobs"
            problem = f"{quoted(condition[key])} is not a status of a rule"
            yield FieldError((*path, key), problem, hint)


@rule(Authority.CRD)
def negative_ttl_of_a_rule(job: Candidate) -> FieldErrors:
    """The ttlSeconds of a rule is 0 or more."""
    for path, condition in _conditions(job):
        seconds = condition.get("ttlSeconds", 0)
        if seconds < 0:
            yield FieldError((*path, "ttlSeconds"), f"{seconds} is below 0", "use 0 or more")


@rule(Authority.KUBERAY)
def rules_with_shutdown(job: Candidate) -> FieldErrors:
    """shutdownAfterJobFinishes is not combined with deletionRules."""
    if job.has_shutdown and job.deletion_rules:
        path = ("spec", "shutdownAfterJobFinishes")
        yield FieldError(path, "with deletionStrategy.deletionRules", "leave out one of the two")


@rule(Authority.KUBERAY)
def delete_none_with_shutdown(job: Candidate) -> FieldErrors:
    """The policy DeleteNone of the old form is not combined with shutdownAfterJobFinishes."""
    for key in _old_form(job):
        if job.has_shutdown and job.strategy[key].get("policy") == "DeleteNone":
            path = (*STRATEGY, key, "policy")
            problem = "DeleteNone with shutdownAfterJobFinishes"
            yield FieldError(path, problem, "leave out one of the two")


@rule(Authority.KUBERAY)
def delete_cluster_with_selector(job: Candidate) -> FieldErrors:
    """With a clusterSelector a strategy deletes neither workers nor cluster."""
    for path, policy in _policies(job):
        if job.selector and policy in ("DeleteCluster", "DeleteWorkers"):
            yield FieldError(
                path, f"{policy} with a clusterSelector", "use DeleteSelf or DeleteNone"
            )


@rule(Authority.KUBERAY)
def delete_workers_with_autoscaling(job: Candidate) -> FieldErrors:
    """A strategy does not delete the workers of an autoscaled RayCluster."""
    for path, policy in _policies(job):
        if job.has_autoscaling and policy == "DeleteWorkers":
            yield FieldError(
                path, "DeleteWorkers with enableInTreeAutoscaling", "use DeleteCluster"
            )


def _ttls(job: Candidate) -> Iterator[tuple[int, str, str, int]]:
    """Number, condition, policy and TTL of each rule that has one condition and a policy."""
    for number, rule_spec in enumerate(job.deletion_rules):
        condition = rule_spec.get("condition", {})
        named = [f"{key} {condition[key]}" for key in STATUSES if key in condition]
        if len(named) == 1 and "policy" in rule_spec:
            yield number, named[0], rule_spec["policy"], condition.get("ttlSeconds", 0)


@rule(Authority.KUBERAY)
def repeated_rule(job: Candidate) -> FieldErrors:
    """No two rules have the same condition and policy."""
    first: dict[tuple[str, str], int] = {}
    for number, condition, policy, _ in _ttls(job):
        if (condition, policy) in first:
            problem = f"{policy} for {condition} is deletionRules[{first[condition, policy]}] too"
            yield FieldError((*RULES_PATH, number), problem, "leave out one of the two")
        first.setdefault((condition, policy), number)


@rule(Authority.KUBERAY)
def rules_out_of_order(job: Candidate) -> FieldErrors:
    """For each condition the TTLs rise from DeleteWorkers over DeleteCluster to DeleteSelf."""
    by_condition: defaultdict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for number, condition, policy, seconds in _ttls(job):
        by_condition[condition].setdefault(policy, (number, seconds))
    for condition, rules in by_condition.items():
        there = [policy for policy in ORDER if policy in rules]
        for earlier, later in pairwise(there):
            number, seconds = rules[later]
            least = rules[earlier][1]
            if seconds < least:
                problem = (
                    f"{later} after {seconds} s precedes {earlier} after {least} s ({condition})"
                )
                path = (*RULES_PATH, number, "condition", "ttlSeconds")
                yield FieldError(path, problem, f"use {least} or more, or less for {earlier}")


@rule(
    Authority.KUBERAY,
    versions="KubeRay 1.5 without its feature gate RayJobDeletionPolicy",
    severity=Severity.NOTE,
)
def strategy_without_gate(job: Candidate) -> FieldErrors:
    """A deletionStrategy needs a feature gate of KubeRay 1.5, which is off by default there."""
    if "deletionStrategy" in job.spec:
        yield FieldError(
            STRATEGY, "a deletionStrategy", "turn the gate on, or use KubeRay 1.6 or later"
        )


@rule(Authority.CRD, versions="the CRD of KubeRay 1.5", severity=Severity.NOTE)
def deployment_status_of_a_rule(job: Candidate) -> FieldErrors:
    """KubeRay knows jobDeploymentStatus in a rule from 1.6 on."""
    for path, condition in _conditions(job):
        if "jobDeploymentStatus" in condition and "jobStatus" not in condition:
            yield FieldError(
                (*path, "jobDeploymentStatus"), "jobDeploymentStatus", "use KubeRay 1.6 or later"
            )


RULES = (
    empty_strategy,
    empty_rules,
    mixed_strategy,
    unknown_policy,
    missing_policy,
    incomplete_rule,
    condition_of_one_status,
    unknown_status,
    negative_ttl_of_a_rule,
    rules_with_shutdown,
    delete_none_with_shutdown,
    delete_cluster_with_selector,
    delete_workers_with_autoscaling,
    repeated_rule,
    rules_out_of_order,
    strategy_without_gate,
    deployment_status_of_a_rule,
)
