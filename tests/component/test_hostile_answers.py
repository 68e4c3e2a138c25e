"""Hostile responses of heads: they cost little memory, and none of their text is shown."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from raysweep.clients.fair_semaphore import FairSemaphore
from raysweep.clients.parsing import bounded_json
from raysweep.clients.parsing.bounded_json import (
    ITEM_CAP,
    MOST_CONTAINERS,
    NotJsonError,
    TooComplexError,
)
from raysweep.clients.ray.dashboard import MOST_ENTRIES, Dashboard
from raysweep.clients.ray.probe_limits import (
    LARGE_PER_NAMESPACE,
    LIST_CAP,
    SMALL,
    TINY,
    ProbeLimits,
)
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
    """The peak memory of each hostile response in MiB, measured in separate processes."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "operator"), str(ROOT)])}
    command = [sys.executable, "-m", "tests.support.answer_costs"]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=True
    )
    return dict(json.loads(done.stdout))


def test_h2_h5_no_response_costs_more_than_64_mib(costs: dict[str, float]) -> None:
    assert set(costs) == {*LISTS, *NODES}
    assert {name: cost for name, cost in costs.items() if cost >= COSTS_AT_MOST} == {}


async def test_h2_a_list_is_parsed_up_to_its_first_invalid_entry() -> None:
    long_id = f'[{ENTRY[:-1]},"submission_id":"{"x" * 2000}"}}]'
    rows = [
        (filled(ENTRY, 161_000 * 24), MOST_ENTRIES, "more than 10,000 entries"),
        (filled(ENTRY, MOST_ENTRIES * 24 + 2), MOST_ENTRIES, ""),
        (filled("1", 4 * MIB), 0, "entry 0: "),
        (f"[{ENTRY},{ENTRY},5,{ENTRY}]", 2, "entry 2: "),
        (f"[{ENTRY},5,not JSON", 1, "entry 1: "),
        (entry_with(filled("1", 2 * MIB)), 0, "entry 0: larger than 1 MiB"),
        (entry_with(filled("[]", MIB - 200)), 0, "entry 0: more than 100,000 objects"),
        (entry_with('"' + "x" * (MIB - 200) + '"'), 1, ""),
        (long_id, 0, "entry 0: submission_id: "),
    ]
    for body, count, unreadable in rows:
        not_found = json_response("404: Not Found", 404)
        async with scripted_head(json_response(body), not_found) as head:
            jobs = await head.jobs()
        assert isinstance(jobs, HeadList), unreadable
        assert len(jobs.entries) == count, unreadable
        assert jobs.unreadable.startswith(unreadable)
        assert bool(jobs.unreadable) == bool(unreadable)


@pytest.mark.parametrize(
    ("size", "is_on_the_loop"),
    [pytest.param(TINY, True, id="tiny"), pytest.param(TINY + 1, False, id="larger")],
)
async def test_h2_only_a_tiny_body_is_parsed_on_the_event_loop(
    size: int, is_on_the_loop: bool
) -> None:
    threads: list[threading.Thread] = []

    def now() -> datetime:
        threads.append(threading.current_thread())
        return END

    async with scripted_head(json_response(" " * (size - 2) + "[]")) as head:
        assert await Dashboard(head.transport, now, lambda _: None).jobs(
            a_raycluster()
        ) == HeadList((), END)
    assert [thread is threading.current_thread() for thread in threads] == [is_on_the_loop]


async def test_h2_large_lists_are_parsed_one_at_a_time_and_tiny_ones_at_once() -> None:
    running, most, gate = 0, 0, threading.Event()

    def now() -> datetime:
        nonlocal running, most
        if threading.current_thread() is not threading.main_thread():
            running += 1
            most = max(most, running)
            gate.wait(60)
            running -= 1
        return END

    large, small = json_response(" " * (2 * TINY) + "[]"), json_response("[]")
    async with scripted_head(*[large] * 3, small) as head:
        dashboard = Dashboard(head.transport, now, lambda _: None)
        waiting = [
            asyncio.create_task(dashboard.jobs(a_raycluster(name=f"c{n}"))) for n in range(3)
        ]
        await until(lambda: running == 1 and len(head.paths) == 3, timeout=60)
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
        stalled = [asyncio.create_task(head.jobs(name=f"c{n}")) for n in range(8)]
        await until(lambda: len(head.paths) == 8, timeout=60)
        assert await head.jobs(namespace="other") == HeadList((), END)
        assert not head.limits.large.locked()
        gate.set()
        assert await asyncio.gather(*stalled) == [HeadList((), END)] * 8
    assert LARGE_PER_NAMESPACE < 8


async def test_h13_hung_heads_of_many_namespaces_give_way_in_turns() -> None:
    """Nine namespaces with 4 hung heads each need more than all 16 places, and none is silent."""
    limits = ProbeLimits(asked=FairSemaphore(16, 2), patience=timedelta(minutes=1))
    gate = asyncio.Event()
    order: list[str] = []

    async def hang(request: web.BaseRequest) -> web.StreamResponse:
        order.append(request.host.split(".")[1])
        if request.host.startswith("hung"):
            await gate.wait()
        return json_response([])

    async with scripted_head(hang, limits=limits) as head:
        hung = [
            asyncio.create_task(head.jobs(namespace=f"n{each}", head_service=f"hung-{number}"))
            for each in range(9)
            for number in range(4)
        ]
        await until(lambda: len(order) == 16, timeout=60)
        healthy = asyncio.create_task(head.jobs(namespace="healthy", head_service="head"))
        await asyncio.sleep(0)
        gate.set()
        assert await healthy == HeadList((), END)
        await asyncio.gather(*hung)
    assert order.index("healthy") < 16 + 16


def test_a_list_is_decoded_item_by_item_as_json_loads_does() -> None:
    sizes: list[Any] = ["x" * 70_000, "y" * 300_000, {"a": ["\u00fc"] * 50_000}]
    rows = {
        "[]": 0,
        ' [ 1 ,\n"a" ] ': 2,
        "\ufeff[null]": 1,
        json.dumps(sizes): 3,
        filled("1234567890", 200_000): 18_181,  # numbers across the ends of windows
    }
    for body, count in rows.items():
        items = list(bounded_json.items(body.encode()))
        assert items == json.loads(body.removeprefix("\ufeff"))
        assert len(items) == count


def test_a_text_that_is_not_a_list_or_is_too_complex_is_an_error() -> None:
    texts = ("", "{}", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1]x", "[1]]", "1", "[tru]")
    nested = "[" * 90_000 + "]" * 90_000
    for body in (*texts, nested):
        with pytest.raises(NotJsonError):
            list(bounded_json.items(body.encode()))
    many = "[" + filled("[]", 3 * MOST_CONTAINERS + 100) + "]"
    for body in ('["' + "x" * ITEM_CAP + '"]', many):
        with pytest.raises(TooComplexError):
            list(bounded_json.items(body.encode()))


def test_a_text_that_is_not_one_value_is_an_error() -> None:
    for body in ("", "{", "{} x", "[1]]", "nul"):
        with pytest.raises(NotJsonError):
            bounded_json.value(body.encode())


NOT_THERE = json_response("Job train-x7k2p does not exist", 404)
TOO_LARGE = " " * LIST_CAP + "[]"
OWN_ENTRY = {"submission_id": "train-x7k2p", "status": "SUCCEEDED"}


async def jobs_by_list_and_id(head: Head) -> tuple[list[dict[str, str]], str]:
    """The entries and the unreadable part of a probe for the RayJob's submission."""
    jobs = await head.jobs("train-x7k2p")
    assert isinstance(jobs, HeadList)
    assert (jobs.whole, head.probes) == (True, ["answered"])
    entries = [
        {"submission_id": entry.submission_id, "status": entry.status} for entry in jobs.entries
    ]
    return entries, jobs.unreadable


async def test_h11_a_job_that_an_unreadable_list_hides_is_requested_by_its_id() -> None:
    too_many = filled(ENTRY, 11_000 * 24)[:-1] + f",{json.dumps(OWN)}]"
    rows = [
        (json.dumps([ODD, OWN]), "entry 0: status"),
        (TOO_LARGE, "it is larger than 4 MiB"),
        (too_many, "more than 10,000 entries"),
    ]
    for body, unreadable in rows:
        async with scripted_head(json_response(body), json_response(OWN)) as head:
            entries, problem = await jobs_by_list_and_id(head)
        assert (entries[-1], head.paths) == (OWN_ENTRY, ["/api/jobs/", BY_ID])
        assert problem.startswith(unreadable)


async def test_h11_without_an_answer_by_id_the_list_stays_unreadable() -> None:
    rows: dict[str, Answer] = {
        "no such job": NOT_THERE,
        "404": json_response("404: Not Found", 404),
        "500": json_response("500", 500),
        "401": json_response("Unauthorized: Missing authentication token", 401),
        "another job": json_response(OWN | {"submission_id": "another"}),
        "too large": json_response("x" * (2 * MIB)),
        "an invalid entry": json_response(ODD),
        "no response": ConnectionError(),
    }
    for case, answer in rows.items():
        jobs = json_response([{**OWN, "submission_id": "other"}, ODD])
        async with scripted_head(jobs, answer) as head:
            entries, problem = await jobs_by_list_and_id(head)
        assert [entry["submission_id"] for entry in entries] == ["other"], case
        assert problem.startswith("entry 1:"), case


async def test_h11_the_job_is_not_requested_by_id_if_it_does_not_help() -> None:
    rows: dict[str, tuple[Any, str]] = {
        "it is among the valid entries": ([OWN, ODD], "train-x7k2p"),
        "the list is valid": ([OWN], "another"),
        "its ID is unknown": ([ODD], ""),
        "its ID is a path": ([ODD], ".."),
    }
    for case, (body, job_id) in rows.items():
        async with scripted_head(json_response(body), json_response(OWN)) as head:
            assert isinstance(await head.jobs(job_id), HeadList), case
        assert head.paths == ["/api/jobs/"], case


def _node_is(state: str) -> web.Response:
    return json_response({"data": {"result": {"result": [{"node_id": NODE, "state": state}]}}})


async def test_h11_w13_the_node_of_a_job_requested_by_its_id_counts() -> None:
    async with scripted_head(
        json_response([ODD]), json_response(RUNNING), _node_is("DEAD")
    ) as head:
        found = await head.jobs("train-x7k2p")
    assert isinstance(found, HeadSilent)
    assert (found.node_is_dead, found.unauthorized) == (True, False)


async def test_w13_without_an_id_the_node_in_an_unreadable_list_does_not_count() -> None:
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


@pytest.mark.parametrize("by_api_server", [False, True], ids=["direct", "through the API server"])
async def test_h24_no_foreign_text_is_shown(by_api_server: bool) -> None:
    for case, answer in FOREIGN.items():
        async with scripted_head(answer, by_api_server=by_api_server) as head:
            reports = [await head.jobs("train-x7k2p"), await head.job()]
        for report in reports:
            shown = report.unreadable if isinstance(report, HeadList) else report.detail
            assert shown, case
            assert SECRET not in shown, case


@contextlib.asynccontextmanager
async def raw_head(sent: bytes) -> AsyncIterator[Dashboard]:
    """A server that sends bytes that are not valid HTTP."""

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


async def test_h24_no_text_of_an_invalid_http_response_is_shown() -> None:
    ok = "HTTP/1.1 200 OK\r\n"
    rows = [
        f"220 {SECRET} ESMTP\r\n",
        f"HTTP/1.1 {SECRET} no\r\n\r\n",
        f"{ok}{SECRET}\r\n\r\n",
        f"{ok}Content-Length: {SECRET}\r\n\r\n[]",
        f"{ok}Transfer-Encoding: chunked\r\n\r\n{SECRET}\r\n",
        f"{ok}X: {SECRET * 1000}\r\n\r\n[]",
    ]
    for sent in rows:
        async with raw_head(sent.encode()) as dashboard:
            reports = [
                await dashboard.jobs(a_raycluster()),
                await dashboard.job(a_raycluster(), "train-x7k2p"),
            ]
        for report in reports:
            assert isinstance(report, HeadSilent), sent
            assert report.detail, sent
            assert SECRET[:6] not in report.detail, sent


async def test_h24_known_texts_of_ray_are_shown() -> None:
    no_token = "Unauthorized: Missing authentication token"
    wrong_token = "Forbidden: Invalid authentication token"
    internal = "500 Internal Server Error\n\nServer got itself in trouble"
    rows = [
        (401, no_token, f"401 {no_token}"),
        (403, wrong_token, f"403 {wrong_token}"),
        (404, "404: Not Found", "HTTP 404: 404: Not Found"),
        (500, internal, "HTTP 500: 500 Internal Server Error Server got itself in trouble"),
    ]
    for status, text, detail in rows:
        async with scripted_head(json_response(text, status)) as head:
            silent = await head.jobs()
        assert isinstance(silent, HeadSilent)
        assert silent.detail == detail
