"""What must be there before anything starts: the CRDs, and the rights that the operator uses. It asks; it changes nothing."""

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
"""In every namespace, or in each of the setting `namespaces`."""
RIGHTS = (
    *IN_NAMESPACES,
    Right("list", "", "namespaces"),
    Right("watch", "", "namespaces"),
    Right("get", "", "namespaces"),
    Right("list", names.POLICY_GROUP, names.POLICIES),
    Right("watch", names.POLICY_GROUP, names.POLICIES),
    Right("patch", names.POLICY_GROUP, names.POLICIES, "status"),
)
"""Exactly what deploy/ grants; a test holds the two against each other and against the audit log."""
PROXY_RIGHT = Right("get", "", "services", "proxy")
"""Only where heads are reached through the API server."""


def lease_rights(lease: LeaseName) -> tuple[Right, ...]:
    """Only with leader election. That of creating cannot be given for one name alone."""
    create = Right("create", names.LEASE_GROUP, names.LEASES, namespace=lease.namespace)
    return (create, *(replace(create, verb=verb, name=lease.name) for verb in ("get", "update")))


async def missing(
    kubernetes: Kubernetes, settings: Settings, lease: LeaseName | None
) -> str | None:
    """What is missing, in one sentence; None where all is there. lease: of the leader election; None where that is off."""
    try:
        return (
            await _missing_crd(kubernetes)
            or await _missing_right(kubernetes, settings)
            or await _missing_lease_right(kubernetes, lease)
        )
    except ApiError as error:
        return f"the API server does not answer: {plain(error)}"


async def _missing_crd(kubernetes: Kubernetes) -> str | None:
    for plural in (names.RAYJOBS, names.RAYCLUSTERS):
        if not await kubernetes.serves(f"{names.RAY_GROUP}/{names.RAY_VERSION}", plural):
            return f"the CRD {plural}.{names.RAY_GROUP} is not there; install KubeRay"
    return None


def wanted(settings: Settings) -> tuple[Right, ...]:
    """What must be granted: everywhere, or in each of the setting `namespaces`."""
    by_proxy = (PROXY_RIGHT,) if settings.head_access is HeadAccess.API_SERVER else ()
    if not settings.namespaces:
        return (*RIGHTS, *by_proxy)
    reading = (Right("get", "", "namespaces"),) if settings.read_namespaces else ()
    there = (*IN_NAMESPACES, *by_proxy, *reading)
    return tuple(
        replace(right, namespace=name) for name in sorted(settings.namespaces) for right in there
    )


async def _missing_right(kubernetes: Kubernetes, settings: Settings) -> str | None:
    lacking = await _lacking(kubernetes, wanted(settings))
    role = (
        "the Role of docs/how-to/install.md in each namespace"
        if settings.namespaces
        else "the ClusterRole in deploy/manifests"
    )
    return f"the service account may not: {lacking}; apply {role}" if lacking else None


async def _missing_lease_right(kubernetes: Kubernetes, lease: LeaseName | None) -> str | None:
    lacking = await _lacking(kubernetes, lease_rights(lease)) if lease else ""
    hint = "apply the Role in deploy/manifests, or switch leader election off where nothing else runs (leader-election false)"
    return f"the service account may not: {lacking}; {hint}" if lacking else None


async def _lacking(kubernetes: Kubernetes, rights: tuple[Right, ...]) -> str:
    return ", ".join([str(right) for right in rights if not await kubernetes.is_allowed(right)])
