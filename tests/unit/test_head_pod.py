"""What the status of a RayCluster proves about its head Pod."""

from dataclasses import replace
from typing import TYPE_CHECKING

from raysweep.core.head_pod import head_is_gone, head_is_up
from tests.support.assessments import OLD_WITH_HEAD, OLD_WITHOUT_HEAD, READY, UNREADY
from tests.support.builders import a_headless_raycluster, a_raycluster

if TYPE_CHECKING:
    from raysweep.core.model.facts import RayCluster


def test_w1_head_is_gone() -> None:
    gone: dict[str, RayCluster] = {
        "no head Pod": a_headless_raycluster(),
        "a failed Pod": a_headless_raycluster(head_reason="PodFailed"),
        "a completed Pod": a_headless_raycluster(head_reason="PodCompleted"),
        "before KubeRay 1.3, without a head Pod": OLD_WITHOUT_HEAD,
    }
    for name, cluster in gone.items():
        assert head_is_gone(cluster), name


def test_w1_head_is_not_gone() -> None:
    not_gone: dict[str, RayCluster] = {
        "ready": READY,
        "ready and not found": a_headless_raycluster(head_ready=True),
        "a condition of status Unknown": a_headless_raycluster(head_ready=None),
        "before KubeRay 1.3, with a head Pod": OLD_WITH_HEAD,
        "before KubeRay 1.3, without an IP": replace(OLD_WITH_HEAD, head_pod_ip=""),
        "before KubeRay 1.2, with an IP only": replace(OLD_WITH_HEAD, head_pod_name=""),
        "no status, as in a list of metadata": a_raycluster(),
        "fault tolerant": a_headless_raycluster(is_fault_tolerant=True),
        "fault tolerant, before KubeRay 1.3": replace(OLD_WITHOUT_HEAD, is_fault_tolerant=True),
    }
    unready = (
        "ContainersNotReady",
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "OOMKilled",
        "Error",
        "Unknown",
        "",
    )
    not_gone |= {reason: a_headless_raycluster(head_reason=reason) for reason in unready}
    for name, cluster in not_gone.items():
        assert not head_is_gone(cluster), name


def test_w3_head_is_up() -> None:
    rows = (
        ("ready", READY, True),
        ("not ready", UNREADY, False),
        ("not ready, with an IP", replace(UNREADY, head_pod_ip="10.0.0.1"), False),
        ("before KubeRay 1.3, with an IP", OLD_WITH_HEAD, True),
        ("before KubeRay 1.3, without an IP", replace(OLD_WITH_HEAD, head_pod_ip=""), False),
        ("no status", a_raycluster(), False),
    )
    for name, cluster, expected in rows:
        assert head_is_up(cluster) is expected, name
