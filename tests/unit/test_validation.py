"""C14: what KubeRay, its CRD or Kueue refuses is found before anything is created.

The table of refused specs is docs/refused_specs.yaml.
"""

from typing import Any

import pytest

from raysweep.clients.parsing import yaml_text
from raysweep.core.validation.validate import RULES, validate, validate_template
from raysweep.core.validation.violation import Authority, Severity, Violation
from refused_specs import BASE, RefusedSpec, merge, refused_specs

SPECS = refused_specs()
VERSIONS = ("1.5", "1.6", "1.7")
BY_NAME = {rule.name: rule for rule in RULES}


def problems(body: Any) -> list[Violation]:
    return validate(body, yaml_text.load)


def title(spec: RefusedSpec) -> str:
    return f"{spec.rule}: {spec.patch}"


def with_spec(**spec: Any) -> Any:
    return merge(BASE, {"spec": spec})


def rules(body: Any, *severities: Severity) -> list[str]:
    kinds = severities or (Severity.ERROR, Severity.WARNING)
    return [one.rule.name for one in problems(body) if one.rule.severity in kinds]


@pytest.mark.parametrize("spec", SPECS, ids=title)
def test_c14_a_refused_spec_is_found_by_its_rule(spec: RefusedSpec) -> None:
    assert spec.rule in rules(spec.body, *Severity)


@pytest.mark.parametrize("spec", SPECS, ids=title)
def test_c14_a_problem_names_the_place_the_authority_and_the_remedy(spec: RefusedSpec) -> None:
    (problem, *_) = [one for one in problems(spec.body) if one.rule.name == spec.rule]
    assert problem.place
    assert problem.message.count("; ") >= 1
    who = {"KubeRay's CRD": "KubeRay"}.get(
        problem.rule.authority.value, problem.rule.authority.value
    )
    assert who in problem.message


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_c14_every_rule_has_a_spec_and_a_description(rule: Any) -> None:
    assert rule.name in {spec.rule for spec in SPECS}
    assert rule.description.endswith(".")


@pytest.mark.parametrize("spec", SPECS, ids=title)
def test_c14_the_severity_is_what_the_versions_do(spec: RefusedSpec) -> None:
    """An error is refused by every version that knows the field, a warning by the newest, a note by older ones."""
    rule = BY_NAME[spec.rule]
    refused = {*spec.crd, *spec.kuberay}
    if rule.authority is Authority.KUEUE or spec.says.startswith("("):
        return  # one version of Kueue was measured; nobody refuses what never runs
    if rule.severity is Severity.NOTE:
        assert refused != set(VERSIONS)
    elif rule.severity is Severity.WARNING:
        assert "1.7" in {*refused, *spec.dropped}
        assert refused != set(VERSIONS)
    elif spec.rule != "selector-with-retries":  # 1.5 accepts it and deletes the selected RayCluster
        assert refused | set(spec.dropped) == set(VERSIONS)


ACCEPTED = [
    pytest.param({}, id="the base"),
    pytest.param(
        {"suspend": True, "shutdownAfterJobFinishes": True}, id="suspended with the shutdown"
    ),
    pytest.param({"suspend": False}, id="not suspended"),
    pytest.param({"ttlSecondsAfterFinished": 0}, id="a TTL of 0, the CRD's default"),
    pytest.param(
        {"ttlSecondsAfterFinished": 60, "shutdownAfterJobFinishes": True},
        id="a TTL with the shutdown",
    ),
    pytest.param({"backoffLimit": 3}, id="retries of a cluster of its own"),
    pytest.param(
        {"submissionMode": "InteractiveMode", "backoffLimit": 0, "entrypoint": None},
        id="no retries, no entrypoint",
    ),
    pytest.param(
        {"clusterSelector": {"ray.io/cluster": "shared"}, "rayClusterSpec": None}, id="a selector"
    ),
    pytest.param(
        {"clusterSelector": {"ray.io/cluster": "shared"}},
        id="a selector beside a cluster, which KubeRay ignores",
    ),
    pytest.param({"submissionMode": "SidecarMode"}, id="SidecarMode"),
    pytest.param({"runtimeEnvYAML": "pip: [emoji]\n"}, id="a runtime environment"),
    pytest.param({"runtimeEnvYAML": ""}, id="an empty runtime environment"),
    pytest.param({"entrypointResources": '{"TPU": 4}'}, id="resources"),
    pytest.param({"metadata": {"team": "vision"}}, id="metadata with a version of Ray"),
    pytest.param({"managedBy": "kueue.x-k8s.io/multikueue"}, id="MultiKueue"),
    pytest.param({"activeDeadlineSeconds": 1, "preRunningDeadlineSeconds": 1}, id="deadlines"),
    pytest.param(
        {"deletionStrategy": None, "shutdownAfterJobFinishes": None},
        id="nulls, which the API server drops",
    ),
    pytest.param(
        {
            "deletionStrategy": {
                "onSuccess": {"policy": "DeleteCluster"},
                "onFailure": {"policy": "DeleteNone"},
            }
        },
        id="the old strategy",
    ),
    pytest.param(
        {
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 5,
            "deletionStrategy": {
                "onSuccess": {"policy": "DeleteCluster"},
                "onFailure": {"policy": "DeleteSelf"},
            },
        },
        id="the old strategy with the shutdown and a TTL",
    ),
    pytest.param(
        {
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
        id="rules in any order whose TTLs rise",
    ),
    pytest.param(
        {
            "clusterSelector": {"ray.io/cluster": "shared"},
            "rayClusterSpec": None,
            "deletionStrategy": {
                "deletionRules": [{"policy": "DeleteSelf", "condition": {"jobStatus": "FAILED"}}]
            },
        },
        id="a selector and DeleteSelf",
    ),
    pytest.param(
        {
            "rayClusterSpec": {
                "workerGroupSpecs": [
                    {"groupName": "a", "template": {"spec": {"containers": [{"name": "ray"}]}}}
                ]
            }
        },
        id="a worker group without replicas, which have defaults",
    ),
    pytest.param({"anything": {"KubeRay": "does not know"}}, id="a field that no rule reads"),
]


@pytest.mark.parametrize("spec", ACCEPTED)
def test_c14_what_nobody_refuses_is_no_problem(spec: dict[str, Any]) -> None:
    assert rules(with_spec(**spec)) == []


@pytest.mark.parametrize(
    ("patch", "found"),
    [
        pytest.param(
            {"shutdownAfterJobFinishes": "true", "ttlSecondsAfterFinished": 60},
            ["field-type"],
            id="a boolean in quotes",
        ),
        pytest.param({"entrypoint": 7}, ["field-type"], id="a number as entrypoint"),
        pytest.param(
            {"rayClusterSpec": "shared"},
            ["field-type"],
            id="a text as cluster: nothing else can be judged",
        ),
        pytest.param(
            {"suspend": "perhaps", "ttlSecondsAfterFinished": -1},
            ["field-type"],
            id="no boolean: likewise",
        ),
        pytest.param(
            {"ttlSecondsAfterFinished": "-1", "metadata": {"a": ["b"]}},
            ["field-type", "field-type", "negative-ttl"],
            id="whatever is clear is judged too",
        ),
    ],
)
def test_c14_a_field_of_another_type_makes_no_false_problem(
    patch: dict[str, Any], found: list[str]
) -> None:
    assert rules(with_spec(**patch)) == found


def test_c14_every_problem_is_told_at_once() -> None:
    body = with_spec(
        suspend=True, ttlSecondsAfterFinished=-1, backoffLimit=-1, submissionMode="Sidecar"
    )
    assert rules(body) == [
        "suspend-without-shutdown",
        "negative-ttl",
        "negative-backoff-limit",
        "unknown-submission-mode",
    ]


@pytest.mark.parametrize(
    ("patch", "secret"),
    [
        pytest.param({"entrypoint": 1234567}, "1234567", id="entrypoint"),
        pytest.param(
            {"runtimeEnvYAML": "env_vars: {KEY: s3cr3t"},
            "s3cr3t",
            id="a runtime environment that is not YAML",
        ),
        pytest.param(
            {"rayClusterSpec": {"headGroupSpec": {"rayStartParams": {"redis-password": 1234567}}}},
            "1234567",
            id="a parameter",
        ),
    ],
)
def test_c14_no_secret_is_shown(patch: dict[str, Any], secret: str) -> None:
    told = problems(with_spec(**patch))
    assert told
    assert not any(secret in problem.message for problem in told)


@pytest.mark.parametrize("spec", [None, {}, {"shutdownAfterJobFinishes": True}], ids=str)
def test_c14_a_patch_may_lack_anything(spec: dict[str, Any] | None) -> None:
    body = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "train"}}
    assert rules(body if spec is None else body | {"spec": spec}) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"spec": []},
        {"metadata": 7, "spec": "x"},
        {"spec": {"deletionStrategy": {"deletionRules": [7]}}},
    ],
)
def test_c14_odd_objects_end_in_problems_and_never_in_an_exception(body: Any) -> None:
    assert all(one.rule.name in ("field-type", "metadata-type") for one in problems(body))


def test_c14_the_jobs_of_a_raycronjob_are_judged_by_the_same_rules() -> None:
    assert [
        one.place
        for one in validate_template({"suspend": True, "entrypoint": "true"}, yaml_text.load)
    ] == [
        "spec.suspend",
        "spec",
    ]
