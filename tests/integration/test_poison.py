"""One RayJob that nobody can read or reckon with costs itself its cleaning, and nobody else's."""

import pytest

from tests.support.operator_process import Operator
from tests.support.workbench import Body, Lab

pytestmark = pytest.mark.every_kuberay_version

DUE = {"raysweep.io/ttl": "0"}

OVERFLOWING = [
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


@pytest.mark.parametrize("ttl", [pytest.param(ttl, id=repr(ttl)) for ttl in OVERFLOWING])
async def test_a_ttl_that_is_none_is_malformed_and_the_others_go(lab: Lab, ttl: str) -> None:
    await lab.create_finished("poison", annotations={"raysweep.io/ttl": ttl})
    await lab.create_finished("healthy", annotations=DUE)

    await lab.expect_deleted("rayjobs", "healthy")
    await lab.expect_deleted("rayclusters", "healthy-c")
    note = await lab.expect_event("poison", "Invalid")

    assert "annotation raysweep.io/ttl" in note
    assert "write a number of seconds" in note
    assert await lab.remaining() == {"rayjobs/poison", "rayclusters/poison-c"}


ODD: list[tuple[str, Body]] = [
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


@pytest.mark.parametrize(
    ("place", "status"), [pytest.param(p, s, id=f"{p} {next(iter(s.values()))!r}") for p, s in ODD]
)
async def test_an_odd_status_is_unreadable_and_the_others_go(
    lab: Lab, place: str, status: Body
) -> None:
    """KubeRay's own CRDs refuse most of these; what they, or lenient ones, let through must do no harm."""
    await lab.create_finished("poison", annotations=DUE, status={"jobDeploymentStatus": "Running"})
    accepted = await lab.try_status("poison", {"jobDeploymentStatus": "Complete", **status})
    await lab.create_finished("healthy", annotations=DUE)

    await lab.expect_deleted("rayjobs", "healthy")
    await lab.expect_deleted("rayclusters", "healthy-c")
    if accepted:
        assert f"status.{place}" in await lab.expect_event("poison", "Unreadable")

    assert await lab.remaining() == {"rayjobs/poison", "rayclusters/poison-c"}


async def test_extremes_that_are_readable_do_no_harm(lab: Lab, operator: Operator) -> None:
    before = await operator.metric("raysweep_internal_errors_total")
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
        "long-words",
        annotations={"raysweep.io/ttl": "1h"},
        status={"message": "x" * 100_000, "reason": "y" * 10_000},
    )

    await lab.wait_until_judged()

    assert {
        f"rayjobs/{name}" for name in ("far-future", "no-times", "long-words")
    } <= await lab.remaining()
    assert await operator.metric("raysweep_internal_errors_total") == before
