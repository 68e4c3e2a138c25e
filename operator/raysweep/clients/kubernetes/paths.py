"""Paths of the resources that Raysweep reads and writes on the API server."""

from raysweep import names
from raysweep.clients.kubernetes.leases import LeaseName

NAMESPACES = "/api/v1/namespaces"
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
POLICIES = f"/apis/{names.POLICY_GROUP}/{names.POLICY_VERSION}/{names.POLICIES}"
RAY = f"/apis/{names.RAY_GROUP}/{names.RAY_VERSION}"
_PLURALS = {"RayJob": names.RAYJOBS, "RayCluster": names.RAYCLUSTERS}


def rayjobs_path(namespace: str = "") -> str:
    """The list of RayJobs in one namespace, or in all if it is empty."""
    return _list_path(namespace, names.RAYJOBS)


def rayclusters_path(namespace: str = "") -> str:
    """The list of RayClusters in one namespace, or in all if it is empty."""
    return _list_path(namespace, names.RAYCLUSTERS)


def ray_object_path(kind: str, namespace: str, name: str) -> str:
    """One RayJob or RayCluster."""
    return f"{_list_path(namespace, _PLURALS[kind])}/{name}"


def rayjob_path(namespace: str, name: str) -> str:
    """One RayJob."""
    return ray_object_path("RayJob", namespace, name)


def core_path(namespace: str, plural: str, name: str) -> str:
    """One object of the core group, such as a Service."""
    return f"{NAMESPACES}/{namespace}/{plural}/{name}"


def pods_path(namespace: str) -> str:
    """The list of Pods in one namespace."""
    return f"{NAMESPACES}/{namespace}/{names.PODS}"


def events_path(namespace: str) -> str:
    """The Events of one namespace."""
    return f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"


def leases_path(namespace: str) -> str:
    """The Leases of one namespace."""
    return f"/apis/{names.LEASE_GROUP}/v1/namespaces/{namespace}/{names.LEASES}"


def lease_path(lease: LeaseName) -> str:
    """One Lease."""
    return f"{leases_path(lease.namespace)}/{lease.name}"


def _list_path(namespace: str, plural: str) -> str:
    return f"{RAY}/namespaces/{namespace}/{plural}" if namespace else f"{RAY}/{plural}"
