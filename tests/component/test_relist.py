"""The periodic list of all objects: what it stores and removes, and what it does on errors."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from raysweep.clients.connection.api_client import ApiClient, Configuration
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.controller.kopf_watch import on_rayjob_event
from raysweep.controller.metrics import Metrics
from raysweep.controller.relist import SHORTEST_PAUSE, Relist
from raysweep.controller.store import Store
from tests.support.builders import (
    END,
    Body,
    a_raycluster,
    a_rayjob,
    namespace_json,
    raycluster_json,
    rayjob_json,
)
from tests.support.scripted_api import json_response, serving

EVERY = timedelta(minutes=5)


def _job(name: str, **metadata: str) -> Body:
    return rayjob_json(metadata={"name": name, "uid": f"uid-{name}", **metadata})


@dataclass
class World:
    """What the API server lists, in pages of one. `meanwhile` is called after the first page."""

    rayjobs: list[Body] = field(default_factory=list)
    rayclusters: list[Body] = field(default_factory=list)
    namespaces: list[Body] = field(default_factory=list)
    rayjobcleanuppolicies: list[Body] = field(default_factory=list)
    broken: str = ""
    meanwhile: Callable[[], None] = lambda: None

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        plural = request.path.rpartition("/")[2]
        items: list[Body] = getattr(self, plural)
        page = int(request.query.get("continue", "0"))
        if plural == self.broken and page > 0:
            return json_response({"message": "etcd is slow"}, 503, Retry_After="9")
        if plural == "rayjobs" and page == 1:
            self.meanwhile()
        following = str(page + 1) if page + 1 < len(items) else ""
        return json_response({"metadata": {"continue": following}, "items": items[page : page + 1]})


@dataclass
class Lists:
    """A relist into a store, and how often it called back."""

    relist: Relist
    store: Store
    rounds: list[int]

    def cached_names(self) -> list[str]:
        return sorted(job.name for job in self.store.rayjobs.values())


@contextlib.asynccontextmanager
async def _listing(world: World) -> AsyncIterator[Lists]:
    async with serving(world.answer) as script:
        kubernetes = Kubernetes(
            ApiClient(Configuration(host=script.url)), lambda _verb, _code: None
        )
        store, rounds = Store(lambda _: None), list[int]()
        relist = Relist(
            kubernetes, store, Metrics(), lambda: END, EVERY, lambda: rounds.append(1), timedelta
        )
        try:
            yield Lists(relist, store, rounds)
        finally:
            await kubernetes.close()


async def test_a_relist_fills_the_store_and_returns_the_pause() -> None:
    world = World([_job("a"), _job("b")], [raycluster_json()], [namespace_json(ttl="1h")])
    async with _listing(world) as lists:
        assert not lists.relist.complete.is_set()
        assert await lists.relist.run_once() == EVERY
    assert lists.cached_names() == ["a", "b"]
    assert [cluster.name for cluster in lists.store.owned_by("uid-train")] == ["train-cluster"]
    assert lists.store.namespace("team-a") is not None
    assert (lists.relist.complete.is_set(), lists.rounds) == (True, [1])


async def test_objects_that_are_not_listed_are_removed() -> None:
    world = World(
        [_job("a"), _job("b")], [raycluster_json()], [namespace_json(), namespace_json("team-b")]
    )
    async with _listing(world) as lists:
        await lists.relist.run_once()
        world.rayjobs, world.rayclusters, world.namespaces = [_job("b")], [], [namespace_json()]
        await lists.relist.run_once()
    assert (lists.cached_names(), len(lists.store.rayclusters), len(lists.store.namespaces)) == (
        ["b"],
        0,
        1,
    )


async def test_objects_that_the_watch_shows_during_the_list_stay() -> None:
    world = World([_job("a"), _job("b")], [], [])
    async with _listing(world) as lists:
        world.meanwhile = lambda: lists.store.upsert_rayjob(a_rayjob(name="born", uid="uid-born"))
        await lists.relist.run_once()
        assert lists.cached_names() == ["a", "b", "born"]
        world.meanwhile = lambda: None
        await lists.relist.run_once()
    assert lists.cached_names() == ["a", "b"]


async def test_a_newer_version_from_the_watch_stays() -> None:
    world = World([_job("a"), _job("b", resourceVersion="100")], [], [])
    async with _listing(world) as lists:
        newer = a_rayjob(name="b", uid="uid-b", resource_version="105", deployment_status="Running")
        world.meanwhile = lambda: lists.store.upsert_rayjob(newer)
        await lists.relist.run_once()
    assert lists.store.rayjob("uid-b") == newer


async def test_a_failed_list_removes_nothing_and_respects_retry_after() -> None:
    world = World([_job("a"), _job("b")], [], [])
    async with _listing(world) as lists:
        await lists.relist.run_once()
        world.rayjobs, world.broken = [_job("c"), _job("d")], "rayjobs"
        assert await lists.relist.run_once() == timedelta(seconds=9)
        assert lists.cached_names() == ["a", "b", "c"]
        world.broken = ""
        assert await lists.relist.run_once() == EVERY
    assert (lists.cached_names(), lists.rounds) == (["c", "d"], [1, 1])


async def test_without_namespaces_rayjobs_are_not_listed() -> None:
    world = World(
        [_job("a")], [], [namespace_json(), namespace_json("team-b")], broken="namespaces"
    )
    async with _listing(world) as lists:
        await lists.relist.run_once()
    assert (lists.cached_names(), lists.relist.complete.is_set()) == ([], False)


async def test_a_rayjob_with_an_impossible_time_hides_no_other() -> None:
    poison = rayjob_json(
        metadata={"name": "poison", "uid": "uid-poison"},
        status={"endTime": "9999-12-31T23:59:59-01:00"},
    )
    async with _listing(World([poison, _job("b")], [], [])) as lists:
        assert await lists.relist.run_once() == EVERY
    assert lists.cached_names() == ["b", "poison"]


async def test_a_recreated_cluster_is_another_object() -> None:
    world = World([], [raycluster_json()], [])
    async with _listing(world) as lists:
        await lists.relist.run_once()
        world.rayclusters = [
            raycluster_json(metadata={"uid": "uid-again", "resourceVersion": "99"})
        ]
        await lists.relist.run_once()
    (owned,) = lists.store.owned_by("uid-train")
    assert (owned.uid, owned.controller_uid) == ("uid-again", a_raycluster().controller_uid)


YEAR_0 = [{"manager": "x", "operation": "Update", "time": "0000-01-01T00:00:00Z"}]


async def test_an_object_with_unreadable_metadata_hides_no_other() -> None:
    odd: Body = {"managedFields": YEAR_0}
    poison = rayjob_json(metadata={"name": "poison", "uid": "uid-poison"} | odd)
    cluster = raycluster_json(metadata={"name": "poison-c", "uid": "uid-poison-c"} | odd)
    home = namespace_json("team-b")
    home["metadata"] |= odd
    async with _listing(
        World([poison, _job("b")], [cluster, raycluster_json()], [home, namespace_json()])
    ) as lists:
        assert await lists.relist.run_once() == EVERY
        job, namespace = lists.store.rayjob("uid-poison"), lists.store.namespace("team-b")
    assert lists.cached_names() == ["b", "poison"]
    assert job is not None
    assert namespace is not None
    assert job.unreadable.startswith("metadata.managedFields")
    assert namespace[0].unreadable.startswith("metadata.managedFields")
    assert len(lists.store.rayclusters) == 2


@pytest.mark.parametrize(
    "item", [{}, {"metadata": None}, {"metadata": {"name": "c"}}, 7, None, "x"], ids=str
)
async def test_a_rayjob_without_name_or_uid_keeps_all_rayjobs_cached(item: Any) -> None:
    """It may be one of the cached RayJobs, and use the cluster of another."""
    world = World([_job("a"), _job("b")], [], [])
    async with _listing(world) as lists:
        await lists.relist.run_once()
        world.rayjobs = [_job("a"), item]
        assert await lists.relist.run_once() == EVERY
        assert lists.cached_names() == ["a", "b"]
        world.rayjobs = [_job("a")]
        await lists.relist.run_once()
    assert lists.cached_names() == ["a"]


async def test_a_namespace_without_a_name_is_not_cached() -> None:
    """Its RayJobs are kept as NamespaceUnknown."""
    async with _listing(
        World([_job("a")], [], [{"metadata": {"name": 7}}, namespace_json()])
    ) as lists:
        assert await lists.relist.run_once() == EVERY
    assert len(lists.store.namespaces) == 1


@pytest.mark.parametrize("kind", ["rayclusters", "rayjobcleanuppolicies"])
async def test_a_list_of_clusters_or_policies_with_a_nameless_object_fails(
    kind: str,
) -> None:
    """The nameless object may be the cluster to probe, or a policy that keeps RayJobs."""
    world = World([_job("a")], [], [])
    setattr(world, kind, [{"metadata": {"name": 7}}])
    async with _listing(world) as lists:
        await lists.relist.run_once()
        assert not lists.relist.complete.is_set()
        assert lists.store.policies() is None or kind == "rayclusters"


SHORTEST, FAILED = SHORTEST_PAUSE.total_seconds(), 9.0


class EnoughError(Exception):
    """Ends a loop of lists."""


@pytest.mark.parametrize(
    ("broken", "pauses"),
    [
        pytest.param("", [SHORTEST] * 3, id="as soon as the shortest pause has passed"),
        pytest.param("rayjobs", [FAILED] * 3, id="not earlier than after a failure"),
    ],
)
async def test_a_watch_that_begins_anew_requests_a_list(broken: str, pauses: list[float]) -> None:
    world, slept = World([_job("a"), _job("b")], [], [], broken=broken), list[float]()
    async with _listing(world) as lists:

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            lists.relist.request()  # again and again
            if len(slept) == 3:
                raise EnoughError

        lists.relist.sleep = sleep
        with pytest.raises(EnoughError):
            await lists.relist.run(await lists.relist.run_once())
    assert slept == pauses
    assert len(lists.rounds) == (0 if broken else 3)


async def test_a_request_is_answered_by_a_list_that_begins_after_it() -> None:
    world = World([_job("a"), _job("b")], [], [])
    async with _listing(world) as lists:

        async def no_sleep(_seconds: float) -> None:
            return

        lists.relist.sleep = no_sleep
        lists.relist.request()
        pause = await lists.relist.run_once()
        with pytest.raises(TimeoutError):  # the next one is not due
            await asyncio.wait_for(lists.relist.run(pause), 0.1)
        assert lists.rounds == [1]
        world.meanwhile = lists.relist.request
        await lists.relist.run_once()
        world.meanwhile = lambda: None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lists.relist.run(pause), 0.5)
    assert lists.rounds == [1, 1, 1]


async def test_a_rayjob_that_is_deleted_while_it_is_listed_is_not_cached() -> None:
    world = World([_job("a"), _job("b")], [], [])
    async with _listing(world) as lists:
        deleted = rayjob_json(metadata={"name": "b", "uid": "uid-b", "resourceVersion": "101"})
        world.meanwhile = lambda: on_rayjob_event(lists.store, "DELETED", deleted)
        await lists.relist.run_once()
    assert lists.cached_names() == ["a"]
