"""Tokens of heads: to the cluster's own Service only, from its Secret, and seen nowhere else."""

import base64
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from kubernetes_asyncio.client import ApiClient, Configuration

from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import BusyError
from raysweep.clients.ray.tokens import Tokens
from raysweep.core.model.facts import HeadList, HeadSilent
from tests.support.builders import Body
from tests.support.scripted_api import Answer, Script, json_response, object_not_found, serving
from tests.support.scripted_head import OWN, Head, scripted_head

TOKEN = "hunter2-hunter2-hunter2"
SECURED: Body = {"auth_secret": "train-cluster"}
SERVICE_PATH = "/api/v1/namespaces/team-a/services/train-cluster-head-svc"
SECRET_PATH = "/api/v1/namespaces/team-a/secrets/train-cluster"


def a_service(*, metadata: Body | None = None, spec: Body | None = None) -> web.Response:
    """The head's Service as KubeRay makes it."""
    owner = {"kind": "RayCluster", "uid": "uid-cluster", "controller": True}
    known = {
        "name": "train-cluster-head-svc",
        "uid": "uid-svc",
        "resourceVersion": "1",
        "ownerReferences": [owner],
    }
    says = {"type": "ClusterIP", "clusterIP": "None", "selector": {"ray.io/node-type": "head"}}
    return json_response(
        {"kind": "Service", "metadata": known | (metadata or {}), "spec": says | (spec or {})}
    )


def a_secret(token: str = TOKEN, **data: Any) -> web.Response:
    said = {"auth_token": base64.b64encode(token.encode()).decode(), **data}
    return json_response({"kind": "Secret", "metadata": {"name": "train-cluster"}, "data": said})


def refusal(code: int, message: str) -> web.Response:
    return json_response(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "code": code,
        },
        code,
    )


@contextlib.asynccontextmanager
async def secured_head(
    service: Answer | None = None,
    secret: Answer | None = None,
    *answers: Answer,
    by_api_server: bool = False,
) -> AsyncIterator[tuple[Head, Script]]:
    """A head whose tokens may be read, and the API server that is asked for them: first for the Service, then the Secret."""
    async with serving(service or a_service(), secret or a_secret()) as api:
        kubernetes = Kubernetes(ApiClient(Configuration(host=api.url)), lambda *_: None)
        async with scripted_head(
            *(answers or (json_response([OWN]),)),
            by_api_server=by_api_server,
            tokens=Tokens(kubernetes),
        ) as head:
            yield head, api
        await kubernetes.close()


@pytest.mark.parametrize("by_api_server", [False, True])
async def test_a_token_goes_with_the_question_under_rays_own_name(by_api_server: bool) -> None:
    async with secured_head(by_api_server=by_api_server) as (head, api):
        assert isinstance(await head.jobs(**SECURED), HeadList)
    (request,) = head.script.requests
    assert (request.headers["X-Ray-Authorization"], "Authorization" in request.headers) == (
        f"Bearer {TOKEN}",
        False,
    )
    assert [asked.path for asked in api.requests] == [SERVICE_PATH, SECRET_PATH]


async def test_with_the_question_for_one_job_and_for_its_node_too() -> None:
    running = {**OWN, "status": "RUNNING", "driver_node_id": "n"}
    async with secured_head(
        None, None, json_response(running), json_response({"data": {"result": {"result": []}}})
    ) as (head, _):
        assert isinstance(await head.job(**SECURED), HeadList)
    assert [asked.headers.get("X-Ray-Authorization") for asked in head.script.requests] == [
        f"Bearer {TOKEN}"
    ] * 2


async def test_spaces_around_a_token_are_none_of_it() -> None:
    async with secured_head(None, a_secret(f" {TOKEN}\n")) as (head, _):
        await head.jobs(**SECURED)
    assert head.script.requests[0].headers["X-Ray-Authorization"] == f"Bearer {TOKEN}"


async def test_a_cluster_without_token_mode_is_asked_without_and_nobody_reads_its_secret() -> None:
    async with secured_head() as (head, api):
        assert isinstance(await head.jobs(), HeadList)
    assert (head.script.requests[0].headers.get("X-Ray-Authorization"), api.requests) == (None, [])


async def test_without_the_setting_a_cluster_with_token_mode_is_asked_without() -> None:
    async with scripted_head(
        json_response("Unauthorized: Missing authentication token", 401)
    ) as head:
        found = await head.jobs(**SECURED)
    assert isinstance(found, HeadSilent)
    assert (found.unauthorized, "X-Ray-Authorization" in head.script.requests[0].headers) == (
        True,
        False,
    )


OTHER = {"ownerReferences": [{"kind": "RayCluster", "uid": "uid-other", "controller": True}]}
NO_CONTROLLER = {"ownerReferences": [{"kind": "RayCluster", "uid": "uid-cluster"}]}
WHOLE_SECRET = json_response(
    {"kind": "Secret", "metadata": {"name": "train-cluster"}, "data": {"token": "eA=="}}
)


@pytest.mark.parametrize(
    ("service", "detail"),
    [
        pytest.param(
            a_service(metadata=OTHER), "is not owned by the RayCluster", id="another RayCluster's"
        ),
        pytest.param(
            a_service(metadata={"ownerReferences": None}),
            "is not owned by the RayCluster",
            id="nobody's",
        ),
        pytest.param(
            a_service(metadata=NO_CONTROLLER),
            "is not owned by the RayCluster",
            id="its owner does not control it",
        ),
        pytest.param(a_service(spec={"selector": None}), "has no selector", id="no selector"),
        pytest.param(a_service(spec={"selector": {}}), "has no selector", id="an empty selector"),
        pytest.param(
            a_service(spec={"type": "ExternalName"}),
            "has no selector",
            id="it leads outside whatever it selects",
        ),
        pytest.param(
            refusal(403, "cannot get"), "may not get services", id="without the right to see it"
        ),
    ],
)
async def test_no_token_is_even_read_for_a_service_that_is_not_the_clusters_own(
    service: Answer, detail: str
) -> None:
    async with secured_head(service) as (head, api):
        found = await head.jobs(**SECURED)
    assert isinstance(found, HeadSilent)
    assert (found.unauthorized, detail in found.detail) == (True, True)
    assert ([asked.path for asked in api.requests], head.script.requests, head.probes) == (
        [SERVICE_PATH],
        [],
        ["unauthorized"],
    )


async def test_w1_without_a_service_nothing_is_asked_and_nothing_is_proven() -> None:
    async with secured_head(object_not_found) as (head, _):
        found = await head.jobs(**SECURED)
    assert found == HeadSilent("the Service 'train-cluster-head-svc' does not exist")
    assert (head.script.requests, head.probes) == ([], ["unreachable"])


@pytest.mark.parametrize(
    ("secret", "detail"),
    [
        pytest.param(
            refusal(403, "User cannot get resource secrets"),
            "may not get secrets",
            id="without the right",
        ),
        pytest.param(
            object_not_found,
            "the Secret 'train-cluster' or its key auth_token does not exist",
            id="no Secret",
        ),
        pytest.param(WHOLE_SECRET, "its key auth_token", id="no such key"),
        pytest.param(a_secret(""), "is not a valid token", id="an empty one"),
        pytest.param(
            a_secret(f"{TOKEN}\r\nHost: elsewhere"), "is not a valid token", id="two lines"
        ),
        pytest.param(
            a_secret(f"{TOKEN}\u00fc"), "is not a valid token", id="letters that no header may have"
        ),
        pytest.param(a_secret("x" * 5000), "is not a valid token", id="too long"),
        pytest.param(
            a_secret(auth_token="hunter2-hunter2!"), "is not a valid token", id="no base64"
        ),
        pytest.param(a_secret(auth_token="/w=="), "is not a valid token", id="no text"),
        pytest.param(a_secret(auth_token=5), "is not a valid token", id="a number"),
    ],
)
async def test_without_a_token_the_head_is_not_asked(secret: Answer, detail: str) -> None:
    async with secured_head(None, secret) as (head, _):
        found = await head.job(**SECURED)
    assert isinstance(found, HeadSilent)
    assert (found.unauthorized, detail in found.detail) == (True, True)
    assert (head.script.requests, head.probes) == ([], ["unauthorized"])
    assert TOKEN not in repr(found)


@pytest.mark.parametrize(
    "name",
    ["..", ".", "a/b", "../../nodes/x", "A", "a?b", "%2e", "-a", "x" * 254, "a\n", ".a", "a..b"],
)
async def test_a_hostile_name_of_a_secret_is_asked_for_nowhere(name: str) -> None:
    async with secured_head() as (head, api):
        found = await head.jobs(auth_secret=name)
    assert isinstance(found, HeadSilent)
    assert (found.unauthorized, "is not a valid name of a Secret" in found.detail) == (True, True)
    assert ([asked.path for asked in api.requests], head.script.requests) == ([SERVICE_PATH], [])


@pytest.mark.parametrize("answers", [(refusal(500, "etcd"),), (a_service(), refusal(503, "later"))])
async def test_an_api_server_that_does_not_answer_is_no_fault_of_the_head(
    answers: tuple[Answer, ...],
) -> None:
    async with secured_head(answers[0], answers[-1]) as (head, _):
        with pytest.raises(BusyError):
            await head.jobs(**SECURED)
        assert (head.script.requests, head.probes) == ([], [])


async def test_a_token_is_read_anew_for_every_look() -> None:
    async with serving(a_service(), a_secret("old"), a_service(), a_secret("new")) as api:
        kubernetes = Kubernetes(ApiClient(Configuration(host=api.url)), lambda *_: None)
        async with scripted_head(json_response([]), tokens=Tokens(kubernetes)) as head:
            await head.jobs(**SECURED)
            await head.jobs(**SECURED)
        await kubernetes.close()
    assert [asked.headers["X-Ray-Authorization"] for asked in head.script.requests] == [
        "Bearer old",
        "Bearer new",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(json_response([OWN]), id="an answer"),
        pytest.param(json_response("Forbidden: Invalid authentication token", 403), id="a refusal"),
        pytest.param(json_response("500", 500), id="an error"),
        pytest.param(ConnectionError(), id="no answer"),
        pytest.param(json_response("", 302, Location="http://127.0.0.1:1/"), id="a redirect"),
    ],
)
async def test_a_token_is_in_no_value_and_no_log_line(
    answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with secured_head(None, None, answer) as (head, _):
            found = await head.jobs(**SECURED)
            seen = repr((found, head.dashboard, vars(head.dashboard), head.probes))
    assert TOKEN not in seen + caplog.text


async def test_a_token_as_it_is_read_shows_itself_to_nobody() -> None:
    async with serving(a_secret()) as api:
        kubernetes = Kubernetes(ApiClient(Configuration(host=api.url)), lambda *_: None)
        token = await kubernetes.head_token("team-a", "train-cluster")
        await kubernetes.close()
    assert token is not None
    assert TOKEN not in f"{token!r} {token}"
