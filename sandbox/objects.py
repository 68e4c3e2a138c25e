"""The Service and the Pod of a head without a RayCluster."""

from sandbox.pods import CLUSTER_LABEL, HEAD, NODE_TYPE, Body


def head_service(name: str) -> Body:
    return {
        "metadata": {"name": name, "labels": _labels(name)},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": _labels(name),
            "ports": [{"name": "dashboard", "port": 8265, "protocol": "TCP"}],
        },
    }


def head_pod(service: str, head: str) -> Body:
    """A head Pod behind that Service. `head` chooses the head that the kubelet runs for it."""
    return {
        "metadata": {
            "name": f"{service}-pod",
            "labels": _labels(service),
            "annotations": {HEAD: head},
        },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [{"name": "ray-head", "image": "sandbox"}],
        },
    }


def _labels(service: str) -> dict[str, str]:
    return {CLUSTER_LABEL: service, NODE_TYPE: "head"}
