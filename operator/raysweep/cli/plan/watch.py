"""`raysweep plan --watch`: the plan again and again, from what watches and looks at heads have shown."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from raysweep.cli.common.probe_cache import ProbeCache, keep_probing
from raysweep.cli.common.session import Session, notes, uptime
from raysweep.cli.common.timeline_cache import TimelineCache
from raysweep.cli.common.watch_loop import answers, current
from raysweep.cli.plan import command as plan
from raysweep.cli.plan.command import Row
from raysweep.core.timeline import foresee


async def watch_plan(session: Session, *, everything: bool) -> int:
    """Runs until it is cancelled."""
    take, output = session.observer.probe, session.options.output
    async with current(session) as updates, keep_probing(take, updates.news.changed) as probes:
        planner = _Planner(session, probes, TimelineCache())
        if session.options.ask:
            planner.rows(session.now())
            with session.progress.wait("asking Ray heads"):
                await probes.end()
        with answers(output, wrap=False) as show:
            while True:
                began, now = uptime(), session.now()
                updates.print_notes(*notes(session))
                rows = planner.rows(now)
                printed = plan.shown(rows, everything=everything)
                show(PlanAnswer(session, rows, printed, now), updates)
                await updates.next(uptime() - began)


@dataclass(frozen=True)
class _Planner:
    session: Session
    probes: ProbeCache
    timelines: TimelineCache

    def rows(self, now: datetime) -> list[Row]:
        """The rows of now, without waiting for heads: their latest answers count."""
        uids = self.session.selected_uids()
        for each in (self.probes, self.timelines):
            each.keep_only(set(uids))
        assessments = (
            assessment for assessment in map(self.session.observer.assess, uids) if assessment
        )
        rows = [
            Row(self.timelines.foresee(replace(assessment, now=now))) for assessment in assessments
        ]
        if self.session.options.ask:
            rows = [self._asked(row, now) if row.timeline.is_due else row for row in rows]
        return plan.in_order(rows)

    def _asked(self, row: Row, now: datetime) -> Row:
        asked = self.probes.latest(row.timeline.assessment)
        return Row(foresee(replace(asked.assessment, now=now)), asked.failed)


@dataclass(frozen=True)
class PlanAnswer:
    """A plan. rows: everything that was judged; shown: what is printed of it."""

    session: Session
    rows: list[Row]
    shown: list[Row]
    at: datetime

    def gist(self) -> object:
        """What goes, waits and stays, and for which reason."""
        return [self._gist_of(row) for row in self.shown]

    def _gist_of(self, row: Row) -> object:
        timeline = row.timeline
        uid, decision = timeline.assessment.rayjob.uid, plan.decision(row, self.at)
        return uid, decision, timeline.explanation.reason, timeline.targets

    def content(self) -> object:
        """Everything in it, but how long it is until then."""
        document = self.document()
        return [{**item, "in": None} for item in document["items"]], document["summary"]

    def lines(self, most: int | None = None) -> tuple[list[str], int]:
        """The table."""
        if not self.shown:
            return [], 0
        is_wide = self.session.options.output == "wide"
        rows = self.shown[:most]
        return plan.as_table(rows, self.at, wide=is_wide).split("\n"), len(self.shown) - len(rows)

    def summary(self) -> list[str]:
        """One line."""
        return [plan.whole_summary(self.session, self.rows, self.at)]

    def document(self) -> dict[str, Any]:
        """As `plan -o json` prints it."""
        return plan.as_json(plan.about(self.session), self.rows, self.shown, self.at)
