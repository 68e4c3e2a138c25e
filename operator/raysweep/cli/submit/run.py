"""One call of `raysweep submit`, from its checked flags to the exit code: what a person sees of a submission, and Ctrl-C.

What is submitted is put together in wanted.py; how it is done, is submission/submit.py's.
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from raysweep.cli.common import formatting, terminal
from raysweep.cli.common.options import (
    EXIT_IN_THE_WAY,
    EXIT_INTERRUPTED,
    EXIT_JOB_FAILED,
    EXIT_NOT_SUBMITTED,
    EXIT_OK,
    EXIT_STOPPED,
    EXIT_USAGE,
    Options,
)
from raysweep.cli.common.progress import progress_for
from raysweep.cli.common.session import FailedError, Session, open_session, say, this_program
from raysweep.cli.submit import name_conflict
from raysweep.cli.submit.request import Asked, FileError, Given, wanted
from raysweep.clients.connection.kubeconfig import ClientConfigError
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.clients.ray.tokens import Tokens
from raysweep.core.model.facts import RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.interrupts import InterruptedByUserError, Interrupts, ctrl_c
from raysweep.submission import companions, package, post
from raysweep.submission.companions import Companion, CompanionError
from raysweep.submission.follow import LostSightError, Sight, follow
from raysweep.submission.head import LostError, NotSentError, RefusedError
from raysweep.submission.manifest import ManifestError
from raysweep.submission.package import Package, PackageError
from raysweep.submission.rayjob import NameTakenError, patiently
from raysweep.submission.submit import (
    NotSubmittedError,
    Patience,
    Submitted,
    Submitter,
    UncertainError,
    Work,
    heard,
)

EXIT_OF = {
    Outcome.SUCCEEDED: EXIT_OK,
    Outcome.FAILED: EXIT_JOB_FAILED,
    Outcome.STOPPED: EXIT_STOPPED,
}
AGAIN_WITHIN = timedelta(seconds=3)


async def submit(words: tuple[str, ...], given: Given) -> int:
    """The exit code. What is wrong with the flags is told all at once, before anything is created."""
    try:
        asked = wanted(words, given)
        with tempfile.TemporaryDirectory(prefix="raysweep-") as folder:
            packed, uri = await _pack(asked, Path(folder))
            return await _go(asked, packed, uri)
    except (ManifestError, CompanionError, PackageError) as error:
        for problem in error.problems:
            say(formatting.safe(problem))
    except FileError as error:
        say(formatting.safe(str(error)))
    except (ClientConfigError, FailedError, ApiError) as error:  # 1 would say that the job failed
        say(f"{formatting.safe(str(error))}; nothing was submitted")
        return EXIT_NOT_SUBMITTED
    return EXIT_USAGE


async def _pack(asked: Asked, folder: Path) -> tuple[Package | None, str]:
    """What is to be uploaded, and the URI that the job is given."""
    job = asked.job
    if not job.working_dir:
        return None, ""
    with progress_for(say, quiet=asked.given["quiet"]).wait("packing the working directory"):
        packed = await asyncio.to_thread(
            package.prepare, Path(job.working_dir), job.excludes, folder, job.place
        )
    if packed.note:
        say(formatting.safe(packed.note))
    return packed, packed.uri


async def _go(asked: Asked, packed: Package | None, uri: str) -> int:
    given = asked.given
    if given["dry_run"] == "client":
        _print(asked, [*asked.companions, asked.manifest.body])
        return EXIT_OK
    connection = {one.name: given[one.name] for one in fields(Options) if one.name in given}
    async with open_session(Options(**connection, sends=True)) as session, ctrl_c() as interrupts:
        namespace = asked.manifest.body["metadata"].get("namespace") or session.namespace
        session.namespace = namespace
        others = await companions.found(session.kubernetes, namespace, asked.companions)
        would_be = await companions.checked(session.kubernetes, others)
        if given["dry_run"] == "server":
            body = asked.manifest.body
            rayjob = await session.kubernetes.create_rayjob(namespace, body, dry_run=True)
            _print(asked, [*would_be, rayjob])
            return EXIT_OK
        for note in asked.notes:
            say(formatting.safe(note))
        posting = post.Patience(given["submit_timeout"], given["submit_timeout"])
        patience = Patience(
            given["head_timeout"],
            given["upload_timeout"],
            posting,
            given["queue_timeout"],
        )
        tokens = Tokens(session.kubernetes)
        submitter = Submitter(
            session.kubernetes,
            session.dashboard,
            session.way,
            tokens,
            patience,
            interrupts.first,
            session.progress,
            session.options.overrides,
        )
        work = Work(namespace, asked.manifest.body, asked.job.at(uri), packed)
        applied: list[Companion] = []
        try:
            within = given["replace_timeout"] if given["replace_finished"] else None
            await name_conflict.resolve_conflict(session, asked.name, within, interrupts.first)
            await _apply(session, work, others, applied)
            submitted = await submitter.submit(work)
        except (NameTakenError, name_conflict.NameConflictError) as error:
            is_told = isinstance(error, name_conflict.NameConflictError)
            told = str(error) if is_told else f"somebody made RayJob {namespace}/{error} just now"
            say(formatting.safe(f"{told}{companions.still_there(applied)}"))
            return EXIT_IN_THE_WAY
        except UncertainError as error:
            say(formatting.safe(str(error)))
            return EXIT_NOT_SUBMITTED
        except (NotSubmittedError, InterruptedByUserError, CompanionError) as error:
            say(formatting.safe(f"{error}{companions.still_there(applied)}"))
            return EXIT_INTERRUPTED if interrupts.first.is_set() else EXIT_NOT_SUBMITTED
        return await _submitted(asked, session, submitted, interrupts)


async def _apply(
    session: Session,
    work: Work,
    others: Iterable[Companion],
    applied: list[Companion],
) -> None:
    """Applies the other objects of the file, once the API server would take the RayJob too."""
    if others:
        await session.kubernetes.create_rayjob(work.namespace, work.body, dry_run=True)
    for one in others:
        await companions.apply(session.kubernetes, one)
        applied.append(one)
        session.progress.say(f"applied {one.title}")


async def _submitted(
    asked: Asked, session: Session, submitted: Submitted, interrupts: Interrupts
) -> int:
    job = submitted.rayjob
    if asked.output == "text":
        click.echo(formatting.safe(f"RayJob {job.key} submitted as {submitted.job_id}"))
    if not asked.given["wait"] and not interrupts.first.is_set():
        _answer(asked, submitted, None)
        return EXIT_OK
    following = asyncio.create_task(_follow(asked.output, sight(session, submitted)))
    interrupt = asyncio.create_task(interrupts.first.wait())
    try:
        await asyncio.wait({following, interrupt}, return_when=asyncio.FIRST_COMPLETED)
        if not following.done():
            return await _interrupted(asked, submitted, interrupts)
        outcome = following.result()
    except LostSightError as error:
        _answer(asked, submitted, None)
        why = this_program("why", job.name, "-n", job.namespace)
        say(formatting.safe(f"{error}; {submitted.job_id} was submitted; ask `{why}`"))
        return EXIT_NOT_SUBMITTED
    finally:
        following.cancel()
        interrupt.cancel()
        await asyncio.gather(following, interrupt, return_exceptions=True)
    _answer(asked, submitted, outcome)
    say(f"{submitted.job_id} {outcome}")
    return EXIT_OF[outcome]


async def _follow(output: str, seen: Sight) -> Outcome:
    """How the job ended. If only the answer belongs on stdout, the log is written to stderr."""
    with terminal.log_to(sys.stdout if output == "text" else sys.stderr) as write:
        return await follow(seen, write)


async def _interrupted(asked: Asked, submitted: Submitted, interrupts: Interrupts) -> int:
    """The job runs on, unless Ctrl-C is pressed once more at once."""
    where = (submitted.rayjob.name, "-n", submitted.rayjob.namespace)
    log, stop = this_program("logs", *where, "-f"), this_program("stop", *where)
    say(
        f"{submitted.job_id} runs on; follow it with `{log}`, stop it with `{stop}`, "
        f"or press Ctrl-C again within {AGAIN_WITHIN.total_seconds():g} s to stop it now"
    )
    _answer(asked, submitted, None)
    try:
        async with asyncio.timeout(AGAIN_WITHIN.total_seconds()):
            await interrupts.second.wait()
    except TimeoutError:
        return EXIT_INTERRUPTED
    try:
        await submitted.head.stop(submitted.job_id)
    except (RefusedError, NotSentError, LostError) as error:
        say(formatting.safe(f"{submitted.job_id} could not be stopped: {error}; try `{stop}`"))
        return EXIT_NOT_SUBMITTED
    say(f"{submitted.job_id} is being stopped")
    return EXIT_STOPPED


def sight(session: Session, seen: Submitted) -> Sight:
    """Where a submitted job is seen."""
    job = seen.rayjob

    async def rayjob() -> RayJob | None:
        try:
            found = await patiently(lambda: session.kubernetes.rayjob(job.namespace, job.name))
        except ApiError:
            return (
                job  # away for long, or we may not read it any more: the head's word counts alone
            )
        return found if found and found.uid == job.uid else None

    return Sight(
        seen.head,
        seen.job_id,
        heard(lambda: session.dashboard.job(seen.cluster, seen.job_id)),
        rayjob,
    )


def _answer(asked: Asked, submitted: Submitted, outcome: Outcome | None) -> None:
    job = submitted.rayjob
    if asked.output == "name":
        click.echo(f"rayjob.ray.io/{job.name}")
    elif asked.output in ("json", "yaml"):
        about = {
            "apiVersion": formatting.API_VERSION,
            "kind": "Submission",
            "namespace": job.namespace,
            "name": job.name,
            "uid": job.uid,
            "rayCluster": submitted.cluster.name,
            "submissionId": submitted.job_id,
            "outcome": outcome.value if outcome else None,
        }
        click.echo(formatting.serialized(about, asked.output))


def _print(asked: Asked, bodies: list[Mapping[str, Any]]) -> None:
    """The objects as kubectl prints several: one name a line, a List in JSON, documents in YAML."""
    for note in asked.notes:
        say(formatting.safe(note))
    if asked.output == "name":
        for body in bodies:
            click.echo(formatting.safe(_name_of(body)))
    elif asked.output == "json":
        whole = {"apiVersion": "v1", "kind": "List", "items": bodies}
        click.echo(
            formatting.serialized(whole if len(bodies) > 1 else dict(bodies[0]), "json").rstrip()
        )
    else:
        texts = [formatting.serialized(dict(body), "yaml").rstrip() for body in bodies]
        click.echo("\n---\n".join(texts))


def _name_of(body: Mapping[str, Any]) -> str:
    group = str(body["apiVersion"]).rpartition("/")[0]
    kind = ".".join(part for part in (str(body["kind"]).lower(), group) if part)
    return f"{kind}/{body['metadata']['name']}"
