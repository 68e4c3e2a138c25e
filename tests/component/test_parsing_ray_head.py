"""What a RayCluster, a Service and a head's entry tell of heads."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from raysweep.clients.parsing.ray_head import (
    parse_entry,
    parse_node_states,
    parse_raycluster,
    parse_service,
)
from raysweep.core.head_pod import head_is_gone
from raysweep.core.model.facts import RayCluster, Service
from tests.support.builders import Body, raycluster_json


def _head_ready(*conditions: Any) -> RayCluster:
    return parse_raycluster(raycluster_json(status={"conditions": list(conditions)}))


HEAD_POD_READY: dict[str, tuple[list[Body], bool | None]] = {
    "ready": ([{"type": "HeadPodReady", "status": "True"}], True),
    "not ready": (
        [{"type": "Other", "status": "True"}, {"type": "HeadPodReady", "status": "False"}],
        False,
    ),
    "unknown": ([{"type": "HeadPodReady", "status": "Unknown"}], None),
    "no status": ([{"type": "HeadPodReady"}], None),
    "another condition": ([{"type": "Other", "status": "True"}], None),
    "none": ([], None),
}


def test_whether_the_heads_pod_is_ready() -> None:
    for label, (conditions, ready) in HEAD_POD_READY.items():
        assert _head_ready(*conditions).head_ready is ready, label


@pytest.mark.parametrize(
    ("status", "is_known"), [("True", True), ("False", False), ("Unknown", False)]
)
def test_c5_since_when_the_heads_pod_is_ready(status: str, is_known: bool) -> None:
    at = "2026-11-22T18:00:00Z"
    cluster = _head_ready({"type": "HeadPodReady", "status": status, "lastTransitionTime": at})
    assert cluster.head_ready_since == (
        datetime(2026, 11, 22, 18, tzinfo=UTC) if is_known else None
    )


@pytest.mark.parametrize("status", [{}, {"conditions": None}])
def test_a_cluster_without_the_condition(status: Body) -> None:
    assert parse_raycluster(raycluster_json(status=status)).head_ready is None


INVALID_CONDITIONS: list[Any] = [
    5,
    "x",
    {"type": 5},
    {"type": "HeadPodReady", "status": True},
]


def test_an_invalid_condition_makes_the_cluster_unreadable() -> None:
    for condition in INVALID_CONDITIONS:
        assert _head_ready(condition).unreadable.startswith("status.conditions.0"), condition


FAULT_TOLERANT = {"gcsFaultToleranceOptions": {"redisAddress": "redis:6379"}}


def _with(status: Any, annotations: Body | None = None, spec: Body | None = None) -> RayCluster:
    sent = raycluster_json(status=status, metadata={"annotations": annotations})
    return parse_raycluster(sent | {"spec": sent["spec"] | (spec or {})})


def _pod_condition(reason: str | None, status: str = "False") -> Body:
    return {"type": "HeadPodReady", "status": status, "reason": reason}


NOT_FOUND = {"head": {"serviceName": "h"}, "conditions": [_pod_condition("HeadPodNotFound")]}


@pytest.mark.parametrize(
    ("cluster", "is_gone"),
    [
        *(
            pytest.param(_with({"conditions": [_pod_condition(reason)]}), True, id=f"W1: {reason}")
            for reason in ("HeadPodNotFound", "PodFailed", "PodCompleted")
        ),
        *(
            pytest.param(_with({"conditions": [_pod_condition(reason)]}), False, id=f"W1: {reason}")
            for reason in ("ContainersNotReady", "CrashLoopBackOff", "Unknown", "", None)
        ),
        pytest.param(
            _with({"conditions": [_pod_condition("HeadPodNotFound", "True")]}),
            False,
            id="W1: a contradiction",
        ),
        pytest.param(
            _with({"conditions": [_pod_condition("HeadPodNotFound", "Unknown")]}),
            False,
            id="W1: Unknown",
        ),
        pytest.param(
            _with({"head": {"serviceName": "h"}}), True, id="W1: no condition, no head Pod"
        ),
        pytest.param(
            _with({"head": {"serviceName": "h", "podIP": ""}}),
            True,
            id="W1: no condition, an empty IP",
        ),
        pytest.param(_with({"head": {"podIP": "10.0.0.1"}}), False, id="W1: no condition, an IP"),
        pytest.param(
            _with({"head": {"podName": "head-x"}}), False, id="W1: no condition, a Pod's name"
        ),
        pytest.param(_with({}), False, id="W1: an empty status"),
        pytest.param(_with(None), False, id="W1: no status"),
        pytest.param(
            _with(NOT_FOUND, {"ray.io/ft-enabled": "true"}),
            False,
            id="W1: fault tolerant by annotation",
        ),
        pytest.param(
            _with(NOT_FOUND, {"ray.io/ft-enabled": "True"}), False, id="W1: as KubeRay reads it"
        ),
        pytest.param(
            _with(NOT_FOUND, {"ray.io/ft-enabled": "false"}),
            True,
            id="W1: not fault tolerant by annotation",
        ),
        pytest.param(
            _with(NOT_FOUND, spec=FAULT_TOLERANT), False, id="W1: fault tolerant by its spec"
        ),
        pytest.param(
            _with(NOT_FOUND, spec={"gcsFaultToleranceOptions": {}}),
            False,
            id="W1: with empty options",
        ),
        pytest.param(
            _with(NOT_FOUND, spec={"gcsFaultToleranceOptions": None}),
            True,
            id="W1: with no options",
        ),
        pytest.param(
            parse_raycluster({"metadata": raycluster_json()["metadata"]}),
            False,
            id="W1: a list of metadata proves nothing",
        ),
    ],
)
def test_whether_the_status_of_a_cluster_proves_that_its_head_is_gone(
    cluster: RayCluster, is_gone: bool
) -> None:
    assert cluster.unreadable == ""
    assert head_is_gone(cluster) is is_gone


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "samples").glob("raycluster-*.json")), ids=str
)
def test_w1_no_recorded_cluster_with_a_head_pod_is_taken_for_one_without(path: Path) -> None:
    """Recorded from KubeRay 1.7.0. After a sidecar job only its submitter container has ended."""
    cluster = parse_raycluster(json.loads(path.read_text()))
    assert cluster.head_pod_name
    assert cluster.head_reason is not None
    assert not head_is_gone(cluster)


@pytest.mark.parametrize("head", [5, {"podName": 5}, {"podIP": ["x"]}])
def test_an_invalid_head_makes_the_cluster_unreadable(head: Any) -> None:
    assert _with({"head": head}).unreadable.startswith("status.head")


LONG = "a" * 6 + "-" + "b" * 49


TOKEN_SECRETS: dict[str, tuple[str, Body | None, str]] = {
    "KubeRay's default": ("train", {"mode": "token"}, "train"),
    "named": ("train", {"mode": "token", "secretName": "mine"}, "mine"),
    "named emptily": ("train", {"mode": "token", "secretName": ""}, "train"),
    "the last 50 characters": ("a" * 10 + "b" * 50, {"mode": "token"}, "b" * 50),
    "which begin with a letter": (LONG, {"mode": "token"}, "r" + "b" * 49),
    "switched off": ("train", {"mode": "disabled", "secretName": "mine"}, ""),
    "an unknown mode": ("train", {"mode": "Token"}, ""),
    "no mode": ("train", {}, ""),
    "no options": ("train", None, ""),
}


def test_the_secret_with_the_heads_token() -> None:
    for label, (name, options, secret) in TOKEN_SECRETS.items():
        sent = raycluster_json(metadata={"name": name})
        assert (
            parse_raycluster(sent | {"spec": sent["spec"] | {"authOptions": options}}).auth_secret
            == secret
        ), label


INVALID_AUTH_OPTIONS: list[Any] = [
    5,
    "token",
    {"mode": 5},
    {"mode": "token", "secretName": ["x"]},
]


def test_invalid_auth_options_make_the_cluster_unreadable() -> None:
    for options in INVALID_AUTH_OPTIONS:
        sent = raycluster_json()
        assert parse_raycluster(
            sent | {"spec": sent["spec"] | {"authOptions": options}}
        ).unreadable.startswith("spec.authOptions"), options


def _service(spec: Any, **metadata: Any) -> Body:
    return {
        "metadata": {"name": "head", "uid": "u", "resourceVersion": "1", **metadata},
        "spec": spec,
    }


OWNER = {"kind": "RayCluster", "uid": "uid-cluster", "controller": True}


SERVICES: dict[str, tuple[Body, Service]] = {
    "owned": (
        _service({"selector": {"a": "b"}}, ownerReferences=[OWNER]),
        Service("uid-cluster", leads_to_pods=True),
    ),
    "without an owner": (_service({"selector": {"a": "b"}}), Service(leads_to_pods=True)),
    "no selector": (_service({}), Service()),
    "it leads outside": (_service({"selector": {"a": "b"}, "type": "ExternalName"}), Service()),
}


def test_a_service() -> None:
    for label, (sent, service) in SERVICES.items():
        assert parse_service(sent) == service, label


INVALID_SERVICES: list[Any] = [
    None,
    5,
    {"selector": {"a": 5}},
    {"type": 5},
]


def test_an_invalid_service_raises() -> None:
    for spec in INVALID_SERVICES:
        with pytest.raises(ValueError, match=r"^spec"):
            parse_service(_service(spec))


def test_the_node_of_a_job() -> None:
    entry = {"type": "SUBMISSION", "submission_id": "a", "status": "RUNNING"}
    assert parse_entry(entry | {"driver_node_id": "33b6"}).node_id == "33b6"
    assert parse_entry(entry | {"driver_node_id": None}).node_id == ""


def test_the_states_of_nodes() -> None:
    nodes = [
        {"node_id": "a", "state": "ALIVE", "resources_total": {}},
        {"node_id": "b", "state": "DEAD"},
    ]
    assert parse_node_states({"data": {"result": {"result": nodes}}}) == {"a": "ALIVE", "b": "DEAD"}


INVALID_NODE_ANSWERS: list[Any] = [
    None,
    [],
    {},
    {"data": None},
    {"data": {"result": []}},
    {"data": {"result": {"result": {}}}},
    {"data": {"result": {"result": [5]}}},
]


def test_an_invalid_answer_about_nodes_raises() -> None:
    for sent in INVALID_NODE_ANSWERS:
        with pytest.raises(ValueError):  # noqa: PT011 - where it differs is of no use to anybody
            parse_node_states(sent)
