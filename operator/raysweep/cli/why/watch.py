"""`raysweep why --watch`: the answer again and again, until the RayJob is deleted."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from raysweep.cli.common import formatting
from raysweep.cli.common.options import EXIT_OK
from raysweep.cli.common.probe_cache import keep_probing
from raysweep.cli.common.probing import Asked
from raysweep.cli.common.session import Session, notes, uptime
from raysweep.cli.common.watch_loop import answers, current
from raysweep.cli.plan.command import Row
from raysweep.cli.why import command as why
from raysweep.core.assessment import Assessment
from raysweep.core.timeline import foresee

TRIES = 3
"""How often Events about a RayJob that was just deleted are read, a second apart."""
CHANGES_BY_ITSELF = ("generatedAt", "in", "kuberay", "steps")
"""Fields with the time of the answer, or how long it is until another time."""


async def watch_why(session: Session, name: str) -> int:
    """Runs until the RayJob is deleted, or it is cancelled."""

    async def take(uid: str) -> Assessment | None:
        return await why.looked_at(session, uid)

    async with current(session) as updates, keep_probing(take, updates.news.changed) as probes:
        uid = why.uid_of(session, name)
        updates.print_notes(*notes(session))
        if not uid:
            return await why.print_absent(session, name)
        with answers(session.options.output, wrap=True) as show_answer:
            while assessment := session.observer.assess(uid):
                began, now = uptime(), session.now()
                needs_probe = session.options.ask and why.needs_probe(assessment)
                asked = probes.latest(assessment) if needs_probe else Asked(assessment)
                if not needs_probe or probes.has_result(assessment):
                    row = Row(foresee(asked.assessment), asked.failed)
                    show_answer(WhyAnswer(row, now), updates)
                await updates.next(uptime() - began)
                updates.print_notes(*notes(session))
    return await _deleted(session, name)


async def _deleted(session: Session, name: str) -> int:
    """Prints the Events about a RayJob that was just deleted. They may come a moment later."""
    for _ in range(TRIES):
        gone = await why.absent(session, name, was_deleted=True)
        if gone.told or gone.problem:
            break
        await asyncio.sleep(1)
    if session.options.output == "json":
        click.echo(formatting.json_line(why.gone_json(gone, session.now())))
    else:
        why.print_gone(session, gone)
    return EXIT_OK


@dataclass(frozen=True)
class WhyAnswer:
    """The answer about one RayJob."""

    row: Row
    at: datetime

    def gist(self) -> object:
        """What becomes of it, and which guard says so."""
        document = self.document()
        return [document[key] for key in ("decision", "reason", "check", "deletes")]

    def content(self) -> object:
        """Everything in it that time alone does not change, and what KubeRay's part rests on."""
        document = self.document().items()
        fields = {key: value for key, value in document if key not in CHANGES_BY_ITSELF}
        return fields, self.row.timeline.assessment.rayjob.kuberay_cleanup

    def lines(self, most: int | None = None) -> tuple[list[str], int]:
        """As `why` prints it."""
        lines = why.as_text(self.row, self.at)
        return lines[:most], len(lines) - len(lines[:most])

    def summary(self) -> list[str]:
        """The answer has none."""
        return []

    def document(self) -> dict[str, Any]:
        """As `why -o json` prints it."""
        return why.as_json(self.row, self.at)
