"""`raysweep why --watch`: the answer stays current until the RayJob is deleted."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from raysweep.cli.common import formatting
from raysweep.cli.common.options import EXIT_NOT_FOUND, EXIT_OK
from raysweep.cli.common.probe_cache import keep_probing
from raysweep.cli.common.probing import ProbedRayJob
from raysweep.cli.common.rayjob_row import RayJobRow
from raysweep.cli.common.session import Session, uptime
from raysweep.cli.common.watch_loop import answers, current
from raysweep.cli.why import gone, report
from raysweep.core.assessment import Assessment
from raysweep.core.job_status import MAY_HANG
from raysweep.core.timeline import foresee

TRIES = 3
"""How often Events about a RayJob that was just deleted are read, a second apart."""
CHANGES_BY_ITSELF = ("generatedAt", "in", "kuberay", "steps")
"""Fields with the time of the answer, or the time left until another time."""


async def watch_why(session: Session, name: str) -> int:
    """Runs until the RayJob is deleted."""

    async def probe(uid: str) -> Assessment | None:
        return await probed(session, uid)

    async with current(session) as updates, keep_probing(probe, updates.news.changed) as probes:
        rayjob = session.snapshot.rayjob_named(name)
        updates.print_notes(*session.notes())
        if rayjob is None:
            gone.print_gone(session, await gone.read_gone(session, name))
            return EXIT_NOT_FOUND
        with answers(session.options.output, wrap=True) as show_answer:
            while assessment := session.observer.assess(rayjob.uid):
                began, now = uptime(), session.now()
                if session.options.ask and needs_probe(assessment):
                    latest = probes.latest(assessment)
                    is_complete = probes.has_result(assessment)
                else:
                    latest, is_complete = ProbedRayJob(assessment), True
                if is_complete:
                    row = RayJobRow(foresee(latest.assessment), latest.error)
                    show_answer(WhyAnswer(row, now), updates)
                await updates.next(uptime() - began)
                updates.print_notes(*session.notes())
    return await _print_deleted(session, name)


async def probed(session: Session, uid: str) -> Assessment | None:
    """The assessment, after a probe of its Ray head if one is needed.

    Returns None if the RayJob does not exist anymore. Raises ApiError.
    """
    assessment = session.observer.assess(uid)
    if assessment and _may_run_for_ever(assessment):
        assessment = await session.observer.status_probe(uid) or assessment
    if assessment and foresee(assessment).is_due:
        assessment = await session.observer.probe(uid)
    return assessment


def needs_probe(assessment: Assessment) -> bool:
    """Whether the answer depends on the Ray head."""
    return _may_run_for_ever(assessment) or foresee(assessment).is_due


def _may_run_for_ever(assessment: Assessment) -> bool:
    job = assessment.rayjob
    return job.deployment_status in MAY_HANG and not job.has_selector and not job.unreadable


async def _print_deleted(session: Session, name: str) -> int:
    """Prints the Events about a RayJob that was just deleted. They may arrive a moment later."""
    for _ in range(TRIES):
        absent = await gone.read_gone(session, name, was_deleted=True)
        if absent.events or absent.problem:
            break
        await asyncio.sleep(1)
    if session.options.output == "json":
        click.echo(formatting.json_line(gone.as_json(absent, session.now())))
    else:
        gone.print_gone(session, absent)
    return EXIT_OK


@dataclass(frozen=True)
class WhyAnswer:
    """The answer about one RayJob."""

    row: RayJobRow
    at: datetime

    def gist(self) -> object:
        """The decision, and the check that made it."""
        document = self.document()
        return [document[key] for key in ("decision", "reason", "check", "deletes")]

    def content(self) -> object:
        """Everything that time alone does not change, and what KubeRay's sentences depend on."""
        document = self.document().items()
        fields = {key: value for key, value in document if key not in CHANGES_BY_ITSELF}
        return fields, self.row.timeline.assessment.rayjob.kuberay_cleanup

    def lines(self, most: int | None = None) -> tuple[list[str], int]:
        """The text of `why`, and how many lines are left out."""
        lines = report.as_text(self.row, self.at)
        return lines[:most], len(lines) - len(lines[:most])

    def summary(self) -> list[str]:
        """No lines."""
        return []

    def document(self) -> dict[str, Any]:
        """The JSON of `why`."""
        return report.as_json(self.row, self.at)
