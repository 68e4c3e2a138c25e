"""Every check on a real API server: RayJobs that are due at once are kept, with their reason."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import pytest_asyncio

from sandbox.cluster import Cluster
from sandbox.heads import Head
from tests.support.kept_rayjobs import DUE, KEPT_RAYJOBS
from tests.support.operator_process import PROTECTED_NAMESPACE, Operator
from tests.support.workbench import Lab, utc_now

pytestmark = pytest.mark.every_kuberay_version


@pytest_asyncio.fixture(scope="package")
async def busy_head(cluster: Cluster) -> AsyncIterator[Head]:
    """A read-only head with a running job of another submission."""
    head = await cluster.heads.light("busy")
    await head.put_record("somebody-else", status="RUNNING", start_time=utc_now())
    yield head


@pytest.mark.parametrize(
    ("reason", "arrange"),
    [pytest.param(r, a, id=a.__name__.replace("_", " ")) for r, a in KEPT_RAYJOBS],
)
async def test_a_check_keeps_the_rayjob(
    lab: Lab, operator: Operator, reason: str, arrange: Callable[[Lab], Awaitable[None]]
) -> None:
    before = await operator.metric("raysweep_rayjobs", reason=reason)
    await arrange(lab)
    there = await lab.remaining()

    await lab.wait_until_judged()

    assert await lab.remaining() == there
    assert await operator.metric("raysweep_rayjobs", reason=reason) == before + 1
    assert not [
        event for event in await lab.requests("train") if event["verb"] not in ("get", "create")
    ]


async def test_a_protected_namespace_is_kept(cluster: Cluster, head: Head, lab: Lab) -> None:
    protected = await Lab.open(cluster, head, annotations=DUE, name=PROTECTED_NAMESPACE)
    await protected.create_finished("train", annotations=DUE)
    system = replace(lab, namespace="kube-system")
    await system.create_finished("train", annotations=DUE)

    await lab.wait_until_judged()

    for one in (protected, system):
        assert await one.remaining() == {"rayjobs/train", "rayclusters/train-c"}


async def test_a_job_that_the_head_reports_running_is_kept(lab: Lab, busy_head: Head) -> None:
    await lab.create_finished(
        "train", annotations=DUE, outcome="FAILED", head_status="RUNNING", head=busy_head
    )

    note = await lab.expect_event("train", "StillRunning")

    assert "RUNNING" in note
    assert await lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}
    await busy_head.put_record(
        f"{lab.namespace}-train", status="FAILED", start_time=utc_now(), end_time=utc_now()
    )


async def test_a_job_past_its_deadline_is_deleted_while_the_head_reports_running(
    lab: Lab, cluster: Cluster
) -> None:
    own = await cluster.heads.light(f"own-{lab.namespace}")
    status = {"reason": "DeadlineExceeded", "jobStatus": "RUNNING"}
    await lab.create_finished(
        "train", annotations=DUE, outcome="FAILED", head_status="RUNNING", head=own, status=status
    )

    await lab.expect_deleted("rayjobs", "train")
    await own.stop()


async def test_a_cluster_with_another_running_job_is_kept(lab: Lab, busy_head: Head) -> None:
    await lab.create_finished("train", annotations=DUE, head=busy_head)

    note = await lab.expect_event("train", "ClusterInUse")

    assert "somebody-else" in note
    assert "RUNNING" in note
    assert await lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}


async def test_a_cluster_that_an_unfinished_rayjob_selects_is_kept(lab: Lab) -> None:
    await lab.create(
        "guest", spec={"clusterSelector": {"ray.io/cluster": "train-c"}, "rayClusterSpec": None}
    )
    await lab.set_status("guest", {"jobDeploymentStatus": "Running", "rayClusterName": "train-c"})
    await lab.create_finished("train", annotations=DUE)

    note = await lab.expect_event("train", "ClusterInUse")

    assert "RayJob guest" in note
    assert {"rayjobs/train", "rayclusters/train-c"} <= await lab.remaining()


async def test_without_a_job_id_and_with_several_submissions_it_is_kept(lab: Lab) -> None:
    await lab.create_finished("train", annotations=DUE, status={"jobId": None})
    await lab.create_finished(
        "other", annotations={}
    )  # the shared head now knows two submissions at least

    note = await lab.expect_event("train", "Ambiguous")

    assert note
    assert {"rayjobs/train", "rayclusters/train-c"} <= await lab.remaining()


async def test_with_an_unreachable_head_it_is_kept(lab: Lab, cluster: Cluster) -> None:
    rayjob = await lab.create_finished(
        "train", annotations=DUE, with_cluster=False, status={"jobDeploymentStatus": "Running"}
    )
    await lab.create_cluster(rayjob, "train-c")
    cluster.heads.route(lab.namespace, "train-c-head-svc", None)
    await lab.set_status("train", {"jobDeploymentStatus": "Complete"})

    await lab.expect_event("train", "HeadUnreachable")

    assert await lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}


async def test_with_another_owned_cluster_it_is_kept(lab: Lab, operator: Operator) -> None:
    rayjob = await lab.create_finished(
        "train", annotations=DUE, status={"jobDeploymentStatus": "Running"}
    )
    await lab.create_cluster(rayjob, "train-other")
    await operator.wait_for_relist()
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


async def test_a_rayjob_that_is_deleted_with_the_policy_orphan_keeps_its_cluster(
    lab: Lab,
) -> None:
    await lab.create_finished(
        "train",
        annotations=DUE,
        metadata={"finalizers": ["example.com/hold"]},
        status={"jobDeploymentStatus": "Running"},
    )
    await lab.cluster.api.request(
        "DELETE", lab.path("rayjobs", "train"), {"propagationPolicy": "Orphan"}
    )
    await lab.set_status("train", {"jobDeploymentStatus": "Complete"})

    await lab.wait_until_judged()

    cluster = await lab.get("rayclusters", "train-c")
    assert cluster is not None
    assert "deletionTimestamp" not in cluster["metadata"]
    await lab.cluster.api.patch(lab.path("rayjobs", "train"), {"metadata": {"finalizers": None}})


async def test_an_empty_cluster_name_causes_no_get(lab: Lab) -> None:
    await lab.create_finished(
        "train",
        annotations=DUE,
        with_cluster=False,
        head_status=None,
        status={"rayClusterName": ""},
    )

    await lab.expect_deleted("rayjobs", "train")

    assert [
        event["verb"]
        for event in await lab.requests("train")
        if event["objectRef"]["resource"] != "events"
    ] == ["delete"]
