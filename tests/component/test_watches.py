"""The events of a watch: cut anywhere, invalid or an error; and the request that opens a watch."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from raysweep.clients.kubernetes import watches
from raysweep.clients.kubernetes.errors import (
    ApiError,
    BusyError,
    ForbiddenError,
    InvalidResponseError,
    UnreachableError,
)
from raysweep.clients.kubernetes.user_client import WATCH_SECONDS, UserClient
from raysweep.clients.kubernetes.watches import WatchEvent, watch_events
from tests.support.scripted_api import json_response
from tests.support.scripted_clients import scripted


def event(kind: str, name: str = "train", version: str = "7") -> bytes:
    item = {"metadata": {"name": name, "resourceVersion": version}}
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def name_of(item: Any) -> str:
    return str(item["metadata"]["name"])


async def read(*chunks: bytes) -> list[WatchEvent[str]]:
    async def sent() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [event async for event in watch_events("GET /x", sent(), name_of)]


STREAM = (
    event("ADDED")
    + event("MODIFIED", "é", "8")
    + event("DELETED", version="9")
    + event("BOOKMARK", version="10")
)
EVENTS: list[WatchEvent[str]] = [
    WatchEvent("7", "train"),
    WatchEvent("8", "é"),
    WatchEvent("9", "train", is_deleted=True),
    WatchEvent("10"),
]


async def test_events_may_be_cut_anywhere() -> None:
    for size in (1, 2, 7, 50, 10_000):
        chunks = (STREAM[start : start + size] for start in range(0, len(STREAM), size))
        assert await read(*chunks) == EVENTS, size


async def test_an_incomplete_last_event_is_dropped() -> None:
    assert await read(STREAM[:-1]) == EVENTS[:-1]


async def test_an_event_of_an_unknown_type_is_ignored() -> None:
    assert await read(event("RENAMED") + event("ADDED")) == [WatchEvent("7", "train")]


async def test_an_unreadable_event_ends_the_watch() -> None:
    lines = {
        "not JSON": b"no JSON\n",
        "not an object": b"[]\n",
        "no type": b"{}\n",
        "no object in it": b'{"type": "ADDED"}\n',
        "no metadata": b'{"type": "ADDED", "object": {"metadata": null}}\n',
        "no name": b'{"type": "ADDED", "object": {"metadata": {"resourceVersion": "1"}}}\n',
        "nested too deep": b"[" * 100_000 + b"\n",
        "not UTF-8": b"\xff\n",
    }
    for case, line in lines.items():
        with pytest.raises(InvalidResponseError) as raised:
            await read(event("ADDED"), line)
        assert str(raised.value).startswith("GET /x: cannot parse a watch event: "), case


async def test_a_line_without_an_end_takes_no_more_memory_than_an_object() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10**9):
            yield b"x" * 2**16

    with pytest.raises(InvalidResponseError, match=f"larger than {watches.LINE_BYTES} bytes"):
        async for _ in watch_events("GET /x", chunks(), name_of):
            pass


async def test_an_event_of_type_error_raises_the_error_of_its_status() -> None:
    rows: list[tuple[Any, type[ApiError], int]] = [
        ({"code": 410, "message": "too old"}, InvalidResponseError, watches.EXPIRED),
        ({"code": 500, "message": "etcd"}, BusyError, 500),
        ({"code": 403}, ForbiddenError, 403),
        ({"message": "no code"}, InvalidResponseError, 0),
        ({"code": "410"}, InvalidResponseError, 0),
    ]
    for status, error_class, code in rows:
        line = json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
        with pytest.raises(error_class) as raised:
            await read(event("ADDED"), line)
        assert raised.value.code == code, status


async def test_a_watch_continues_a_list_and_has_a_limited_duration() -> None:
    async with (
        scripted(UserClient, json_response(STREAM)) as (client, script),
        client.watch_rayjob_uids("team-a", "team=vision", "42") as events,
    ):
        with pytest.raises(InvalidResponseError):
            [event async for event in events]  # they have no uid
    (request,) = script.requests
    seconds = int(request.query.pop("timeoutSeconds"))
    assert WATCH_SECONDS[0] <= seconds <= WATCH_SECONDS[1]
    assert request.query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "labelSelector": "team=vision",
        "resourceVersion": "42",
    }
    assert request.headers["Accept"].startswith("application/json;as=PartialObjectMetadata;")


async def test_the_request_timeout_limits_the_duration_of_a_watch() -> None:
    timeout = timedelta(seconds=3)
    async with (
        scripted(UserClient, json_response(b""), request_timeout=timeout) as (client, script),
        client.watch_policies("") as events,
    ):
        assert [event async for event in events] == []
    (request,) = script.requests
    assert request.query["timeoutSeconds"] == "3"
    assert "resourceVersion" not in request.query


async def test_a_refused_watch_raises_the_error_of_the_response() -> None:
    refused = json_response({"message": "cannot watch"}, 403)
    async with scripted(UserClient, refused) as (client, _):
        with pytest.raises(ForbiddenError, match="cannot watch"):
            async with client.watch_namespaces("team-a", "1"):
                pass


async def test_a_watch_without_a_response_is_unreachable() -> None:
    async with scripted(UserClient, ConnectionError("cut")) as (client, _):
        with pytest.raises(UnreachableError):
            async with client.watch_rayclusters("", "1"):
                pass
