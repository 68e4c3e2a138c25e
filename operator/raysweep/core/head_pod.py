"""What the status of a RayCluster proves about its head Pod. Pure.

Sources: KubeRay 1.0 to 1.7, utils/util.go (FindHeadPodReadyCondition) and raycluster_controller.go
(calculateStatus).
"""

from raysweep.core.model.facts import RayCluster

GONE = frozenset({"HeadPodNotFound", "PodFailed", "PodCompleted"})
"""Reasons of condition HeadPodReady for a head Pod that does not exist or has ended.

Every other reason is that of an existing Pod or of its first unready container. Ray may run in it.
"""


def head_is_gone(cluster: RayCluster) -> bool:
    """Whether the status proves that no head is left that knows the jobs of this cluster.

    KubeRay up to 1.2 writes no condition HeadPodReady. A status without a head Pod proves it then.
    With GCS fault tolerance nothing proves it, because the next head Pod knows the jobs again.
    """
    if cluster.is_fault_tolerant:
        return False
    if cluster.head_reason is not None:
        return cluster.head_ready is False and cluster.head_reason in GONE
    return cluster.has_status and not cluster.head_pod_name and not cluster.head_pod_ip


def head_is_up(cluster: RayCluster) -> bool:
    """Whether the head Pod is ready. Without condition HeadPodReady, whether it has an IP."""
    if cluster.head_reason is not None:
        return cluster.head_ready is True
    return bool(cluster.head_pod_ip)
