"""Posting a job: once, whatever becomes of the answer, and believed only when the head's own list shows it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from raysweep.submission.head import Head
from raysweep.submission.post import NotTakenError, Patience, UnconfirmedError, submit
from tests.builders import a_raycluster
from tests.component.scripted import told
from tests.component.scripted_head import scripted_head

JOB = {"entrypoint": "true"}
QUICKLY = Patience(timedelta(seconds=3), timedelta(seconds=4), timedelta(seconds=2))
NO_AGENT = "No available agent to submit job, please try again later."


def entry(submission_id: str, kind: str = "SUBMISSION") -> dict[str, Any]:
    return {"type": kind, "submission_id": submission_id, "status": "PENDING", "end_time": None, "job_id": None}


@dataclass
class Scene:
    """A head in miniature: what it lists before and after a POST, and what becomes of that POST's answer."""

    takes: bool = True
    answers: list[web.Response | Exception] = field(default_factory=lambda: [told({"submission_id": "raysubmit_1"})])
    before: Any = field(default_factory=list)
    after: Any = field(default_factory=lambda: [entry("raysubmit_1")])
    posts: list[Any] = field(default_factory=list)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            listed = self.after if self.posts and self.takes else self.before
            return told(listed)
        self.posts.append(request)
        answer = self.answers[min(len(self.posts), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            assert request.transport is not None
            request.transport.abort()
            raise answer
        return web.Response(status=answer.status, body=answer.body)


@asynccontextmanager
async def playing(scene: Scene) -> AsyncIterator[Any]:
    """submit(job) against that head."""
    async with scripted_head(scene.handle) as head:
        cluster = a_raycluster()

        async def run(job: dict[str, Any]) -> str:
            base = head.way.address(cluster, f"{cluster.name}-head-svc")
            return await submit(Head(head.way, base, {}), lambda: head.dashboard.jobs(cluster), job, QUICKLY)

        yield run


async def test_the_id_is_the_one_that_the_list_confirms() -> None:
    scene = Scene(before=[entry("older")], after=[entry("older"), entry("raysubmit_1"), entry("", "DRIVER")])
    async with playing(scene) as run:
        assert await run(JOB) == "raysubmit_1"
    assert len(scene.posts) == 1


async def test_an_id_of_ones_own_is_confirmed_too() -> None:
    scene = Scene(answers=[told({"submission_id": "mine"})], after=[entry("mine"), entry("another")])
    async with playing(scene) as run:
        assert await run({**JOB, "submission_id": "mine"}) == "mine"


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param(told("Traceback: boom", 500), id="500 after it was taken"),
        pytest.param(ConnectionError("cut"), id="the connection breaks"),
        pytest.param(told("<html>", 502), id="a proxy's page"),
        pytest.param(told("no JSON"), id="200 that is no answer"),
        pytest.param(told({"submission_id": ".."}), id="200 with an ID that cannot be asked for"),
    ],
)
async def test_a_lost_answer_is_never_sent_again(lost: web.Response | Exception) -> None:
    scene = Scene(answers=[lost])
    async with playing(scene) as run:
        assert await run(JOB) == "raysubmit_1"
    assert len(scene.posts) == 1


async def test_a_lost_answer_of_a_job_that_was_not_taken() -> None:
    scene = Scene(takes=False, answers=[told("Traceback: boom", 500)])
    async with playing(scene) as run:
        with pytest.raises(NotTakenError, match="its list does not show the job: it was not taken"):
            await run(JOB)
    assert len(scene.posts) == 1


async def test_it_waits_for_the_nodes_agent() -> None:
    scene = Scene(answers=[told(NO_AGENT, 500), told({"submission_id": "raysubmit_1"})])
    async with playing(scene) as run:
        assert await run(JOB) == "raysubmit_1"
    assert len(scene.posts) == 2


async def test_an_agent_that_never_comes() -> None:
    scene = Scene(takes=False, answers=[told(NO_AGENT, 500)])
    async with playing(scene) as run:
        with pytest.raises(NotTakenError, match="did not take the job within 3 s: HTTP 500 No available agent"):
            await run(JOB)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(told("Traceback\nValueError: entrypoint", 400), "refused the job: HTTP 400 ValueError", id="400"),
        pytest.param(told("Unauthorized: Missing authentication token", 401), "HTTP 401 Unauthorized", id="401"),
        pytest.param(
            told("Traceback\nValueError: Job mine exists. Please use a different submission_id.", 500),
            "Please use a different submission_id",
            id="the ID is in use",
        ),
    ],
)
async def test_a_refusal_is_told(answer: web.Response, said: str) -> None:
    scene = Scene(takes=False, answers=[answer])
    async with playing(scene) as run:
        with pytest.raises(NotTakenError, match=said):
            await run(JOB)
    assert len(scene.posts) == 1


async def test_two_new_submissions_and_no_answer() -> None:
    scene = Scene(answers=[told("boom", 500)], after=[entry("raysubmit_1"), entry("raysubmit_2")])
    async with playing(scene) as run:
        with pytest.raises(UnconfirmedError, match="2 submissions are new in its list: 'raysubmit_1', 'raysubmit_2'"):
            await run(JOB)


@pytest.mark.parametrize("garbage", [{"not": "a list"}, "<html>", [{"type": 7}]], ids=str)
async def test_a_list_that_turns_to_garbage_confirms_nothing(garbage: Any) -> None:
    scene = Scene(after=garbage)
    async with playing(scene) as run:
        with pytest.raises(UnconfirmedError, match="the head took the job, but could not confirm it within 4 s") as caught:
            await run(JOB)
    assert caught.value.job_id == "raysubmit_1"
    assert len(scene.posts) == 1


async def test_a_list_that_is_garbage_from_the_start_posts_nothing() -> None:
    scene = Scene(before="<html>")
    async with playing(scene) as run:
        with pytest.raises(NotTakenError, match="list of jobs could not be read"):
            await run(JOB)
    assert scene.posts == []


async def test_an_id_that_is_there_already_posts_nothing() -> None:
    scene = Scene(before=[entry("mine")])
    async with playing(scene) as run:
        with pytest.raises(NotTakenError, match="has a job 'mine' already"):
            await run({**JOB, "submission_id": "mine"})
    assert scene.posts == []
