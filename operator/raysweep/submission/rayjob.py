"""The RayJob of a submission on the API server: created once, given its submission ID, or deleted.

Every write is retried for a limited time while the API server is unavailable.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from raysweep import names
from raysweep.clients.kubernetes.errors import (
    BusyError,
    ConflictError,
    UnconfirmedNotFoundError,
    UnreachableError,
)
from raysweep.clients.kubernetes.user_writer import UserWriter
from raysweep.clients.parsing.rayjob import parse_rayjob
from raysweep.core.model.facts import RayJob

RETRY_AFTER = timedelta(seconds=1)
RETRY_FOR = timedelta(seconds=60)
DELETE_RETRY_FOR = timedelta(seconds=15)

UNAVAILABLE = (BusyError, UnreachableError, UnconfirmedNotFoundError)
"""The API server is busy or unreachable, or a proxy before it answers in its place."""

Result = TypeVar("Result")


class NameTakenError(Exception):
    """Another RayJob of that name exists."""


async def retry(request: Callable[[], Awaitable[Result]], limit: timedelta = RETRY_FOR) -> Result:
    """Repeats the request while the API server is unavailable. Raises the last ApiError."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + limit.total_seconds()
    while True:
        try:
            return await request()
        except UNAVAILABLE as error:
            delay = (error.retry_after or RETRY_AFTER).total_seconds()
            if clock() + delay > deadline:
                raise
            await asyncio.sleep(delay)


async def create(writer: UserWriter, namespace: str, body: Mapping[str, Any]) -> RayJob:
    """Creates the RayJob once. Raises NameTakenError, ApiError.

    If an answer is lost, the annotation with the ID of this submission identifies the RayJob.
    """
    name = body["metadata"]["name"]
    submission_id = body["metadata"]["annotations"][names.SUBMISSION_ID]

    async def create_or_find() -> dict[str, Any]:
        try:
            return await writer.create_rayjob(namespace, body)
        except ConflictError:
            existing = await writer.raw_rayjob(namespace, name)
            annotations = (existing or {"metadata": {}})["metadata"].get("annotations") or {}
            if existing and annotations.get(names.SUBMISSION_ID) == submission_id:
                return existing
            raise NameTakenError(name) from None

    return parse_rayjob(await retry(create_or_find))


async def set_job_id(writer: UserWriter, rayjob: RayJob, job_id: str) -> None:
    """Writes the confirmed submission ID to spec.jobId, by which KubeRay follows the job."""
    await retry(lambda: writer.set_job_id(rayjob, job_id))


async def delete(writer: UserWriter, rayjob: RayJob) -> None:
    """Deletes the created RayJob. Raises ApiError."""
    await retry(lambda: writer.delete_rayjob(rayjob), DELETE_RETRY_FOR)
