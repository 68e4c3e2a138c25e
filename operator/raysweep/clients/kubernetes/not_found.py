"""Decides whether a 404 proves that an object does not exist.

A 404 alone proves nothing: a gateway, a load balancer or a proxy may have sent it. The API server
names the missing object in the body.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_PARTS_BEFORE_RESOURCE = {"api": 1, "apis": 2}


@dataclass(frozen=True, slots=True)
class ResourcePath:
    """What the path of a request names: a resource, and one object of it unless `name` is empty."""

    group: str  # empty for the core group
    version: str
    plural: str
    namespace: str = ""
    name: str = ""

    @property
    def group_version(self) -> str:
        """The group and version as discovery writes them."""
        return f"{self.group}/{self.version}" if self.group else self.version


def parse_path(path: str) -> ResourcePath | None:
    """The resource of a path such as /apis/ray.io/v1/namespaces/team-a/rayjobs/train/status.

    Returns None if the path names no resource. Source: Kubernetes API concepts, "Resource URIs".
    """
    root, *parts = path.strip("/").split("/")
    length = _PARTS_BEFORE_RESOURCE.get(root)
    if length is None or len(parts) <= length:
        return None
    group = parts[0] if root == "apis" else ""
    version, rest = parts[length - 1], parts[length:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    return ResourcePath(group, version, rest[0], namespace, name)


def confirms_not_found(method: str, path: str, body: object) -> bool:
    """Whether the body of a 404 is the API server's statement that the requested object is missing.

    That is a Status with reason NotFound whose details name the object (apimachinery
    pkg/api/errors, NewNotFound: details.kind is the plural). A POST names no object, so the details
    name its Namespace (admission plugin NamespaceLifecycle). The 404 of a list names no object
    either, so only discovery can prove that a resource is missing.
    """
    requested = parse_path(path)
    if requested is None or not isinstance(body, Mapping):
        return False
    status = tuple(body.get(key) for key in ("kind", "apiVersion", "status", "reason", "code"))
    details = body.get("details")
    if status != ("Status", "v1", "Failure", "NotFound", 404) or not isinstance(details, Mapping):
        return False
    if method == "POST":
        requested = ResourcePath("", "v1", "namespaces", name=requested.namespace)
    missing = tuple(details.get(key) or "" for key in ("group", "kind", "name"))
    return requested.name != "" and missing == (requested.group, requested.plural, requested.name)
