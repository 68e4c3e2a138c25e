"""What a head, or a server that a tenant's Service leads to, may send: it costs little, and none of it is shown."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from raysweep.clients.parsing import bounded_json
from raysweep.clients.parsing.bounded_json import (
    ITEM_CAP,
    MOST_CONTAINERS,
    NotJsonError,
    TooComplexError,
)
from raysweep.clients.ray.dashboard import MOST_ENTRIES, Dashboard
from raysweep.clients.ray.probe_limits import LARGE_PER_NAMESPACE, LIST_CAP, SMALL, TINY
from raysweep.clients.ray.transport import HeadTransport, direct_transport
from raysweep.core.model.facts import HeadList, HeadSilent
from sandbox.waiting import until
from tests.support.answer_costs import ENTRY, LISTS, NODES, entry_with, filled
from tests.support.builders import END, a_raycluster
from tests.support.scripted_api import Answer, json_response
from tests.support.scripted_head import MIB, NODE, OWN, QUICKLY, RUNNING, Head, scripted_head

ROOT = Path(__file__).parents[2]
BY_ID = "/api/jobs/train-x7k2p"
COSTS_AT_MOST = 64  # MiB
ODD = {"type": "SUBMISSION", "submission_id": "odd", "status": None}


@pytest.fixture(scope="module")
def costs() -> dict[str, float]:
    """Peak memory of each hostile answer in MiB, measured in processes of their own."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "operator"), str(ROOT)])}
    command = [sys.executable, "-m", "tests.support.answer_costs"]
    ran = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=True
    )
    found: dict[str, float] = json.loads(ran.stdout)
    return found


@pytest.mark.parametrize("name", [*LISTS, *NODES])
def test_h2_h5_no_answer_costs_more_memory_than_64_mib(costs: dict[str, float], name: str) -> None:
    assert costs[name] < COSTS_AT_MOST


async def _listed(body: str, job_id: str = "") -> HeadList:
    async with scripted_head(json_response(body), json_response("404: Not Found", 404)) as head:
        found = await head.jobs(job_id)
    assert isinstance(found, HeadList)
    return found


@pytest.mark.parametrize(
    ("body", "read", "unreadable"),
    [
        pytest.param(
            filled(ENTRY, 161_000 * 24),
            MOST_ENTRIES,
            "more than 10,000 entries",
            id="161,000 smallest entries",
        ),
        pytest.param(filled(ENTRY, MOST_ENTRIES * 24 + 2), MOST_ENTRIES, "", id="10,000 are read"),
        pytest.param(filled("1", 4 * MIB), 0, "entry 0: the whole: ", id="4 MiB of ones"),
        pytest.param(
            f"[{ENTRY},{ENTRY},5,{ENTRY}]",
            2,
            "entry 2: the whole: ",
            id="what comes before the first odd one",
        ),
        pytest.param(
            f"[{ENTRY},5,not JSON",
            1,
            "entry 1: the whole: ",
            id="and nothing after it is even decoded",
        ),
        pytest.param(
            entry_with(filled("1", 2 * MIB)),
            0,
            "entry 0: larger than 1 MiB",
            id="an entry of 2 MiB",
        ),
        pytest.param(
            entry_with(filled("[]", MIB - 200)),
            0,
            "entry 0: more than 100,000 objects",
            id="too many containers",
        ),
        pytest.param(
            entry_with('"' + "x" * (MIB - 200) + '"'), 1, "", id="an entry of almost 1 MiB is read"
        ),
        pytest.param(
            f'[{ENTRY[:-1]},"submission_id":"{"x" * 2000}"}}]',
            0,
            "entry 0: submission_id: ",
            id="a long ID",
        ),
    ],
)
async def test_h2_a_list_is_read_up_to_the_first_entry_that_cannot_be(
    body: str, read: int, unreadable: str
) -> None:
    found = await _listed(body)
    assert len(found.entries) == read
    assert found.unreadable.startswith(unreadable)
    assert bool(found.unreadable) == bool(unreadable)


@pytest.mark.parametrize(
    ("size", "is_on_the_loop"),
    [pytest.param(TINY, True, id="a usual one"), pytest.param(TINY + 1, False, id="a larger one")],
)
async def test_h2_what_is_not_tiny_is_parsed_outside_the_event_loop(
    size: int, is_on_the_loop: bool
) -> None:
    parsed_by: list[threading.Thread] = []

    def now() -> datetime:
        parsed_by.append(threading.current_thread())
        return END

    async with scripted_head(json_response(" " * (size - 2) + "[]")) as head:
        assert await Dashboard(head.transport, now, lambda _: None).jobs(
            a_raycluster()
        ) == HeadList((), END)
    assert [thread is threading.current_thread() for thread in parsed_by] == [is_on_the_loop]


async def test_h2_hostile_lists_are_parsed_one_at_a_time_and_usual_ones_do_not_wait() -> None:
    at_once, most, gate = 0, 0, threading.Event()

    def now() -> datetime:
        nonlocal at_once, most
        if threading.current_thread() is not threading.main_thread():
            at_once += 1
            most = max(most, at_once)
            gate.wait(60)
            at_once -= 1
        return END

    large, small = json_response(" " * (2 * TINY) + "[]"), json_response("[]")
    async with scripted_head(*[large] * 3, small) as head:
        dashboard = Dashboard(head.transport, now, lambda _: None)
        waiting = [
            asyncio.create_task(dashboard.jobs(a_raycluster(name=f"c{n}"))) for n in range(3)
        ]
        await until(lambda: at_once == 1 and len(head.paths) == 3, timeout=60)
        assert await dashboard.jobs(a_raycluster(namespace="other")) == HeadList((), END)
        gate.set()
        assert await asyncio.gather(*waiting) == [HeadList((), END)] * 3
    assert most == 1


async def test_h2_large_bodies_of_one_namespace_leave_places_to_another() -> None:
    gate = asyncio.Event()

    async def stall(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b" " * (2 * SMALL))
        await gate.wait()
        await response.write(b"[]")
        return response

    async with scripted_head(*[stall] * 8, json_response(b" " * (2 * SMALL) + b"[]")) as head:
        stalling = [asyncio.create_task(head.jobs(name=f"c{n}")) for n in range(8)]
        await until(lambda: len(head.paths) == 8, timeout=60)
        assert await head.jobs(namespace="other") == HeadList((), END)
        assert not head.limits.large.locked()
        gate.set()
        assert await asyncio.gather(*stalling) == [HeadList((), END)] * 8
    assert LARGE_PER_NAMESPACE < 8


async def test_h13_hung_heads_of_many_namespaces_give_way_in_turns() -> None:
    """Nine namespaces with eight hung heads each want 72 of 64 places, and one healthy head comes last."""
    gate = asyncio.Event()
    order: list[str] = []

    async def hang(request: web.BaseRequest) -> web.StreamResponse:
        order.append(request.host.split(".")[1])
        if request.host.startswith("hung"):
            await gate.wait()
        return json_response([])

    async with scripted_head(hang) as head:
        hung = [
            asyncio.create_task(head.jobs(namespace=f"n{each}", head_service=f"hung-{number}"))
            for each in range(9)
            for number in range(16)
        ]
        await until(lambda: len(order) == 64, timeout=60)
        healthy = asyncio.create_task(head.jobs(namespace="healthy", head_service="head"))
        await asyncio.sleep(0)
        gate.set()
        assert await healthy == HeadList((), END)
        await asyncio.gather(*hung)
    assert order.index("healthy") < 64 + 16


@pytest.mark.parametrize(
    ("body", "found"),
    [
        pytest.param("[]", [], id="empty"),
        pytest.param(' [ 1 ,\n"a" ] ', [1, "a"], id="white space"),
        pytest.param("\ufeff[null]", [None], id="a byte order mark"),
        pytest.param(
            json.dumps(["x" * 70_000, "y" * 300_000, {"a": ["\u00fc"] * 50_000}]),
            3,
            id="items of all sizes",
        ),
        pytest.param(filled("1234567890", 200_000), 18_181, id="a number across a window's end"),
    ],
)
def test_a_list_is_decoded_item_by_item_as_json_does_it(body: str, found: Any) -> None:
    decoded = list(bounded_json.items(body.encode()))
    assert decoded == json.loads(body.removeprefix("\ufeff"))
    assert decoded == found or len(decoded) == found


@pytest.mark.parametrize(
    ("body", "error"),
    [
        *(
            (body, NotJsonError)
            for body in (
                "",
                "{}",
                "[",
                "[1",
                "[1,",
                "[1,]",
                "[,1]",
                "[1 2]",
                "[1]x",
                "[1]]",
                "1",
                "[tru]",
            )
        ),
        ("[" * 90_000 + "]" * 90_000, NotJsonError),
        ('["' + "x" * ITEM_CAP + '"]', TooComplexError),
        ("[" + filled("[]", 3 * MOST_CONTAINERS + 100) + "]", TooComplexError),
    ],
    ids=lambda value: value[:8] if isinstance(value, str) else value.__name__,
)
def test_what_is_not_a_list_or_too_large_is_refused(body: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(bounded_json.items(body.encode()))


@pytest.mark.parametrize("body", ["", "{", "{} x", "[1]]", "nul"])
def test_what_is_not_one_value_is_refused(body: str) -> None:
    with pytest.raises(NotJsonError):
        bounded_json.value(body.encode())


NOT_THERE = json_response("Job train-x7k2p does not exist", 404)
TOO_LARGE = " " * LIST_CAP + "[]"
OWN_ENTRY = {"submission_id": "train-x7k2p", "status": "SUCCEEDED"}


async def _by_list_and_id(head: Head) -> tuple[list[dict[str, str]], str]:
    found = await head.jobs("train-x7k2p")
    assert isinstance(found, HeadList)
    assert (found.whole, head.probes) == (True, ["answered"])
    return [
        {"submission_id": e.submission_id, "status": e.status} for e in found.entries
    ], found.unreadable


@pytest.mark.parametrize(
    ("body", "unreadable"),
    [
        pytest.param(json.dumps([ODD, OWN]), "entry 0: status", id="an odd entry before it"),
        pytest.param(TOO_LARGE, "it is larger than 4 MiB", id="too large a list"),
        pytest.param(
            filled(ENTRY, 11_000 * 24)[:-1] + f",{json.dumps(OWN)}]",
            "more than 10,000 entries",
            id="too many entries",
        ),
    ],
)
async def test_h11_a_job_that_an_unreadable_list_hides_is_asked_for_by_its_id(
    body: str, unreadable: str
) -> None:
    async with scripted_head(json_response(body), json_response(OWN)) as head:
        entries, why = await _by_list_and_id(head)
    assert (entries[-1], head.paths) == (OWN_ENTRY, ["/api/jobs/", BY_ID])
    assert why.startswith(unreadable)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(NOT_THERE, id="Ray says that there is no such job"),
        pytest.param(json_response("404: Not Found", 404), id="404"),
        pytest.param(json_response("500", 500), id="500"),
        pytest.param(json_response("Unauthorized: Missing authentication token", 401), id="401"),
        pytest.param(json_response(OWN | {"submission_id": "another"}), id="another job"),
        pytest.param(json_response("x" * (2 * MIB)), id="too large"),
        pytest.param(json_response(ODD), id="an odd entry"),
        pytest.param(ConnectionError(), id="no answer"),
    ],
)
async def test_h11_without_an_answer_by_id_the_list_stays_as_unreadable_as_it_was(
    answer: Answer,
) -> None:
    async with scripted_head(
        json_response([{**OWN, "submission_id": "other"}, ODD]), answer
    ) as head:
        entries, why = await _by_list_and_id(head)
    assert ([entry["submission_id"] for entry in entries], why.partition(":")[0]) == (
        ["other"],
        "entry 1",
    )


@pytest.mark.parametrize(
    ("body", "job_id"),
    [
        pytest.param([OWN, ODD], "train-x7k2p", id="it is among the readable ones"),
        pytest.param([OWN], "another", id="the list is readable"),
        pytest.param([ODD], "", id="nobody knows its ID"),
        pytest.param([ODD], "..", id="its ID is a path"),
    ],
)
async def test_h11_nobody_asks_by_id_where_it_would_tell_nothing(body: Any, job_id: str) -> None:
    async with scripted_head(json_response(body), json_response(OWN)) as head:
        assert isinstance(await head.jobs(job_id), HeadList)
    assert head.paths == ["/api/jobs/"]


def _node_is(state: str) -> web.Response:
    return json_response({"data": {"result": {"result": [{"node_id": NODE, "state": state}]}}})


async def test_h11_w13_a_job_found_by_its_id_on_a_dead_node_counts_as_on_a_dead_node() -> None:
    async with scripted_head(
        json_response([ODD]), json_response(RUNNING), _node_is("DEAD")
    ) as head:
        found = await head.jobs("train-x7k2p")
    assert isinstance(found, HeadSilent)
    assert (found.node_is_dead, found.unauthorized) == (True, False)


async def test_w13_without_an_id_and_with_an_unreadable_list_nobody_knows_whose_node_it_is() -> (
    None
):
    async with scripted_head(json_response([RUNNING, ODD]), _node_is("DEAD")) as head:
        assert isinstance(await head.jobs(), HeadList)
    assert head.paths == ["/api/jobs/"]


SECRET = "s3cret-of-an-internal-server"
STATUS = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "reason": SECRET,
    "message": SECRET,
    "code": 403,
}
FOREIGN: dict[str, Answer] = {
    "403": json_response(SECRET, 403),
    "401 in words like Ray's": json_response(f"Unauthorized: {SECRET}", 401),
    "403 in words like Ray's": json_response(f"Forbidden: {SECRET}", 403),
    "404 in words like Ray's": json_response(f"Job {SECRET} does not exist", 404),
    "500 with a traceback": json_response(f"Traceback (most recent call last):\n{SECRET}", 500),
    "a Kubernetes Status": json_response(STATUS, 403),
    "a reason": web.Response(status=418, reason=SECRET),
    "a redirect": json_response("", 302, Location=f"http://{SECRET}/"),
    "a compression": json_response("[]", Content_Encoding=SECRET),
    "a page": json_response(f"<html>{SECRET}</html>"),
    "a text in JSON": json_response(json.dumps(SECRET)),
    "another list": json_response([SECRET]),
    "other objects": json_response([{SECRET: SECRET}]),
    "a status that is a list": json_response([{**OWN, "status": [SECRET]}]),
    "a time that is a text": json_response([{**OWN, "end_time": SECRET}]),
    "an object with another status": json_response({**OWN, "status": {SECRET: 1}}),
    "another job": json_response({**OWN, "submission_id": SECRET, "type": SECRET}),
    "a list that breaks off": json_response(f'[{{"{SECRET}": '),
}


def _shown(found: HeadList | HeadSilent) -> str:
    return found.unreadable if isinstance(found, HeadList) else found.detail


@pytest.mark.parametrize("by_api_server", [False, True], ids=["direct", "through the API server"])
@pytest.mark.parametrize("name", FOREIGN)
async def test_h24_no_word_of_a_foreign_answer_is_shown(name: str, by_api_server: bool) -> None:
    async with scripted_head(FOREIGN[name], by_api_server=by_api_server) as head:
        shown = [_shown(await head.jobs("train-x7k2p")), _shown(await head.job())]
    assert all(shown)
    assert SECRET not in " ".join(shown)


@contextlib.asynccontextmanager
async def raw_head(sent: bytes) -> AsyncIterator[Dashboard]:
    """A server that does not speak HTTP as it should."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport = HeadTransport(
        direct_transport("unused.local", None).session, lambda *_: f"http://127.0.0.1:{port}"
    )
    dashboard = Dashboard(transport, lambda: END, lambda _: None, pause_up_to=QUICKLY)
    try:
        yield dashboard
    finally:
        await dashboard.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(f"220 {SECRET} ESMTP\r\n".encode(), id="a mail server's greeting"),
        pytest.param(f"HTTP/1.1 {SECRET} no\r\n\r\n".encode(), id="no status"),
        pytest.param(f"HTTP/1.1 200 OK\r\n{SECRET}\r\n\r\n".encode(), id="no header"),
        pytest.param(
            f"HTTP/1.1 200 OK\r\nContent-Length: {SECRET}\r\n\r\n[]".encode(), id="an odd length"
        ),
        pytest.param(
            f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n".encode(),
            id="an odd chunk",
        ),
        pytest.param(
            f"HTTP/1.1 200 OK\r\nX: {SECRET * 1000}\r\n\r\n[]".encode(), id="a header of 28 KB"
        ),
    ],
)
async def test_h24_no_word_of_what_is_not_http_is_shown(sent: bytes) -> None:
    async with raw_head(sent) as dashboard:
        asks: list[Callable[[], Awaitable[HeadList | HeadSilent]]] = [
            lambda: dashboard.jobs(a_raycluster()),
            lambda: dashboard.job(a_raycluster(), "train-x7k2p"),
        ]
        for ask in asks:
            found = await ask()
            assert isinstance(found, HeadSilent)
            assert found.detail
            assert SECRET[:6] not in found.detail


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        pytest.param(
            json_response("Unauthorized: Missing authentication token", 401), None, id="no token"
        ),
        pytest.param(
            json_response("Forbidden: Invalid authentication token", 403), None, id="a wrong token"
        ),
        pytest.param(
            json_response("404: Not Found", 404), "HTTP 404: 404: Not Found", id="an unknown route"
        ),
        pytest.param(
            json_response("500 Internal Server Error\n\nServer got itself in trouble", 500),
            "HTTP 500: 500 Internal Server Error Server got itself in trouble",
            id="a bare 500",
        ),
    ],
)
async def test_h24_rays_own_known_sentences_are_shown(
    answer: web.Response, detail: str | None
) -> None:
    async with scripted_head(answer) as head:
        found = await head.jobs()
    assert isinstance(found, HeadSilent)
    assert isinstance(answer.body, bytes)
    assert found.detail == (detail or f"{answer.status} {answer.body.decode()}")
