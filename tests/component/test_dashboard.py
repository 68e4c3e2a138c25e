"""What a Ray head, or something in its place, may answer, and what of it is believed."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from raysweep.clients.ray.dashboard import Dashboard
from raysweep.clients.ray.transport import HeadTransport, api_server_transport, direct_transport
from raysweep.core.job_status import is_unfinished
from raysweep.core.model.facts import HeadList, HeadSilent, JobEntry, RayCluster
from tests.support.builders import END, a_raycluster
from tests.support.scripted_api import Answer, json_response, serving, slowly
from tests.support.scripted_head import MIB, OWN, scripted_head


async def test_a_list_of_jobs_is_read() -> None:
    driver = {
        "type": "DRIVER",
        "submission_id": None,
        "job_id": "02000000",
        "status": "RUNNING",
        "end_time": None,
    }
    async with scripted_head(json_response([OWN, driver])) as head:
        answer = await head.jobs()
    own = JobEntry(
        "SUBMISSION", "train-x7k2p", "SUCCEEDED", end_time=datetime(2026, 11, 22, 18, tzinfo=UTC)
    )
    assert answer == HeadList((own, JobEntry("DRIVER", "", "RUNNING", job_id="02000000")), END)
    assert head.probes == ["answered"]


@pytest.mark.parametrize(
    ("cluster", "asked"),
    [
        pytest.param(
            {},
            "http://train-cluster-head-svc.team-a.svc.cluster.local:8265/api/jobs/",
            id="the usual Service and port",
        ),
        pytest.param(
            {"head_service": "head", "dashboard_port": 9999},
            "http://head.team-a.svc.cluster.local:9999/api/jobs/",
            id="the Service and port that the cluster names",
        ),
    ],
)
async def test_the_address_is_built_from_names(cluster: dict[str, Any], asked: str) -> None:
    async with scripted_head(json_response([])) as head:
        await head.jobs(**cluster)
    (question,) = head.script.requests
    assert f"http://{question.headers['Host']}{question.path}" == asked


@pytest.mark.parametrize(
    ("port", "path"),
    [
        pytest.param(
            None,
            "/api/v1/namespaces/team-a/services/train-cluster-head-svc:8265/proxy/api/jobs/",
            id="by number",
        ),
        pytest.param(
            9999,
            "/api/v1/namespaces/team-a/services/train-cluster-head-svc:dashboard/proxy/api/jobs/",
            id="by name",
        ),
    ],
)
async def test_the_way_through_the_api_server(port: int | None, path: str) -> None:
    async with serving(json_response([])) as script:
        transport = api_server_transport(script.url, direct_transport("unused.local", None).session)
        dashboard = Dashboard(transport, lambda: END, lambda _: None)
        assert await dashboard.jobs(a_raycluster(dashboard_port=port)) == HeadList((), END)
        await dashboard.close()
    assert [asked.path for asked in script.requests] == [path]


async def test_the_question_carries_our_name_and_neither_cookies_nor_a_wish_for_compression() -> (
    None
):
    async with scripted_head(json_response([], Set_Cookie="a=b; Path=/")) as head:
        await head.jobs()
        await head.jobs()
    for asked in head.script.requests:
        assert (asked.method, asked.headers["User-Agent"], asked.headers["Accept-Encoding"]) == (
            "GET",
            "raysweep",
            "identity",
        )
        assert not {"Cookie", "Authorization"} & set(asked.headers)


async def _truncated(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"[]")
    assert request.transport is not None
    request.transport.close()
    return response


async def _endless(request: web.BaseRequest) -> web.StreamResponse:
    """Longer than any look may read, and without a Content-Length."""
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(80):
            await response.write(b" " * (64 * 2**10))
    return response


KUBERNETES_STATUS = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "message": "Unauthorized",
    "code": 401,
}


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        pytest.param(
            json_response("Unauthorized: Missing authentication token", 401),
            "401 Unauthorized: Missing",
            id="401 of Ray's own",
        ),
        pytest.param(
            json_response("Forbidden: Invalid authentication token", 403),
            "403 Forbidden: Invalid",
            id="403 of Ray's own",
        ),
    ],
)
async def test_a_head_that_wants_a_token_says_so_in_rays_own_words_and_is_not_asked_again(
    answer: Answer, detail: str
) -> None:
    async with scripted_head(answer) as head:
        found = await head.jobs()
    assert isinstance(found, HeadSilent)
    assert (found.unauthorized, found.detail.startswith(detail)) == (True, True)
    assert (len(head.script.requests), head.probes) == (1, ["unauthorized"])


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        pytest.param(json_response(KUBERNETES_STATUS, 401), "HTTP 401", id="401 of Kubernetes"),
        pytest.param(
            json_response(KUBERNETES_STATUS | {"code": 403}, 403),
            "HTTP 403",
            id="403 of Kubernetes",
        ),
        pytest.param(json_response("<html>Forbidden</html>", 403), "HTTP 403", id="403 of a proxy"),
        pytest.param(
            json_response("Forbidden: Invalid authentication token", 401),
            "HTTP 401",
            id="Ray's words with the wrong status",
        ),
        pytest.param(json_response("404: Not Found", 404), "HTTP 404", id="404"),
        pytest.param(
            json_response("Job train-x7k2p does not exist", 404),
            "HTTP 404",
            id="404 as Ray answers by ID: no list says so",
        ),
        pytest.param(json_response("500 Internal Server Error", 500), "HTTP 500", id="500"),
        pytest.param(json_response("no endpoints available", 503), "HTTP 503", id="503"),
        pytest.param(json_response([], 201), "HTTP 201", id="a list with the wrong status"),
        pytest.param(
            json_response("", 302, Location="http://127.0.0.1:1/"),
            "HTTP 302",
            id="a redirect is not followed",
        ),
        pytest.param(
            json_response(b"[]", Content_Encoding="gzip"), "compressed", id="a compressed body"
        ),
        pytest.param(_truncated, "ClientPayloadError", id="a body that breaks off"),
    ],
)
async def test_any_other_refusal_is_no_usable_answer_and_is_asked_for_three_times(
    answer: Answer, detail: str
) -> None:
    async with scripted_head(answer) as head:
        found = await head.jobs()
    assert isinstance(found, HeadSilent)
    assert (found.unauthorized, detail in found.detail) == (False, True)
    assert (len(head.script.requests), head.probes) == (3, ["unreachable"])


async def test_a_connection_that_closes_without_an_answer_is_no_usable_answer() -> None:
    async with scripted_head(ConnectionError()) as head:
        found = await head.jobs()
    assert isinstance(found, HeadSilent)
    assert len(head.script.requests) >= 3


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        pytest.param(json_response("<html>Welcome</html>"), "not a JSON list", id="a page"),
        pytest.param(json_response(""), "not a JSON list", id="nothing"),
        pytest.param(json_response(b"\xff\xfe\xfa"), "not JSON", id="bytes"),
        pytest.param(json_response("[" * 100_000), "not JSON", id="brackets without end"),
        pytest.param(json_response("9" * 5000), "not a JSON list", id="a number without end"),
        pytest.param(
            json_response(f"[{'9' * 5000}]"), "not JSON", id="H2: a number of 5000 digits"
        ),
        pytest.param(
            json_response('[{"type": "DRIVER", "status": "RUNNING"}] x'),
            "not JSON",
            id="text after the list",
        ),
        pytest.param(
            json_response('[{"type": "DRIVER", "status": "RUNNING"}'),
            "not JSON",
            id="a list without an end",
        ),
        pytest.param(
            json_response('[{"type": "DRIVER", "status": "RUNNING"};5]'),
            "not JSON",
            id="another mark for a comma",
        ),
        pytest.param(json_response(KUBERNETES_STATUS), "not a JSON list", id="a Status with 200"),
        pytest.param(json_response("null"), "not a JSON list", id="null"),
        pytest.param(json_response({}), "not a JSON list", id="an object"),
        pytest.param(json_response("NaN"), "not a JSON list", id="NaN"),
    ],
)
async def test_a_good_status_with_an_odd_body_is_no_usable_answer(
    answer: Answer, detail: str
) -> None:
    async with scripted_head(answer) as head:
        found = await head.jobs()
    assert isinstance(found, HeadSilent)
    assert (found.unauthorized, detail in found.detail) == (False, True)
    assert (len(head.script.requests), head.probes) == (3, ["unreachable"])


async def test_a_proxys_page_of_a_moment_is_forgiven() -> None:
    async with scripted_head(json_response("<html>Welcome</html>"), json_response([OWN])) as head:
        assert isinstance(await head.jobs(), HeadList)


async def test_one_bad_moment_of_a_head_is_forgiven() -> None:
    async with scripted_head(
        ConnectionError(), json_response("", 503), json_response([OWN])
    ) as head:
        assert isinstance(await head.jobs(), HeadList)
    assert head.probes == ["answered"]


async def test_nobody_there_is_no_usable_answer() -> None:
    async with serving(json_response([])) as script:
        gone = script.url
    dashboard = Dashboard(direct_transport("cluster.local", gone), lambda: END, lambda _: None)
    assert isinstance(await dashboard.jobs(a_raycluster()), HeadSilent)
    await dashboard.close()


@pytest.mark.parametrize(
    ("body", "unreadable"),
    [
        pytest.param([OWN, 5], "entry 1: the whole", id="an entry that is no object"),
        pytest.param([OWN, {"type": "DRIVER"}], "entry 1: status", id="an entry without a status"),
        pytest.param(
            [{**OWN, "status": None}, 5], "entry 0: status", id="the first of two is named"
        ),
        pytest.param(
            '[{"type": "DRIVER", "status": "RUNNING", "end_time": NaN}]',
            "entry 0: end_time",
            id="NaN for a time",
        ),
    ],
)
async def test_a_list_with_an_entry_that_cannot_be_read_says_so(body: Any, unreadable: str) -> None:
    async with scripted_head(json_response(body)) as head:
        found = await head.jobs()
    assert isinstance(found, HeadList)
    assert found.unreadable.startswith(unreadable)


async def test_a_status_of_half_a_surrogate_pair_is_an_unknown_word_that_means_at_work() -> None:
    async with scripted_head(json_response('[{"type": "DRIVER", "status": "\\ud800"}]')) as head:
        found = await head.jobs()
    assert isinstance(found, HeadList)
    assert [is_unfinished(entry) for entry in found.entries] == [True] or found.unreadable


async def test_a_list_larger_than_4_mib_is_unreadable_and_not_read_to_its_end() -> None:
    async with scripted_head(_endless) as head:
        assert await head.jobs() == HeadList((), END, unreadable="it is larger than 4 MiB")


async def test_a_list_of_exactly_4_mib_is_read() -> None:
    body = json.dumps([OWN])
    async with scripted_head(json_response(body + " " * (4 * MIB - len(body)))) as head:
        found = await head.jobs()
    assert isinstance(found, HeadList)
    assert (len(found.entries), found.unreadable) == (1, "")


HOSTILE = [
    "example.com",
    "a.b",
    "a/b",
    "a@b",
    "a:80",
    "a#",
    "a?",
    "-a",
    "A",
    "x" * 64,
    "a\n",
    "%61",
    "..",
    "\u00e4",
]


@pytest.mark.parametrize("service", HOSTILE)
async def test_a_hostile_service_name_is_asked_nowhere(service: str) -> None:
    async with scripted_head(json_response([OWN])) as head:
        found = await head.jobs(head_service=service)
    assert isinstance(found, HeadSilent)
    assert (head.script.requests, head.probes) == ([], ["unreachable"])


@pytest.mark.parametrize("namespace", ["", "a.b", "a/b", "../x", "x" * 64, "A"])
async def test_a_hostile_namespace_is_asked_nowhere(namespace: str) -> None:
    async with scripted_head(json_response([OWN])) as head:
        assert isinstance(await head.jobs(namespace=namespace), HeadSilent)
    assert head.script.requests == []


async def test_a_namespace_may_begin_with_a_digit() -> None:
    async with scripted_head(json_response([])) as head:
        assert await head.jobs(namespace="5g-team") == HeadList((), END)


@pytest.mark.parametrize(
    ("clusters", "most"),
    [
        pytest.param([a_raycluster() for _ in range(4)], 1, id="one head: one question at a time"),
        pytest.param([a_raycluster(name=f"c{n}") for n in range(20)], 8, id="one namespace: eight"),
        pytest.param(
            [a_raycluster(name=f"c{n}", namespace=f"n{n}") for n in range(80)], 64, id="overall: 64"
        ),
    ],
)
async def test_heads_are_asked_gently(clusters: list[RayCluster], most: int) -> None:
    async with scripted_head(slowly) as head:
        await asyncio.gather(*(head.dashboard.jobs(cluster) for cluster in clusters))
        assert len(head.script.requests) == len(clusters)
        assert head.script.most_concurrent <= most
        assert head.script.most_concurrent > most / 2


async def test_a_way_of_its_own_needs_no_proxy() -> None:
    async with serving(json_response([])) as script:
        transport = HeadTransport(
            direct_transport("unused.local", None).session, lambda _cluster, _service: script.url
        )
        dashboard = Dashboard(transport, lambda: END, lambda _: None)
        assert await dashboard.jobs(a_raycluster()) == HeadList((), END)
        await dashboard.close()
