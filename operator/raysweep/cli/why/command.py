"""`raysweep why`: the ladder for one RayJob, guard by guard, and what KubeRay will do by itself. It only tells."""

import sys
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from raysweep import names
from raysweep.cli.common import formatting, kuberay_sentences, options
from raysweep.cli.common.options import EXIT_NOT_FOUND, EXIT_OK, Options
from raysweep.cli.plan.command import Row, row_json
from raysweep.core import recreation
from raysweep.core.assessment import Assessment
from raysweep.core.decide import CHECKS
from raysweep.core.durations import format_duration
from raysweep.core.job_status import MAY_HANG, shown_status
from raysweep.core.model.decisions import Delete
from raysweep.core.model.facts import HeadList, HeadSilent
from raysweep.core.model.outcome import Outcome
from raysweep.core.retention import policy_status
from raysweep.core.text import command_line
from raysweep.core.timeline import Timeline, foresee

if TYPE_CHECKING:
    from raysweep.cli.common.session import Session
    from raysweep.clients.kubernetes.user_client import RayJobEvent

EPILOG = """\b
Examples:
  raysweep why my-job                  in the context's namespace
  raysweep why my-job -n team-a
  raysweep why my-job --no-ask         without asking its Ray head
  raysweep why my-job -o json | jq -r .reason
  raysweep why my-job --watch          and keeps it current until it is deleted, or Ctrl-C

\b
Exit codes:
  0    the answer was printed; with --watch: the RayJob was deleted
  1    anything else: no rights, unreachable, settings that cannot be read
  2    usage
  3    there is no such RayJob; what Events tell of it is printed all the same
  130  Ctrl-C
"""


@options.command(EPILOG)
@options.name_argument
@options.connection
@options.output("text", "json", "yaml")
@options.asking(by_default=True)
@options.watching
def command(name: str, *, watch: bool, **given: Any) -> None:
    """Why the RayJob NAME stays, or when it goes: the operator's ladder, guard by guard.

    Tells which guard decides and on what evidence, which source set which time, when it goes at the earliest, and what KubeRay
    will do by itself. Of a RayJob that is gone it tells what Events say. It walks the ladder with your rights, and only reads.

    With --watch the answer stays current until the RayJob is deleted, by watches on the API server.
    On a terminal it is drawn in place, elsewhere it is printed again when it changes; with -o json
    as one document on a line.
    """
    from raysweep.cli.common.session import run  # the clients load slowly: not for --help

    if watch:
        from raysweep.cli.common.watch_loop import until_ctrl_c
        from raysweep.cli.why.watch import watch_why

        sys.exit(run(until_ctrl_c(Options(**given), partial(watch_why, name=name))))
    sys.exit(run(_why(name, Options(**given))))


async def _why(name: str, asked_for: Options) -> int:
    from raysweep.cli.common.session import notes, open_session, say

    async with open_session(asked_for) as session:
        await session.list_all()
        for note in notes(session):
            say(note)
        uid = uid_of(session, name)
        row = await _row(session, uid) if uid else None
        if row is None:
            return await print_absent(session, name)
        now = session.now()
        if asked_for.output == "text":
            click.echo("\n".join(as_text(row, now)))
        else:
            click.echo(formatting.serialized(as_json(row, now), asked_for.output))
    return EXIT_OK


def uid_of(session: "Session", name: str) -> str:
    """The uid of the RayJob of that name; "" if there is none."""
    return next((job.uid for job in session.known.rayjobs.values() if job.name == name), "")


async def _row(session: "Session", uid: str) -> Row | None:
    """Asks the head where the ladder wants it, and of a job that may run for ever, since somebody wants to know."""
    from raysweep.clients.kubernetes.errors import ApiError

    assessment = session.observer.assess(uid)
    if assessment is None:
        return None
    timeline = foresee(assessment)
    if not session.options.ask:
        return Row(timeline)
    try:
        probed = await looked_at(session, uid)
    except ApiError as error:
        return Row(timeline, str(error))
    return Row(foresee(probed)) if probed else None


async def looked_at(session: "Session", uid: str) -> Assessment | None:
    """The case with a look at its head, if one is needed; None if the RayJob is gone.

    Raises ApiError.
    """
    assessment = session.observer.assess(uid)
    if assessment and _may_run_for_ever(assessment):
        assessment = await session.observer.status_probe(uid) or assessment
    if assessment and foresee(assessment).is_due:
        assessment = await session.observer.probe(uid)
    return assessment


def needs_probe(assessment: Assessment) -> bool:
    """Whether the answer takes a look at the head."""
    return _may_run_for_ever(assessment) or foresee(assessment).is_due


def _may_run_for_ever(assessment: Assessment) -> bool:
    job = assessment.rayjob
    return job.deployment_status in MAY_HANG and not job.has_selector and not job.unreadable


def as_text(row: Row, now: datetime) -> list[str]:
    """Everything, the answer first."""
    timeline = row.timeline
    reason, hint = timeline.explanation.reason, _hint(timeline)
    answer = {
        "reason": reason.value,
        "description": reason.description,
        "message": timeline.explanation.message,
        "hint": reason.hint,
    }
    if hint:
        answer["hint"] = hint
    return [
        f"RayJob {timeline.assessment.rayjob.key} {verdict(timeline, now)}",
        "",
        *formatting.key_value_lines(answer),
        *_section("Times", _times(timeline, now)),
        *_section("Policies that select it, strongest first", _policies(timeline.assessment)),
        *_section("Head", {"asked": _asked(row)}),
        *_section("Ladder", dict(_rungs(timeline))),
        *_then(timeline),
        "",
        "KubeRay by itself",
        *(
            f"  {formatting.safe(sentence)}"
            for sentence in _kuberay_cleanup(timeline.assessment, now)
        ),
    ]


def verdict(timeline: Timeline, now: datetime) -> str:
    """`waits: NotDue. Then goes RayJob train, in 12m, ...`: what becomes of it, in a sentence without its subject."""
    what = " and ".join(f"{target.kind} {target.name}" for target in timeline.targets)
    if timeline.at is None:
        return f"stays: {timeline.explanation.reason}"
    if timeline.at > now:
        when = f"{formatting.relative(timeline.at, now)}, at {formatting.rfc3339(timeline.at)} at the earliest"
        return f"waits: {timeline.explanation.reason}. Then goes {what}, {when}"
    if timeline.head_not_asked:
        return f"is due: {timeline.explanation.reason}. {what} goes unless its Ray head has something against it (not asked)"
    if timeline.assessment.dry_run_by:
        return f"is due and stays: {timeline.assessment.dry_run_by} is on DryRun. Otherwise {what} would go, {timeline.explanation.reason}"
    return f"goes now: {timeline.explanation.reason}. That is {what}"


def _hint(timeline: Timeline) -> str | None:
    """What to do if a tool that Raysweep cannot tell from Helm would create the RayJob again; None if it is kept anyway."""
    if "RayJob" not in timeline.kinds:
        return None
    assessment, end = timeline.assessment, timeline.assessment.end
    outcomes = end.outcomes if end and end.outcomes else Outcome
    is_ambiguous = recreation.is_mark_ambiguous(
        assessment.rayjob, assessment.parameters.recreated_by, outcomes
    )
    return recreation.AMBIGUOUS if is_ambiguous else None


def _section(title: str, rows: dict[str, str]) -> list[str]:
    return ["", title, *formatting.key_value_lines(rows)] if rows else []


def _times(timeline: Timeline, now: datetime) -> dict[str, str]:
    why = timeline.explanation
    told: dict[str, str] = {}
    if why.finished_at:
        told["finished" if why.outcome else "counted from"] = (
            f"{formatting.rfc3339(why.finished_at)} {why.outcome or ''}".rstrip()
        )
    for key, said in (("ttl", why.ttl), ("cluster-ttl", why.cluster_ttl)):
        if said:
            told[key] = f"{format_duration(said.value)}, {said.origin}"
    if why.due_at:
        when = (
            formatting.relative(why.due_at, now)
            if why.due_at > now
            else f"since {format_duration(formatting.time_left(now, why.due_at))}"
        )
        told["due"] = f"{formatting.rfc3339(why.due_at)} ({when})"
    if timeline.targets:
        told["frees"] = formatting.resources_text(timeline.frees)
    if records := _records(timeline):
        told["writes first"] = f"{names.OUTCOME}: {records}"
    return told


def _policies(assessment: Assessment) -> dict[str, str]:
    """Name to what it does, of those that select the RayJob."""
    return {
        policy.name: f"priority {policy.priority}; {policy_status.describe(policy)}"
        for policy in assessment.policies or ()
    }


def _records(timeline: Timeline) -> str | None:
    """What the head knew better than the status, written down before nobody can be asked any more."""
    last = timeline.steps[-1].decision
    return last.note or None if isinstance(last, Delete) else None


def _asked(row: Row) -> str:
    """What the head said, or why it was not asked."""
    assessment = row.timeline.assessment
    if row.failed:
        return f"no, it could not be looked at: {row.failed}"
    if assessment.probe is None:
        return (
            "no, because of --no-ask"
            if row.timeline.head_not_asked
            else "no, that is for later: a guard before it decided"
        )
    if isinstance(assessment.probe.head, HeadSilent):
        return f"yes, as you, and it gave no usable answer: {assessment.probe.head.detail}"
    if not isinstance(assessment.probe.head, HeadList):
        return "there is none: no RayCluster, or one that is going or is not this RayJob's"
    own = assessment.head_report.own
    said = f"{assessment.head_report.state.value}{f', {own.submission_id!r} is {shown_status(own)}' if own else ''}"
    others = (
        f"; {len(assessment.head_report.others)} other entries"
        if assessment.head_report.others
        else ""
    )
    return f"yes: {said}{others}"


def _rungs(timeline: Timeline) -> list[tuple[str, str]]:
    """(guard, what came of it) for every guard of the ladder."""
    decided = timeline.decision.explanation.check
    answers, is_before = [], True
    for check in CHECKS:
        if check.__name__ == decided:
            is_before = False
            answers.append((decided, f"decided: {timeline.decision.explanation.reason}"))
        else:
            answers.append((check.__name__, "passed" if is_before else "not reached"))
    return answers


def _then(timeline: Timeline) -> list[str]:
    """What the ladder says later, where it waits now."""
    told = [
        f"  {formatting.rfc3339(s.at)}  {s.decision.explanation.check}: {formatting.safe(_says(s.decision))}"
        for s in timeline.steps[1:]
    ]
    return (
        ["", "Later, as things stand (and if the Ray head has nothing against it)", *told]
        if told
        else []
    )


def _says(decision: Any) -> str:
    word = type(decision).__name__
    if isinstance(decision, Delete):
        return f"deletes {' and '.join(f'{t.kind} {t.name}' for t in decision.targets)}, {decision.explanation.reason}"
    return (
        "asks the Ray head"
        if word == "AskHead"
        else f"{word.lower()}s, {decision.explanation.reason}: {decision.explanation.message}"
    )


def _kuberay_cleanup(assessment: Assessment, now: datetime) -> list[str]:
    is_known = (
        assessment.namespace is not None
        and assessment.policies is not None
        and assessment.end is not None
    )
    kept = assessment.kept_until if is_known else None
    return kuberay_sentences.words(
        assessment.rayjob, now, kept if isinstance(kept, datetime) else None
    )


def as_json(row: Row, now: datetime) -> dict[str, Any]:
    """As an item of the plan, and more; docs/reference/json.md describes it field by field."""
    timeline = row.timeline
    reason = timeline.explanation.reason
    return {
        "apiVersion": formatting.API_VERSION,
        "kind": "Why",
        "generatedAt": formatting.rfc3339(now),
        "found": True,
        **row_json(row, now),
        "description": reason.description,
        "hint": reason.hint,
        "hint": _hint(timeline),
        "records": _records(timeline),
        "policies": None
        if timeline.assessment.policies is None
        else [policy.name for policy in timeline.assessment.policies],
        "headSaid": formatting.safe(_asked(row)),
        "checks": [
            {"check": check, "answer": answer.partition(":")[0]}
            for check, answer in _rungs(timeline)
        ],
        "steps": [
            {
                "at": formatting.rfc3339(step.at),
                "check": step.decision.explanation.check,
                "decision": type(step.decision).__name__,
                "reason": step.decision.explanation.reason.value,
                "message": formatting.safe(step.decision.explanation.message),
            }
            for step in timeline.steps
        ],
        "kuberay": [
            formatting.safe(sentence) for sentence in _kuberay_cleanup(timeline.assessment, now)
        ],
    }


async def print_absent(session: "Session", name: str) -> int:
    """What Events tell of a RayJob that is not there, and otherwise the query that asks the operator's log."""
    print_gone(session, await absent(session, name))
    return EXIT_NOT_FOUND


async def absent(session: "Session", name: str, *, was_deleted: bool = False) -> "Gone":
    from raysweep.cli.common.session import OPERATORS_NAMESPACE
    from raysweep.clients.kubernetes.errors import ForbiddenError

    key, problem, told = f"{session.namespace}/{name}", "", []
    try:
        told = await session.kubernetes.rayjob_events(session.namespace, name)
    except ForbiddenError as error:
        problem = str(error)
    log = session.options.overrides.kubectl("-n", OPERATORS_NAMESPACE, "logs", "deploy/raysweep")
    query = f"{log} | " + command_line(
        "grep", "-F", f'"namespace": "{session.namespace}", "name": "{name}"'
    )
    return Gone(key, tuple(told), query, problem, was_deleted)


def print_gone(session: "Session", gone: "Gone") -> None:
    if session.options.output == "text":
        click.echo("\n".join(gone_text(gone)))
    else:
        click.echo(formatting.serialized(gone_json(gone, session.now()), session.options.output))


@dataclass(frozen=True, slots=True)
class Gone:
    """A RayJob that is not there: namespace/name, what was told about it, and how to ask the log."""

    key: str
    told: "tuple[RayJobEvent, ...]"
    query: str
    problem: str = ""  # why Events could not be read
    was_deleted: bool = False  # it was there before


def gone_text(gone: Gone) -> list[str]:
    """What is known of it."""
    absent = f"There is no RayJob {gone.key}."
    lines = [f"RayJob {gone.key} was deleted." if gone.was_deleted else absent]
    if gone.told:
        lines += ["", "Raysweep's Events about RayJobs of that name"]
        lines += [
            f"  {formatting.rfc3339(t.at) or '-'}  {formatting.safe(t.reason)}  {formatting.safe(t.note)}"
            for t in gone.told
        ]
    elif gone.problem:
        lines += ["", f"Events cannot be read: {formatting.safe(gone.problem)}"]
    else:
        lines += [
            "",
            "Raysweep has no Event about it. Kubernetes forgets Events after an hour, and other hands delete too.",
        ]
    return [
        *lines,
        "",
        "The operator's log tells more, for as long as it is kept:",
        f"  {gone.query}",
    ]


def gone_json(gone: Gone, now: datetime) -> dict[str, Any]:
    """found is false here; the other fields of a Why are missing."""
    namespace, _, name = gone.key.partition("/")
    return {
        "apiVersion": formatting.API_VERSION,
        "kind": "Why",
        "generatedAt": formatting.rfc3339(now),
        "found": False,
        "namespace": namespace,
        "name": name,
        "events": [
            {
                "at": formatting.rfc3339(t.at),
                "uid": t.uid,
                "type": t.type,
                "reason": formatting.safe(t.reason),
                "note": formatting.safe(t.note),
            }
            for t in gone.told
        ],
        "problem": formatting.safe(gone.problem) or None,
        "logQuery": gone.query,
    }
