"""An API server in memory with lists and watches, and the failures of a real one."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import web

from tests.support.builders import Body, rayjob_json
from tests.support.scripted_api import (
    json_response,
    listening,
    not_found,
    object_not_found,
    status_response,
)

TEAM = "team-a"
PLURALS = ("rayjobs", "rayclusters", "namespaces", "rayjobcleanuppolicies")


@dataclass
class Asked:
    """One request for objects: list, watch or get."""

    verb: str
    plural: str
    since: str
    selector: str


@dataclass(eq=False)
class _Watch:
    """An open watch. None ends it, and bytes are sent unchanged."""

    plural: str
    selector: str
    events: asyncio.Queue[Body | bytes | None] = field(default_factory=asyncio.Queue)


@dataclass
class Api:
    """`put` and `delete` change objects. Label selectors have the form `key=value`."""

    version: int = 100
    oldest: int = 0  # resourceVersions before that have expired
    may_watch: frozenset[str] = frozenset(PLURALS)
    is_away: bool = False  # 503 to everything
    refuses_expired_by_status: bool = True  # else by an event of type ERROR
    objects: dict[str, dict[str, Body]] = field(
        default_factory=lambda: {plural: {} for plural in PLURALS}
    )
    asked: list[Asked] = field(default_factory=list)
    history: list[tuple[int, str, Body]] = field(default_factory=list)  # version, plural, event
    head: Body | None = None  # the entry of every head's list of jobs
    heads_asked: int = 0
    _open: list[_Watch] = field(default_factory=list)

    def put(self, plural: str, name: str, body: Body) -> None:
        self.version += 1
        metadata = {
            "name": name,
            "uid": f"uid-{name}",
            **body["metadata"],
            "resourceVersion": str(self.version),
        }
        whole = {**body, "metadata": metadata}
        kind = "MODIFIED" if name in self.objects[plural] else "ADDED"
        self.objects[plural][name] = whole
        self._tell(plural, {"type": kind, "object": whole})

    def delete(self, plural: str, name: str) -> None:
        self.version += 1
        gone = self.objects[plural].pop(name)
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._tell(plural, {"type": "DELETED", "object": gone})

    def put_rayjob(
        self,
        name: str,
        *,
        labels: Body | None = None,
        status: Body | None = None,
        **annotations: str,
    ) -> None:
        metadata = {
            "name": name,
            "uid": f"uid-{name}",
            "labels": labels or {},
            "managedFields": [],
            "annotations": {
                f"raysweep.io/{key.replace('_', '-')}": value for key, value in annotations.items()
            },
        }
        self.put(
            "rayjobs",
            name,
            rayjob_json(metadata=metadata, status={"rayClusterName": "", **(status or {})}),
        )

    def end_watches(self) -> None:
        """As a real one does after a while."""
        for watch in self._open:
            watch.events.put_nowait(None)

    def send(self, raw: bytes) -> None:
        """To everybody who watches RayJobs."""
        for watch in self._open:
            if watch.plural == "rayjobs":
                watch.events.put_nowait(raw)

    def expire(self) -> None:
        """No watch can go on from what was known up to now."""
        self.version += 1
        self.oldest = self.version
        self.history.clear()
        self.end_watches()

    def count(self, verb: str, plural: str) -> int:
        return sum((asked.verb, asked.plural) == (verb, plural) for asked in self.asked)

    def _tell(self, plural: str, event: Body) -> None:
        self.history.append((self.version, plural, json.loads(json.dumps(event))))
        for watch in self._open:
            if watch.plural == plural:
                watch.events.put_nowait(json.loads(json.dumps(event)))

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if "/proxy/" in request.path:
            self.heads_asked += 1
            return json_response([self.head] if self.head else [])
        if request.path.endswith("/events"):
            return json_response({"metadata": {}, "items": []})
        parts = request.path.strip("/").split("/")
        plural = next((part for part in parts[::-1] if part in PLURALS), "")
        if not plural or "configmaps" in parts:
            return await object_not_found(request)
        if self.is_away:
            return status_response(503, "the API server is away")
        query = request.query
        selector = query.get("labelSelector", "")
        if parts[-1] != plural:
            self.asked.append(Asked("get", plural, "", ""))
            found = self.objects[plural].get(parts[-1])
            return json_response(found) if found else not_found(plural, parts[-1])
        if query.get("watch") != "true":
            self.asked.append(Asked("list", plural, "", selector))
            listed = [body for body in self.objects[plural].values() if _selects(selector, body)]
            return json_response(
                {"metadata": {"resourceVersion": str(self.version)}, "items": listed}
            )
        self.asked.append(Asked("watch", plural, query.get("resourceVersion", ""), selector))
        return await self._watched(
            request, _Watch(plural, selector), query.get("resourceVersion", "")
        )

    async def _watched(
        self, request: web.BaseRequest, watch: _Watch, since: str
    ) -> web.StreamResponse:
        if watch.plural not in self.may_watch:
            return status_response(403, f'User "ann" cannot watch resource "{watch.plural}"')
        expired = {
            "kind": "Status",
            "code": 410,
            "reason": "Expired",
            "message": "too old resource version",
        }
        is_expired = since and int(since) < self.oldest
        if is_expired and self.refuses_expired_by_status:
            return json_response(expired, 410)
        response = web.StreamResponse()
        await response.prepare(request)
        if is_expired:
            await response.write(_line({"type": "ERROR", "object": expired}))
            return response
        if since:
            replayed = [
                event
                for version, plural, event in self.history
                if plural == watch.plural and version > int(since)
            ]
        else:
            replayed = [
                {"type": "ADDED", "object": body} for body in self.objects[watch.plural].values()
            ]
        for past in replayed:
            watch.events.put_nowait(past)
        self._open.append(watch)
        seen = {
            name
            for name, body in self.objects[watch.plural].items()
            if _selects(watch.selector, body)
        }
        try:
            while (event := await watch.events.get()) is not None:
                sent = _as_selected(event, watch.selector, seen)
                if sent is not None:
                    await response.write(_line(sent))
        finally:
            self._open.remove(watch)
        return response


def _line(event: Body | bytes) -> bytes:
    return event if isinstance(event, bytes) else json.dumps(event).encode() + b"\n"


def _selects(selector: str, body: Body) -> bool:
    key, _, value = selector.partition("=")
    return not selector or (body["metadata"].get("labels") or {}).get(key) == value


def _as_selected(event: Body | bytes, selector: str, seen: set[str]) -> Body | bytes | None:
    """What leaves the selection is DELETED to whoever watches with it."""
    if isinstance(event, bytes) or not selector:
        return event
    name = event["object"]["metadata"]["name"]
    if _selects(selector, event["object"]):
        seen.add(name)
        return event
    if name in seen:
        seen.discard(name)
        return {**event, "type": "DELETED"}
    return None


@contextlib.asynccontextmanager
async def serving_api(api: Api) -> AsyncIterator[str]:
    """Where it is."""
    if not api.objects["namespaces"]:
        api.put("namespaces", TEAM, {"metadata": {"annotations": {}}})
    async with listening(api.handle) as url:
        try:
            yield url
        finally:
            api.end_watches()
