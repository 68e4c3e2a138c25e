"""Every guard on a real API server: due at once by its annotation, and kept all the same, with the reason to be seen."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio

from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.integration.conftest import PROTECTED
from tests.support.workbench import Lab, Operator, utc_now, written

DUE = {"raysweep.io/ttl": "0"}


@pytest_asyncio.fixture(scope="session")
async def busy_head(cluster: Cluster) -> AsyncIterator[Head]:
    """A read-only head on which a job runs that belongs to none of the RayJobs."""
    head = await cluster.heads.light("busy")
    await head.put_record("somebody-else", status="RUNNING", start_time=utc_now())
    yield head


async def suspended(lab: Lab) -> None:
    spec = {"suspend": True, "shutdownAfterJobFinishes": True}
    await lab.finished(
        "train",
        annotations=DUE,
        spec=spec,
        status={"jobDeploymentStatus": "Suspended", "jobStatus": ""},
    )


async def suspended_before_it_ran(lab: Lab) -> None:
    spec = {"suspend": True, "shutdownAfterJobFinishes": True}
    await lab.finished(
        "train",
        annotations=DUE,
        spec=spec,
        status={"jobDeploymentStatus": "Initializing", "jobStatus": ""},
    )


async def managed_by_multikueue(lab: Lab) -> None:
    await lab.finished("train", annotations=DUE, spec={"managedBy": "kueue.x-k8s.io/multikueue"})


async def dispatched_by_multikueue(lab: Lab) -> None:
    await lab.finished(
        "train", annotations=DUE, labels={"kueue.x-k8s.io/multikueue-origin": "manager"}
    )


async def running(lab: Lab) -> None:
    await lab.finished(
        "train",
        annotations=DUE,
        status={"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "endTime": None},
    )


async def retrying(lab: Lab) -> None:
    await lab.finished(
        "train", annotations=DUE, status={"jobDeploymentStatus": "Retrying", "jobStatus": "FAILED"}
    )


async def word_that_nobody_knows(lab: Lab) -> None:
    await lab.finished("train", annotations=DUE, status={"jobDeploymentStatus": "Completed"})


async def malformed_ttl(lab: Lab) -> None:
    await lab.finished("train", annotations={"raysweep.io/ttl": "0 seconds"})


async def unknown_key(lab: Lab) -> None:
    await lab.finished("train", annotations={**DUE, "raysweep.io/ttl-suceeded": "3d"})


async def kept_by_a_user(lab: Lab) -> None:
    until = written(utc_now() + timedelta(hours=1))
    await lab.finished(
        "train",
        annotations={
            **DUE,
            "raysweep.io/keep-until": until,
            "raysweep.io/keep-reason": "debugging",
        },
    )


async def cluster_of_another_owner(lab: Lab) -> None:
    await lab.own_cluster(await lab.create("another"), "train-c")
    await lab.finished("train", annotations=DUE, with_cluster=False)


async def selected_cluster_of_an_unfinished_job(lab: Lab) -> None:
    """KubeRay's finalizer would stop the job."""
    await lab.own_cluster(
        await lab.finished("another", with_cluster=False, recorded=None), "train-c"
    )
    spec, status = (
        {"clusterSelector": {"ray.io/cluster": "train-c"}, "rayClusterSpec": None},
        {"jobStatus": "RUNNING"},
    )
    await lab.finished("train", annotations=DUE, spec=spec, with_cluster=False, status=status)


KEPT: list[tuple[str, Callable[[Lab], Awaitable[None]]]] = [
    ("Suspended", suspended),
    ("Suspended", suspended_before_it_ran),
    ("ManagedElsewhere", managed_by_multikueue),
    ("ManagedElsewhere", dispatched_by_multikueue),
    ("NotFinished", running),
    ("NotFinished", retrying),
    ("NotFinished", word_that_nobody_knows),
    ("Invalid", malformed_ttl),
    ("Invalid", unknown_key),
    ("KeptByUser", kept_by_a_user),
    ("NotOwned", cluster_of_another_owner),
    ("NotFinished", selected_cluster_of_an_unfinished_job),
]


@pytest.mark.parametrize(
    ("reason", "arrange"), [pytest.param(r, a, id=a.__name__.replace("_", " ")) for r, a in KEPT]
)
async def test_it_is_kept(
    lab: Lab, operator: Operator, reason: str, arrange: Callable[[Lab], Awaitable[None]]
) -> None:
    before = await operator.metric("raysweep_rayjobs", reason=reason)
    await arrange(lab)
    there = await lab.remaining()

    await lab.settled()

    assert await lab.remaining() == there
    assert await operator.metric("raysweep_rayjobs", reason=reason) == before + 1
    assert not [
        event for event in await lab.requests("train") if event["verb"] not in ("get", "create")
    ]


async def test_a_protected_namespace_is_kept(cluster: Cluster, head: Head, lab: Lab) -> None:
    protected = await Lab.open(cluster, head, annotations=DUE, name=PROTECTED)
    await protected.finished("train", annotations=DUE)
    system = replace(lab, namespace="kube-system")
    await system.finished("train", annotations=DUE)

    await lab.settled()

    for one in (protected, system):
        assert await one.remaining() == {"rayjobs/train", "rayclusters/train-c"}


async def test_still_running_by_the_heads_word_is_kept_and_told(lab: Lab, busy_head: Head) -> None:
    await lab.finished(
        "train", annotations=DUE, outcome="FAILED", recorded="RUNNING", head=busy_head
    )

    note = await lab.expect_event("train", "StillRunning")

    assert "RUNNING" in note
    assert await lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}
    await busy_head.put_record(
        f"{lab.namespace}-train", status="FAILED", start_time=utc_now(), end_time=utc_now()
    )


async def test_a_deadline_wanted_the_end_though_the_head_goes_on(
    lab: Lab, cluster: Cluster
) -> None:
    own = await cluster.heads.light(f"own-{lab.namespace}")
    status = {"reason": "DeadlineExceeded", "jobStatus": "RUNNING"}
    await lab.finished(
        "train", annotations=DUE, outcome="FAILED", recorded="RUNNING", head=own, status=status
    )

    await lab.expect_gone("rayjobs", "train")
    await own.stop()


async def test_a_cluster_where_another_job_runs_is_kept_and_told(lab: Lab, busy_head: Head) -> None:
    await lab.finished("train", annotations=DUE, head=busy_head)

    note = await lab.expect_event("train", "ClusterInUse")

    assert "'somebody-else' RUNNING" in note
    assert await lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}


async def test_a_cluster_that_an_unfinished_rayjob_selects_is_kept_and_told(lab: Lab) -> None:
    await lab.create(
        "guest", spec={"clusterSelector": {"ray.io/cluster": "train-c"}, "rayClusterSpec": None}
    )
    await lab.set_status("guest", {"jobDeploymentStatus": "Running", "rayClusterName": "train-c"})
    await lab.finished("train", annotations=DUE)

    note = await lab.expect_event("train", "ClusterInUse")

    assert "RayJob guest" in note
    assert {"rayjobs/train", "rayclusters/train-c"} <= await lab.remaining()


async def test_without_an_id_and_with_several_submissions_it_is_kept_and_told(lab: Lab) -> None:
    await lab.finished("train", annotations=DUE, status={"jobId": None})
    await lab.finished(
        "other", annotations={}
    )  # the shared head now knows two submissions at least

    note = await lab.expect_event("train", "Ambiguous")

    assert "submissions" in note
    assert {"rayjobs/train", "rayclusters/train-c"} <= await lab.remaining()


async def test_a_head_that_cannot_be_reached_is_kept_and_told(lab: Lab, cluster: Cluster) -> None:
    rayjob = await lab.finished(
        "train", annotations=DUE, with_cluster=False, status={"jobDeploymentStatus": "Running"}
    )
    await lab.own_cluster(rayjob, "train-c")
    cluster.heads.route(lab.namespace, "train-c-head-svc", None)
    await lab.set_status("train", {"jobDeploymentStatus": "Complete"})

    await lab.expect_event("train", "HeadUnreachable")

    assert await lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}


async def test_an_owned_cluster_other_than_the_named_one_is_kept_and_told(
    lab: Lab, operator: Operator
) -> None:
    rayjob = await lab.finished("train", annotations=DUE, status={"jobDeploymentStatus": "Running"})
    await lab.own_cluster(rayjob, "train-other")
    await operator.relisted()
    await lab.set_status(
        "train", {"jobDeploymentStatus": "Complete", "rayClusterName": "train-other"}
    )

    note = await lab.expect_event("train", "OtherCluster")

    assert "train-c" in note
    assert await lab.remaining() == {
        "rayjobs/train",
        "rayclusters/train-c",
        "rayclusters/train-other",
    }


async def test_a_rayjob_that_is_being_deleted_with_orphans_wanted_keeps_its_cluster(
    lab: Lab,
) -> None:
    await lab.finished(
        "train",
        annotations=DUE,
        metadata={"finalizers": ["example.com/hold"]},
        status={"jobDeploymentStatus": "Running"},
    )
    await lab.cluster.api.request(
        "DELETE", lab.path("rayjobs", "train"), {"propagationPolicy": "Orphan"}
    )
    await lab.set_status("train", {"jobDeploymentStatus": "Complete"})

    await lab.settled()

    cluster = await lab.get("rayclusters", "train-c")
    assert cluster is not None
    assert "deletionTimestamp" not in cluster["metadata"]
    await lab.cluster.api.patch(lab.path("rayjobs", "train"), {"metadata": {"finalizers": None}})


async def test_an_empty_cluster_name_is_no_get(lab: Lab) -> None:
    await lab.finished(
        "train", annotations=DUE, with_cluster=False, recorded=None, status={"rayClusterName": ""}
    )

    await lab.expect_gone("rayjobs", "train")

    assert [
        event["verb"]
        for event in await lab.requests("train")
        if event["objectRef"]["resource"] != "events"
    ] == ["delete"]
