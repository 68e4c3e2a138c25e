"""The API server's client: the requests that it sends, and the facts or errors that it returns."""

from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

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
from tests.support.scripted_api import (
    Answer,
    json_response,
    object_not_found,
    serving,
    status_response,
)
from tests.support.scripted_clients import client_of, error_of, scripted

TARGET = Target("RayJob", "team-a", "train", "uid-train", "100")
TRAIN = "/apis/ray.io/v1/namespaces/team-a/rayjobs/train"
NO_RIGHT = 'User "raysweep" cannot delete resource "rayjobs" in API group "ray.io"'


async def test_objects_are_read_by_name() -> None:
    answers = (
        json_response(rayjob_json()),
        json_response(raycluster_json()),
        json_response(namespace_json(ttl="1d")),
    )
    end = END.replace(microsecond=0)
    async with scripted(Kubernetes, *answers) as (client, script):
        rayjob = await client.rayjob("team-a", "train")
        raycluster = await client.raycluster("team-a", "train-cluster")
        namespace = await client.namespace("team-a")
    assert rayjob == a_rayjob(end_time=end, status_written_at=end)
    assert raycluster == a_raycluster(dashboard_port=8265)
    assert namespace == a_namespace(ttl="1d")
    assert [(request.method, request.path) for request in script.requests] == [
        ("GET", TRAIN),
        ("GET", "/apis/ray.io/v1/namespaces/team-a/rayclusters/train-cluster"),
        ("GET", "/api/v1/namespaces/team-a"),
    ]


async def test_a_missing_object_is_none() -> None:
    async with scripted(Kubernetes, object_not_found) as (client, _):
        assert await client.rayjob("team-a", "train") is None
        assert await client.raycluster("team-a", "train") is None
        assert await client.namespace("team-a") is None


async def test_a_deletion_has_preconditions_and_deletes_dependents_in_the_background() -> None:
    cluster = Target("RayCluster", "team-a", "train-cluster", "uid-cluster")
    cluster_path = "/apis/ray.io/v1/namespaces/team-a/rayclusters/train-cluster"
    rows: list[tuple[Target, str, Body]] = [
        (TARGET, TRAIN, {"uid": "uid-train", "resourceVersion": "100"}),
        (cluster, cluster_path, {"uid": "uid-cluster"}),
    ]
    for target, path, preconditions in rows:
        success = json_response({"kind": "Status", "status": "Success"})
        async with scripted(Kubernetes, success) as (client, script):
            await client.delete(target)
        (request,) = script.requests
        assert (request.method, request.path) == ("DELETE", path)
        assert request.body == {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": preconditions,
        }


async def test_a_list_is_read_page_by_page() -> None:
    other = rayjob_json(metadata={"name": "other", "uid": "uid-other"})
    first = json_response({"metadata": {"continue": "next"}, "items": [rayjob_json()]})
    last = json_response({"metadata": {}, "items": [other]})
    async with scripted(Kubernetes, first, last) as (client, script):
        pages = [[rayjob.name for rayjob in page] async for page in client.rayjobs()]
    assert pages == [["train"], ["other"]]
    queries = [request.query for request in script.requests]
    assert queries == [{"limit": "200"}, {"limit": "200", "continue": "next"}]


async def test_only_the_metadata_of_rayclusters_is_listed() -> None:
    page = {"metadata": {}, "items": [{"metadata": raycluster_json()["metadata"]}]}
    async with scripted(Kubernetes, json_response(page)) as (client, script):
        assert [page async for page in client.rayclusters()] == [[a_raycluster()]]
    accept = script.requests[0].headers["Accept"]
    assert accept == "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


async def test_an_empty_list_is_one_empty_page() -> None:
    rows: list[Body] = [
        {"items": None},
        {"metadata": None, "items": []},
        {"metadata": {"continue": None}, "items": []},
    ]
    for body in rows:
        async with scripted(Kubernetes, json_response(body)) as (client, _):
            assert [page async for page in client.namespaces()] == [[]], body
            assert [page async for page in client.rayclusters()] == [[]], body
            assert (await client.policies()).policies == (), body


async def test_a_list_that_expires_between_two_pages_is_an_error() -> None:
    first = json_response({"metadata": {"continue": "next"}, "items": []})
    expired = status_response(410, "the provided continue parameter is too old")
    async with scripted(Kubernetes, first, expired) as (client, _):
        with pytest.raises(InvalidResponseError, match="410 the provided continue parameter"):
            [page async for page in client.rayjobs()]


async def test_a_failed_request_raises_the_error_of_its_response() -> None:
    unreadable = ("not json", "[]", "", "[" * 200_000, b"\xff\xfe\x00")
    rows: list[tuple[Answer, type[ApiError], str]] = [
        (object_not_found, NotFoundError, 'rayjobs.ray.io "train" not found'),
        (status_response(404, "gone"), UnconfirmedNotFoundError, "404 gone"),
        (status_response(409, "the UID differs"), ConflictError, "409 the UID differs"),
        (status_response(403, NO_RIGHT), ForbiddenError, 'cannot delete resource "rayjobs"'),
        (status_response(401, "Unauthorized"), ForbiddenError, "401 Unauthorized"),
        (status_response(429, "slow down"), BusyError, "429 slow down"),
        (status_response(500, "etcd is slow"), BusyError, "500 etcd is slow"),
        (json_response("<html>Bad Gateway</html>", 502), BusyError, "502 Bad Gateway"),
        (status_response(422, "invalid"), InvalidResponseError, "422 invalid"),
        (json_response("[]", 500), BusyError, "500 Internal Server Error"),
        *((json_response(body), InvalidResponseError, "JSON object") for body in unreadable),
        (ConnectionError(), UnreachableError, "DELETE /apis"),
    ]
    for answer, error_class, text in rows:
        async with scripted(Kubernetes, answer) as (client, _):
            with pytest.raises(error_class) as raised:
                await client.delete(TARGET)
        assert type(raised.value) is error_class, text
        assert f"DELETE {TRAIN}" in str(raised.value)
        assert text in str(raised.value)


async def test_every_error_status_raises_an_api_error() -> None:
    async with scripted(Kubernetes, json_response({})) as (client, script):
        for code in range(400, 600):
            script.answers[:] = [status_response(code, "no")]
            with pytest.raises(ApiError) as raised:
                await client.delete(TARGET)
            assert raised.value.code == code


async def test_the_server_says_when_to_send_the_request_again() -> None:
    rows = [
        ("7", timedelta(seconds=7)),
        ("0", timedelta()),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),  # no API server sends a date
        ("-1", None),
        ("9" * 30, None),
    ]
    for header, retry_after in rows:
        busy = status_response(429, "slow down", Retry_After=header)
        async with scripted(Kubernetes, busy) as (client, _):
            with pytest.raises(BusyError) as raised:
                await client.delete(TARGET)
        assert raised.value.retry_after == retry_after, header


async def test_a_request_without_a_response_is_counted_with_code_0() -> None:
    async with serving(json_response({})) as script:
        url = script.url
    async with client_of(Kubernetes, url) as (client, counted):
        with pytest.raises(UnreachableError, match="GET /api/v1/namespaces/team-a"):
            await client.namespace("team-a")
    assert counted == [("GET", 0)]


async def test_every_response_is_counted() -> None:
    async with (
        serving(json_response(namespace_json()), object_not_found) as script,
        client_of(Kubernetes, script.url) as (client, counted),
    ):
        await client.namespace("team-a")
        await client.namespace("team-a")
    assert counted == [("GET", 200), ("GET", 404)]


async def test_an_object_without_a_uid_is_an_invalid_response() -> None:
    async with scripted(Kubernetes, json_response({"metadata": {"name": "train"}})) as (client, _):
        with pytest.raises(InvalidResponseError, match=r"metadata\.uid"):
            await client.rayjob("team-a", "train")


async def test_an_event_that_exists_already_is_a_success() -> None:
    async with scripted(Kubernetes, status_response(409, "AlreadyExists")) as (client, script):
        await client.post_event("team-a", {"reason": "Expired"})
    (request,) = script.requests
    assert request.method == "POST"
    assert request.path == "/apis/events.k8s.io/v1/namespaces/team-a/events"
    assert request.body == {"reason": "Expired"}


async def test_a_refused_event_is_an_error() -> None:
    refused = status_response(403, "the namespace is being terminated")
    async with scripted(Kubernetes, refused) as (client, _):
        with pytest.raises(ForbiddenError, match="being terminated"):
            await client.post_event("team-a", {})


GROUP_LIST = {"kind": "APIGroupList", "apiVersion": "v1"}
RAY = {"name": "ray.io", "versions": [{"groupVersion": "ray.io/v1", "version": "v1"}]}
WITH_RAY = json_response(GROUP_LIST | {"groups": [{"name": "apps"}, RAY]})
WITHOUT_RAY = json_response(GROUP_LIST | {"groups": [{"name": "apps"}, {"name": "raysweep.io"}]})
PLAIN_404 = web.Response(status=404, text="404 page not found\n")


def resources(*plurals: str, **fields: Any) -> web.Response:
    """The response of discovery for ray.io/v1."""
    body = {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "ray.io/v1",
        "resources": [{"name": plural} for plural in plurals],
    }
    return json_response(body | fields)


async def test_discovery_says_whether_a_crd_exists() -> None:
    rows: list[tuple[str, list[Answer], bool]] = [
        ("it exists", [resources("rayjobs", "rayjobs/status")], True),
        ("another resource", [resources("rayclusters")], False),
        ("null", [resources(resources=None)], False),
        ("no such group", [PLAIN_404, WITHOUT_RAY], False),
        ("no such group, by a Status", [status_response(404, "no"), WITHOUT_RAY], False),
    ]
    for case, answers, exists in rows:
        async with scripted(Kubernetes, *answers) as (client, _):
            assert await client.serves("ray.io/v1", "rayjobs") is exists, case


async def test_h7b_a_gateway_s_response_says_nothing_about_a_crd() -> None:
    rows: dict[str, list[Answer]] = {
        "a 404 for everything": [PLAIN_404],
        "a single 404": [PLAIN_404, WITH_RAY],
        "not an APIGroupList": [PLAIN_404, json_response({"groups": []})],
        "no groups": [PLAIN_404, json_response(GROUP_LIST)],
        "a page with 200": [PLAIN_404, json_response("<html>hotel wifi</html>")],
        "not an APIResourceList": [json_response({"resources": []})],
        "another version": [resources(groupVersion="ray.io/v1alpha1")],
        "resources that are not a list": [resources(resources={"name": "rayjobs"})],
        "an empty object": [json_response({})],
    }
    for case, answers in rows.items():
        async with scripted(Kubernetes, *answers) as (client, _):
            error = await error_of(client.serves("ray.io/v1", "rayjobs"))
        assert isinstance(error, InvalidResponseError), case


async def test_an_access_review_says_whether_a_right_is_granted() -> None:
    right = Right("get", "", "services", "proxy", namespace="team-a")
    rows: list[tuple[Body, bool]] = [
        ({"status": {"allowed": True}}, True),
        ({"status": {"allowed": False, "reason": "no"}}, False),
        ({"status": None}, False),
        ({}, False),
    ]
    for body, is_allowed in rows:
        async with scripted(Kubernetes, json_response(body)) as (client, script):
            assert await client.is_allowed(right) is is_allowed, body
        attributes = {
            "verb": "get",
            "group": "",
            "resource": "services",
            "subresource": "proxy",
            "namespace": "team-a",
            "name": "",
        }
        assert script.requests[0].body["spec"] == {"resourceAttributes": attributes}


def test_the_text_of_a_right_names_its_scope() -> None:
    lease = Right("update", "coordination.k8s.io", "leases", namespace="raysweep", name="leader")
    assert str(Right("get", "", "services", "proxy")) == "get services/proxy"
    assert str(lease) == "update leases.coordination.k8s.io leader in namespace raysweep"
