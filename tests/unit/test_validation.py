"""C14: what KubeRay, its CRD or Kueue refuses is reported before anything is created.

The table of refused specs is docs/refused_specs.yaml.
"""

from typing import Any

from raysweep.clients.parsing import yaml_text
from raysweep.core.validation.validate import RULES, validate, validate_template
from raysweep.core.validation.violation import Authority, Severity, Violation
from refused_specs import BASE, merge, refused_specs

SPECS = refused_specs()
VERSIONS = ("1.5", "1.6", "1.7")
BY_NAME = {rule.name: rule for rule in RULES}


def violations(body: Any) -> list[Violation]:
    return validate(body, yaml_text.load)


def with_spec(**spec: Any) -> Any:
    return merge(BASE, {"spec": spec})


def rules(body: Any, *severities: Severity) -> list[str]:
    kinds = severities or (Severity.ERROR, Severity.WARNING)
    return [each.rule.name for each in violations(body) if each.rule.severity in kinds]


def test_c14_a_refused_spec_violates_its_rule() -> None:
    for spec in SPECS:
        assert spec.rule in rules(spec.body, *Severity), spec.patch


def test_c14_a_violation_names_its_place_who_refuses_it_and_a_hint() -> None:
    for spec in SPECS:
        (violation, *_) = [each for each in violations(spec.body) if each.rule.name == spec.rule]
        authority = violation.rule.authority.value.removesuffix("'s CRD")
        problem, _, hint = violation.message.rpartition(": ")
        assert violation.place, spec.patch
        assert authority in problem, spec.patch
        assert hint, spec.patch


def test_c14_every_rule_has_a_spec_and_a_description() -> None:
    assert set(BY_NAME) == {spec.rule for spec in SPECS}
    assert all(rule.description.endswith(".") for rule in RULES)


def test_c14_the_severity_is_what_the_versions_do() -> None:
    """Every version that knows the field refuses an error. The newest refuses a warning."""
    for spec in SPECS:
        rule, refused = BY_NAME[spec.rule], {*spec.crd, *spec.kuberay}
        # Only one version of Kueue was measured. Parentheses say that the job never runs.
        if rule.authority is Authority.KUEUE or spec.says.startswith("("):
            continue
        if rule.severity is Severity.NOTE:
            assert refused != set(VERSIONS), spec.patch
        elif rule.severity is Severity.WARNING:
            assert "1.7" in {*refused, *spec.dropped}, spec.patch
            assert refused != set(VERSIONS), spec.patch
        # KubeRay 1.5 accepts this spec, and deletes the selected RayCluster.
        elif spec.rule != "selector-with-retries":
            assert refused | set(spec.dropped) == set(VERSIONS), spec.patch


ACCEPTED: dict[str, dict[str, Any]] = {
    "the base": {},
    "suspended with the shutdown": {"suspend": True, "shutdownAfterJobFinishes": True},
    "not suspended": {"suspend": False},
    "a TTL of 0, the CRD's default": {"ttlSecondsAfterFinished": 0},
    "a TTL with the shutdown": {"ttlSecondsAfterFinished": 60, "shutdownAfterJobFinishes": True},
    "retries of a cluster of its own": {"backoffLimit": 3},
    "no retries, no entrypoint": {
        "submissionMode": "InteractiveMode",
        "backoffLimit": 0,
        "entrypoint": None,
    },
    "a selector": {"clusterSelector": {"ray.io/cluster": "shared"}, "rayClusterSpec": None},
    "a selector beside a cluster, which KubeRay ignores": {
        "clusterSelector": {"ray.io/cluster": "shared"}
    },
    "SidecarMode": {"submissionMode": "SidecarMode"},
    "a runtime environment": {"runtimeEnvYAML": "pip: [emoji]\n"},
    "an empty runtime environment": {"runtimeEnvYAML": ""},
    "resources": {"entrypointResources": '{"TPU": 4}'},
    "metadata with a version of Ray": {"metadata": {"team": "vision"}},
    "MultiKueue": {"managedBy": "kueue.x-k8s.io/multikueue"},
    "deadlines": {"activeDeadlineSeconds": 1, "preRunningDeadlineSeconds": 1},
    "nulls, which the API server drops": {
        "deletionStrategy": None,
        "shutdownAfterJobFinishes": None,
    },
    "the old strategy": {
        "deletionStrategy": {
            "onSuccess": {"policy": "DeleteCluster"},
            "onFailure": {"policy": "DeleteNone"},
        }
    },
    "the old strategy with the shutdown and a TTL": {
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 5,
        "deletionStrategy": {
            "onSuccess": {"policy": "DeleteCluster"},
            "onFailure": {"policy": "DeleteSelf"},
        },
    },
    "rules in any order whose TTLs rise": {
        "deletionStrategy": {
            "deletionRules": [
                {
                    "policy": "DeleteSelf",
                    "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 60},
                },
                {
                    "policy": "DeleteCluster",
                    "condition": {"jobStatus": "SUCCEEDED", "ttlSeconds": 60},
                },
                {"policy": "DeleteWorkers", "condition": {"jobStatus": "SUCCEEDED"}},
                {"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED"}},
                {
                    "policy": "DeleteNone",
                    "condition": {"jobDeploymentStatus": "Failed", "ttlSeconds": 5},
                },
            ]
        }
    },
    "a selector and DeleteSelf": {
        "clusterSelector": {"ray.io/cluster": "shared"},
        "rayClusterSpec": None,
        "deletionStrategy": {
            "deletionRules": [{"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED"}}]
        },
    },
    "a worker group without replicas, which have defaults": {
        "rayClusterSpec": {
            "workerGroupSpecs": [
                {"groupName": "a", "template": {"spec": {"containers": [{"name": "ray"}]}}}
            ]
        }
    },
    "a field that no rule reads": {"anything": {"KubeRay": "does not know"}},
}


def test_c14_an_accepted_spec_has_no_violations() -> None:
    for label, spec in ACCEPTED.items():
        assert rules(with_spec(**spec)) == [], label


MISTYPED: list[tuple[dict[str, Any], list[str]]] = [
    ({"shutdownAfterJobFinishes": "true", "ttlSecondsAfterFinished": 60}, ["field-type"]),
    ({"entrypoint": 7}, ["field-type"]),
    ({"rayClusterSpec": "shared"}, ["field-type"]),
    ({"suspend": "perhaps", "ttlSecondsAfterFinished": -1}, ["field-type"]),
    (
        {"ttlSecondsAfterFinished": "-1", "metadata": {"a": ["b"]}},
        ["field-type", "field-type", "negative-ttl"],
    ),
]
"""If the meaning of a mistyped field is unclear, only types are checked."""


def test_c14_a_mistyped_field_makes_no_false_violation() -> None:
    for patch, names in MISTYPED:
        assert rules(with_spec(**patch)) == names, patch


def test_c14_every_violation_is_reported_at_once() -> None:
    body = with_spec(
        suspend=True, ttlSecondsAfterFinished=-1, backoffLimit=-1, submissionMode="Sidecar"
    )
    assert rules(body) == [
        "suspend-without-shutdown",
        "negative-ttl",
        "negative-backoff-limit",
        "unknown-submission-mode",
    ]


SECRETS: list[tuple[dict[str, Any], str]] = [
    ({"entrypoint": 1234567}, "1234567"),
    ({"runtimeEnvYAML": "env_vars: {KEY: s3cr3t"}, "s3cr3t"),
    (
        {"rayClusterSpec": {"headGroupSpec": {"rayStartParams": {"redis-password": 1234567}}}},
        "1234567",
    ),
]


def test_c14_no_secret_is_shown() -> None:
    for patch, secret in SECRETS:
        messages = [each.message for each in violations(with_spec(**patch))]
        assert messages, patch
        assert not any(secret in message for message in messages), patch


def test_c14_a_patch_may_lack_anything() -> None:
    body = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "train"}}
    patches: list[Any] = [{}, {"spec": {}}, {"spec": {"shutdownAfterJobFinishes": True}}]
    for patch in patches:
        assert rules(body | patch) == [], patch


def test_c14_an_object_of_wrong_types_has_violations_and_raises_nothing() -> None:
    bodies: list[Any] = [
        {},
        {"spec": []},
        {"metadata": 7, "spec": "x"},
        {"spec": {"deletionStrategy": {"deletionRules": [7]}}},
    ]
    for body in bodies:
        assert set(rules(body)) <= {"field-type", "metadata-type"}, body


def test_c14_the_same_rules_apply_to_the_jobs_of_a_raycronjob() -> None:
    template = {"suspend": True, "entrypoint": "true"}
    places = [each.place for each in validate_template(template, yaml_text.load)]
    assert places == ["spec.suspend", "spec"]
