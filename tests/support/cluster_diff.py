"""Lists every object of a cluster and compares two such lists.

What a test expects must not enter here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.api import Api, ApiError
from sandbox.waiting import until

MARKS = ("labels", "annotations", "finalizers", "ownerReferences")
"""The metadata fields in which a program can leave something on a foreign object."""


@dataclass(frozen=True, order=True, slots=True)
class ObjectKey:
    """Identifies an object. `resource` has the form resource.group."""

    resource: str
    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        path = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.resource} {path}"


Inventory = Mapping[ObjectKey, Mapping[str, Any]]
"""Every object with its MARKS."""


async def list_everything(api: Api) -> Inventory:
    """Lists every object of every resource."""
    inventory = {}
    for group, path in [("", "/api/v1"), *await _groups(api)]:
        for plural in await _listable(api, path):
            resource = f"{plural}.{group}" if group else plural
            for body in await _items(api, f"{path}/{plural}"):
                inventory[_key(resource, body["metadata"])] = _marks(body["metadata"])
    return inventory


async def _items(api: Api, path: str) -> list[dict[str, Any]]:
    """Lists one resource. The API server answers 429 for a CRD that was created a moment ago."""
    items: list[dict[str, Any]] = []

    async def are_listed() -> bool:
        try:
            items[:] = (await api.find(path) or {"items": []})["items"]
        except ApiError as error:
            if error.status != 429:
                raise
            return False
        return True

    await until(are_listed, timeout=90)
    return items


def added_marks(before: Inventory, after: Inventory) -> list[str]:
    """The marks that were added to objects of both inventories."""
    return sorted(
        f"{key}: {mark}"
        for key in before.keys() & after.keys()
        for mark in _added(before[key], after[key])
    )


def _added(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for kind in MARKS:
        old, new = before[kind], after[kind]
        if isinstance(new, dict):
            yield from (f"{kind} {key}" for key in new if new[key] != (old or {}).get(key))
        else:
            yield from (f"{kind} {each}" for each in new or () if each not in (old or ()))


def _key(resource: str, metadata: Mapping[str, Any]) -> ObjectKey:
    namespace, uid = metadata.get("namespace", ""), metadata.get("uid", "")
    return ObjectKey(resource, namespace, metadata["name"], uid)


def _marks(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {kind: metadata.get(kind) for kind in MARKS}


async def _groups(api: Api) -> list[tuple[str, str]]:
    groups = (await api.request("GET", "/apis"))["groups"]
    return [
        (group["name"], f"/apis/{group['preferredVersion']['groupVersion']}") for group in groups
    ]


async def _listable(api: Api, path: str) -> list[str]:
    body = await api.find(path) or {"resources": []}
    return [
        resource["name"]
        for resource in body["resources"]
        if "list" in resource["verbs"] and "/" not in resource["name"]
    ]
