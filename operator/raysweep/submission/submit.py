"""Submits a job: from the RayJob to the confirmed submission ID. Read this file first.

The RayJob is created, its head awaited, the working directory uploaded, the job posted once and
confirmed, and its ID recorded in the RayJob. If a step fails before the head accepts the job, the
RayJob is deleted. If one fails later, the job keeps running and the error says so.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from raysweep import names
from raysweep.clients.connection.overrides import Overrides
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.clients.kubernetes.user_writer import UserWriter
from raysweep.clients.ray.dashboard import Dashboard
from raysweep.clients.ray.tokens import NoTokenError, Tokens
from raysweep.clients.ray.transport import HeadTransport
from raysweep.core.model.facts import RayCluster, RayJob
from raysweep.core.text import plain
from raysweep.interrupts import InterruptedByUserError, run_until_interrupted
from raysweep.submission import image_paths, post, rayjob
from raysweep.submission.head import Head, head_of, silent_on_api_error
from raysweep.submission.head_wait import (
    WAITING_FOR_HEAD,
    HeadTimeouts,
    NotReadyError,
    ReadyRayJob,
    StillQueuedError,
    wait_for_head,
)
from raysweep.submission.package import Package
from raysweep.submission.post import PostTimeouts
from raysweep.submission.progress import Progress
from raysweep.submission.upload import NotUploadedError, upload


class NotSubmittedError(Exception):
    """Nothing was submitted. The text says why, and what is left."""


class UncertainError(Exception):
    """The job runs, or may run. The text says what is certain and what to do."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each step may take. queue: None for no limit."""

    head: timedelta = timedelta(minutes=10)
    upload: timedelta = timedelta(minutes=5)
    post: PostTimeouts = field(default_factory=PostTimeouts)
    queue: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """What is submitted: a RayJob, the body of POST /api/jobs/, and the working directory.

    The body holds the entrypoint and the runtime environment, which may be secrets.
    """

    namespace: str
    rayjob: Mapping[str, Any]
    job: Mapping[str, Any] = field(repr=False)
    package: Package | None = None


@dataclass(frozen=True, slots=True)
class SubmittedJob:
    """A job that its head lists."""

    rayjob: RayJob
    cluster: RayCluster
    job_id: str
    head: Head


@dataclass(frozen=True)
class Submitter:
    """The clients of a submission. Ctrl-C sets `interrupted`.

    overrides: the connection flags for the commands that an error proposes.
    """

    writer: UserWriter
    dashboard: Dashboard
    transport: HeadTransport
    tokens: Tokens
    timeouts: Timeouts
    interrupted: asyncio.Event
    progress: Progress
    overrides: Overrides = field(default_factory=Overrides)

    async def submit(self, submission: Submission) -> SubmittedJob:
        """Submits the job.

        Raises NameTakenError, NotSubmittedError, UncertainError. Before the RayJob is created it
        raises InterruptedByUserError and ApiError.
        """
        if self.interrupted.is_set():
            raise InterruptedByUserError("interrupted, nothing was submitted")
        created = await rayjob.create(self.writer, submission.namespace, submission.rayjob)
        self.progress.say(f"created RayJob {created.key}")
        try:
            ready = await self._wait_for_head(created)
            head = await head_of(self.transport, self.tokens, ready.cluster)
            await self._upload(head, submission.package)
            job_id = await self._post(head, ready.cluster, submission.job)
        except post.UnconfirmedError as error:
            raise UncertainError(self._uncertain_message(created, error)) from error
        except (
            NotReadyError,
            NotUploadedError,
            post.NotAcceptedError,
            NoTokenError,
            InterruptedByUserError,
            ApiError,
        ) as error:
            raise NotSubmittedError(await self._clean_up(created, error)) from error
        try:
            await rayjob.set_job_id(self.writer, ready.rayjob, job_id)
        except ApiError as error:
            raise UncertainError(self._unrecorded_message(created, job_id, error)) from error
        return SubmittedJob(ready.rayjob, ready.cluster, job_id, head)

    async def _wait_for_head(self, created: RayJob) -> ReadyRayJob:
        timeouts = HeadTimeouts(self.timeouts.head, self.timeouts.queue)
        with self.progress.wait(WAITING_FOR_HEAD) as report:
            work = wait_for_head(self.writer, created, timeouts, report)
            return await run_until_interrupted(self.interrupted, work)

    async def _upload(self, head: Head, package: Package | None) -> None:
        if package:
            work = upload(head, package, self.timeouts.upload, self.progress)
            await run_until_interrupted(self.interrupted, work)

    async def _post(self, head: Head, cluster: RayCluster, job: Mapping[str, Any]) -> str:
        """Posts the job and returns its confirmed ID. Ctrl-C does not cut off a request."""
        if self.interrupted.is_set():
            raise InterruptedByUserError("interrupted")
        with self.progress.wait("submitting the job") as report:
            report("")
            if image_paths.has_any(job):
                job = image_paths.resolve(job, await head.ray_version())
            list_jobs = silent_on_api_error(lambda: self.dashboard.jobs(cluster))
            target = post.PostTarget(head, list_jobs, self.interrupted)
            return await post.submit(target, job, self.timeouts.post)

    async def _clean_up(self, created: RayJob, error: Exception) -> str:
        """Deletes the RayJob. Returns what happened, what exists now, and what to do."""
        try:
            await rayjob.delete(self.writer, created)
        except ApiError as failure:
            left = f"RayJob {created.key} could not be deleted: {plain(failure)}"
            limit = f"{names.TTL_UNSUBMITTED} limits how long it stays"
            hint = f"To delete it now, run `{self._delete_command(created)}`"
            return f"{error}. Nothing was submitted, but {left}. {limit}. {hint}"
        return f"{error}. Nothing was submitted, RayJob {created.key} was deleted{_hint(error)}"

    def _uncertain_message(self, created: RayJob, error: post.UnconfirmedError) -> str:
        place = (created.name, "-n", created.namespace)
        log = self.overrides.kubectl("raysweep", "logs", *place)
        set_id = self._set_id_command(created, error.job_id or "ID")
        return (
            f"{error}. RayJob {created.key} and its cluster are kept, since the job may run there. "
            f"To see the log, run `{log}`. To record the submission ID, run `{set_id}`. "
            f"To give the job up, run `{self._delete_command(created)}`"
        )

    def _unrecorded_message(self, created: RayJob, job_id: str, error: ApiError) -> str:
        set_id = self._set_id_command(created, job_id)
        return (
            f"the job runs as {job_id}, but its ID could not be recorded: {plain(error)}. "
            f"RayJob {created.key} is kept. To record the submission ID, run `{set_id}`"
        )

    def _set_id_command(self, created: RayJob, job_id: str) -> str:
        """JSON escapes everything outside ASCII, so any ID of a head is safe to show."""
        patch = json.dumps({"spec": {"jobId": job_id}}, separators=(",", ":"))
        options = ("-n", created.namespace, "--type", "merge", "-p", patch)
        return self.overrides.kubectl("patch", "rayjob", created.name, *options)

    def _delete_command(self, created: RayJob) -> str:
        return self.overrides.kubectl("delete", "rayjob", created.name, "-n", created.namespace)


def _hint(error: Exception) -> str:
    if isinstance(error, InterruptedByUserError):
        return ""
    if isinstance(error, StillQueuedError):
        return ". Check the quota of the queue, or increase --queue-timeout"
    if isinstance(error, NotReadyError):
        return ". Check its Events and quota, or increase --head-timeout"
    if isinstance(error, NotUploadedError):
        return ". Submit again, or increase --upload-timeout"
    return ". Correct this and submit again"
