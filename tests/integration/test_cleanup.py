"""Cleanup on a real API server: finished RayJobs are deleted when they are due, and no others."""

from datetime import timedelta

import pytest

from tests.support.workbench import Lab, utc_now

pytestmark = pytest.mark.every_kuberay_version


async def test_rayjob_and_raycluster_are_deleted_after_the_ttl_and_not_before(lab: Lab) -> None:
    ended_at = utc_now()
    await lab.create_finished("train", ended_at=ended_at, annotations={"raysweep.io/ttl": "5"})

    await lab.expect_deleted("rayjobs", "train")
    await lab.expect_deleted("rayclusters", "train-c")
    note = await lab.expect_event("train", "Expired")  # posted last, after both requests

    deletions = await lab.requested("train", "delete")
    assert [resource for resource, _ in deletions] == ["rayjobs", "rayclusters"]
    assert all(at >= ended_at + timedelta(seconds=5) for _, at in deletions)
    assert "RayJob train and RayCluster train-c" in note
    assert "5s" in note


async def test_a_rayjob_without_a_ttl_is_kept(lab: Lab) -> None:
    await lab.create_finished("train", ended_at=utc_now() - timedelta(days=400))

    await lab.wait_until_judged()

    assert await lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}
    assert await lab.events("train") == []


async def test_the_ttl_of_a_rayjob_overrides_the_default_of_its_namespace(lab: Lab) -> None:
    await lab.annotate_namespace({"raysweep.io/ttl": "0", "raysweep.io/ttl-failed": "1d"})
    await lab.create_finished("inherits")
    await lab.create_finished("failed", outcome="FAILED")
    await lab.create_finished("overrides", annotations={"raysweep.io/ttl": "1d"})

    await lab.expect_deleted("rayjobs", "inherits")
    await lab.wait_until_judged()

    assert await lab.remaining() == {
        "rayjobs/failed",
        "rayclusters/failed-c",
        "rayjobs/overrides",
        "rayclusters/overrides-c",
    }


async def test_a_later_default_applies_to_finished_jobs(lab: Lab) -> None:
    await lab.create_finished("train", ended_at=utc_now() - timedelta(seconds=30))
    await lab.wait_until_judged()

    await lab.annotate_namespace({"raysweep.io/ttl": "10s"})

    await lab.expect_deleted("rayjobs", "train")


async def test_cluster_ttl_deletes_only_the_cluster(lab: Lab) -> None:
    await lab.create_finished("train", annotations={"raysweep.io/cluster-ttl": "0"})

    await lab.expect_deleted("rayclusters", "train-c")
    await lab.wait_until_judged()

    assert await lab.remaining() == {"rayjobs/train"}
    await lab.expect_event("train", "Expired")
    requests = [
        (event["verb"], event["objectRef"]["resource"]) for event in await lab.requests("train")
    ]
    assert requests == [
        ("get", "rayclusters"),
        ("get", "rayjobs"),
        ("delete", "rayclusters"),
        ("create", "events"),
    ]


async def test_the_rayjob_is_deleted_at_its_own_time_after_its_cluster(lab: Lab) -> None:
    ended_at = utc_now()
    await lab.create_finished(
        "train",
        ended_at=ended_at,
        annotations={"raysweep.io/cluster-ttl": "0", "raysweep.io/ttl": "6s"},
    )

    await lab.expect_deleted("rayclusters", "train-c")
    assert await lab.remaining() == {"rayjobs/train"}
    await lab.expect_deleted("rayjobs", "train")
    assert len(await lab.events("train")) >= 1

    times = dict(await lab.requested("train", "delete"))
    assert times["rayclusters"] < ended_at + timedelta(seconds=6) <= times["rayjobs"]


async def test_one_deletion_takes_at_most_four_requests(lab: Lab) -> None:
    await lab.create_finished("train", annotations={"raysweep.io/ttl": "2"})

    await lab.expect_deleted("rayjobs", "train")
    await lab.expect_event("train", "Expired")

    requests = [
        (event["verb"], event["objectRef"]["resource"]) for event in await lab.requests("train")
    ]
    assert requests == [
        ("get", "rayclusters"),
        ("delete", "rayjobs"),
        ("delete", "rayclusters"),
        ("create", "events"),
    ]


@pytest.mark.parametrize("outcome", ["SUCCEEDED", "FAILED", "STOPPED"])
async def test_every_outcome_has_its_own_ttl(lab: Lab, outcome: str) -> None:
    times = {f"raysweep.io/ttl-{word}": "1d" for word in ("succeeded", "failed", "stopped")}
    await lab.create_finished(
        "train", outcome=outcome, annotations={**times, f"raysweep.io/ttl-{outcome.lower()}": "0"}
    )

    await lab.expect_deleted("rayjobs", "train")


async def test_the_outcome_of_the_head_with_the_longer_ttl_applies(lab: Lab) -> None:
    annotations = {"raysweep.io/ttl": "0", "raysweep.io/ttl-failed": "1d"}
    await lab.create_finished(
        "train", outcome="SUCCEEDED", head_status="FAILED", annotations=annotations
    )

    await lab.wait_until_judged()

    assert await lab.remaining() == {"rayjobs/train", "rayclusters/train-c"}


async def test_a_job_without_a_record_in_the_head_is_finished(lab: Lab) -> None:
    await lab.create_finished("train", head_status=None, annotations={"raysweep.io/ttl": "0"})

    await lab.expect_deleted("rayjobs", "train")


async def test_a_job_whose_cluster_is_gone_is_finished(lab: Lab) -> None:
    await lab.create_finished(
        "train", with_cluster=False, head_status=None, annotations={"raysweep.io/ttl": "0"}
    )

    await lab.expect_deleted("rayjobs", "train")
