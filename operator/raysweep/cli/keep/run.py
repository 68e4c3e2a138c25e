"""Writes the hold of a RayJob, and reports what it means. It writes two annotations."""

from dataclasses import dataclass
from datetime import datetime

import click

from raysweep import names
from raysweep.cli.common import formatting
from raysweep.cli.common.errors import FailedError
from raysweep.cli.common.options import Options
from raysweep.cli.common.session import Session, open_session, run, say, this_program, utc_now
from raysweep.cli.keep import report
from raysweep.cli.keep.report import KeptRayJob
from raysweep.clients.kubernetes.errors import ApiError, ConflictError, NotFoundError
from raysweep.core.durations import Never, after, parse_duration
from raysweep.core.finish import WHOLE_SECOND
from raysweep.core.model.facts import Namespace, RayJob
from raysweep.core.retention import annotations
from raysweep.core.retention.annotations import TIME_GRAMMAR
from raysweep.core.retention.resolve import Sources
from raysweep.core.text import quoted


@dataclass(frozen=True, slots=True)
class Hold:
    """What to write to the RayJob. until: None removes the hold."""

    name: str
    until: datetime | None
    reason: str | None


def run_keep(name: str, until: str | None, reason: str | None, options: Options) -> int:
    """Returns the exit code. Raises click.BadParameter if `until` is invalid."""
    moment = None if until is None else parse_until(until, utc_now())
    return run(_keep(Hold(name, moment, reason), options))


def parse_until(text: str, now: datetime) -> datetime:
    """The end of a duration that begins now, or a time; rounded up to whole seconds.

    Raises click.BadParameter.
    """
    moment = _parse_moment(text, now)
    if moment is None:
        raise click.BadParameter(
            f"{quoted(text)} is neither a duration nor a time: use 3d, 1h30m, or {TIME_GRAMMAR}"
        )
    if moment <= now:
        raise click.BadParameter(
            f"{quoted(text)} is not in the future: use a later time, or --clear to remove the hold"
        )
    whole = moment.replace(microsecond=0)
    if whole == moment:
        return moment
    return after(whole, WHOLE_SECOND) or whole


def _parse_moment(text: str, now: datetime) -> datetime | None:
    """None if the text is neither a duration nor a time, as the operator reads them."""
    try:
        duration = parse_duration(text)
    except ValueError:
        annotated = Namespace("", "", "", {names.KEEP_UNTIL: text})
        moment = annotations.keep_until(annotated)
        return moment if isinstance(moment, datetime) else None
    if isinstance(duration, Never):
        raise click.BadParameter(
            "a hold needs an end: use a long duration such as 50w, or set raysweep.io/ttl: never"
        )
    return after(now, duration)


async def _keep(hold: Hold, options: Options) -> int:
    async with open_session(options) as session:
        rayjob = await _write(session, hold)
        kept = await _read_effect(session, rayjob, hold.until)
        for note in session.notes():
            say(note)
        now = session.now()
        if options.output == "text":
            click.echo("\n".join(report.as_text(kept, now)))
        else:
            click.echo(formatting.serialized(report.as_json(kept, now), options.output))
        return report.exit_code(kept, now)


async def _write(session: Session, hold: Hold) -> RayJob:
    """Writes the hold before anything else is read. Returns the RayJob as it was written.

    It is not read again: without the hold, the operator may delete it at once.
    """
    namespace, key = session.namespace, f"{session.namespace}/{hold.name}"
    rayjob = await session.kubernetes.rayjob(namespace, hold.name)
    if rayjob is None:
        why = this_program("why", hold.name, "-n", namespace)
        raise FailedError(f"RayJob {key} does not exist; to see what happened to it, run `{why}`")
    if rayjob.deleting_since is None:
        try:
            until = formatting.rfc3339(hold.until)
            rayjob = await session.kubernetes.keep(rayjob, until, hold.reason or None)
        except (ConflictError, NotFoundError) as error:
            raise FailedError(f"RayJob {key} was deleted just now: {error}") from error
    if rayjob.deleting_since:
        since = formatting.rfc3339(rayjob.deleting_since)
        raise FailedError(f"RayJob {key} is being deleted since {since} and cannot be kept")
    return rayjob


async def _read_effect(session: Session, rayjob: RayJob, until: datetime | None) -> KeptRayJob:
    """Reads what else decides about the RayJob, as far as the user may read it."""
    assessment, problem = None, None
    try:
        await session.list_all()
        assessment = session.observer.assess(rayjob.uid)
        if assessment is None and until:
            raise FailedError(f"RayJob {rayjob.key} was deleted just now")
        if assessment is None:
            problem = "the RayJob was deleted just now"
    except ApiError as error:
        problem = str(error)
    parameters = session.operator.settings.parameters
    namespace = Namespace(rayjob.namespace, "", "")
    sources = Sources(rayjob, namespace, (), parameters.kuberay_ttl)
    if assessment and assessment.namespace and assessment.policies is not None:
        sources = assessment.sources
    return KeptRayJob(
        assessment.rayjob if assessment else rayjob,
        until,
        sources,
        session.options.overrides,
        assessment=assessment,
        problem=problem,
    )
