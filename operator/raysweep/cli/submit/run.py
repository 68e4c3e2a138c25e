"""Runs `raysweep submit`, from its flags to the exit code: messages on the terminal, and Ctrl-C.

request.py builds what is submitted. submission/submit.py submits it.
"""

import asyncio
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from raysweep.cli.common import formatting, terminal
from raysweep.cli.common.errors import FailedError
from raysweep.cli.common.options import (
    EXIT_INTERRUPTED,
    EXIT_JOB_FAILED,
    EXIT_NAME_CONFLICT,
    EXIT_NOT_SUBMITTED,
    EXIT_OK,
    EXIT_STOPPED,
    EXIT_USAGE,
    Options,
)
from raysweep.cli.common.progress import progress_for
from raysweep.cli.common.session import Session, open_session, say, this_program
from raysweep.cli.submit import output
from raysweep.cli.submit.documents import FileError
from raysweep.cli.submit.name_conflict import NameConflictError, resolve_conflict
from raysweep.cli.submit.request import Flags, SubmitRequest, build_request
from raysweep.clients.connection.kubeconfig import ClientConfigError
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.clients.ray.tokens import Tokens
from raysweep.core.model.outcome import Outcome
from raysweep.interrupts import InterruptedByUserError, Interrupts, ctrl_c
from raysweep.submission import companions, package
from raysweep.submission.companions import Companion, CompanionError
from raysweep.submission.follow import JobView, OutcomeUnknownError, follow, view_of
from raysweep.submission.head import AnswerLostError, NotSentError, RefusedError
from raysweep.submission.manifest import ManifestError
from raysweep.submission.package import Package, PackageError
from raysweep.submission.post import PostTimeouts
from raysweep.submission.rayjob import NameTakenError
from raysweep.submission.submit import (
    NotSubmittedError,
    Submission,
    SubmittedJob,
    Submitter,
    Timeouts,
    UncertainError,
)

EXIT_CODES = {
    Outcome.SUCCEEDED: EXIT_OK,
    Outcome.FAILED: EXIT_JOB_FAILED,
    Outcome.STOPPED: EXIT_STOPPED,
}
STOP_WITHIN = timedelta(seconds=3)
"""How soon after the first Ctrl-C a second one stops the job."""


async def submit(words: tuple[str, ...], flags: Flags) -> int:
    """Returns the exit code. Reports every problem of the flags before anything is created."""
    try:
        request = build_request(words, flags)
        with tempfile.TemporaryDirectory(prefix="raysweep-") as folder:
            packed = await _pack(request, Path(folder))
            if flags["dry_run"] == "client":
                output.print_objects(request, [*request.companions, request.manifest.body])
                return EXIT_OK
            return await _connect_and_submit(request, packed)
    except (ManifestError, CompanionError, PackageError) as error:
        for problem in error.problems:
            say(formatting.safe(problem))
    except FileError as error:
        say(formatting.safe(error))
    except (ClientConfigError, FailedError, ApiError) as error:  # 1 would mean that the job failed
        say(f"{formatting.safe(error)}. Nothing was submitted")
        return EXIT_NOT_SUBMITTED
    return EXIT_USAGE


async def _pack(request: SubmitRequest, folder: Path) -> Package | None:
    """Packs the working directory, if there is one to upload."""
    job = request.job
    if not job.working_dir:
        return None
    directory = Path(job.working_dir)
    progress = progress_for(say, quiet=request.flags["quiet"])
    with progress.wait("packing the working directory"):
        packed = await asyncio.to_thread(
            package.prepare, directory, job.excludes, folder, job.place
        )
    if packed.note:
        say(formatting.safe(packed.note))
    return packed


async def _connect_and_submit(request: SubmitRequest, packed: Package | None) -> int:
    flags = request.flags
    names = [field.name for field in fields(Options) if field.name in flags]
    options = Options(**{name: flags[name] for name in names}, sends=True)
    async with open_session(options) as session, ctrl_c() as interrupts:
        metadata = request.manifest.body["metadata"]
        session.namespace = metadata.get("namespace") or session.namespace
        run = _Run(request, session, interrupts)
        await run.check_companions()
        if flags["dry_run"] == "server":
            await run.print_dry_run()
            return EXIT_OK
        for note in request.notes:
            say(formatting.safe(note))
        return await run.submit(packed)


@dataclass
class _Run:
    """One submission with an open session."""

    request: SubmitRequest
    session: Session
    interrupts: Interrupts
    companions: list[Companion] = field(default_factory=list)
    checked_companions: list[Mapping[str, Any]] = field(default_factory=list)
    applied: list[Companion] = field(default_factory=list)

    async def check_companions(self) -> None:
        """Locates the other objects of the file, and checks them by a dry run."""
        writer, namespace = self.session.kubernetes, self.session.namespace
        self.companions = await companions.locate(writer, namespace, self.request.companions)
        self.checked_companions += await companions.dry_run(writer, self.companions)

    async def print_dry_run(self) -> None:
        """Prints the objects as the API server would create them."""
        output.print_objects(self.request, [*self.checked_companions, await self._check_rayjob()])

    async def submit(self, packed: Package | None) -> int:
        """Submits the job and follows it. Returns the exit code."""
        request, session = self.request, self.session
        timeout = request.flags["replace_timeout"] if request.flags["replace_finished"] else None
        job = request.job.with_working_dir(packed.uri if packed else None)
        submission = Submission(session.namespace, request.manifest.body, job, packed)
        try:
            await resolve_conflict(session, request.name, timeout, self.interrupts.first)
            await self._apply_companions()
            submitted = await self._submitter().submit(submission)
        except NameTakenError as error:
            key = f"{session.namespace}/{error}"
            self._say_with_kept(f"RayJob {key} was created by another client in the meantime")
            return EXIT_NAME_CONFLICT
        except NameConflictError as error:
            self._say_with_kept(error)
            return EXIT_NAME_CONFLICT
        except UncertainError as error:
            say(formatting.safe(error))
            return EXIT_NOT_SUBMITTED
        except (NotSubmittedError, InterruptedByUserError, CompanionError) as error:
            self._say_with_kept(error)
            is_interrupted = self.interrupts.first.is_set()
            return EXIT_INTERRUPTED if is_interrupted else EXIT_NOT_SUBMITTED
        return await self._after_submission(submitted)

    def _submitter(self) -> Submitter:
        session, flags = self.session, self.request.flags
        post_timeouts = PostTimeouts(flags["submit_timeout"], flags["submit_timeout"])
        return Submitter(
            session.kubernetes,
            session.dashboard,
            session.transport,
            Tokens(session.kubernetes),
            Timeouts(
                flags["head_timeout"],
                flags["upload_timeout"],
                post_timeouts,
                flags["queue_timeout"],
            ),
            self.interrupts.first,
            session.progress,
            session.options.overrides,
        )

    def _say_with_kept(self, message: object) -> None:
        say(formatting.safe(f"{message}{companions.kept_note(self.applied)}"))

    async def _check_rayjob(self) -> Mapping[str, Any]:
        body = self.request.manifest.body
        return await self.session.kubernetes.create_rayjob(
            self.session.namespace, body, dry_run=True
        )

    async def _apply_companions(self) -> None:
        """Applies the other objects of the file once the API server would accept the RayJob."""
        if self.companions:
            await self._check_rayjob()
        for companion in self.companions:
            await companions.apply(self.session.kubernetes, companion)
            self.applied.append(companion)
            self.session.progress.say(f"applied {companion.title}")

    async def _after_submission(self, job: SubmittedJob) -> int:
        """Follows the submitted job, unless --no-wait is set. Returns the exit code."""
        if self.request.output == "text":
            click.echo(formatting.safe(f"RayJob {job.rayjob.key} submitted as {job.job_id}"))
        if not self.request.flags["wait"] and not self.interrupts.first.is_set():
            output.print_result(self.request, job, None)
            return EXIT_OK
        view = view_of(job, self.session.kubernetes, self.session.dashboard)
        following = asyncio.create_task(_follow(self.request.output, view))
        interrupt = asyncio.create_task(self.interrupts.first.wait())
        try:
            await asyncio.wait({following, interrupt}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                return await self._stop_or_leave(job)
            outcome = following.result()
        except OutcomeUnknownError as error:
            return self._report_unknown_outcome(job, error)
        finally:
            following.cancel()
            interrupt.cancel()
            await asyncio.gather(following, interrupt, return_exceptions=True)
        output.print_result(self.request, job, outcome)
        say(f"{job.job_id} {outcome}")
        return EXIT_CODES[outcome]

    def _report_unknown_outcome(self, job: SubmittedJob, error: OutcomeUnknownError) -> int:
        output.print_result(self.request, job, None)
        why = this_program("why", job.rayjob.name, "-n", job.rayjob.namespace)
        message = f"{error}. The job was submitted as {job.job_id}. For its state, run `{why}`"
        say(formatting.safe(message))
        return EXIT_NOT_SUBMITTED

    async def _stop_or_leave(self, job: SubmittedJob) -> int:
        """Leaves the job running, unless Ctrl-C is pressed again at once."""
        place = (job.rayjob.name, "-n", job.rayjob.namespace)
        log, stop = this_program("logs", *place, "-f"), this_program("stop", *place)
        say(
            f"{job.job_id} keeps running. To follow it, run `{log}`. To stop it, run `{stop}` "
            f"or press Ctrl-C again within {STOP_WITHIN.total_seconds():g} s"
        )
        output.print_result(self.request, job, None)
        try:
            async with asyncio.timeout(STOP_WITHIN.total_seconds()):
                await self.interrupts.second.wait()
        except TimeoutError:
            return EXIT_INTERRUPTED
        try:
            await job.head.stop(job.job_id)
        except (RefusedError, NotSentError, AnswerLostError) as error:
            message = f"{job.job_id} could not be stopped: {error}. To try again, run `{stop}`"
            say(formatting.safe(message))
            return EXIT_NOT_SUBMITTED
        say(f"stopping {job.job_id}")
        return EXIT_STOPPED


async def _follow(output_format: str, view: JobView) -> Outcome:
    """Writes the log to stdout, or to stderr if stdout is for JSON, YAML or a name."""
    stream = sys.stdout if output_format == "text" else sys.stderr
    with terminal.log_to(stream) as write:
        return await follow(view, write)
