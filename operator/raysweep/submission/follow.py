"""Follows a submitted job to its end: writes its log and watches its status. It only reads."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from raysweep.clients.kubernetes.errors import ApiError
from raysweep.clients.kubernetes.user_client import UserClient
from raysweep.clients.ray.dashboard import Dashboard
from raysweep.core.head_report import own_submissions
from raysweep.core.job_status import DEADLINE_REASONS, TERMINAL_JOB_STATUS
from raysweep.core.model.facts import HeadList, HeadSilent, JobEntry, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.text import plain, quoted
from raysweep.submission.head import (
    AnswerLostError,
    Head,
    NotSentError,
    Probe,
    RefusedError,
    silent_on_api_error,
)
from raysweep.submission.rayjob import retry
from raysweep.submission.submit import SubmittedJob

PROBE_INTERVAL = timedelta(seconds=1)
RAYJOB_INTERVAL = timedelta(seconds=3)
SILENCE_LIMIT = timedelta(minutes=5)
"""How long a head may be silent while its RayJob reports no end either."""

Write = Callable[[bytes], None]


class OutcomeUnknownError(Exception):
    """The outcome of the job cannot be determined."""


@dataclass(frozen=True)
class JobView:
    """Where the state of a job is read: its head, and its RayJob (None if that is gone)."""

    head: Head
    job_id: str
    probe: Probe
    read_rayjob: Callable[[], Awaitable[RayJob | None]]


@dataclass
class _Log:
    """How much of the log was written, and the node that has it once that is known."""

    write: Write
    written: int = 0
    node_id: str = ""
    has_node: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, chunk: bytes, offset: int) -> int:
        """Writes what is new of a chunk at `offset` of the log. Returns the offset after it."""
        end = offset + len(chunk)
        if new := chunk[max(self.written - offset, 0) :]:
            self.write(new)
            self.written = end
        return end

    def set_node(self, node_id: str) -> None:
        """Sets the node once it is known."""
        if node_id and not self.has_node.is_set():
            self.node_id = node_id
            self.has_node.set()


def view_of(job: SubmittedJob, client: UserClient, dashboard: Dashboard) -> JobView:
    """Returns the view of a submitted job."""
    rayjob = job.rayjob

    async def read_rayjob() -> RayJob | None:
        try:
            current = await retry(lambda: client.rayjob(rayjob.namespace, rayjob.name))
        except ApiError:  # unavailable for long, or no longer allowed: the head alone counts
            return rayjob
        return current if current and current.uid == rayjob.uid else None

    probe = silent_on_api_error(lambda: dashboard.job(job.cluster, job.job_id))
    return JobView(job.head, job.job_id, probe, read_rayjob)


async def follow(view: JobView, write: Write) -> Outcome:
    """Writes the log until the job ends. Returns its outcome. Raises OutcomeUnknownError."""
    log = _Log(write)
    streaming = asyncio.create_task(_stream(view, log))
    try:
        outcome = await _wait_for_end(view, log)
    finally:
        streaming.cancel()
        await asyncio.gather(streaming, return_exceptions=True)
    await _write_rest(view, log)
    return outcome


async def write_log(head: Head, entry: JobEntry, write: Write, lines: int = -1) -> None:
    """Writes the log so far, or its last lines. A job that never ran has none."""
    if not entry.node_id:
        return
    async with head.log(entry.submission_id, entry.node_id, follow=False, lines=lines) as chunks:
        async for chunk in chunks:
            write(chunk)


async def _wait_for_end(view: JobView, log: _Log) -> Outcome:
    """The head's report counts first.

    The RayJob counts if the head is silent, or if it has passed a deadline.
    """
    clock = asyncio.get_running_loop().time
    last_report = next_rayjob = clock()
    problem = ""
    while True:
        answer = await view.probe()
        entry = _entry_of(answer, view.job_id)
        if entry:
            last_report = clock()
            log.set_node(entry.node_id)
            if entry.status in TERMINAL_JOB_STATUS:
                return TERMINAL_JOB_STATUS[entry.status]
        elif isinstance(answer, HeadSilent):
            problem = answer.detail
        else:
            problem = answer.unreadable or "it no longer knows the job"
        if clock() >= next_rayjob:
            next_rayjob = clock() + RAYJOB_INTERVAL.total_seconds()
            if outcome := await _outcome_of_rayjob(view, is_active=entry is not None):
                return outcome
        if clock() - last_report > SILENCE_LIMIT.total_seconds():
            message = f"the head has not reported {quoted(view.job_id)} for {SILENCE_LIMIT}"
            raise OutcomeUnknownError(f"{message}: {plain(problem)}")
        await asyncio.sleep(PROBE_INTERVAL.total_seconds())


async def _outcome_of_rayjob(view: JobView, *, is_active: bool) -> Outcome | None:
    """The outcome by KubeRay, if it reports an end.

    If the head reports the job as active, only a deadline of the RayJob ends it.
    """
    rayjob = await view.read_rayjob()
    if rayjob is None:
        raise OutcomeUnknownError("the RayJob was deleted while its job was followed")
    if rayjob.deployment_status not in ("Complete", "Failed"):
        return None
    if is_active and rayjob.reason not in DEADLINE_REASONS:
        return None
    return TERMINAL_JOB_STATUS.get(rayjob.job_status, Outcome.FAILED)


def _entry_of(answer: HeadList | HeadSilent, job_id: str) -> JobEntry | None:
    entries = answer.entries if isinstance(answer, HeadList) else ()
    return next(iter(own_submissions(entries, job_id)), None)


async def _stream(view: JobView, log: _Log) -> None:
    """Streams the log. After each break it starts again, and leaves out what was written."""
    await log.has_node.wait()
    while True:
        await _write_new(view, log, follow=True)
        await asyncio.sleep(PROBE_INTERVAL.total_seconds())


async def _write_rest(view: JobView, log: _Log) -> None:
    """Writes what the stream had not written when the job ended, if the head still exists."""
    if log.node_id:
        await _write_new(view, log, follow=False)


async def _write_new(view: JobView, log: _Log, *, follow: bool) -> None:
    with contextlib.suppress(AnswerLostError, NotSentError, RefusedError):
        async with view.head.log(view.job_id, log.node_id, follow=follow) as chunks:
            offset = 0
            async for chunk in chunks:
                offset = log.add(chunk, offset)
