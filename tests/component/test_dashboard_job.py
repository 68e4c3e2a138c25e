"""Probes of a head for one job by its ID, and for the node of a job that has not ended."""

import asyncio
from typing import Any

from aiohttp import web

from raysweep.clients.ray.probe_limits import ONE_CAP
from raysweep.core.model.facts import HeadList, HeadSilent, JobEntry
from tests.support.builders import END, Body
from tests.support.scripted_api import Answer, json_response, status_response
from tests.support.scripted_head import MIB, NODE, OWN, RUNNING, scripted_head

BY_ID = "/api/jobs/train-x7k2p"
NODE_PATH = f"/api/v0/nodes?filter_keys=node_id&filter_predicates=%3D&filter_values={NODE}"
MISSING = "Job train-x7k2p does not exist"
NO_JOB = HeadList((), END, whole=False)
NO_TOKEN = json_response("Unauthorized: Missing authentication token", 401)
WRONG_TOKEN = json_response("Forbidden: Invalid authentication token", 403)
HOSTILE_IDS = {
    "%2e%2e": "%252e%252e",
    "..%2f..": "..%252f..",
    "a/b": "a%2Fb",
    "../../version": "..%2F..%2Fversion",
    "a b": "a%20b",
    "a?x=1#y": "a%3Fx%3D1%23y",
    "a\r\nHost: b": "a%0D%0AHost%3A%20b",
    "\u00fcn\u00ef": "%C3%BCn%C3%AF",
    "...": "...",
    "a;b&c": "a%3Bb%26c",
    "x\\..\\y": "x%5C..%5Cy",
}


async def test_one_job_is_requested_by_its_id() -> None:
    async with scripted_head(json_response(OWN)) as head:
        jobs = await head.job()
    assert isinstance(jobs, HeadList)
    entries = [(entry.submission_id, entry.status) for entry in jobs.entries]
    assert entries == [("train-x7k2p", "SUCCEEDED")]
    assert (jobs.answered_at, jobs.unreadable, jobs.whole) == (END, "", False)
    assert (head.paths, head.probes) == ([BY_ID], ["answered"])


async def test_rays_own_404_says_that_there_is_no_such_job() -> None:
    async with scripted_head(json_response(MISSING, 404)) as head:
        assert await head.job() == NO_JOB
    assert (len(head.paths), head.probes) == (1, ["answered"])


async def test_a_head_that_requires_a_token_is_unauthorized_after_one_request() -> None:
    for answer, detail in ((NO_TOKEN, "401 Unauthorized"), (WRONG_TOKEN, "403 Forbidden")):
        async with scripted_head(answer) as head:
            silent = await head.job()
        assert isinstance(silent, HeadSilent)
        assert silent.unauthorized
        assert silent.detail.startswith(detail)
        assert (len(head.paths), head.probes) == (1, ["unauthorized"])


async def truncated(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"{}")
    assert request.transport is not None
    request.transport.close()
    return response


async def test_any_other_response_is_requested_three_times_and_is_unreachable() -> None:
    numbered = {**OWN, "submission_id": None, "job_id": "train-x7k2p"}
    rows: list[tuple[Answer, str]] = [
        (json_response("404: Not Found", 404), "HTTP 404"),
        (json_response("Job train-x7k2 does not exist", 404), "HTTP 404"),
        (json_response(f"<html>{MISSING}</html>", 404), "HTTP 404"),
        (json_response(MISSING, 500), "HTTP 500"),
        (json_response(MISSING), "not JSON"),
        (status_response(404, MISSING), "HTTP 404"),
        (status_response(401, "Unauthorized"), "HTTP 401"),
        (status_response(403, "no"), "HTTP 403"),
        (json_response("500 Internal Server Error", 500), "HTTP 500"),
        (json_response("<html>Bad Gateway</html>", 502), "HTTP 502"),
        (json_response(OWN, 201), "HTTP 201"),
        (json_response("", 302, Location="http://127.0.0.1:1/"), "HTTP 302"),
        (json_response(b"{}", Content_Encoding="gzip"), "compressed"),
        (truncated, "ClientPayloadError"),
        (json_response("<html>Welcome</html>"), "not JSON"),
        (json_response(""), "not JSON"),
        (json_response("[" * 100_000), "not JSON"),
        (json_response([OWN]), "not a job"),
        (status_response(200, ""), "not a job"),
        (json_response("null"), "not a job"),
        (json_response({**OWN, "status": None}), "not a job"),
        (json_response({**OWN, "submission_id": "train-x7k2"}), "a job other than"),
        (json_response(numbered), "a job other than"),
        (json_response({**OWN, "type": "DRIVER"}), "a job other than"),
    ]
    for answer, detail in rows:
        async with scripted_head(answer) as head:
            silent = await head.job()
        assert isinstance(silent, HeadSilent), detail
        assert not silent.unauthorized
        assert detail in silent.detail
        assert (head.paths, head.probes) == ([BY_ID] * 3, ["unreachable"]), detail


async def test_a_response_larger_than_1_mib_is_unusable() -> None:
    async with scripted_head(json_response({**OWN, "message": "x" * MIB})) as head:
        assert await head.job() == HeadSilent("the answer is larger than 1 MiB")
    assert (len(head.paths), head.probes) == (1, ["unreachable"])


async def test_a_response_of_exactly_1_mib_is_parsed() -> None:
    short = json_response({**OWN, "message": ""}).body
    assert isinstance(short, bytes)
    async with scripted_head(json_response({**OWN, "message": "x" * (MIB - len(short))})) as head:
        assert isinstance(await head.job(), HeadList)


async def test_only_64_kib_of_an_error_are_read() -> None:
    async with scripted_head(json_response("x" * (64 * 2**20), 500)) as head:
        silent = await asyncio.wait_for(head.job(), 60)
    assert isinstance(silent, HeadSilent)
    assert len(silent.detail) < 300


async def test_a_hostile_id_is_one_encoded_segment_of_the_path() -> None:
    for job_id, segment in HOSTILE_IDS.items():
        job = json_response({**OWN, "submission_id": job_id})
        missing = json_response(f"Job {job_id} does not exist", 404)
        async with scripted_head(job, missing) as head:
            jobs = await head.job(job_id)
            assert isinstance(jobs, HeadList)
            assert [entry.submission_id for entry in jobs.entries] == [job_id]
            assert await head.job(job_id) == NO_JOB
        assert head.paths == [f"/api/jobs/{segment}"] * 2
        async with scripted_head(job, by_api_server=True) as head:
            assert isinstance(await head.job(job_id), HeadList)
        service = "/api/v1/namespaces/team-a/services/train-cluster-head-svc:8265"
        assert head.paths == [f"{service}/proxy/api/jobs/{segment}"]


async def test_an_id_that_cannot_be_a_segment_is_not_requested() -> None:
    async with scripted_head(json_response(OWN)) as head:
        for job_id in ("", ".", "..", "\ud800"):
            silent = await head.job(job_id)
            assert isinstance(silent, HeadSilent)
            assert "is not a valid submission ID" in silent.detail
    assert (head.paths, set(head.probes)) == ([], {"unreachable"})


async def test_no_request_is_sent_to_a_hostile_service_name() -> None:
    async with scripted_head(json_response(OWN)) as head:
        for service in ("example.com", "a/b", "..", "a:80"):
            assert isinstance(await head.job(head_service=service), HeadSilent)
    assert head.paths == []


def nodes(*states: tuple[str, str]) -> web.Response:
    """The response of the State API with the state of each node."""
    rows = [
        {"node_id": node, "state": state, "state_message": "fate-shares", "is_head_node": True}
        for node, state in states
    ]
    result = {"total": len(rows), "result": rows}
    return json_response({"result": True, "msg": "", "data": {"result": result, "result_": 1}})


DEAD_NODE = nodes((NODE, "DEAD"))


async def test_w13_a_job_that_runs_on_a_dead_node_is_silent_and_the_node_is_named_dead() -> None:
    rows: list[tuple[bool, Body, str]] = [
        (True, RUNNING, "RUNNING"),
        (True, {**RUNNING, "status": "SLEEPING"}, "an unknown status"),
        (False, RUNNING, "RUNNING"),
    ]
    for by_id, entry, status in rows:
        states = nodes(("other", "ALIVE"), (NODE, "DEAD"))
        async with scripted_head(json_response(entry if by_id else [entry]), states) as head:
            silent = await (head.job() if by_id else head.jobs("train-x7k2p"))
        assert isinstance(silent, HeadSilent)
        detail = f"the head says 'train-x7k2p' is {status}, but its node is DEAD"
        assert (silent.detail, silent.node_is_dead) == (detail, True)
        listed = [entry.submission_id for entry in silent.listed or ()]
        assert listed == ([] if by_id else ["train-x7k2p"])
        assert (head.paths[1:], head.probes) == ([NODE_PATH], ["unreachable"])


async def test_without_an_id_the_node_of_the_only_submission_counts() -> None:
    driver = {"type": "DRIVER", "status": "RUNNING", "driver_node_id": "elsewhere"}
    async with scripted_head(json_response([driver, RUNNING]), DEAD_NODE) as head:
        assert isinstance(await head.jobs(), HeadSilent)
    assert head.paths[1:] == [NODE_PATH]


async def test_the_node_is_not_requested_if_it_does_not_matter() -> None:
    rows: dict[str, tuple[list[Any], str]] = {
        "it has ended": ([OWN | {"driver_node_id": NODE}], "train-x7k2p"),
        "no node yet": ([{**RUNNING, "driver_node_id": None}], "train-x7k2p"),
        "another RayJob's job": ([RUNNING], "another"),
        "two jobs and no ID": ([RUNNING, {**RUNNING, "submission_id": "second"}], ""),
        "it is missing": ([], "train-x7k2p"),
    }
    for case, (answer, job_id) in rows.items():
        async with scripted_head(json_response(answer), DEAD_NODE) as head:
            assert isinstance(await head.jobs(job_id), HeadList), case
        assert head.paths == ["/api/jobs/"], case


async def test_the_entry_is_believed_unless_its_node_is_reported_dead() -> None:
    invalid_state = {"data": {"result": {"result": [{"node_id": NODE, "state": 5}]}}}
    rows: dict[str, Answer] = {
        "alive": nodes((NODE, "ALIVE")),
        "another node is dead": nodes(("other", "DEAD")),
        "no such node": nodes(),
        "a failure": json_response({"result": False, "msg": "no", "data": None}),
        "a page": json_response("<html>"),
        "500": json_response("500", 500),
        "401": NO_TOKEN,
        "too large": json_response("x" * (ONE_CAP + 1)),
        "an invalid state": json_response(invalid_state),
    }
    for case, answer in rows.items():
        async with scripted_head(json_response(RUNNING), answer) as head:
            jobs = await head.job()
        assert isinstance(jobs, HeadList), case
        entry = JobEntry("SUBMISSION", "train-x7k2p", "RUNNING", node_id=NODE)
        assert jobs.entries == (entry,), case
        assert head.probes == ["answered"], case


async def test_a_hostile_node_id_stays_a_value_of_the_query() -> None:
    node = "a&filter_values=b/../\u00fc"
    running = json_response({**RUNNING, "driver_node_id": node})
    async with scripted_head(running, nodes((node, "DEAD"))) as head:
        assert isinstance(await head.job(), HeadSilent)
    assert head.paths[1].endswith("filter_values=a%26filter_values%3Db%2F..%2F%C3%BC")
