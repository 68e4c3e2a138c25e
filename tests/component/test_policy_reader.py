"""The reader of policies: watches, lists and the status that it writes, with a scripted server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from raysweep import names
from raysweep.clients.connection.api_client import ApiClient, Configuration
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.controller.metrics import Metrics
from raysweep.controller.policy_reader import PolicyReader
from raysweep.controller.reporter import Reporter
from raysweep.controller.store import Store
from sandbox.waiting import until
from tests.support.builders import END, Body
from tests.support.manifests import policy_json
from tests.support.scripted_api import json_response, object_not_found, serving

RETENTION: Body = {"retention": {"rayJob": {"default": "1d"}}}
CRD = Path(__file__).parents[2] / "deploy" / "crds" / "raysweep.io_rayjobcleanuppolicies.yaml"


@dataclass
class Server:
    """Lists and watches policies like an API server. code: its answer instead of a list."""

    items: list[Body] = field(default_factory=list)
    code: int = 200
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    lists: int = 0
    written: list[Body] = field(default_factory=list)
    refuses_writes: int = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "PATCH":
            self.written.append(await request.json())
            return (
                json_response({"message": "changed"}, self.refuses_writes)
                if self.refuses_writes
                else json_response({})
            )
        if request.query.get("watch"):
            return await self._watch(request)
        self.lists += 1
        if request.path == "/apis":
            return json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
        if self.code == 404:
            return await object_not_found(request)
        if self.code != 200:
            return json_response({"message": "no"}, self.code)
        return json_response(
            {"metadata": {"resourceVersion": str(self.lists)}, "items": self.items}
        )

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        await self.changed.wait()
        self.changed.clear()
        await stream.write(b'{"type": "MODIFIED", "object": {}}\n')
        return stream


@dataclass
class Reading:
    """A reader of a server into a store, and the RayJobs that were to be judged again."""

    reader: PolicyReader
    server: Server
    store: Store

    def names(self) -> list[str]:
        """The policies in the store."""
        stored = self.store.policies()
        return [] if stored is None else [policy.name for policy in stored[0]]

    async def until_listed(self, times: int) -> None:
        await until(lambda: self.server.lists >= times, timeout=90, every=0.01)


@asynccontextmanager
async def reading(
    server: Server, *, every: timedelta = timedelta(minutes=1)
) -> AsyncIterator[Reading]:
    async with serving(server.answer) as script:
        kubernetes = Kubernetes(ApiClient(Configuration(host=script.url)), lambda *_: None)
        store = Store(lambda _: None)
        reader = PolicyReader(
            kubernetes,
            store,
            Reporter(kubernetes, Metrics(), lambda: END),
            lambda: END,
            every,
            timedelta,
        )
        try:
            yield Reading(reader, server, store)
        finally:
            server.changed.set()  # lets a watch that is still open end
            await kubernetes.close()


async def test_a_change_is_read_at_once() -> None:
    server = Server([policy_json(RETENTION)])
    async with reading(server) as world:
        running = asyncio.create_task(world.reader.run())
        await world.until_listed(1)
        server.items.append(policy_json({"mode": "DryRun"}, name="stop", uid="uid-stop"))
        server.changed.set()
        await until(lambda: world.names() == ["base", "stop"], timeout=90, every=0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_watch_that_ends_or_fails_leads_to_another_list() -> None:
    async with reading(Server(code=410), every=timedelta(milliseconds=10)) as world:
        running = asyncio.create_task(world.reader.run())
        await world.until_listed(2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert world.store.policies() is None


async def test_conditions_are_written_once() -> None:
    server = Server([policy_json(RETENTION)])
    async with reading(server, every=timedelta(milliseconds=10)) as world:
        server.changed.set()
        await world.reader.run_once()
        (patch,) = server.written
        server.items = [policy_json(RETENTION, resourceVersion="51") | {"status": patch["status"]}]
        server.changed.set()
        await world.reader.run_once()
    assert patch["metadata"] == {"uid": "uid-base", "resourceVersion": "50"}
    statuses = {each["type"]: each["status"] for each in patch["status"]["conditions"]}
    assert statuses == {"Accepted": "True", "Overlaps": "False"}
    assert len(server.written) == 1


@pytest.mark.parametrize("code", [404, 409])
async def test_a_policy_that_changes_during_the_write_of_its_status_is_read_again(
    code: int,
) -> None:
    server = Server([policy_json(RETENTION)], refuses_writes=code)
    async with reading(server) as world:
        server.changed.set()
        await world.reader.run_once()
        assert world.store.policies() is not None


async def test_a_failed_write_of_a_condition_does_not_stop_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    other = policy_json(
        {"retention": {"rayJob": {"default": "soon"}}}, name="other", uid="uid-other"
    )
    server = Server([policy_json(RETENTION), other], refuses_writes=403)
    async with reading(server) as world:
        server.changed.set()
        await world.reader.run_once()
    assert len(server.written) == 2
    assert "cannot write the conditions of RayJobCleanupPolicy base" in caplog.text
    assert "cannot read policies" not in caplog.text


async def test_a_slow_list_does_not_replace_a_newer_one() -> None:
    """Somebody sets DryRun while the answer to an earlier list is under way."""
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def slowly(_: web.BaseRequest) -> web.StreamResponse:
        is_asked.set()
        await may_answer.wait()
        return json_response(
            {"metadata": {"resourceVersion": "7"}, "items": [policy_json(RETENTION)]}
        )

    newer = json_response(
        {"metadata": {"resourceVersion": "8"}, "items": [policy_json({"mode": "DryRun"})]}
    )
    ended: list[str] = []
    async with serving(slowly, newer) as script:
        kubernetes = Kubernetes(ApiClient(Configuration(host=script.url)), lambda *_: None)

        async def ask() -> None:
            ended.append((await kubernetes.policies()).resource_version)

        first = asyncio.create_task(ask())
        await is_asked.wait()
        second = asyncio.create_task(ask())
        may_answer.set()
        await asyncio.gather(first, second)
        await kubernetes.close()
    assert ended == ["7", "8"]


@pytest.mark.parametrize("code", [403, 429, 500])
async def test_a_refused_list_keeps_the_policies_and_is_retried(code: int) -> None:
    server = Server([policy_json(RETENTION)])
    async with reading(server) as world:
        server.changed.set()
        await world.reader.run_once()
        server.code = code
        await world.reader.run_once()
        stored = world.store.policies()
    assert stored is not None
    assert [policy.name for policy in stored[0]] == ["base"]


async def test_a_missing_crd_means_no_policies() -> None:
    async with reading(Server(code=404), every=timedelta(milliseconds=1)) as world:
        await world.reader.run_once()
        assert world.store.policies() == ((), timedelta())


async def test_policies_come_in_pages() -> None:
    pages: list[Body] = [
        {
            "metadata": {"resourceVersion": "7", "continue": "next"},
            "items": [policy_json(RETENTION)],
        },
        {
            "metadata": {"resourceVersion": "7"},
            "items": [policy_json(RETENTION, name="other", uid="uid-other")],
        },
    ]
    async with serving(*(json_response(page) for page in pages)) as script:
        kubernetes = Kubernetes(ApiClient(Configuration(host=script.url)), lambda *_: None)
        listed = await kubernetes.policies()
        await kubernetes.close()
    assert ([policy.name for policy in listed.policies], listed.resource_version) == (
        ["base", "other"],
        "7",
    )


def _paths(schema: Body, path: str = "") -> set[str]:
    """Of every duration in a CRD's schema."""
    fields = {path.removeprefix(".")} if schema.get("x-kubernetes-int-or-string") else set()
    return fields.union(
        *(_paths(inner, f"{path}.{name}") for name, inner in schema.get("properties", {}).items())
    )


def _fields(schema: Body) -> Any:
    """Names of fields, as deep as objects go; label selectors are Kubernetes' own."""
    inner = schema.get("properties", {}).items()
    return {name: {} if name.endswith("Selector") else _fields(field) for name, field in inner}


def _model_fields(model: Any) -> Any:
    fields = {}
    for field_ in model.model_fields.values():
        name = field_.alias
        inner = [
            one
            for one in (*getattr(field_.annotation, "__args__", ()), field_.annotation)
            if hasattr(one, "model_fields")
        ]
        fields[name] = _model_fields(inner[0]) if inner and not name.endswith("Selector") else {}
    return fields


def test_the_crd_the_model_and_the_names_have_the_same_fields() -> None:
    from raysweep.clients.parsing.policy import _Spec

    crd = yaml.safe_load(CRD.read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert _paths(spec) == set(names.POLICY_DURATIONS)
    assert _fields(spec) == _model_fields(_Spec)
    assert (crd["spec"]["group"], crd["spec"]["names"]["plural"]) == (
        names.POLICY_GROUP,
        names.POLICIES,
    )
    assert crd["spec"]["names"]["kind"] == names.POLICY_KIND
