"""How a pass updates the cached state if the API server fails in the middle of a deletion."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

from aiohttp import web

from raysweep.cleanup import reconcile, sweep
from raysweep.cleanup.act import DeletionResult
from raysweep.cleanup.circuit_breaker import CircuitBreaker
from raysweep.cleanup.observe import Observer
from raysweep.cleanup.reconcile import _update_state
from raysweep.clients.connection.api_client import ApiClient, Configuration
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import ConflictError
from raysweep.clients.parsing.rayjob import parse_rayjob
from raysweep.controller.cleaner import Cleaner
from raysweep.controller.metrics import Metrics
from raysweep.controller.reporter import Reporter
from raysweep.controller.store import Store
from raysweep.controller.workqueue import DelayingQueue
from raysweep.core.model.decisions import Target
from raysweep.core.model.facts import HeadList
from raysweep.core.model.parameters import DEFAULTS
from tests.support.builders import (
    DUE,
    HOUR,
    Body,
    a_list,
    a_namespace,
    a_policy,
    a_raycluster,
    a_submission,
    an_assessment,
    raycluster_json,
    rayjob_json,
)
from tests.support.scripted_api import json_response, not_found, serving


async def test_a_failed_read_after_a_conflict_does_not_hide_the_deletion() -> None:
    """It raises nothing, so the pass is reported. The RayJob stays cached."""
    assessment, store, unused = an_assessment(), Store(lambda _: None), cast("Any", None)
    store.upsert_rayjob(assessment.rayjob)
    deleted = Target(
        "RayJob", assessment.rayjob.namespace, assessment.rayjob.name, assessment.rayjob.uid
    )
    failure = json_response({"kind": "Status", "message": "etcd is away", "code": 500}, 500)
    async with serving(failure) as script:
        kubernetes = Kubernetes(ApiClient(Configuration(host=script.url)), lambda *_: None, unused)
        minute, circuit_breaker = timedelta(minutes=1), CircuitBreaker(timedelta)
        observer = Observer(
            store,
            kubernetes,
            unused,
            lambda: DUE,
            DEFAULTS,
            minute,
            timedelta,
            None,
            circuit_breaker,
        )
        try:
            await _update_state(
                observer,
                assessment,
                DeletionResult((deleted,), stopped_by=ConflictError("409", code=409)),
            )
        finally:
            await kubernetes.close()
    assert [request.method for request in script.requests] == ["GET"]
    assert store.rayjob(assessment.rayjob.uid) == assessment.rayjob


@dataclass
class Server:
    """An API server with one RayJob, which a finalizer holds, and its RayCluster. KubeRay is down.

    refusals: statuses of the first requests of a method and kind, as ("DELETE", "rayclusters").
    """

    refusals: dict[tuple[str, str], list[int]]
    status: Body = field(default_factory=dict)
    version: int = 100
    is_being_deleted: bool = False
    has_cluster: bool = True
    has_finalizer: bool = True
    hangs: bool = False
    deleted: list[str] = field(default_factory=list)
    pod_requests: int = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.hangs:
            await asyncio.sleep(3)
        kind = next((one for one in ("rayjobs", "rayclusters") if f"/{one}" in request.path), "")
        refusals = self.refusals.get((request.method, kind), [])
        if refusals:
            return json_response({"kind": "Status", "message": "etcd is away"}, refusals.pop(0))
        if "/pods" in request.path:
            self.pod_requests += 1
            return json_response({"metadata": {}, "items": []})
        if kind == "rayclusters":
            return self._raycluster(request.method)
        return self._rayjob(request.method, json.loads(await request.read() or b"{}"))

    def rayjob(self) -> Body:
        metadata: Body = {
            "resourceVersion": str(self.version),
            "finalizers": ["ray.io/rayjob-finalizer"],
        }
        metadata |= {"deletionTimestamp": "2026-11-22T19:00:00Z"} if self.is_being_deleted else {}
        return rayjob_json(metadata=metadata, status=self.status)

    def _rayjob(self, method: str, body: Body) -> web.StreamResponse:
        if self.is_being_deleted and not self.has_finalizer:
            return not_found("rayjobs", "train", "ray.io")
        if method == "GET":
            return json_response(self.rayjob())
        if body["preconditions"]["resourceVersion"] != str(self.version):
            return json_response({"kind": "Status", "reason": "Conflict"}, 409)
        self.deleted.append("RayJob")
        self.is_being_deleted, self.version = True, self.version + 1
        return json_response(self.rayjob())

    def _raycluster(self, method: str) -> web.StreamResponse:
        if not self.has_cluster:
            return not_found("rayclusters", "train-cluster", "ray.io")
        if method == "DELETE":
            self.deleted.append("RayCluster")
            self.has_cluster = False
            return json_response({"kind": "Status", "status": "Success"})
        return json_response(raycluster_json())


class Head:
    """A head that reports the job as finished."""

    async def jobs(self, *_: Any, **__: Any) -> HeadList:
        return a_list(a_submission())

    job = jobs


@dataclass
class Moment:
    """A wall clock and an uptime that the test sets."""

    passed: timedelta = timedelta()

    def now(self) -> datetime:
        return DUE + timedelta(minutes=1) + self.passed

    def uptime(self) -> timedelta:
        return HOUR + self.passed


@dataclass
class World:
    """A cleaner with one RayJob. The test supplies the watch events."""

    server: Server
    moment: Moment
    cleaner: Cleaner
    metrics: Metrics

    async def probes(self) -> None:
        """What is due is judged, and if it comes to a look it is made."""
        self.cleaner._judge(await self.cleaner.delaying_queue.get())
        if len(self.cleaner.cleanup_queue):
            await self.cleaner.run_pass(self.cleaner.cleanup_queue.get()[1], reconcile.clean)

    def waits(self) -> float | None:
        """Seconds until it is judged again."""
        at = self.cleaner.delaying_queue.due_at("uid-train")
        return (at - self.moment.now()).total_seconds() if at else None

    def deletions(self, kind: str, reason: str) -> float | None:
        labels = {"kind": kind, "reason": reason, "outcome": "succeeded"}
        return self.metrics.registry.get_sample_value("raysweep_deletions_total", labels)


@contextlib.asynccontextmanager
async def _world(server: Server) -> AsyncIterator[World]:
    async with serving(server.answer) as script:
        client = ApiClient(Configuration(host=script.url))
        kubernetes = Kubernetes(client, lambda *_: None)
        moment, metrics = Moment(), Metrics()
        schedule = DelayingQueue(moment.now)
        store = Store(schedule.add)
        reporter = Reporter(kubernetes, metrics, moment.now)
        observer = Observer(
            store,
            kubernetes,
            cast("Any", Head()),
            moment.now,
            DEFAULTS,
            HOUR,
            moment.uptime,
            None,
            CircuitBreaker(moment.uptime),
        )
        cleaner = Cleaner(observer, store, schedule, reporter, moment.now)
        store.upsert_namespace(a_namespace(), moment.uptime())
        store.replace_policies((), moment.uptime())
        store.upsert_raycluster(a_raycluster())
        store.upsert_rayjob(parse_rayjob(server.rayjob()))
        try:
            yield World(server, moment, cleaner, metrics)
        finally:
            await kubernetes.close()


async def test_pods_are_looked_up_only_with_the_setting_and_not_by_sweep() -> None:
    for deletes_pods, pass_function, requests in (
        (True, reconcile.clean, 1),
        (False, reconcile.clean, 0),
        (False, sweep.sweep, 0),
    ):
        server = Server({})
        async with _world(server) as world:
            observer = replace(world.cleaner.observer, deletes_pods=deletes_pods)
            result = await pass_function(observer, "uid-train")
        assert result is not None
        assert server.deleted == ["RayJob", "RayCluster"]
        assert server.pod_requests == requests


async def test_the_second_deletion_of_a_pair_is_retried_after_the_logged_delay() -> None:
    """KubeRay is down, and the DELETE of the RayCluster gets 503 once."""
    async with _world(Server({("DELETE", "rayclusters"): [503]})) as world:
        await world.probes()
        assert (world.server.deleted, world.waits()) == (["RayJob"], 1.0)
        world.moment.passed += timedelta(seconds=1)
        await world.probes()
        assert world.server.deleted == ["RayJob", "RayCluster"]
        assert world.deletions("RayJob", "Expired") == 1
        assert world.deletions("RayCluster", "DeletionUnfinished") == 1


async def test_the_watch_event_of_the_first_deletion_does_not_change_the_retry() -> None:
    """The event comes before or after the DELETE of the RayCluster fails."""
    async with _world(Server({("DELETE", "rayclusters"): [503]})) as world:
        await world.probes()
        world.cleaner.store.upsert_rayjob(parse_rayjob(world.server.rayjob()))
        assert world.waits() == 1.0


async def test_a_change_during_the_pass_does_not_hasten_the_retry() -> None:
    """The RayJob became due during its own pass. The logged delay holds."""
    async with _world(Server({("DELETE", "rayclusters"): [503]})) as world:
        world.cleaner._judge(await world.cleaner.delaying_queue.get())
        world.cleaner.cleanup_queue.get()[1]
        keep_probing = asyncio.create_task(world.cleaner.run_pass("uid-train", reconcile.clean))
        await asyncio.sleep(0)
        world.cleaner.delaying_queue.add("uid-train")
        judging = asyncio.create_task(world.cleaner.run_judgements())
        await keep_probing
        judging.cancel()
        assert world.waits() == 1.0


async def test_after_a_failed_read_the_rayjob_stays_cached_and_its_cluster_is_deleted() -> None:
    """The GET fails too. The retry gets a conflict, reads the RayJob, and continues."""
    refusals = {("DELETE", "rayclusters"): [503], ("GET", "rayjobs"): [503]}
    async with _world(Server(refusals)) as world:
        for _ in range(3):
            await world.probes()
            world.moment.passed += timedelta(seconds=10)
        assert world.server.deleted == ["RayJob", "RayCluster"]
        assert world.deletions("RayJob", "Expired") == 1


async def test_a_rayjob_that_does_not_exist_after_its_deletion_is_removed() -> None:
    """Without a finalizer the garbage collector deletes the cluster."""
    server = Server({("DELETE", "rayclusters"): [503]}, has_finalizer=False)
    async with _world(server) as world:
        await world.probes()
        assert world.cleaner.store.rayjob("uid-train") is None
        assert server.deleted == ["RayJob"]


async def test_after_a_restart_the_cluster_of_a_deleted_rayjob_is_deleted() -> None:
    """The process ended between the responses to the two deletions."""
    server = Server({}, is_being_deleted=True, version=101)
    async with _world(server) as world:
        await world.probes()
        assert server.deleted == ["RayCluster"]
        assert world.deletions("RayCluster", "DeletionUnfinished") == 1


async def test_the_pair_of_a_job_without_a_reported_end_is_deleted_too() -> None:
    """KubeRay is down, so the status does not change. A policy sets the deadline."""
    started = {
        "jobDeploymentStatus": "Initializing",
        "jobStatus": "",
        "startTime": "2026-11-22T10:00:00Z",
        "endTime": None,
    }
    server = Server({("DELETE", "rayclusters"): [503]}, status=started)
    async with _world(server) as world:
        limit = {"stuck.initializing": HOUR}
        world.cleaner.store.replace_policies((a_policy(times=limit),), world.moment.uptime())
        await world.probes()
        assert server.deleted == ["RayJob"]
        world.moment.passed += timedelta(seconds=1)
        await world.probes()
        assert server.deleted == ["RayJob", "RayCluster"]


async def test_a_probe_that_takes_too_long_delays_that_rayjob_only() -> None:
    """Waiting for the API server does not count as stuck, and has a timeout."""
    server = Server({}, hangs=True)
    async with _world(server) as world:
        world.cleaner.observer = replace(
            world.cleaner.observer, probe_timeout=timedelta(seconds=0.2)
        )
        async with asyncio.timeout(60):
            await world.probes()
        assert (world.cleaner.in_progress, world.waits(), server.deleted) == ({}, 1.0, [])
