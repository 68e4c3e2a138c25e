"""A namespaced install: what it asks of the API server, and what a Namespace counts that may or may not be read."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from kubernetes_asyncio.client import ApiClient, Configuration

from raysweep.clients.kubernetes.errors import ForbiddenError
from raysweep.clients.kubernetes.namespaced import NamespacedKubernetes
from raysweep.clients.kubernetes.rights import Right
from raysweep.controller.preflight import IN_NAMESPACES, PROXY_RIGHT, RIGHTS, required
from raysweep.core.model.facts import Namespace
from raysweep.settings import load
from tests.support.builders import Body, namespace_json, raycluster_json, rayjob_json
from tests.support.scripted_api import Script, json_response, serving

TWO = frozenset({"team-b", "team-a"})


class World:
    """An API server with one object of each kind in every namespace; forbidden: the Namespaces that may not be read."""

    def __init__(self, *forbidden: str) -> None:
        self.forbidden = forbidden

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = request.path.split("/")
        if request.path.startswith("/api/v1/namespaces/"):
            named = namespace_json(ttl="1d") | {
                "metadata": {**namespace_json(ttl="1d")["metadata"], "name": parts[-1]}
            }
            return (
                json_response({"message": "no"}, 403)
                if parts[-1] in self.forbidden
                else json_response(named)
            )
        if request.method == "POST":
            return json_response({})
        kind = rayjob_json if parts[-1] == "rayjobs" else raycluster_json
        return json_response(
            {
                "metadata": {},
                "items": [kind(metadata={"namespace": parts[-2], "uid": f"uid-{parts[-2]}"})],
            }
        )


@contextlib.asynccontextmanager
async def narrow(
    world: World, *, reads_namespaces: bool = True
) -> AsyncIterator[tuple[NamespacedKubernetes, Script]]:
    async with serving(world.answer) as script:
        client = ApiClient(Configuration(host=script.url))
        kubernetes = NamespacedKubernetes(
            client, lambda verb, code: None, namespaces=TWO, reads_namespaces=reads_namespaces
        )
        try:
            yield kubernetes, script
        finally:
            await kubernetes.close()


async def listed(kubernetes: NamespacedKubernetes) -> dict[str, dict[str, str]]:
    """The Namespaces, with their annotations."""
    return {
        each.name: dict(each.annotations) async for page in kubernetes.namespaces() for each in page
    }


async def test_everything_is_listed_namespace_by_namespace() -> None:
    async with narrow(World()) as (kubernetes, script):
        jobs = [job.namespace async for page in kubernetes.rayjobs() for job in page]
        clusters = [
            cluster.namespace async for page in kubernetes.rayclusters() for cluster in page
        ]
    assert jobs == clusters == ["team-a", "team-b"]
    ray = "/apis/ray.io/v1/namespaces"
    assert [asked.path for asked in script.requests] == [
        f"{ray}/{name}/{kind}"
        for kind in ("rayjobs", "rayclusters")
        for name in ("team-a", "team-b")
    ]


async def test_policies_are_none_and_not_asked_for() -> None:
    async with narrow(World()) as (kubernetes, script):
        assert (await kubernetes.policies()).policies == ()
    assert script.requests == []


async def test_namespaces_are_read_one_by_one() -> None:
    async with narrow(World()) as (kubernetes, script):
        assert await listed(kubernetes) == {name: {"raysweep.io/ttl": "1d"} for name in TWO}
    assert [asked.path for asked in script.requests] == [
        f"/api/v1/namespaces/{name}" for name in sorted(TWO)
    ]


async def test_namespaces_that_are_not_to_be_read_say_nothing_and_are_not_asked_for() -> None:
    async with narrow(World(), reads_namespaces=False) as (kubernetes, script):
        assert await listed(kubernetes) == {name: {} for name in TWO}
        assert await kubernetes.namespace("team-a") == Namespace("team-a", "team-a", "")
    assert script.requests == []


async def test_a_namespace_whose_right_was_lost_is_unknown_and_the_others_go_on() -> None:
    async with narrow(World("team-a")) as (kubernetes, _):
        assert set(await listed(kubernetes)) == {"team-b"}
        with pytest.raises(ForbiddenError):
            await kubernetes.namespace("team-a")


async def test_events_are_posted_in_these_namespaces_alone() -> None:
    event: Body = {"metadata": {"name": "train.1"}}
    async with narrow(World()) as (kubernetes, script):
        await kubernetes.post_event("default", event)
        await kubernetes.post_event("team-a", event)
    assert [asked.path for asked in script.requests] == [
        "/apis/events.k8s.io/v1/namespaces/team-a/events"
    ]


@pytest.mark.parametrize(
    ("read", "more"),
    [
        pytest.param("true", {("get", "namespaces")}, id="and the Namespaces are read"),
        pytest.param("false", set[tuple[str, str]](), id="and the Namespaces are not"),
    ],
)
def test_the_rights_it_wants_are_those_in_namespaces_for_each_of_them(
    read: str, more: set[tuple[str, str]]
) -> None:
    settings = load({"namespaces": "team-b,team-a", "read_namespaces": read})
    there = {(right.verb, right.resource) for right in IN_NAMESPACES} | more
    assert {(r.namespace, r.verb, r.resource) for r in required(settings)} == {
        (name, *each) for name in TWO for each in there
    }


@pytest.mark.parametrize(
    ("namespaces", "right"),
    [
        pytest.param("", PROXY_RIGHT, id="everywhere"),
        pytest.param(
            "team-a",
            Right("get", "", "services", "proxy", namespace="team-a"),
            id="in its namespaces",
        ),
    ],
)
def test_the_way_through_the_api_server_takes_one_right_more(namespaces: str, right: Right) -> None:
    direct = {"namespaces": namespaces}
    assert set(required(load({**direct, "head_access": "api-server"}))) - set(
        required(load(direct))
    ) == {right}


def test_without_namespaces_it_wants_everything_everywhere() -> None:
    assert required(load({})) == RIGHTS
