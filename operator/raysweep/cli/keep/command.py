"""`raysweep keep`: asks for a RayJob to be kept, or no longer, and says whom that binds. It writes two annotations."""

import sys
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from raysweep import names
from raysweep.cli.common import formatting, kuberay_sentences, options
from raysweep.cli.common.options import EXIT_FAILED, EXIT_KUBERAY_DELETES, EXIT_OK, Options
from raysweep.cli.keep import handover_patch
from raysweep.cli.plan.command import Row, row_json
from raysweep.cli.why.command import verdict
from raysweep.clients.connection.overrides import Overrides
from raysweep.core.assessment import Assessment
from raysweep.core.durations import Never, after, format_duration, parse_duration
from raysweep.core.finish import WHOLE_SECOND
from raysweep.core.job_status import kuberay_reports_end
from raysweep.core.model.facts import Namespace, RayJob
from raysweep.core.model.provenance import SourcedDuration
from raysweep.core.retention import annotations, policies
from raysweep.core.retention.annotations import TIME_GRAMMAR
from raysweep.core.retention.resolve import Sources
from raysweep.core.text import plain, quoted
from raysweep.core.timeline import Timeline, foresee

if TYPE_CHECKING:
    from raysweep.cli.common.session import Session

EPILOG = """\b
Examples:
  raysweep keep my-job 3d              three days from now
  raysweep keep my-job 12h --reason 'the loss explodes at step 900'
  raysweep keep my-job 2026-12-24T18:00:00Z -n team-a
  raysweep keep my-job --clear         no longer
  raysweep keep my-job 3d -o json | jq -r '.remedy // empty' | sh

\b
Exit codes:
  0  kept; with --clear: no longer
  1  anything else: no such RayJob, it is being deleted, a policy's limit has passed, no rights, unreachable
  2  usage
  3  Raysweep keeps it, and KubeRay will delete it or its RayCluster before that time all the same; the command
     that helps is printed
"""

LIMIT = "limits.keep.max"
OTHERWISE = ("decision", "deletes", "at", "in", "reason", "message", "rule")
"""What of an item of the plan is told."""


@options.command(EPILOG)
@options.name_argument
@click.argument("when", required=False)
@click.option("--reason", metavar="TEXT", help="why; it is told wherever the RayJob is kept for it")
@click.option("--clear", is_flag=True, help="no longer; the reason goes with it")
@options.connection
@options.output("text", "json", "yaml")
def command(name: str, when: str | None, *, reason: str | None, clear: bool, **given: Any) -> None:
    """Keeps the RayJob NAME and its RayCluster: for so long from now on (3d, 12h, 1h30m), or until a time.

    Before that time Raysweep deletes neither. It does not bind KubeRay: where the RayJob's own spec has KubeRay delete it or its
    RayCluster earlier, this says so, with the command that takes that out of KubeRay's hands and leaves it to Raysweep.
    """
    if (when is None) is not clear:
        raise click.UsageError("say for how long or until when, or --clear; one of the three")
    if clear and reason is not None:
        raise click.UsageError("--clear takes the reason away too; leave out --reason")
    from raysweep.cli.common.session import run, utc_now  # the clients load slowly: not for --help

    until = read_when(when, utc_now()) if when is not None else None
    sys.exit(run(_keep(Wanted(name, until, reason), Options(**given))))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for; until None: to be kept no longer."""

    name: str
    until: datetime | None
    reason: str | None


def read_when(text: str, now: datetime) -> datetime:
    """A duration from now on, or a time, in whole seconds and rounded up. Raises click.BadParameter."""
    try:
        found = parse_duration(text)
    except ValueError:
        said = annotations.keep_until(
            Namespace("", "", "", {names.KEEP_UNTIL: text})
        )  # as the operator will read it
        moment = said if isinstance(said, datetime) else None
    else:
        if isinstance(found, Never):
            raise click.BadParameter(
                "a keep has an end; write a time far ahead, as 50w, or set raysweep.io/ttl: never"
            )
        moment = after(now, found)
    if moment is None:
        raise click.BadParameter(
            f"{quoted(text)} is neither a duration nor a time; write 3d, 1h30m, or {TIME_GRAMMAR}"
        )
    if moment <= now:
        raise click.BadParameter(
            f"{quoted(text)} is no time to come; write one, or --clear to keep it no longer"
        )
    whole = after(moment.replace(microsecond=0), WHOLE_SECOND) if moment.microsecond else moment
    return whole or moment.replace(microsecond=0)


async def _keep(wanted: Wanted, asked_for: Options) -> int:
    from raysweep.cli.common.session import notes, open_session, say

    async with open_session(asked_for) as session:
        kept = await _look_around(session, await _write(session, wanted), wanted.until)
        for note in notes(session):
            say(note)
        now = session.now()
        if asked_for.output == "text":
            click.echo("\n".join(as_text(kept, now)))
        else:
            click.echo(formatting.serialized(as_json(kept, now), asked_for.output))
        return exit_code(kept, now)


async def _write(session: "Session", wanted: Wanted) -> RayJob:
    """The RayJob with what was asked for written on it. At once: whatever else there is to know can wait."""
    from raysweep.cli.common.session import FailedError, this_program
    from raysweep.clients.kubernetes.errors import ConflictError, NotFoundError

    key = f"{session.namespace}/{wanted.name}"
    job = await session.kubernetes.rayjob(session.namespace, wanted.name)
    if job and job.deleting_since is None:
        try:
            await session.kubernetes.keep(
                job, formatting.rfc3339(wanted.until), wanted.reason or None
            )
        except (ConflictError, NotFoundError) as error:
            raise FailedError(f"RayJob {key} was deleted just now, {error}") from error
        job = await session.kubernetes.rayjob(session.namespace, wanted.name)
    if job is None:
        why = this_program("why", wanted.name, "-n", session.namespace)
        raise FailedError(f"there is no RayJob {key}; `{why}` tells what became of it")
    if job.deleting_since:
        raise FailedError(
            f"RayJob {key} is being deleted since {formatting.rfc3339(job.deleting_since)}; nothing can keep it any more"
        )
    return job


async def _look_around(session: "Session", job: RayJob, until: datetime | None) -> "Kept":
    """With everything that decides about it besides, as far as this person may see that; it is kept all the same."""
    from raysweep.clients.kubernetes.errors import ApiError

    assessment, problem = None, ""
    try:
        await session.list_all()
        assessment = session.observer.assess(job.uid)
        problem = "" if assessment else "it is in the list of RayJobs no more"
    except ApiError as error:
        problem = str(error)
    rules = session.operator.settings.parameters
    sources = Sources(job, Namespace(job.namespace, "", ""), (), rules.kuberay_ttl)
    if assessment and assessment.namespace and assessment.policies is not None:
        sources = assessment.sources
    return Kept(
        assessment.rayjob if assessment else job,
        until,
        sources,
        session.options.overrides,
        assessment=assessment,
        problem=problem,
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """A RayJob as it is now. case: None where not everything could be read; sources: what is known of them."""

    rayjob: RayJob
    until: datetime | None
    sources: Sources
    overrides: Overrides = field(default_factory=Overrides)
    assessment: Assessment | None = None
    problem: str = ""

    def ends(self, now: datetime) -> datetime | None:
        """When Raysweep's keeping ends: limits may end it earlier, the Namespace may keep longer. None: nothing keeps it."""
        assessment = self.assessment
        if (
            assessment is None
            or assessment.namespace is None
            or assessment.policies is None
            or assessment.end is None
        ):
            return self.until
        found = assessment.kept_until
        return found if isinstance(found, datetime) else self.until

    @property
    def limit(self) -> SourcedDuration | None:
        """The longest that policies let anything be kept after its time."""
        return policies.tightest(self.sources.policies, LIMIT)

    def otherwise(self, now: datetime) -> Timeline | None:
        """What would become of it without its own keep-until."""
        if self.assessment is None:
            return None
        job = self.assessment.rayjob
        rest = {
            key: text
            for key, text in job.annotations.items()
            if key not in (names.KEEP_UNTIL, names.KEEP_REASON)
        }
        return foresee(replace(self.assessment, rayjob=replace(job, annotations=rest)))

    def hint(self, now: datetime) -> str | None:
        """The command that takes it out of KubeRay's hands; None where KubeRay deletes nothing before that time."""
        has_cluster = self.assessment is None or self.assessment.may_have_cluster
        if self.until is None or not kuberay_sentences.deletes_before(
            self.rayjob, self.until, now, has_cluster=has_cluster
        ):
            return None
        changes = handover_patch.patch(self.sources, self.until, now)
        return handover_patch.command(self.rayjob, changes, self.overrides)


def exit_code(kept: Kept, now: datetime) -> int:
    """Whether it is kept, and whether that is all there is to it."""
    if kept.until is None:
        return EXIT_OK
    ends = kept.ends(now)
    if ends is None or ends <= now:
        return EXIT_FAILED
    return EXIT_KUBERAY_DELETES if kept.hint(now) else EXIT_OK


def as_text(kept: Kept, now: datetime) -> list[str]:
    """The answer first; the command to paste last."""
    lines = [_answer(kept, now)]
    if kept.problem:
        lines += ["", f"Not everything could be read: {kept.problem}"]
    if found := kept.otherwise(now):
        lines += [
            "",
            "Raysweep without that" if kept.until else "Raysweep now",
            *(f"  {one}" for one in _becomes(kept, found, now)),
        ]
    lines += [
        "",
        "KubeRay by itself",
        *(f"  {sentence}" for sentence in kuberay_sentences.words(kept.rayjob, now)),
    ]
    if kept.until and (command := kept.hint(now)):
        lines += ["", *_advice(kept, kept.until), f"  {command}"]
    return [formatting.safe(line) for line in lines]


def _answer(kept: Kept, now: datetime) -> str:
    key, until, ends = f"RayJob {kept.rayjob.key}", kept.until, kept.ends(now)
    if until is None:
        rest = (
            f"; its Namespace keeps it until {formatting.rfc3339(ends)}"
            if ends and ends > now
            else ""
        )
        return f"{key} is no longer kept by an annotation of its own{rest}"
    reason = kept.rayjob.annotations.get(names.KEEP_REASON)
    because = f", because {quoted(reason)}" if reason else ""
    asked = f"until {formatting.rfc3339(until)} ({formatting.relative(until, now)}){because}"
    if ends is None or ends == until:
        return f"{key} is kept {asked}"
    if ends > until:
        return f"{key} is kept {asked}; its Namespace keeps it until {formatting.rfc3339(ends)}"
    limit = kept.limit
    by = (
        f"to {format_duration(limit.value)} after its time by {limit.source}"
        if limit
        else "by a policy"
    )
    if ends <= now:
        return f"{key} is not kept {asked}: that is limited {by}, and was over at {formatting.rfc3339(ends)}"
    return f"{key} is kept until {formatting.rfc3339(ends)} ({formatting.relative(ends, now)}), not {asked}: that is limited {by}"


def _becomes(kept: Kept, found: Timeline, now: datetime) -> list[str]:
    """What becomes of it, by which rule, and what a limit on keeping would mean for a job that has not ended."""
    rule = (
        f"{formatting.duration_text(*found.rule, kept.rayjob.key)}"
        if found.rule and found.targets
        else found.explanation.message
    )
    told = [f"It {verdict(found, now)} ({rule})."]
    if kept.until and found.at and found.at >= kept.until:
        told.append(
            "That is no earlier than it is kept for: as things stand the keep changes nothing."
        )
    if kept.until and found.explanation.finished_at is None and (limit := kept.limit):
        told.append(
            f"After its time it can be kept for {format_duration(limit.value)} at most, by {limit.source}."
        )
    return told


def _advice(kept: Kept, until: datetime) -> list[str]:
    """What stands above the command."""
    why = (
        f"{names.KEEP_UNTIL} does not bind KubeRay, which {{}} before {formatting.rfc3339(until)}."
    )
    if kuberay_reports_end(kept.rayjob):
        why = why.format("deletes")
    else:
        why = why.format("may delete as soon as the job has ended, so perhaps")
    if handover_patch.must_shut_down(kept.rayjob):
        return [
            why,
            "This puts KubeRay's time off until after that, and keeps Raysweep's own times as they are:",
        ]
    return [
        why,
        "This takes the deletion out of KubeRay's hands and leaves it to Raysweep, with the same times:",
    ]


def as_json(kept: Kept, now: datetime) -> dict[str, Any]:
    """docs/reference/json.md describes it field by field, and a test holds the two together."""
    job, limit, found = kept.rayjob, kept.limit, kept.otherwise(now)
    row = row_json(Row(found), now) if found else None
    command = kept.hint(now)
    return {
        "apiVersion": formatting.API_VERSION,
        "kind": "Keep",
        "generatedAt": formatting.rfc3339(now),
        "namespace": job.namespace,
        "name": job.name,
        "uid": job.uid,
        "keepUntil": formatting.rfc3339(kept.until),
        "keepReason": _reason(job),
        "endsAt": formatting.rfc3339(kept.ends(now)),
        "limit": formatting.duration_json(limit),
        "otherwise": {key: row[key] for key in OTHERWISE} if row else None,
        "kuberay": [formatting.safe(sentence) for sentence in kuberay_sentences.words(job, now)],
        "kuberayDeletesBefore": command is not None,
        "hint": command,
        "problem": formatting.safe(kept.problem) or None,
    }


def _reason(job: RayJob) -> str | None:
    reason = job.annotations.get(names.KEEP_REASON)
    return plain(reason) if reason else None
