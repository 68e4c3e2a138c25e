"""The events of a watch: cut anywhere, odd, or an error; and how a watch is asked for."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
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
from raysweep.clients.kubernetes.user_client import WATCH_SECONDS
from raysweep.clients.kubernetes.watches import Change, changes
from tests.component.test_user_client import Lab
from tests.support.scripted_api import json_response


def event(kind: str, name: str = "train", version: str = "7") -> bytes:
    return (
        json.dumps(
            {"type": kind, "object": {"metadata": {"name": name, "resourceVersion": version}}}
        ).encode()
        + b"\n"
    )


def name_of(item: Any) -> str:
    return str(item["metadata"]["name"])


async def _sent(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _read(*pieces: bytes) -> list[Change[str]]:
    return [change async for change in changes("GET /x", _sent(*pieces), name_of)]


WHOLE = (
    event("ADDED")
    + event("MODIFIED", "é", "8")
    + event("DELETED", version="9")
    + event("BOOKMARK", version="10")
)
TOLD: list[Change[str]] = [
    Change("7", "train"),
    Change("8", "é"),
    Change("9", "train", is_deleted=True),
    Change("10"),
]


@pytest.mark.parametrize("size", [1, 2, 7, 50, 10_000])
async def test_events_may_be_cut_anywhere(size: int) -> None:
    assert await _read(*(WHOLE[at : at + size] for at in range(0, len(WHOLE), size))) == TOLD


async def test_what_is_cut_off_at_the_end_did_not_come() -> None:
    assert await _read(WHOLE[:-1]) == TOLD[:-1]


async def test_a_type_that_is_not_known_is_passed_over() -> None:
    assert await _read(event("RENAMED") + event("ADDED")) == [Change("7", "train")]


ODD = [
    pytest.param(b"no JSON\n", id="no JSON"),
    pytest.param(b"[]\n", id="no object"),
    pytest.param(b"{}\n", id="no type"),
    pytest.param(b'{"type": "ADDED"}\n', id="no object in it"),
    pytest.param(b'{"type": "ADDED", "object": {"metadata": null}}\n', id="no metadata"),
    pytest.param(
        b'{"type": "ADDED", "object": {"metadata": {"resourceVersion": "1"}}}\n', id="no name"
    ),
    pytest.param(b"[" * 100_000 + b"\n", id="nested"),
    pytest.param(b"\xff\n", id="no UTF-8"),
]


@pytest.mark.parametrize("line", ODD)
async def test_an_event_that_cannot_be_read_ends_the_watch(line: bytes) -> None:
    with pytest.raises(InvalidResponseError, match="GET /x: an event that cannot be read"):
        await _read(event("ADDED"), line)


async def test_a_line_without_an_end_takes_no_more_memory_than_an_object() -> None:
    endless = (b"x" * 2**16 for _ in range(10**9))

    async def pieces() -> AsyncIterator[bytes]:
        for piece in endless:
            yield piece

    with pytest.raises(
        InvalidResponseError, match=f"an event of more than {watches.LINE_BYTES} bytes"
    ):
        async for _ in changes("GET /x", pieces(), name_of):
            pass


ERRORS = [
    pytest.param({"code": 410, "message": "too old"}, InvalidResponseError, 410, id="expired"),
    pytest.param({"code": 500, "message": "etcd"}, BusyError, 500, id="busy"),
    pytest.param({"code": 403}, ForbiddenError, 403, id="no right any more"),
    pytest.param({"message": "odd"}, InvalidResponseError, 0, id="without a code"),
    pytest.param({"code": "410"}, InvalidResponseError, 0, id="an odd code"),
]


@pytest.mark.parametrize(("status", "kind", "code"), ERRORS)
async def test_an_error_in_the_stream_is_that_error(
    status: Any, kind: type[ApiError], code: int
) -> None:
    line = json.dumps({"type": "ERROR", "object": status}).encode() + b"\n"
    with pytest.raises(kind) as caught:
        await _read(event("ADDED"), line)
    assert caught.value.code == code


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


async def test_a_watch_goes_on_from_a_list_and_ends_by_itself(lab: Lab) -> None:
    async with (
        lab.reading(json_response(WHOLE)) as (reader, script),
        reader.watch_rayjob_uids("team-a", "team=vision", "42") as found,
    ):
        with pytest.raises(InvalidResponseError):
            [change async for change in found]  # they have no uid
    query = script.requests[0].query
    assert WATCH_SECONDS[0] <= int(query.pop("timeoutSeconds")) <= WATCH_SECONDS[1]
    assert query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "labelSelector": "team=vision",
        "resourceVersion": "42",
    }
    assert (
        script.requests[0]
        .headers["Accept"]
        .startswith("application/json;as=PartialObjectMetadata;")
    )


async def test_the_flag_request_timeout_bounds_it(lab: Lab) -> None:
    async with lab.reading(json_response(b"")) as (reader, script):
        reader.request_timeout = timedelta(seconds=3)
        async with reader.watch_policies("") as found:
            assert [change async for change in found] == []
    assert script.requests[0].query["timeoutSeconds"] == "3"
    assert "resourceVersion" not in script.requests[0].query


async def test_a_watch_that_is_refused_says_why(lab: Lab) -> None:
    async with lab.reading(json_response({"message": "cannot watch"}, 403)) as (reader, _):
        with pytest.raises(ForbiddenError, match="cannot watch"):
            async with reader.watch_namespaces("team-a", "1"):
                pass


async def test_a_watch_of_a_server_that_is_away_says_so(lab: Lab) -> None:
    async with lab.reading(ConnectionError("cut")) as (reader, _):
        with pytest.raises(UnreachableError):
            async with reader.watch_rayclusters("", "1"):
                pass
