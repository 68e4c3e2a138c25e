"""The client of a namespaced installation: its requests and the rights that they need."""

from typing import Any

import pytest
from aiohttp import web

from raysweep.clients.kubernetes.errors import ForbiddenError
from raysweep.clients.kubernetes.namespaced import NamespacedKubernetes
from raysweep.clients.kubernetes.rights import Right
from raysweep.controller.preflight import IN_NAMESPACES, PROXY_RIGHT, RIGHTS, required
from raysweep.core.model.facts import Namespace
from raysweep.settings import load
from tests.support.builders import Body, namespace_json, raycluster_json, rayjob_json
from tests.support.scripted_api import json_response
from tests.support.scripted_clients import scripted

NAMESPACES = frozenset({"team-b", "team-a"})
ALL_READABLE = {"namespaces": NAMESPACES}
RAY = "/apis/ray.io/v1/namespaces"


class World:
    """An API server with one object of each kind in every namespace."""

    def __init__(self, *forbidden: str) -> None:
        """`forbidden` are the Namespaces that may not be read."""
        self.forbidden = forbidden

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        *parents, name = request.path.split("/")
        if request.path.startswith("/api/v1/namespaces/"):
            if name in self.forbidden:
                return json_response({"message": "no"}, 403)
            body = namespace_json(ttl="1d")
            return json_response(body | {"metadata": {**body["metadata"], "name": name}})
        if request.method == "POST":
            return json_response({})
        make = rayjob_json if name == "rayjobs" else raycluster_json
        item = make(metadata={"namespace": parents[-1], "uid": f"uid-{parents[-1]}"})
        return json_response({"metadata": {}, "items": [item]})


async def annotations(client: NamespacedKubernetes) -> dict[str, dict[str, str]]:
    """The annotations of the listed Namespaces."""
    namespaces = [namespace async for page in client.namespaces() for namespace in page]
    return {namespace.name: dict(namespace.annotations) for namespace in namespaces}


async def test_objects_are_listed_in_each_namespace() -> None:
    async with scripted(NamespacedKubernetes, World().answer, **ALL_READABLE) as (client, script):
        rayjobs = [rayjob.namespace async for page in client.rayjobs() for rayjob in page]
        clusters = [cluster.namespace async for page in client.rayclusters() for cluster in page]
    assert rayjobs == clusters == ["team-a", "team-b"]
    assert [request.path for request in script.requests] == [
        f"{RAY}/team-a/rayjobs",
        f"{RAY}/team-b/rayjobs",
        f"{RAY}/team-a/rayclusters",
        f"{RAY}/team-b/rayclusters",
    ]


async def test_policies_are_empty_without_a_request() -> None:
    async with scripted(NamespacedKubernetes, World().answer, **ALL_READABLE) as (client, script):
        assert (await client.policies()).policies == ()
    assert script.requests == []


async def test_each_namespace_is_read_by_name() -> None:
    async with scripted(NamespacedKubernetes, World().answer, **ALL_READABLE) as (client, script):
        assert await annotations(client) == {name: {"raysweep.io/ttl": "1d"} for name in NAMESPACES}
    paths = [request.path for request in script.requests]
    assert paths == [f"/api/v1/namespaces/{name}" for name in sorted(NAMESPACES)]


async def test_namespaces_that_are_not_read_have_no_annotations() -> None:
    options: dict[str, Any] = {"namespaces": NAMESPACES, "reads_namespaces": False}
    async with scripted(NamespacedKubernetes, World().answer, **options) as (client, script):
        assert await annotations(client) == {name: {} for name in NAMESPACES}
        assert await client.namespace("team-a") == Namespace("team-a", "team-a", "")
    assert script.requests == []


async def test_a_namespace_that_may_not_be_read_is_left_out_of_the_list() -> None:
    world = World("team-a")
    async with scripted(NamespacedKubernetes, world.answer, **ALL_READABLE) as (client, _):
        assert set(await annotations(client)) == {"team-b"}
        with pytest.raises(ForbiddenError):
            await client.namespace("team-a")


async def test_events_are_created_only_in_these_namespaces() -> None:
    event: Body = {"metadata": {"name": "train.1"}}
    async with scripted(NamespacedKubernetes, World().answer, **ALL_READABLE) as (client, script):
        await client.post_event("default", event)
        await client.post_event("team-a", event)
    paths = [request.path for request in script.requests]
    assert paths == ["/apis/events.k8s.io/v1/namespaces/team-a/events"]


def test_rights_are_needed_in_each_namespace() -> None:
    for reads_namespaces, further in (("true", {("get", "namespaces")}), ("false", set())):
        settings = load({"namespaces": "team-b,team-a", "read_namespaces": reads_namespaces})
        expected = {(right.verb, right.resource) for right in IN_NAMESPACES} | further
        rights = {(right.namespace, right.verb, right.resource) for right in required(settings)}
        assert rights == {(name, *right) for name in NAMESPACES for right in expected}


def test_head_access_through_the_api_server_needs_one_more_right() -> None:
    in_team = Right("get", "", "services", "proxy", namespace="team-a")
    for namespaces, right in (("", PROXY_RIGHT), ("team-a", in_team)):
        direct = {"namespaces": namespaces}
        proxied = required(load({**direct, "head_access": "api-server"}))
        assert set(proxied) - set(required(load(direct))) == {right}


def test_a_cluster_wide_installation_needs_all_rights_in_all_namespaces() -> None:
    assert required(load({})) == RIGHTS
