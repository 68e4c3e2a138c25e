"""Posts a job once, whatever happens to the answer, and confirms it by the head's own list."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from raysweep.submission.head import Head
from raysweep.submission.post import (
    NotAcceptedError,
    PostTarget,
    PostTimeouts,
    UnconfirmedError,
    submit,
)
from tests.support.builders import a_raycluster
from tests.support.scripted_api import json_response
from tests.support.scripted_head import scripted_head

JOB = {"entrypoint": "true"}
TIMEOUTS = PostTimeouts(timedelta(seconds=3), timedelta(seconds=4), timedelta(seconds=2))
ACCEPTED = json_response({"submission_id": "raysubmit_1"})
NO_AGENT = json_response("No available agent to submit job, please try again later.", 500)


def entry(submission_id: str, kind: str = "SUBMISSION") -> dict[str, Any]:
    return {
        "type": kind,
        "submission_id": submission_id,
        "status": "PENDING",
        "end_time": None,
        "job_id": None,
    }


@dataclass
class ScriptedJobs:
    """The jobs of a head: its list before and after the POST, and its answers to the POST."""

    accepts: bool = True
    answers: list[web.Response | Exception] = field(default_factory=lambda: [ACCEPTED])
    before: Any = field(default_factory=list)
    after: Any = field(default_factory=lambda: [entry("raysubmit_1")])
    on_post: Callable[[], object] = lambda: None
    posts: int = 0
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)

    async def submit(self, job: dict[str, Any]) -> str:
        """Posts a job to this head."""
        async with scripted_head(self.handle) as head:
            cluster = a_raycluster()
            base_url = head.transport.address(cluster, f"{cluster.name}-head-svc")
            target = PostTarget(
                Head(head.transport, base_url, {}),
                lambda: head.dashboard.jobs(cluster),
                self.interrupted,
            )
            return await submit(target, job, TIMEOUTS)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            return json_response(self.after if self.posts and self.accepts else self.before)
        answer = self.answers[min(self.posts, len(self.answers) - 1)]
        self.posts += 1
        self.on_post()
        if isinstance(answer, Exception):
            assert request.transport is not None
            request.transport.abort()
            raise answer
        return web.Response(status=answer.status, body=answer.body)


async def test_the_list_confirms_the_id() -> None:
    jobs = ScriptedJobs(
        before=[entry("older")], after=[entry("older"), entry("raysubmit_1"), entry("", "DRIVER")]
    )
    assert await jobs.submit(JOB) == "raysubmit_1"
    assert jobs.posts == 1


async def test_the_list_confirms_a_requested_id() -> None:
    answer = json_response({"submission_id": "mine"})
    jobs = ScriptedJobs(answers=[answer], after=[entry("mine"), entry("another")])
    assert await jobs.submit({**JOB, "submission_id": "mine"}) == "mine"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(json_response("Traceback: boom", 500), id="500 of a head that accepted it"),
        pytest.param(ConnectionError("cut"), id="a broken connection"),
        pytest.param(json_response("<html>", 502), id="the page of a proxy"),
        pytest.param(json_response("no JSON"), id="200 without JSON"),
        pytest.param(json_response({"submission_id": ".."}), id="200 with an unusable ID"),
    ],
)
async def test_a_request_without_an_answer_is_not_sent_again(
    answer: web.Response | Exception,
) -> None:
    jobs = ScriptedJobs(answers=[answer])
    assert await jobs.submit(JOB) == "raysubmit_1"
    assert jobs.posts == 1


async def test_a_lost_answer_of_a_job_that_was_not_accepted() -> None:
    jobs = ScriptedJobs(accepts=False, answers=[json_response("Traceback: boom", 500)])
    with pytest.raises(NotAcceptedError, match=r"answer was lost .*HTTP 500 Traceback: boom"):
        await jobs.submit(JOB)
    assert jobs.posts == 1


async def test_the_agent_of_the_node_is_awaited() -> None:
    jobs = ScriptedJobs(answers=[NO_AGENT, ACCEPTED])
    assert await jobs.submit(JOB) == "raysubmit_1"
    assert jobs.posts == 2


async def test_a_head_without_an_agent_does_not_accept_the_job() -> None:
    jobs = ScriptedJobs(accepts=False, answers=[NO_AGENT])
    with pytest.raises(NotAcceptedError, match="within 3 s: HTTP 500 No available agent"):
        await jobs.submit(JOB)


async def test_ctrl_c_ends_the_wait_for_the_agent() -> None:
    jobs = ScriptedJobs(answers=[NO_AGENT, ACCEPTED])
    jobs.on_post = jobs.interrupted.set
    with pytest.raises(NotAcceptedError, match="interrupted"):
        await jobs.submit(JOB)
    assert jobs.posts == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(
            json_response("Traceback\nValueError: entrypoint", 400),
            "HTTP 400 ValueError: entrypoint",
            id="400",
        ),
        pytest.param(json_response("Unauthorized: no token", 401), "HTTP 401", id="401"),
        pytest.param(
            json_response("Job mine exists. Please use a different submission_id.", 500),
            "Please use a different submission_id",
            id="the ID is in use",
        ),
    ],
)
async def test_a_refusal_is_reported(answer: web.Response, message: str) -> None:
    jobs = ScriptedJobs(accepts=False, answers=[answer])
    with pytest.raises(NotAcceptedError, match=f"refused the job: .*{message}"):
        await jobs.submit(JOB)
    assert jobs.posts == 1


async def test_two_new_submissions_without_an_answer_are_uncertain() -> None:
    after = [entry("raysubmit_1"), entry("raysubmit_2")]
    jobs = ScriptedJobs(answers=[json_response("boom", 500)], after=after)
    with pytest.raises(UnconfirmedError, match="2 new submissions: 'raysubmit_1', 'raysubmit_2'"):
        await jobs.submit(JOB)


@pytest.mark.parametrize("garbage", [{"not": "a list"}, "<html>", [{"type": 7}]], ids=str)
async def test_a_list_that_becomes_unreadable_confirms_nothing(garbage: Any) -> None:
    jobs = ScriptedJobs(after=garbage)
    with pytest.raises(UnconfirmedError, match="did not confirm it within 4 s") as caught:
        await jobs.submit(JOB)
    assert caught.value.job_id == "raysubmit_1"
    assert jobs.posts == 1


async def test_a_job_is_not_posted_to_a_head_with_an_unreadable_list() -> None:
    jobs = ScriptedJobs(before="<html>")
    with pytest.raises(NotAcceptedError, match="list of jobs could not be read"):
        await jobs.submit(JOB)
    assert jobs.posts == 0


async def test_a_job_is_not_posted_if_its_id_exists() -> None:
    jobs = ScriptedJobs(before=[entry("mine")])
    with pytest.raises(NotAcceptedError, match="already has a job 'mine'"):
        await jobs.submit({**JOB, "submission_id": "mine"})
    assert jobs.posts == 0
