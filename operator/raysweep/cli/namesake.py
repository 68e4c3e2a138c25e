"""A RayJob of the name that is to be submitted: what it is, when it goes, and how to go on; a finished one may be replaced.

Whether it may go is the ladder's to say (cleanup/sweep.py); here it is put into words.
"""

import shlex
import sys
from dataclasses import dataclass
from datetime import timedelta

import click

from raysweep.cleanup.reconcile import Pass
from raysweep.cleanup.sweep import gone, sweep
from raysweep.cli import show
from raysweep.cli.outlook import Outlook, foresee
from raysweep.cli.session import Session, say
from raysweep.clients.errors import ApiError
from raysweep.core.decisions import Delete
from raysweep.core.facts import RayJob
from raysweep.core.finished import has_ended_by_its_own_word


class InTheWayError(Exception):
    """There is a RayJob of that name; the text says what it is, when it goes, and how to go on."""


@dataclass(frozen=True, slots=True)
class _Namesake:
    """The RayJob that is there, and what will become of it."""

    outlook: Outlook

    @property
    def rayjob(self) -> RayJob:
        """It."""
        return self.outlook.case.rayjob


async def clear_the_way(session: Session, name: str, within: timedelta, *, replace: bool) -> None:
    """Returns once there is no RayJob of that name. replace: a finished one is deleted for it. Raises InTheWayError, ApiError."""
    if await session.kubernetes.rayjob(session.namespace, name) is None:
        return
    await session.list_all()
    uid = next((job.uid for job in session.known.rayjobs.values() if job.name == name), "")
    case = session.observer.recall(uid) if uid else None
    if case is None:
        return  # it went meanwhile
    there = _Namesake(foresee(case, session.now()))
    if not replace:
        raise InTheWayError(f"{_what(there, session)}; {_how(there)}")
    if there.rayjob.deleting_since is None:
        await _replace(session, there)
    say(f"waiting until RayJob {there.rayjob.key} is gone")
    if left := await gone(session.kubernetes, there.rayjob, within):
        raise InTheWayError(f"RayJob {there.rayjob.key} was deleted and is not gone after {within.total_seconds():g} s: {left}")


async def _replace(session: Session, there: _Namesake) -> None:
    """Deletes it as a person's sweep, with every guard and precondition."""
    if not has_ended_by_its_own_word(there.rayjob):
        raise InTheWayError(f"{_what(there, session)}; a RayJob that has not finished is never replaced; {_how(there)}")
    found = await sweep(session.observer, there.rayjob.uid)
    if found is None:
        return
    if not isinstance(found.decision, Delete) or found.observed or found.done.stopped_by:
        raise InTheWayError(f"RayJob {there.rayjob.key} is not replaced: {_refusal(found)}")
    say(f"deleted {' and '.join(f'{target.kind} {target.name}' for target in found.done.deleted)} (Swept)")


def _refusal(found: Pass) -> str:
    if found.observed:
        return "the operator's mode is Observe, so nothing is deleted; submit under another --name"
    if isinstance(found.done.stopped_by, ApiError):
        return f"its deletion was refused: {show.safe(found.done.stopped_by)}; see what became of it and try again"
    why = found.decision.why
    return f"{why.reason}: {why.evidence}. {why.reason.meaning} {why.reason.remedy}"


def _what(there: _Namesake, session: Session) -> str:
    """What the old one is, when it finished, and when it goes."""
    job, outlook = there.rayjob, there.outlook
    told = f"there is a RayJob {job.key} already"
    if job.deleting_since:
        held = f" (finalizers {', '.join(job.finalizers)})" if job.finalizers else ""
        return f"{told}: it is being deleted since {show.written(job.deleting_since)}{held}"
    if not has_ended_by_its_own_word(job):
        return f"{told}: it has not finished ({_stage(job)}){_goes(outlook, session)}"
    why = outlook.why
    ended = f" at {show.written(why.finished_at)}" if why.finished_at else ""
    return f"{told}: it finished{ended} ({_stage(job)}){_goes(outlook, session)}"


def _goes(outlook: Outlook, session: Session) -> str:
    """Of the RayJob: its cluster alone may go earlier, and leaves the name taken."""
    now = session.now()
    if outlook.at and any(target.kind == "RayJob" for target in outlook.targets):
        return f"; Raysweep will delete it {show.relative(outlook.at, now)} ({outlook.why.reason})"
    why = outlook.why
    return (
        f"; Raysweep will keep it ({why.reason}: {why.evidence})"
        if not outlook.targets
        else "; Raysweep will delete its cluster only"
    )


def _how(there: _Namesake) -> str:
    job, program = there.rayjob, click.get_current_context().find_root().info_name or "raysweep"
    where = f"{job.name} -n {job.namespace}"
    if job.deleting_since:
        return f"wait for it: kubectl wait --for=delete rayjob/{where}"
    if has_ended_by_its_own_word(job):
        return f"replace it: {again(program)}"
    if job.deployment_status == "Running":
        return f"follow it: {program} logs {where} -f; stop it: {program} stop {where}; or submit under another --name"
    return f"delete it if nobody wants it: kubectl delete rayjob {where}; or submit under another --name"


def again(program: str) -> str:
    """The same command once more, with --replace-finished."""
    words = list(sys.argv[1:])
    at = words.index("submit") + 1 if "submit" in words else 0
    return f"{program} {shlex.join([*words[:at], '--replace-finished', *words[at:]])}"


def _stage(job: RayJob) -> str:
    return ", ".join(word for word in (job.deployment_status or "not seen by KubeRay yet", job.job_status) if word)
