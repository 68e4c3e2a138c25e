"""Statuses that mislead: real heads that end or hang, and a KubeRay that is down."""

import functools
from datetime import datetime
from pathlib import Path

from sandbox.cluster import Cluster
from sandbox.kuberay import KubeRay
from sandbox.waiting import until
from tests.support.operator_process import Operator, running_operator
from tests.support.real_jobs import RUNS_ON, cluster_name, reaches, stage
from tests.support.workbench import Lab, rfc3339, utc_now

SOON = {"sandbox/head": "full", "raysweep.io/ttl": "0"}
IMPATIENT = functools.partial(
    running_operator, silent_probe_after="1s", silent_probe_at_most="1s", unconfirmed_after="4s"
)


async def test_a_job_that_ended_while_kuberay_was_down_is_deleted_as_unreported(
    lab: Lab, cluster: Cluster, kuberay: KubeRay, kubeconfig: Path
) -> None:
    await lab.create(
        "train", annotations=SOON, spec={"entrypoint": "python -c 'import time; time.sleep(6)'"}
    )
    await reaches(lab, "train", ("Running", "RUNNING"))
    await kuberay.stop()
    try:
        async with running_operator(
            cluster,
            kubeconfig,
            unchanged_after="3s",
            unreported_after="3s",
            status_probe_after="2s",
        ):
            await lab.expect_deleted("rayclusters", await cluster_name(lab, "train"), timeout=60)
            note = await lab.expect_event("train", "FinishedUnreported")
    finally:
        await kuberay.start()

    assert "succeeded" in note
    await lab.expect_deleted("rayjobs", "train")  # KubeRay is back and takes its finalizer off


async def test_a_cluster_that_kuberay_did_not_delete_is_deleted(
    lab: Lab, cluster: Cluster, kuberay: KubeRay, kubeconfig: Path
) -> None:
    annotations = {"sandbox/head": "full", "raysweep.io/ttl": "1d", "raysweep.io/cluster-ttl": "0"}
    spec = {"entrypoint": "true", "shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 5}
    await lab.create("train", annotations=annotations, spec=spec)
    await reaches(lab, "train", ("Complete", "SUCCEEDED"))
    await kuberay.stop()
    try:
        async with running_operator(cluster, kubeconfig, kuberay_grace="3s"):
            await lab.expect_deleted("rayclusters", await cluster_name(lab, "train"), timeout=60)
            await lab.expect_event("train", "KubeRayCleanupMissed")
    finally:
        await kuberay.start()

    assert await lab.remaining() == {"rayjobs/train"}
    assert await stage(lab, "train") == ("Complete", "SUCCEEDED")


async def test_a_suspended_job_is_kept_and_deleted_after_it_was_resumed_and_ended(
    lab: Lab, quiet_lab: Lab, operator: Operator
) -> None:
    spec = {
        "entrypoint": "python -c 'import time; time.sleep(5)'",
        "shutdownAfterJobFinishes": True,
    }
    await lab.create("train", annotations=SOON, spec=spec)
    await reaches(lab, "train", ("Running", "RUNNING"))
    await lab.cluster.api.patch(lab.path("rayjobs", "train"), {"spec": {"suspend": True}})
    await reaches(lab, "train", ("Suspended", ""))
    await quiet_lab.wait_until_judged()
    assert await lab.requested("train", "delete") == []
    assert await lab.remaining() == {"rayjobs/train"}

    resumed_at = utc_now()
    await lab.cluster.api.patch(lab.path("rayjobs", "train"), {"spec": {"suspend": False}})

    await lab.expect_deleted("rayjobs", "train", timeout=150)
    await lab.expect_event("train", "Expired")
    told = next(line for line in operator.log() if "deleted" in line and line["name"] == "train")
    assert datetime.fromisoformat(told["finished_at"]) > resumed_at


async def test_with_a_hanging_head_an_earlier_report_of_the_end_counts(
    lab: Lab, cluster: Cluster, kubeconfig: Path
) -> None:
    annotations = {"sandbox/head": "full", "raysweep.io/ttl": "6s"}
    await lab.create("train", annotations=annotations, spec={"entrypoint": "true"})
    await reaches(lab, "train", ("Complete", "SUCCEEDED"))
    cluster.heads[f"{lab.namespace}/{await cluster_name(lab, 'train')}"].suspend()

    async with IMPATIENT(cluster, kubeconfig):
        await lab.expect_event("train", "HeadUnreachable")
        await lab.expect_deleted("rayjobs", "train", timeout=60)

    assert "succeeded" in await lab.expect_event("train", "Unconfirmed")


async def test_with_a_hanging_head_and_without_a_reported_end_it_is_kept(
    quiet_lab: Lab, cluster: Cluster, kubeconfig: Path
) -> None:
    head = await cluster.heads.light(f"hangs-{quiet_lab.namespace}")
    status = {"jobStatus": "RUNNING", "reason": "SubmissionFailed"}
    await quiet_lab.create_finished(
        "train", outcome="FAILED", annotations=SOON, head=head, head_status="RUNNING", status=status
    )
    head.suspend()

    async with IMPATIENT(cluster, kubeconfig) as operator:
        await quiet_lab.expect_event("train", "HeadUnreachable", timeout=60)

        async def is_asked_often() -> bool:
            return await operator.metric("raysweep_head_probes_total", answer="unreachable") >= 3

        await until(is_asked_often, timeout=200)

    assert await quiet_lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}
    head.resume()
    await head.stop()


async def test_when_all_heads_are_silent_nothing_is_deleted(
    quiet_lab: Lab, cluster: Cluster, kubeconfig: Path
) -> None:
    ended = rfc3339(utc_now())
    names = [f"job-{number}" for number in range(12)]
    for name in names:
        await quiet_lab.create_finished(
            name, annotations=SOON, status={"rayJobInfo": {"endTime": ended}}
        )
        cluster.heads.route(quiet_lab.namespace, f"{name}-c-head-svc", None)

    async with IMPATIENT(cluster, kubeconfig) as operator:
        await until(lambda: _stands_at(operator, "HeadsUnreachable", len(names)), timeout=90)
        assert len(await quiet_lab.remaining()) == 2 * len(names)
        for name in names[:9]:  # most answer again: then the few that do not are their own fault
            cluster.heads.route(quiet_lab.namespace, f"{name}-c-head-svc", quiet_lab.head)
        await quiet_lab.expect_deleted("rayjobs", names[0], timeout=60)


async def test_a_running_job_is_probed_and_kept(
    lab: Lab, cluster: Cluster, kubeconfig: Path
) -> None:
    await lab.create("train", annotations=SOON, spec={"entrypoint": RUNS_ON})
    await reaches(lab, "train", ("Running", "RUNNING"))

    async with running_operator(
        cluster, kubeconfig, unchanged_after="2s", unreported_after="1s", status_probe_after="1s"
    ) as operator:

        async def is_polled() -> bool:
            return await operator.metric("raysweep_head_probes_total", answer="answered") >= 3

        await until(is_polled, timeout=60)

    assert {one.split("/")[0] for one in await lab.remaining()} == {"rayjobs", "rayclusters"}
    assert await lab.requests("train") == []  # a poll costs no API request


async def _stands_at(operator: Operator, reason: str, wanted: int) -> bool:
    return await operator.metric("raysweep_rayjobs", reason=reason) == wanted
