"""The answer of `raysweep why` about one RayJob, as text and as JSON."""

from datetime import datetime
from enum import StrEnum

from raysweep import names
from raysweep.cli.common import formatting, kuberay_sentences
from raysweep.cli.common.formatting import Json, relative, rfc3339, safe
from raysweep.cli.common.rayjob_row import RayJobRow, rayjob_row_json
from raysweep.cli.common.verdict import verdict_sentence
from raysweep.core import recreation
from raysweep.core.assessment import Assessment
from raysweep.core.decide import CHECKS
from raysweep.core.durations import format_duration
from raysweep.core.job_status import shown_status
from raysweep.core.model.decisions import Decision, Delete, ProbeHead
from raysweep.core.model.facts import HeadList, HeadSilent
from raysweep.core.model.outcome import Outcome
from raysweep.core.retention import policy_status
from raysweep.core.timeline import Step, Timeline


class CheckResult(StrEnum):
    """What one check of the list did."""

    PASSED = "passed"
    DECIDED = "decided"
    NOT_REACHED = "not reached"


def as_text(row: RayJobRow, now: datetime) -> list[str]:
    """The lines of the answer, from the verdict on."""
    timeline = row.timeline
    assessment = timeline.assessment
    return [
        f"RayJob {assessment.rayjob.key} {verdict_sentence(timeline, now)}",
        "",
        *formatting.key_value_lines(_explanation(timeline)),
        *_section("Times", _times(timeline, now)),
        *_section("Policies that select it, strongest first", _policies(assessment)),
        *_section("Ray head", {"asked": _head_answer(row)}),
        *_section("Checks", _check_texts(timeline)),
        *_later(timeline),
        "",
        "KubeRay on its own",
        *(f"  {sentence}" for sentence in _kuberay_sentences(assessment, now)),
    ]


def as_json(row: RayJobRow, now: datetime) -> Json:
    """The fields of the RayJob in a plan, and more."""
    timeline = row.timeline
    reason, policies = timeline.explanation.reason, timeline.assessment.policies
    return {
        "apiVersion": formatting.API_VERSION,
        "kind": "Why",
        "generatedAt": rfc3339(now),
        "found": True,
        **rayjob_row_json(row, now),
        "description": reason.description,
        "hint": reason.hint,
        "recreationHint": _recreation_hint(timeline),
        "outcomeAnnotation": _outcome_annotation(timeline),
        "policies": None if policies is None else [policy.name for policy in policies],
        "headAnswer": safe(_head_answer(row)),
        "checks": [
            {"check": check, "answer": result.value}
            for check, result in _check_results(timeline).items()
        ],
        "steps": [_step_json(step) for step in timeline.steps],
        "kuberay": _kuberay_sentences(timeline.assessment, now),
    }


def _explanation(timeline: Timeline) -> dict[str, str]:
    reason = timeline.explanation.reason
    values = {
        "reason": reason.value,
        "description": reason.description,
        "message": timeline.explanation.message,
        "hint": reason.hint,
    }
    if recreation_hint := _recreation_hint(timeline):
        values["recreation"] = recreation_hint
    return values


def _recreation_hint(timeline: Timeline) -> str | None:
    """What to do if a tool that looks like Helm may create the RayJob again."""
    if "RayJob" not in timeline.kinds:
        return None
    assessment = timeline.assessment
    end = assessment.end
    outcomes = end.outcomes if end and end.outcomes else Outcome
    is_ambiguous = recreation.is_mark_ambiguous(
        assessment.rayjob, assessment.parameters.recreated_by, outcomes
    )
    return recreation.AMBIGUOUS if is_ambiguous else None


def _section(title: str, values: dict[str, str]) -> list[str]:
    return ["", title, *formatting.key_value_lines(values)] if values else []


def _times(timeline: Timeline, now: datetime) -> dict[str, str]:
    explanation = timeline.explanation
    values = {}
    if explanation.finished_at:
        key = "finished" if explanation.outcome else "counted from"
        finished_at = rfc3339(explanation.finished_at)
        values[key] = f"{finished_at} {explanation.outcome or ''}".rstrip()
    if explanation.ttl:
        ttl = explanation.ttl
        values["ttl"] = f"{format_duration(ttl.value)}, {ttl.origin}"
    if explanation.cluster_ttl:
        ttl = explanation.cluster_ttl
        values["cluster-ttl"] = f"{format_duration(ttl.value)}, {ttl.origin}"
    if explanation.due_at:
        values["due"] = f"{rfc3339(explanation.due_at)} ({_distance(explanation.due_at, now)})"
    if timeline.targets:
        values["frees"] = formatting.resources_text(timeline.frees)
    if outcome := _outcome_annotation(timeline):
        values["writes first"] = f"annotation {names.OUTCOME}: {outcome}"
    return values


def _distance(due_at: datetime, now: datetime) -> str:
    if due_at >= now:
        return relative(due_at, now)
    return f"since {format_duration(formatting.time_left(now, due_at))}"


def _policies(assessment: Assessment) -> dict[str, str]:
    """What each policy that selects the RayJob does, by name."""
    return {
        policy.name: f"priority {policy.priority}; {policy_status.describe(policy)}"
        for policy in assessment.policies or ()
    }


def _outcome_annotation(timeline: Timeline) -> str | None:
    """What is recorded because only the Ray head knows it, before the RayCluster is deleted."""
    last = timeline.steps[-1].decision
    return last.note or None if isinstance(last, Delete) else None


def _head_answer(row: RayJobRow) -> str:
    """The head report, or why the Ray head was not asked."""
    assessment = row.timeline.assessment
    if row.probe_error:
        return f"no, the probe failed: {row.probe_error}"
    if assessment.probe is None:
        return "no, because of --no-ask" if row.timeline.head_not_asked else "no, not needed yet"
    head = assessment.probe.head
    if isinstance(head, HeadSilent):
        return f"yes, with your rights, without a usable answer: {head.detail}"
    if not isinstance(head, HeadList):
        return "no, the RayCluster does not exist, is being deleted, or belongs to another object"
    return f"yes: {_head_report(assessment)}"


def _head_report(assessment: Assessment) -> str:
    report = assessment.head_report
    text = report.state.value
    if report.own:
        text += f", {report.own.submission_id!r} is {shown_status(report.own)}"
    if report.others:
        text += f", {len(report.others)} other entries"
    return text


def _check_results(timeline: Timeline) -> dict[str, CheckResult]:
    """The result of every check, in their order."""
    deciding = timeline.decision.explanation.check
    results: dict[str, CheckResult] = {}
    for check in CHECKS:
        is_decided = deciding in results
        results[check.__name__] = CheckResult.NOT_REACHED if is_decided else CheckResult.PASSED
        if check.__name__ == deciding:
            results[deciding] = CheckResult.DECIDED
    return results


def _check_texts(timeline: Timeline) -> dict[str, str]:
    texts = {check: result.value for check, result in _check_results(timeline).items()}
    explanation = timeline.decision.explanation
    texts[explanation.check] = f"{CheckResult.DECIDED}: {explanation.reason}"
    return texts


def _later(timeline: Timeline) -> list[str]:
    """What Raysweep decides later, if it waits now."""
    if not timeline.steps[1:]:
        return []
    title = "Later, if nothing changes and the Ray head reports no reason to keep it"
    return ["", title, *map(_step_line, timeline.steps[1:])]


def _step_line(step: Step) -> str:
    check = step.decision.explanation.check
    return f"  {rfc3339(step.at)}  {check}: {safe(_decision_text(step.decision))}"


def _decision_text(decision: Decision) -> str:
    explanation = decision.explanation
    if isinstance(decision, Delete):
        targets = " and ".join(f"{target.kind} {target.name}" for target in decision.targets)
        return f"deletes {targets}, {explanation.reason}"
    if isinstance(decision, ProbeHead):
        return "asks the Ray head"
    return f"{type(decision).__name__.lower()}s, {explanation.reason}: {explanation.message}"


def _step_json(step: Step) -> Json:
    explanation = step.decision.explanation
    return {
        "at": rfc3339(step.at),
        "check": explanation.check,
        "decision": type(step.decision).__name__,
        "reason": explanation.reason.value,
        "message": safe(explanation.message),
    }


def _kuberay_sentences(assessment: Assessment, now: datetime) -> list[str]:
    keep_until = None
    if assessment.namespace and assessment.policies is not None and assessment.end:
        keep_until = assessment.kept_until
    until = keep_until if isinstance(keep_until, datetime) else None
    sentences = kuberay_sentences.sentences(assessment.rayjob, now, until)
    return [safe(sentence) for sentence in sentences]
