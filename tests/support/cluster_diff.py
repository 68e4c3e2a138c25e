"""Every object of every API resource of a cluster, and what two such looks differ in. No expectation enters here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.api import Api, ApiError
from sandbox.waiting import until

MARKS = ("labels", "annotations", "finalizers", "ownerReferences")
"""Where one could leave something on somebody else's object."""


@dataclass(frozen=True, order=True, slots=True)
class Thing:
    """One object, by resource.group, namespace and name."""

    resource: str
    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.resource} {self.namespace + '/' if self.namespace else ''}{self.name}"


Everything = Mapping[Thing, Mapping[str, Any]]
"""Each object with its marks."""


async def everything(api: Api) -> Everything:
    """All there is."""
    found = {}
    for group, path in [("", "/api/v1"), *await _groups(api)]:
        for plural in await _listable(api, path):
            resource = f"{plural}.{group}" if group else plural
            for body in await _items(api, f"{path}/{plural}"):
                found[_thing(resource, body["metadata"])] = _marks(body["metadata"])
    return found


async def _items(api: Api, path: str) -> list[dict[str, Any]]:
    """A CRD that was made a moment ago is answered with 429 first."""
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


def marked(before: Everything, after: Everything) -> list[str]:
    """What was put on objects that are there before and after."""
    return sorted(
        f"{thing}: {mark}"
        for thing in before.keys() & after.keys()
        for mark in _added(before[thing], after[thing])
    )


def _added(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for kind in MARKS:
        old, new = before[kind], after[kind]
        if isinstance(new, dict):
            yield from (f"{kind} {key}" for key in new if new[key] != (old or {}).get(key))
        else:
            yield from (f"{kind} {each}" for each in new or () if each not in (old or ()))


def _thing(resource: str, metadata: Mapping[str, Any]) -> Thing:
    return Thing(resource, metadata.get("namespace", ""), metadata["name"], metadata.get("uid", ""))


def _marks(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {kind: metadata.get(kind) for kind in MARKS}


async def _groups(api: Api) -> list[tuple[str, str]]:
    found = await api.request("GET", "/apis")
    return [
        (one["name"], f"/apis/{one['preferredVersion']['groupVersion']}") for one in found["groups"]
    ]


async def _listable(api: Api, path: str) -> list[str]:
    found = await api.find(path) or {"resources": []}
    return [
        one["name"]
        for one in found["resources"]
        if "list" in one["verbs"] and "/" not in one["name"]
    ]
