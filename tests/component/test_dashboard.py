"""Probes of a head's list of jobs: what a head, or a server in its place, may send."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta

from aiohttp import web

from raysweep.clients.fair_semaphore import FairSemaphore
from raysweep.clients.ray.dashboard import Dashboard
from raysweep.clients.ray.probe_limits import ProbeLimits
from raysweep.clients.ray.transport import HeadTransport, api_server_transport, direct_transport
from raysweep.core.job_status import is_unfinished
from raysweep.core.model.facts import HeadList, HeadSilent, JobEntry
from tests.support.builders import END, Body, a_raycluster
from tests.support.scripted_api import Answer, json_response, serving, slowly, status_response
from tests.support.scripted_head import MIB, OWN, scripted_head

NO_TOKEN = json_response("Unauthorized: Missing authentication token", 401)
WRONG_TOKEN = json_response("Forbidden: Invalid authentication token", 403)
STATUS_200 = status_response(200, "Unauthorized")


async def test_a_list_of_jobs_is_parsed() -> None:
    driver = {
        "type": "DRIVER",
        "submission_id": None,
        "job_id": "02000000",
        "status": "RUNNING",
        "end_time": None,
    }
    async with scripted_head(json_response([OWN, driver])) as head:
        answer = await head.jobs()
    end = datetime(2026, 11, 22, 18, tzinfo=UTC)
    own = JobEntry("SUBMISSION", "train-x7k2p", "SUCCEEDED", end_time=end)
    assert answer == HeadList((own, JobEntry("DRIVER", "", "RUNNING", job_id="02000000")), END)
    assert head.probes == ["answered"]


async def test_the_direct_address_is_built_from_names() -> None:
    rows: list[tuple[Body, str]] = [
        ({}, "train-cluster-head-svc.team-a.svc.cluster.local:8265"),
        ({"head_service": "head", "dashboard_port": 9999}, "head.team-a.svc.cluster.local:9999"),
    ]
    for cluster, host in rows:
        async with scripted_head(json_response([])) as head:
            await head.jobs(**cluster)
        (request,) = head.script.requests
        assert (request.headers["Host"], request.path) == (host, "/api/jobs/")


async def test_the_address_behind_the_api_server_names_the_service_and_its_port() -> None:
    for port, port_name in ((None, "8265"), (9999, "dashboard")):
        async with serving(json_response([])) as script:
            session = direct_transport("unused.local", None).session
            transport = api_server_transport(script.url, session)
            dashboard = Dashboard(transport, lambda: END, lambda _: None)
            answer = await dashboard.jobs(a_raycluster(dashboard_port=port))
            await dashboard.close()
        assert answer == HeadList((), END)
        service = f"/api/v1/namespaces/team-a/services/train-cluster-head-svc:{port_name}"
        assert [request.path for request in script.requests] == [f"{service}/proxy/api/jobs/"]


async def test_requests_name_raysweep_and_carry_no_cookies() -> None:
    async with scripted_head(json_response([], Set_Cookie="a=b; Path=/")) as head:
        await head.jobs()
        await head.jobs()
    for request in head.script.requests:
        assert request.method == "GET"
        assert request.headers["User-Agent"] == "raysweep"
        assert request.headers["Accept-Encoding"] == "identity"
        assert not {"Cookie", "Authorization"} & set(request.headers)


async def truncated(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"[]")
    assert request.transport is not None
    request.transport.close()
    return response


async def endless(request: web.BaseRequest) -> web.StreamResponse:
    """Sends more than a probe reads, without a Content-Length."""
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(80):
            await response.write(b" " * (64 * 2**10))
    return response


async def test_a_head_that_requires_a_token_is_unauthorized_after_one_request() -> None:
    for answer, detail in ((NO_TOKEN, "401 Unauthorized: "), (WRONG_TOKEN, "403 Forbidden: ")):
        async with scripted_head(answer) as head:
            silent = await head.jobs()
        assert isinstance(silent, HeadSilent)
        assert silent.unauthorized
        assert silent.detail.startswith(detail)
        assert (len(head.script.requests), head.probes) == (1, ["unauthorized"])


async def test_any_other_refusal_is_requested_three_times_and_is_unreachable() -> None:
    rows: list[tuple[Answer, str]] = [
        (status_response(401, "Unauthorized"), "HTTP 401"),
        (status_response(403, "Unauthorized"), "HTTP 403"),
        (json_response("<html>Forbidden</html>", 403), "HTTP 403"),
        (json_response("Forbidden: Invalid authentication token", 401), "HTTP 401"),
        (json_response("404: Not Found", 404), "HTTP 404"),
        (json_response("Job train-x7k2p does not exist", 404), "HTTP 404"),
        (json_response("500 Internal Server Error", 500), "HTTP 500"),
        (json_response("no endpoints available", 503), "HTTP 503"),
        (json_response([], 201), "HTTP 201"),
        (json_response("", 302, Location="http://127.0.0.1:1/"), "HTTP 302"),
        (json_response(b"[]", Content_Encoding="gzip"), "compressed"),
        (truncated, "ClientPayloadError"),
    ]
    for answer, detail in rows:
        async with scripted_head(answer) as head:
            silent = await head.jobs()
        assert isinstance(silent, HeadSilent), detail
        assert not silent.unauthorized
        assert detail in silent.detail
        assert (len(head.script.requests), head.probes) == (3, ["unreachable"]), detail


async def test_a_connection_that_closes_without_a_response_is_unreachable() -> None:
    async with scripted_head(ConnectionError()) as head:
        assert isinstance(await head.jobs(), HeadSilent)
    assert len(head.script.requests) >= 3


async def test_an_unusable_body_is_requested_three_times_and_is_unreachable() -> None:
    entry = '{"type": "DRIVER", "status": "RUNNING"}'
    rows: list[tuple[Answer, str]] = [
        (json_response("<html>Welcome</html>"), "not a JSON list"),
        (json_response(""), "not a JSON list"),
        (json_response(b"\xff\xfe\xfa"), "not JSON"),
        (json_response("[" * 100_000), "not JSON"),
        (json_response("9" * 5000), "not a JSON list"),
        (json_response(f"[{'9' * 5000}]"), "not JSON"),  # H2
        (json_response(f"[{entry}] x"), "not JSON"),
        (json_response(f"[{entry}"), "not JSON"),
        (json_response(f"[{entry};5]"), "not JSON"),
        (STATUS_200, "not a JSON list"),
        (json_response("null"), "not a JSON list"),
        (json_response({}), "not a JSON list"),
        (json_response("NaN"), "not a JSON list"),
    ]
    for answer, detail in rows:
        async with scripted_head(answer) as head:
            silent = await head.jobs()
        assert isinstance(silent, HeadSilent), detail
        assert not silent.unauthorized
        assert detail in silent.detail
        assert (len(head.script.requests), head.probes) == (3, ["unreachable"])


async def test_a_later_try_may_succeed() -> None:
    page, unavailable = json_response("<html>Welcome</html>"), json_response("", 503)
    for answers in ((page,), (ConnectionError(), unavailable)):
        async with scripted_head(*answers, json_response([OWN])) as head:
            assert isinstance(await head.jobs(), HeadList)
        assert head.probes == ["answered"]


async def test_a_refused_connection_is_unreachable() -> None:
    async with serving(json_response([])) as script:
        closed = script.url
    transport = direct_transport("cluster.local", closed)
    dashboard = Dashboard(transport, lambda: END, lambda _: None)
    assert isinstance(await dashboard.jobs(a_raycluster()), HeadSilent)
    await dashboard.close()


async def test_a_list_names_its_first_invalid_entry() -> None:
    nan = '[{"type": "DRIVER", "status": "RUNNING", "end_time": NaN}]'
    rows = [
        ([OWN, 5], "entry 1: "),
        ([OWN, {"type": "DRIVER"}], "entry 1: status"),
        ([{**OWN, "status": None}, 5], "entry 0: status"),
        (nan, "entry 0: end_time"),
    ]
    for body, unreadable in rows:
        async with scripted_head(json_response(body)) as head:
            jobs = await head.jobs()
        assert isinstance(jobs, HeadList), unreadable
        assert jobs.unreadable.startswith(unreadable)


async def test_a_status_with_half_a_surrogate_pair_may_still_run() -> None:
    async with scripted_head(json_response('[{"type": "DRIVER", "status": "\\ud800"}]')) as head:
        jobs = await head.jobs()
    assert isinstance(jobs, HeadList)
    assert [is_unfinished(entry) for entry in jobs.entries] == [True] or jobs.unreadable


async def test_a_list_larger_than_4_mib_is_unreadable() -> None:
    async with scripted_head(endless) as head:
        assert await head.jobs() == HeadList((), END, unreadable="it is larger than 4 MiB")


async def test_a_list_of_exactly_4_mib_is_parsed() -> None:
    body = json.dumps([OWN])
    async with scripted_head(json_response(body + " " * (4 * MIB - len(body)))) as head:
        jobs = await head.jobs()
    assert isinstance(jobs, HeadList)
    assert (len(jobs.entries), jobs.unreadable) == (1, "")


async def test_no_request_is_sent_to_a_name_that_is_not_one_dns_label() -> None:
    services = (
        "example.com", "a.b", "a/b", "a@b", "a:80", "a#", "a?", "-a", "A", "x" * 64, "a\n", "%61",
        "..", "\u00e4",
    )  # fmt: skip
    namespaces = ("", "a.b", "a/b", "../x", "x" * 64, "A")
    clusters = [{"head_service": service} for service in services]
    clusters += [{"namespace": namespace} for namespace in namespaces]
    async with scripted_head(json_response([OWN])) as head:
        for cluster in clusters:
            assert isinstance(await head.jobs(**cluster), HeadSilent), cluster
    assert head.script.requests == []
    assert set(head.probes) == {"unreachable"}


async def test_a_namespace_may_begin_with_a_digit() -> None:
    async with scripted_head(json_response([])) as head:
        assert await head.jobs(namespace="5g-team") == HeadList((), END)


async def test_concurrent_probes_are_limited_per_head_per_namespace_and_in_total() -> None:
    rows = [
        ([a_raycluster() for _ in range(4)], 1),
        ([a_raycluster(name=f"c{n}") for n in range(20)], 4),
        ([a_raycluster(name=f"c{n}", namespace=f"n{n}") for n in range(40)], 16),
    ]
    for clusters, limit in rows:
        limits = ProbeLimits(asked=FairSemaphore(16, 4), patience=timedelta(minutes=1))
        async with scripted_head(slowly, limits=limits) as head:
            await asyncio.gather(*(head.dashboard.jobs(cluster) for cluster in clusters))
        assert len(head.script.requests) == len(clusters)
        assert limit / 2 < head.script.most_concurrent <= limit


async def test_a_transport_may_have_an_address_of_its_own() -> None:
    async with serving(json_response([])) as script:
        session = direct_transport("unused.local", None).session
        transport = HeadTransport(session, lambda _cluster, _service: script.url)
        dashboard = Dashboard(transport, lambda: END, lambda _: None)
        assert await dashboard.jobs(a_raycluster()) == HeadList((), END)
        await dashboard.close()
