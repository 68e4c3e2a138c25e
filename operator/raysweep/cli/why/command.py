"""`raysweep why`: the ladder for one RayJob, guard by guard, and what KubeRay will do by itself. It only tells."""

import sys
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from raysweep import names
from raysweep.cli.common import formatting, kuberay_sentences, options
from raysweep.cli.common.options import EXIT_NOT_FOUND, EXIT_TOLD, Options
from raysweep.cli.plan.command import Row, row_json
from raysweep.core import recreation
from raysweep.core.assessment import LASTS_FOR_EVER, Case
from raysweep.core.decide import LADDER
from raysweep.core.durations import format_duration
from raysweep.core.finish import Outcome, shown_status
from raysweep.core.model.decisions import Delete
from raysweep.core.model.facts import HeadList, HeadSilent
from raysweep.core.retention import policy_status
from raysweep.core.text import command_line
from raysweep.core.timeline import Outlook, foresee

if TYPE_CHECKING:
    from raysweep.cli.common.session import Session
    from raysweep.clients.kubernetes.user import Told

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
            click.echo(formatting.machine(as_json(row, now), asked_for.output))
    return EXIT_TOLD


def uid_of(session: "Session", name: str) -> str:
    """The uid of the RayJob of that name; "" if there is none."""
    return next((job.uid for job in session.known.rayjobs.values() if job.name == name), "")


async def _row(session: "Session", uid: str) -> Row | None:
    """Asks the head where the ladder wants it, and of a job that may run for ever, since somebody wants to know."""
    from raysweep.clients.kubernetes.errors import ApiError

    case = session.observer.recall(uid)
    if case is None:
        return None
    outlook = foresee(case, session.now())
    if not session.options.ask:
        return Row(outlook)
    try:
        looked = await looked_at(session, uid)
    except ApiError as error:
        return Row(outlook, str(error))
    return Row(foresee(looked, session.now())) if looked else None


async def looked_at(session: "Session", uid: str) -> Case | None:
    """The case with a look at its head, if one is needed; None if the RayJob is gone.

    Raises ApiError.
    """
    case = session.observer.recall(uid)
    if case and _may_run_for_ever(case):
        case = await session.observer.poll(uid) or case
    if case and foresee(case, session.now()).is_due:
        case = await session.observer.look(uid)
    return case


def needs_look(case: Case, now: datetime) -> bool:
    """Whether the answer takes a look at the head."""
    return _may_run_for_ever(case) or foresee(case, now).is_due


def _may_run_for_ever(case: Case) -> bool:
    job = case.rayjob
    return job.deployment_status in LASTS_FOR_EVER and not job.has_selector and not job.unreadable


def as_text(row: Row, now: datetime) -> list[str]:
    """Everything, the answer first."""
    outlook = row.outlook
    reason, hint = outlook.why.reason, _hint(outlook, now)
    answer = {"reason": reason.value, "meaning": reason.meaning, "evidence": outlook.why.evidence, "remedy": reason.remedy}
    if hint:
        answer["hint"] = hint
    return [
        f"RayJob {outlook.case.rayjob.key} {verdict(outlook, now)}",
        "",
        *formatting.pairs(answer),
        *_section("Times", _times(outlook, now)),
        *_section("Policies that select it, strongest first", _policies(outlook.case)),
        *_section("Head", {"asked": _asked(row)}),
        *_section("Ladder", dict(_rungs(outlook))),
        *_then(outlook),
        "",
        "KubeRay by itself",
        *(f"  {formatting.safe(sentence)}" for sentence in _native(outlook.case, now)),
    ]


def verdict(outlook: Outlook, now: datetime) -> str:
    """`waits: NotDue. Then goes RayJob train, in 12m, ...`: what becomes of it, in a sentence without its subject."""
    what = " and ".join(f"{target.kind} {target.name}" for target in outlook.targets)
    if outlook.at is None:
        return f"stays: {outlook.why.reason}"
    if outlook.at > now:
        when = f"{formatting.relative(outlook.at, now)}, at {formatting.written(outlook.at)} at the earliest"
        return f"waits: {outlook.why.reason}. Then goes {what}, {when}"
    if outlook.head_not_asked:
        return f"is due: {outlook.why.reason}. {what} goes unless its Ray head has something against it (not asked)"
    if outlook.case.observed_by:
        return f"is due and stays: {outlook.case.observed_by} is on Observe. Otherwise {what} would go, {outlook.why.reason}"
    return f"goes now: {outlook.why.reason}. That is {what}"


def _hint(outlook: Outlook, now: datetime) -> str | None:
    """What to do if a tool that Raysweep cannot tell from Helm would create the RayJob again; None if it is kept anyway."""
    if "RayJob" not in outlook.kinds:
        return None
    case, end = outlook.case, outlook.case.conclusion(now)
    outcomes = end.outcomes if end and end.outcomes else Outcome
    is_ambiguous = recreation.is_mark_ambiguous(case.rayjob, case.rules.recreated_by, outcomes)
    return recreation.AMBIGUOUS if is_ambiguous else None


def _section(title: str, rows: dict[str, str]) -> list[str]:
    return ["", title, *formatting.pairs(rows)] if rows else []


def _times(outlook: Outlook, now: datetime) -> dict[str, str]:
    why = outlook.why
    told: dict[str, str] = {}
    if why.finished_at:
        told["finished" if why.outcome else "counted from"] = (
            f"{formatting.written(why.finished_at)} {why.outcome or ''}".rstrip()
        )
    for key, said in (("ttl", why.ttl), ("cluster-ttl", why.cluster_ttl)):
        if said:
            told[key] = f"{format_duration(said.value)}, {said.origin}"
    if why.due_at:
        when = (
            formatting.relative(why.due_at, now)
            if why.due_at > now
            else f"since {format_duration(formatting.until(now, why.due_at))}"
        )
        told["due"] = f"{formatting.written(why.due_at)} ({when})"
    if outlook.targets:
        told["frees"] = formatting.freed(outlook.frees)
    if records := _records(outlook):
        told["writes first"] = f"{names.OUTCOME}: {records}"
    return told


def _policies(case: Case) -> dict[str, str]:
    """Name to what it does, of those that select the RayJob."""
    return {policy.name: f"priority {policy.priority}; {policy_status.says(policy)}" for policy in case.policies or ()}


def _records(outlook: Outlook) -> str | None:
    """What the head knew better than the status, written down before nobody can be asked any more."""
    last = outlook.steps[-1].decision
    return last.note or None if isinstance(last, Delete) else None


def _asked(row: Row) -> str:
    """What the head said, or why it was not asked."""
    case = row.outlook.case
    if row.failed:
        return f"no, it could not be looked at: {row.failed}"
    if case.look is None:
        return "no, because of --no-ask" if row.outlook.head_not_asked else "no, that is for later: a guard before it decided"
    if isinstance(case.look.head, HeadSilent):
        return f"yes, as you, and it gave no usable answer: {case.look.head.detail}"
    if not isinstance(case.look.head, HeadList):
        return "there is none: no RayCluster, or one that is going or is not this RayJob's"
    own = case.testimony.own
    said = f"{case.testimony.says.value}{f', {own.submission_id!r} is {shown_status(own)}' if own else ''}"
    others = f"; {len(case.testimony.others)} other entries" if case.testimony.others else ""
    return f"yes: {said}{others}"


def _rungs(outlook: Outlook) -> list[tuple[str, str]]:
    """(guard, what came of it) for every guard of the ladder."""
    decided = outlook.decision.why.guard
    answers, is_before = [], True
    for guard in LADDER:
        if guard.__name__ == decided:
            is_before = False
            answers.append((decided, f"decided: {outlook.decision.why.reason}"))
        else:
            answers.append((guard.__name__, "passed" if is_before else "not reached"))
    return answers


def _then(outlook: Outlook) -> list[str]:
    """What the ladder says later, where it waits now."""
    told = [
        f"  {formatting.written(s.at)}  {s.decision.why.guard}: {formatting.safe(_says(s.decision))}" for s in outlook.steps[1:]
    ]
    return ["", "Later, as things stand (and if the Ray head has nothing against it)", *told] if told else []


def _says(decision: Any) -> str:
    word = type(decision).__name__
    if isinstance(decision, Delete):
        return f"deletes {' and '.join(f'{t.kind} {t.name}' for t in decision.targets)}, {decision.why.reason}"
    return "asks the Ray head" if word == "AskHead" else f"{word.lower()}s, {decision.why.reason}: {decision.why.evidence}"


def _native(case: Case, now: datetime) -> list[str]:
    is_known = case.namespace is not None and case.policies is not None and case.conclusion(now) is not None
    kept = case.kept_until(now) if is_known else None
    return kuberay_sentences.words(case.rayjob, now, kept if isinstance(kept, datetime) else None)


def as_json(row: Row, now: datetime) -> dict[str, Any]:
    """As an item of the plan, and more; docs/plan-and-why.md describes it field by field."""
    outlook = row.outlook
    reason = outlook.why.reason
    return {
        "apiVersion": formatting.API_VERSION,
        "kind": "Why",
        "generatedAt": formatting.written(now),
        "found": True,
        **row_json(row, now),
        "meaning": reason.meaning,
        "remedy": reason.remedy,
        "hint": _hint(outlook, now),
        "records": _records(outlook),
        "policies": None if outlook.case.policies is None else [policy.name for policy in outlook.case.policies],
        "headSaid": formatting.safe(_asked(row)),
        "ladder": [{"guard": guard, "answer": answer.partition(":")[0]} for guard, answer in _rungs(outlook)],
        "steps": [
            {
                "at": formatting.written(step.at),
                "guard": step.decision.why.guard,
                "decision": type(step.decision).__name__,
                "reason": step.decision.why.reason.value,
                "evidence": formatting.safe(step.decision.why.evidence),
            }
            for step in outlook.steps
        ],
        "kuberay": [formatting.safe(sentence) for sentence in _native(outlook.case, now)],
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
        told = await session.kubernetes.told_about(session.namespace, name)
    except ForbiddenError as error:
        problem = str(error)
    log = session.options.overrides.kubectl("-n", OPERATORS_NAMESPACE, "logs", "deploy/raysweep")
    query = f"{log} | " + command_line("grep", "-F", f'"namespace": "{session.namespace}", "name": "{name}"')
    return Gone(key, tuple(told), query, problem, was_deleted)


def print_gone(session: "Session", gone: "Gone") -> None:
    if session.options.output == "text":
        click.echo("\n".join(gone_text(gone)))
    else:
        click.echo(formatting.machine(gone_json(gone, session.now()), session.options.output))


@dataclass(frozen=True, slots=True)
class Gone:
    """A RayJob that is not there: namespace/name, what was told about it, and how to ask the log."""

    key: str
    told: "tuple[Told, ...]"
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
            f"  {formatting.written(t.at) or '-'}  {formatting.safe(t.reason)}  {formatting.safe(t.note)}" for t in gone.told
        ]
    elif gone.problem:
        lines += ["", f"Events cannot be read: {formatting.safe(gone.problem)}"]
    else:
        lines += ["", "Raysweep has no Event about it. Kubernetes forgets Events after an hour, and other hands delete too."]
    return [*lines, "", "The operator's log tells more, for as long as it is kept:", f"  {gone.query}"]


def gone_json(gone: Gone, now: datetime) -> dict[str, Any]:
    """found is false here; the other fields of a Why are missing."""
    namespace, _, name = gone.key.partition("/")
    return {
        "apiVersion": formatting.API_VERSION,
        "kind": "Why",
        "generatedAt": formatting.written(now),
        "found": False,
        "namespace": namespace,
        "name": name,
        "events": [
            {
                "at": formatting.written(t.at),
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
