"""What proves that something is not on the API server: its own words about that very object.

A 404 alone proves nothing: a gateway, a load balancer or a proxy in between answers so too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Resource:
    """What the path of a request names: a resource, and one object of it, or all where `name` is ""."""

    group: str  # "": the core group
    version: str
    plural: str
    namespace: str = ""
    name: str = ""

    @property
    def group_version(self) -> str:
        """As discovery writes it."""
        return f"{self.group}/{self.version}" if self.group else self.version


def resource_of(path: str) -> Resource | None:
    """The resource of a path such as /apis/ray.io/v1/namespaces/team-a/rayjobs/train/status; None where it names none.

    Kubernetes API concepts, "Resource URIs".
    """
    root, *parts = path.strip("/").split("/")
    length = {"api": 1, "apis": 2}.get(root)
    if length is None or len(parts) <= length:
        return None
    group = parts[0] if root == "apis" else ""
    version, rest = parts[length - 1], parts[length:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    return Resource(group, version, rest[0], namespace, rest[1] if len(rest) > 1 else "")


def is_proven(method: str, path: str, body: object) -> bool:
    """Whether the body of a 404 is the API server's word that the object of this request is not there.

    That is a Status with reason NotFound whose details name it (apimachinery pkg/api/errors, NewNotFound: details.kind is the
    plural). A POST names no object: its Namespace may be missing (admission plugin NamespaceLifecycle). The 404 of a list names
    nothing, so it never proves anything; discovery does.
    """
    asked = resource_of(path)
    if asked is None or not isinstance(body, Mapping):
        return False
    status = tuple(body.get(key) for key in ("kind", "apiVersion", "status", "reason", "code"))
    details = body.get("details")
    if status != ("Status", "v1", "Failure", "NotFound", 404) or not isinstance(details, Mapping):
        return False
    if method == "POST":
        asked = Resource("", "v1", "namespaces", name=asked.namespace)
    named = tuple(details.get(key) or "" for key in ("group", "kind", "name"))
    return asked.name != "" and named == (asked.group, asked.plural, asked.name)


def has_group_version(answer: Mapping[str, Any], group_version: str) -> bool:
    """Whether an answer of GET /apis has that version of that group. ValueError where it is no APIGroupList."""
    groups = answer.get("groups")
    if (answer.get("kind"), answer.get("apiVersion")) != ("APIGroupList", "v1") or not isinstance(
        groups, list
    ):
        raise ValueError("not an APIGroupList")
    versions = [
        version for group in _objects(groups) for version in _objects(group.get("versions"))
    ]
    return any(version.get("groupVersion") == group_version for version in versions)


def has_resource(answer: Mapping[str, Any], group_version: str, plural: str) -> bool:
    """Whether an answer of GET /apis/<group version> has that resource. ValueError where it is not that APIResourceList."""
    return any(one.get("name") == plural for one in resources_of(answer, group_version))


def resources_of(answer: Mapping[str, Any], group_version: str) -> list[Mapping[str, Any]]:
    """The resources in an answer of GET /apis/<group version> or /api/v1; that has no apiVersion.

    ValueError if it is not that APIResourceList.
    """
    version = answer.get("apiVersion") or ("v1" if group_version == "v1" else None)
    resources = answer.get("resources")
    said = (answer.get("kind"), version, answer.get("groupVersion"))
    if said != ("APIResourceList", "v1", group_version) or not isinstance(resources, list | None):
        raise ValueError(f"not the APIResourceList of {group_version}")
    return _objects(resources)


def _objects(value: object) -> list[Mapping[str, Any]]:
    """The objects in a list; none where it is no list."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
