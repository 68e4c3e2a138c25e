"""Posts a job to a Ray head once, and confirms its submission ID by the head's own list of jobs.

A request whose result is unknown is never sent again: the list shows whether the job was accepted.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from raysweep.core.model.facts import HeadList, HeadSilent
from raysweep.core.text import plain, quoted
from raysweep.submission.head import (
    NO_AGENT,
    AnswerLostError,
    Head,
    Json,
    NotSentError,
    Probe,
    RefusedError,
    is_usable,
)

RETRY_AFTER = timedelta(seconds=1)
MOST_IDS_SHOWN = 5


class NotAcceptedError(Exception):
    """The head did not accept the job, so nothing of it runs there."""


class UnconfirmedError(Exception):
    """The head accepted the job, or may have, and its submission ID is uncertain.

    job_id: the ID that the head answered, or "".
    """

    def __init__(self, message: str, job_id: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id


@dataclass(frozen=True, slots=True)
class PostTimeouts:
    """How long to wait until the head accepts the job, and then until its list shows the job.

    settle: if the answer is lost and the list does not show the job for this time, the head did
    not accept it. A head waits 10 s for its agent.
    """

    accept: timedelta = timedelta(seconds=60)
    confirm: timedelta = timedelta(seconds=45)
    settle: timedelta = timedelta(seconds=15)


@dataclass(frozen=True)
class PostTarget:
    """A head, its list of jobs, and the Ctrl-C that stops what was not sent yet."""

    head: Head
    list_jobs: Probe
    interrupted: asyncio.Event

    async def pause(self) -> None:
        """Waits before the next attempt. Raises NotAcceptedError on Ctrl-C."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_AFTER.total_seconds()):
                await self.interrupted.wait()
            raise NotAcceptedError("interrupted")


@dataclass(frozen=True, slots=True)
class _Reply:
    """The head's reply to the POST: an ID, or the cause of a lost answer."""

    job_id: str = ""
    lost_answer: str | None = None


async def submit(target: PostTarget, job: Json, timeouts: PostTimeouts) -> str:
    """Returns the confirmed submission ID. job: the body of POST /api/jobs/.

    Raises NotAcceptedError, UnconfirmedError.
    """
    requested_id = str(job.get("submission_id") or "")
    ids_before = await _ids_before(target, timeouts.accept)
    if requested_id in ids_before:
        message = f"the head already has a job {quoted(requested_id)}"
        raise NotAcceptedError(f"{message}: use another --submission-id")
    reply = await _post_once(target, job, timeouts.accept)
    if requested_id and reply.job_id not in ("", requested_id):
        message = f"{quoted(requested_id)} was requested, but the head answered"
        raise UnconfirmedError(f"{message} {quoted(reply.job_id)}", reply.job_id)
    expected_id = reply.job_id or requested_id
    confirmation = _Confirmation(target.list_jobs, expected_id, ids_before, reply.lost_answer)
    return await confirmation.wait(timeouts)


async def _ids_before(target: PostTarget, timeout: timedelta) -> frozenset[str]:
    """The submissions before the POST. Without them a lost answer could not be resolved."""
    problem = "it was not asked"
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            while True:
                answer = await target.list_jobs()
                if isinstance(answer, HeadList) and not answer.unreadable:
                    return _submission_ids(answer)
                problem = _problem_of(answer)
                if isinstance(answer, HeadSilent) and answer.unauthorized:
                    raise NotAcceptedError(f"the head requires a token: {plain(problem)}")
                await target.pause()
    except TimeoutError:
        message = f"the head's list of jobs could not be read: {plain(problem)}"
        raise NotAcceptedError(message) from None


async def _post_once(target: PostTarget, job: Json, timeout: timedelta) -> _Reply:
    """Posts the job. Retries only if the head certainly did not accept it."""
    problem = "it was not asked"
    try:
        async with asyncio.timeout(timeout.total_seconds()) as deadline:
            while True:
                try:
                    async with _suspended(deadline):
                        return _Reply(await target.head.submit(job))
                except AnswerLostError as error:
                    return _Reply(lost_answer=plain(error))
                except NotSentError as error:
                    problem = str(error)
                except RefusedError as error:
                    problem = str(error)
                    if NO_AGENT not in error.body and error.code != 429:
                        message = f"the head refused the job: {plain(error)}"
                        raise NotAcceptedError(message) from error
                await target.pause()
    except TimeoutError:
        limit = f"{timeout.total_seconds():g} s"
        message = f"the head did not accept the job within {limit}: {plain(problem)}"
        raise NotAcceptedError(message) from None


@contextlib.asynccontextmanager
async def _suspended(deadline: asyncio.Timeout) -> AsyncIterator[None]:
    """Suspends the deadline until the block ends.

    A request in progress has a timeout of its own. Cutting it off would leave its result unknown.
    """
    when = deadline.when()
    deadline.reschedule(None)
    try:
        yield
    finally:
        deadline.reschedule(when)


@dataclass(frozen=True, slots=True)
class _Confirmation:
    """Looks for the job in the head's list: by its ID, or as the only new submission."""

    list_jobs: Probe
    expected_id: str
    ids_before: frozenset[str]
    lost_answer: str | None

    async def wait(self, timeouts: PostTimeouts) -> str:
        """Waits until the list shows the job. Raises NotAcceptedError, UnconfirmedError."""
        problem, readable_since = "it was not asked", None
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeouts.confirm.total_seconds()
        while clock() < deadline:
            answer = await self.list_jobs()
            if isinstance(answer, HeadList) and not answer.unreadable:
                problem = "its list does not show the job"
                if readable_since is None:
                    readable_since = clock()
                if job_id := self._find(answer):
                    return job_id
                if clock() - readable_since >= timeouts.settle.total_seconds():
                    self._check_acceptance()
            else:
                problem, readable_since = _problem_of(answer), None
            await asyncio.sleep(RETRY_AFTER.total_seconds())
        limit = f"{timeouts.confirm.total_seconds():g} s"
        message = f"{self._acceptance()}, but did not confirm it within {limit}: {plain(problem)}"
        raise UnconfirmedError(message, self.expected_id)

    def _check_acceptance(self) -> None:
        """Raises NotAcceptedError if only the list could prove that the job was accepted."""
        if self.lost_answer is not None:
            message = f"the head's answer was lost ({self.lost_answer})"
            raise NotAcceptedError(f"{message}, and its list does not show the job")

    def _acceptance(self) -> str:
        if self.lost_answer is None:
            return "the head accepted the job"
        return f"the head may have accepted the job (its answer was lost: {self.lost_answer})"

    def _find(self, answer: HeadList) -> str:
        new_ids = _submission_ids(answer) - self.ids_before
        if self.expected_id:
            return self.expected_id if self.expected_id in new_ids else ""
        if not new_ids:
            return ""
        if len(new_ids) > 1:
            shown = ", ".join(quoted(job_id) for job_id in sorted(new_ids)[:MOST_IDS_SHOWN])
            message = f"the head's answer was lost, and its list has {len(new_ids)} new submissions"
            raise UnconfirmedError(f"{message}: {shown}")
        (job_id,) = new_ids
        if not is_usable(job_id):
            raise UnconfirmedError(f"the head uses an invalid submission ID, {quoted(job_id)}")
        return job_id


def _submission_ids(answer: HeadList) -> frozenset[str]:
    return frozenset(entry.submission_id for entry in answer.entries if entry.type == "SUBMISSION")


def _problem_of(answer: HeadList | HeadSilent) -> str:
    return answer.unreadable if isinstance(answer, HeadList) else answer.detail
