"""RayJobCleanupPolicies from JSON: what becomes of each field, and every way in which one can be wrong."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysweep import names
from raysweep.clients.parsing.policy import parse_policy, problems
from raysweep.core.durations import NEVER
from raysweep.core.model.facts import EVERYTHING, Requirement, Selector

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WRITTEN = "2026-11-20T10:00:00Z"


def policy_json(spec: Any, **metadata: Any) -> dict[str, Any]:
    known = {
        "name": "base",
        "uid": "uid-base",
        "resourceVersion": "50",
        "generation": 3,
        "creationTimestamp": WRITTEN,
    }
    return {
        "apiVersion": "raysweep.io/v1alpha1",
        "kind": "RayJobCleanupPolicy",
        "metadata": known | metadata,
        "spec": spec,
    }


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
    found = parse_policy(policy_json(spec))
    assert (found.name, found.uid, found.resource_version, found.generation) == (
        "base",
        "uid-base",
        "50",
        3,
    )
    assert (found.priority, found.is_dry_run, found.errors) == (10, True, ())
    wanted = Requirement("team", "In", frozenset({"a", "b"})), Requirement("gone", "DoesNotExist")
    assert found.namespaces == Selector({"env": "prod"}, wanted)
    assert found.rayjobs == EVERYTHING
    assert found.times == {
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
    found = parse_policy(policy_json(spec))
    assert (found.times, found.errors) == ({path: HOUR}, ())


def test_when_it_was_written_is_told_by_its_spec_and_not_by_our_status() -> None:
    entries = [
        {"manager": "kubectl", "time": "2026-11-21T10:00:00Z"},
        {"manager": "raysweep", "subresource": "status", "time": "2026-11-22T10:00:00Z"},
    ]
    spec = {"mode": "DryRun"}
    assert parse_policy(policy_json(spec, managedFields=entries)).written_at == datetime(
        2026, 11, 21, 10, tzinfo=UTC
    )
    assert parse_policy(policy_json(spec)).written_at == datetime(2026, 11, 20, 10, tzinfo=UTC)


GRAMMAR = "is no duration; write a number of seconds, numbers with w, d, h, m, s (as in 1h30m), or never; at most 100 years"


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        pytest.param(
            {"retention": {"rayJob": {"default": "soon"}}},
            f"spec.retention.rayJob.default: 'soon' {GRAMMAR}",
            id="a word",
        ),
        pytest.param(
            {"retention": {"rayJob": {"failed": -1}}},
            f"spec.retention.rayJob.failed: '-1' {GRAMMAR}",
            id="below 0",
        ),
        pytest.param(
            {"retention": {"rayJob": {"failed": 1.5}}},
            f"spec.retention.rayJob.failed: '1.5' {GRAMMAR}",
            id="a fraction",
        ),
        pytest.param(
            {"retention": {"rayJob": {"failed": True}}},
            f"spec.retention.rayJob.failed: 'True' {GRAMMAR}",
            id="true",
        ),
        pytest.param(
            {"retention": {"rayJob": {"failed": ["1h"]}}},
            f"spec.retention.rayJob.failed: {GRAMMAR}",
            id="a list",
        ),
        pytest.param(
            {"stuck": {"jobLost": "101y"}},
            f"spec.stuck.jobLost: '101y' {GRAMMAR}",
            id="no unit of ours",
        ),
        pytest.param(
            {"stuck": {"jobLost": "36526d"}},
            f"spec.stuck.jobLost: '36526d' {GRAMMAR}",
            id="more than 100 years",
        ),
        pytest.param(
            {"stuck": {"jobLost": 0}},
            "spec.stuck.jobLost: '0' would take jobs at once; write a time above 0, or never",
            id="0",
        ),
        pytest.param(
            {"limits": {"keep": {"max": "never"}}},
            "spec.limits.keep.max: 'never' is no limit; leave it out",
            id="never a limit",
        ),
        pytest.param(
            {"limits": {"rayJob": {"min": "2d", "max": "1d"}}},
            "spec.limits.rayJob.min: 2d is longer than limits.rayJob.max 1d; no time would be allowed",
            id="min above max",
        ),
        pytest.param(
            {"limits": {"rayCluster": {"min": "2d"}, "rayJob": {"max": "1d"}}},
            "spec.limits.rayCluster.min: 2d is longer than limits.rayJob.max 1d; no time would be allowed",
            id="a RayJob never goes before its cluster",
        ),
        pytest.param(
            {"limits": {"rayJob": {"max": "1d"}}, "rayJobSelector": {"matchLabels": {"a": "b"}}},
            "spec.rayJobSelector: limits cannot depend on labels that tenants choose themselves; remove it, or the limits",
            id="limits beside a rayJobSelector",
        ),
        pytest.param(
            {},
            "spec: it says nothing; set retention, limits or stuck, or the mode DryRun",
            id="nothing",
        ),
        pytest.param(
            {"mode": "Enforce"},
            "spec: it says nothing; set retention, limits or stuck, or the mode DryRun",
            id="a mode",
        ),
        pytest.param(
            {"retention": {}}, "spec.retention: says nothing; leave it out", id="an empty retention"
        ),
        pytest.param(
            {"limits": {"rayJob": {}}},
            "spec.limits.rayJob: says nothing; leave it out",
            id="empty limits",
        ),
        pytest.param(
            {"retention": {"rayJob": {"default": None}}},
            "spec.retention.rayJob: says nothing; leave it out",
            id="null",
        ),
        pytest.param(
            {"retention": {"rayJob": {"sucseeded": "1h"}}},
            "spec.retention.rayJob.sucseeded: unknown key; remove it, or see docs/reference/policies.md for the right one",
            id="a misspelt key",
        ),
        pytest.param(
            {"ttl": "1h"},
            "spec.ttl: unknown key; remove it, or see docs/reference/policies.md for the right one",
            id="another key",
        ),
        pytest.param(
            {"mode": "observe"},
            "spec.mode: 'observe': Input should be 'Enforce' or 'DryRun'",
            id="a mode that is none",
        ),
        pytest.param(
            {"priority": "high"},
            "spec.priority: 'high': Input should be a valid integer",
            id="a priority that is none",
        ),
        pytest.param(
            {"priority": 10**9},
            "spec.priority: '1000000000': Input should be less than or equal to 1000000",
            id="too high",
        ),
        pytest.param(None, "spec: is no object", id="no spec"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_its_value_and_the_remedy(
    spec: Any, problem: str
) -> None:
    assert problems(spec)[0].startswith(problem)


def test_all_that_is_wrong_is_named() -> None:
    found = problems({"retention": {"rayJob": {"default": "soon"}}, "mode": "off", "limits": {}})
    assert [problem.partition(":")[0] for problem in found] == [
        "spec.mode",
        "spec.retention.rayJob.default",
        "spec.limits",
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
def test_a_selector_that_cannot_be_read_selects_everything_and_is_a_fault(
    key: str, selector: Any
) -> None:
    found = parse_policy(policy_json({key: selector, "mode": "DryRun"}))
    assert found.errors[0].startswith(f"spec.{key}")
    assert (found.namespaces, found.rayjobs) == (EVERYTHING, EVERYTHING)


def test_a_good_namespace_selector_still_bounds_a_policy_in_which_something_else_is_wrong() -> None:
    found = parse_policy(
        policy_json({"namespaceSelector": {"matchLabels": {"team": "a"}}, "mode": "off"})
    )
    assert found.errors
    assert found.namespaces == Selector({"team": "a"})


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
def test_any_spec_makes_a_policy_and_one_that_says_nothing_usable_has_a_fault(spec: Any) -> None:
    found = parse_policy(policy_json(spec))
    assert found.errors or found.times or found.is_dry_run


@given(anything)
def test_any_status_is_left_alone(status: Any) -> None:
    assert parse_policy(policy_json({"mode": "DryRun"}) | {"status": status}).errors == ()


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"managedFields": [{"time": "0000-01-01T00:00:00Z"}]}, id="a year 0"),
        pytest.param({"labels": {"a": 1}}, id="a number for a label"),
        pytest.param({"generation": "x"}, id="a text for the generation"),
        pytest.param({"resourceVersion": None}, id="no resourceVersion"),
    ],
)
def test_odd_metadata_is_a_fault_and_the_policy_counts(metadata: dict[str, Any]) -> None:
    """H1: it keeps what it may select."""
    found = parse_policy(policy_json({"mode": "DryRun"}, **metadata))
    assert found.errors[0].startswith("metadata.")
    assert (found.name, found.is_dry_run) == ("base", True)
