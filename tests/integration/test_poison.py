"""A RayJob with invalid or unreadable values delays only itself."""

import pytest

from tests.support.operator_process import Operator
from tests.support.workbench import Body, Lab

pytestmark = pytest.mark.every_kuberay_version

DUE = {"raysweep.io/ttl": "0"}
INVALID_TTLS = [
    "99999999999999999999999999",
    "999999999999w",
    "1e9",
    "-5",
    "36525d1s",
    "PT5M",
    "\u0665",
    "1h30",
    "0x10",
    "",
    " 5",
]
UNREADABLE: list[tuple[str, Body]] = [
    ("jobDeploymentStatus", {"jobDeploymentStatus": 5}),
    ("jobStatus", {"jobStatus": ["SUCCEEDED"]}),
    ("jobId", {"jobId": {"a": "b"}}),
    ("rayClusterName", {"rayClusterName": 7}),
    ("rayClusterName", {"rayClusterName": "../../default/other"}),
    ("endTime", {"endTime": "yesterday"}),
    ("endTime", {"endTime": "9999-99-99T99:99:99Z"}),
    ("endTime", {"endTime": 12345}),
    ("rayJobInfo", {"rayJobInfo": "none"}),
    ("rayJobInfo.endTime", {"rayJobInfo": {"endTime": True}}),
    ("reason", {"reason": 1.5}),
]
"""The path of the field in the status, and a status with an unreadable value there."""


async def expect_healthy_job_deleted(lab: Lab) -> None:
    await lab.create_finished("healthy", annotations=DUE)
    await lab.expect_deleted("rayjobs", "healthy")
    await lab.expect_deleted("rayclusters", "healthy-c")


async def test_invalid_ttls_keep_their_rayjobs_and_no_others(lab: Lab) -> None:
    names = [f"poison-{number}" for number in range(len(INVALID_TTLS))]
    for name, ttl in zip(names, INVALID_TTLS, strict=True):
        await lab.create_finished(name, annotations={"raysweep.io/ttl": ttl})

    await expect_healthy_job_deleted(lab)

    for name, ttl in zip(names, INVALID_TTLS, strict=True):
        note = await lab.expect_event(name, "Invalid")
        assert "raysweep.io/ttl" in note, (ttl, note)
    expected = {f"rayjobs/{name}" for name in names} | {f"rayclusters/{name}-c" for name in names}
    assert await lab.remaining() == expected


async def test_unreadable_statuses_keep_their_rayjobs_and_no_others(lab: Lab) -> None:
    """KubeRay's CRDs reject most of these values. Those that they accept must do no harm."""
    names = [f"poison-{number}" for number in range(len(UNREADABLE))]
    accepted: dict[str, str] = {}
    for name, (field, status) in zip(names, UNREADABLE, strict=True):
        running = {"jobDeploymentStatus": "Running"}
        await lab.create_finished(name, annotations=DUE, status=running)
        if await lab.try_status(name, {"jobDeploymentStatus": "Complete", **status}):
            accepted[name] = field

    await expect_healthy_job_deleted(lab)

    for name, field in accepted.items():
        note = await lab.expect_event(name, "Unreadable")
        assert f"status.{field}" in note, (field, note)
    expected = {f"rayjobs/{name}" for name in names} | {f"rayclusters/{name}-c" for name in names}
    assert await lab.remaining() == expected


async def test_extreme_values_that_are_readable_cause_no_error(
    lab: Lab, operator: Operator
) -> None:
    errors = await operator.metric("raysweep_internal_errors_total")
    await lab.create_finished(
        "far-future",
        annotations={"raysweep.io/ttl": "36525d"},
        status={"endTime": "9990-01-01T00:00:00Z"},
    )
    await lab.create_finished(
        "no-times",
        annotations={"raysweep.io/ttl": "1h"},
        status={"endTime": None, "startTime": None},
    )
    await lab.create_finished(
        "long-texts",
        annotations={"raysweep.io/ttl": "1h"},
        status={"message": "x" * 100_000, "reason": "y" * 10_000},
    )

    await lab.wait_until_judged()

    expected = {f"rayjobs/{name}" for name in ("far-future", "no-times", "long-texts")}
    assert expected <= await lab.remaining()
    assert await operator.metric("raysweep_internal_errors_total") == errors
