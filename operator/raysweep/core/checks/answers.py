"""How a guard words its answer: the Why behind every decision. No guard stands here."""

from collections.abc import Callable
from datetime import datetime

from raysweep.core.assessment import Assessment
from raysweep.core.durations import format_duration
from raysweep.core.model.decisions import Decision, Explanation, Keep, Wait
from raysweep.core.model.reasons import Reason

Check = Callable[[Assessment, datetime], Decision | None]


def keep(check: Check, reason: Reason, message: str) -> Keep:
    """It stays, by a guard that speaks before the question of the end."""
    return Keep(Explanation(check.__name__, reason, message))


def keep_finished(
    check: Check, reason: Reason, message: str, at: tuple[Assessment, datetime]
) -> Keep:
    """It stays though it has ended; the times are told with it."""
    return Keep(why(check, reason, message, at))


def wait(
    check: Check, reason: Reason, until: datetime, told: tuple[str, Assessment, datetime]
) -> Wait:
    """It stays until then; told: the evidence, the case and the time of the judgement."""
    message, assessment, now = told
    return Wait(until, why(check, reason, message, (assessment, now)))


def why(check: Check, reason: Reason, message: str, at: tuple[Assessment, datetime]) -> Explanation:
    """The explanation with the outcome and the times that were reckoned with."""
    assessment, now = at
    end, kept = assessment.finish(now), assessment.retention(now)
    return Explanation(
        check.__name__,
        reason,
        message,
        end.outcome,
        end.at,
        assessment.due_at(now),
        kept.ttl,
        kept.cluster_ttl,
    )


def times(assessment: Assessment, now: datetime) -> str:
    """`failed 2026-11-22T19:38:36Z, ttl 1h (Namespace team-a annotation raysweep.io/ttl-failed)`."""
    end, kept = assessment.finish(now), assessment.retention(now)
    ended = f"{end.outcome or 'stuck since'} {end.at:%Y-%m-%dT%H:%M:%SZ}"
    told = f"{ended}, ttl {format_duration(kept.ttl.value)} ({kept.ttl.origin})"
    if kept.cluster_ttl == kept.ttl:
        return told
    return (
        f"{told}, cluster-ttl {format_duration(kept.cluster_ttl.value)} ({kept.cluster_ttl.origin})"
    )
