"""The user client: label selections, the operator's ConfigMap and its Events."""

from datetime import UTC, datetime
from typing import Any

import pytest

from raysweep.clients.kubernetes.errors import ForbiddenError
from raysweep.clients.kubernetes.user_client import RayJobEvent, UserClient
from tests.support.scripted_api import json_response, object_not_found
from tests.support.scripted_clients import scripted

JSON_EVENT = {
    "metadata": {"name": "train.1"},
    "regarding": {"kind": "RayJob", "name": "train", "uid": "u1"},
    "reportingController": "raysweep.io/operator",
    "eventTime": "2026-11-22T18:00:00.250000Z",
    "type": "Normal",
    "reason": "Expired",
    "note": "Deleted RayJob train.",
}
EVENT = RayJobEvent(
    datetime(2026, 11, 22, 18, 0, 0, 250_000, UTC),
    "u1",
    "Normal",
    "Expired",
    "Deleted RayJob train.",
)
TEAM = "/apis/ray.io/v1/namespaces/team-a"


def page(*items: Any, token: str = "") -> Any:
    return json_response({"metadata": {"continue": token}, "items": list(items)})


async def test_the_api_server_selects_by_label_and_sends_only_metadata() -> None:
    first = page({"metadata": {"uid": "a"}}, token="more")
    last = page({"metadata": {"uid": "b"}})
    async with scripted(UserClient, first, last) as (client, script):
        pages = client.rayjob_uids("team-a", "team in (vision)")
        assert [uid async for page in pages for uid in page] == ["a", "b"]
    assert [request.path for request in script.requests] == [f"{TEAM}/rayjobs"] * 2
    selectors = [request.query.get("labelSelector") for request in script.requests]
    assert selectors == ["team in (vision)"] * 2
    assert script.requests[1].query["continue"] == "more"
    assert "PartialObjectMetadataList" in script.requests[0].headers["Accept"]


async def test_an_empty_namespace_selects_in_all_namespaces() -> None:
    async with scripted(UserClient, page()) as (client, script):
        assert [uid async for page in client.rayjob_uids("", "x=y") for uid in page] == []
    assert script.requests[0].path == "/apis/ray.io/v1/rayjobs"


async def test_lists_of_one_namespace() -> None:
    async with scripted(UserClient, page()) as (client, script):
        assert [page async for page in client.rayjobs("team-a")] == [[]]
        assert [page async for page in client.rayclusters("team-a")] == [[]]
    paths = [request.path for request in script.requests]
    assert paths == [f"{TEAM}/rayjobs", f"{TEAM}/rayclusters"]


async def test_events_are_selected_by_name_and_reporter_and_sorted_by_time() -> None:
    later = JSON_EVENT | {"eventTime": "2026-11-22T19:00:00.000000Z", "reason": "Later"}
    timeless = JSON_EVENT | {"eventTime": None, "reason": "Timeless"}
    async with scripted(UserClient, page(later, JSON_EVENT, timeless)) as (client, script):
        events = await client.rayjob_events("team-a", "train")
    assert [event.reason for event in events] == ["Timeless", "Expired", "Later"]
    assert events[1] == EVENT
    assert script.requests[0].path == "/apis/events.k8s.io/v1/namespaces/team-a/events"
    assert script.requests[0].query["fieldSelector"] == (
        "regarding.kind=RayJob,regarding.name=train,reportingController=raysweep.io/operator"
    )


async def test_events_of_another_reporter_are_left_out() -> None:
    foreign = JSON_EVENT | {"reportingController": "kuberay"}
    async with scripted(UserClient, page(foreign)) as (client, _):
        assert await client.rayjob_events("team-a", "train") == []


async def test_an_invalid_event_is_left_out_and_the_others_are_returned() -> None:
    """H1."""
    rows: list[dict[str, Any]] = [
        {"regarding": 7},
        {"eventTime": "soon"},
        {"eventTime": "0001-01-01T00:00:00Z"},
        {"note": ["x"]},
    ]
    for invalid in rows:
        async with scripted(UserClient, page(JSON_EVENT | invalid, JSON_EVENT)) as (client, _):
            assert await client.rayjob_events("team-a", "train") == [EVENT], invalid


async def test_the_config_map_of_the_operator() -> None:
    answers = (
        json_response({"data": {"RAYSWEEP_MODE": "DryRun"}}),
        json_response({}),
        object_not_found,
        json_response({}, 403),
    )
    async with scripted(UserClient, *answers) as (client, script):
        assert await client.config_map("raysweep", "raysweep") == {"RAYSWEEP_MODE": "DryRun"}
        assert await client.config_map("raysweep", "raysweep") == {}
        assert await client.config_map("raysweep", "raysweep") is None
        with pytest.raises(ForbiddenError):
            await client.config_map("raysweep", "raysweep")
    paths = {request.path for request in script.requests}
    assert paths == {"/api/v1/namespaces/raysweep/configmaps/raysweep"}
