"""Asking a head for one job, what a dead node, a head that is gone and too large a body make of an answer."""

import asyncio
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from raysweep.clients.ray.dashboard import Dashboard
from raysweep.clients.ray.probe_limits import LARGE, LIST_CAP, ONE_CAP, OVERALL, SMALL
from raysweep.clients.ray.transport import HeadTransport, api_server_transport, direct_transport
from raysweep.core.model.facts import HeadList, HeadSilent, JobEntry
from sandbox.waiting import until
from tests.support.builders import END, a_raycluster
from tests.support.scripted_api import Answer, json_response, serving
from tests.support.scripted_head import ADDRESS, MIB, NODE, OWN, QUICKLY, RUNNING, scripted_head

BY_ID = "/api/jobs/train-x7k2p"
NOT_THERE = json_response("Job train-x7k2p does not exist", 404)
NO_JOB = HeadList((), END, whole=False)


async def test_one_job_is_asked_for_by_its_id() -> None:
    async with scripted_head(json_response(OWN)) as head:
        found = await head.job()
    assert isinstance(found, HeadList)
    assert [(entry.submission_id, entry.status) for entry in found.entries] == [
        ("train-x7k2p", "SUCCEEDED")
    ]
    assert (found.answered_at, found.unreadable, found.whole) == (END, "", False)
    assert (head.paths, head.probes) == ([BY_ID], ["answered"])


async def test_no_such_job_in_rays_own_words_is_an_answer() -> None:
    async with scripted_head(NOT_THERE) as head:
        assert await head.job() == NO_JOB
    assert (len(head.paths), head.probes) == (1, ["answered"])


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        pytest.param(
            json_response("Unauthorized: Missing authentication token", 401),
            "401 Unauthorized",
            id="401 of Ray's own",
        ),
        pytest.param(
            json_response("Forbidden: Invalid authentication token", 403),
            "403 Forbidden",
            id="403 of Ray's own",
        ),
    ],
)
async def test_a_head_that_wants_a_token_is_not_asked_again(answer: Answer, detail: str) -> None:
    async with scripted_head(answer) as head:
        found = await head.job()
    assert isinstance(found, HeadSilent)
    assert (found.unauthorized, found.detail.startswith(detail)) == (True, True)
    assert (len(head.paths), head.probes) == (1, ["unauthorized"])


async def _breaks_off(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"{}")
    assert request.transport is not None
    request.transport.close()
    return response


STATUS = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        pytest.param(json_response("404: Not Found", 404), "HTTP 404", id="404 of another route"),
        pytest.param(
            json_response("Job train-x7k2 does not exist", 404),
            "HTTP 404",
            id="404 for another job",
        ),
        pytest.param(
            json_response("<html>Job train-x7k2p does not exist</html>", 404),
            "HTTP 404",
            id="404 of a proxy",
        ),
        pytest.param(
            json_response("Job train-x7k2p does not exist", 500),
            "HTTP 500",
            id="Ray's words with the wrong status",
        ),
        pytest.param(
            json_response("Job train-x7k2p does not exist"), "not JSON", id="Ray's words with 200"
        ),
        pytest.param(
            json_response(STATUS | {"message": "Job train-x7k2p does not exist", "code": 404}, 404),
            "HTTP 404",
            id="404 of Kubernetes",
        ),
        pytest.param(
            json_response(STATUS | {"message": "Unauthorized", "code": 401}, 401),
            "HTTP 401",
            id="401 of Kubernetes",
        ),
        pytest.param(
            json_response(STATUS | {"message": "no", "code": 403}, 403),
            "HTTP 403",
            id="403 of Kubernetes",
        ),
        pytest.param(json_response("500 Internal Server Error", 500), "HTTP 500", id="500"),
        pytest.param(json_response("<html>Bad Gateway</html>", 502), "HTTP 502", id="502"),
        pytest.param(json_response(OWN, 201), "HTTP 201", id="the job with the wrong status"),
        pytest.param(
            json_response("", 302, Location="http://127.0.0.1:1/"),
            "HTTP 302",
            id="a redirect is not followed",
        ),
        pytest.param(
            json_response(b"{}", Content_Encoding="gzip"), "compressed", id="a compressed body"
        ),
        pytest.param(_breaks_off, "ClientPayloadError", id="a body that breaks off"),
        pytest.param(json_response("<html>Welcome</html>"), "not JSON", id="a page"),
        pytest.param(json_response(""), "not JSON", id="nothing"),
        pytest.param(json_response("[" * 100_000), "not JSON", id="brackets without end"),
        pytest.param(json_response([OWN]), "not a job", id="a list"),
        pytest.param(json_response(STATUS | {"code": 200}), "not a job", id="a Status with 200"),
        pytest.param(json_response("null"), "not a job", id="null"),
        pytest.param(
            json_response({**OWN, "status": None}), "not a job", id="a job without a status"
        ),
        pytest.param(
            json_response({**OWN, "submission_id": "train-x7k2"}),
            "a job other than",
            id="a job other than",
        ),
        pytest.param(
            json_response({**OWN, "submission_id": None, "job_id": "train-x7k2p"}),
            "a job other than",
            id="Ray's number",
        ),
        pytest.param(json_response({**OWN, "type": "DRIVER"}), "a job other than", id="a driver"),
    ],
)
async def test_anything_else_is_no_usable_answer_and_is_asked_for_three_times(
    answer: Answer, detail: str
) -> None:
    async with scripted_head(answer) as head:
        found = await head.job()
    assert isinstance(found, HeadSilent)
    assert (found.unauthorized, detail in found.detail) == (False, True)
    assert (head.paths, head.probes) == ([BY_ID] * 3, ["unreachable"])


async def test_an_answer_larger_than_1_mib_is_no_usable_one() -> None:
    async with scripted_head(json_response({**OWN, "message": "x" * MIB})) as head:
        found = await head.job()
    assert isinstance(found, HeadSilent)
    assert found.detail == "the answer is larger than 1 MiB"
    assert (len(head.paths), head.probes) == (1, ["unreachable"])


async def test_an_answer_of_exactly_1_mib_is_read() -> None:
    short = json_response({**OWN, "message": ""}).body
    assert isinstance(short, bytes)
    async with scripted_head(json_response({**OWN, "message": "x" * (MIB - len(short))})) as head:
        assert isinstance(await head.job(), HeadList)


async def test_of_an_error_64_kib_are_read() -> None:
    async with scripted_head(json_response("x" * (64 * 2**20), 500)) as head:
        found = await asyncio.wait_for(head.job(), 5)
    assert isinstance(found, HeadSilent)
    assert len(found.detail) < 300


HOSTILE = [
    ("%2e%2e", "%252e%252e"),
    ("..%2f..", "..%252f.."),
    ("a/b", "a%2Fb"),
    ("../../version", "..%2F..%2Fversion"),
    ("a b", "a%20b"),
    ("a?x=1#y", "a%3Fx%3D1%23y"),
    ("a\r\nHost: b", "a%0D%0AHost%3A%20b"),
    ("\u00fcn\u00ef", "%C3%BCn%C3%AF"),
    ("...", "..."),
    ("a;b&c", "a%3Bb%26c"),
    ("x\\..\\y", "x%5C..%5Cy"),
]


@pytest.mark.parametrize(("job_id", "segment"), HOSTILE)
async def test_a_hostile_id_arrives_as_one_encoded_segment(job_id: str, segment: str) -> None:
    async with scripted_head(
        json_response({**OWN, "submission_id": job_id}),
        json_response(f"Job {job_id} does not exist", 404),
    ) as head:
        found = await head.job(job_id)
        assert isinstance(found, HeadList)
        assert [entry.submission_id for entry in found.entries] == [job_id]
        assert await head.job(job_id) == NO_JOB
    assert head.paths == [f"/api/jobs/{segment}"] * 2


@pytest.mark.parametrize(("job_id", "segment"), HOSTILE)
async def test_through_the_api_server_too(job_id: str, segment: str) -> None:
    async with scripted_head(
        json_response({**OWN, "submission_id": job_id}), by_api_server=True
    ) as head:
        assert isinstance(await head.job(job_id), HeadList)
    assert head.paths == [
        f"/api/v1/namespaces/team-a/services/train-cluster-head-svc:8265/proxy/api/jobs/{segment}"
    ]


@pytest.mark.parametrize("job_id", ["", ".", "..", "\ud800"])
async def test_an_id_that_is_no_segment_is_asked_for_nowhere(job_id: str) -> None:
    async with scripted_head(json_response(OWN)) as head:
        found = await head.job(job_id)
    assert isinstance(found, HeadSilent)
    assert "is not a valid submission ID" in found.detail
    assert (head.paths, head.probes) == ([], ["unreachable"])


@pytest.mark.parametrize("service", ["example.com", "a/b", "..", "a:80"])
async def test_a_hostile_service_name_is_asked_nowhere(service: str) -> None:
    async with scripted_head(json_response(OWN)) as head:
        assert isinstance(await head.job(head_service=service), HeadSilent)
    assert head.paths == []


def _nodes(*states: tuple[str, str]) -> web.Response:
    rows = [
        {"node_id": node, "state": state, "state_message": "fate-shares", "is_head_node": True}
        for node, state in states
    ]
    return json_response(
        {
            "result": True,
            "msg": "",
            "data": {"result": {"total": len(rows), "result": rows}, "result_": 1},
        }
    )


ASKS_FOR_NODE = f"/api/v0/nodes?filter_keys=node_id&filter_predicates=%3D&filter_values={NODE}"


@pytest.mark.parametrize(
    ("by_id", "entry"),
    [
        pytest.param(True, RUNNING, id="by ID"),
        pytest.param(True, {**RUNNING, "status": "SLEEPING"}, id="by ID, an unknown word"),
        pytest.param(False, RUNNING, id="in the list"),
    ],
)
async def test_a_job_at_work_on_a_dead_node_is_no_usable_answer(
    by_id: bool, entry: dict[str, Any]
) -> None:
    """W13: and it says that the node is dead, which a policy may put an end to."""
    async with scripted_head(
        json_response(entry if by_id else [entry]), _nodes(("other", "ALIVE"), (NODE, "DEAD"))
    ) as head:
        found = await (head.job() if by_id else head.jobs("train-x7k2p"))
    status = "an unknown status" if entry["status"] == "SLEEPING" else "RUNNING"
    assert isinstance(found, HeadSilent)
    assert (found.detail, found.node_is_dead) == (
        f"the head says 'train-x7k2p' is {status}, but its node is DEAD",
        True,
    )
    assert [one.submission_id for one in found.listed or ()] == ([] if by_id else ["train-x7k2p"])
    assert (head.paths[1:], head.probes) == ([ASKS_FOR_NODE], ["unreachable"])


async def test_without_an_id_the_only_submission_of_a_list_is_the_one_whose_node_counts() -> None:
    driver = {"type": "DRIVER", "status": "RUNNING", "driver_node_id": "elsewhere"}
    async with scripted_head(json_response([driver, RUNNING]), _nodes((NODE, "DEAD"))) as head:
        assert isinstance(await head.jobs(), HeadSilent)
    assert head.paths[1:] == [ASKS_FOR_NODE]


@pytest.mark.parametrize(
    ("answer", "job_id"),
    [
        pytest.param([OWN | {"driver_node_id": NODE}], "train-x7k2p", id="it has ended"),
        pytest.param([{**RUNNING, "driver_node_id": None}], "train-x7k2p", id="no node yet"),
        pytest.param([RUNNING], "another", id="it is another's job"),
        pytest.param([RUNNING, {**RUNNING, "submission_id": "second"}], "", id="two, and no ID"),
        pytest.param([], "train-x7k2p", id="it is not there"),
    ],
)
async def test_nobody_asks_for_a_node_where_it_would_tell_nothing(
    answer: list[Any], job_id: str
) -> None:
    async with scripted_head(json_response(answer), _nodes((NODE, "DEAD"))) as head:
        assert isinstance(await head.jobs(job_id), HeadList)
    assert head.paths == ["/api/jobs/"]


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param(_nodes((NODE, "ALIVE")), id="alive"),
        pytest.param(_nodes(("other", "DEAD")), id="another node is dead"),
        pytest.param(_nodes(), id="no such node"),
        pytest.param(
            json_response({"result": False, "msg": "no", "data": None}),
            id="no answer in the envelope",
        ),
        pytest.param(json_response("<html>"), id="a page"),
        pytest.param(json_response("500", 500), id="500"),
        pytest.param(json_response("Unauthorized: Missing authentication token", 401), id="401"),
        pytest.param(json_response("x" * (ONE_CAP + 1)), id="too large"),
        pytest.param(
            json_response({"data": {"result": {"result": [{"node_id": NODE, "state": 5}]}}}),
            id="an odd state",
        ),
    ],
)
async def test_without_a_word_of_death_the_entry_stands(nodes: Answer) -> None:
    async with scripted_head(json_response(RUNNING), nodes) as head:
        found = await head.job()
    assert isinstance(found, HeadList)
    assert found.entries == (JobEntry("SUBMISSION", "train-x7k2p", "RUNNING", node_id=NODE),)
    assert head.probes == ["answered"]


async def test_a_hostile_node_id_stays_a_value() -> None:
    node = "a&filter_values=b/../\u00fc"
    async with scripted_head(
        json_response({**RUNNING, "driver_node_id": node}), _nodes((node, "DEAD"))
    ) as head:
        assert isinstance(await head.job(), HeadSilent)
    assert head.paths[1].endswith("filter_values=a%26filter_values%3Db%2F..%2F%C3%BC")


class _Resolver(AbstractResolver):
    """A DNS server that gives this answer."""

    def __init__(self, number: int) -> None:
        self._number = number

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise socket.gaierror(self._number, "said the resolver")

    async def close(self) -> None:
        return None


async def _ask_by(transport: HeadTransport) -> list[HeadList | HeadSilent]:
    """Both questions."""
    dashboard = Dashboard(transport, lambda: END, lambda _: None, pause_up_to=QUICKLY)
    try:
        return [
            await dashboard.jobs(a_raycluster()),
            await dashboard.job(a_raycluster(), "train-x7k2p"),
        ]
    finally:
        await dashboard.close()


async def _nowhere() -> str:
    """Where nobody listens any more."""
    async with serving(json_response([])) as script:
        return script.url


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(socket.EAI_NONAME, id="no such name"),
        pytest.param(socket.EAI_NODATA, id="no address"),
        pytest.param(socket.EAI_AGAIN, id="the DNS server does not answer"),
        pytest.param(socket.EAI_FAIL, id="the DNS server fails"),
    ],
)
async def test_w1_a_name_without_an_address_is_silence_and_nothing_more(number: int) -> None:
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=_Resolver(number)))
    found = await _ask_by(HeadTransport(session, lambda *_: ADDRESS))
    assert found == [HeadSilent("ClientConnectorDNSError: the head's name cannot be resolved")] * 2


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(
            lambda url: HeadTransport(
                direct_transport("unused.local", None).session, lambda *_: url
            ),
            id="the head",
        ),
        pytest.param(lambda url: direct_transport("cluster.local", url), id="the forward proxy"),
        pytest.param(
            lambda url: api_server_transport(url, direct_transport("unused.local", None).session),
            id="the API server",
        ),
    ],
)
async def test_w1_a_refused_connection_is_silence_and_nothing_more(
    way: Callable[[str], HeadTransport],
) -> None:
    for found in await _ask_by(way(await _nowhere())):
        assert isinstance(found, HeadSilent)
        assert found == HeadSilent(found.detail)
        assert found.detail.endswith(": Connection refused")


NO_ENDPOINTS = STATUS | {
    "reason": "ServiceUnavailable",
    "code": 503,
    "message": 'no endpoints available for service "x"',
}
UNREACHED = "error trying to reach service: dial tcp 10.244.0.5:8265: connect: connection refused"
NO_SERVICE = STATUS | {
    "reason": "NotFound",
    "code": 404,
    "message": 'services "x" not found',
    "details": {"kind": "services"},
}
OF_KUBERNETES = "with a Kubernetes Status: "


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        pytest.param(
            json_response(NO_ENDPOINTS, 503),
            "ServiceUnavailable, no endpoints available for service",
            id="no endpoints",
        ),
        pytest.param(
            json_response(NO_ENDPOINTS | {"message": UNREACHED}, 503),
            "ServiceUnavailable, error trying to reach service",
            id="refused",
        ),
        pytest.param(json_response(NO_SERVICE, 404), "NotFound", id="no Service"),
        pytest.param(
            json_response(NO_ENDPOINTS | {"message": "etcd", "reason": "etcd"}, 503),
            "",
            id="H24: unknown words",
        ),
        pytest.param(
            json_response(NO_ENDPOINTS | {"code": 404}, 503), None, id="a Status that is none"
        ),
        pytest.param(json_response(NO_ENDPOINTS["message"], 503), None, id="the words alone"),
        pytest.param(json_response("[" * 60_000, 503), None, id="brackets without end"),
    ],
)
async def test_w1_the_api_servers_own_words_are_shown_and_prove_nothing(
    answer: web.Response, detail: str | None
) -> None:
    """H24: and nothing but its known words; from a head, asked directly, not even these."""
    told_by_status = None if detail is None else (OF_KUBERNETES + detail).removesuffix(": ")
    for by_api_server in (True, False):
        async with scripted_head(answer, by_api_server=by_api_server) as head:
            found = [await head.jobs(), await head.job()]
        expected = (told_by_status if by_api_server else None) or "with an unknown body"
        assert found == [HeadSilent(f"HTTP {answer.status} {expected}")] * 2


def test_all_bodies_at_once_are_32_mib_at_most() -> None:
    assert OVERALL * SMALL + LARGE * max(LIST_CAP, ONE_CAP) == 32 * MIB


async def test_large_bodies_wait_for_a_place_at_nobodys_expense_and_small_ones_do_not() -> None:
    """Seven that do not end hold all places. The eighth waits for longer than its answer may take, and is read all the same."""
    gate, large = asyncio.Event(), b" " * (2 * SMALL)

    async def stall(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(large)
        await gate.wait()
        await response.write(b"[]")
        return response

    small = json_response(b" " * (SMALL - 2) + b"[]")
    clusters = [a_raycluster(name=f"c{n}", namespace=f"n{n}") for n in range(LARGE + 2)]
    async with scripted_head(
        *[stall] * LARGE, json_response(large + b"[]"), small, answer_within=timedelta(seconds=30)
    ) as head:
        stalling = [
            asyncio.create_task(head.dashboard.jobs(cluster)) for cluster in clusters[:LARGE]
        ]
        await until(head.limits.large.locked, timeout=90)
        hurried = head.dashboard_with_timeout(timedelta(seconds=1))
        eighth = asyncio.create_task(hurried.jobs(clusters[LARGE]))
        await until(lambda: len(head.script.requests) == LARGE + 1, timeout=90)
        assert await head.dashboard.jobs(clusters[LARGE + 1]) == HeadList((), END)
        assert not (await asyncio.wait([eighth], timeout=1.5))[0]
        gate.set()
        assert await asyncio.gather(*stalling, eighth) == [HeadList((), END)] * (LARGE + 1)
    assert len(head.script.requests) == LARGE + 2


async def test_the_time_of_an_answer_goes_on_after_a_wait_for_a_place() -> None:
    async def never_ends(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b" " * (2 * SMALL))
        await until(lambda: request.transport is None or request.transport.is_closing(), timeout=90)
        return response

    async with scripted_head(never_ends, answer_within=timedelta(seconds=0.2)) as head:
        found = await asyncio.wait_for(head.jobs(), 10)
    assert isinstance(found, HeadSilent)
    assert "Timeout" in found.detail
