"""How a guard words its answer: the Why behind every decision. No guard stands here."""

from collections.abc import Callable
from datetime import datetime

from raysweep.core.assessment import Case
from raysweep.core.durations import format_duration
from raysweep.core.model.decisions import Decision, Keep, Wait, Why
from raysweep.core.model.reasons import Reason

Guard = Callable[[Case, datetime], Decision | None]


def keep(guard: Guard, reason: Reason, evidence: str) -> Keep:
    """It stays, by a guard that speaks before the question of the end."""
    return Keep(Why(guard.__name__, reason, evidence))


def keep_finished(guard: Guard, reason: Reason, evidence: str, at: tuple[Case, datetime]) -> Keep:
    """It stays though it has ended; the times are told with it."""
    return Keep(why(guard, reason, evidence, at))


def wait(guard: Guard, reason: Reason, until: datetime, told: tuple[str, Case, datetime]) -> Wait:
    """It stays until then; told: the evidence, the case and the time of the judgement."""
    evidence, case, now = told
    return Wait(until, why(guard, reason, evidence, (case, now)))


def why(guard: Guard, reason: Reason, evidence: str, at: tuple[Case, datetime]) -> Why:
    """The explanation with the outcome and the times that were reckoned with."""
    case, now = at
    end, kept = case.finish(now), case.retention(now)
    return Why(guard.__name__, reason, evidence, end.outcome, end.at, case.due_at(now), kept.ttl, kept.cluster_ttl)


def times(case: Case, now: datetime) -> str:
    """`failed 2026-11-22T19:38:36Z, ttl 1h (Namespace team-a annotation raysweep.io/ttl-failed)`."""
    end, kept = case.finish(now), case.retention(now)
    ended = f"{end.outcome or 'stuck since'} {end.at:%Y-%m-%dT%H:%M:%SZ}"
    told = f"{ended}, ttl {format_duration(kept.ttl.value)} ({kept.ttl.origin})"
    if kept.cluster_ttl == kept.ttl:
        return told
    return f"{told}, cluster-ttl {format_duration(kept.cluster_ttl.value)} ({kept.cluster_ttl.origin})"
