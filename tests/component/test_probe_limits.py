"""Limits on the bodies of responses: memory, and the time that waits for it take."""

import asyncio
from datetime import timedelta

from aiohttp import web

from raysweep.clients.ray.probe_limits import LARGE, LIST_CAP, ONE_CAP, OVERALL, SMALL
from raysweep.core.model.facts import HeadList, HeadSilent
from sandbox.waiting import until
from tests.support.builders import END, a_raycluster
from tests.support.scripted_api import Answer, json_response
from tests.support.scripted_head import MIB, scripted_head


def test_all_bodies_take_at_most_32_mib() -> None:
    assert OVERALL * SMALL + LARGE * max(LIST_CAP, ONE_CAP) == 32 * MIB


async def test_a_large_body_waits_for_a_place_without_using_its_time() -> None:
    """Seven bodies that do not end hold all places. The eighth waits longer than its timeout."""
    gate, large = asyncio.Event(), b" " * (2 * SMALL)

    async def stall(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(large)
        await gate.wait()
        await response.write(b"[]")
        return response

    small = json_response(b" " * (SMALL - 2) + b"[]")
    answers: list[Answer] = [*[stall] * LARGE, json_response(large + b"[]"), small]
    clusters = [a_raycluster(name=f"c{n}", namespace=f"n{n}") for n in range(LARGE + 2)]
    async with scripted_head(*answers, answer_within=timedelta(seconds=30)) as head:
        jobs = head.dashboard.jobs
        stalled = [asyncio.create_task(jobs(cluster)) for cluster in clusters[:LARGE]]
        await until(head.limits.large.locked, timeout=90)
        hurried = head.dashboard_with_timeout(timedelta(seconds=1))
        eighth = asyncio.create_task(hurried.jobs(clusters[LARGE]))
        await until(lambda: len(head.script.requests) == LARGE + 1, timeout=90)
        assert await jobs(clusters[LARGE + 1]) == HeadList((), END)
        assert not (await asyncio.wait([eighth], timeout=1.5))[0]
        gate.set()
        assert await asyncio.gather(*stalled, eighth) == [HeadList((), END)] * (LARGE + 1)
    assert len(head.script.requests) == LARGE + 2


async def test_the_timeout_continues_after_the_wait_for_a_place() -> None:
    async def never_end(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b" " * (2 * SMALL))
        await until(lambda: request.transport is None or request.transport.is_closing(), timeout=90)
        return response

    async with scripted_head(never_end, answer_within=timedelta(seconds=0.2)) as head:
        silent = await asyncio.wait_for(head.jobs(), 60)
    assert isinstance(silent, HeadSilent)
    assert "Timeout" in silent.detail
