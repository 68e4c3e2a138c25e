"""The operator behind a gateway that responds itself, and with unusual objects and Services."""

import functools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio
from aiohttp import web

from sandbox import cluster as sandbox_cluster
from sandbox.cluster import Cluster
from sandbox.heads import Head
from sandbox.waiting import until
from tests.support.network_faults import Gateway, not_found_page
from tests.support.operator_process import POLICIES, deploy, running_operator, wait_for_policy_crd
from tests.support.person import Person
from tests.support.workbench import Body, Lab, rfc3339, utc_now

DUE = {"raysweep.io/ttl": "0"}
YEAR_0: Body = {
    "managedFields": [
        {
            "manager": "somebody",
            "operation": "Update",
            "apiVersion": "ray.io/v1",
            "time": "0000-01-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": {"f:somebody": {}}}},
        }
    ]
}
SOON = functools.partial(
    running_operator, relist_every="5s", bulk_expiry_wait="2s", kuberay_grace="3s"
)


@dataclass
class World:
    """A sandbox for this module, the kubeconfig of its operator, and a namespace."""

    cluster: Cluster
    kubeconfig: Path
    lab: Lab

    def person(self) -> Person:
        where = {"RAYSWEEP_HEAD_PROXY": self.cluster.head_proxy}
        return Person(self.cluster.kubeconfig, self.cluster.kubectl, self.lab.namespace, where)


@pytest_asyncio.fixture(scope="module")
async def alone() -> AsyncIterator[tuple[Cluster, Path, Head]]:
    async with sandbox_cluster.start(say=lambda _: None) as running:
        yield running, await deploy(running), await running.heads.light("quiet")


@pytest_asyncio.fixture
async def world(alone: tuple[Cluster, Path, Head]) -> World:
    cluster, kubeconfig, head = alone
    return World(cluster, kubeconfig, await Lab.open(cluster, head))


def pages(
    times: int, is_meant: Callable[[web.Request], bool]
) -> Callable[[web.Request], web.StreamResponse | None]:
    """Responds to the first requests of a kind with a 404 page."""
    left = times

    def instead(request: web.Request) -> web.StreamResponse | None:
        nonlocal left
        if not left or request.method != "GET" or not is_meant(request):
            return None
        left -= 1
        return not_found_page()

    return instead


async def test_a_404_page_for_the_raycluster_of_a_running_job_deletes_nothing(
    world: World,
) -> None:
    """H7."""
    lab, busy = world.lab, await world.cluster.heads.light("busy")
    page = pages(1, lambda request: request.path == lab.path("rayclusters", "alive-c"))
    async with (
        Gateway.before(world.kubeconfig, page) as (gateway, kubeconfig),
        SOON(world.cluster, kubeconfig),
    ):
        await lab.create_finished("alive", head_status="RUNNING", annotations=DUE, head=busy)
        await lab.expect_event(
            "alive", "StillRunning"
        )  # asked again, the API server tells of the cluster

        assert gateway.answered == [f"GET {lab.path('rayclusters', 'alive-c')}"]
        assert await lab.remaining() == {"rayjobs/alive", "rayclusters/alive-c"}


async def test_a_404_page_for_the_policies_ends_no_dry_run(world: World) -> None:
    """H7b."""
    lab, armed = world.lab, False
    page = pages(
        3, lambda request: armed and request.path == POLICIES and "watch" not in request.query
    )
    await lab.set_policy("stop", {"mode": "DryRun"})
    try:
        async with (
            Gateway.before(world.kubeconfig, page) as (gateway, kubeconfig),
            SOON(world.cluster, kubeconfig) as operator,
        ):
            armed = True
            await lab.create_finished("kept", annotations=DUE)
            await lab.set_policy(
                "stop", {"mode": "DryRun", "priority": 1}
            )  # so that they are listed again

            async def is_answered() -> bool:
                return len(gateway.answered) == 3

            await until(is_answered, timeout=60)
            await operator.wait_for_relist()
            assert await lab.remaining() == {"rayjobs/kept", "rayclusters/kept-c"}
    finally:
        await lab.delete_policy("stop")


async def test_without_the_crd_there_are_no_policies(
    world: World,
) -> None:
    """The API server itself responds with such a page, and its discovery confirms it."""
    lab, crd = (
        world.lab,
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rayjobcleanuppolicies.raysweep.io",
    )
    body = await world.cluster.api.request("GET", crd)
    await world.cluster.api.delete(crd)

    async def is_gone() -> bool:
        return await world.cluster.api.find(POLICIES) is None

    await until(is_gone, timeout=60)
    try:
        async with SOON(world.cluster, world.kubeconfig):
            await lab.create_finished("train", annotations=DUE)
            await lab.expect_deleted("rayjobs", "train")
    finally:
        made = {"apiVersion": body["apiVersion"], "kind": body["kind"], "spec": body["spec"]}
        await world.cluster.api.request(
            "POST", crd.rpartition("/")[0], made | {"metadata": {"name": body["metadata"]["name"]}}
        )
        await wait_for_policy_crd(world.cluster)


async def test_objects_with_the_year_0_affect_only_themselves(
    world: World,
) -> None:
    """They exist before the operator starts, and the command line lists them too."""
    lab = world.lab
    await lab.create_finished("poison", annotations=DUE)
    await lab.create_finished(
        "odd-cluster", annotations=DUE, status={"jobDeploymentStatus": "Running"}
    )
    for plural, name in (("rayjobs", "poison"), ("rayclusters", "odd-cluster-c")):
        found = await lab.get(plural, name)
        assert found is not None
        found["metadata"] |= YEAR_0
        await world.cluster.api.request("PUT", lab.path(plural, name), found)
    times = [
        entry["time"]
        for entry in (await lab.get("rayjobs", "poison") or {})["metadata"]["managedFields"]
    ]
    assert any(time.startswith("0000") for time in times), times
    await lab.set_status("odd-cluster", {"jobDeploymentStatus": "Complete"})

    async with SOON(world.cluster, world.kubeconfig) as operator:
        await lab.create_finished("healthy", annotations=DUE)
        await lab.expect_deleted("rayjobs", "healthy")
        await lab.expect_deleted("rayclusters", "healthy-c")
        assert "metadata.managedFields" in await lab.expect_event("poison", "Unreadable")
        assert "metadata.managedFields" in await lab.expect_event("odd-cluster", "Unreadable")
        await operator.wait_for_relist()
        assert {
            "rayjobs/poison",
            "rayclusters/poison-c",
            "rayjobs/odd-cluster",
        } <= await lab.remaining()
    for words in (
        ("plan", "-A", "--all", "-o", "json"),
        ("sweep", "-A", "--all-finished", "--dry-run", "-o", "json"),
    ):
        answer = await world.person().types("raysweep", *words)
        assert "poison" in answer.out + answer.err, answer
        assert answer.code != 1, answer.err


async def test_the_head_of_a_hanging_submitter_is_probed_at_the_service_of_its_raycluster(
    world: World,
) -> None:
    """The Service has an unusual name, and the usual name does not answer."""
    lab, ended = world.lab, utc_now()
    job = await lab.create("hung", annotations=DUE)
    await lab.create_cluster(job, "hung-c")
    status = {"head": {"serviceName": "my-head"}}
    await world.cluster.api.patch(f"{lab.path('rayclusters', 'hung-c')}/status", {"status": status})
    world.cluster.heads.route(lab.namespace, "hung-c-head-svc", None)
    world.cluster.heads.route(lab.namespace, "my-head", lab.head)
    await lab.head.put_record("hung-id", status="SUCCEEDED", start_time=ended, end_time=ended)
    told = {
        "jobDeploymentStatus": "Running",
        "jobStatus": "RUNNING",
        "jobId": "hung-id",
        "rayClusterName": "hung-c",
    }
    await lab.set_status("hung", told | {"startTime": rfc3339(ended)})

    impatient: dict[str, Any] = {
        "unchanged_after": "2s",
        "unreported_after": "2s",
        "status_probe_after": "1s",
    }
    async with SOON(world.cluster, world.kubeconfig, **impatient):
        await lab.expect_deleted("rayjobs", "hung")
        await lab.expect_event("hung", "FinishedUnreported")

    gets = [what for what, _ in await lab.requested("hung-c", "get")]
    assert len(gets) <= 4  # one for all polls, and those of the deletion
