"""What a hold means for a RayJob, as text, as JSON and as exit code."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from raysweep import names
from raysweep.cli.common import formatting, kuberay_sentences
from raysweep.cli.common.formatting import Json, relative, rfc3339, safe
from raysweep.cli.common.options import EXIT_FAILED, EXIT_KUBERAY_DELETES, EXIT_OK
from raysweep.cli.common.rayjob_row import RayJobRow, rayjob_row_json
from raysweep.cli.common.verdict import verdict_sentence
from raysweep.cli.keep import handover_patch
from raysweep.clients.connection.overrides import Overrides
from raysweep.core.assessment import Assessment
from raysweep.core.durations import format_duration
from raysweep.core.job_status import kuberay_reports_end
from raysweep.core.model.facts import RayJob
from raysweep.core.model.provenance import SourcedDuration
from raysweep.core.retention import policies
from raysweep.core.retention.resolve import Sources
from raysweep.core.text import plain, quoted
from raysweep.core.timeline import Timeline, foresee

LIMIT = "limits.keep.max"
WITHOUT_HOLD_FIELDS = ("decision", "deletes", "at", "in", "reason", "message", "setBy")
"""The fields of a RayJob in a plan that `withoutHold` has."""


@dataclass(frozen=True, slots=True)
class KeptRayJob:
    """A RayJob after its hold was written.

    until: the end of the hold, None if it was removed. assessment: None if not everything could be
    read, with the reason in `problem`.
    """

    rayjob: RayJob
    until: datetime | None
    sources: Sources
    overrides: Overrides = field(default_factory=Overrides)
    assessment: Assessment | None = None
    problem: str | None = None

    @property
    def ends_at(self) -> datetime | None:
        """When Raysweep stops keeping it. A limit may be earlier, a hold of the Namespace later."""
        assessment = self.assessment
        if assessment is None or assessment.namespace is None or assessment.policies is None:
            return self.until
        if assessment.end is None:
            return self.until
        ends_at = assessment.kept_until
        return ends_at if isinstance(ends_at, datetime) else self.until

    @property
    def limit(self) -> SourcedDuration | None:
        """The longest hold that the policies allow, counted from the due time."""
        return policies.tightest(self.sources.policies, LIMIT)

    def without_hold(self) -> Timeline | None:
        """What would become of the RayJob without its own hold."""
        if self.assessment is None:
            return None
        rayjob = self.assessment.rayjob
        other_annotations = {
            key: text
            for key, text in rayjob.annotations.items()
            if key not in (names.KEEP_UNTIL, names.KEEP_REASON)
        }
        rayjob = replace(rayjob, annotations=other_annotations)
        return foresee(replace(self.assessment, rayjob=rayjob))

    def patch_command(self, now: datetime) -> str | None:
        """The command that hands the deletion over. None: KubeRay does not delete earlier."""
        has_cluster = self.assessment is None or self.assessment.may_have_cluster
        if self.until is None or not kuberay_sentences.deletes_before(
            self.rayjob, self.until, now, has_cluster=has_cluster
        ):
            return None
        patch = handover_patch.handover_patch(self.sources, self.until, now)
        return handover_patch.patch_command(self.rayjob, patch, self.overrides)


def exit_code(kept: KeptRayJob, now: datetime) -> int:
    """Whether the RayJob is kept, and whether KubeRay lets it be."""
    if kept.until is None:
        return EXIT_OK
    ends = kept.ends_at
    if ends is None or ends <= now:
        return EXIT_FAILED
    return EXIT_KUBERAY_DELETES if kept.patch_command(now) else EXIT_OK


def as_text(kept: KeptRayJob, now: datetime) -> list[str]:
    """The lines of the answer, from the result to a command to paste."""
    lines = [_result(kept, now)]
    if kept.problem:
        lines += ["", f"Not everything could be read: {kept.problem}"]
    without_hold = kept.without_hold()
    if without_hold:
        title = "Raysweep without the hold" if kept.until else "Raysweep now"
        sentences = _sentences_without_hold(kept, without_hold, now)
        lines += ["", title, *(f"  {sentence}" for sentence in sentences)]
    kuberay = kuberay_sentences.sentences(kept.rayjob, now)
    lines += ["", "KubeRay on its own", *(f"  {sentence}" for sentence in kuberay)]
    command = kept.patch_command(now)
    if kept.until and command:
        lines += ["", *_advice(kept.rayjob, kept.until), f"  {command}"]
    return [safe(line) for line in lines]


def _result(kept: KeptRayJob, now: datetime) -> str:
    key, until, ends = f"RayJob {kept.rayjob.key}", kept.until, kept.ends_at
    if until is None:
        text = f"{key} has no hold of its own anymore"
        is_kept = ends is not None and ends > now
        return f"{text}; its Namespace keeps it until {rfc3339(ends)}" if is_kept else text
    reason = kept.rayjob.annotations.get(names.KEEP_REASON)
    because = f", because {quoted(reason)}" if reason else ""
    requested = f"until {rfc3339(until)} ({relative(until, now)}){because}"
    if ends is None or ends == until:
        return f"{key} is kept {requested}"
    if ends > until:
        return f"{key} is kept {requested}; its Namespace keeps it until {rfc3339(ends)}"
    limit = _limit_text(kept.limit)
    if ends <= now:
        return f"{key} is not kept {requested}: {limit}, which ended at {rfc3339(ends)}"
    effective = f"until {rfc3339(ends)} ({relative(ends, now)})"
    return f"{key} is kept {effective}, not {requested}: {limit}"


def _limit_text(limit: SourcedDuration | None) -> str:
    if limit is None:
        return "a policy limits the hold"
    return f"{limit.source} limits the hold to {format_duration(limit.value)} after the due time"


def _sentences_without_hold(kept: KeptRayJob, timeline: Timeline, now: datetime) -> list[str]:
    explanation = timeline.explanation
    cause = explanation.message
    if timeline.rule and timeline.targets:
        cause = formatting.duration_text(*timeline.rule, kept.rayjob.key)
    sentences = [f"It {verdict_sentence(timeline, now)} ({cause})."]
    if kept.until is None:
        return sentences
    if timeline.at and timeline.at >= kept.until:
        sentences.append("The hold ends before that, so it changes nothing now.")
    if explanation.finished_at is None and kept.limit:
        sentences.append(f"When the job has ended, {_limit_text(kept.limit)}.")
    return sentences


def _advice(rayjob: RayJob, until: datetime) -> list[str]:
    """The lines above the command."""
    when = f"before {rfc3339(until)}"
    if kuberay_reports_end(rayjob):
        why = f"KubeRay ignores {names.KEEP_UNTIL} and deletes {when}."
    else:
        why = (
            f"KubeRay ignores {names.KEEP_UNTIL}. It may delete as soon as the job has ended, "
            f"possibly {when}."
        )
    if handover_patch.must_shut_down(rayjob):
        return [why, "To postpone KubeRay's deletion and keep the TTLs of Raysweep, run:"]
    return [why, "To leave the deletion to Raysweep, with the same TTLs, run:"]


def as_json(kept: KeptRayJob, now: datetime) -> Json:
    """The fields of a Keep."""
    rayjob, timeline, command = kept.rayjob, kept.without_hold(), kept.patch_command(now)
    reason = rayjob.annotations.get(names.KEEP_REASON)
    kuberay = kuberay_sentences.sentences(rayjob, now)
    return {
        "apiVersion": formatting.API_VERSION,
        "kind": "Keep",
        "generatedAt": rfc3339(now),
        "namespace": rayjob.namespace,
        "name": rayjob.name,
        "uid": rayjob.uid,
        "keepUntil": rfc3339(kept.until),
        "keepReason": plain(reason) if reason else None,
        "endsAt": rfc3339(kept.ends_at),
        "limit": formatting.duration_json(kept.limit),
        "withoutHold": _without_hold_json(timeline, now) if timeline else None,
        "kuberay": [safe(sentence) for sentence in kuberay],
        "kuberayDeletesBefore": command is not None,
        "patchCommand": command,
        "problem": safe(kept.problem) if kept.problem else None,
    }


def _without_hold_json(timeline: Timeline, now: datetime) -> Json:
    row = rayjob_row_json(RayJobRow(timeline), now)
    return {key: row[key] for key in WITHOUT_HOLD_FIELDS}
