"""The command that takes a deletion out of KubeRay's hands and leaves it to Raysweep, with the same times. Nothing is sent here.

KubeRay knows nothing of raysweep.io/keep-until. What its spec asks of it is taken out, and written down as annotations, so that
the two times of every outcome stay what they are and nothing is left behind once the keep is over.
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

INT32 = 2**31 - 1
SECOND, MARGIN = timedelta(seconds=1), timedelta(minutes=1)
"""MARGIN: how far KubeRay's clock may be behind, where its time is put off until after the keep."""

Json = dict[str, Any]


def command(rayjob: RayJob, changes: Json, overrides: Overrides) -> str:
    """One line for a shell, with the way to the cluster that this command itself was given."""
    body = json.dumps(changes, separators=(",", ":"))
    patch = ("--type", "merge", "-p", body)
    return overrides.kubectl("patch", "rayjob", rayjob.name, "-n", rayjob.namespace, *patch)


def must_shut_down(rayjob: RayJob) -> bool:
    """Whether shutdownAfterJobFinishes has to stay: Kueue wants it of every RayJob, KubeRay of every suspended one."""
    return rayjob.kuberay_cleanup.shutdown and (
        rayjob.suspend or names.KUEUE_QUEUE_LABEL in rayjob.labels
    )


def patch(sources: Sources, until: datetime, now: datetime) -> Json:
    """A merge patch of exactly this RayJob, after which KubeRay deletes nothing before that time."""
    job = sources.rayjob
    after = (
        KubeRayCleanup(shutdown=True, seconds=_seconds(job, until, now))
        if must_shut_down(job)
        else KubeRayCleanup()
    )
    said = _annotations(sources, after)
    return {
        "metadata": {"uid": job.uid} | ({"annotations": said} if said else {}),
        "spec": _fields(job.kuberay_cleanup, after),
    }


def _seconds(job: RayJob, until: datetime, now: datetime) -> int:
    """A ttlSecondsAfterFinished that ends after that time; a job that has not ended ends now at the earliest."""
    end = job.end_time if kuberay_reports_end(job) else None
    needed = -(-(until - (end or now) + MARGIN) // SECOND)
    return min(max(needed, job.kuberay_cleanup.seconds), INT32)


def _fields(before: KubeRayCleanup, after: KubeRayCleanup) -> Json:
    """KubeRay's own fields, those that change. A TTL above 0 without shutdown would be refused."""
    fields: Json = {}
    if before.policy:
        fields["deletionPolicy"] = None
    if before.has_strategy and (
        before.rules or before.on_success or before.on_failure or not before.policy
    ):
        fields["deletionStrategy"] = None
    if before.shutdown != after.shutdown:
        fields["shutdownAfterJobFinishes"] = after.shutdown
    if before.shutdown != after.shutdown or before.seconds != after.seconds:
        fields["ttlSecondsAfterFinished"] = after.seconds
    return fields


def _annotations(sources: Sources, after: KubeRayCleanup) -> dict[str, str]:
    """What holds the two times of every outcome where they are; one key for all outcomes where they agree."""
    if annotations.first_unknown_key(sources.rayjob):
        return {}  # it speaks for both times already
    said: dict[str, str] = {}
    pins = {outcome: _pins(sources, after, outcome) for outcome in Outcome}
    for key in (names.TTL, names.CLUSTER_TTL):
        values = {outcome: _text(found[key]) for outcome, found in pins.items() if key in found}
        is_for_all = len(values) == len(pins) and len(set(values.values())) == 1
        said |= (
            {key: values[Outcome.FAILED]}
            if is_for_all
            else {f"{key}-{outcome}": text for outcome, text in values.items()}
        )
    return said


def _pins(sources: Sources, after: KubeRayCleanup, outcome: Outcome) -> dict[str, Duration]:
    """The times of one outcome that the spec sets now, or would set then, and that no annotation of the RayJob sets itself."""
    job = _ended(sources.rayjob, outcome)
    own_ttl = annotations.duration_for(job, names.TTL, outcome)
    own_cluster = annotations.duration_for(job, names.CLUSTER_TTL, outcome) or own_ttl
    old, new = (
        _wish(one, outcome, sources.kuberay_ttl)
        for one in (job, replace(job, kuberay_cleanup=after))
    )
    kept = resolve.resolve(replace(sources, rayjob=job), frozenset({outcome}))
    pins: dict[str, Duration] = {}
    if own_ttl is None and (old.ttl is not None or new.ttl is not None):
        pins[names.TTL] = kept.ttl.value if old.ttl is None else old.ttl
    cluster_ttl = old.ttl if old.cluster_ttl is None else old.cluster_ttl
    if own_cluster is None and (old != RequestedTTLs() or new != RequestedTTLs()):
        pins[names.CLUSTER_TTL] = kept.cluster_ttl.value if cluster_ttl is None else cluster_ttl
    if pins.get(names.CLUSTER_TTL) == pins.get(names.TTL):
        pins.pop(names.CLUSTER_TTL, None)  # a ttl alone sets both
    return pins


def _ended(job: RayJob, outcome: Outcome) -> RayJob:
    """As its status will be when it has ended so: a rule may name the jobDeploymentStatus."""
    if kuberay_reports_end(job):
        return job
    return replace(job, deployment_status="Failed" if outcome is Outcome.FAILED else "Complete")


def _wish(job: RayJob, outcome: Outcome, kuberay_ttl: KubeRayTTL) -> RequestedTTLs:
    """A negative TTL is malformed, and so never for both."""
    found = requested_ttls(job, outcome, ttl_is_clusters=kuberay_ttl is KubeRayTTL.RAYCLUSTER)
    return RequestedTTLs(NEVER, NEVER) if found.negative else found


def _text(value: Duration) -> str:
    return format_duration(NEVER if isinstance(value, Never) or value > LONGEST else value)
