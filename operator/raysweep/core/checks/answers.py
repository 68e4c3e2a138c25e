"""The explanations that checks give with their decisions. No check is defined here."""

from collections.abc import Callable
from datetime import datetime

from raysweep.core.assessment import Assessment
from raysweep.core.durations import format_duration
from raysweep.core.model.decisions import Decision, Explanation, Keep
from raysweep.core.model.reasons import Reason

Check = Callable[[Assessment], Decision | None]


def keep(check: Check, reason: Reason, message: str) -> Keep:
    """Keeps a RayJob whose end is not known yet."""
    return Keep(Explanation(check.__name__, reason, message))


def explain(check: Check, reason: Reason, message: str, assessment: Assessment) -> Explanation:
    """An explanation with the end of the job and the times that decided."""
    due = assessment.due
    return Explanation(
        check.__name__,
        reason,
        message,
        due.end.outcome,
        due.end.time,
        due.first_at,
        due.retention.ttl,
        due.retention.cluster_ttl,
    )


def times(assessment: Assessment) -> str:
    """`failed 2026-11-22T19:38:36Z, ttl 1h (Namespace team-a annotation raysweep.io/ttl)`."""
    end, ttl = assessment.due.end, assessment.retention.ttl
    cluster_ttl = assessment.retention.cluster_ttl
    text = f"{end.outcome or 'stuck since'} {utc(end.time)}"
    text += f", ttl {format_duration(ttl.value)} ({ttl.origin})"
    if cluster_ttl != ttl:
        text += f", cluster-ttl {format_duration(cluster_ttl.value)} ({cluster_ttl.origin})"
    return text


def utc(time: datetime) -> str:
    """`2026-11-22T19:38:36Z`."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
