"""The log of a job, and a head whose token the API server does not provide."""

import asyncio
from datetime import timedelta

import pytest
from aiohttp import web

from raysweep.clients.kubernetes.errors import ApiError, BusyError
from raysweep.core.model.facts import HeadList, HeadSilent
from raysweep.submission import head as head_module
from raysweep.submission.head import AnswerLostError, Head, silent_on_api_error
from tests.support.builders import END, a_raycluster
from tests.support.scripted_api import json_response
from tests.support.scripted_head import scripted_head


async def test_only_a_followed_log_may_wait_for_its_headers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A head may hang when the job has ended by its RayJob. The user still gets the exit code."""
    monkeypatch.setattr(head_module, "REQUEST_TIMEOUT", timedelta(seconds=0.2))
    released = asyncio.Event()

    async def hang(_: web.BaseRequest) -> web.StreamResponse:
        await released.wait()
        return json_response([])

    async def read(head: Head, *, follow: bool) -> None:
        async with head.log("raysubmit_1", "node", follow=follow):
            pass

    async with scripted_head(hang) as scripted:
        cluster = a_raycluster()
        base_url = scripted.transport.address(cluster, f"{cluster.name}-head-svc")
        head = Head(scripted.transport, base_url, {})
        with pytest.raises(AnswerLostError, match="no answer in time"):
            await read(head, follow=False)
        following = asyncio.create_task(read(head, follow=True))
        _, waiting = await asyncio.wait({following}, timeout=0.6)
        assert waiting
        released.set()
        await following


async def test_an_unavailable_api_server_counts_as_a_silent_head() -> None:
    """After the POST, its error must not count as a job that the head did not accept."""
    answers: list[HeadList | ApiError] = [BusyError("503", code=503), HeadList((), END)]

    async def probe() -> HeadList:
        answer = answers.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    tolerant_probe = silent_on_api_error(probe)
    assert await tolerant_probe() == HeadSilent("503")
    assert await tolerant_probe() == HeadList((), END)
