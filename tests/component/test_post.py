"""Posting a job: once, whatever becomes of the answer, and believed only when the head's own list shows it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from raysweep.clients.kubernetes.errors import ApiError, BusyError
from raysweep.core.model.facts import HeadList, HeadSilent
from raysweep.submission import head as heads
from raysweep.submission.head import AnswerLostError, Head, silent_on_api_error
from raysweep.submission.post import (
    NotAcceptedError,
    PostTarget,
    PostTimeouts,
    UnconfirmedError,
    submit,
)
from tests.support.builders import END, a_raycluster
from tests.support.scripted_api import json_response
from tests.support.scripted_head import scripted_head

JOB = {"entrypoint": "true"}
TIMEOUTS = PostTimeouts(timedelta(seconds=3), timedelta(seconds=4), timedelta(seconds=2))
NO_AGENT = "No available agent to submit job, please try again later."


def entry(submission_id: str, kind: str = "SUBMISSION") -> dict[str, Any]:
    return {
        "type": kind,
        "submission_id": submission_id,
        "status": "PENDING",
        "end_time": None,
        "job_id": None,
    }


@dataclass
class Scene:
    """A head in miniature: what it lists before and after a POST, and what becomes of that POST's answer."""

    takes: bool = True
    answers: list[web.Response | Exception] = field(
        default_factory=lambda: [json_response({"submission_id": "raysubmit_1"})]
    )
    before: Any = field(default_factory=list)
    after: Any = field(default_factory=lambda: [entry("raysubmit_1")])
    posts: list[Any] = field(default_factory=list)
    at_post: Callable[[], object] = lambda: None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            listed = self.after if self.posts and self.takes else self.before
            return json_response(listed)
        self.posts.append(request)
        self.at_post()
        answer = self.answers[min(len(self.posts), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            assert request.transport is not None
            request.transport.abort()
            raise answer
        return web.Response(status=answer.status, body=answer.body)


@asynccontextmanager
async def playing(scene: Scene, interrupted: asyncio.Event | None = None) -> AsyncIterator[Any]:
    """submit(job) against that head."""
    async with scripted_head(scene.handle) as head:
        cluster = a_raycluster()

        async def run(job: dict[str, Any]) -> str:
            base = head.transport.address(cluster, f"{cluster.name}-head-svc")
            target = PostTarget(
                Head(head.transport, base, {}),
                lambda: head.dashboard.jobs(cluster),
                interrupted or asyncio.Event(),
            )
            return await submit(target, job, TIMEOUTS)

        yield run


async def test_the_id_is_the_one_that_the_list_confirms() -> None:
    scene = Scene(
        before=[entry("older")], after=[entry("older"), entry("raysubmit_1"), entry("", "DRIVER")]
    )
    async with playing(scene) as run:
        assert await run(JOB) == "raysubmit_1"
    assert len(scene.posts) == 1


async def test_an_id_of_ones_own_is_confirmed_too() -> None:
    scene = Scene(
        answers=[json_response({"submission_id": "mine"})], after=[entry("mine"), entry("another")]
    )
    async with playing(scene) as run:
        assert await run({**JOB, "submission_id": "mine"}) == "mine"


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param(json_response("Traceback: boom", 500), id="500 after it was taken"),
        pytest.param(ConnectionError("cut"), id="the connection breaks"),
        pytest.param(json_response("<html>", 502), id="a proxy's page"),
        pytest.param(json_response("no JSON"), id="200 that is no answer"),
        pytest.param(
            json_response({"submission_id": ".."}), id="200 with an ID that cannot be asked for"
        ),
    ],
)
async def test_a_lost_answer_is_never_sent_again(lost: web.Response | Exception) -> None:
    scene = Scene(answers=[lost])
    async with playing(scene) as run:
        assert await run(JOB) == "raysubmit_1"
    assert len(scene.posts) == 1


async def test_a_lost_answer_of_a_job_that_was_not_taken() -> None:
    scene = Scene(takes=False, answers=[json_response("Traceback: boom", 500)])
    async with playing(scene) as run:
        with pytest.raises(NotAcceptedError, match="answer was lost .*HTTP 500 Traceback: boom"):
            await run(JOB)
    assert len(scene.posts) == 1


async def test_it_waits_for_the_nodes_agent() -> None:
    scene = Scene(
        answers=[json_response(NO_AGENT, 500), json_response({"submission_id": "raysubmit_1"})]
    )
    async with playing(scene) as run:
        assert await run(JOB) == "raysubmit_1"
    assert len(scene.posts) == 2


async def test_an_agent_that_never_comes() -> None:
    scene = Scene(takes=False, answers=[json_response(NO_AGENT, 500)])
    async with playing(scene) as run:
        with pytest.raises(NotAcceptedError, match="within 3 s: HTTP 500 No available agent"):
            await run(JOB)


async def test_ctrl_c_while_it_waits_for_the_agent_posts_no_more() -> None:
    interrupted = asyncio.Event()
    scene = Scene(
        answers=[json_response(NO_AGENT, 500), json_response({"submission_id": "raysubmit_1"})],
        at_post=interrupted.set,
    )
    async with playing(scene, interrupted) as run:
        with pytest.raises(NotAcceptedError, match="interrupted"):
            await run(JOB)
    assert len(scene.posts) == 1


async def test_an_api_server_that_is_away_for_a_moment_is_no_more_than_a_silent_head() -> None:
    """It gives the head's token at every look, and after the post a fault there must not pass for a job that was not taken."""
    answers: list[HeadList | ApiError] = [BusyError("503", code=503), HeadList((), END)]

    async def probe() -> HeadList:
        answer = answers.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    ask = silent_on_api_error(probe)
    assert await ask() == HeadSilent("503")
    assert await ask() == HeadList((), END)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(
            json_response("Traceback\nValueError: entrypoint", 400),
            "refused the job: HTTP 400 ValueError",
            id="400",
        ),
        pytest.param(
            json_response("Unauthorized: Missing authentication token", 401),
            "HTTP 401 Unauthorized",
            id="401",
        ),
        pytest.param(
            json_response(
                "Traceback\nValueError: Job mine exists. Please use a different submission_id.", 500
            ),
            "Please use a different submission_id",
            id="the ID is in use",
        ),
    ],
)
async def test_a_refusal_is_told(answer: web.Response, said: str) -> None:
    scene = Scene(takes=False, answers=[answer])
    async with playing(scene) as run:
        with pytest.raises(NotAcceptedError, match=said):
            await run(JOB)
    assert len(scene.posts) == 1


async def test_two_new_submissions_and_no_answer() -> None:
    scene = Scene(
        answers=[json_response("boom", 500)], after=[entry("raysubmit_1"), entry("raysubmit_2")]
    )
    async with playing(scene) as run:
        with pytest.raises(
            UnconfirmedError,
            match="2 new submissions: 'raysubmit_1', 'raysubmit_2'",
        ):
            await run(JOB)


@pytest.mark.parametrize("garbage", [{"not": "a list"}, "<html>", [{"type": 7}]], ids=str)
async def test_a_list_that_turns_to_garbage_confirms_nothing(garbage: Any) -> None:
    scene = Scene(after=garbage)
    async with playing(scene) as run:
        with pytest.raises(
            UnconfirmedError, match="the head accepted the job, but did not confirm it within 4 s"
        ) as caught:
            await run(JOB)
    assert caught.value.job_id == "raysubmit_1"
    assert len(scene.posts) == 1


async def test_a_list_that_is_garbage_from_the_start_posts_nothing() -> None:
    scene = Scene(before="<html>")
    async with playing(scene) as run:
        with pytest.raises(NotAcceptedError, match="list of jobs could not be read"):
            await run(JOB)
    assert scene.posts == []


async def test_an_id_that_is_there_already_posts_nothing() -> None:
    scene = Scene(before=[entry("mine")])
    async with playing(scene) as run:
        with pytest.raises(NotAcceptedError, match="already has a job 'mine'"):
            await run({**JOB, "submission_id": "mine"})
    assert scene.posts == []


async def test_a_log_whose_headers_never_come_is_given_up_and_a_stream_may_wait_for_its_first_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The head hangs, and the job has ended by its RayJob's word: whoever waits for the exit code must get it."""
    monkeypatch.setattr(heads, "REQUEST_TIMEOUT", timedelta(seconds=0.2))
    over = asyncio.Event()

    async def never(_: web.BaseRequest) -> web.StreamResponse:
        await over.wait()
        return json_response([])

    async def read(head: Head, *, follow: bool) -> None:
        async with head.log("raysubmit_1", "node", follow=follow):
            pass

    async with scripted_head(never) as scripted:
        cluster = a_raycluster()
        head = Head(
            scripted.transport, scripted.transport.address(cluster, f"{cluster.name}-head-svc"), {}
        )
        with pytest.raises(AnswerLostError, match="no answer in time"):
            await read(head, follow=False)
        following = asyncio.create_task(read(head, follow=True))
        _, waiting = await asyncio.wait({following}, timeout=0.6)
        assert waiting
        over.set()
        await following
