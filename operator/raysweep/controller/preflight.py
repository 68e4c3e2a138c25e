"""What must be there before anything starts: the CRDs, and the rights that the operator uses. It asks; it changes nothing."""

from dataclasses import replace

from raysweep import names
from raysweep.clients.errors import ApiError
from raysweep.clients.kubernetes import Kubernetes, Right
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


async def missing(kubernetes: Kubernetes, settings: Settings) -> str | None:
    """What is missing, in one sentence; None where all is there."""
    try:
        return await _missing_crd(kubernetes) or await _missing_right(kubernetes, settings)
    except ApiError as error:
        return f"the API server does not answer: {plain(error)}"


async def _missing_crd(kubernetes: Kubernetes) -> str | None:
    for plural in (names.RAYJOBS, names.RAYCLUSTERS):
        if not await kubernetes.serves(f"{names.RAY_GROUP}/{names.RAY_VERSION}", plural):
            return f"the CRD {plural}.{names.RAY_GROUP} is not there; install KubeRay"
    return None


def wanted(settings: Settings) -> tuple[Right, ...]:
    """What must be granted. A Namespace need not be readable where `namespaces` is set: then its annotations do not count."""
    by_proxy = (PROXY_RIGHT,) if settings.head_access is HeadAccess.API_SERVER else ()
    if not settings.namespaces:
        return (*RIGHTS, *by_proxy)
    return tuple(replace(r, namespace=name) for name in sorted(settings.namespaces) for r in (*IN_NAMESPACES, *by_proxy))


async def _missing_right(kubernetes: Kubernetes, settings: Settings) -> str | None:
    lacking = [str(right) for right in wanted(settings) if not await kubernetes.may(right)]
    if not lacking:
        return None
    role = "the Role of docs/operations.md in each namespace" if settings.namespaces else "the ClusterRole in deploy/manifests"
    return f"the service account may not: {', '.join(lacking)}; apply {role}"
