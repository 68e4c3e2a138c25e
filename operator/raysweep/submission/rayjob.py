"""The RayJob of a submission on the API server: made once, waited for until its head is up, told its submission ID, or removed.

Every wait is bounded and lets the API server be away for a moment. What the job is, and what the head says, is no matter here.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from raysweep import names
from raysweep.clients.kubernetes.errors import (
    ApiError,
    BusyError,
    ConflictError,
    UnconfirmedNotFoundError,
    UnreachableError,
)
from raysweep.clients.kubernetes.user_writer import UserWriter
from raysweep.clients.parsing.rayjob import parse_rayjob
from raysweep.core.model.facts import RayCluster, RayJob
from raysweep.core.text import plain
from raysweep.submission.progress import Report

AGAIN_AFTER = timedelta(seconds=1)
WRITE_WITHIN = timedelta(seconds=60)
"""How long a write is tried while the API server is away."""
WAITING_FOR_HEAD = "waiting for the Ray head"
ASK_WHY_AFTER = timedelta(seconds=15)
"""How often Kueue's reason for a wait in its queue is read."""
NEVER_READY = ("ValidationFailed", "Failed", "Complete")

AWAY = (BusyError, UnreachableError, UnconfirmedNotFoundError)
"""An API server that is busy or away, or something in between that answers in its place."""

Answer = TypeVar("Answer")


class NameTakenError(Exception):
    """There is a RayJob of that name, and it is not ours."""


class NotReadyError(Exception):
    """The RayJob will not, or did not in time, have a head that can be asked."""


class StillQueuedError(NotReadyError):
    """The RayJob was queued for longer than the caller waits."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait for the head, and before that in a queue; None: without an end."""

    head: timedelta
    queue: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A RayJob whose cluster's head can be asked."""

    rayjob: RayJob
    cluster: RayCluster


async def patiently(
    request: Callable[[], Awaitable[Answer]], within: timedelta = WRITE_WITHIN
) -> Answer:
    """The request, again and again while the API server is busy or away; the last ApiError when the time is up."""
    now = asyncio.get_running_loop().time
    ends = now() + within.total_seconds()
    while True:
        try:
            return await request()
        except AWAY as error:
            wait = (error.retry_after or AGAIN_AFTER).total_seconds()
            if now() + wait > ends:
                raise
            await asyncio.sleep(wait)


async def create(author: UserWriter, namespace: str, body: Mapping[str, Any]) -> RayJob:
    """The RayJob, made once: where an answer got lost, ours is known again by its mark. Raises NameTakenError, ApiError."""
    name, mark = body["metadata"]["name"], body["metadata"]["annotations"][names.SUBMISSION_ID]

    async def once() -> dict[str, Any]:
        try:
            return await author.create_rayjob(namespace, body)
        except ConflictError:
            there = await author.raw_rayjob(namespace, name)
            if (
                there
                and (there["metadata"].get("annotations") or {}).get(names.SUBMISSION_ID) == mark
            ):
                return there
            raise NameTakenError(name) from None

    return parse_rayjob(await patiently(once))


async def ready(author: UserWriter, made: RayJob, limits: Limits, report: Report) -> Ready:
    """Waits until KubeRay calls the cluster ready. Raises NotReadyError, StillQueuedError.

    Time in a queue is not the head's: that begins when the RayJob is resumed, and anew after each
    eviction.
    """
    queue = _Queue(author, made)
    now = asyncio.get_running_loop().time
    is_queued, began = False, now()
    while True:
        job, message = await _probe(author, made)
        if job and job.deployment_status in NEVER_READY:
            raise NotReadyError(
                f"KubeRay says {job.deployment_status}: {plain(message or job.reason or 'no message')}"
            )
        if job and _is_suspended(job) != is_queued:
            is_queued, began = not is_queued, now()
        if job and not is_queued and (cluster := await _cluster(author, job)):
            return Ready(job, cluster)
        waited, stage = now() - began, _progress(job, message)
        limit = limits.queue if is_queued else limits.head
        if limit and waited >= limit.total_seconds():
            raise _given_up(limit, stage, is_queued=is_queued)
        if is_queued:
            report(await queue.stage(stage), queue.what)
        else:
            report(stage, WAITING_FOR_HEAD)
        await asyncio.sleep(AGAIN_AFTER.total_seconds())


async def record(author: UserWriter, rayjob: RayJob, job_id: str) -> None:
    """Writes the confirmed submission ID to spec.jobId, from where KubeRay follows the job."""
    await patiently(lambda: author.set_job_id(rayjob, job_id))


async def remove(author: UserWriter, rayjob: RayJob) -> str:
    """Deletes what was made; "" or why it could not be."""
    try:
        await patiently(lambda: author.delete_rayjob(rayjob), timedelta(seconds=15))
    except ApiError as error:
        return str(error)
    return ""


async def _probe(author: UserWriter, made: RayJob) -> tuple[RayJob | None, str]:
    """None where the API server is away. A RayJob that is gone, or another by now, ends the wait."""
    try:
        there = await author.raw_rayjob(made.namespace, made.name)
    except AWAY:
        return None, ""
    job = parse_rayjob(there) if there else None
    if job is None or job.uid != made.uid or job.deleting_since:
        raise NotReadyError("somebody deleted the RayJob before its cluster was ready")
    if job.unreadable:
        raise NotReadyError(f"its status cannot be read: {job.unreadable}")
    return job, str((there or {}).get("status", {}).get("message") or "")


async def _cluster(author: UserWriter, job: RayJob) -> RayCluster | None:
    """The RayCluster, once its head is up."""
    if job.deployment_status not in ("Waiting", "Running") or not job.cluster_name:
        return None
    try:
        return await author.raycluster(job.namespace, job.cluster_name)
    except AWAY:
        return None


def _is_suspended(job: RayJob) -> bool:
    """Whether nothing of it may run. KubeRay follows spec.suspend a moment later."""
    return job.suspend or job.deployment_status in ("Suspending", "Suspended")


@dataclass
class _Queue:
    """Why a RayJob waits in a queue: Kueue's own reason, if that can be read. It is read now and then only."""

    author: UserWriter
    made: RayJob
    reason: str = ""
    read_at: float = -math.inf

    @property
    def what(self) -> str:
        """What is waited for meanwhile."""
        queue = self.made.labels.get(names.KUEUE_QUEUE_LABEL)
        if queue:
            return f"waiting in Kueue's queue {plain(queue)}"
        return "waiting until somebody resumes the RayJob (spec.suspend is true)"

    async def stage(self, stage: str) -> str:
        """What a person sees meanwhile."""
        now = asyncio.get_running_loop().time()
        if now - self.read_at >= ASK_WHY_AFTER.total_seconds():
            self.reason, self.read_at = await self._why(), now
        return f"{self.reason or stage}; Ctrl-C removes the RayJob"

    async def _why(self) -> str:
        if names.KUEUE_QUEUE_LABEL not in self.made.labels:
            return ""
        try:
            return plain(await self.author.kueue_message(self.made.namespace, self.made.uid))
        except ApiError:  # a version of Kueue that has no such list, or no right to read it
            return ""


def _given_up(limit: timedelta, stage: str, *, is_queued: bool) -> NotReadyError:
    if is_queued:
        return StillQueuedError(f"still queued after {limit.total_seconds():g} s; {stage}")
    return NotReadyError(f"no Ray head within {limit.total_seconds():g} s; {stage}")


def _progress(job: RayJob | None, message: str) -> str:
    if job is None:
        return "the API server does not answer"
    if not job.deployment_status:
        return (
            "KubeRay has not touched the RayJob; is it running, and does it watch this namespace?"
        )
    named = f", RayCluster {job.cluster_name}" if job.cluster_name else ""
    return f"{job.deployment_status}{named}" + (f", {plain(message)}" if message else "")
