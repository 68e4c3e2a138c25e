"""Follows a submitted job to its end: its log as it is written, beside its status. It stops nothing and deletes nothing."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from raysweep.core.job_status import DEADLINE_REASONS, TERMINAL_JOB_STATUS
from raysweep.core.model.facts import HeadList, HeadSilent, JobEntry, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.text import plain, quoted
from raysweep.submission.head import Head, LostError, NotSentError, RefusedError

ASK_AGAIN_AFTER = timedelta(seconds=1)
PROBE_AGAIN_AFTER = timedelta(seconds=3)
SILENT_FOR = timedelta(minutes=5)
"""A head that answers nothing for so long, while its RayJob says nothing either, is given up."""

Write = Callable[[bytes], None]


class LostSightError(Exception):
    """Nobody can tell any more how the job ends."""


@dataclass(frozen=True)
class Sight:
    """Where the job is seen: its head, the head's word on it by ID, and its RayJob (None: it is gone)."""

    head: Head
    job_id: str
    ask: Callable[[], Awaitable[HeadList | HeadSilent]]
    rayjob: Callable[[], Awaitable[RayJob | None]]


@dataclass
class _Log:
    """How much of the log was written so far, and whether the job has ended."""

    write: Write
    written: int = 0
    node_id: str = ""
    is_known: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, piece: bytes, offset: int) -> int:
        """A piece that begins at that offset of the log; what was written before is left out. The offset after it."""
        if new := piece[max(self.written - offset, 0) :]:
            self.write(new)
            self.written = offset + len(piece)
        return offset + len(piece)


async def follow(sight: Sight, write: Write) -> Outcome:
    """Writes the log until the job has ended; how it ended. Raises LostSightError."""
    log = _Log(write)
    streaming = asyncio.create_task(_stream(sight, log))
    try:
        outcome = await _until_ended(sight, log)
    finally:
        streaming.cancel()
        await asyncio.gather(streaming, return_exceptions=True)
    await _rest(sight, log)
    return outcome


async def whole_log(head: Head, entry: JobEntry, write: Write, lines: int = -1) -> None:
    """The log as it is now; lines: only the last so many. Nothing where the job never began to run."""
    if entry.node_id:
        async with head.log(
            entry.submission_id, entry.node_id, follow=False, lines=lines
        ) as pieces:
            async for piece in pieces:
                write(piece)


async def _until_ended(sight: Sight, log: _Log) -> Outcome:
    """The head has the first word; the RayJob's counts where the head is silent, and once it says that the job has ended."""
    now = asyncio.get_running_loop().time
    heard_at, probe_heads, said = now(), now(), ""
    while True:
        found = await sight.ask()
        entry = _own(found, sight.job_id)
        if entry:
            heard_at = now()
            _learn(log, entry)
            if entry.status in TERMINAL_JOB_STATUS:
                return TERMINAL_JOB_STATUS[entry.status]
        elif isinstance(found, HeadSilent):
            said = found.detail
        else:
            said = found.unreadable or "it does not know the job any more"
        if now() >= probe_heads:
            probe_heads = now() + PROBE_AGAIN_AFTER.total_seconds()
            if outcome := await _by_rayjob(sight, is_active=entry is not None):
                return outcome
        if now() - heard_at > SILENT_FOR.total_seconds():
            raise LostSightError(
                f"the head has said nothing of {quoted(sight.job_id)} for {SILENT_FOR}: {plain(said)}"
            )
        await asyncio.sleep(ASK_AGAIN_AFTER.total_seconds())


async def _by_rayjob(sight: Sight, *, is_active: bool) -> Outcome | None:
    """What KubeRay has written of the end, if it has. Of a job that the head calls active only a deadline ends it."""
    job = await sight.rayjob()
    if job is None:
        raise LostSightError("its RayJob is gone: somebody deleted it while the job was followed")
    if job.deployment_status not in ("Complete", "Failed") or (
        is_active and job.reason not in DEADLINE_REASONS
    ):
        return None
    return TERMINAL_JOB_STATUS.get(job.job_status, Outcome.FAILED)


def _learn(log: _Log, entry: JobEntry) -> None:
    if entry.node_id and not log.is_known.is_set():
        log.node_id = entry.node_id
        log.is_known.set()


def _own(found: HeadList | HeadSilent, job_id: str) -> JobEntry | None:
    entries = found.entries if isinstance(found, HeadList) else ()
    return next((entry for entry in entries if entry.submission_id == job_id), None)


async def _stream(sight: Sight, log: _Log) -> None:
    """From the beginning again after every break; what was written is left out."""
    await log.is_known.wait()
    while True:
        with contextlib.suppress(LostError, NotSentError, RefusedError):
            async with sight.head.log(sight.job_id, log.node_id, follow=True) as pieces:
                offset = 0
                async for piece in pieces:
                    offset = log.take(piece, offset)
        await asyncio.sleep(ASK_AGAIN_AFTER.total_seconds())


async def _rest(sight: Sight, log: _Log) -> None:
    """What the stream had not brought when the job ended. A head that is gone by now has none any more."""
    if not log.node_id:
        return
    with contextlib.suppress(LostError, NotSentError, RefusedError):
        async with sight.head.log(sight.job_id, log.node_id, follow=False) as pieces:
            offset = 0
            async for piece in pieces:
                offset = log.take(piece, offset)
