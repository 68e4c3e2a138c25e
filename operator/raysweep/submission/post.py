"""Posts a job to a Ray head, once, and confirms its submission ID by the head's own list. What is posted is no matter here.

A request whose fate is unknown is never sent again: the list tells what became of it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from raysweep.core.model.facts import HeadList, HeadSilent
from raysweep.core.text import plain, quoted
from raysweep.submission.head import (
    NO_AGENT,
    Head,
    Json,
    LostError,
    NotSentError,
    RefusedError,
    is_usable,
)

AGAIN_AFTER = timedelta(seconds=1)

List = Callable[[], Awaitable[HeadList | HeadSilent]]
"""The head's list of jobs."""


class NotTakenError(Exception):
    """The head has not taken the job: nothing of it runs there."""


class UnconfirmedError(Exception):
    """The job was taken, or may have been, and its submission ID is not known for certain. `job_id`: what the head answered."""

    def __init__(self, message: str, job_id: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for the head to take the job, and then for its list to show it.

    settled: once an answer got lost, a head that has not listed the job by then has not taken it (it waits 10 s for its agent).
    """

    post: timedelta = timedelta(seconds=60)
    confirm: timedelta = timedelta(seconds=45)
    settled: timedelta = timedelta(seconds=15)


@dataclass(frozen=True)
class To:
    """Where a job is posted: the head, its list, and Ctrl-C, which stops what was not sent yet."""

    head: Head
    listed: List
    interrupted: asyncio.Event

    async def pause(self) -> None:
        """Before the next try. Raises NotTakenError at Ctrl-C."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_AFTER.total_seconds()):
                await self.interrupted.wait()
            raise NotTakenError("interrupted")


async def submit(to: To, job: Json, patience: Patience) -> str:
    """The confirmed submission ID of this job. job: the body of POST /api/jobs/, with or without a submission_id.

    Raises NotTakenError, UnconfirmedError.
    """
    wanted = str(job.get("submission_id") or "")
    before = await _ids_before(to, patience.post)
    if wanted in before:
        raise NotTakenError(
            f"the head has a job {quoted(wanted)} already; give another --submission-id"
        )
    told, lost = await _post_once(to, job, patience.post)
    if wanted and told not in ("", wanted):
        raise UnconfirmedError(
            f"the head was told {quoted(wanted)} and answers {quoted(told)}", told
        )
    return await _confirm(_Confirmation(to.listed, told or wanted, before, lost), patience)


async def _ids_before(to: To, within: timedelta) -> frozenset[str]:
    """What is there already; without knowing that, a lost answer could not be made good."""
    said = "it was not asked"
    try:
        async with asyncio.timeout(within.total_seconds()):
            while True:
                found = await to.listed()
                if isinstance(found, HeadList) and not found.unreadable:
                    return _submissions(found)
                said = _why_unusable(found)
                if isinstance(found, HeadSilent) and found.unauthorized:
                    raise NotTakenError(f"the head wants a token: {plain(said)}")
                await to.pause()
    except TimeoutError:
        raise NotTakenError(f"the head's list of jobs could not be read: {plain(said)}") from None


async def _post_once(to: To, job: Json, within: timedelta) -> tuple[str, str]:
    """The ID in the head's answer; "" and what came instead where that got lost. Tried again only where nothing can be taken."""
    said = "it was not asked"
    try:
        async with asyncio.timeout(within.total_seconds()) as deadline:
            while True:
                try:
                    async with _undisturbed(deadline):
                        return await to.head.submit(job), ""
                except LostError as error:
                    return "", plain(
                        error
                    ) or "no answer"  # never empty: that would say that it was taken
                except NotSentError as error:
                    said = str(error)
                except RefusedError as error:
                    if NO_AGENT not in error.said and error.code != 429:
                        raise NotTakenError(f"the head refused the job: {plain(error)}") from error
                    said = str(error)
                await to.pause()
    except TimeoutError:
        raise NotTakenError(
            f"the head did not take the job within {within.total_seconds():g} s: {plain(said)}"
        ) from None


@contextlib.asynccontextmanager
async def _undisturbed(deadline: asyncio.Timeout) -> AsyncIterator[None]:
    """A request under way is not cut off by the deadline, for then nobody would know its fate; it has a time of its own."""
    ends = deadline.when()
    deadline.reschedule(None)
    try:
        yield
    finally:
        deadline.reschedule(ends)


@dataclass(frozen=True, slots=True)
class _Confirmation:
    """What is looked for in the head's list: this ID, or "" the only one that is new; lost: what came instead of an answer."""

    listed: List
    wanted: str
    before: frozenset[str]
    lost: str  # "": the head has said that it took the job


async def _confirm(sought: _Confirmation, patience: Patience) -> str:
    """The entry of this submission in the head's list."""
    said, readable_since = "it was not asked", None
    now = asyncio.get_running_loop().time
    ends = now() + patience.confirm.total_seconds()
    while now() < ends:
        found = await sought.listed()
        if isinstance(found, HeadList) and not found.unreadable:
            said = "the job is not in its list"
            readable_since = now() if readable_since is None else readable_since
            if job_id := _own(_submissions(found) - sought.before, sought.wanted):
                return job_id
            if sought.lost and now() - readable_since >= patience.settled.total_seconds():
                told = f"the head's answer got lost ({sought.lost})"
                raise NotTakenError(f"{told}, and its list does not show the job: it was not taken")
        else:
            said, readable_since = _why_unusable(found), None
        await asyncio.sleep(AGAIN_AFTER.total_seconds())
    taken = (
        f"the head may have taken the job, its answer got lost ({sought.lost})"
        if sought.lost
        else "the head took the job"
    )
    limit = f"{patience.confirm.total_seconds():g} s"
    raise UnconfirmedError(
        f"{taken}, but could not confirm it within {limit}: {plain(said)}", sought.wanted
    )


def _own(new: frozenset[str], wanted: str) -> str:
    if wanted:
        return wanted if wanted in new else ""
    if len(new) > 1:
        shown = ", ".join(quoted(one) for one in sorted(new)[:5])
        raise UnconfirmedError(
            f"the head's answer got lost, and {len(new)} submissions are new in its list: {shown}"
        )
    only = next(iter(new), "")
    if only and not is_usable(only):
        raise UnconfirmedError(
            f"the head calls the job {quoted(only)}, which is no usable submission ID"
        )
    return only


def _submissions(found: HeadList) -> frozenset[str]:
    return frozenset(entry.submission_id for entry in found.entries if entry.type == "SUBMISSION")


def _why_unusable(found: HeadList | HeadSilent) -> str:
    return found.unreadable if isinstance(found, HeadList) else found.detail
