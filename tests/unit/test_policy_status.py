"""What a policy's conditions say: whether it counts, and which other one gets in its way."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from raysweep.core.model.facts import Namespace, Policy, Selector
from raysweep.core.retention.policy_status import selected_namespaces, status
from tests.support.builders import DUE, END, a_policy

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TEAM_A = Namespace("team-a", "uid-team-a", "7", labels={"team": "a"})
TEAM_B = Namespace("team-b", "uid-team-b", "7", labels={"team": "b"})
KEEPS = {"retention.rayJob.default": DAY}
ALONE = {"uid-base": frozenset({TEAM_A.uid})}
FREE = "No other policy of the same priority sets the same fields for the same RayJobs."


def _conditions(policy: Policy, *others: Policy) -> dict[str, tuple[str, str, str]]:
    """Type to (status, reason, message)."""
    every = (policy, *others)
    written = status(
        policy,
        every,
        {each.uid: selected_namespaces(each, (TEAM_A, TEAM_B)) for each in every},
        END,
    )
    assert written is not None
    return {
        each["type"]: (each["status"], each["reason"], each["message"])
        for each in written["conditions"]
    }


def _written(policy: Policy, **status_: Any) -> Policy:
    return replace(
        policy,
        status=status(policy, (policy,), {policy.uid: selected_namespaces(policy, (TEAM_A,))}, END)
        or {} | status_,
    )


ACCEPTED: dict[str, tuple[Policy, tuple[str, str, str]]] = {
    "retention": (a_policy(times=KEEPS), ("True", "Accepted", "It sets retention.")),
    "everything": (
        a_policy(times={**KEEPS, "limits.keep.max": DAY, "stuck.jobLost": DAY}),
        ("True", "Accepted", "It sets retention and limits and stuck."),
    ),
    "limits alone: a hint that they delete nothing by themselves": (
        a_policy(times={"limits.rayJob.max": DAY}),
        (
            "True",
            "Accepted",
            "It sets limits. Limits bound TTLs that are set elsewhere, and set none themselves.",
        ),
    ),
    "DryRun": (
        a_policy(times=KEEPS, is_dry_run=True),
        ("True", "Accepted", "The mode is DryRun: nothing that it selects is deleted."),
    ),
    "invalid: all errors, and what follows": (
        a_policy(errors=("spec.mode: odd", "spec.limits: odd")),
        (
            "False",
            "Invalid",
            (
                "spec.mode: odd; spec.limits: odd. Every RayJob that it selects is kept until "
                "you correct this."
            ),
        ),
    ),
}


def test_the_condition_accepted() -> None:
    for label, (policy, accepted) in ACCEPTED.items():
        assert _conditions(policy)["Accepted"] == accepted, label


OVERLAPS: dict[str, tuple[Policy, tuple[str, str, str]]] = {
    "the same value at the same priority": (
        a_policy("other", times=KEEPS),
        (
            "True",
            "SamePriority",
            (
                "RayJobCleanupPolicy other has the same priority 0 and also sets "
                "retention.rayJob.default: base takes precedence"
            ),
        ),
    ),
    "the other's name comes first": (
        a_policy("a", times=KEEPS),
        (
            "True",
            "SamePriority",
            (
                "RayJobCleanupPolicy a has the same priority 0 and also sets "
                "retention.rayJob.default: a takes precedence"
            ),
        ),
    ),
    "another priority": (a_policy("other", priority=1, times=KEEPS), ("False", "None", FREE)),
    "another value": (
        a_policy("other", times={"retention.rayJob.failed": DAY}),
        ("False", "None", FREE),
    ),
    "no Namespace that both select": (
        a_policy("other", times=KEEPS, namespaces=Selector({"team": "c"})),
        ("False", "None", FREE),
    ),
    "contradictory limits, whatever the priority": (
        a_policy("other", times={"limits.rayJob.min": DAY}, priority=3),
        (
            "True",
            "LimitsConflict",
            "limits conflict, so RayJobs that both policies select are kept: "
            "RayJobCleanupPolicy other "
            "spec.limits.rayJob.min 1d contradicts RayJobCleanupPolicy base "
            "spec.limits.rayJob.max 1h",
        ),
    ),
}


def test_the_condition_overlaps() -> None:
    for label, (other, overlaps) in OVERLAPS.items():
        policy = a_policy(times={**KEEPS, "limits.rayJob.max": HOUR})
        assert _conditions(policy, other)["Overlaps"] == overlaps, label


def test_selectors_with_different_values_of_a_label_do_not_overlap() -> None:
    vision, nlp = (
        a_policy(name, times=KEEPS, rayjobs=Selector({"team": name})) for name in ("vision", "nlp")
    )
    assert _conditions(vision, nlp)["Overlaps"][0] == "False"


def test_a_current_status_is_not_written_again() -> None:
    policy = _written(a_policy(times=KEEPS))
    assert status(policy, (policy,), ALONE, DUE) is None


def test_a_new_generation_is_observed_and_a_condition_that_stays_keeps_its_time() -> None:
    policy = replace(_written(a_policy(times=KEEPS)), generation=2)
    written = status(policy, (policy,), ALONE, DUE)
    assert written is not None
    assert written["observedGeneration"] == 2
    assert {
        (each["observedGeneration"], each["lastTransitionTime"]) for each in written["conditions"]
    } == {(2, "2026-11-22T18:00:00Z")}


def test_a_condition_that_changes_has_the_time_of_the_change() -> None:
    policy = replace(_written(a_policy(times=KEEPS)), errors=("spec.mode: odd",), generation=2)
    written = status(policy, (policy,), ALONE, DUE)
    assert written is not None
    times = {each["type"]: each["lastTransitionTime"] for each in written["conditions"]}
    assert times == {"Accepted": "2026-11-22T19:00:00Z", "Overlaps": "2026-11-22T18:00:00Z"}


SPOILED_STATUSES: list[dict[str, Any]] = [
    {"conditions": "soon"},
    {"conditions": [1, None]},
    {"conditions": [{"type": 5}]},
    {},
]


def test_a_spoiled_status_is_replaced() -> None:
    for odd in SPOILED_STATUSES:
        policy = a_policy(times=KEEPS, status=odd)
        assert status(policy, (policy,), ALONE, DUE) is not None, odd


def test_a_long_message_is_cut() -> None:
    policy = a_policy(errors=("x" * 5000,))
    assert len(_conditions(policy)["Accepted"][2]) == 1000
