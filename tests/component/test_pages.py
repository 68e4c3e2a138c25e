"""H6: a list costs memory by what a page may weigh, not by how many objects there are or what is in them."""

import asyncio
import contextlib
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from kubernetes_asyncio.client import ApiClient, Configuration

from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import InvalidResponseError
from raysweep.clients.kubernetes.pages import PAGE_BYTES, Page, members
from raysweep.core.model.facts import RayJob
from tests.support.builders import Body, rayjob_json
from tests.support.scripted_api import json_response, serving

MIB = 2**20


@dataclass
class Lists:
    """An API server's list of RayJobs, served by limit and continue; each object is made when it is sent."""

    weights: list[int]  # bytes of each object's entrypoint
    annotations: dict[str, str] = field(default_factory=dict)
    limits: list[int] = field(default_factory=list)
    sent: int = 0

    def item(self, number: int) -> bytes:
        metadata = {
            "name": f"job-{number}",
            "uid": f"uid-{number}",
            "annotations": self.annotations,
        }
        return json.dumps(
            rayjob_json(metadata=metadata, spec={"entrypoint": "x" * self.weights[number]})
        ).encode()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        limit, begin = int(request.query["limit"]), int(request.query.get("continue", "0"))
        self.limits.append(limit)
        end = min(begin + limit, len(self.weights))
        more = json.dumps({"continue": str(end) if end < len(self.weights) else ""}).encode()
        stream = web.StreamResponse()
        await stream.prepare(request)
        await stream.write(b'{"apiVersion":"ray.io/v1","items":[')
        for number in range(begin, end):
            text = (b"," if number > begin else b"") + self.item(number)
            self.sent += len(text)
            try:
                await stream.write(text)
            except ConnectionError:
                return stream
        with contextlib.suppress(ConnectionError):
            await stream.write(b'],"kind":"RayJobList","metadata":' + more + b"}")
        return stream


@contextlib.asynccontextmanager
async def listing(lists: Lists, **options: Any) -> AsyncIterator[Kubernetes]:
    async with serving(lists.answer) as script:
        kubernetes = Kubernetes(
            ApiClient(Configuration(host=script.url)), lambda *_: None, **options
        )
        try:
            yield kubernetes
        finally:
            await kubernetes.close()


async def names_of(kubernetes: Kubernetes) -> list[str]:
    return [job.name async for page in kubernetes.rayjobs() for job in page]


@contextlib.contextmanager
def measured() -> Iterator[Callable[[], tuple[int, int]]]:
    """(what is held now, the most that was held), more than at the beginning, in bytes of this process."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()

    def more() -> tuple[int, int]:
        gc.collect()
        now, peak = tracemalloc.get_traced_memory()
        return now - before, peak - before

    try:
        yield more
    finally:
        tracemalloc.stop()


async def test_two_hundred_rayjobs_of_a_megabyte_cost_a_few_pages_of_memory() -> None:
    lists = Lists([MIB] * 200)
    async with listing(lists) as kubernetes:
        with measured() as more:
            found = await names_of(kubernetes)
            held, peak = more()
    assert found == [f"job-{number}" for number in range(200)]
    assert held < MIB
    assert peak < 6 * PAGE_BYTES
    assert max(lists.limits[5:]) <= 4
    assert lists.sent < 300 * MIB  # what is read twice, until a page fits, is a small part


async def test_a_hundred_rayjobs_with_250_kb_of_annotation_keys_leave_a_few_keys_each() -> None:
    keys = {f"example.com/key-{number:06d}": "" for number in range(10_000)}
    lists = Lists(
        [0] * 100, keys | {"raysweep.io/ttl": "1h", "argocd.argoproj.io/tracking-id": "x"}
    )
    kept = Page[RayJob]()
    async with listing(lists) as kubernetes:
        with measured() as more:
            async for page in kubernetes.rayjobs():
                kept += page
            held, peak = more()
    assert {job.keys for job in kept} == {frozenset({"argocd.argoproj.io/tracking-id"})}
    assert len(kept) == 100
    assert held < MIB
    assert peak < 8 * PAGE_BYTES


async def test_unknown_keys_of_ours_are_counted_and_a_few_are_kept() -> None:
    keys = {f"raysweep.io/{number:06d}": "x" for number in range(10_000)} | {
        "raysweep.io/ttl": "1h"
    }
    async with listing(Lists([0] * 20, keys)) as kubernetes:
        with measured() as more:
            kept = [job async for page in kubernetes.rayjobs() for job in page]
            held, _ = more()
    assert {(len(job.annotations), job.more_unknown_keys) for job in kept} == {(6, 9_995)}
    assert held < MIB  # every key of them would be 17 MiB


async def test_a_page_shrinks_where_objects_are_heavy_and_grows_again_where_they_are_light() -> (
    None
):
    lists = Lists([100_000] * 50 + [100] * 1000)
    async with listing(lists, page_bytes=MIB) as kubernetes:
        found = await names_of(kubernetes)
        assert found == [f"job-{number}" for number in range(1050)]
        assert lists.limits[:3] == [200, 50, 12]
        assert lists.limits[-1] == 200
        assert min(lists.limits) >= 3
        assert kubernetes.page_limit("/apis/ray.io/v1/rayjobs") == min(lists.limits)
        assert kubernetes.page_limit("/api/v1/namespaces") == 200


async def test_one_object_that_is_heavier_than_a_page_is_read_by_itself() -> None:
    lists = Lists([100, 3 * MIB, 100])
    async with listing(lists, page_bytes=MIB) as kubernetes:
        assert await names_of(kubernetes) == ["job-0", "job-1", "job-2"]


async def test_one_object_that_no_api_server_could_hold_ends_the_list() -> None:
    async with listing(Lists([5 * MIB])) as kubernetes:
        with pytest.raises(InvalidResponseError, match="one object is larger"):
            await names_of(kubernetes)


async def test_others_have_their_turn_while_a_page_is_read() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    pages = {"items": [rayjob_json(spec={"entrypoint": "x" * 100_000})] * 30, "metadata": {}}
    async with serving(json_response(pages)) as script:
        kubernetes = Kubernetes(ApiClient(Configuration(host=script.url)), lambda *_: None)
        listed = aiter(kubernetes.rayjobs())
        counting = asyncio.create_task(count())
        found = await anext(listed)
        counting.cancel()
        await kubernetes.close()
    assert len(found) == 30
    assert turns >= 30


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text, id=text or "nothing")
        for text in ("", " ", "[]", "{", '{"items"', '{"items":', '{"items":[', '{"items":[1', '{"items":[1,', '{"items":[1,]}',
                     '{"items":[1]', '{"items":[1],}', '{"items":{}}', '{"items":7}', "{}", '{"metadata":{}}', '{"items" []}',
                     "{1:2}", '{"items":[1 2]}', '{"items":[]', "null", '"items"')
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        list(members(text))


@pytest.mark.parametrize("space", ["", " ", "\n\t "])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"items": []}, id="empty"),
        pytest.param({"items": None, "kind": "x"}, id="null"),
        pytest.param(
            {"metadata": {"continue": "a"}, "items": [1, {"a": [2]}, "x"]}, id="metadata first"
        ),
        pytest.param(
            {"items": [{"items": [1]}], "metadata": {"items": [2]}},
            id="metadata last, and items within",
        ),
    ],
)
def test_a_list_is_read_as_json_reads_it(body: Body, space: str) -> None:
    text = json.dumps(
        body, indent=len(space) or None, separators=(f"{space},{space}", f"{space}:{space}")
    )
    found = [(key, value) for key, value, _ in members(f"{space}{text}")]
    assert [value for key, value in found if key == "items"] == (body["items"] or [])
    assert {key: value for key, value in found if key != "items"} == {
        k: v for k, v in body.items() if k != "items"
    }


async def test_a_list_of_metadata_that_is_empty_holds_no_object() -> None:
    """The API server writes its items as null."""
    empty = json_response(
        {"kind": "PartialObjectMetadataList", "metadata": {"resourceVersion": "7"}, "items": None}
    )
    async with serving(empty) as script:
        kubernetes = Kubernetes(ApiClient(Configuration(host=script.url)), lambda *_: None)
        pages = [(len(page), page.unnamed) async for page in kubernetes.rayclusters()]
        await kubernetes.close()
    assert pages == [(0, 0)]
