"""Watch events: an object with invalid metadata affects no other object."""

from typing import Any

import aiohttp
import pytest

from raysweep.controller.kopf_watch import empty_lists, on_namespace_event, on_rayjob_event
from raysweep.controller.store import Store
from tests.support.builders import namespace_json, rayjob_json
from tests.support.scripted_api import json_response, serving

YEAR_0: Any = {"managedFields": [{"time": "0000-01-01T00:00:00Z"}]}


def test_a_rayjob_with_invalid_metadata_becomes_unreadable() -> None:
    store = Store(lambda _: None)
    on_rayjob_event(store, "ADDED", rayjob_json())
    on_rayjob_event(store, "MODIFIED", rayjob_json(metadata=YEAR_0 | {"resourceVersion": "101"}))
    job = store.rayjob("uid-train")
    assert job is not None
    assert job.unreadable.startswith("metadata.managedFields")


def test_a_namespace_with_invalid_metadata_judges_its_rayjobs_again() -> None:
    judged: list[str] = []
    store = Store(judged.append)
    on_rayjob_event(store, "ADDED", rayjob_json())
    on_namespace_event(store, "ADDED", namespace_json())
    judged.clear()
    body = namespace_json()
    body["metadata"] |= YEAR_0 | {"resourceVersion": "8"}
    on_namespace_event(store, "MODIFIED", body)
    entry = store.namespace("team-a")
    assert entry is not None
    assert entry[0].unreadable.startswith("metadata.managedFields")
    assert judged == ["uid-train"]


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED", "DELETED", None])
def test_an_object_without_a_name_changes_nothing(kind: str | None) -> None:
    store = Store(lambda _: None)
    on_rayjob_event(store, "ADDED", rayjob_json())
    on_rayjob_event(store, kind, rayjob_json(metadata={"uid": 7}))
    on_namespace_event(store, kind, {"metadata": {"name": None}})
    assert (len(store.rayjobs), len(store.namespaces)) == (1, 0)


def test_only_configured_keys_are_stored() -> None:
    store = Store(lambda _: None)
    json = rayjob_json(metadata={"annotations": {f"example.com/{n}": "" for n in range(1000)}})
    on_rayjob_event(store, "ADDED", json, frozenset({"example.com/7"}))
    job = store.rayjob("uid-train")
    assert job is not None
    assert job.keys == {"example.com/7"}


RAYJOBS = "/apis/ray.io/v1/rayjobs"
NAMESPACES = "/api/v1/namespaces"
EMPTY = {"fieldSelector": "metadata.name=_", "resourceVersion": "0", "limit": "1"}


async def test_the_lists_of_kopf_are_empty_and_begin_its_watches() -> None:
    rows: list[tuple[str, dict[str, str], list[str]]] = [
        (f"{RAYJOBS}?limit=500", EMPTY, [RAYJOBS]),
        (RAYJOBS, EMPTY, [RAYJOBS]),
        (f"/k8s/clusters/c-1{NAMESPACES}?limit=500&continue=abc", EMPTY, [NAMESPACES]),
        (f"{RAYJOBS}?watch=true&resourceVersion=7", {"watch": "true", "resourceVersion": "7"}, []),
        ("/apis/ray.io/v1/namespaces/other/rayjobs?limit=500", {"limit": "500"}, []),
        (f"{NAMESPACES}/team-a", {}, []),
        ("/apis/ray.io/v1", {}, []),
    ]
    listed: list[str] = []
    middleware = empty_lists([RAYJOBS, NAMESPACES], listed.append)
    async with (
        serving(json_response({})) as api,
        aiohttp.ClientSession(middlewares=[middleware]) as session,
    ):
        for path, query, reported in rows:
            listed.clear()
            async with session.get(f"{api.url}{path}"):
                pass
            assert (api.requests[-1].query, listed) == (query, reported), path


async def test_a_list_that_fails_begins_no_watch() -> None:
    listed: list[str] = []
    middleware = empty_lists([RAYJOBS], listed.append)
    async with (
        serving(json_response({}, 503)) as api,
        aiohttp.ClientSession(middlewares=[middleware]) as session,
        session.get(f"{api.url}{RAYJOBS}"),
    ):
        pass
    assert listed == []
