"""The patch that hands the deletion of a RayJob over from KubeRay to Raysweep, with the same TTLs.

KubeRay ignores raysweep.io/keep-until. The patch removes from the spec what makes KubeRay delete,
and writes annotations instead, so that the TTLs of every outcome stay the same when the hold has
ended. This module sends nothing.
"""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from raysweep import names
from raysweep.clients.connection.overrides import Overrides
from raysweep.core.durations import LONGEST, NEVER, Duration, Never, format_duration
from raysweep.core.job_status import kuberay_reports_end
from raysweep.core.model.facts import KubeRayCleanup, RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.parameters import KubeRayTTL
from raysweep.core.retention import annotations, resolve
from raysweep.core.retention.kuberay_spec import RequestedTTLs, requested_ttls
from raysweep.core.retention.resolve import Sources

INT32_MAX = 2**31 - 1
SECOND = timedelta(seconds=1)
CLOCK_MARGIN = timedelta(minutes=1)
"""How far KubeRay's clock may be behind if its deletion is postponed."""

Json = dict[str, Any]


def patch_command(rayjob: RayJob, patch: Json, overrides: Overrides) -> str:
    """A kubectl command on one line, with the connection flags of this command."""
    body = json.dumps(patch, separators=(",", ":"))
    where = ("-n", rayjob.namespace, "--type", "merge", "-p", body)
    return overrides.kubectl("patch", "rayjob", rayjob.name, *where)


def must_shut_down(rayjob: RayJob) -> bool:
    """Whether shutdownAfterJobFinishes must stay: Kueue and suspended RayJobs require it."""
    is_required = rayjob.suspend or names.KUEUE_QUEUE_LABEL in rayjob.labels
    return rayjob.kuberay_cleanup.shutdown and is_required


def handover_patch(sources: Sources, until: datetime, now: datetime) -> Json:
    """A merge patch of exactly this RayJob. Afterwards KubeRay deletes nothing before that time."""
    rayjob = sources.rayjob
    changed = KubeRayCleanup()
    if must_shut_down(rayjob):
        changed = KubeRayCleanup(shutdown=True, seconds=_seconds(rayjob, until, now))
    metadata: Json = {"uid": rayjob.uid}
    if new_annotations := _new_annotations(sources, changed):
        metadata["annotations"] = new_annotations
    return {"metadata": metadata, "spec": _changed_fields(rayjob.kuberay_cleanup, changed)}


def _seconds(rayjob: RayJob, until: datetime, now: datetime) -> int:
    """A ttlSecondsAfterFinished that elapses after that time, even if the job ends now."""
    end = rayjob.end_time if kuberay_reports_end(rayjob) else None
    needed = -(-(until - (end or now) + CLOCK_MARGIN) // SECOND)
    return min(max(needed, rayjob.kuberay_cleanup.seconds), INT32_MAX)


def _changed_fields(old: KubeRayCleanup, new: KubeRayCleanup) -> Json:
    """The changed fields of the spec. KubeRay refuses a TTL above 0 without shutdown."""
    fields: Json = {}
    if old.policy:
        fields["deletionPolicy"] = None
    has_strategy_field = old.rules or old.on_success or old.on_failure or not old.policy
    if old.has_strategy and has_strategy_field:
        fields["deletionStrategy"] = None
    if old.shutdown != new.shutdown:
        fields["shutdownAfterJobFinishes"] = new.shutdown
    if old.shutdown != new.shutdown or old.seconds != new.seconds:
        fields["ttlSecondsAfterFinished"] = new.seconds
    return fields


def _new_annotations(sources: Sources, changed: KubeRayCleanup) -> dict[str, str]:
    """Annotations that preserve the TTLs of every outcome, in one key if all outcomes agree."""
    if annotations.first_unknown_key(sources.rayjob):
        return {}  # a misspelled key already keeps both objects
    texts: dict[str, str] = {}
    ttls = {outcome: _ttls_to_preserve(sources, changed, outcome) for outcome in Outcome}
    for key in (names.TTL, names.CLUSTER_TTL):
        values = {
            outcome: _duration_text(by_key[key])
            for outcome, by_key in ttls.items()
            if key in by_key
        }
        if len(values) == len(Outcome) and len(set(values.values())) == 1:
            texts[key] = values[Outcome.FAILED]
        else:
            texts |= {f"{key}-{outcome}": text for outcome, text in values.items()}
    return texts


def _ttls_to_preserve(
    sources: Sources, changed: KubeRayCleanup, outcome: Outcome
) -> dict[str, Duration]:
    """The TTLs that the spec sets, before or after the patch, unless an annotation sets them."""
    rayjob = _finished(sources.rayjob, outcome)
    own_ttl = annotations.duration_for(rayjob, names.TTL, outcome)
    own_cluster_ttl = annotations.duration_for(rayjob, names.CLUSTER_TTL, outcome) or own_ttl
    old = _requested_ttls(rayjob, outcome, sources.kuberay_ttl)
    changed_rayjob = replace(rayjob, kuberay_cleanup=changed)
    new = _requested_ttls(changed_rayjob, outcome, sources.kuberay_ttl)
    current = resolve.resolve(replace(sources, rayjob=rayjob), frozenset({outcome}))
    ttls: dict[str, Duration] = {}
    if own_ttl is None and (old.ttl is not None or new.ttl is not None):
        ttls[names.TTL] = current.ttl.value if old.ttl is None else old.ttl
    cluster_ttl = old.ttl if old.cluster_ttl is None else old.cluster_ttl
    is_requested = old != RequestedTTLs() or new != RequestedTTLs()
    if own_cluster_ttl is None and is_requested:
        ttls[names.CLUSTER_TTL] = current.cluster_ttl.value if cluster_ttl is None else cluster_ttl
    if ttls.get(names.CLUSTER_TTL) == ttls.get(names.TTL):
        ttls.pop(names.CLUSTER_TTL, None)  # the annotation ttl alone sets both
    return ttls


def _finished(rayjob: RayJob, outcome: Outcome) -> RayJob:
    """The RayJob with the status after this outcome. A deletion rule may name that status."""
    if kuberay_reports_end(rayjob):
        return rayjob
    status = "Failed" if outcome is Outcome.FAILED else "Complete"
    return replace(rayjob, deployment_status=status)


def _requested_ttls(rayjob: RayJob, outcome: Outcome, kuberay_ttl: KubeRayTTL) -> RequestedTTLs:
    """A negative TTL is invalid, so nothing is ever deleted."""
    is_cluster_ttl = kuberay_ttl is KubeRayTTL.RAYCLUSTER
    requested = requested_ttls(rayjob, outcome, ttl_is_clusters=is_cluster_ttl)
    return RequestedTTLs(NEVER, NEVER) if requested.negative else requested


def _duration_text(value: Duration) -> str:
    if isinstance(value, Never) or value > LONGEST:
        return format_duration(NEVER)
    return format_duration(value)
