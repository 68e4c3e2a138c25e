"""The API server's client: what it sends, and that whatever comes back ends in facts or in the tree of clients/kubernetes/errors.py."""

import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from kubernetes_asyncio.client import ApiClient, Configuration

from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import (
    ApiError,
    BusyError,
    ConflictError,
    ForbiddenError,
    InvalidResponseError,
    NotFoundError,
    UnconfirmedNotFoundError,
    UnreachableError,
)
from raysweep.clients.kubernetes.rights import Right
from raysweep.core.model.decisions import Target
from tests.support.builders import (
    END,
    Body,
    a_namespace,
    a_raycluster,
    a_rayjob,
    namespace_json,
    raycluster_json,
    rayjob_json,
)
from tests.support.scripted_api import Answer, Script, json_response, object_not_found, serving

TARGET = Target("RayJob", "team-a", "train", "uid-train", "100")
FORBIDDEN = 'rayjobs.ray.io "train" is forbidden: User "raysweep" cannot delete resource "rayjobs" in API group "ray.io"'


def _status(code: int, message: str, **headers: str) -> Any:
    return json_response(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "code": code,
        },
        code,
        **headers,
    )


@contextlib.asynccontextmanager
async def _asking(url: str) -> AsyncIterator[tuple[Kubernetes, list[tuple[str, int]]]]:
    """A client of the server there, and the requests it counted."""
    counted: list[tuple[str, int]] = []
    kubernetes = Kubernetes(
        ApiClient(Configuration(host=url)), lambda verb, code: counted.append((verb, code))
    )
    try:
        yield kubernetes, counted
    finally:
        await kubernetes.close()


@contextlib.asynccontextmanager
async def _scripted(*answers: Answer) -> AsyncIterator[tuple[Kubernetes, Script]]:
    async with serving(*answers) as script, _asking(script.url) as (kubernetes, _):
        yield kubernetes, script


async def test_objects_are_read_by_name() -> None:
    async with _scripted(
        json_response(rayjob_json()),
        json_response(raycluster_json()),
        json_response(namespace_json(ttl="1d")),
    ) as (kubernetes, script):
        whole = END.replace(microsecond=0)
        assert await kubernetes.rayjob("team-a", "train") == a_rayjob(
            end_time=whole, status_written_at=whole
        )
        assert await kubernetes.raycluster("team-a", "train-cluster") == a_raycluster(
            dashboard_port=8265
        )
        assert await kubernetes.namespace("team-a") == a_namespace(ttl="1d")
    assert [(asked.method, asked.path) for asked in script.requests] == [
        ("GET", "/apis/ray.io/v1/namespaces/team-a/rayjobs/train"),
        ("GET", "/apis/ray.io/v1/namespaces/team-a/rayclusters/train-cluster"),
        ("GET", "/api/v1/namespaces/team-a"),
    ]


async def test_what_is_not_there_is_none() -> None:
    async with _scripted(object_not_found) as (kubernetes, _):
        assert await kubernetes.rayjob("team-a", "train") is None
        assert await kubernetes.raycluster("team-a", "train") is None
        assert await kubernetes.namespace("team-a") is None


@pytest.mark.parametrize(
    ("target", "path", "preconditions"),
    [
        pytest.param(
            TARGET,
            "/apis/ray.io/v1/namespaces/team-a/rayjobs/train",
            {"uid": "uid-train", "resourceVersion": "100"},
            id="a RayJob by uid and resourceVersion",
        ),
        pytest.param(
            Target("RayCluster", "team-a", "train-cluster", "uid-cluster"),
            "/apis/ray.io/v1/namespaces/team-a/rayclusters/train-cluster",
            {"uid": "uid-cluster"},
            id="a RayCluster after its RayJob by uid alone",
        ),
    ],
)
async def test_a_deletion_names_the_very_object_and_lets_its_dependents_follow(
    target: Target, path: str, preconditions: Body
) -> None:
    async with _scripted(json_response({"kind": "Status", "status": "Success"})) as (
        kubernetes,
        script,
    ):
        await kubernetes.delete(target)
    (request,) = script.requests
    assert (request.method, request.path) == ("DELETE", path)
    assert request.body == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": preconditions,
    }


async def test_lists_are_read_page_by_page() -> None:
    first = {"metadata": {"continue": "next"}, "items": [rayjob_json()]}
    last = {"metadata": {}, "items": [rayjob_json(metadata={"name": "other", "uid": "uid-other"})]}
    async with _scripted(json_response(first), json_response(last)) as (kubernetes, script):
        pages = [[job.name for job in page] async for page in kubernetes.rayjobs()]
    assert pages == [["train"], ["other"]]
    assert [asked.query for asked in script.requests] == [
        {"limit": "200"},
        {"limit": "200", "continue": "next"},
    ]


async def test_of_rayclusters_only_the_metadata_is_listed() -> None:
    sent = {"metadata": {}, "items": [{"metadata": raycluster_json()["metadata"]}]}
    async with _scripted(json_response(sent)) as (kubernetes, script):
        assert [page async for page in kubernetes.rayclusters()] == [[a_raycluster()]]
    assert (
        script.requests[0].headers["Accept"]
        == "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    )


@pytest.mark.parametrize(
    "page",
    [
        {"items": None},
        {"metadata": None, "items": []},
        {"metadata": {"continue": None}, "items": []},
    ],
)
async def test_an_empty_list_is_one_empty_page(page: Body) -> None:
    async with _scripted(json_response(page)) as (kubernetes, _):
        assert [page async for page in kubernetes.namespaces()] == [[]]
        assert [page async for page in kubernetes.rayclusters()] == [[]]
        assert (await kubernetes.policies()).policies == ()


async def test_a_list_that_breaks_off_between_two_pages_is_an_error() -> None:
    first = {"metadata": {"continue": "next"}, "items": []}
    async with _scripted(
        json_response(first), _status(410, "the provided continue parameter is too old")
    ) as (kubernetes, _):
        with pytest.raises(
            InvalidResponseError, match="410 the provided continue parameter is too old"
        ):
            [page async for page in kubernetes.rayjobs()]


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        pytest.param(object_not_found, NotFoundError, 'rayjobs.ray.io "train" not found', id="404"),
        pytest.param(
            _status(404, "gone"), UnconfirmedNotFoundError, "404 gone", id="404 that names nothing"
        ),
        pytest.param(
            _status(409, "the UID differs"), ConflictError, "409 the UID differs", id="409"
        ),
        pytest.param(
            _status(403, FORBIDDEN),
            ForbiddenError,
            'cannot delete resource "rayjobs"',
            id="403 names the verb",
        ),
        pytest.param(_status(401, "Unauthorized"), ForbiddenError, "401 Unauthorized", id="401"),
        pytest.param(_status(429, "slow down"), BusyError, "429 slow down", id="429"),
        pytest.param(_status(500, "etcd is slow"), BusyError, "500 etcd is slow", id="500"),
        pytest.param(
            json_response("<html>Bad Gateway</html>", 502),
            BusyError,
            "502 Bad Gateway",
            id="a proxy's page",
        ),
        pytest.param(_status(422, "invalid"), InvalidResponseError, "422 invalid", id="422"),
        pytest.param(
            json_response("[]", 500),
            BusyError,
            "500 Internal Server Error",
            id="an error that is a list",
        ),
        pytest.param(
            json_response("not json"),
            InvalidResponseError,
            "not a JSON object",
            id="200 and no JSON",
        ),
        pytest.param(
            json_response("[]"), InvalidResponseError, "not a JSON object", id="200 and a list"
        ),
        pytest.param(
            json_response(""), InvalidResponseError, "not a JSON object", id="200 and nothing"
        ),
        pytest.param(
            json_response("[" * 200_000),
            InvalidResponseError,
            "not a JSON object",
            id="200 and brackets without end",
        ),
        pytest.param(
            json_response(b"\xff\xfe\x00"),
            InvalidResponseError,
            "not a JSON object",
            id="200 and bytes",
        ),
        pytest.param(
            ConnectionError(), UnreachableError, "DELETE /apis", id="the connection is reset"
        ),
    ],
)
async def test_a_failed_deletion_is_an_error_of_the_tree_and_names_request_and_reason(
    answer: Answer, kind: type[ApiError], text: str
) -> None:
    async with _scripted(answer) as (kubernetes, _):
        with pytest.raises(kind) as raised:
            await kubernetes.delete(TARGET)
    assert "DELETE /apis/ray.io/v1/namespaces/team-a/rayjobs/train" in str(raised.value)
    assert text in str(raised.value)


@pytest.mark.parametrize("code", range(400, 600))
async def test_every_status_ends_in_the_tree(
    code: int, whole_script: tuple[Kubernetes, Script]
) -> None:
    kubernetes, script = whole_script
    script.answers[:] = [_status(code, "no")]
    with pytest.raises(ApiError) as raised:
        await kubernetes.delete(TARGET)
    assert raised.value.code == code


@pytest.fixture(scope="module")
async def whole_script() -> AsyncIterator[tuple[Kubernetes, Script]]:
    """One server for two hundred statuses."""
    async with _scripted(json_response({})) as (kubernetes, script):
        yield kubernetes, script


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        pytest.param("7", timedelta(seconds=7), id="seconds"),
        pytest.param("0", timedelta(), id="at once"),
        pytest.param("Wed, 21 Oct 2026 07:28:00 GMT", None, id="a date, which no API server sends"),
        pytest.param("-1", None, id="a negative number"),
        pytest.param("9" * 30, None, id="for ever"),
    ],
)
async def test_how_long_the_server_asks_to_wait(header: str, wait: timedelta | None) -> None:
    async with _scripted(_status(429, "slow down", Retry_After=header)) as (kubernetes, _):
        with pytest.raises(BusyError) as raised:
            await kubernetes.delete(TARGET)
    assert raised.value.retry_after == wait


async def test_nobody_there_is_unreachable_and_counted_with_code_0() -> None:
    async with serving(json_response({})) as script:
        url = script.url
    async with _asking(url) as (kubernetes, counted):
        with pytest.raises(UnreachableError, match="GET /api/v1/namespaces/team-a"):
            await kubernetes.namespace("team-a")
    assert counted == [("GET", 0)]


async def test_every_answer_is_counted() -> None:
    async with (
        serving(json_response(namespace_json()), object_not_found) as script,
        _asking(script.url) as (kubernetes, counted),
    ):
        await kubernetes.namespace("team-a")
        await kubernetes.namespace("team-a")
    assert counted == [("GET", 200), ("GET", 404)]


async def test_an_object_that_cannot_even_be_named_is_a_bad_answer() -> None:
    async with _scripted(json_response({"metadata": {"name": "train"}})) as (kubernetes, _):
        with pytest.raises(InvalidResponseError, match=r"metadata\.uid"):
            await kubernetes.rayjob("team-a", "train")


async def test_an_event_that_is_there_already_is_as_good() -> None:
    async with _scripted(_status(409, "AlreadyExists")) as (kubernetes, script):
        await kubernetes.post_event("team-a", {"reason": "Expired"})
    (request,) = script.requests
    assert (request.method, request.path) == (
        "POST",
        "/apis/events.k8s.io/v1/namespaces/team-a/events",
    )
    assert request.body == {"reason": "Expired"}


async def test_an_event_that_is_refused_is_an_error() -> None:
    async with _scripted(_status(403, "the namespace is being terminated")) as (kubernetes, _):
        with pytest.raises(ForbiddenError, match="being terminated"):
            await kubernetes.post_event("team-a", {})


GROUP = {"name": "ray.io", "versions": [{"groupVersion": "ray.io/v1", "version": "v1"}]}
GROUPS = json_response(
    {"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": "apps"}, GROUP]}
)
OTHER_GROUPS = json_response(
    {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [{"name": "apps"}, {"name": "raysweep.io"}],
    }
)
PAGE_NOT_FOUND = web.Response(status=404, text="404 page not found\n")


def resources(*plurals: str, **fields: Any) -> web.Response:
    """Discovery's answer for ray.io/v1."""
    found = [{"name": plural} for plural in plurals]
    whole = {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "ray.io/v1",
        "resources": found,
    }
    return json_response(whole | fields)


@pytest.mark.parametrize(
    ("answers", "served"),
    [
        pytest.param([resources("rayjobs", "rayjobs/status")], True, id="it is there"),
        pytest.param([resources("rayclusters")], False, id="only its sister"),
        pytest.param([resources(resources=None)], False, id="null"),
        pytest.param([PAGE_NOT_FOUND, OTHER_GROUPS], False, id="not even its group"),
        pytest.param(
            [_status(404, "no"), OTHER_GROUPS], False, id="not even its group, in other words"
        ),
    ],
)
async def test_whether_a_crd_is_there(answers: list[Answer], served: bool) -> None:
    async with _scripted(*answers) as (kubernetes, _):
        assert await kubernetes.serves("ray.io/v1", "rayjobs") is served


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([PAGE_NOT_FOUND], id="the page for everything"),
        pytest.param([PAGE_NOT_FOUND, GROUPS], id="the page once: the group is there"),
        pytest.param([PAGE_NOT_FOUND, json_response({"groups": []})], id="no APIGroupList"),
        pytest.param(
            [PAGE_NOT_FOUND, json_response({"kind": "APIGroupList", "apiVersion": "v1"})],
            id="an APIGroupList without groups",
        ),
        pytest.param(
            [PAGE_NOT_FOUND, json_response("<html>hotel wifi</html>")], id="a page with 200"
        ),
        pytest.param([json_response({"resources": []})], id="no APIResourceList"),
        pytest.param([resources(groupVersion="ray.io/v1alpha1")], id="of another version"),
        pytest.param([resources(resources={"name": "rayjobs"})], id="resources that are no list"),
        pytest.param([json_response({})], id="an empty object"),
    ],
)
async def test_what_a_gateway_says_of_a_crd_is_an_error(answers: list[Answer]) -> None:
    """H7b."""
    async with _scripted(*answers) as (kubernetes, _):
        with pytest.raises(InvalidResponseError):
            await kubernetes.serves("ray.io/v1", "rayjobs")


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [
        pytest.param({"status": {"allowed": True}}, True, id="yes"),
        pytest.param({"status": {"allowed": False, "reason": "no"}}, False, id="no"),
        pytest.param({"status": None}, False, id="no status"),
        pytest.param({}, False, id="nothing"),
    ],
)
async def test_whether_we_may(answer: Body, allowed: bool) -> None:
    async with _scripted(json_response(answer)) as (kubernetes, script):
        assert (
            await kubernetes.is_allowed(Right("get", "", "services", "proxy", namespace="team-a"))
            is allowed
        )
    attributes = {
        "verb": "get",
        "group": "",
        "resource": "services",
        "subresource": "proxy",
        "namespace": "team-a",
        "name": "",
    }
    assert script.requests[0].body["spec"] == {"resourceAttributes": attributes}


@pytest.mark.parametrize(
    ("right", "text"),
    [
        pytest.param(Right("get", "", "services", "proxy"), "get services/proxy", id="everywhere"),
        pytest.param(
            Right("update", "coordination.k8s.io", "leases", namespace="raysweep", name="leader"),
            "update leases.coordination.k8s.io leader in namespace raysweep",
            id="of one object",
        ),
    ],
)
def test_a_right_is_named_with_all_that_it_is_limited_to(right: Right, text: str) -> None:
    assert str(right) == text
