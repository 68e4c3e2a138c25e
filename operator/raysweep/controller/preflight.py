"""Checks at startup that the CRDs exist and the permissions are granted. It changes nothing."""

from dataclasses import replace

from raysweep import names
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.clients.kubernetes.leases import LeaseName
from raysweep.clients.kubernetes.rights import Right
from raysweep.core.text import plain
from raysweep.settings import HeadAccess, Settings

IN_NAMESPACES = (
    Right("list", names.RAY_GROUP, names.RAYJOBS),
    Right("watch", names.RAY_GROUP, names.RAYJOBS),
    Right("get", names.RAY_GROUP, names.RAYJOBS),
    Right("delete", names.RAY_GROUP, names.RAYJOBS),
    Right("patch", names.RAY_GROUP, names.RAYJOBS),
    Right("list", names.RAY_GROUP, names.RAYCLUSTERS),
    Right("get", names.RAY_GROUP, names.RAYCLUSTERS),
    Right("delete", names.RAY_GROUP, names.RAYCLUSTERS),
    Right("create", "events.k8s.io", "events"),
)
"""In the whole cluster, or in each namespace of the setting `namespaces`."""
RIGHTS = (
    *IN_NAMESPACES,
    Right("list", "", "namespaces"),
    Right("watch", "", "namespaces"),
    Right("get", "", "namespaces"),
    Right("list", names.POLICY_GROUP, names.POLICIES),
    Right("watch", names.POLICY_GROUP, names.POLICIES),
    Right("patch", names.POLICY_GROUP, names.POLICIES, "status"),
)
"""Exactly what deploy/ grants. A test compares the two with each other and with the audit log."""
POD_RIGHTS = (Right("list", "", names.PODS), Right("delete", "", names.PODS))
"""Only if Pods of deleted RayClusters are deleted (delete_pods)."""
PROXY_RIGHT = Right("get", "", "services", "proxy")
"""Only if heads are probed through the API server."""


def lease_rights(lease: LeaseName) -> tuple[Right, ...]:
    """Only with leader election. RBAC cannot limit `create` to one name."""
    create = Right("create", names.LEASE_GROUP, names.LEASES, namespace=lease.namespace)
    return (create, *(replace(create, verb=verb, name=lease.name) for verb in ("get", "update")))


async def missing(
    kubernetes: Kubernetes, settings: Settings, lease: LeaseName | None
) -> str | None:
    """What is missing, with its remedy. None if nothing is.

    lease: the Lease of the leader election. None if that is off.
    """
    try:
        return (
            await _missing_crd(kubernetes)
            or await _missing_permission(kubernetes, settings)
            or await _missing_pod_permission(kubernetes, settings)
            or await _missing_lease_permission(kubernetes, lease)
        )
    except ApiError as error:
        return f"no answer from the API server: {plain(error)}"


async def _missing_crd(kubernetes: Kubernetes) -> str | None:
    for plural in (names.RAYJOBS, names.RAYCLUSTERS):
        if not await kubernetes.serves(f"{names.RAY_GROUP}/{names.RAY_VERSION}", plural):
            return f"the CRD {plural}.{names.RAY_GROUP} is not installed: install KubeRay"
    return None


def required(settings: Settings) -> tuple[Right, ...]:
    """What must be granted in the cluster, or in each namespace of the setting `namespaces`."""
    proxy = (PROXY_RIGHT,) if settings.head_access is HeadAccess.API_SERVER else ()
    if not settings.namespaces:
        return (*RIGHTS, *proxy)
    namespace = (Right("get", "", "namespaces"),) if settings.read_namespaces else ()
    return _in_namespaces((*IN_NAMESPACES, *proxy, *namespace), settings)


def pod_rights(settings: Settings) -> tuple[Right, ...]:
    """What must be granted in addition if `delete_pods` is on."""
    if not settings.delete_pods:
        return ()
    return _in_namespaces(POD_RIGHTS, settings) if settings.namespaces else POD_RIGHTS


def _in_namespaces(rights: tuple[Right, ...], settings: Settings) -> tuple[Right, ...]:
    return tuple(
        replace(right, namespace=name) for name in sorted(settings.namespaces) for right in rights
    )


async def _missing_permission(kubernetes: Kubernetes, settings: Settings) -> str | None:
    denied = await _denied(kubernetes, required(settings))
    if not denied:
        return None
    role = "the ClusterRole in deploy/manifests"
    if settings.namespaces:
        role = "the Role of docs/how-to/install.md in each namespace"
    return f"the service account has no permission to {denied}: apply {role}"


async def _missing_pod_permission(kubernetes: Kubernetes, settings: Settings) -> str | None:
    denied = await _denied(kubernetes, pod_rights(settings))
    if not denied:
        return None
    return (
        f"the service account has no permission to {denied}: add the rule of "
        "docs/how-to/install.md, or turn the deletion of Pods off (delete-pods false)"
    )


async def _missing_lease_permission(kubernetes: Kubernetes, lease: LeaseName | None) -> str | None:
    denied = await _denied(kubernetes, lease_rights(lease)) if lease else ""
    if not denied:
        return None
    return (
        f"the service account has no permission to {denied}: apply the Role in deploy/manifests, "
        "or turn leader election off if this is the only replica (leader-election false)"
    )


async def _denied(kubernetes: Kubernetes, rights: tuple[Right, ...]) -> str:
    return ", ".join([str(right) for right in rights if not await kubernetes.is_allowed(right)])
