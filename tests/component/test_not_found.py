"""H7, H7b: which response proves that an object or a resource does not exist."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from raysweep.clients.kubernetes.errors import (
    InvalidResponseError,
    NotFoundError,
    UnconfirmedNotFoundError,
)
from raysweep.clients.kubernetes.leases import LeaseName, Term
from raysweep.clients.kubernetes.user_writer import UserWriter
from raysweep.core.model.decisions import Target
from tests.support.builders import Body, a_rayjob
from tests.support.scripted_api import Answer, json_response, not_found, object_not_found
from tests.support.scripted_clients import error_of, scripted

LEASE = LeaseName("raysweep", "leader")
TARGET = Target("RayJob", "team-a", "train", "uid-train", "100")
PLAIN_404 = web.Response(status=404, text="404 page not found\n")
STATUS: Body = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "reason": "NotFound",
    "code": 404,
}
GROUP_LIST: Body = {"kind": "APIGroupList", "apiVersion": "v1"}
NO_GROUPS = json_response(GROUP_LIST | {"groups": []})
RAYSWEEP = {"name": "raysweep.io", "versions": [{"groupVersion": "raysweep.io/v1alpha1"}]}
NO_POLICY_RESOURCES: Body = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": "raysweep.io/v1alpha1",
}
POLICY_RESOURCES = NO_POLICY_RESOURCES | {"resources": [{"name": "rayjobcleanuppolicies"}]}


def status(**changes: Any) -> web.Response:
    """The Status about the missing RayCluster team-a/c, with some fields changed."""
    details = {"name": "c", "group": "ray.io", "kind": "rayclusters"} | changes.pop("details", {})
    return json_response(STATUS | {"details": details} | changes, 404)


async def test_a_status_about_the_requested_object_proves_that_it_is_missing() -> None:
    async with scripted(UserWriter, status()) as (client, _):
        assert await client.raycluster("team-a", "c") is None


async def test_h7_any_other_404_proves_nothing() -> None:
    rows: dict[str, Answer] = {
        "a gateway's page": PLAIN_404,
        "no body": web.Response(status=404),
        "an empty object": json_response({}, 404),
        "a list": json_response([], 404),
        "a large page": json_response("x" * 2**20, 404),
        "only the message": json_response({"message": 'rayclusters.ray.io "c" not found'}, 404),
        "another kind": status(kind="State"),
        "another version": status(apiVersion="v2"),
        "another reason": status(reason="Gone"),
        "another code": status(code=410),
        "a success": status(status="Success"),
        "another cluster": status(details={"name": "other"}),
        "another resource": status(details={"kind": "rayjobs"}),
        "a kind instead of a resource": status(details={"kind": "RayCluster"}),
        "no group": status(details={"group": ""}),
        "another group": status(details={"group": "example.com"}),
        "an invalid name": status(details={"name": ["c"]}),
        "no details": json_response(STATUS, 404),
        "its Namespace": not_found("namespaces", "team-a"),
    }
    for case, answer in rows.items():
        async with scripted(UserWriter, answer) as (client, _):
            error = await error_of(client.raycluster("team-a", "c"))
        assert isinstance(error, UnconfirmedNotFoundError), case
        assert error.code == 404, case


Send = Callable[[UserWriter], Awaitable[object]]
READS: dict[str, Send] = {
    "a RayJob": lambda client: client.rayjob("team-a", "train"),
    "a RayJob as JSON": lambda client: client.raw_rayjob("team-a", "train"),
    "a Namespace": lambda client: client.namespace("team-a"),
    "a Namespace as JSON": lambda client: client.raw_namespace("team-a"),
    "a Service": lambda client: client.service("team-a", "train-head-svc"),
    "a token": lambda client: client.head_token("team-a", "train"),
    "a ConfigMap": lambda client: client.config_map("raysweep", "raysweep"),
    "a Lease": lambda client: client.lease(LEASE),
    "a deletion by a user": lambda client: client.delete_rayjob(a_rayjob()),
}
WRITES: dict[str, Send] = {
    "a deletion": lambda client: client.delete(TARGET),
    "an annotation": lambda client: client.annotate(a_rayjob(), "raysweep.io/outcome", "x"),
    "keep-until": lambda client: client.keep(a_rayjob(), None, None),
    "a job ID": lambda client: client.set_job_id(a_rayjob(), "x"),
    "a new Lease": lambda client: client.create_lease(LEASE, Term()),
    "a new RayJob": lambda client: client.create_rayjob("team-a", {}),
    "an Event": lambda client: client.post_event("team-a", {}),
}


async def test_a_proven_404_of_a_read_is_none() -> None:
    for case, send in READS.items():
        async with scripted(UserWriter, object_not_found) as (client, _):
            assert await send(client) is None, case


async def test_a_proven_404_of_a_write_is_an_error() -> None:
    for case, send in WRITES.items():
        async with scripted(UserWriter, object_not_found) as (client, _):
            assert isinstance(await error_of(send(client)), NotFoundError), case


async def test_h7_a_gateways_404_is_an_error_for_every_request() -> None:
    for case, send in (READS | WRITES).items():
        async with scripted(UserWriter, PLAIN_404) as (client, _):
            assert isinstance(await error_of(send(client)), UnconfirmedNotFoundError), case


async def test_the_list_of_policies_is_empty_if_discovery_proves_that_the_crd_is_missing() -> None:
    no_versions = json_response(GROUP_LIST | {"groups": [{"name": "raysweep.io"}]})
    rows: dict[str, list[Answer]] = {
        "no such group": [PLAIN_404, PLAIN_404, NO_GROUPS],
        "no such version": [PLAIN_404, PLAIN_404, no_versions],
        "no such resource": [PLAIN_404, json_response(NO_POLICY_RESOURCES)],
    }
    for case, answers in rows.items():
        async with scripted(UserWriter, *answers) as (client, script):
            assert (await client.policies()).policies == (), case
        paths = [request.path for request in script.requests]
        assert paths[1:] == ["/apis/raysweep.io/v1alpha1", "/apis"][: len(answers) - 1], case


async def test_h7b_a_gateways_response_leaves_the_policies_unknown() -> None:
    served = json_response(POLICY_RESOURCES)
    no_name = not_found("rayjobcleanuppolicies", "", "raysweep.io")
    rows: dict[str, list[Answer]] = {
        "a page for everything": [PLAIN_404],
        "one page": [PLAIN_404, served],
        "two pages": [PLAIN_404, PLAIN_404, json_response(GROUP_LIST | {"groups": [RAYSWEEP]})],
        "two pages, then one with 200": [PLAIN_404, PLAIN_404, json_response("<html>", 200)],
        "discovery is refused": [PLAIN_404, PLAIN_404, json_response({}, 403)],
        "a Status with 200": [PLAIN_404, json_response({"kind": "Status", "apiVersion": "v1"})],
        "a Status without a name": [no_name, served],
        "an empty object with 200": [json_response({})],
        "items that are not a list": [json_response({"items": {}})],
        "a list without items": [json_response({"metadata": {}})],
    }
    for case, answers in rows.items():
        async with scripted(UserWriter, *answers) as (client, _):
            error = await error_of(client.policies())
        assert error is not None, case
        assert not isinstance(error, NotFoundError), case


async def test_rayjobs_are_not_found_if_their_crd_is_missing() -> None:
    async with scripted(UserWriter, PLAIN_404, PLAIN_404, NO_GROUPS) as (client, _):
        with pytest.raises(NotFoundError):
            [page async for page in client.rayjobs("team-a")]


async def test_the_list_of_namespaces_is_never_proven_to_be_missing() -> None:
    async with scripted(UserWriter, PLAIN_404) as (client, script):
        with pytest.raises(UnconfirmedNotFoundError):
            [page async for page in client.namespaces()]
    assert len(script.requests) == 1


async def test_h7_only_the_beginning_of_an_error_is_read() -> None:
    sent = 0

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        stream = web.StreamResponse(status=404)
        await stream.prepare(request)
        while sent < 2**26:
            await stream.write(b"x" * 2**14)
            sent += 2**14
        return stream

    async with scripted(UserWriter, endless) as (client, _):
        with pytest.raises(UnconfirmedNotFoundError):
            await client.raycluster("team-a", "c")
    assert sent < 2**24  # the buffers of the sockets take more than the 64 KiB that are read


async def test_an_object_that_is_too_large_is_an_invalid_response() -> None:
    async with scripted(UserWriter, json_response("[" + "1," * 2**21 + "1]")) as (client, _):
        with pytest.raises(InvalidResponseError, match="larger than"):
            await client.namespace("team-a")


async def test_a_large_event_of_the_policy_watch_is_a_change() -> None:
    event = json_response(b'{"type": "MODIFIED", "object": "' + b"x" * 2**20 + b'"}\n')
    async with scripted(UserWriter, event) as (client, _):
        await client.wait_for_policy_change("7", timedelta(seconds=30))
