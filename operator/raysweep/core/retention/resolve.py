"""How long a finished job is kept: many sources in, two times with their sources out. No clock.

`ttl` is the time after which the RayJob is deleted with everything that it owns, `cluster-ttl` the
time after which the RayCluster is deleted. Both depend on the outcome. Sources, strongest first:
the RayJob's annotations, its spec as KubeRay reads it, the annotations of its Namespace, the
policies that select it, and the built-in never. Limits of policies bound what any source sets,
except the built-in never.
"""

from collections.abc import Iterator
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
"""The field of a policy that sets how long a job without an outcome is kept, by its reason."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Everything that may set a time of one RayJob.

    policies: those that select the RayJob, strongest first.
    """

    rayjob: RayJob
    namespace: Namespace
    policies: tuple[Policy, ...] = ()
    kuberay_ttl: KubeRayTTL = KubeRayTTL.RAYJOB


@dataclass(frozen=True, slots=True)
class Retention:
    """The two times of one RayJob, and what keeps it regardless of them.

    invalid: the invalid value that keeps everything. conflict: two limits that contradict each
    other, which keeps everything too. any_invalid: an invalid value, even if a limit bounds it.
    """

    ttl: SourcedDuration
    cluster_ttl: SourcedDuration
    invalid: InvalidValue | None = None
    conflict: str = ""
    any_invalid: InvalidValue | None = field(default=None, compare=False)

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is deleted, regardless of the times."""
        return self.invalid is not None or self.conflict != ""


@dataclass(frozen=True, slots=True)
class _Setting:
    """What one source sets: a time, an invalid value, or nothing."""

    ttl: SourcedDuration | InvalidValue | None
    cluster_ttl: SourcedDuration | InvalidValue | None

    @property
    def invalid(self) -> list[InvalidValue]:
        """Those of the two that are invalid."""
        return [one for one in (self.ttl, self.cluster_ttl) if isinstance(one, InvalidValue)]


def resolve(sources: Sources, outcomes: frozenset[Outcome]) -> Retention:
    """The two times. If there are several possible outcomes, the longer time of each applies."""
    longer, *others = (_resolve(sources, outcome) for outcome in sorted(outcomes))
    for other in others:
        longer = Retention(
            _longer(longer.ttl, other.ttl),
            _longer(longer.cluster_ttl, other.cluster_ttl),
            longer.invalid or other.invalid,
            longer.conflict or other.conflict,
            longer.any_invalid or other.any_invalid,
        )
    return longer


def for_sweep(retention: Retention) -> Retention:
    """The retention of a RayJob that you sweep: no time and no limit counts.

    An invalid value still keeps the RayJob.
    """
    return Retention(SWEPT, SWEPT, retention.invalid or retention.any_invalid)


def resolve_unsubmitted(sources: Sources, reason: Reason) -> Retention:
    """The time of a job without an outcome: RayJob and RayCluster are deleted together.

    reason: a key of STUCK.
    """
    ttl = _unsubmitted_ttl(sources, reason) or BUILT_IN
    invalid = policies.first_error(sources.policies)
    if invalid is None and isinstance(ttl, InvalidValue):
        invalid = ttl
    return Retention(or_never(ttl), or_never(ttl), invalid)


def keep_until(
    sources: Sources, due: datetime | None, wait: timedelta
) -> datetime | InvalidValue | None:
    """The later keep-until of RayJob and Namespace, at most limits.keep.max after the due time.

    An invalid value keeps the RayJob without an end. An invalid value of the RayJob itself keeps it
    up to the limit. wait: how long after a policy is written its limit does not apply yet.
    """
    inherited = annotations.keep_until(sources.namespace)
    own = annotations.keep_until(sources.rayjob)
    limit = _keep_limit(sources.policies, due, wait)
    if isinstance(inherited, InvalidValue):
        return inherited
    if isinstance(own, InvalidValue):
        if limit is None:
            return own
        own = limit
    latest = max((time for time in (inherited, own) if time), default=None)
    return min(latest, limit) if latest and limit else latest


def stuck_deadline(
    sources: Sources, kind: str, since: datetime | None, wait: timedelta
) -> datetime | None:
    """The end of the time that a policy sets in spec.stuck, counted from `since`. None: never.

    kind: the field below spec.stuck. wait: how long after a policy is written its time does not
    apply yet, so that you can stop a mistake.
    """
    path = f"stuck.{kind}"
    time = policies.strongest(sources.policies, path)
    if time is None or since is None:
        return None
    return _not_before_written(sources.policies, path, after(since, time.value), wait)


def is_any_time_set(sources: Sources) -> bool:
    """Whether anything could ever make Raysweep delete the RayJob or its RayCluster.

    If not, its head is not probed.
    """
    return any(
        retention.ttl.value is not NEVER or retention.cluster_ttl.value is not NEVER
        for retention in _possible_retentions(sources)
    )


def _possible_retentions(sources: Sources) -> Iterator[Retention]:
    for outcome in Outcome:
        yield _resolve(sources, outcome)
    for reason in STUCK:
        yield resolve_unsubmitted(sources, reason)


def _resolve(sources: Sources, outcome: Outcome) -> Retention:
    inherited = _from_annotations(sources.namespace, outcome)
    settings = (
        _from_annotations(sources.rayjob, outcome),
        _from_spec(sources.rayjob, outcome, sources.kuberay_ttl),
        inherited,
        _from_policies(sources.policies, outcome),
    )
    ttl = next((setting.ttl for setting in settings if setting.ttl), BUILT_IN)
    cluster_ttl = next(
        (setting.cluster_ttl for setting in settings if setting.cluster_ttl), BUILT_IN
    )
    effective = _Setting(ttl, cluster_ttl)
    bounded = policies.bounded(sources.policies, or_never(ttl), or_never(cluster_ttl))
    invalid = policies.first_error(sources.policies) or _deciding_invalid(
        effective, inherited, bounded
    )
    is_set = ttl != BUILT_IN or cluster_ttl != BUILT_IN
    conflict = policies.conflict(sources.policies) if is_set else ""
    any_invalid = next(iter(effective.invalid), None)
    return Retention(*bounded, invalid, conflict, any_invalid)


def _from_annotations(owner: RayJob | Namespace, outcome: Outcome) -> _Setting:
    """What the annotations of one object set.

    An unknown key may be any key, misspelled. So it makes both times invalid.
    """
    unknown = annotations.first_unknown_key(owner)
    if unknown:
        return _Setting(unknown, unknown)
    return _setting(
        annotations.duration_for(owner, names.TTL, outcome),
        annotations.duration_for(owner, names.CLUSTER_TTL, outcome),
    )


def _from_spec(rayjob: RayJob, outcome: Outcome, kuberay_ttl: KubeRayTTL) -> _Setting:
    """What the spec asks of KubeRay."""
    requested = kuberay_spec.requested_ttls(
        rayjob, outcome, ttl_is_clusters=kuberay_ttl is KubeRayTTL.RAYCLUSTER
    )
    field_name = "spec.shutdownAfterJobFinishes with ttlSecondsAfterFinished"
    if rayjob.kuberay_cleanup.has_strategy:
        field_name = "spec.deletionStrategy"
    if requested.negative:
        invalid = InvalidValue(place(rayjob), "negative TTL", field_name, f"use {GRAMMAR}")
        return _Setting(invalid, invalid)
    source = f"{place(rayjob)} {field_name}"
    ttl, cluster_ttl = (
        None if duration is None else SourcedDuration(duration, source)
        for duration in (requested.ttl, requested.cluster_ttl)
    )
    return _setting(ttl, cluster_ttl)


def _from_policies(selecting: tuple[Policy, ...], outcome: Outcome) -> _Setting:
    """All policies together are one source."""
    return _setting(
        policies.retention_for(selecting, RAYJOB, outcome),
        policies.retention_for(selecting, RAYCLUSTER, outcome),
    )


def _setting(
    ttl: SourcedDuration | InvalidValue | None, cluster_ttl: SourcedDuration | InvalidValue | None
) -> _Setting:
    """A source that sets only ttl sets both times."""
    return _Setting(ttl, cluster_ttl or ttl)


def _deciding_invalid(
    effective: _Setting,
    inherited: _Setting,
    bounded: tuple[SourcedDuration, SourcedDuration],
) -> InvalidValue | None:
    """The invalid value that keeps everything, if there is one.

    An invalid value of the Namespace always keeps everything. One of the RayJob makes its time
    never. It keeps everything if both times are invalid and no limit bounds them.
    """
    for value in effective.invalid:
        if value in inherited.invalid:
            return value
    is_never = all(isinstance(ttl.value, Never) for ttl in bounded)
    if is_never and len(effective.invalid) > 1:
        return effective.invalid[0]
    return None


def _unsubmitted_ttl(sources: Sources, reason: Reason) -> SourcedDuration | InvalidValue | None:
    """The time from annotations or policies.

    ttl-unsubmitted applies to interactive jobs only. A policy applies to all jobs, unless a ttl
    of the RayJob or its Namespace is never.
    """
    is_interactive = sources.rayjob.submission_mode == names.INTERACTIVE_MODE
    owners = (sources.rayjob, sources.namespace)
    for owner in owners:
        unknown = annotations.first_unknown_key(owner)
        if unknown:
            return unknown
        ttl = annotations.duration(owner, names.TTL_UNSUBMITTED) if is_interactive else None
        if ttl:
            return ttl
    for owner in owners:
        general = annotations.duration(owner, names.TTL)
        if general and or_never(general).value is NEVER:
            return or_never(general)
    return policies.strongest(sources.policies, STUCK[reason])


def _keep_limit(
    selecting: tuple[Policy, ...], due: datetime | None, wait: timedelta
) -> datetime | None:
    path = "limits.keep.max"
    limit = policies.tightest(selecting, path)
    if limit is None or due is None:
        return None
    return _not_before_written(selecting, path, after(due, limit.value), wait)


def _not_before_written(
    selecting: tuple[Policy, ...], path: str, time: datetime | None, wait: timedelta
) -> datetime | None:
    """This time, but not before every policy that sets the path has been written for `wait`.

    None if the time is never, or if it is unknown when one of these policies was written.
    """
    written = [policy.written_at for policy in selecting if path in policy.times]
    known = [written_at for written_at in written if written_at]
    if time is None or len(known) < len(written):
        return None
    return max(time, *(written_at + wait for written_at in known))


def _longer(ttl: SourcedDuration, other: SourcedDuration) -> SourcedDuration:
    return ttl if longest(ttl.value, other.value) == ttl.value else other
