"""A RayJob of the name that is to be submitted: what it is, when it goes, and how to go on; a finished one may be replaced.

Whether it may go is the ladder's to say (cleanup/sweep.py); here it is put into words.
"""

import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta

from raysweep.cleanup.sweep import gone, sweep
from raysweep.cli.common import formatting
from raysweep.cli.common.session import Session, connection, program, this_program
from raysweep.cli.sweep.results import Result, Row, came_of
from raysweep.core.job_status import kuberay_reports_end
from raysweep.core.model.facts import RayJob
from raysweep.core.text import command_line
from raysweep.core.timeline import Timeline, foresee
from raysweep.interrupts import run_until_interrupted

SECRET_FLAGS = frozenset(
    {"--headers", "--runtime-env-json", "--metadata-json", "--token", "--password"}
)


class NameConflictError(Exception):
    """There is a RayJob of that name; the text says what it is, when it goes, and how to go on."""


async def resolve_conflict(
    session: Session, name: str, within: timedelta | None, interrupted: asyncio.Event
) -> None:
    """Returns once there is no RayJob of that name. within: how long to wait for one to be gone that is finished, and deleted
    for this; None: none is deleted. Raises InTheWayError, InterruptedByUserError, ApiError.
    """
    if await session.kubernetes.rayjob(session.namespace, name) is None:
        return
    await session.list_all()
    uid = next((job.uid for job in session.known.rayjobs.values() if job.name == name), "")
    assessment = session.observer.assess(uid) if uid else None
    if assessment is None:
        return  # it went meanwhile
    job, timeline = assessment.rayjob, foresee(assessment)
    if within is None:
        raise NameConflictError(f"{_what(job, timeline, session.now())}; {_how(job)}")
    if job.deleting_since is None:
        if not kuberay_reports_end(job):
            told = f"{_what(job, timeline, session.now())}; a RayJob that has not finished is never replaced"
            raise NameConflictError(f"{told}; {_how(job)}")
        await _replace(session, job)
    with session.progress.wait(f"waiting until RayJob {job.key} is gone") as report:
        report("")
        left = await run_until_interrupted(interrupted, gone(session.kubernetes, job, within))
    if left:
        raise NameConflictError(
            f"RayJob {job.key} was deleted and is not gone after {within.total_seconds():g} s: {left}"
        )


async def _replace(session: Session, job: RayJob) -> None:
    """Deletes it as a person's sweep, with every guard and precondition."""
    found = await sweep(session.observer, job.uid)
    if found is None:
        return
    row = came_of(found)
    if row.result in (Result.REFUSED, Result.FAILED):
        raise NameConflictError(f"RayJob {job.key} is not replaced: {_refusal(row)}")
    if row.targets:
        session.progress.say(f"deleted {row.what} ({row.reason})")


def _refusal(row: Row) -> str:
    if row.dry_run_by:
        return f"{row.message}; submit under another --name"
    if row.result is Result.FAILED or row.explanation is None:
        return f"its deletion was refused: {formatting.safe(row.problem)}; see what became of it and try again"
    reason = row.explanation.reason
    return f"{reason}: {row.message}. {reason.description} {reason.hint}"


def _what(job: RayJob, timeline: Timeline, now: datetime) -> str:
    """What the old one is, when it finished, and when it goes."""
    told = f"there is a RayJob {job.key} already"
    if job.deleting_since:
        held = f" (finalizers {', '.join(job.finalizers)})" if job.finalizers else ""
        return f"{told}: it is being deleted since {formatting.rfc3339(job.deleting_since)}{held}"
    if not kuberay_reports_end(job):
        return f"{told}: it has not finished ({_stage(job)}){_goes(timeline, now)}"
    why = timeline.explanation
    ended = f" at {formatting.rfc3339(why.finished_at)}" if why.finished_at else ""
    return f"{told}: it finished{ended} ({_stage(job)}){_goes(timeline, now)}"


def _goes(timeline: Timeline, now: datetime) -> str:
    """Of the RayJob: its cluster alone may go earlier, and leaves the name taken."""
    why = timeline.explanation
    if not timeline.targets:
        return f"; Raysweep will keep it ({why.reason}: {why.message})"
    if timeline.at and any(target.kind == "RayJob" for target in timeline.targets):
        return f"; Raysweep will delete it {formatting.relative(timeline.at, now)} ({why.reason})"
    return "; Raysweep will delete its cluster only"


def _how(job: RayJob) -> str:
    where = (job.name, "-n", job.namespace)
    if job.deleting_since:
        wait = connection().kubectl(
            "wait", "--for=delete", f"rayjob/{job.name}", "-n", job.namespace
        )
        return f"wait for it: {wait}"
    if kuberay_reports_end(job):
        return f"replace it: {_again()}"
    if job.deployment_status == "Running":
        log, stop = this_program("logs", *where, "-f"), this_program("stop", *where)
        return f"follow it: {log}; stop it: {stop}; or submit under another --name"
    delete = connection().kubectl("delete", "rayjob", *where)
    return f"delete it if nobody wants it: {delete}; or submit under another --name"


def _again() -> str:
    """The same command once more, with --replace-finished."""
    words = _without_secrets(sys.argv[1:])
    at = words.index("submit") + 1 if "submit" in words else 0
    return f"{program()} {command_line(*words[:at], '--replace-finished', *words[at:])}"


def _without_secrets(words: Sequence[str]) -> list[str]:
    """It is printed, and lands in the logs of CI: what flags give that may hold a secret is left out."""
    shown: list[str] = []
    for word in words:
        flag, is_joined, _ = word.partition("=")
        if shown and shown[-1] in SECRET_FLAGS:
            shown.append("...")
        else:
            shown.append(f"{flag}=..." if is_joined and flag in SECRET_FLAGS else word)
    return shown


def _stage(job: RayJob) -> str:
    return ", ".join(
        word
        for word in (job.deployment_status or "not seen by KubeRay yet", job.job_status)
        if word
    )
