"""A submission from the RayJob to the confirmed submission ID. Read this file first.

Made, waited for, uploaded, posted once, confirmed, recorded. What fails before the head has taken the job leaves nothing
behind; what fails afterwards leaves the job running and says so.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from raysweep import names
from raysweep.clients.connection.overrides import Overrides
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.clients.kubernetes.user_writer import UserWriter
from raysweep.clients.ray.dashboard import Dashboard
from raysweep.clients.ray.endpoint import HeadTransport
from raysweep.clients.ray.tokens import NoTokenError, Tokens
from raysweep.core.model.facts import HeadList, HeadSilent, RayCluster, RayJob
from raysweep.core.text import plain
from raysweep.interrupts import InterruptedByUserError, run_until_interrupted
from raysweep.submission import image_paths, post, rayjob
from raysweep.submission.head import Head, head_of
from raysweep.submission.package import Package
from raysweep.submission.progress import Progress
from raysweep.submission.upload import NotUploadedError, upload

Heard = HeadList | HeadSilent


class NotSubmittedError(Exception):
    """Nothing was submitted; the text says why, and what is left."""


class UncertainError(Exception):
    """The job runs, or may; the text says what is known and what to do."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each wait may take; queue: None for as long as Kueue lets it wait."""

    head: timedelta = timedelta(minutes=10)
    upload: timedelta = timedelta(minutes=5)
    posting: post.Patience = field(default_factory=post.Patience)
    queue: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What is submitted: the RayJob to make, the body of POST /api/jobs/, and what is to be uploaded, if anything."""

    namespace: str
    body: Mapping[str, Any]
    job: Mapping[str, Any] = field(
        repr=False
    )  # holds the entrypoint and the runtime environment, and so secrets
    package: Package | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that its head lists."""

    rayjob: RayJob
    cluster: RayCluster
    job_id: str
    head: Head


@dataclass(frozen=True)
class Submitter:
    """Everything a submission speaks with. `interrupted` is set by Ctrl-C, `progress` shows a person how it goes."""

    author: UserWriter
    dashboard: Dashboard
    way: HeadTransport
    tokens: Tokens
    patience: Patience
    interrupted: asyncio.Event
    progress: Progress
    connection: Overrides = field(default_factory=Overrides)
    """For the commands that a person is told to paste."""

    async def submit(self, work: Work) -> Submitted:
        """Raises NameTakenError, NotSubmittedError, UncertainError; before the RayJob: InterruptedByUserError, ApiError."""
        if self.interrupted.is_set():
            raise InterruptedByUserError("interrupted, nothing was submitted")
        made = await rayjob.create(self.author, work.namespace, work.body)
        self.progress.say(f"created RayJob {made.key}")
        try:
            limits = rayjob.Limits(self.patience.head, self.patience.queue)
            with self.progress.wait(rayjob.WAITING_FOR_HEAD) as report:
                found = await run_until_interrupted(
                    self.interrupted, rayjob.ready(self.author, made, limits, report)
                )
            head = await head_of(self.way, self.tokens, found.cluster)
            if work.package:
                await run_until_interrupted(
                    self.interrupted,
                    upload(head, work.package, self.patience.upload, self.progress),
                )
            if self.interrupted.is_set():
                raise InterruptedByUserError("interrupted")
            with self.progress.wait("submitting the job") as report:
                report("")
                listed = heard(lambda: self.dashboard.jobs(found.cluster))
                job = work.job
                if image_paths.has_any(job):
                    job = image_paths.in_place(job, await head.ray_version())
                to = post.To(head, listed, self.interrupted)
                job_id = await post.submit(to, job, self.patience.posting)
        except post.UnconfirmedError as error:
            raise UncertainError(_uncertain(self.connection, made, error)) from error
        except (
            rayjob.NotReadyError,
            NotUploadedError,
            post.NotTakenError,
            NoTokenError,
            InterruptedByUserError,
            ApiError,
        ) as error:
            raise NotSubmittedError(await self._removed(made, error)) from error
        try:
            await rayjob.record(self.author, found.rayjob, job_id)
        except ApiError as error:
            raise UncertainError(_unrecorded(self.connection, made, job_id, error)) from error
        return Submitted(found.rayjob, found.cluster, job_id, head)

    async def _removed(self, made: RayJob, error: Exception) -> str:
        """What happened, what exists now, and what to do."""
        failed = await rayjob.remove(self.author, made)
        if not failed:
            return f"{error}; nothing was submitted, and RayJob {made.key} was removed again{_advice(error)}"
        left = f"RayJob {made.key} could not be removed ({plain(failed)})"
        delete = _delete(self.connection, made)
        return f"{error}; nothing was submitted, but {left}: it goes by its {names.TTL_UNSUBMITTED}, or by {delete}"


def heard(probe: Callable[[], Awaitable[Heard]]) -> Callable[[], Awaitable[Heard]]:
    """A look at a head whose token the API server did not give: no more is known then than of a head that is silent.

    Once a job was posted, an API server that is away for a moment must not pass for a head that has not taken it.
    """

    async def look_or_silence() -> Heard:
        try:
            return await probe()
        except ApiError as error:
            return HeadSilent(plain(error))

    return look_or_silence


def _advice(error: Exception) -> str:
    if isinstance(error, rayjob.StillQueuedError):
        return "; look at the queue's quota, or give it longer with --queue-timeout"
    if isinstance(error, rayjob.NotReadyError):
        return "; look at its Events and quota, or give it longer with --head-timeout"
    if isinstance(error, NotUploadedError):
        return "; submit again, or give it longer with --upload-timeout"
    if isinstance(error, InterruptedByUserError):
        return ""
    return "; mend that and submit again"


def _uncertain(connection: Overrides, made: RayJob, error: post.UnconfirmedError) -> str:
    known, log = (
        error.job_id or "ID",
        connection.kubectl("raysweep", "logs", made.name, "-n", made.namespace),
    )
    return (
        f"{error}; RayJob {made.key} and its cluster stay, since the job may run there; "
        f"see it with `{log}`, and once you know its ID: {_set_id(connection, made, known)}; "
        f"or give it up: {_delete(connection, made)}"
    )


def _unrecorded(connection: Overrides, made: RayJob, job_id: str, error: ApiError) -> str:
    return (
        f"the job runs as {job_id}, but KubeRay could not be told ({plain(error)}); "
        f"RayJob {made.key} stays; tell it: {_set_id(connection, made, job_id)}"
    )


def _set_id(connection: Overrides, made: RayJob, job_id: str) -> str:
    """The ID stands in JSON beyond whose ASCII everything is escaped, so it can be shown whatever the head called it."""
    patch = json.dumps({"spec": {"jobId": job_id}}, separators=(",", ":"))
    where = ("-n", made.namespace, "--type", "merge", "-p", patch)
    return connection.kubectl("patch", "rayjob", made.name, *where)


def _delete(connection: Overrides, made: RayJob) -> str:
    return connection.kubectl("delete", "rayjob", made.name, "-n", made.namespace)
