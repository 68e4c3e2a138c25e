"""`raysweep plan`: what would go, when, by which rule and what it frees. The judgement is outlook.py's, the tables show.py's."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from raysweep.cli.common import options
from raysweep.cli.common.formatting import (
    API_VERSION,
    NOTHING,
    duration_json,
    duration_text,
    relative,
    resources_json,
    resources_text,
    rfc3339,
    safe,
    serialized,
    sum_resources,
    table,
    time_left,
)
from raysweep.cli.common.options import EXIT_OK, Options
from raysweep.cli.common.probing import Asked, probe_heads
from raysweep.core.durations import format_duration
from raysweep.core.timeline import Timeline, foresee

if TYPE_CHECKING:
    from raysweep.cli.common.session import Session

HEAD = ("NAMESPACE", "NAME", "WHAT", "WHEN", "REASON", "RULE", "FREES")
WIDE = ("OUTCOME", "FINISHED", "AT", "UID", "EVIDENCE")

EPILOG = """\b
Examples:
  raysweep plan                        what goes in the context's namespace
  raysweep plan -A                     in all namespaces
  raysweep plan -A --all               and what stays, and why
  raysweep plan -n team-a --ask        asks the Ray heads of what is due now
  raysweep plan -l team=vision -o json | jq '.items[] | {name, in, reason}'
  raysweep plan -A --watch             and keeps it current until Ctrl-C
  raysweep plan -w -o json | jq -c .summary

\b
Exit codes:
  0    the plan was printed
  1    anything else: no rights, unreachable, settings that cannot be read
  2    usage
  130  Ctrl-C
"""


@options.command(EPILOG)
@options.connection
@options.selection
@options.output("table", "wide", "json", "yaml", "name")
@click.option("--all", "everything", is_flag=True, help="also what stays, and why")
@options.asking(by_default=False)
@options.watching
@options.quiet
def command(*, everything: bool, watch: bool, **given: Any) -> None:
    """What Raysweep would delete, when, by which rule, and what that frees.

    It walks the operator's own ladder with your rights, and only reads. What is due goes only after its Ray head was asked;
    without --ask such rows say so. What only the running operator remembers (how long a head has been silent, for instance)
    is not known here, so the operator may be further on.

    With --watch the plan stays current, by watches on the API server. On a terminal it is drawn in
    place, elsewhere it is printed again when it changes; with -o json as one document on a line.
    """
    if watch and given["output"] == "name":
        raise click.UsageError("--watch cannot be combined with -o name; use -o json")
    from raysweep.cli.common.session import run  # the clients load slowly: not for --help

    if watch:
        from raysweep.cli.common.watch_loop import until_ctrl_c
        from raysweep.cli.plan.watch import watch_plan

        work = partial(watch_plan, everything=everything)
        sys.exit(run(until_ctrl_c(Options(**given), work)))
    sys.exit(run(_plan(Options(**given), everything=everything)))


@dataclass(frozen=True, slots=True)
class Row:
    """One RayJob of the plan."""

    timeline: Timeline
    failed: str = ""  # why its cluster and head could not be looked at

    @property
    def order(self) -> tuple[bool, float, str]:
        """What goes first stands first; what stays comes last, by name."""
        at = self.timeline.at
        return at is None, at.timestamp() if at else 0.0, self.timeline.assessment.rayjob.key


async def _plan(asked_for: Options, *, everything: bool) -> int:
    from raysweep.cli.common.session import notes, open_session, say

    async with open_session(asked_for) as session:
        rows, now = await judged(session, await session.list_all())
        for note in notes(session):
            say(note)
        printed = shown(rows, everything=everything)
        if asked_for.output in ("json", "yaml"):
            click.echo(serialized(as_json(about(session), rows, printed, now), asked_for.output))
        elif asked_for.output == "name":
            for row in printed:
                if row.timeline.targets:
                    click.echo(
                        f"{row.timeline.kinds[0].lower()}.ray.io/{row.timeline.targets[0].name}"
                    )
        elif printed:
            click.echo(as_table(printed, now, wide=asked_for.output == "wide"))
        is_for_people = asked_for.output in ("table", "wide")
        click.echo(whole_summary(session, rows, now), err=not is_for_people)
    return EXIT_OK


def shown(rows: list[Row], *, everything: bool) -> list[Row]:
    """What is printed of them."""
    return [row for row in rows if everything or row.timeline.at or row.failed]


async def judged(session: "Session", uids: list[str]) -> tuple[list[Row], datetime]:
    """Every one of them at one time, in the order in which they go; heads are asked before where that is wanted."""
    assessments = [
        Asked(assessment) for assessment in map(session.observer.assess, uids) if assessment
    ]
    if session.options.ask:
        due = {one.assessment.rayjob.uid for one in assessments if foresee(one.assessment).is_due}
        to_ask = [one.assessment for one in assessments if one.assessment.rayjob.uid in due]
        probed = await probe_heads(session.observer, to_ask, session.progress)
        assessments = [
            *probed,
            *(one for one in assessments if one.assessment.rayjob.uid not in due),
        ]
    now = session.now()
    timelines = ((foresee(replace(one.assessment, now=now)), one.failed) for one in assessments)
    return in_order(Row(*each) for each in timelines), now


def in_order(rows: Iterable[Row]) -> list[Row]:
    """In the order in which they go."""
    return sorted(rows, key=lambda row: row.order)


def as_table(rows: list[Row], now: datetime, *, wide: bool) -> str:
    """The plan as kubectl would print it."""
    head = (*HEAD, *WIDE) if wide else HEAD
    return table(head, ((*_cells(row, now), *(_wide_cells(row) if wide else ())) for row in rows))


def _cells(row: Row, now: datetime) -> tuple[str, ...]:
    timeline = row.timeline
    job, rule = timeline.assessment.rayjob, timeline.rule
    remarks = ["head not asked"] if timeline.head_not_asked else []
    remarks += ["only observed"] if timeline.targets and timeline.assessment.dry_run_by else []
    reason = timeline.explanation.reason.value + (f" ({', '.join(remarks)})" if remarks else "")
    return (
        job.namespace,
        job.name,
        "+".join(timeline.kinds) or NOTHING,
        relative(timeline.at, now) if timeline.at else "stays",
        reason,
        duration_text(*rule, job.key) if rule else NOTHING,
        resources_text(timeline.frees),
    )


def _wide_cells(row: Row) -> tuple[str, ...]:

    why = row.timeline.explanation
    return (
        why.outcome or NOTHING,
        rfc3339(why.finished_at) or NOTHING,
        rfc3339(row.timeline.at) or NOTHING,
        row.timeline.assessment.rayjob.uid,
        row.failed or why.message,
    )


@dataclass(frozen=True, slots=True)
class About:
    """What a plan is about: where it was made, of what, and by whose settings."""

    server: str
    namespace: str
    selector: str | None
    heads_asked: bool
    settings: str
    mode: str


def about(session: "Session") -> About:
    """What the plan of a session is about."""
    options, operators = session.options, session.operator
    mode = operators.settings.mode.value
    return About(
        session.server, session.namespace, options.selector, options.ask, operators.source, mode
    )


def as_json(about: About, rows: list[Row], shown: list[Row], now: datetime) -> dict[str, Any]:
    """docs/reference/json.md describes it field by field, and a test holds the two together."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Plan",
        "generatedAt": rfc3339(now),
        "server": about.server,
        "namespace": about.namespace or None,
        "selector": about.selector,
        "headsAsked": about.heads_asked,
        "settings": about.settings,
        "mode": about.mode,
        "summary": {
            **dict(zip(("now", "later", "stay"), map(len, _parts(rows, now)), strict=True)),
            "frees": resources_json(sum_resources(row.timeline.frees for row in rows)),
        },
        "items": [row_json(row, now) for row in shown],
    }


def row_json(row: Row, now: datetime) -> dict[str, Any]:
    """One RayJob; `raysweep why` has the same fields and more."""
    timeline = row.timeline
    job, why, at, rule = (
        timeline.assessment.rayjob,
        timeline.explanation,
        timeline.at,
        timeline.rule,
    )
    return {
        "namespace": job.namespace,
        "name": job.name,
        "uid": job.uid,
        "decision": decision(row, now),
        "deletes": [
            {"kind": target.kind, "name": target.name, "uid": target.uid}
            for target in timeline.targets
        ],
        "at": rfc3339(at),
        "in": format_duration(time_left(at, now)) if at else None,
        "reason": why.reason.value,
        "check": why.check,
        "message": safe(why.message),
        "head": "not asked"
        if timeline.head_not_asked
        else "asked"
        if timeline.assessment.probe
        else "not needed",
        "problem": safe(row.failed) or None,
        "outcome": why.outcome.value if why.outcome else None,
        "finishedAt": rfc3339(why.finished_at),
        "ttl": duration_json(why.ttl),
        "clusterTTL": duration_json(why.cluster_ttl),
        "rule": rule[0] if rule else None,
        "frees": resources_json(timeline.frees),
        "dryRunBy": timeline.assessment.dry_run_by or None,
    }


def decision(row: Row, now: datetime) -> str:
    """`goes` now, `waits` until its time, or `stays`."""
    if row.timeline.at is None:
        return "stays"
    return "goes" if row.timeline.at <= now else "waits"


def _parts(rows: list[Row], now: datetime) -> tuple[list[Row], list[Row], list[Row]]:
    """What goes now, what goes later, what stays."""
    due = [row for row in rows if row.timeline.at and row.timeline.at <= now]
    later = [row for row in rows if row.timeline.at and row.timeline.at > now]
    return due, later, [row for row in rows if row.timeline.at is None]


def whole_summary(session: "Session", rows: list[Row], now: datetime) -> str:
    """The summary, and of what."""
    where = f"namespace {session.namespace}" if session.namespace else "all namespaces"
    return f"{where}: {summary(rows, now)}"


def summary(rows: list[Row], now: datetime) -> str:
    """`3 due now (2 with the head not asked), 5 later, 12 stay; frees 10 GPU, 40 CPU, 160Gi`."""
    due, later, staying = _parts(rows, now)
    unasked = sum(row.timeline.head_not_asked for row in due)
    told = f"{len(due)} due now{f' ({unasked} with the head not asked)' if unasked else ''}, {len(later)} later"
    return f"{told}, {len(staying)} stay; frees {resources_text(sum_resources(row.timeline.frees for row in (*due, *later)))}"
