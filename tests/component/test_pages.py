"""H6: the memory of a list is bounded by the size of a page, not by the number of objects."""

import asyncio
import contextlib
import gc
import itertools
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from raysweep.clients.connection.api_client import ApiClient, Configuration
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import InvalidResponseError
from raysweep.clients.kubernetes.pages import PAGE_BYTES, Page, members
from raysweep.core.model.facts import RayJob
from tests.support.builders import Body, rayjob_json
from tests.support.scripted_api import json_response, serving

MIB = 2**20


@dataclass
class Lists:
    """A list of RayJobs with limit and continue. Each object is made when it is sent."""

    sizes: list[int]  # bytes of each object's entrypoint
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
            rayjob_json(metadata=metadata, spec={"entrypoint": "x" * self.sizes[number]})
        ).encode()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        limit, begin = int(request.query["limit"]), int(request.query.get("continue", "0"))
        self.limits.append(limit)
        end = min(begin + limit, len(self.sizes))
        more = json.dumps({"continue": str(end) if end < len(self.sizes) else ""}).encode()
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
    """Measures the memory that is held and the peak, in bytes above the beginning."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()

    def memory() -> tuple[int, int]:
        gc.collect()
        now, peak = tracemalloc.get_traced_memory()
        return now - before, peak - before

    try:
        yield memory
    finally:
        tracemalloc.stop()


async def test_two_hundred_rayjobs_of_a_megabyte_cost_a_few_pages_of_memory() -> None:
    lists = Lists([MIB] * 200)
    async with listing(lists) as kubernetes:
        with measured() as memory:
            names = await names_of(kubernetes)
            held, peak = memory()
    assert names == [f"job-{number}" for number in range(200)]
    assert held < MIB
    assert peak < 6 * PAGE_BYTES
    assert max(lists.limits[5:]) <= 4
    assert lists.sent < 300 * MIB  # few bytes are read twice until a page fits


async def test_a_hundred_rayjobs_with_250_kb_of_annotation_keys_leave_a_few_keys_each() -> None:
    keys = {f"example.com/key-{number:06d}": "" for number in range(10_000)}
    lists = Lists(
        [0] * 100, keys | {"raysweep.io/ttl": "1h", "argocd.argoproj.io/tracking-id": "x"}
    )
    kept = Page[RayJob]()
    async with listing(lists) as kubernetes:
        with measured() as memory:
            async for page in kubernetes.rayjobs():
                kept += page
            held, peak = memory()
    assert {job.keys for job in kept} == {frozenset({"argocd.argoproj.io/tracking-id"})}
    assert len(kept) == 100
    assert held < MIB
    assert peak < 8 * PAGE_BYTES


async def test_unknown_annotations_of_raysweep_are_counted_and_a_few_are_kept() -> None:
    keys = {f"raysweep.io/{number:06d}": "x" for number in range(10_000)} | {
        "raysweep.io/ttl": "1h"
    }
    async with listing(Lists([0] * 20, keys)) as kubernetes:
        with measured() as memory:
            kept = [job async for page in kubernetes.rayjobs() for job in page]
            held, _ = memory()
    assert {(len(job.annotations), job.more_unknown_keys) for job in kept} == {(6, 9_995)}
    assert held < MIB  # all keys would be 17 MiB


async def test_a_page_shrinks_for_large_objects_and_grows_for_small_ones() -> None:
    lists = Lists([100_000] * 50 + [100] * 1000)
    async with listing(lists, page_bytes=MIB) as kubernetes:
        names = await names_of(kubernetes)
        assert names == [f"job-{number}" for number in range(1050)]
        assert lists.limits[:3] == [200, 50, 12]
        assert lists.limits[-1] == 200
        assert min(lists.limits) >= 3


async def test_an_object_larger_than_a_page_is_read_alone() -> None:
    lists = Lists([100, 3 * MIB, 100])
    async with listing(lists, page_bytes=MIB) as kubernetes:
        assert await names_of(kubernetes) == ["job-0", "job-1", "job-2"]


async def test_an_object_that_no_api_server_could_hold_is_an_error() -> None:
    async with listing(Lists([5 * MIB])) as kubernetes:
        with pytest.raises(InvalidResponseError, match="one object is larger"):
            await names_of(kubernetes)


async def test_other_tasks_run_while_a_page_is_parsed() -> None:
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
        page = await anext(listed)
        counting.cancel()
        await kubernetes.close()
    assert len(page) == 30
    assert turns >= 30


def test_a_text_that_is_not_a_list_is_an_error() -> None:
    texts = (
        "", " ", "[]", "{", '{"items"', '{"items":', '{"items":[', '{"items":[1', '{"items":[1,',
        '{"items":[1,]}', '{"items":[1]', '{"items":[1],}', '{"items":{}}', '{"items":7}', "{}",
        '{"metadata":{}}', '{"items" []}', "{1:2}", '{"items":[1 2]}', '{"items":[]', "null",
        '"items"',
    )  # fmt: skip
    for text in texts:
        with pytest.raises((ValueError, IndexError)):
            list(members(text))


def test_a_list_has_the_members_that_json_loads_returns() -> None:
    bodies: list[Body] = [
        {"items": []},
        {"items": None, "kind": "x"},
        {"metadata": {"continue": "a"}, "items": [1, {"a": [2]}, "x"]},
        {"items": [{"items": [1]}], "metadata": {"items": [2]}},
    ]
    for body, space in itertools.product(bodies, ("", " ", "\n\t ")):
        separators = (f"{space},{space}", f"{space}:{space}")
        text = space + json.dumps(body, indent=len(space) or None, separators=separators)
        items = [value for key, value, _ in members(text) if key == "items"]
        others = {key: value for key, value, _ in members(text) if key != "items"}
        assert items == (body["items"] or []), text
        assert others == {key: value for key, value in body.items() if key != "items"}, text


async def test_an_empty_list_of_metadata_has_null_items() -> None:
    empty = json_response(
        {"kind": "PartialObjectMetadataList", "metadata": {"resourceVersion": "7"}, "items": None}
    )
    async with serving(empty) as script:
        kubernetes = Kubernetes(ApiClient(Configuration(host=script.url)), lambda *_: None)
        pages = [(len(page), page.unnamed) async for page in kubernetes.rayclusters()]
        await kubernetes.close()
    assert pages == [(0, 0)]
