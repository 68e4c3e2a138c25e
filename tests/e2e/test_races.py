"""Changes between decision and deletion, and a SIGKILL between the two deletions."""

import asyncio
from pathlib import Path

from aiohttp import web

from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.network_faults import Gateway, Relay, through
from tests.support.operator_process import Operator, running_operator
from tests.support.person import Person
from tests.support.workbench import Lab, utc_now

IDLE_CONNECTIONS_END_AFTER = 17
"""After 15 s aiohttp closes idle connections. A freeze does not affect later connections."""
SELDOM = "10m"
"""How often policies are read: nothing is asked in between, so connections do become idle."""


async def until_deletion_was_refused(lab: Lab) -> None:
    async def is_refused() -> bool:
        return [
            e["responseStatus"]["code"]
            for e in await lab.requests("train")
            if e["verb"] == "delete"
        ] == [409]

    await until(is_refused, timeout=60)


async def a_due_rayjob_behind_frozen_watches(lab: Lab, relay: Relay, **annotations: str) -> None:
    """Waits until the deletion is next, while the watches of the operator are stalled."""
    await lab.create_finished(
        "train", ended_at=utc_now(), annotations=annotations or {"raysweep.io/ttl": "25s"}
    )
    await asyncio.sleep(IDLE_CONNECTIONS_END_AFTER)
    relay.freeze_open_connections()


async def test_a_ttl_that_changes_before_the_deletion_counts(
    quiet_lab: Lab, cluster: Cluster, kubeconfig: Path
) -> None:
    async with (
        Relay.to(cluster.server) as relay,
        running_operator(cluster, through(relay, kubeconfig), policies_every=SELDOM) as operator,
    ):
        await a_due_rayjob_behind_frozen_watches(quiet_lab, relay)
        await quiet_lab.annotate("train", {"raysweep.io/ttl": "1d"})

        await until_deletion_was_refused(quiet_lab)
        await until(lambda: _kept_as(operator, "NotDue"), timeout=90)

    assert await quiet_lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}


async def test_a_hold_that_is_set_before_the_deletion_of_the_cluster_counts(
    quiet_lab: Lab, cluster: Cluster, kubeconfig: Path
) -> None:
    person = Person(cluster.kubeconfig, cluster.kubectl, quiet_lab.namespace)
    cluster_first = {"raysweep.io/ttl": "1d", "raysweep.io/cluster-ttl": "25s"}
    async with (
        Relay.to(cluster.server) as relay,
        running_operator(cluster, through(relay, kubeconfig), policies_every=SELDOM) as operator,
    ):
        await a_due_rayjob_behind_frozen_watches(quiet_lab, relay, **cluster_first)
        kept = await person.types("raysweep", "keep", "train", "3d", "-n", quiet_lab.namespace)
        assert kept.code == 0, kept.err

        await until(lambda: _kept_as(operator, "KeptByUser"), timeout=60)

    read = [event for event in await quiet_lab.requests("train") if event["verb"] == "get"]
    assert {"rayjobs", "rayclusters"} == {event["objectRef"]["resource"] for event in read}
    assert await quiet_lab.requested("train", "delete") == []
    assert await quiet_lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}


async def test_a_new_rayjob_of_the_same_name_is_not_deleted(
    quiet_lab: Lab, cluster: Cluster, kubeconfig: Path
) -> None:
    async with (
        Relay.to(cluster.server) as relay,
        running_operator(cluster, through(relay, kubeconfig), policies_every=SELDOM),
    ):
        await a_due_rayjob_behind_frozen_watches(quiet_lab, relay)
        await cluster.api.request("DELETE", quiet_lab.path("rayjobs", "train"))
        await quiet_lab.expect_deleted("rayclusters", "train-c")
        namesake = await quiet_lab.create("train", annotations={"raysweep.io/ttl": "1d"})
        await quiet_lab.create_cluster(namesake, "train-new")

        await until_deletion_was_refused(quiet_lab)

    there = await quiet_lab.get("rayjobs", "train")
    assert there is not None
    assert there["metadata"]["uid"] == namesake["metadata"]["uid"]
    assert await quiet_lab.remaining() == {"rayjobs/train", "rayclusters/train-new"}


async def test_after_a_sigkill_between_the_two_deletions_the_second_follows(
    quiet_lab: Lab, cluster: Cluster, kubeconfig: Path
) -> None:
    """Without KubeRay the finalizer stays, and with it the RayCluster and its GPUs."""
    lab = quiet_lab
    second = ("DELETE", lab.path("rayclusters", "train-c"))

    def late(request: web.Request) -> float:
        return 3600 if (request.method, request.path) == second else 0

    async with (
        Gateway.before(kubeconfig, late=late) as (_, detour),
        running_operator(cluster, detour, policies_every=SELDOM) as operator,
    ):
        finalizers = {"finalizers": ["ray.io/rayjob-finalizer"]}
        await lab.create_finished(
            "train", annotations={"raysweep.io/ttl": "0"}, metadata=finalizers
        )

        async def is_being_deleted() -> bool:
            rayjob = await lab.get("rayjobs", "train")
            return bool(rayjob and "deletionTimestamp" in rayjob["metadata"])

        await until(is_being_deleted, timeout=90)
        await operator.kill()
    assert "rayclusters/train-c" in await lab.remaining()

    async with running_operator(cluster, kubeconfig):
        await lab.expect_deleted("rayclusters", "train-c")
        await lab.expect_event("train", "DeletionUnfinished")

    rayjob = await lab.get("rayjobs", "train")
    assert rayjob is not None
    assert rayjob["metadata"]["finalizers"] == ["ray.io/rayjob-finalizer"]
    await cluster.api.patch(lab.path("rayjobs", "train"), {"metadata": {"finalizers": None}})


async def _kept_as(operator: Operator, reason: str) -> bool:
    return await operator.metric("raysweep_rayjobs", reason=reason) == 1
