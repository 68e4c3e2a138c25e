"""The Pods of a deleted RayCluster: which are deleted, and what errors change (delete_pods)."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest
from aiohttp import web

from raysweep.cleanup import act, pods
from raysweep.cleanup.act import DeletionResult
from raysweep.cleanup.congestion import CongestionWindow
from raysweep.cleanup.reconcile import Pass
from raysweep.clients.kubernetes.client import METADATA_LIST, Kubernetes
from raysweep.clients.kubernetes.errors import (
    ApiError,
    BusyError,
    ForbiddenError,
    UnreachableError,
)
from raysweep.clients.kubernetes.rights import Right
from raysweep.controller import preflight
from raysweep.controller.fencing import LeaseFence
from raysweep.controller.metrics import Metrics
from raysweep.controller.reporter import Reporter
from raysweep.core.decide import decide
from raysweep.core.model.decisions import Delete
from raysweep.core.model.memory import NOTHING
from raysweep.settings import load
from tests.support.builders import DUE, Body, a_probe, an_assessment, raycluster_json
from tests.support.scripted_api import (
    RecordedRequest,
    Script,
    json_response,
    not_found,
    status_response,
)
from tests.support.scripted_clients import scripted

EXPIRED = an_assessment(now=DUE, probe=a_probe())
PAIR = cast("Delete", decide(EXPIRED))
RAYJOB, CLUSTER = PAIR.targets
CLUSTER_ALONE = replace(PAIR, targets=(CLUSTER,))
PODS = "/api/v1/namespaces/team-a/pods"
SUCCESS = json_response({"kind": "Status", "status": "Success"})
IS_BUSY = status_response(503, "etcd is slow")
NO_RIGHT = status_response(403, "pods is forbidden")


def owner(uid: str = "uid-cluster", *, kind: str = "RayCluster", **fields: Any) -> Body:
    """An ownerReference, as KubeRay writes it on a Pod."""
    reference = {"apiVersion": "ray.io/v1", "kind": kind, "name": "train-cluster", "uid": uid}
    return reference | {"controller": True, "blockOwnerDeletion": True} | fields


def pod(name: str, *owners: Body, **metadata: Any) -> Body:
    """The metadata of a Pod with the label of the RayCluster."""
    identity = {"name": name, "namespace": "team-a", "uid": f"uid-{name}", "resourceVersion": "7"}
    labels = {"ray.io/cluster": "train-cluster"}
    return {"metadata": {**identity, "labels": labels, "ownerReferences": list(owners), **metadata}}


def name_of(body: Body) -> str:
    return str(body["metadata"]["name"])


HEAD, WORKER = pod("head", owner()), pod("worker", owner())
MANY = [pod(f"worker-{number}", owner()) for number in range(30)]

Answer = web.StreamResponse | Callable[[], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """An API server with a RayJob, a RayCluster and Pods. `answers` replaces single responses."""

    pods: list[Body] = field(default_factory=lambda: [HEAD, WORKER])
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        answer = self.answers.get((request.method, name))
        if callable(answer):
            return await answer()
        if answer:
            assert isinstance(answer, web.Response)
            return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
        if request.method == "GET" and name == "pods":
            return json_response({"metadata": {}, "items": self.pods})
        if request.method == "GET":
            return json_response(rayjob_body())
        await asyncio.sleep(0)
        return json_response({"kind": "Status", "status": "Success"})


def rayjob_body() -> Body:
    """The judged RayJob, unchanged."""
    metadata = {
        "name": EXPIRED.rayjob.name,
        "namespace": EXPIRED.rayjob.namespace,
        "uid": EXPIRED.rayjob.uid,
        "resourceVersion": EXPIRED.rayjob.resource_version,
    }
    return {"metadata": metadata, "spec": {}}


@contextlib.asynccontextmanager
async def api(server: Server, **options: Any) -> AsyncIterator[tuple[Kubernetes, Script]]:
    async with scripted(Kubernetes, server.answer, **options) as (client, script):
        yield client, script


async def delete_with_pods(kubernetes: Kubernetes, decision: Delete = PAIR) -> DeletionResult:
    congestion = CongestionWindow()
    result = await act.delete(kubernetes, congestion, decision, EXPIRED.rayjob)
    return await pods.with_pods(kubernetes, congestion, result)


async def delete(
    server: Server, decision: Delete = PAIR
) -> tuple[DeletionResult, list[RecordedRequest]]:
    """Deletes, and returns the result and the requests about Pods."""
    async with api(server) as (kubernetes, script):
        result = await delete_with_pods(kubernetes, decision)
    return result, [request for request in script.requests if request.path.startswith(PODS)]


def deleted(requests: list[RecordedRequest]) -> set[str]:
    """The names of the Pods for which a DELETE was sent."""
    return {request.path.rpartition("/")[2] for request in requests if request.method == "DELETE"}


async def test_the_pods_of_a_deleted_cluster_are_deleted_by_uid_after_it() -> None:
    async with api(Server()) as (kubernetes, script):
        result = await delete_with_pods(kubernetes)
    assert result == DeletionResult((RAYJOB, CLUSTER), gone_cluster=CLUSTER, pods=2)
    rayjob, cluster, listed, *of_pods = script.requests
    assert [request.path.rpartition("/")[2] for request in (rayjob, cluster)] == [
        "train",
        "train-cluster",
    ]
    assert (listed.method, listed.path, listed.headers["Accept"]) == ("GET", PODS, METADATA_LIST)
    assert listed.query["labelSelector"] == "ray.io/cluster=train-cluster"
    assert {request.path for request in of_pods} == {f"{PODS}/head", f"{PODS}/worker"}
    for request in of_pods:
        assert request.method == "DELETE"
        assert request.body == {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": f"uid-{request.path.rpartition('/')[2]}"},
        }


async def test_only_pods_that_belong_to_exactly_this_cluster_are_deleted() -> None:
    """All rows have the label of the cluster, which anyone may write."""
    job = {"apiVersion": "batch/v1", "kind": "Job"}
    rows: dict[str, tuple[Body, bool]] = {
        "a Pod of the cluster": (pod("it", owner()), True),
        "another version of the API": (pod("it", owner(apiVersion="ray.io/v1alpha1")), True),
        "another cluster of the same name": (pod("it", owner("uid-other")), False),
        "a uid that only begins alike": (pod("it", owner("uid-cluster-2")), False),
        "the submitter of the RayJob": (pod("it", owner("uid-job", **job)), False),
        "another kind with this uid": (pod("it", owner(**job)), False),
        "another group with this kind": (pod("it", owner(apiVersion="example.com/v1")), False),
        "an owner that is no controller": (pod("it", owner(controller=False)), False),
        "no controller": (pod("it", owner(controller=None)), False),
        "no owner": (pod("it"), False),
        "no owners at all": (pod("it", ownerReferences=None), False),
        "a second owner": (pod("it", owner(), owner("uid-x", controller=False)), False),
        "a second owner, before it": (pod("it", owner("uid-x", controller=False), owner()), False),
        "unreadable owners": (pod("it", ownerReferences=[owner(), "x"]), False),
        "no uid": (pod("it", owner(), uid=None), False),
        "being deleted": (pod("it", owner(), deletionTimestamp="2026-11-22T18:00:00Z"), False),
    }
    for case, (body, is_deleted) in rows.items():
        result, requests = await delete(Server([body]))
        assert deleted(requests) == ({"it"} if is_deleted else set()), case
        assert result.pods == int(is_deleted), case
        assert result.pod_errors == (), case


async def test_pods_of_all_pages_are_deleted() -> None:
    more = json_response({"metadata": {"continue": "next"}, "items": [HEAD]})
    last = json_response({"metadata": {}, "items": [WORKER]})
    async with scripted(Kubernetes, more, last, SUCCESS) as (kubernetes, script):
        result = await pods.delete_pods(kubernetes, CongestionWindow(), CLUSTER)
    assert result.accepted == 2
    assert script.requests[1].query["labelSelector"] == "ray.io/cluster=train-cluster"


async def test_pods_are_deleted_only_if_their_cluster_is_gone() -> None:
    finalizers = ["example.com/export-logs"]
    held = json_response(raycluster_json(metadata={"finalizers": finalizers}))
    missing = not_found("rayclusters", "train-cluster", "ray.io")
    replaced = status_response(409, "the UID differs")
    cluster, rayjob = ("DELETE", "train-cluster"), ("DELETE", "train")
    rows: dict[str, tuple[Delete, dict[tuple[str, str], Answer], bool]] = {
        "the cluster alone": (CLUSTER_ALONE, {}, True),
        "a finalizer holds the cluster": (PAIR, {cluster: held}, False),
        "the garbage collector was first": (PAIR, {cluster: missing}, True),
        "the cluster alone did not exist": (CLUSTER_ALONE, {cluster: missing}, False),
        "another cluster has the name": (PAIR, {cluster: replaced}, False),
        "the deletion of the cluster failed": (PAIR, {cluster: IS_BUSY}, False),
        "the RayJob changed": (PAIR, {rayjob: replaced}, False),
        "the RayJob did not exist": (
            PAIR,
            {rayjob: not_found("rayjobs", "train", "ray.io")},
            False,
        ),
    }
    for case, (decision, answers, is_deleted) in rows.items():
        _, requests = await delete(Server(answers=answers), decision)
        assert deleted(requests) == ({"head", "worker"} if is_deleted else set()), case
        assert bool(requests) is is_deleted, case


async def test_an_error_about_pods_neither_fails_nor_repeats_the_deletion() -> None:
    head, worker, listed = ("DELETE", "head"), ("DELETE", "worker"), ("GET", "pods")
    gone, replaced = not_found("pods", "head"), status_response(409, "the UID differs")
    rows: dict[str, tuple[dict[tuple[str, str], Answer], int, list[type[ApiError]]]] = {
        "a Pod is gone": ({head: gone}, 1, []),
        "a Pod was replaced": ({head: replaced}, 1, []),
        "no right to list": ({listed: NO_RIGHT}, 0, [ForbiddenError]),
        "the list fails": ({listed: IS_BUSY}, 0, [BusyError]),
        "no right to delete": ({head: NO_RIGHT, worker: NO_RIGHT}, 0, [ForbiddenError] * 2),
        "one deletion fails": ({head: IS_BUSY}, 1, [BusyError]),
    }
    for case, (answers, accepted, errors) in rows.items():
        result, _ = await delete(Server(answers=answers))
        assert (result.deleted, result.stopped_by) == ((RAYJOB, CLUSTER), None), case
        assert result.pods == accepted, case
        assert [type(error) for error in result.pod_errors] == errors, case


async def test_pods_are_deleted_a_few_at_a_time() -> None:
    is_full = asyncio.Event()

    async def wait_until_full() -> web.StreamResponse:
        if script.concurrent == pods.MAX_CONCURRENT:
            is_full.set()
        await is_full.wait()
        return json_response({})

    server = Server(MANY, {("DELETE", name_of(body)): wait_until_full for body in MANY})
    async with api(server) as (kubernetes, script):
        result = await pods.delete_pods(kubernetes, CongestionWindow(), CLUSTER)
    assert result == pods.PodDeletions(len(MANY))
    assert script.most_concurrent == pods.MAX_CONCURRENT


async def test_no_pod_is_deleted_after_an_error() -> None:
    server = Server(MANY, {("DELETE", name_of(body)): NO_RIGHT for body in MANY})
    result, requests = await delete(server)
    assert 1 <= len(deleted(requests)) == len(result.pod_errors) <= pods.MAX_CONCURRENT


async def test_an_api_server_that_hangs_delays_a_deletion_for_a_limited_time() -> None:
    for hanging in (("GET", "pods"), ("DELETE", "head")):
        is_over = asyncio.Event()

        async def hang(is_over: asyncio.Event = is_over) -> web.StreamResponse:
            await is_over.wait()
            return json_response({})

        async with api(Server(answers={hanging: hang})) as (kubernetes, _):
            result = await pods.delete_pods(
                kubernetes, CongestionWindow(), CLUSTER, timedelta(seconds=0.2)
            )
            is_over.set()
        (error,) = result.errors
        assert isinstance(error, UnreachableError)
        assert str(error) == "deleting the Pods of RayCluster train-cluster took longer than 0.2s"


async def test_a_replica_that_lost_the_lease_deletes_no_pod() -> None:
    fence = LeaseFence(lambda: timedelta(seconds=1))
    fence.open_always()

    async def lose() -> web.StreamResponse:
        fence.close_lost()
        return json_response({"metadata": {}, "items": [HEAD, WORKER]})

    async with api(Server(answers={("GET", "pods"): lose}), fence=fence) as (kubernetes, script):
        result = await delete_with_pods(kubernetes)
    assert deleted(script.requests) == {"train", "train-cluster"}
    assert {str(error).partition(": ")[2] for error in result.pod_errors} == {
        "not sent: this replica has lost the Lease"
    }


async def test_a_shutdown_waits_for_the_pods_of_a_deletion_in_progress() -> None:
    fence = LeaseFence(lambda: timedelta(seconds=1))
    fence.open_always()
    drained: list[asyncio.Task[bool]] = []

    async def shut_down() -> web.StreamResponse:
        drained.append(asyncio.create_task(fence.drain(timedelta(minutes=1))))
        await asyncio.sleep(0)
        assert len(fence.deletions) == 1
        return json_response({"metadata": {}, "items": [HEAD, WORKER]})

    answers: dict[tuple[str, str], Answer] = {("GET", "pods"): shut_down}
    async with api(Server(answers=answers), fence=fence) as (kubernetes, _):
        result = await asyncio.create_task(delete_with_pods(kubernetes))
        assert await drained[0] is True
    assert result == DeletionResult((RAYJOB, CLUSTER), gone_cluster=CLUSTER, pods=2)


def reported(reporter: Reporter, pods: int, *errors: ApiError, namespace: str = "team-a") -> None:
    """Reports a deletion with these results about its Pods."""
    rayjob = replace(EXPIRED.rayjob, namespace=namespace)
    deletion = DeletionResult((RAYJOB, CLUSTER), pods=pods, pod_errors=errors)
    reporter.report(Pass(rayjob, PAIR, NOTHING, deletion=deletion))


async def test_a_deletion_reports_how_many_pods_it_deleted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "raysweep")
    rows = {
        0: "deleted RayJob train and RayCluster train-cluster in team-a: Expired",
        1: "deleted RayJob train and RayCluster train-cluster and its Pod in team-a: Expired",
        3: "deleted RayJob train and RayCluster train-cluster and its 3 Pods in team-a: Expired",
    }
    for number, text in rows.items():
        caplog.clear()
        metrics = Metrics(counts_pods=True)
        async with api(Server()) as (kubernetes, _):
            reported(Reporter(kubernetes, metrics, lambda: DUE), number)
        (line,) = [line for line in caplog.records if line.name == "raysweep"]
        assert line.getMessage().startswith(text)
        assert line.__dict__["fields"]["pods"] == number
        labels = {"kind": "Pod", "reason": "Expired", "outcome": "succeeded"}
        assert metrics.registry.get_sample_value("raysweep_deletions_total", labels) == number


async def test_why_pods_were_left_is_logged_once_per_cause_and_namespace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "raysweep")
    forbidden = ForbiddenError("GET pods: 403 pods is forbidden", code=403)
    busy = BusyError("GET pods: 503 etcd is slow", code=503)
    prefix = "Pods are left to the garbage collector: GET pods: "
    async with api(Server()) as (kubernetes, _):
        reporter = Reporter(kubernetes, Metrics(), lambda: DUE)
        reported(reporter, 0, forbidden, forbidden)
        reported(reporter, 0, forbidden)
        reported(reporter, 0, busy)
        reported(reporter, 0, forbidden)
        reported(reporter, 0, forbidden, namespace="team-b")
        reported(reporter, 3)
        reported(reporter, 0, forbidden)
    lines = [line.getMessage() for line in caplog.records if line.name == "raysweep"]
    logged = [line.removeprefix(prefix) for line in lines]
    assert logged == [
        "403 pods is forbidden",
        "503 etcd is slow",
        "403 pods is forbidden",
        "403 pods is forbidden",
    ]


def test_the_rights_to_pods_are_required_only_with_the_setting() -> None:
    in_a, in_b = ({"namespace": name} for name in ("team-a", "team-b"))
    rows: list[tuple[dict[str, str], set[Right]]] = [
        ({}, set()),
        ({"delete_pods": "true"}, {Right("list", "", "pods"), Right("delete", "", "pods")}),
        (
            {"delete_pods": "true", "namespaces": "team-a,team-b"},
            {
                Right(verb, "", "pods", **place)
                for verb in ("list", "delete")
                for place in (in_a, in_b)
            },
        ),
    ]
    for flags, rights in rows:
        assert set(preflight.pod_rights(load(flags))) == rights, flags


async def test_the_preflight_names_a_missing_right_to_pods() -> None:
    async def review(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            plurals = [{"name": "rayjobs"}, {"name": "rayclusters"}]
            identity = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "ray.io/v1"}
            return json_response(identity | {"resources": plurals})
        attributes = json.loads(await request.read())["spec"]["resourceAttributes"]
        is_allowed = (attributes["resource"], attributes["verb"]) != ("pods", "delete")
        return json_response({"status": {"allowed": is_allowed}})

    async with scripted(Kubernetes, review) as (kubernetes, script):
        assert await preflight.missing(kubernetes, load({}), None) is None
        asked = {str(request.body) for request in script.requests if request.body}
        assert not any("pods" in body for body in asked)
        problem = await preflight.missing(kubernetes, load({"delete_pods": "true"}), None)
    assert problem == (
        "the service account has no permission to delete pods: add the rule of "
        "docs/how-to/install.md, or turn the deletion of Pods off (delete-pods false)"
    )
