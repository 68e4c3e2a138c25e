"""RayJobs in a queue of the real Kueue with a quota for one of them."""

from collections.abc import Mapping
from typing import Any

import pytest
import pytest_asyncio

from sandbox.api import ApiError
from sandbox.cluster import Cluster
from sandbox.waiting import until
from tests.support.kueue import QUEUE, create_object, create_queue, used_cpu
from tests.support.operator_process import Operator
from tests.support.real_jobs import reaches
from tests.support.workbench import Lab

Body = dict[str, Any]

pytestmark = pytest.mark.xdist_group("kueue")

SHORT = {"raysweep.io/ttl": "2s"}
RUNS = "python -c 'import time; time.sleep(8)'"
PRIORITY = "kueue.x-k8s.io/priority-class"
PRIORITIES = {"low": 1, "high": 1000}


@pytest_asyncio.fixture
async def lab(cluster: Cluster) -> Lab:
    """A namespace with a queue that has room for one RayJob."""
    is_there = "light" in cluster.heads
    head = cluster.heads["light"] if is_there else await cluster.heads.light("light")
    opened = await Lab.open(cluster, head)
    await create_queue(cluster, opened.namespace, cpu="1")
    return opened


def queued(name: str, **labels: str) -> Body:
    resources = {"requests": {"cpu": "1", "memory": "1Gi"}}
    container = {"name": "ray-head", "image": "rayproject/ray:2.60.0", "resources": resources}
    head = {"rayStartParams": {}, "template": {"spec": {"containers": [container]}}}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {
            "name": name,
            "labels": {"kueue.x-k8s.io/queue-name": QUEUE} | labels,
            "annotations": SHORT,
        },
        "spec": {
            "entrypoint": RUNS,
            "submissionMode": "HTTPMode",
            "shutdownAfterJobFinishes": True,
            "rayClusterSpec": {"headGroupSpec": head},
        },
    }


async def create(lab: Lab, body: Mapping[str, Any]) -> None:
    await lab.cluster.api.request("POST", lab.path("rayjobs"), body)


async def until_used(lab: Lab, cpu: str) -> None:
    async def is_used() -> bool:
        return await used_cpu(lab.cluster, lab.namespace) == cpu

    await until(is_used, timeout=120)


async def is_suspended(lab: Lab, name: str) -> bool:
    rayjob = await lab.get("rayjobs", name)
    return rayjob is not None and rayjob["spec"].get("suspend") is True


async def test_a_rayjob_waits_is_admitted_finishes_and_is_deleted(
    lab: Lab, operator: Operator
) -> None:
    await create(lab, queued("first"))
    await reaches(lab, "first", ("Running", "RUNNING"))
    await create(lab, queued("second"))
    assert await is_suspended(lab, "second")

    await lab.expect_deleted("rayjobs", "first")
    assert await lab.requested("second", "delete") == []
    await reaches(lab, "second", ("Running", "RUNNING"))
    await lab.expect_deleted("rayjobs", "second")
    await until_used(lab, "0")


async def test_a_preempted_rayjob_is_kept_and_admitted_again(lab: Lab, operator: Operator) -> None:
    for name, value in PRIORITIES.items():
        kind = "WorkloadPriorityClass"
        await create_object(lab.cluster, kind, f"{lab.namespace}-{name}", value=value)
    await create(lab, queued("patient", **{PRIORITY: f"{lab.namespace}-low"}))
    await reaches(lab, "patient", ("Running", "RUNNING"))
    await create(lab, queued("urgent", **{PRIORITY: f"{lab.namespace}-high"}))

    await reaches(lab, "patient", ("Suspended", ""))
    await reaches(lab, "urgent", ("Running", "RUNNING"))
    await lab.expect_deleted("rayjobs", "urgent")
    assert await lab.requested("patient", "delete") == []
    await reaches(lab, "patient", ("Running", "RUNNING"))
    await lab.expect_deleted("rayjobs", "patient")
    await until_used(lab, "0")


async def test_kueue_refuses_a_rayjob_that_keeps_its_cluster(lab: Lab) -> None:
    body = queued("train")
    body["spec"]["shutdownAfterJobFinishes"] = False

    with pytest.raises(ApiError, match="shutdownAfterJobFinishes"):
        await create(lab, body)
    assert await lab.remaining() == set()
