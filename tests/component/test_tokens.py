"""Tokens of heads: read from the RayCluster's Secret, sent to its own Service and shown nowhere."""

import base64
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import BusyError
from raysweep.clients.ray.tokens import HEADER, Tokens
from raysweep.core.model.facts import HeadList, HeadSilent
from tests.support.builders import Body
from tests.support.scripted_api import (
    Answer,
    Script,
    json_response,
    object_not_found,
    status_response,
)
from tests.support.scripted_clients import scripted
from tests.support.scripted_head import OWN, Head, scripted_head

TOKEN = "hunter2-hunter2-hunter2"
SECURED: Body = {"auth_secret": "train-cluster"}
SERVICE_PATH = "/api/v1/namespaces/team-a/services/train-cluster-head-svc"
SECRET_PATH = "/api/v1/namespaces/team-a/secrets/train-cluster"


def a_service(*, metadata: Body | None = None, spec: Body | None = None) -> web.Response:
    """The head's Service as KubeRay creates it, with some fields changed."""
    default_metadata = {
        "name": "train-cluster-head-svc",
        "uid": "uid-svc",
        "resourceVersion": "1",
        "ownerReferences": [{"kind": "RayCluster", "uid": "uid-cluster", "controller": True}],
    }
    default_spec = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "selector": {"ray.io/node-type": "head"},
    }
    body = {
        "kind": "Service",
        "metadata": default_metadata | (metadata or {}),
        "spec": default_spec | (spec or {}),
    }
    return json_response(body)


def a_secret(token: str = TOKEN, **data: Any) -> web.Response:
    all_data = {"auth_token": base64.b64encode(token.encode()).decode(), **data}
    metadata = {"name": "train-cluster"}
    return json_response({"kind": "Secret", "metadata": metadata, "data": all_data})


@contextlib.asynccontextmanager
async def secured_head(
    service: Answer | None = None,
    secret: Answer | None = None,
    *answers: Answer,
    by_api_server: bool = False,
) -> AsyncIterator[tuple[Head, Script]]:
    """A head, and the API server that first sends the Service and then the Secret."""
    api_answers = (service or a_service(), secret or a_secret())
    async with (
        scripted(Kubernetes, *api_answers) as (kubernetes, api),
        scripted_head(
            *(answers or (json_response([OWN]),)),
            by_api_server=by_api_server,
            tokens=Tokens(kubernetes),
        ) as head,
    ):
        yield head, api


def sent_tokens(head: Head) -> list[str | None]:
    return [request.headers.get(HEADER) for request in head.script.requests]


async def test_the_token_is_sent_in_the_header_of_ray() -> None:
    for by_api_server in (False, True):
        async with secured_head(by_api_server=by_api_server) as (head, api):
            assert isinstance(await head.jobs(**SECURED), HeadList)
        (request,) = head.script.requests
        assert request.headers["X-Ray-Authorization"] == f"Bearer {TOKEN}"
        assert "Authorization" not in request.headers
        assert [request.path for request in api.requests] == [SERVICE_PATH, SECRET_PATH]


async def test_the_token_is_sent_with_requests_for_one_job_and_its_node() -> None:
    running = json_response({**OWN, "status": "RUNNING", "driver_node_id": "n"})
    no_nodes = json_response({"data": {"result": {"result": []}}})
    async with secured_head(None, None, running, no_nodes) as (head, _):
        assert isinstance(await head.job(**SECURED), HeadList)
    assert sent_tokens(head) == [f"Bearer {TOKEN}"] * 2


async def test_white_space_around_a_token_is_removed() -> None:
    async with secured_head(None, a_secret(f" {TOKEN}\n")) as (head, _):
        await head.jobs(**SECURED)
    assert sent_tokens(head) == [f"Bearer {TOKEN}"]


async def test_the_secret_of_a_cluster_without_token_mode_is_not_read() -> None:
    async with secured_head() as (head, api):
        assert isinstance(await head.jobs(), HeadList)
    assert (sent_tokens(head), api.requests) == ([None], [])


async def test_no_token_is_sent_if_the_setting_is_off() -> None:
    refused = json_response("Unauthorized: Missing authentication token", 401)
    async with scripted_head(refused) as head:
        silent = await head.jobs(**SECURED)
    assert isinstance(silent, HeadSilent)
    assert silent.unauthorized
    assert sent_tokens(head) == [None]


async def test_no_token_is_read_for_a_service_that_is_not_the_clusters_own() -> None:
    owner = {"kind": "RayCluster", "uid": "uid-cluster"}
    other = {"kind": "RayCluster", "uid": "uid-other", "controller": True}
    rows: list[tuple[Answer, str]] = [
        (a_service(metadata={"ownerReferences": [other]}), "is not owned by the RayCluster"),
        (a_service(metadata={"ownerReferences": None}), "is not owned by the RayCluster"),
        (a_service(metadata={"ownerReferences": [owner]}), "is not owned by the RayCluster"),
        (a_service(spec={"selector": None}), "has no selector"),
        (a_service(spec={"selector": {}}), "has no selector"),
        (a_service(spec={"type": "ExternalName"}), "has no selector"),
        (status_response(403, "cannot get"), "may not get services"),
    ]
    for service, detail in rows:
        async with secured_head(service) as (head, api):
            silent = await head.jobs(**SECURED)
        assert isinstance(silent, HeadSilent)
        assert silent.unauthorized
        assert detail in silent.detail
        assert [request.path for request in api.requests] == [SERVICE_PATH]
        assert (head.script.requests, head.probes) == ([], ["unauthorized"])


async def test_w1_a_missing_service_is_silent_and_proves_nothing() -> None:
    async with secured_head(object_not_found) as (head, _):
        silent = await head.jobs(**SECURED)
    assert silent == HeadSilent("the Service 'train-cluster-head-svc' does not exist")
    assert (head.script.requests, head.probes) == ([], ["unreachable"])


async def test_without_a_valid_token_no_request_is_sent_to_the_head() -> None:
    metadata = {"name": "train-cluster"}
    without_key = {"kind": "Secret", "metadata": metadata, "data": {"token": "eA=="}}
    missing = "the Secret 'train-cluster' or its key auth_token does not exist"
    invalid = "is not a valid token"
    rows: list[tuple[Answer, str]] = [
        (status_response(403, "User cannot get resource secrets"), "may not get secrets"),
        (object_not_found, missing),
        (json_response(without_key), missing),
        (a_secret(""), invalid),
        (a_secret(f"{TOKEN}\r\nHost: elsewhere"), invalid),
        (a_secret(f"{TOKEN}\u00fc"), invalid),
        (a_secret("x" * 5000), invalid),
        (a_secret(auth_token="hunter2-hunter2!"), invalid),
        (a_secret(auth_token="/w=="), invalid),
        (a_secret(auth_token=5), invalid),
    ]
    for secret, detail in rows:
        async with secured_head(None, secret) as (head, _):
            silent = await head.job(**SECURED)
        assert isinstance(silent, HeadSilent), detail
        assert silent.unauthorized
        assert detail in silent.detail
        assert (head.script.requests, head.probes) == ([], ["unauthorized"])
        assert TOKEN not in repr(silent)


async def test_a_hostile_name_of_a_secret_is_not_requested() -> None:
    names = (
        "..", ".", "a/b", "../../nodes/x", "A", "a?b", "%2e", "-a", "x" * 254, "a\n", ".a", "a..b",
    )  # fmt: skip
    for name in names:
        async with secured_head() as (head, api):
            silent = await head.jobs(auth_secret=name)
        assert isinstance(silent, HeadSilent)
        assert silent.unauthorized
        assert "is not a valid name of a Secret" in silent.detail, name
        assert [request.path for request in api.requests] == [SERVICE_PATH]
        assert head.script.requests == []


async def test_a_failing_api_server_raises_and_is_not_a_silent_head() -> None:
    later = status_response(503, "later")
    for service, secret in ((status_response(500, "etcd"), None), (a_service(), later)):
        async with secured_head(service, secret) as (head, _):
            with pytest.raises(BusyError):
                await head.jobs(**SECURED)
            assert (head.script.requests, head.probes) == ([], [])


async def test_a_token_is_read_again_for_every_probe() -> None:
    answers = (a_service(), a_secret("old"), a_service(), a_secret("new"))
    async with (
        scripted(Kubernetes, *answers) as (kubernetes, _),
        scripted_head(json_response([]), tokens=Tokens(kubernetes)) as head,
    ):
        await head.jobs(**SECURED)
        await head.jobs(**SECURED)
    assert sent_tokens(head) == ["Bearer old", "Bearer new"]


async def test_a_token_is_in_no_value_and_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    answers: tuple[Answer, ...] = (
        json_response([OWN]),
        json_response("Forbidden: Invalid authentication token", 403),
        json_response("500", 500),
        ConnectionError(),
        json_response("", 302, Location="http://127.0.0.1:1/"),
    )
    for answer in answers:
        with caplog.at_level(logging.DEBUG):
            async with secured_head(None, None, answer) as (head, _):
                report = await head.jobs(**SECURED)
                values = repr((report, head.dashboard, vars(head.dashboard), head.probes))
        assert TOKEN not in values + caplog.text


async def test_the_text_of_a_token_does_not_show_it() -> None:
    async with scripted(Kubernetes, a_secret()) as (client, _):
        token = await client.head_token("team-a", "train-cluster")
    assert token is not None
    assert TOKEN not in f"{token!r} {token}"
