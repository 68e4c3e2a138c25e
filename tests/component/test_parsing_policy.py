"""RayJobCleanupPolicies from JSON: every field, every error, and what an invalid one selects."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep import names
from raysweep.clients.parsing.policy import invalid_fields, parse_policy
from raysweep.core.durations import NEVER
from raysweep.core.model.facts import EVERYTHING, Requirement, Selector
from tests.support.manifests import policy_json

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_every_field_of_a_policy_is_read() -> None:
    spec = {
        "priority": 10,
        "mode": "DryRun",
        "namespaceSelector": {
            "matchLabels": {"env": "prod"},
            "matchExpressions": [
                {"key": "team", "operator": "In", "values": ["a", "b"]},
                {"key": "gone", "operator": "DoesNotExist"},
            ],
        },
        "retention": {
            "rayJob": {"default": "1d", "failed": "never"},
            "rayCluster": {"stopped": 3600},
        },
        "limits": {"rayJob": {"min": "0", "max": "30d"}, "keep": {"max": "1w"}},
        "stuck": {"jobLost": "90m"},
    }
    policy = parse_policy(policy_json(spec))
    assert (policy.name, policy.uid, policy.resource_version, policy.generation) == (
        "base",
        "uid-base",
        "50",
        3,
    )
    assert (policy.priority, policy.is_dry_run, policy.errors) == (10, True, ())
    wanted = Requirement("team", "In", frozenset({"a", "b"})), Requirement("gone", "DoesNotExist")
    assert policy.namespaces == Selector({"env": "prod"}, wanted)
    assert policy.rayjobs == EVERYTHING
    assert policy.times == {
        "retention.rayJob.default": DAY,
        "retention.rayJob.failed": NEVER,
        "retention.rayCluster.stopped": HOUR,
        "limits.rayJob.min": timedelta(),
        "limits.rayJob.max": 30 * DAY,
        "limits.keep.max": 7 * DAY,
        "stuck.jobLost": timedelta(minutes=90),
    }


@pytest.mark.parametrize("path", names.POLICY_DURATIONS)
def test_every_time_has_its_path_below_spec(path: str) -> None:
    spec: dict[str, Any] = {}
    *parents, last = path.split(".")
    inner = spec
    for part in parents:
        inner = inner.setdefault(part, {})
    inner[last] = "1h"
    policy = parse_policy(policy_json(spec))
    assert (policy.times, policy.errors) == ({path: HOUR}, ())


def test_a_policy_is_written_when_its_spec_is_written() -> None:
    entries = [
        {"manager": "kubectl", "time": "2026-11-21T10:00:00Z"},
        {"manager": "raysweep", "subresource": "status", "time": "2026-11-22T10:00:00Z"},
    ]
    spec = {"mode": "DryRun"}
    assert parse_policy(policy_json(spec, managedFields=entries)).written_at == datetime(
        2026, 11, 21, 10, tzinfo=UTC
    )
    assert parse_policy(policy_json(spec)).written_at == datetime(2026, 11, 20, 10, tzinfo=UTC)


UNIT = "use seconds, a value such as 1h30m (w, d, h, m, s), or never (at most 100 years)"
NO_EFFECT = "the policy has no effect: set retention, limits or stuck, or the mode DryRun"
EMPTY = "empty object: set one of its fields, or leave it out"
UNKNOWN = "unknown key: remove it, or correct its name"
MIN_ABOVE_MAX = "2d is longer than limits.rayJob.max 1d: lower it, or raise the other"
INVALID_SPECS = [
    (
        {"retention": {"rayJob": {"default": "soon"}}},
        "retention.rayJob.default",
        f"invalid duration 'soon': {UNIT}",
    ),
    (
        {"retention": {"rayJob": {"failed": -1}}},
        "retention.rayJob.failed",
        f"invalid duration '-1': {UNIT}",
    ),
    (
        {"retention": {"rayJob": {"failed": 1.5}}},
        "retention.rayJob.failed",
        f"invalid duration '1.5': {UNIT}",
    ),
    (
        {"retention": {"rayJob": {"failed": True}}},
        "retention.rayJob.failed",
        f"invalid duration 'True': {UNIT}",
    ),
    (
        {"retention": {"rayJob": {"failed": ["1h"]}}},
        "retention.rayJob.failed",
        f"invalid duration: {UNIT}",
    ),
    ({"stuck": {"jobLost": "101y"}}, "stuck.jobLost", f"invalid duration '101y': {UNIT}"),
    ({"stuck": {"jobLost": "36526d"}}, "stuck.jobLost", f"invalid duration '36526d': {UNIT}"),
    (
        {"stuck": {"jobLost": 0}},
        "stuck.jobLost",
        "invalid duration '0': use a time above 0, or never",
    ),
    (
        {"limits": {"keep": {"max": "never"}}},
        "limits.keep.max",
        "invalid limit 'never': leave the field out for no limit",
    ),
    ({"limits": {"rayJob": {"min": "2d", "max": "1d"}}}, "limits.rayJob.min", MIN_ABOVE_MAX),
    (
        {"limits": {"rayCluster": {"min": "2d"}, "rayJob": {"max": "1d"}}},
        "limits.rayCluster.min",
        MIN_ABOVE_MAX,
    ),
    (
        {"limits": {"rayJob": {"max": "1d"}}, "rayJobSelector": {"matchLabels": {"a": "b"}}},
        "rayJobSelector",
        (
            "not allowed beside limits, since tenants choose these labels themselves: "
            "remove it, or the limits"
        ),
    ),
    ({}, "", NO_EFFECT),
    ({"mode": "Enforce"}, "", NO_EFFECT),
    ({"retention": {}}, "retention", EMPTY),
    ({"limits": {"rayJob": {}}}, "limits.rayJob", EMPTY),
    ({"retention": {"rayJob": {"default": None}}}, "retention.rayJob", EMPTY),
    ({"retention": {"rayJob": {"sucseeded": "1h"}}}, "retention.rayJob.sucseeded", UNKNOWN),
    ({"ttl": "1h"}, "ttl", UNKNOWN),
    ({"mode": "observe"}, "mode", "invalid value 'observe': it must be 'Enforce' or 'DryRun'"),
    ({"priority": "high"}, "priority", "invalid value 'high': use a whole number without quotes"),
    (
        {"priority": 10**9},
        "priority",
        "invalid value '1000000000': it must be less than or equal to 1000000",
    ),
    (None, "", NO_EFFECT),
    ("x", "", "invalid value 'x': use a mapping"),
]
"""A spec, the path of its first error below spec, and the message."""


def test_an_error_names_its_path_the_value_and_a_hint() -> None:
    for spec, path, message in INVALID_SPECS:
        error, *_ = invalid_fields(spec)
        assert (".".join(map(str, error.path[1:])), error.message) == (path, message), spec


def test_every_error_is_reported() -> None:
    spec = {"retention": {"rayJob": {"default": "soon"}}, "mode": "off", "limits": {}}
    assert [error.path for error in invalid_fields(spec)] == [
        ("spec", "mode"),
        ("spec", "retention", "rayJob", "default"),
        ("spec", "limits"),
    ]


@pytest.mark.parametrize(
    "selector",
    [
        pytest.param({"matchLabels": {"team": 1}}, id="a label that is no text"),
        pytest.param(
            {"matchExpressions": [{"key": "team", "operator": "Gt", "values": ["1"]}]},
            id="an operator that is none",
        ),
        pytest.param(
            {"matchExpressions": [{"key": "team", "operator": "In"}]}, id="In without values"
        ),
        pytest.param(
            {"matchExpressions": [{"key": "team", "operator": "Exists", "values": ["a"]}]},
            id="Exists with values",
        ),
        pytest.param({"matchLabel": {"team": "a"}}, id="a key that is none"),
        pytest.param("team=a", id="a text"),
    ],
)
@pytest.mark.parametrize("key", ["namespaceSelector", "rayJobSelector"])
def test_an_invalid_selector_selects_everything(key: str, selector: Any) -> None:
    policy = parse_policy(policy_json({key: selector, "mode": "DryRun"}))
    assert policy.errors[0].startswith(f"spec.{key}")
    assert (policy.namespaces, policy.rayjobs) == (EVERYTHING, EVERYTHING)


def test_a_valid_namespace_selector_bounds_an_invalid_policy() -> None:
    policy = parse_policy(
        policy_json({"namespaceSelector": {"matchLabels": {"team": "a"}}, "mode": "off"})
    )
    assert policy.errors
    assert policy.namespaces == Selector({"team": "a"})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "retention",
                    "limits",
                    "stuck",
                    "rayJob",
                    "rayCluster",
                    "keep",
                    "default",
                    "max",
                    "min",
                    "mode",
                    "x",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(anything)
def test_any_spec_makes_a_policy_and_one_without_effect_is_invalid(spec: Any) -> None:
    policy = parse_policy(policy_json(spec))
    assert policy.errors or policy.times or policy.is_dry_run


@given(anything)
def test_any_status_is_left_alone(status: Any) -> None:
    assert parse_policy(policy_json({"mode": "DryRun"}) | {"status": status}).errors == ()


INVALID_METADATA: dict[str, dict[str, Any]] = {
    "a year 0": {"managedFields": [{"time": "0000-01-01T00:00:00Z"}]},
    "a number for a label": {"labels": {"a": 1}},
    "a text for the generation": {"generation": "x"},
    "no resourceVersion": {"resourceVersion": None},
}


def test_invalid_metadata_is_an_error_of_the_policy() -> None:
    """H1: it keeps what it may select."""
    for label, metadata in INVALID_METADATA.items():
        policy = parse_policy(policy_json({"mode": "DryRun"}, **metadata))
        assert policy.errors[0].startswith("metadata."), label
        assert (policy.name, policy.is_dry_run) == ("base", True), label
