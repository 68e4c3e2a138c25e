"""What must be there before anything starts: the CRDs, and the rights that the operator uses. It asks; it changes nothing."""

from raysweep import names
from raysweep.clients.errors import ApiError
from raysweep.clients.kubernetes import Kubernetes, Right
from raysweep.core.text import plain
from raysweep.settings import HeadAccess, Settings

RIGHTS = (
    Right("list", names.RAY_GROUP, names.RAYJOBS),
    Right("watch", names.RAY_GROUP, names.RAYJOBS),
    Right("get", names.RAY_GROUP, names.RAYJOBS),
    Right("delete", names.RAY_GROUP, names.RAYJOBS),
    Right("patch", names.RAY_GROUP, names.RAYJOBS),
    Right("list", names.RAY_GROUP, names.RAYCLUSTERS),
    Right("get", names.RAY_GROUP, names.RAYCLUSTERS),
    Right("delete", names.RAY_GROUP, names.RAYCLUSTERS),
    Right("list", "", "namespaces"),
    Right("watch", "", "namespaces"),
    Right("get", "", "namespaces"),
    Right("list", names.POLICY_GROUP, names.POLICIES),
    Right("watch", names.POLICY_GROUP, names.POLICIES),
    Right("patch", names.POLICY_GROUP, names.POLICIES, "status"),
    Right("create", "events.k8s.io", "events"),
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


async def _missing_right(kubernetes: Kubernetes, settings: Settings) -> str | None:
    wanted = (*RIGHTS, PROXY_RIGHT) if settings.head_access is HeadAccess.API_SERVER else RIGHTS
    lacking = [str(right) for right in wanted if not await kubernetes.may(right)]
    if not lacking:
        return None
    return f"the service account may not: {', '.join(lacking)}; apply the ClusterRole in deploy/manifests"
