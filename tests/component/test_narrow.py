"""A namespaced install: what it asks of the API server, and what a Namespace counts that may or may not be read."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from kubernetes_asyncio.client import ApiClient, Configuration

from raysweep.clients.errors import ForbiddenError
from raysweep.clients.kubernetes import Right
from raysweep.clients.narrow import Narrow
from raysweep.controller.preflight import IN_NAMESPACES, PROXY_RIGHT, RIGHTS, wanted
from raysweep.core.facts import Namespace
from raysweep.settings import load
from tests.builders import Body, a_namespace, namespace_json, raycluster_json, rayjob_json
from tests.component.scripted import Script, serving, told

TWO = frozenset({"team-b", "team-a"})
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class World:
    """An API server with one object of each kind in every namespace; may_read is what RBAC says of Namespaces."""

    def __init__(self, *, may_read: bool) -> None:
        self.may_read = may_read

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = request.path.split("/")
        if request.path == REVIEWS:
            return told({"status": {"allowed": self.may_read}})
        if request.path.startswith("/api/v1/namespaces/") and request.method == "GET":
            return told(namespace_json(ttl="1d")) if self.may_read else told({"message": "no"}, 403)
        if request.method == "POST":
            return told({})
        kind = rayjob_json if parts[-1] == "rayjobs" else raycluster_json
        return told({"metadata": {}, "items": [kind(metadata={"namespace": parts[-2], "uid": f"uid-{parts[-2]}"})]})


@contextlib.asynccontextmanager
async def narrow(world: World, namespaces: frozenset[str] = TWO) -> AsyncIterator[tuple[Narrow, Script]]:
    async with serving(world.answer) as script:
        kubernetes = Narrow(ApiClient(Configuration(host=script.url)), lambda verb, code: None, namespaces=namespaces)
        try:
            yield kubernetes, script
        finally:
            await kubernetes.close()


async def test_everything_is_listed_namespace_by_namespace() -> None:
    async with narrow(World(may_read=True)) as (kubernetes, script):
        jobs = [job.namespace async for page in kubernetes.rayjobs() for job in page]
        clusters = [cluster.namespace async for page in kubernetes.rayclusters() for cluster in page]
    assert jobs == clusters == ["team-a", "team-b"]
    ray = "/apis/ray.io/v1/namespaces"
    assert [asked.path for asked in script.asked] == [
        f"{ray}/{name}/{kind}" for kind in ("rayjobs", "rayclusters") for name in ("team-a", "team-b")
    ]


async def test_policies_are_none_and_not_asked_for() -> None:
    async with narrow(World(may_read=True)) as (kubernetes, script):
        assert (await kubernetes.policies()).policies == ()
    assert script.asked == []


async def test_a_namespace_that_may_be_read_counts() -> None:
    async with narrow(World(may_read=True), frozenset({"team-a"})) as (kubernetes, script):
        assert [each async for page in kubernetes.namespaces() for each in page] == [a_namespace(ttl="1d")]
        assert kubernetes.unread() == []
    assert [asked.path for asked in script.asked] == [REVIEWS, "/api/v1/namespaces/team-a"]


async def test_a_namespace_that_may_not_be_read_says_nothing() -> None:
    async with narrow(World(may_read=False), frozenset({"team-a"})) as (kubernetes, script):
        assert [each async for page in kubernetes.namespaces() for each in page] == [Namespace("team-a", "team-a", "")]
        assert await kubernetes.namespace("team-a") == Namespace("team-a", "team-a", "")
        assert kubernetes.unread() == ["team-a"]
    attributes = script.asked[0].body["spec"]["resourceAttributes"]
    assert {key: value for key, value in attributes.items() if value} == {
        "verb": "get", "resource": "namespaces", "namespace": "team-a", "name": "team-a"
    }  # fmt: skip
    assert len(script.asked) == 1


async def test_a_right_that_is_lost_later_is_an_error_and_so_keeps() -> None:
    world = World(may_read=True)
    async with narrow(world) as (kubernetes, _):
        await kubernetes.namespace("team-a")
        world.may_read = False
        with pytest.raises(ForbiddenError):
            await kubernetes.namespace("team-a")


async def test_events_are_posted_in_these_namespaces_alone() -> None:
    event: Body = {"metadata": {"name": "train.1"}}
    async with narrow(World(may_read=True)) as (kubernetes, script):
        await kubernetes.post_event("default", event)
        await kubernetes.post_event("team-a", event)
    assert [asked.path for asked in script.asked] == ["/apis/events.k8s.io/v1/namespaces/team-a/events"]


def test_the_rights_it_wants_are_those_in_namespaces_for_each_of_them() -> None:
    settings = load({"namespaces": "team-b,team-a"})
    assert {(r.namespace, r.verb, r.resource) for r in wanted(settings)} == {
        (name, r.verb, r.resource) for name in TWO for r in IN_NAMESPACES
    }


@pytest.mark.parametrize(
    ("namespaces", "right"),
    [
        pytest.param("", PROXY_RIGHT, id="everywhere"),
        pytest.param("team-a", Right("get", "", "services", "proxy", namespace="team-a"), id="in its namespaces"),
    ],
)
def test_the_way_through_the_api_server_takes_one_right_more(namespaces: str, right: Right) -> None:
    direct = {"namespaces": namespaces}
    assert set(wanted(load({**direct, "head_access": "api-server"}))) - set(wanted(load(direct))) == {right}


def test_without_namespaces_it_wants_everything_everywhere() -> None:
    assert wanted(load({})) == RIGHTS
