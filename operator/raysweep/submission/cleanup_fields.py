"""The cleanup flags of a submission as fields of KubeRay and as annotations. Pure.

KubeRay has one TTL for all outcomes, so its fields hold the longest one: KubeRay alone never
deletes a cluster earlier than the flags allow for any outcome. The annotations hold each TTL
exactly (kuberay rayjob_types.go, validation.go).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from raysweep import names
from raysweep.core.durations import GRAMMAR, NEVER, Duration, format_duration, parse_duration
from raysweep.core.text import quoted

INT32 = 2**31 - 1
UNSUBMITTED_MARGIN = timedelta(minutes=10)
"""How much longer than all waits of a submit the RayJob without a job stays."""
SHUTDOWN_FLAG = "--shutdown-after-job-finishes"
SHUTDOWN = "shutdownAfterJobFinishes"
TTL_SECONDS = "ttlSecondsAfterFinished"
KUBERAY_FIELDS = (SHUTDOWN, TTL_SECONDS)

SHUTDOWN_IMPLIED = "a TTL implies --shutdown-after-job-finishes, which KubeRay requires with it"
CLUSTER_ONLY = (
    "the RayCluster is deleted as soon as the job ends. The RayJob stays as the record, unless its "
    "Namespace sets a TTL. To delete both, use --ttl-seconds-after-finished 0"
)
SELECTED_CLUSTER = (
    "with a clusterSelector, KubeRay deletes nothing and the selected RayCluster stays. Raysweep "
    "deletes only the RayJob"
)
UNSUBMITTED_NEVER = (
    "with --ttl-unsubmitted never, a submit that is killed leaves its cluster running forever"
)

Json = dict[str, Any]
Annotations = Mapping[str, str]


class CleanupError(Exception):
    """Cleanup flags that contradict each other or the file."""


@dataclass(frozen=True, slots=True)
class CleanupFlags:
    """The cleanup flags as they were typed.

    durations: by annotation. longest_wait: how long this submit may wait for the head, the upload
    and the submission together.
    """

    shutdown: bool | None = None
    ttl_seconds: int | None = None
    durations: Mapping[str, str] = field(default_factory=dict)
    ttl_unsubmitted: str = "1h"
    longest_wait: timedelta = timedelta()

    @property
    def sets_ttl(self) -> bool:
        """Whether a flag sets a TTL for the RayJob or the RayCluster."""
        return self.ttl_seconds is not None or bool(self.durations)

    @property
    def implied_shutdown(self) -> bool:
        """Whether the flags ask for spec.shutdownAfterJobFinishes."""
        return self.sets_ttl if self.shutdown is None else self.shutdown

    def annotations(self) -> dict[str, str]:
        """The annotations that the flags name."""
        ttl = {} if self.ttl_seconds is None else {names.TTL: str(self.ttl_seconds)}
        return ttl | dict(self.durations)

    def problems(self) -> Iterator[str]:
        """Yields each invalid flag."""
        seconds = self.ttl_seconds
        if seconds is not None and not 0 <= seconds <= INT32:
            limits = f"use a number from 0 to {INT32}"
            yield f"--ttl-seconds-after-finished: invalid number of seconds {seconds}: {limits}"
        durations = {**self.durations, names.TTL_UNSUBMITTED: self.ttl_unsubmitted}
        for key, text in durations.items():
            try:
                parse_duration(text)
            except ValueError:
                flag = f"--{key.removeprefix(names.ANNOTATION_PREFIX)}"
                yield f"{flag}: invalid duration {quoted(text)}: use {GRAMMAR}"


@dataclass(slots=True)
class CleanupFields:
    """Annotations and KubeRay's fields to write, and what the user should know about them."""

    annotations: dict[str, str] = field(default_factory=dict)
    spec: Json = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def cleanup_fields(
    spec: Json, before: Annotations, queue: str, flags: CleanupFlags
) -> CleanupFields:
    """Translates the flags.

    before: the annotations of the file. queue: the Kueue queue of the RayJob, or "". Raises
    CleanupError, and ValueError for an invalid duration.
    """
    fields = CleanupFields(flags.annotations())
    if flags.sets_ttl and flags.shutdown is not False:
        inherited = _inherited_ttls(spec, {**before, **fields.annotations})
        fields.annotations = {**inherited, **fields.annotations}
    _set_kuberay_fields(fields, flags, {**before, **fields.annotations}, queue)
    _set_ttl_unsubmitted(fields, flags, before.get(names.TTL_UNSUBMITTED))
    # KubeRay would act on the TTL of the file, although the flags replace it.
    kept = {} if flags.sets_ttl else spec
    if queue and SHUTDOWN not in kept | fields.spec:
        fields.spec[SHUTDOWN] = True
        fields.notes.append(_shutdown_required(queue))
    return fields


def general_notes(spec: Json, annotations: Annotations) -> Iterator[str]:
    """Yields what the user should know about the cleanup of the finished RayJob."""
    if spec.get("clusterSelector"):
        yield SELECTED_CLUSTER
    has_ttl = spec.get(TTL_SECONDS) or annotations.keys() & set(names.DURATION_ANNOTATIONS)
    if spec.get(SHUTDOWN) and not has_ttl:
        yield CLUSTER_ONLY
    if annotations.get(names.TTL_UNSUBMITTED) == "never":
        yield UNSUBMITTED_NEVER


def _shutdown_required(queue: str) -> str:
    return f"shutdownAfterJobFinishes is set to true: {_kueue_requires_it(queue)}"


def _kueue_requires_it(queue: str) -> str:
    label = f"{names.KUEUE_QUEUE_LABEL}={queue}"
    return f"Kueue requires it of every RayJob in a queue (label {label})"


def _inherited_ttls(spec: Json, annotations: Annotations) -> dict[str, str]:
    """KubeRay's TTL of the file as annotations, for the outcomes without an annotation.

    The flags replace the field itself.
    """
    if not spec.get(SHUTDOWN) or spec.get("deletionStrategy"):
        return {}
    seconds = spec.get(TTL_SECONDS) or 0
    kinds = (names.TTL,) if seconds else (names.TTL, names.CLUSTER_TTL)
    inherited = {}
    for outcome in names.OUTCOMES:
        keys = {key for kind in kinds for key in (kind, f"{kind}-{outcome}")}
        if keys & annotations.keys():
            continue
        if seconds:
            inherited[f"{names.TTL}-{outcome}"] = str(seconds)
        else:
            inherited[f"{names.CLUSTER_TTL}-{outcome}"] = "0"
    return inherited


def _cluster_ttls(annotations: Annotations) -> dict[str, Duration | None]:
    """The TTL of the cluster by outcome, as core/retention/resolve.py reads annotations."""
    ttls = {
        key: parse_duration(text)
        for key, text in annotations.items()
        if key in names.DURATION_ANNOTATIONS
    }
    result = {}
    for outcome in names.OUTCOMES:
        ttl = ttls.get(f"{names.TTL}-{outcome}", ttls.get(names.TTL))
        general = ttls.get(names.CLUSTER_TTL, ttl)
        result[outcome] = ttls.get(f"{names.CLUSTER_TTL}-{outcome}", general)
    return result


def _set_kuberay_fields(
    fields: CleanupFields, flags: CleanupFlags, annotations: Annotations, queue: str
) -> None:
    """Sets KubeRay's two fields. Raises CleanupError."""
    ttls = _cluster_ttls(annotations)
    if flags.shutdown is False:
        if flags.sets_ttl:
            raise CleanupError(f"{SHUTDOWN_FLAG}=false contradicts a TTL: remove one of them")
        fields.spec[SHUTDOWN] = False
        return
    has_ttl = any(ttl is not None for ttl in ttls.values())
    if not flags.sets_ttl and not (flags.shutdown and has_ttl):
        if flags.shutdown:
            fields.spec[SHUTDOWN] = True
        return
    if queue:
        _check_queued_ttls(ttls, queue)
    elif None in ttls.values() or NEVER in ttls.values():
        _note_kept_clusters(fields, flags, ttls)
        return
    _set_one_ttl(fields, flags, list(ttls.values()), queue)


def _check_queued_ttls(ttls: Mapping[str, Duration | None], queue: str) -> None:
    forever = [outcome for outcome, ttl in ttls.items() if ttl is NEVER]
    if forever:
        message = f"the RayCluster would be kept forever after these outcomes: {', '.join(forever)}"
        cause = "But shutdownAfterJobFinishes deletes it after every outcome"
        requirement = _kueue_requires_it(queue)
        raise CleanupError(f"{message}. {cause}. {requirement}. Set a duration with --cluster-ttl")


def _note_kept_clusters(
    fields: CleanupFields, flags: CleanupFlags, ttls: Mapping[str, Duration | None]
) -> None:
    """Leaves KubeRay's fields out, since they would delete a cluster that is to be kept."""
    kept = ", ".join(outcome for outcome, ttl in ttls.items() if ttl is None or ttl is NEVER)
    if flags.shutdown:
        cause = "KubeRay would delete the cluster after every outcome, but these have no TTL"
        hint = "remove the flag, or set --cluster-ttl"
        raise CleanupError(f"{SHUTDOWN_FLAG}: {cause}: {kept}: {hint}")
    cause = "KubeRay's own fields are not set, since it has one TTL for all outcomes"
    fields.notes.append(f"{cause}. The cluster is kept after: {kept}")


def _set_one_ttl(
    fields: CleanupFields, flags: CleanupFlags, ttls: Sequence[Duration | None], queue: str
) -> None:
    """Sets the longest TTL of all outcomes, since KubeRay has only one."""
    longest = max(ttl for ttl in ttls if isinstance(ttl, timedelta))
    seconds = math.ceil(longest.total_seconds())
    if seconds > INT32:
        duration = format_duration(longest)
        raise CleanupError(
            f"the cluster TTL {duration} is too long: KubeRay allows {INT32} seconds"
        )
    fields.spec |= {SHUTDOWN: True, TTL_SECONDS: seconds}
    if not flags.shutdown:
        fields.notes.append(_shutdown_required(queue) if queue else SHUTDOWN_IMPLIED)
    if len(set(ttls)) > 1:
        alone = f"KubeRay alone would delete the cluster {format_duration(longest)} after the end"
        fields.notes.append(f"{alone}, whatever the outcome. Raysweep uses the TTL of each outcome")


def _set_ttl_unsubmitted(fields: CleanupFields, flags: CleanupFlags, in_file: str | None) -> None:
    """Sets how long the RayJob stays without a job: never less than this submit may wait."""
    is_default = flags.ttl_unsubmitted == CleanupFlags().ttl_unsubmitted
    text = in_file if in_file is not None and is_default else flags.ttl_unsubmitted
    fields.annotations[names.TTL_UNSUBMITTED] = text
    minimum = flags.longest_wait + UNSUBMITTED_MARGIN if flags.longest_wait else timedelta()
    ttl = parse_duration(text)
    if isinstance(ttl, timedelta) and ttl < minimum:
        longer = format_duration(minimum)
        fields.annotations[names.TTL_UNSUBMITTED] = longer
        wait = f"this submit may wait {format_duration(flags.longest_wait)}"
        fields.notes.append(f"{names.TTL_UNSUBMITTED} is {longer} instead of {text}: {wait}")
