"""API discovery: which resources the API server serves."""

from collections.abc import Mapping
from typing import Any

from raysweep.clients.kubernetes.errors import NotFoundError, UnconfirmedNotFoundError
from raysweep.clients.kubernetes.not_found import parse_path
from raysweep.clients.kubernetes.session import ApiSession, Request, parsed

Resources = list[Mapping[str, Any]]
_GROUPS = Request("GET", "/apis")


async def serves(session: ApiSession, group_version: str, plural: str) -> bool:
    """Whether the API server serves a resource. Raises ApiError if discovery does not say."""
    resources = await find_resources(session, group_version)
    return resources is not None and any(item.get("name") == plural for item in resources)


async def find_resources(session: ApiSession, group_version: str) -> Resources | None:
    """The resources of an API version such as apps/v1, or None if it does not exist.

    The API server sends a plain 404 for a version that it does not have, and so may any proxy.
    Therefore None needs the list of all groups as a proof.
    """
    root = "/apis" if "/" in group_version else "/api"
    request = Request("GET", f"{root}/{group_version}")
    try:
        response = await session.send(request)
    except UnconfirmedNotFoundError:
        groups = await session.send(_GROUPS)
        if group_version in parsed(_GROUPS, _group_versions, groups):
            raise
        return None
    return parsed(request, lambda body: _resources(body, group_version), response)


async def raise_if_not_served(
    session: ApiSession, path: str, error: UnconfirmedNotFoundError
) -> None:
    """Raises NotFoundError if discovery proves that the API server lacks the resource of a path."""
    resource = parse_path(path)
    if resource is None or not resource.group:
        return
    if not await serves(session, resource.group_version, resource.plural):
        missing = f"{resource.plural}.{resource.group}"
        message = f"{error}; the API server does not serve {missing}"
        raise NotFoundError(message, code=404) from error


def _group_versions(body: Mapping[str, Any]) -> frozenset[str]:
    """The versions in a response of GET /apis. Raises ValueError if it is not an APIGroupList."""
    groups = body.get("groups")
    type_of_body = (body.get("kind"), body.get("apiVersion"))
    if type_of_body != ("APIGroupList", "v1") or not isinstance(groups, list):
        raise ValueError("not an APIGroupList")
    versions = [item for group in _objects(groups) for item in _objects(group.get("versions"))]
    return frozenset(str(item.get("groupVersion")) for item in versions)


def _resources(body: Mapping[str, Any], group_version: str) -> Resources:
    """The resources in a response of GET /apis/GROUP/VERSION or /api/v1.

    The response for v1 has no apiVersion. Raises ValueError if it is not that APIResourceList.
    """
    version = body.get("apiVersion") or ("v1" if group_version == "v1" else None)
    resources = body.get("resources")
    type_of_body = (body.get("kind"), version, body.get("groupVersion"))
    expected = ("APIResourceList", "v1", group_version)
    if type_of_body != expected or not isinstance(resources, list | None):
        raise ValueError(f"not the APIResourceList of {group_version}")
    return _objects(resources)


def _objects(value: object) -> list[Mapping[str, Any]]:
    """The objects in a list. Empty if the value is not a list."""
    if not isinstance(value, list):
        return []
    return [item for item in value if isinstance(item, Mapping)]
