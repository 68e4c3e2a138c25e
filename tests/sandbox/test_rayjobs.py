"""Tables of KubeRay's cleanup, of deadlines and of the resources of RayClusters."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox import objects, rayjobs

END = datetime(2026, 11, 22, 12, tzinfo=UTC)
SHUTDOWN = {"shutdownAfterJobFinishes": True, "ttlSecondsAfterFinished": 10}


def rules(*given: tuple[str, str, str, int]) -> dict[str, Any]:
    listed = [
        {"condition": {field: value, "ttlSeconds": ttl}, "policy": policy}
        for field, value, policy, ttl in given
    ]
    return {"deletionStrategy": {"deletionRules": listed}}


TWO_STEPS = rules(
    ("jobStatus", "FAILED", "DeleteCluster", 5), ("jobDeploymentStatus", "Failed", "DeleteSelf", 60)
)


@pytest.mark.parametrize(
    ("why", "spec", "job_status", "seconds", "answer"),
    [
        ("nothing is asked for", {}, "FAILED", 1e6, ("DeleteNone", None)),
        ("the TTL has not passed", SHUTDOWN, "FAILED", 9, ("DeleteNone", 3)),
        ("KubeRay looks 2 s late", SHUTDOWN, "FAILED", 11.5, ("DeleteNone", 0.5)),
        ("the TTL has passed", SHUTDOWN, "FAILED", 12, ("DeleteCluster", None)),
        (
            "a selected cluster is never deleted",
            SHUTDOWN | {"clusterSelector": {"a": "b"}},
            "FAILED",
            99,
            ("DeleteNone", None),
        ),
        ("the first rule is overdue", TWO_STEPS, "FAILED", 7, ("DeleteCluster", 55)),
        ("both are, the worse one wins", TWO_STEPS, "FAILED", 62, ("DeleteSelf", None)),
        (
            "no rule matches",
            rules(("jobStatus", "SUCCEEDED", "DeleteCluster", 0)),
            "FAILED",
            99,
            ("DeleteNone", None),
        ),
        (
            "the rule says none",
            rules(("jobStatus", "FAILED", "DeleteNone", 0)),
            "FAILED",
            99,
            ("DeleteNone", None),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_kuberay_cleanup(
    why: str,
    spec: dict[str, Any],
    job_status: str,
    seconds: float,
    answer: tuple[str, float | None],
) -> None:
    status = {
        "jobStatus": job_status,
        "jobDeploymentStatus": "Failed",
        "endTime": objects.timestamp(END),
    }
    assert (
        rayjobs.kuberay_cleanup({"spec": spec, "status": status}, END + timedelta(seconds=seconds))
        == answer
    )


@pytest.mark.parametrize(
    ("field", "stage", "seconds", "reason"),
    [
        ("activeDeadlineSeconds", "Initializing", 9, None),
        ("activeDeadlineSeconds", "Initializing", 10, "DeadlineExceeded"),
        ("activeDeadlineSeconds", "Running", 10, "DeadlineExceeded"),
        ("activeDeadlineSeconds", "Waiting", 99, None),
        ("preRunningDeadlineSeconds", "Initializing", 10, "PreRunningDeadlineExceeded"),
        ("preRunningDeadlineSeconds", "Waiting", 10, "PreRunningDeadlineExceeded"),
        ("preRunningDeadlineSeconds", "Running", 99, None),
    ],
)
def test_deadlines(field: str, stage: str, seconds: int, reason: str | None) -> None:
    status = {"jobDeploymentStatus": stage, "startTime": objects.timestamp(END), "failed": 0}
    after = rayjobs.deadline(
        {"spec": {field: 10}, "status": status}, END + timedelta(seconds=seconds)
    )
    assert (after and after["reason"]) == reason


def group(replicas: int, **limits: str) -> dict[str, Any]:
    return {
        "replicas": replicas,
        "template": {"spec": {"containers": [{"resources": {"limits": limits}}]}},
    }


@pytest.mark.parametrize(
    ("head", "workers", "cpu", "memory", "gpu"),
    [
        ({}, [], "0", "0", "0"),
        ({"cpu": "1", "memory": "2Gi"}, [], "1", "2Gi", "0"),
        (
            {"cpu": "500m", "memory": "200Mi"},
            [group(3, cpu="1", memory="1Gi")],
            "3500m",
            "3272Mi",
            "0",
        ),
        ({"cpu": "1"}, [group(2, **{"nvidia.com/gpu": "4"})], "1", "0", "8"),
    ],
)
def test_the_desired_resources_of_a_cluster(
    head: dict[str, str], workers: list[Any], cpu: str, memory: str, gpu: str
) -> None:
    asked = objects.desired({"headGroupSpec": group(1, **head), "workerGroupSpecs": workers})
    assert asked == {
        "desiredCPU": cpu,
        "desiredMemory": memory,
        "desiredGPU": gpu,
        "desiredTPU": "0",
    }
