"""One call of `raysweep submit`, from its checked flags to the exit code: what a person sees of a submission, and Ctrl-C.

What is submitted is put together here from the flags; how, is submission/submit.py's.
"""

import asyncio
import contextlib
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import yaml

from raysweep import names
from raysweep.cli import namesake, show
from raysweep.cli.options import (
    EXIT_IN_THE_WAY,
    EXIT_INTERRUPTED,
    EXIT_JOB_FAILED,
    EXIT_NOT_SUBMITTED,
    EXIT_STOPPED,
    EXIT_TOLD,
    EXIT_USAGE,
    Options,
)
from raysweep.cli.session import Session, open_session, say
from raysweep.clients.errors import ApiError
from raysweep.clients.tokens import Tokens
from raysweep.core.facts import HeadList, HeadSilent, RayJob
from raysweep.core.finished import Outcome
from raysweep.submission import package, post
from raysweep.submission.follow import LostSightError, Sight, follow
from raysweep.submission.head import LostError, NotSentError, RefusedError
from raysweep.submission.job import Flags, Job, JobError, compose
from raysweep.submission.manifest import Cleanup, Manifest, ManifestError, Shape, entrypoint_of, from_file, from_flags
from raysweep.submission.package import Package, PackageError
from raysweep.submission.rayjob import NameTakenError, patiently
from raysweep.submission.runtime_env import RuntimeEnvError
from raysweep.submission.submit import NotSubmittedError, Patience, Submitted, Submitter, UncertainError, Work

EXIT_OF = {Outcome.SUCCEEDED: EXIT_TOLD, Outcome.FAILED: EXIT_JOB_FAILED, Outcome.STOPPED: EXIT_STOPPED}
AGAIN_WITHIN = timedelta(seconds=3)
SUFFIX_OF = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own alphabet for generated names (apimachinery pkg/util/rand): nothing that reads like a word."""
MADE_FOR_RAYS_OWN = ("log_style", "log_color")

Given = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, checked as far as that goes without asking anybody."""

    manifest: Manifest
    job: Job
    given: Given

    @property
    def name(self) -> str:
        """Of the RayJob."""
        return str(self.manifest.body["metadata"]["name"])

    @property
    def output(self) -> str:
        """How the answer is printed; text is for people."""
        return str(self.given["output"])


async def submit(words: tuple[str, ...], given: Given) -> int:
    """The exit code. What is wrong with the flags is told all at once, before anything is created."""
    try:
        asked = _asked(words, given)
        with tempfile.TemporaryDirectory(prefix="raysweep-") as folder:
            packed, uri = await _pack(asked.job, Path(folder))
            return await _go(asked, packed, uri)
    except ManifestError as error:
        for problem in error.problems:
            say(show.safe(problem))
    except (JobError, RuntimeEnvError, PackageError, _FileError) as error:
        say(show.safe(str(error)))
    return EXIT_USAGE


class _FileError(Exception):
    """The file with the RayJob cannot be used."""


def _asked(words: tuple[str, ...], given: Given) -> Asked:
    for flag in MADE_FOR_RAYS_OWN:
        if given[flag]:
            say(f"--{flag.replace('_', '-')} has no effect: there is no local ray command")
    cleanup = Cleanup(
        shutdown=given["shutdown_after_job_finishes"],
        ttl_seconds=given["ttl_seconds_after_finished"],
        durations={key: text for key in names.DURATION_KEYS if (text := given.get(_parameter(key)))},
        ttl_unsubmitted=given["ttl_unsubmitted"],
    )
    document = _document(given["filename"]) if given["filename"] else None
    manifest = _manifest(document, entrypoint_of(words), cleanup, given)
    spec = manifest.body["spec"] | ({"jobId": job_id} if (job_id := _job_id(document)) else {})
    base = given["filename"].parent if document is not None and str(given["filename"]) != "-" else Path()
    flags = Flags(**{one.name: given[one.name] for one in fields(Flags)})
    return Asked(_named(manifest, generate=given["generate_name"]), compose(spec, flags, base), given)


def _parameter(key: str) -> str:
    """click's name of the flag for an annotation."""
    return key.removeprefix(names.ANNOTATION_PREFIX).replace("-", "_")


def _manifest(document: Mapping[str, Any] | None, entrypoint: str, cleanup: Cleanup, given: Given) -> Manifest:
    labels = {key: value for key, _, value in (label.partition("=") for label in given["labels"])}
    if document is not None:
        return from_file(document, cleanup, name=given["name"], entrypoint=entrypoint or None, labels=labels)
    if not given["name"]:
        raise ManifestError("--name: give the RayJob a name, or a file with -f")
    shape = Shape(**{one.name: given[one.name] for one in fields(Shape)})
    return from_flags(given["name"], entrypoint, shape, cleanup, labels=labels)


def _document(path: Path) -> Mapping[str, Any]:
    """The one object of the file."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        found = [one for one in yaml.safe_load_all(text) if one is not None]
    except OSError as error:
        raise _FileError(f"-f: {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise _FileError(f"-f: {path} is no YAML{f', see line {mark.line + 1}' if mark else ''}") from None
    if len(found) != 1 or not isinstance(found[0], dict):
        raise _FileError(f"-f: {path} holds {len(found)} objects; give one RayJob")
    return found[0]


def _job_id(document: Mapping[str, Any] | None) -> str:
    spec = (document or {}).get("spec")
    return str(spec.get("jobId") or "") if isinstance(spec, Mapping) else ""


def _named(manifest: Manifest, *, generate: bool) -> Manifest:
    """With a name of its own, chosen here and not by the API server: so a creation whose answer got lost is found again."""
    metadata = dict(manifest.body["metadata"])
    prefix = metadata.pop("generateName", None)
    if generate or (prefix and not metadata.get("name")):
        suffix = "".join(secrets.choice(SUFFIX_OF) for _ in range(5))
        metadata["name"] = f"{prefix or metadata['name'] + '-'}{suffix}"
    metadata["annotations"] = {**(metadata.get("annotations") or {}), names.SUBMISSION: secrets.token_hex(8)}
    return replace(manifest, body=manifest.body | {"metadata": metadata})


async def _pack(job: Job, folder: Path) -> tuple[Package | None, str]:
    """What is to be uploaded, and the URI that the job is given."""
    if not job.working_dir or package.is_remote(job.working_dir):
        return None, job.working_dir
    packed = await asyncio.to_thread(package.prepare, Path(job.working_dir), job.excludes, folder)
    return packed, packed.uri


async def _go(asked: Asked, packed: Package | None, uri: str) -> int:
    given = asked.given
    if given["dry_run"] == "client":
        _print(asked, asked.manifest.body)
        return EXIT_TOLD
    connection = {one.name: given[one.name] for one in fields(Options) if one.name in given}
    async with open_session(Options(**connection, sends=True)) as session, _interrupts() as interrupts:
        namespace = asked.manifest.body["metadata"].get("namespace") or session.namespace
        session.namespace = namespace
        if given["dry_run"] == "server":
            _print(asked, await session.kubernetes.create_rayjob(namespace, asked.manifest.body, dry_run=True))
            return EXIT_TOLD
        for note in asked.manifest.notes:
            say(show.safe(note))
        posting = post.Patience(given["submit_timeout"], given["submit_timeout"])
        patience = Patience(given["head_timeout"], given["upload_timeout"], posting)
        tokens = Tokens(session.kubernetes)
        submitter = Submitter(session.kubernetes, session.dashboard, session.way, tokens, patience, interrupts.first, _progress)
        work = Work(namespace, asked.manifest.body, asked.job.at(uri), packed)
        try:
            await namesake.clear_the_way(session, asked.name, given["replace_timeout"], replace=given["replace_finished"])
            submitted = await submitter.submit(work)
        except (NameTakenError, namesake.InTheWayError) as error:
            told = (
                str(error) if isinstance(error, namesake.InTheWayError) else f"somebody made RayJob {namespace}/{error} just now"
            )
            say(show.safe(told))
            return EXIT_IN_THE_WAY
        except (NotSubmittedError, UncertainError) as error:
            say(show.safe(str(error)))
            return EXIT_INTERRUPTED if interrupts.first.is_set() else EXIT_NOT_SUBMITTED
        return await _submitted(asked, session, submitted, interrupts)


async def _submitted(asked: Asked, session: Session, submitted: Submitted, interrupts: "_Interrupts") -> int:
    job = submitted.rayjob
    if asked.output == "text":
        click.echo(f"RayJob {job.key} submitted as {submitted.job_id}")
    if not asked.given["wait"]:
        _answer(asked, submitted, None)
        return EXIT_TOLD
    following = asyncio.create_task(follow(sight(session, submitted), _log_to(asked.output)))
    interrupt = asyncio.create_task(interrupts.first.wait())
    try:
        await asyncio.wait({following, interrupt}, return_when=asyncio.FIRST_COMPLETED)
        if not following.done():
            return await _interrupted(asked, submitted, interrupts)
        outcome = following.result()
    except LostSightError as error:
        say(show.safe(f"{error}; {submitted.job_id} was submitted; ask `{_program()} why {job.name} -n {job.namespace}`"))
        return EXIT_NOT_SUBMITTED
    finally:
        following.cancel()
        interrupt.cancel()
        await asyncio.gather(following, interrupt, return_exceptions=True)
    _answer(asked, submitted, outcome)
    say(f"{submitted.job_id} {outcome}")
    return EXIT_OF[outcome]


async def _interrupted(asked: Asked, submitted: Submitted, interrupts: "_Interrupts") -> int:
    """The job runs on, unless Ctrl-C is pressed once more at once."""
    where = f"{submitted.rayjob.name} -n {submitted.rayjob.namespace}"
    say(
        f"{submitted.job_id} runs on; follow it with `{_program()} logs {where} -f`, stop it with `{_program()} stop {where}`, "
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
        say(show.safe(f"{submitted.job_id} could not be stopped: {error}; try `{_program()} stop {where}`"))
        return EXIT_NOT_SUBMITTED
    say(f"{submitted.job_id} is being stopped")
    return EXIT_STOPPED


def sight(session: Session, seen: Submitted) -> Sight:
    """Where a submitted job is seen."""
    job = seen.rayjob

    async def ask() -> HeadList | HeadSilent:
        return await session.dashboard.job(seen.cluster, seen.job_id)

    async def rayjob() -> RayJob | None:
        try:
            found = await patiently(lambda: session.kubernetes.rayjob(job.namespace, job.name))
        except ApiError:
            return job  # away for long, or we may not read it any more: the head's word counts alone
        return found if found and found.uid == job.uid else None

    return Sight(seen.head, seen.job_id, ask, rayjob)


def _log_to(output: str) -> Any:
    """Where only the answer belongs on stdout, the log goes to stderr."""
    stream = sys.stdout if output == "text" else sys.stderr

    def write(piece: bytes) -> None:
        stream.buffer.write(piece)
        stream.flush()

    return write


def _answer(asked: Asked, submitted: Submitted, outcome: Outcome | None) -> None:
    job = submitted.rayjob
    if asked.output == "name":
        click.echo(f"rayjob.ray.io/{job.name}")
    elif asked.output in ("json", "yaml"):
        about = {
            "apiVersion": show.API_VERSION,
            "kind": "Submission",
            "namespace": job.namespace,
            "name": job.name,
            "uid": job.uid,
            "rayCluster": submitted.cluster.name,
            "submissionId": submitted.job_id,
            "outcome": outcome.value if outcome else None,
        }
        click.echo(show.machine(about, asked.output))


def _print(asked: Asked, body: Mapping[str, Any]) -> None:
    for note in asked.manifest.notes:
        say(show.safe(note))
    if asked.output == "name":
        click.echo(f"rayjob.ray.io/{body['metadata']['name']}")
    else:
        click.echo(show.machine(dict(body), "json" if asked.output == "json" else "yaml").rstrip())


def _progress(text: str) -> None:
    say(show.safe(text))


def _program() -> str:
    return click.get_current_context().find_root().info_name or "raysweep"


@dataclass(frozen=True, slots=True)
class _Interrupts:
    """Ctrl-C, and Ctrl-C again within AGAIN_WITHIN; SIGTERM counts as one."""

    first: asyncio.Event
    second: asyncio.Event

    def press(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


@contextlib.asynccontextmanager
async def _interrupts() -> AsyncIterator[_Interrupts]:
    pressed, loop = _Interrupts(asyncio.Event(), asyncio.Event()), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, pressed.press)
    try:
        yield pressed
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
