"""Handles an existing RayJob of the name to submit: describes it, or replaces a finished one.

The checks decide whether it may be deleted (cleanup/sweep.py). This module explains the decision.
"""

import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta

from raysweep.cleanup.sweep import sweep, wait_until_deleted
from raysweep.cli.common import formatting
from raysweep.cli.common.session import Session, connection, program, this_program
from raysweep.cli.common.sweep_row import SweepResult, SweepRow, completed_row
from raysweep.core.assessment import Assessment
from raysweep.core.job_status import kuberay_reports_end
from raysweep.core.model.facts import RayJob
from raysweep.core.text import command_line
from raysweep.core.timeline import Timeline, foresee
from raysweep.interrupts import run_until_interrupted

SECRET_FLAGS = frozenset(
    {"--headers", "--runtime-env-json", "--metadata-json", "--token", "--password"}
)


class NameConflictError(Exception):
    """A RayJob of that name exists. The text describes it and says what to do."""


async def resolve_conflict(
    session: Session, name: str, timeout: timedelta | None, interrupted: asyncio.Event
) -> None:
    """Returns once no RayJob of that name exists.

    timeout: how long to wait for the deletion of a finished one. None: do not delete it.
    Raises NameConflictError, InterruptedByUserError, ApiError.
    """
    assessment = await _assess_existing(session, name)
    if assessment is None:
        return
    rayjob = assessment.rayjob
    description = _describe(rayjob, foresee(assessment), session.now())
    if timeout is None:
        raise NameConflictError(f"{description}. {_next_step(rayjob)}")
    if rayjob.deleting_since is None:
        if not kuberay_reports_end(rayjob):
            rule = "--replace-finished replaces finished RayJobs only"
            raise NameConflictError(f"{description}. {rule}. {_next_step(rayjob)}")
        await _delete(session, rayjob)
    with session.progress.wait(f"waiting until RayJob {rayjob.key} is deleted") as report:
        report("")
        deletion = wait_until_deleted(session.kubernetes, rayjob, timeout)
        remaining = await run_until_interrupted(interrupted, deletion)
    if remaining:
        limit = f"{timeout.total_seconds():g} s"
        raise NameConflictError(f"RayJob {rayjob.key} is not deleted after {limit}: {remaining}")


async def _assess_existing(session: Session, name: str) -> Assessment | None:
    if await session.kubernetes.rayjob(session.namespace, name) is None:
        return None
    await session.list_all()
    listed = session.snapshot.rayjob_named(name)
    return session.observer.assess(listed.uid) if listed else None


async def _delete(session: Session, rayjob: RayJob) -> None:
    """Deletes the RayJob like `raysweep sweep`, with every check and precondition."""
    swept = await sweep(session.observer, rayjob.uid)
    if swept is None:
        return
    row = completed_row(swept)
    if row.result in (SweepResult.REFUSED, SweepResult.FAILED):
        raise NameConflictError(f"RayJob {rayjob.key} is not replaced: {_refusal(row)}")
    if row.targets:
        session.progress.say(f"deleted {row.target_names} ({row.reason})")


def _refusal(row: SweepRow) -> str:
    if row.dry_run_by:
        return f"{row.message}. Submit under another --name"
    if row.result is SweepResult.FAILED or row.explanation is None:
        problem = formatting.safe(row.problem)
        return f"the deletion failed: {problem}. Check the RayJob, and try again"
    reason = row.explanation.reason
    return f"{reason}: {row.message}. {reason.description} {reason.hint}"


def _describe(rayjob: RayJob, timeline: Timeline, now: datetime) -> str:
    """The state of the existing RayJob, and when it is deleted."""
    existing = f"RayJob {rayjob.key} exists"
    if rayjob.deleting_since:
        since = formatting.rfc3339(rayjob.deleting_since)
        names = ", ".join(rayjob.finalizers)
        finalizers = f" (finalizers {names})" if names else ""
        return f"{existing}: it is being deleted since {since}{finalizers}"
    status = ", ".join(filter(None, (rayjob.deployment_status or "New", rayjob.job_status)))
    deletion = _describe_deletion(timeline, now)
    if not kuberay_reports_end(rayjob):
        return f"{existing}: it has not finished ({status}). {deletion}"
    finished_at = timeline.explanation.finished_at
    time = f" at {formatting.rfc3339(finished_at)}" if finished_at else ""
    return f"{existing}: it finished{time} ({status}). {deletion}"


def _describe_deletion(timeline: Timeline, now: datetime) -> str:
    """When the RayJob is deleted. Its cluster may be deleted earlier, which frees no name."""
    explanation = timeline.explanation
    if not timeline.targets:
        return f"Raysweep keeps it ({explanation.reason}: {explanation.message})"
    if timeline.at and any(target.kind == "RayJob" for target in timeline.targets):
        time = formatting.relative(timeline.at, now)
        return f"Raysweep will delete it {time} ({explanation.reason})"
    return "Raysweep will delete only its cluster"


def _next_step(rayjob: RayJob) -> str:
    place = (rayjob.name, "-n", rayjob.namespace)
    rename = "or submit under another --name"
    if rayjob.deleting_since:
        resource = f"rayjob/{rayjob.name}"
        wait = connection().kubectl("wait", "--for=delete", resource, "-n", rayjob.namespace)
        return f"To wait for the deletion, run `{wait}`"
    if kuberay_reports_end(rayjob):
        return f"To replace it, run `{replace_command()}`"
    if rayjob.deployment_status == "Running":
        log, stop = this_program("logs", *place, "-f"), this_program("stop", *place)
        return f"To follow it, run `{log}`. To stop it, run `{stop}`, {rename}"
    delete = connection().kubectl("delete", "rayjob", *place)
    return f"If it is not needed, run `{delete}`, {rename}"


def replace_command() -> str:
    """Returns the running command with --replace-finished."""
    words = _without_secrets(sys.argv[1:])
    position = words.index("submit") + 1 if "submit" in words else 0
    words.insert(position, "--replace-finished")
    return f"{program()} {command_line(*words)}"


def _without_secrets(words: Sequence[str]) -> list[str]:
    """The words without values that may be secret, since the logs of CI show them."""
    shown: list[str] = []
    for word in words:
        flag, separator, _ = word.partition("=")
        if shown and shown[-1] in SECRET_FLAGS:
            shown.append("...")
        elif separator and flag in SECRET_FLAGS:
            shown.append(f"{flag}=...")
        else:
            shown.append(word)
    return shown
