"""`raysweep plan --watch`: a plan that stays current."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from raysweep.cli.common.answer_context import AnswerContext
from raysweep.cli.common.probe_cache import ProbeCache, keep_probing
from raysweep.cli.common.rayjob_row import RayJobRow, target_json
from raysweep.cli.common.session import Session, uptime
from raysweep.cli.common.timeline_cache import TimelineCache
from raysweep.cli.common.verdict import verdict
from raysweep.cli.common.watch_loop import answers, current
from raysweep.cli.plan import rows
from raysweep.core.timeline import foresee


async def watch_plan(session: Session, *, show_all: bool) -> int:
    """Runs until it is cancelled."""
    probe, output = session.observer.probe, session.options.output
    async with current(session) as updates, keep_probing(probe, updates.news.changed) as probes:
        planner = _Planner(session, probes, TimelineCache())
        if session.options.ask:
            planner.rows(session.now())
            with session.progress.wait("asking Ray heads"):
                await probes.end()
        with answers(output, wrap=False) as show_answer:
            while True:
                began, now = uptime(), session.now()
                updates.print_notes(*session.notes())
                plan_rows = planner.rows(now)
                shown = rows.shown_rows(plan_rows, show_all=show_all)
                show_answer(PlanAnswer(session, plan_rows, shown, now), updates)
                await updates.next(uptime() - began)


@dataclass(frozen=True)
class _Planner:
    session: Session
    probes: ProbeCache
    timelines: TimelineCache

    def rows(self, now: datetime) -> list[RayJobRow]:
        """The rows at this time, with the latest probes. It does not wait for new ones."""
        uids = self.session.selected_uids()
        self.probes.keep_only(set(uids))
        self.timelines.keep_only(set(uids))
        plan_rows = []
        for assessment in map(self.session.observer.assess, uids):
            if assessment:
                row = RayJobRow(self.timelines.foresee(replace(assessment, now=now)))
                plan_rows.append(self._with_probe(row, now))
        return rows.sorted_rows(plan_rows)

    def _with_probe(self, row: RayJobRow, now: datetime) -> RayJobRow:
        if not self.session.options.ask or not row.timeline.is_due:
            return row
        latest = self.probes.latest(row.timeline.assessment)
        return RayJobRow(foresee(replace(latest.assessment, now=now)), latest.error)


@dataclass(frozen=True)
class PlanAnswer:
    """A plan. shown: the rows that are printed."""

    session: Session
    rows: list[RayJobRow]
    shown: list[RayJobRow]
    at: datetime

    def gist(self) -> object:
        """The decision about each RayJob, and its reason."""
        return [self._gist_of(row) for row in self.shown]

    def _gist_of(self, row: RayJobRow) -> object:
        timeline = row.timeline
        uid = timeline.assessment.rayjob.uid
        deletes = [target_json(target) for target in timeline.targets]  # without resourceVersions
        return uid, verdict(timeline, self.at), timeline.explanation.reason, deletes

    def content(self) -> object:
        """Everything but the time left until each deletion."""
        document = self.document()
        return [{**item, "in": None} for item in document["items"]], document["summary"]

    def lines(self, most: int | None = None) -> tuple[list[str], int]:
        """The table, and how many rows are left out."""
        if not self.shown:
            return [], 0
        is_wide = self.session.options.output == "wide"
        fitting = self.shown[:most]
        lines = rows.as_table(fitting, self.at, wide=is_wide).split("\n")
        return lines, len(self.shown) - len(fitting)

    def summary(self) -> list[str]:
        """One line."""
        return [f"{self.session.scope}: {rows.summary(self.rows, self.at)}"]

    def document(self) -> dict[str, Any]:
        """The JSON of `plan`."""
        context, asked = AnswerContext.of(self.session), self.session.options.ask
        return rows.as_json(context, self.rows, self.shown, self.at, heads_asked=asked)
