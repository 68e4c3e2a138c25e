"""Status probes: where they find the address of the head, and what they read for it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from raysweep.cleanup.circuit_breaker import CircuitBreaker
from raysweep.cleanup.observe import Observer
from raysweep.cleanup.probed_clusters import ProbedClusters
from raysweep.clients.connection.api_client import ApiClient, Configuration
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import BusyError
from raysweep.clients.ray.tokens import Tokens
from raysweep.controller.store import Store
from raysweep.core.model.facts import HeadList, HeadSilent, RayJob
from raysweep.core.model.parameters import DEFAULTS
from tests.support.builders import DUE, a_namespace, a_raycluster, a_running, raycluster_json
from tests.support.scripted_api import Answer, Script, json_response, object_not_found, serving
from tests.support.scripted_head import OWN, Head, scripted_head

MINUTE = timedelta(minutes=1)
CLUSTER = raycluster_json(
    ports=[{"name": "dashboard", "containerPort": 8266}],
    status={"head": {"serviceName": "my-head"}},
)
THERE = "http://my-head.team-a.svc.cluster.local:8266/api/jobs/train-x7k2p"


@dataclass
class Polls:
    observer: Observer
    store: Store
    head: Head
    api: Script

    async def status_probe(self) -> HeadList | HeadSilent | None:
        assessment = await self.observer.status_probe("uid-train")
        assert assessment is not None
        assert assessment.probe is not None
        return assessment.probe.head

    @property
    def targets(self) -> list[str]:
        return [request.target for request in self.head.script.requests]


@contextlib.asynccontextmanager
async def polling(job: RayJob, *answers: Answer, tokens: bool = False) -> AsyncIterator[Polls]:
    async with serving(*(answers or (json_response(CLUSTER),))) as api:
        kubernetes = Kubernetes(ApiClient(Configuration(host=api.url)), lambda *_: None)
        async with scripted_head(
            json_response(OWN), tokens=Tokens(kubernetes) if tokens else None
        ) as head:
            store = Store(lambda _: None)
            store.upsert_rayjob(job)
            store.upsert_namespace(a_namespace(), timedelta())
            store.upsert_raycluster(a_raycluster())
            circuit_breaker = CircuitBreaker(timedelta)
            observer = Observer(
                store,
                kubernetes,
                head.dashboard,
                lambda: DUE,
                DEFAULTS,
                MINUTE,
                timedelta,
                None,
                circuit_breaker,
            )
            try:
                yield Polls(observer, store, head, api)
            finally:
                await kubernetes.close()


async def test_the_status_of_the_rayjob_has_the_address_of_the_head() -> None:
    async with polling(a_running(head_service="my-head", dashboard_port=8266)) as status_probes:
        assert isinstance(await status_probes.status_probe(), HeadList)
        assert (status_probes.targets, status_probes.api.requests) == ([THERE], [])


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="neither"),
        pytest.param({"head_service": "my-head"}, id="the Service alone"),
        pytest.param({"dashboard_port": 8266}, id="the port alone"),
    ],
)
async def test_without_an_address_in_the_status_the_raycluster_is_read_once(
    fields: dict[str, Any],
) -> None:
    async with polling(a_running(**fields)) as status_probes:
        for _ in range(5):
            assert isinstance(await status_probes.status_probe(), HeadList)
        assert status_probes.targets == [THERE] * 5
        assert [request.path for request in status_probes.api.requests] == [
            "/apis/ray.io/v1/namespaces/team-a/rayclusters/train-cluster"
        ]


async def test_another_cluster_of_the_rayjob_is_read_again() -> None:
    new_cluster = raycluster_json(
        metadata={"name": "other", "uid": "uid-other"},
        status={"head": {"serviceName": "their-head"}},
    )
    async with polling(
        a_running(), json_response(CLUSTER), json_response(new_cluster)
    ) as status_probes:
        await status_probes.status_probe()
        status_probes.store.upsert_rayjob(a_running(cluster_name="other", resource_version="101"))
        await status_probes.status_probe()
        await status_probes.status_probe()
        assert (
            status_probes.targets[1:]
            == ["http://their-head.team-a.svc.cluster.local:8265/api/jobs/train-x7k2p"] * 2
        )
        assert len(status_probes.api.requests) == 2


async def test_a_failed_get_is_retried_at_the_next_probe() -> None:
    async with polling(
        a_running(),
        json_response({}, 503),
        web.Response(status=404, text="404 page not found"),
        json_response(CLUSTER),
    ) as status_probes:
        with pytest.raises(BusyError):
            await status_probes.status_probe()
        with pytest.raises(Exception, match="404"):
            await status_probes.status_probe()
        assert isinstance(await status_probes.status_probe(), HeadList)


async def test_a_missing_cluster_is_a_failed_probe_and_is_read_again() -> None:
    async with polling(a_running(), object_not_found, json_response(CLUSTER)) as status_probes:
        assert isinstance(await status_probes.status_probe(), HeadSilent)
        assert status_probes.targets == []
        assert isinstance(await status_probes.status_probe(), HeadList)


async def test_with_head_tokens_the_raycluster_is_read() -> None:
    async with polling(
        a_running(head_service="my-head", dashboard_port=8266), tokens=True
    ) as status_probes:
        await status_probes.status_probe()
        assert status_probes.targets == [THERE]
        assert [request.path for request in status_probes.api.requests] == [
            "/apis/ray.io/v1/namespaces/team-a/rayclusters/train-cluster"
        ]


def test_a_probed_cluster_is_pruned_with_its_rayjob() -> None:
    alive: set[str] = set()
    polled = ProbedClusters(lambda uid: uid in alive)
    for number in range(10_000):
        alive = {f"uid-{number}", f"uid-{number - 1}"}
        polled.add(a_running(uid=f"uid-{number}"), a_raycluster())
    assert len(polled) < 100
    assert polled.get(a_running(uid="uid-9999")) == a_raycluster()
