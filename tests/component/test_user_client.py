"""What the command line asks of the API server besides, and as whom: selections, the operator's ConfigMap, its Events."""

import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from raysweep.clients.connection.credentials import Credentials
from raysweep.clients.connection.overrides import Overrides
from raysweep.clients.kubernetes.errors import ForbiddenError
from raysweep.clients.kubernetes.user_client import RayJobEvent, UserClient
from tests.support.scripted_api import Answer, Script, json_response, object_not_found, serving

EVENT = {
    "metadata": {"name": "train.1"},
    "regarding": {"kind": "RayJob", "name": "train", "uid": "u1"},
    "reportingController": "raysweep.io/operator",
    "eventTime": "2026-11-22T18:00:00.250000Z",
    "type": "Normal",
    "reason": "Expired",
    "note": "Deleted RayJob train.",
}
READ = RayJobEvent(
    datetime(2026, 11, 22, 18, 0, 0, 250_000, UTC),
    "u1",
    "Normal",
    "Expired",
    "Deleted RayJob train.",
)
EVENTS = "/apis/events.k8s.io/v1/namespaces/team-a/events"


def items(*bodies: Any, token: str = "") -> Any:
    return json_response({"metadata": {"continue": token}, "items": list(bodies)})


class Lab:
    """A reader against a script of answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.asynccontextmanager
    async def reading(self, *answers: Answer) -> AsyncIterator[tuple[UserClient, Script]]:
        async with serving(*answers) as script:
            config = {
                "current-context": "test",
                "contexts": [
                    {
                        "name": "test",
                        "context": {"cluster": "test", "user": "test", "namespace": "team-b"},
                    }
                ],
                "clusters": [{"name": "test", "cluster": {"server": script.url}}],
                "users": [{"name": "test", "user": {"token": "abc"}}],
            }
            path = self.folder / "config"
            path.write_text(json.dumps(config))
            credentials = Credentials.find(Overrides(kubeconfig=path))
            assert credentials.namespace == "team-b"
            reader = UserClient(credentials.api_client(), lambda *_: None)
            try:
                yield reader, script
            finally:
                await reader.close()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


async def test_a_selection_is_the_servers_and_only_its_metadata_is_read(lab: Lab) -> None:
    async with lab.reading(
        items({"metadata": {"uid": "a"}}, token="more"), items({"metadata": {"uid": "b"}})
    ) as (
        reader,
        script,
    ):
        assert [
            uid async for page in reader.rayjob_uids("team-a", "team in (vision)") for uid in page
        ] == ["a", "b"]
        assert [asked.path for asked in script.requests] == [
            "/apis/ray.io/v1/namespaces/team-a/rayjobs"
        ] * 2
        assert [asked.query.get("labelSelector") for asked in script.requests] == [
            "team in (vision)"
        ] * 2
        assert script.requests[1].query["continue"] == "more"
        assert "PartialObjectMetadataList" in script.requests[0].headers["Accept"]


async def test_a_selection_over_all_namespaces(lab: Lab) -> None:
    async with lab.reading(items()) as (reader, script):
        assert [uid async for page in reader.rayjob_uids("", "x=y") for uid in page] == []
        assert script.requests[0].path == "/apis/ray.io/v1/rayjobs"


async def test_lists_of_one_namespace(lab: Lab) -> None:
    async with lab.reading(items()) as (reader, script):
        assert [page async for page in reader.rayjobs("team-a")] == [[]]
        assert [page async for page in reader.rayclusters("team-a")] == [[]]
        base = "/apis/ray.io/v1/namespaces/team-a"
        assert [asked.path for asked in script.requests] == [
            f"{base}/rayjobs",
            f"{base}/rayclusters",
        ]


async def test_events_are_asked_for_by_name_and_reporter_and_told_in_order(lab: Lab) -> None:
    later = EVENT | {"eventTime": "2026-11-22T19:00:00.000000Z", "reason": "Later"}
    timeless = EVENT | {"eventTime": None, "reason": "Timeless"}
    async with lab.reading(items(later, EVENT, timeless)) as (reader, script):
        found = await reader.rayjob_events("team-a", "train")
        assert [one.reason for one in found] == ["Timeless", "Expired", "Later"]
        assert found[1] == READ
        assert script.requests[0].path == EVENTS
        selector = (
            "regarding.kind=RayJob,regarding.name=train,reportingController=raysweep.io/operator"
        )
        assert script.requests[0].query["fieldSelector"] == selector


async def test_others_events_are_left_out_should_the_server_send_them(lab: Lab) -> None:
    async with lab.reading(items(EVENT | {"reportingController": "kuberay"})) as (reader, _):
        assert await reader.rayjob_events("team-a", "train") == []


@pytest.mark.parametrize(
    "odd",
    [
        {"regarding": 7},
        {"eventTime": "soon"},
        {"eventTime": "0001-01-01T00:00:00Z"},
        {"note": ["x"]},
    ],
    ids=str,
)
async def test_an_odd_event_costs_itself_alone(lab: Lab, odd: dict[str, Any]) -> None:
    """H1."""
    async with lab.reading(items(EVENT | odd, EVENT)) as (reader, _):
        assert await reader.rayjob_events("team-a", "train") == [READ]


async def test_the_config_map_of_the_operator(lab: Lab) -> None:
    async with lab.reading(
        json_response({"data": {"RAYSWEEP_MODE": "DryRun"}}),
        json_response({}),
        object_not_found,
        json_response({}, 403),
    ) as (
        reader,
        script,
    ):
        assert await reader.config_map("raysweep", "raysweep") == {"RAYSWEEP_MODE": "DryRun"}
        assert await reader.config_map("raysweep", "raysweep") == {}
        assert await reader.config_map("raysweep", "raysweep") is None
        with pytest.raises(ForbiddenError):
            await reader.config_map("raysweep", "raysweep")
        assert {asked.path for asked in script.requests} == {
            "/api/v1/namespaces/raysweep/configmaps/raysweep"
        }
