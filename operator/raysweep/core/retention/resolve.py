"""How long is a finished job kept? Sources in, two times out, each with where it comes from. The clock is not asked here.

Two times per RayJob and outcome: `ttl`, after which the RayJob goes with all it owns, and `cluster-ttl`, after which the
RayCluster goes. Sources, strongest first: the RayJob's annotations, its spec as KubeRay reads it, its Namespace's annotations,
the policies that select it, and the built-in never. Limits of policies bound what any of them said, but the built-in never.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from raysweep import names
from raysweep.core.durations import GRAMMAR, NEVER, Never, after, longest
from raysweep.core.model.facts import Namespace, Policy, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.parameters import KubeRayTTL
from raysweep.core.model.provenance import (
    BUILT_IN,
    SWEPT,
    InvalidValue,
    SourcedDuration,
    or_never,
    place,
)
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import annotations, kuberay_spec, policies
from raysweep.core.retention.policies import RAYCLUSTER, RAYJOB

STUCK = {
    Reason.NEVER_SUBMITTED: "stuck.neverSubmitted",
    Reason.JOB_LOST: "stuck.jobLost",
    Reason.STUCK_INITIALIZING: "stuck.initializing",
}
"""Where a policy says how long a job without an outcome is kept, by what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that may say how long one RayJob is kept. policies: those that select it, strongest first."""

    rayjob: RayJob
    namespace: Namespace
    policies: tuple[Policy, ...] = ()
    kuberay_ttl: KubeRayTTL = KubeRayTTL.RAYJOB


@dataclass(frozen=True, slots=True)
class Retention:
    """The two times of one RayJob. `invalid` or `conflict` (of limits) is what makes everything be kept, where something does."""

    ttl: SourcedDuration
    cluster_ttl: SourcedDuration
    invalid: InvalidValue | None = None
    conflict: str = ""
    any_invalid: InvalidValue | None = field(
        default=None, compare=False
    )  # anything that cannot be understood, whether it decides or limits bound it

    @property
    def keeps_all(self) -> bool:
        """Whether nothing goes, whatever the times say."""
        return self.invalid is not None or self.conflict != ""


@dataclass(frozen=True, slots=True)
class _Said:
    """What one source says about the two times, a Fault where it cannot be understood, None where nothing."""

    ttl: SourcedDuration | InvalidValue | None
    cluster_ttl: SourcedDuration | InvalidValue | None


def resolve(sources: Sources, outcomes: frozenset[Outcome]) -> Retention:
    """The two times for these outcomes; where there are several, the longer of each counts."""
    one, *rest = (_resolve(sources, outcome) for outcome in sorted(outcomes))
    for other in rest:
        longer = (_longer(one.ttl, other.ttl), _longer(one.cluster_ttl, other.cluster_ttl))
        one = Retention(
            *longer,
            one.invalid or other.invalid,
            one.conflict or other.conflict,
            one.any_invalid or other.any_invalid,
        )
    return one


def for_sweep(found: Retention) -> Retention:
    """A person wants it gone now: what cannot be understood still keeps, but neither times nor limits count."""
    return Retention(SWEPT, SWEPT, found.invalid or found.any_invalid)


def resolve_unsubmitted(sources: Sources, why: Reason) -> Retention:
    """The one time for a job that was never submitted, got lost, or whose cluster never became ready: all of it goes together."""
    said = _unsubmitted(sources, why) or BUILT_IN
    invalid = policies.first_error(sources.policies) or (
        said if isinstance(said, InvalidValue) else None
    )
    return Retention(or_never(said), or_never(said), invalid)


def keep_until(
    sources: Sources, due: datetime | None, wait: timedelta
) -> datetime | InvalidValue | None:
    """Until when somebody asked to keep it: of RayJob and Namespace the later, but no longer than a limit after the due time.

    A Fault keeps without an end; a RayJob's own does so within the limit only. wait: before a limit just written counts.
    """
    asked = [annotations.keep_until(thing) for thing in (sources.namespace, sources.rayjob)]
    limit = _keep_ends(sources.policies, due, wait)
    if isinstance(asked[0], InvalidValue) or (isinstance(asked[1], InvalidValue) and limit is None):
        return next(one for one in asked if isinstance(one, InvalidValue))
    wishes = [limit if isinstance(one, InvalidValue) else one for one in asked]
    latest = max((one for one in wishes if isinstance(one, datetime)), default=None)
    return min(latest, limit) if latest and limit else latest


def stuck_deadline(
    sources: Sources, kind: str, since: datetime | None, wait: timedelta
) -> datetime | None:
    """When a policy's spec.stuck time of that kind has passed, counted from `since`; None: never.

    wait: what a policy just written makes due all at once waits, so that a mistake can be stopped.
    """
    path = f"stuck.{kind}"
    said = policies.strongest(sources.policies, path)
    at = after(since, said.value) if said and since else None
    return _not_before_it_was_written(sources.policies, path, at, wait) if at else None


def is_any_time_set(sources: Sources) -> bool:
    """Whether anything could ever make this RayJob or its cluster go; if not, its head is left in peace."""
    found = [_resolve(sources, outcome) for outcome in Outcome]
    found += [resolve_unsubmitted(sources, why) for why in STUCK]
    return any(time.value is not NEVER for kept in found for time in (kept.ttl, kept.cluster_ttl))


def _resolve(sources: Sources, outcome: Outcome) -> Retention:
    own = _annotations(sources.rayjob, outcome)
    spec = _spec(sources.rayjob, outcome, sources.kuberay_ttl)
    inherited = _annotations(sources.namespace, outcome)
    default = _policies(sources.policies, outcome)
    ttl = own.ttl or spec.ttl or inherited.ttl or default.ttl or BUILT_IN
    cluster_ttl = (
        own.cluster_ttl
        or spec.cluster_ttl
        or inherited.cluster_ttl
        or default.cluster_ttl
        or BUILT_IN
    )
    bounded = policies.bounded(sources.policies, or_never(ttl), or_never(cluster_ttl))
    invalid = policies.first_error(sources.policies) or _deciding_fault(
        (ttl, cluster_ttl), bounded, place(sources.namespace)
    )
    is_set = ttl != BUILT_IN or cluster_ttl != BUILT_IN
    any_invalid = next((one for one in (ttl, cluster_ttl) if isinstance(one, InvalidValue)), None)
    return Retention(
        *bounded, invalid, policies.conflict(sources.policies) if is_set else "", any_invalid
    )


def _annotations(thing: RayJob | Namespace, outcome: Outcome) -> _Said:
    """What one object's annotations say. An unknown key may be a misspelt one of any time, so it speaks for both."""
    if unknown := annotations.first_unknown_key(thing):
        return _Said(unknown, unknown)
    ttl, cluster = (
        annotations.duration_for(thing, key, outcome) for key in (names.TTL, names.CLUSTER_TTL)
    )
    return _Said(ttl, cluster or ttl)  # a source that sets ttl alone sets both


def _spec(rayjob: RayJob, outcome: Outcome, kuberay_ttl: KubeRayTTL) -> _Said:
    """What the spec asks of KubeRay, as a source; it never asks for less than the people who wrote it meant."""
    found = kuberay_spec.requested_ttls(
        rayjob, outcome, ttl_is_clusters=kuberay_ttl is KubeRayTTL.RAYCLUSTER
    )
    field = (
        "deletionStrategy"
        if rayjob.kuberay_cleanup.has_strategy
        else "shutdownAfterJobFinishes with ttlSecondsAfterFinished"
    )
    where = f"{place(rayjob)} spec.{field}"
    if found.negative:
        invalid = InvalidValue(where, f"a TTL below 0; write {GRAMMAR}")
        return _Said(invalid, invalid)
    ttl = SourcedDuration(found.ttl, where) if found.ttl is not None else None
    cluster = SourcedDuration(found.cluster_ttl, where) if found.cluster_ttl is not None else None
    return _Said(ttl, cluster or ttl)


def _policies(selecting: tuple[Policy, ...], outcome: Outcome) -> _Said:
    """All policies together are one source."""
    ttl, cluster = (
        policies.retention_for(selecting, what, outcome) for what in (RAYJOB, RAYCLUSTER)
    )
    return _Said(ttl, cluster or ttl)


def _deciding_fault(
    said: tuple[SourcedDuration | InvalidValue, SourcedDuration | InvalidValue],
    bounded: tuple[SourcedDuration, SourcedDuration],
    namespace: str,
) -> InvalidValue | None:
    """A Namespace's invalid keeps all at once; a RayJob's makes its time never, and keeps all where both are and no limit helps."""
    any_invalid = [one for one in said if isinstance(one, InvalidValue)]
    inherited = [invalid for invalid in any_invalid if invalid.place.startswith(f"{namespace} ")]
    if inherited:
        return inherited[0]
    is_kept = all(isinstance(one.value, Never) for one in bounded)
    return any_invalid[0] if len(any_invalid) > 1 and is_kept else None


def _unsubmitted(sources: Sources, why: Reason) -> SourcedDuration | InvalidValue | None:
    """Annotations speak for interactive jobs only, policies for all; they yield to what says never to everything."""
    things = (sources.rayjob, sources.namespace)
    for thing in things:
        if unknown := annotations.first_unknown_key(thing):
            return unknown
        if sources.rayjob.submission_mode == names.INTERACTIVE_MODE and (
            own := annotations.duration(thing, names.TTL_UNSUBMITTED)
        ):
            return own
    general = (annotations.duration(thing, names.TTL) for thing in things)
    never = (said for said in general if said and or_never(said).value is NEVER)
    return next(
        (or_never(said) for said in never), policies.strongest(sources.policies, STUCK[why])
    )


def _keep_ends(
    selecting: tuple[Policy, ...], due: datetime | None, wait: timedelta
) -> datetime | None:
    path = "limits.keep.max"
    limit = policies.tightest(selecting, path)
    at = after(due, limit.value) if limit and due else None
    return _not_before_it_was_written(selecting, path, at, wait) if at else None


def _not_before_it_was_written(
    selecting: tuple[Policy, ...], path: str, at: datetime, wait: timedelta
) -> datetime | None:
    """At that time, but not before the wait after a policy was last written that sets the path. None: nobody knows when."""
    written = [policy.written_at for policy in selecting if path in policy.times]
    known = [time for time in written if time]
    return max(at, *(time + wait for time in known)) if len(known) == len(written) else None


def _longer(one: SourcedDuration, other: SourcedDuration) -> SourcedDuration:
    return one if longest(one.value, other.value) == one.value else other
