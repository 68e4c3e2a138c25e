"""How long is a finished job kept? Sources in, two times out, each with where it comes from. The clock is not asked here.

Two times per RayJob and outcome: `ttl`, after which the RayJob goes with all it owns, and `cluster-ttl`, after which the
RayCluster goes. Sources, strongest first: the RayJob's annotations, its spec as KubeRay reads it, its Namespace's
annotations, and the built-in never.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from raysweep import names
from raysweep.core import native
from raysweep.core.durations import GRAMMAR, NEVER, Duration, longest, parse_duration
from raysweep.core.facts import Namespace, RayJob
from raysweep.core.finished import Outcome
from raysweep.core.rules import NativeTTL
from raysweep.core.text import quoted

TIME_GRAMMAR = "an RFC 3339 time with its zone, as 2026-11-22T18:00:00Z"
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Sourced:
    """A duration, and the place that set it; inherited: that is a default for many RayJobs, not the RayJob itself."""

    value: Duration
    source: str
    inherited: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A value that cannot be understood: where it stands, what it is and what would be right."""

    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Retention:
    """The two times of one RayJob; `fault` is what makes everything be kept, where something does."""

    ttl: Sourced
    cluster_ttl: Sourced
    fault: Fault | None = None


BUILT_IN = Sourced(NEVER, "built in: nothing is deleted until somebody sets a TTL")


SWEPT = Retention(Sourced(timedelta(), "swept by a person"), Sourced(timedelta(), "swept by a person"))


@dataclass(frozen=True, slots=True)
class _Said:
    """What one source says about one of the two times, a Fault where it cannot be understood, None where nothing."""

    ttl: Sourced | Fault | None
    cluster_ttl: Sourced | Fault | None


def resolve(rayjob: RayJob, namespace: Namespace, outcomes: frozenset[Outcome], native_ttl: NativeTTL) -> Retention:
    """The two times for these outcomes; where there are several, the longer of each counts."""
    one, *rest = (_resolve(rayjob, namespace, outcome, native_ttl) for outcome in sorted(outcomes))
    for other in rest:
        one = Retention(_longer(one.ttl, other.ttl), _longer(one.cluster_ttl, other.cluster_ttl), one.fault or other.fault)
    return one


def faults(annotations: Mapping[str, str], place: str) -> tuple[Fault, ...]:
    """Everything wrong with the raysweep.io annotations of one object; place names it, as `RayJob team-a/train`."""
    found = [_unknown_key(key, place) for key in annotations if _is_unknown(key)]
    keys = (*names.DURATION_KEYS, names.TTL_UNSUBMITTED)
    found += [said for key in keys if isinstance(said := _read(annotations, key, place), Fault)]
    found += [until] if isinstance(until := _keep_until(annotations, place), Fault) else []
    return tuple(found)


def keep_until(rayjob: RayJob, namespace: Namespace) -> datetime | Fault | None:
    """Until when somebody asked to keep it: of RayJob and Namespace the later; a Fault keeps without an end."""
    asked = [_keep_until(o.annotations, p) for o, p in ((rayjob, _place(rayjob)), (namespace, _place(namespace)))]
    if broken := [one for one in asked if isinstance(one, Fault)]:
        return broken[0]
    return max((one for one in asked if isinstance(one, datetime)), default=None)


def unsubmitted(rayjob: RayJob, namespace: Namespace) -> Retention:
    """The one time for jobs that were never submitted, or got lost: RayJob and RayCluster go together."""
    ttl = _unsubmitted(rayjob) or _unsubmitted(namespace) or BUILT_IN
    return Retention(_or_never(ttl), _or_never(ttl), ttl if isinstance(ttl, Fault) else None)


def _unsubmitted(thing: RayJob | Namespace) -> Sourced | Fault | None:
    if unknown := [key for key in thing.annotations if _is_unknown(key)]:
        return _unknown_key(unknown[0], _place(thing))
    return _read(thing.annotations, names.TTL_UNSUBMITTED, _place(thing), inherited=isinstance(thing, Namespace))


def is_set_on_rayjob(rayjob: RayJob, outcome: Outcome) -> bool:
    """Whether the RayJob's own annotations set the time after which it goes itself."""
    return any(key in rayjob.annotations for key in (names.TTL, f"{names.TTL}-{outcome}"))


def is_any_time_set(rayjob: RayJob, namespace: Namespace, native_ttl: NativeTTL) -> bool:
    """Whether anything could ever make this RayJob or its cluster go; if not, its head is left in peace."""
    found = [_resolve(rayjob, namespace, outcome, native_ttl) for outcome in Outcome]
    times = [time for kept in (*found, unsubmitted(rayjob, namespace)) for time in (kept.ttl, kept.cluster_ttl)]
    return any(time.value is not NEVER for time in times)


def written_outcome(rayjob: RayJob) -> tuple[Outcome, datetime] | Fault | None:
    """What the head said before its cluster was deleted: `failed 2026-11-22T19:38:36Z` in raysweep.io/outcome."""
    text = rayjob.annotations.get(names.OUTCOME)
    if text is None:
        return None
    word, _, time = text.partition(" ")
    at = _read_time(time, "", "")
    if word not in set(Outcome) or not isinstance(at, datetime):
        place = f"{_place(rayjob)} annotation {names.OUTCOME}"
        return Fault(place, f"{quoted(text)} is no outcome and time; only Raysweep writes it, remove it")
    return Outcome(word), at


def _resolve(rayjob: RayJob, namespace: Namespace, outcome: Outcome, native_ttl: NativeTTL) -> Retention:
    own = _annotations(rayjob.annotations, outcome, _place(rayjob))
    spec = _spec(rayjob, outcome, native_ttl)
    inherited = _annotations(namespace.annotations, outcome, _place(namespace), inherited=True)
    ttl = own.ttl or spec.ttl or inherited.ttl or BUILT_IN
    cluster_ttl = own.cluster_ttl or spec.cluster_ttl or inherited.cluster_ttl or BUILT_IN
    return Retention(_or_never(ttl), _or_never(cluster_ttl), _deciding_fault(ttl, cluster_ttl, _place(namespace)))


def _spec(rayjob: RayJob, outcome: Outcome, native_ttl: NativeTTL) -> _Said:
    """What the spec asks of KubeRay, as a source; it never asks for less than the people who wrote it meant."""
    found = native.wish(rayjob, outcome, ttl_is_clusters=native_ttl is NativeTTL.RAYCLUSTER)
    field = "deletionStrategy" if rayjob.native.has_strategy else "shutdownAfterJobFinishes with ttlSecondsAfterFinished"
    place = f"{_place(rayjob)} spec.{field}"
    if found.negative:
        fault = Fault(place, f"a TTL below 0; write {GRAMMAR}")
        return _Said(fault, fault)
    ttl = Sourced(found.ttl, place) if found.ttl is not None else None
    cluster = Sourced(found.cluster_ttl, place) if found.cluster_ttl is not None else None
    return _Said(ttl, cluster or ttl)


def _annotations(annotations: Mapping[str, str], outcome: Outcome, place: str, *, inherited: bool = False) -> _Said:
    """What one object's annotations say. An unknown key may be a misspelt one of any time, so it speaks for both."""
    if unknown := [key for key in annotations if _is_unknown(key)]:
        fault = _unknown_key(unknown[0], place)
        return _Said(fault, fault)

    def either(key: str) -> Sourced | Fault | None:
        own = _read(annotations, f"{key}-{outcome}", place, inherited=inherited)
        return own or _read(annotations, key, place, inherited=inherited)

    ttl, cluster = either(names.TTL), either(names.CLUSTER_TTL)
    return _Said(ttl, cluster or ttl)  # a source that sets ttl alone sets both


def _deciding_fault(ttl: Sourced | Fault, cluster_ttl: Sourced | Fault, namespace: str) -> Fault | None:
    """A RayJob's fault makes its own time never, and keeps all where that is both; a Namespace's keeps all at once."""
    broken = [said for said in (ttl, cluster_ttl) if isinstance(said, Fault)]
    inherited = [fault for fault in broken if fault.place.startswith(f"{namespace} ")]
    if inherited:
        return inherited[0]
    return broken[0] if len(broken) > 1 else None


def _or_never(said: Sourced | Fault) -> Sourced:
    return said if isinstance(said, Sourced) else Sourced(NEVER, f"{said.place}, malformed")


def _read(annotations: Mapping[str, str], key: str, place: str, *, inherited: bool = False) -> Sourced | Fault | None:
    if key not in annotations:
        return None
    try:
        return Sourced(parse_duration(annotations[key]), f"{place} annotation {key}", inherited)
    except ValueError:
        return Fault(f"{place} annotation {key}", f"{quoted(annotations[key])} is no duration; write {GRAMMAR}")


def _keep_until(annotations: Mapping[str, str], place: str) -> datetime | Fault | None:
    text = annotations.get(names.KEEP_UNTIL)
    return None if text is None else _read_time(text, place, names.KEEP_UNTIL)


def _read_time(text: str, place: str, key: str) -> datetime | Fault:
    try:
        if not _RFC3339.fullmatch(text):
            raise ValueError(text)
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return Fault(f"{place} annotation {key}", f"{quoted(text)} is no time; write {TIME_GRAMMAR}")


def _is_unknown(key: str) -> bool:
    return key.startswith(names.ANNOTATION_PREFIX) and key not in names.ANNOTATIONS


def _unknown_key(key: str, place: str) -> Fault:
    known = ", ".join(sorted(key.removeprefix(names.ANNOTATION_PREFIX) for key in names.ANNOTATIONS))
    return Fault(f"{place} annotation {quoted(key)}", f"unknown key; {names.ANNOTATION_PREFIX} has {known}")


def _place(thing: RayJob | Namespace) -> str:
    return f"RayJob {thing.key}" if isinstance(thing, RayJob) else f"Namespace {thing.name}"


def _longer(one: Sourced, other: Sourced) -> Sourced:
    return one if longest(one.value, other.value) == one.value else other
