"""Reports decisions: an Event, a log line and metrics for each. Decides nothing."""

import logging
import socket
from collections.abc import Callable, Set
from datetime import datetime
from itertools import count
from typing import Any

from raysweep.cleanup import events
from raysweep.cleanup.act import DeletionResult
from raysweep.cleanup.reconcile import Pass
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.controller.log_format import safe
from raysweep.controller.metrics import Metrics
from raysweep.controller.rate_limit import TokenBucket
from raysweep.controller.workqueue import FairQueue
from raysweep.core.durations import format_duration
from raysweep.core.model.decisions import Delete, Explanation, ProbeHead, Target, Wait
from raysweep.core.model.facts import Namespace, Policy, RayJob
from raysweep.core.model.provenance import InvalidValue, SourcedDuration
from raysweep.core.model.reasons import Reason

log = logging.getLogger("raysweep")

EVENTS_PER_SECOND, EVENT_BURST, MAX_WAITING_EVENTS = 1.0, 20, 1000
"""Each namespace has its share of the waiting Events, see FairQueue."""
MAX_VERSIONS = 2
"""For how many resourceVersions of an object to remember what was reported. A pass may still end
with the version before the newest."""
MAX_TEXT_LENGTH = 4000
"""In characters, for the text of a log line and its field `message`."""

DELIBERATE_WAITS = frozenset(
    {
        Reason.KEPT_BY_USER,
        Reason.BULK_EXPIRY_DELAY,
        Reason.WAITING_FOR_KUBERAY,
        Reason.WOULD_BE_REBUILT,
    }
)
"""Reasons that keep a RayJob past its deadline on purpose. The deletion lag begins at their end."""


class Reporter:
    """Reports each decision once per uid, reason and resourceVersion."""

    def __init__(
        self, kubernetes: Kubernetes, metrics: Metrics, now: Callable[[], datetime]
    ) -> None:
        self._kubernetes = kubernetes
        self._metrics = metrics
        self._now = now
        self._reasons: dict[str, Reason] = {}
        self._waits_end_at: dict[str, datetime] = {}
        self._reported: dict[str, dict[str, tuple[str, ...]]] = {}  # by uid and resourceVersion
        self._counted_clusters: dict[str, str] = {}  # uid of the last RayCluster, by its RayJob
        self._pod_error_causes: dict[str, frozenset[tuple[str, int]]] = {}  # by namespace
        self._events: FairQueue[tuple[int, str, dict[str, Any]]] = FairQueue(
            max_waiting=MAX_WAITING_EVENTS
        )
        self._numbers = count()
        self._instance = socket.gethostname()

    def reason_of(self, uid: str) -> Reason | None:
        """The reason of the last decision about a RayJob. None if it was not judged yet."""
        return self._reasons.get(uid)

    def forget(self, uid: str) -> None:
        """Forgets what was reported about an object that no longer exists."""
        self._reasons.pop(uid, None)
        self._waits_end_at.pop(uid, None)
        self._reported.pop(uid, None)
        self._counted_clusters.pop(uid, None)

    def forget_all_but(self, existing: Set[str]) -> None:
        """Forgets every RayJob, Namespace and policy whose uid is not among these."""
        for uid in [uid for uid in self._reported if uid not in existing]:
            self.forget(uid)

    def report(self, result: Pass) -> None:
        """Reports the result of a pass."""
        rayjob, decision = result.rayjob, result.decision
        explanation = decision.explanation
        if isinstance(decision, ProbeHead):
            # The last reason stays until the head has answered.
            text = f"probing the head of {rayjob.key}: {explanation.message}"
            self._log(logging.DEBUG, text, rayjob, explanation)
            return
        self._reasons[rayjob.uid] = explanation.reason
        if isinstance(decision, Delete):
            if result.dry_run_by:
                self._report_dry_run(rayjob, decision, result.dry_run_by)
            if result.deletion.deleted:
                self._report_deletion(rayjob, explanation, result.deletion)
                self._report_pod_errors(rayjob, result.deletion)
            return
        if isinstance(decision, Wait) and explanation.reason in DELIBERATE_WAITS:
            self._waits_end_at[rayjob.uid] = decision.until
        self._report_keep(rayjob, explanation)

    def report_internal_error(self, rayjob: RayJob, error: BaseException) -> None:
        """Reports that a RayJob is kept because of an error in Raysweep itself."""
        self._metrics.internal_errors.inc()
        self._reasons[rayjob.uid] = Reason.INTERNAL_ERROR
        explanation = Explanation("", Reason.INTERNAL_ERROR, safe(error))
        fields = {"fields": _fields(rayjob, explanation)}
        log.error("keeping %s: InternalError", rayjob.key, exc_info=error, extra=fields)
        if self._is_news(rayjob.uid, Reason.INTERNAL_ERROR, rayjob.resource_version):
            self._warn_kept(rayjob, explanation)

    def report_invalid(
        self, owner: RayJob | Namespace | Policy, errors: tuple[InvalidValue, ...]
    ) -> None:
        """Emits one Warning on the object that holds invalid values, naming all of them."""
        if errors and self._is_news(owner.uid, Reason.INVALID, owner.resource_version):
            message = _truncate("; ".join(str(error) for error in errors))
            fields = {"reason": Reason.INVALID, "uid": owner.uid}
            log.warning("%s", message, extra={"fields": fields})
            self._emit(owner, Reason.INVALID, "Keep", message)

    async def post_events(self) -> None:
        """Posts Events for ever, at a low rate."""
        pace = TokenBucket(EVENTS_PER_SECOND, EVENT_BURST)
        while True:
            await self._events.wait()
            await pace.take()
            _, (_, namespace, event) = self._events.get()
            try:
                await self._kubernetes.post_event(namespace, event)
            except ApiError as error:
                # A Namespace that is being deleted accepts none. The log line has the same content.
                log.info("Event not posted: %s", error)

    def _report_keep(self, rayjob: RayJob, explanation: Explanation) -> None:
        reason = explanation.reason
        if not self._is_news(rayjob.uid, reason, rayjob.resource_version):
            return
        # report_invalid() warns about invalid values, on the object that holds them.
        is_warning = reason.is_warning and reason is not Reason.INVALID
        text = f"keeping {rayjob.key}: {reason}: {explanation.message}"
        level = logging.WARNING if is_warning else logging.DEBUG
        self._log(level, text, rayjob, explanation)
        if is_warning:
            self._warn_kept(rayjob, explanation)

    def _warn_kept(self, rayjob: RayJob, explanation: Explanation) -> None:
        reason = explanation.reason
        note = f"{reason.description} {explanation.message}. {reason.hint}"
        self._emit(rayjob, reason, "Keep", note)

    def _report_dry_run(self, rayjob: RayJob, decision: Delete, dry_run_by: str) -> None:
        """Reports what would be deleted, once per uid, reason and resourceVersion."""
        explanation = decision.explanation
        reason = explanation.reason
        if not self._is_news(rayjob.uid, f"would {reason}", rayjob.resource_version):
            return
        names = events.names_of(decision.targets)
        text = f"would delete {names} in {rayjob.namespace}: {reason}: {explanation.message}"
        more = {"would_delete": _objects(decision.targets), "dry_run_by": dry_run_by}
        self._log(logging.INFO, text, rayjob, explanation, more)
        note = (
            f"Would delete {names}, but {dry_run_by} sets DryRun. "
            f"{reason.description} {explanation.message}"
        )
        self._emit(rayjob, reason, "DryRun", note)

    def _report_deletion(
        self, rayjob: RayJob, explanation: Explanation, deletion: DeletionResult
    ) -> None:
        now = self._now()
        allowed_since = (explanation.due_at, self._waits_end_at.get(rayjob.uid))
        allowed_at = max((time for time in allowed_since if time), default=now)
        lag = max((now - allowed_at).total_seconds(), 0.0)
        self._metrics.deletion_lag.observe(lag)
        self._metrics.deleted_pods(rayjob.namespace, deletion.pods, explanation)
        for target in deletion.deleted:
            self._metrics.deleted(target, explanation)
            is_cluster = target.kind == "RayCluster"
            if is_cluster and self._counted_clusters.get(rayjob.uid) != target.uid:
                self._counted_clusters[rayjob.uid] = target.uid
                held_for = now - (explanation.finished_at or now)
                self._metrics.freed(rayjob.namespace, rayjob.desired, held_for)
        names = events.names_of(deletion.deleted, deletion.pods)
        reason = explanation.reason
        text = f"deleted {names} in {rayjob.namespace}: {reason}: {explanation.message}"
        more = {
            "deleted": _objects(deletion.deleted),
            "pods": deletion.pods,
            "lag_seconds": round(lag, 3),
        }
        self._log(logging.INFO, text, rayjob, explanation, more)
        self._emit(rayjob, reason, "Delete", events.deletion_note(deletion, explanation))

    def _report_pod_errors(self, rayjob: RayJob, deletion: DeletionResult) -> None:
        """Logs why Pods are left to the garbage collector.

        A cause is logged once per namespace, and again after Pods were deleted there without error.
        """
        namespace, errors = rayjob.namespace, deletion.pod_errors
        if deletion.pods and not errors:
            self._pod_error_causes.pop(namespace, None)
        causes = self._pod_error_causes.get(namespace, frozenset())
        for error in errors:
            cause = (type(error).__name__, error.code)
            if cause in causes:
                continue
            causes |= {cause}
            fields = {"fields": {"uid": rayjob.uid}}
            log.warning("Pods are left to the garbage collector: %s", error, extra=fields)
        if causes:
            self._pod_error_causes[namespace] = causes

    def _log(
        self,
        level: int,
        text: str,
        rayjob: RayJob,
        explanation: Explanation,
        more: dict[str, Any] | None = None,
    ) -> None:
        fields = _fields(rayjob, explanation) | (more or {})
        log.log(level, _truncate(text), extra={"fields": fields})

    def _is_news(self, uid: str, report: str, resource_version: str) -> bool:
        """Whether this was not reported yet. Remembers it as reported."""
        versions = self._reported.setdefault(uid, {})
        if resource_version not in versions and len(versions) == MAX_VERSIONS:
            del versions[next(iter(versions))]
        reported = versions.get(resource_version, ())
        if report in reported:
            return False
        versions[resource_version] = (*reported, report)
        return True

    def _emit(
        self, regarding: RayJob | Namespace | Policy, reason: Reason, action: str, note: str
    ) -> None:
        """Queues an Event. Drops one if too many wait."""
        namespace = regarding.namespace if isinstance(regarding, RayJob) else "default"
        event = events.body(
            events.EventContent(regarding, reason, action, note), self._now(), self._instance
        )
        entry = (next(self._numbers), namespace, event)
        if not self._events.add(_queue_key(regarding), entry):
            self._metrics.events_dropped.inc()


def _queue_key(regarding: RayJob | Namespace | Policy) -> str:
    """The namespace whose turn an Event takes. All policies share one more turn."""
    if isinstance(regarding, RayJob):
        return regarding.namespace
    return regarding.name if isinstance(regarding, Namespace) else ""


def _truncate(text: str) -> str:
    return text if len(text) <= MAX_TEXT_LENGTH else f"{text[:MAX_TEXT_LENGTH]}…"


def _objects(targets: tuple[Target, ...]) -> list[dict[str, str]]:
    return [{"kind": target.kind, "name": target.name, "uid": target.uid} for target in targets]


def _fields(rayjob: RayJob, explanation: Explanation) -> dict[str, Any]:
    """The documented fields of a decision's log line (docs/reference/log-lines.md)."""
    return {
        "namespace": rayjob.namespace,
        "name": rayjob.name,
        "uid": rayjob.uid,
        "resource_version": rayjob.resource_version,
        "reason": explanation.reason.value,
        "check": explanation.check,
        "message": _truncate(explanation.message),
        "outcome": explanation.outcome,
        "finished_at": _format_time(explanation.finished_at),
        "due_at": _format_time(explanation.due_at),
        "ttl": _format_duration(explanation.ttl),
        "cluster_ttl": _format_duration(explanation.cluster_ttl),
    }


def _format_time(time: datetime | None) -> str | None:
    if time is None:
        return None
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _format_duration(duration: SourcedDuration | None) -> dict[str, str | None] | None:
    if duration is None:
        return None
    value, clamp = format_duration(duration.value), duration.clamp or None
    return {"value": value, "source": duration.source, "clamp": clamp}
