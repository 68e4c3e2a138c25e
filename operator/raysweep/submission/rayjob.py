"""The RayJob of a submission on the API server: made once, waited for until its head is up, told its submission ID, or removed.

Every wait is bounded and lets the API server be away for a moment. What the job is, and what the head says, is no matter here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from raysweep import names
from raysweep.clients.author import Author
from raysweep.clients.errors import ApiError, BusyError, ConflictError, UnprovenError, UnreachableError
from raysweep.clients.parsing import parse_rayjob
from raysweep.core.facts import RayCluster, RayJob
from raysweep.core.text import plain
from raysweep.submission.progress import Report

AGAIN_AFTER = timedelta(seconds=1)
WRITE_WITHIN = timedelta(seconds=60)
"""How long a write is tried while the API server is away."""
NEVER_READY = ("ValidationFailed", "Failed", "Complete")

AWAY = (BusyError, UnreachableError, UnprovenError)
"""An API server that is busy or away, or something in between that answers in its place."""

Answer = TypeVar("Answer")


class NameTakenError(Exception):
    """There is a RayJob of that name, and it is not ours."""


class NotReadyError(Exception):
    """The RayJob will not, or did not in time, have a head that can be asked."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A RayJob whose cluster's head can be asked."""

    rayjob: RayJob
    cluster: RayCluster


async def patiently(request: Callable[[], Awaitable[Answer]], within: timedelta = WRITE_WITHIN) -> Answer:
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


async def create(author: Author, namespace: str, body: Mapping[str, Any]) -> RayJob:
    """The RayJob, made once: where an answer got lost, ours is known again by its mark. Raises NameTakenError, ApiError."""
    name, mark = body["metadata"]["name"], body["metadata"]["annotations"][names.SUBMISSION]

    async def once() -> dict[str, Any]:
        try:
            return await author.create_rayjob(namespace, body)
        except ConflictError:
            there = await author.whole_rayjob(namespace, name)
            if there and (there["metadata"].get("annotations") or {}).get(names.SUBMISSION) == mark:
                return there
            raise NameTakenError(name) from None

    return parse_rayjob(await patiently(once))


async def ready(author: Author, made: RayJob, within: timedelta, report: Report) -> Ready:
    """Waits until KubeRay calls the cluster ready. Raises NotReadyError."""
    stage = ""
    now = asyncio.get_running_loop().time
    began = now()
    while now() - began < within.total_seconds():
        job, message = await _look(author, made)
        if job and job.deployment_status in NEVER_READY:
            raise NotReadyError(f"KubeRay says {job.deployment_status}: {plain(message or job.reason or 'no message')}")
        if job and job.deployment_status in ("Waiting", "Running") and (cluster := await _cluster(author, job)):
            return Ready(job, cluster)
        stage = _progress(job, message)
        report(stage)
        await asyncio.sleep(AGAIN_AFTER.total_seconds())
    raise NotReadyError(f"no Ray head within {within.total_seconds():g} s; {stage}")


async def record(author: Author, rayjob: RayJob, job_id: str) -> None:
    """Writes the confirmed submission ID to spec.jobId, from where KubeRay follows the job."""
    await patiently(lambda: author.set_job_id(rayjob, job_id))


async def remove(author: Author, rayjob: RayJob) -> str:
    """Deletes what was made; "" or why it could not be."""
    try:
        await patiently(lambda: author.delete_rayjob(rayjob), timedelta(seconds=15))
    except ApiError as error:
        return str(error)
    return ""


async def _look(author: Author, made: RayJob) -> tuple[RayJob | None, str]:
    """None where the API server is away. A RayJob that is gone, or another by now, ends the wait."""
    try:
        there = await author.whole_rayjob(made.namespace, made.name)
    except AWAY:
        return None, ""
    job = parse_rayjob(there) if there else None
    if job is None or job.uid != made.uid or job.deleting_since:
        raise NotReadyError("somebody deleted the RayJob while its cluster was starting")
    if job.unreadable:
        raise NotReadyError(f"its status cannot be read: {job.unreadable}")
    return job, str((there or {}).get("status", {}).get("message") or "")


async def _cluster(author: Author, job: RayJob) -> RayCluster | None:
    try:
        return await author.raycluster(job.namespace, job.cluster_name) if job.cluster_name else None
    except AWAY:
        return None


def _progress(job: RayJob | None, message: str) -> str:
    if job is None:
        return "the API server does not answer"
    if not job.deployment_status:
        return "KubeRay has not touched the RayJob; is it running, and does it watch this namespace?"
    named = f", RayCluster {job.cluster_name}" if job.cluster_name else ""
    return f"{job.deployment_status}{named}" + (f", {plain(message)}" if message else "")
