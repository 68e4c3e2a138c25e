"""How decisions are told: one Event, one log line and the metrics of each. Nothing is decided and no order is kept here."""

import logging
import socket
from collections.abc import Callable, Set
from datetime import datetime
from itertools import count
from typing import Any

from raysweep.cleanup import events
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

EVENTS_PER_SECOND, EVENT_BURST, EVENTS_WAITING = 1.0, 20, 1000
"""Of the Events that wait each namespace has its share: see FairQueue."""
VERSIONS_AT_MOST = 2
"""Of how many resourceVersions of one object it is known what was reported: a pass may still end with
the one before the newest."""
LONGEST_TEXT = 4000
"""In characters; of a log line's message, and of its evidence."""

WANTED = frozenset(
    {
        Reason.KEPT_BY_USER,
        Reason.BULK_EXPIRY_DELAY,
        Reason.WAITING_FOR_KUBERAY,
        Reason.WOULD_BE_REBUILT,
    }
)
"""What makes a RayJob wait past its due time on purpose; a deletion's lag counts from the end of such a wait."""


class Reporter:
    """Tells each decision once per uid, reason and resourceVersion."""

    def __init__(
        self, kubernetes: Kubernetes, metrics: Metrics, now: Callable[[], datetime]
    ) -> None:
        self._kubernetes = kubernetes
        self._metrics = metrics
        self._now = now
        self._reasons: dict[str, Reason] = {}
        self._wanted_until: dict[str, datetime] = {}
        self._told: dict[str, dict[str, set[str]]] = {}  # by uid and resourceVersion
        self._freed: dict[str, str] = {}  # the RayCluster that was counted last, by its RayJob
        self._events: FairQueue[tuple[int, str, dict[str, Any]]] = FairQueue(
            max_waiting=EVENTS_WAITING
        )
        self._numbers = count()
        self._instance = socket.gethostname()

    def reason_of(self, uid: str) -> str:
        """At which reason that RayJob stands; "" where it was not judged yet."""
        return self._reasons.get(uid, "")

    def forget(self, uid: str) -> None:
        """That RayJob is gone."""
        self._reasons.pop(uid, None)
        self._wanted_until.pop(uid, None)
        self._told.pop(uid, None)
        self._freed.pop(uid, None)

    def forget_all_but(self, known: Set[str]) -> None:
        """Forgets every RayJob, Namespace and policy whose uid is not known any more."""
        for uid in self._told.keys() - known:
            self.forget(uid)

    def told(self, found: Pass) -> None:
        """A pass came to this."""
        why = found.decision.explanation
        if not isinstance(
            found.decision, ProbeHead
        ):  # until the head has answered it stands where it stood
            self._reasons[found.rayjob.uid] = why.reason
        if isinstance(found.decision, Wait) and why.reason in WANTED:
            self._wanted_until[found.rayjob.uid] = found.decision.until
        if isinstance(found.decision, ProbeHead):
            self._log(
                logging.DEBUG,
                f"asking the head of {found.rayjob.key}: {why.message}",
                found.rayjob,
                why,
            )
            return
        if isinstance(found.decision, Delete):
            if found.dry_run_by:
                self._would_delete(found.rayjob, found.decision, found.dry_run_by)
            if found.deletion.deleted:
                self._deleted(found.rayjob, why, found.deletion.deleted)
            return
        if not self._is_news(found.rayjob.uid, why.reason, found.rayjob.resource_version):
            return
        if (
            not why.reason.is_warning or why.reason is Reason.INVALID
        ):  # the latter is told by faulty(), on the object at fault
            self._log(
                logging.DEBUG,
                f"keeping {found.rayjob.key}: {why.reason}: {why.message}",
                found.rayjob,
                why,
            )
        else:
            self._log(
                logging.WARNING,
                f"keeping {found.rayjob.key}: {why.reason}: {why.message}",
                found.rayjob,
                why,
            )
            self._event(
                found.rayjob,
                why.reason,
                "Keep",
                f"{why.reason.description} {why.message}. {why.reason.hint}",
            )

    def failed(self, rayjob: RayJob, error: BaseException) -> None:
        """Judging or deleting this one failed by a fault of ours."""
        self._metrics.internal_errors.inc()
        self._reasons[rayjob.uid] = Reason.INTERNAL_ERROR
        why = Explanation("", Reason.INTERNAL_ERROR, safe(error))
        fields = {"fields": _fields(rayjob, why)}
        log.error("keeping %s: InternalError", rayjob.key, exc_info=error, extra=fields)
        if self._is_news(rayjob.uid, Reason.INTERNAL_ERROR, rayjob.resource_version):
            self._event(
                rayjob,
                Reason.INTERNAL_ERROR,
                "Keep",
                f"{why.reason.description} {why.message}. {why.reason.hint}",
            )

    def faulty(self, thing: RayJob | Namespace | Policy, errors: tuple[InvalidValue, ...]) -> None:
        """One Warning on the object at fault, naming everything that is wrong with it."""
        if errors and self._is_news(thing.uid, Reason.INVALID, thing.resource_version):
            told = _cut("; ".join(str(error) for error in errors))
            log.warning(
                "invalid: %s", told, extra={"fields": {"reason": Reason.INVALID, "uid": thing.uid}}
            )
            self._event(thing, Reason.INVALID, "Keep", told)

    async def post_events(self) -> None:
        """Posts what was told, for ever, slowly enough to bother nobody."""
        pace = TokenBucket(EVENTS_PER_SECOND, EVENT_BURST)
        while True:
            await self._events.wait()
            await pace.take()
            _, (_, namespace, event) = self._events.get()
            try:
                await self._kubernetes.post_event(namespace, event)
            except (
                ApiError
            ) as error:  # a Namespace that is going takes none; the log line has it all
                log.info("event not posted: %s", error)

    def _would_delete(self, rayjob: RayJob, decision: Delete, dry_run_by: str) -> None:
        """What would go, once per uid, reason and resourceVersion."""
        why = decision.explanation
        if not self._is_news(rayjob.uid, f"would {why.reason}", rayjob.resource_version):
            return
        what = " and ".join(f"{target.kind} {target.name}" for target in decision.targets)
        objects = [
            {"kind": target.kind, "name": target.name, "uid": target.uid}
            for target in decision.targets
        ]
        message = f"would delete {what} in {rayjob.namespace}: {why.reason}: {why.message}"
        self._log(
            logging.INFO, message, rayjob, why, {"would_delete": objects, "dry_run_by": dry_run_by}
        )
        note = f"Would delete {what}, but {dry_run_by} is on DryRun. {why.reason.description} {why.message}"
        self._event(rayjob, why.reason, "DryRun", note)

    def _deleted(self, rayjob: RayJob, why: Explanation, deleted: tuple[Target, ...]) -> None:
        now = self._now()
        may_go_at = max(
            (time for time in (why.due_at, self._wanted_until.get(rayjob.uid)) if time), default=now
        )
        lag = max((now - may_go_at).total_seconds(), 0.0)
        self._metrics.deletion_lag.observe(lag)
        for target in deleted:
            self._metrics.deleted(target, why)
            if target.kind == "RayCluster" and self._freed.get(rayjob.uid) != target.uid:
                self._freed[rayjob.uid] = target.uid
                self._metrics.freed(
                    rayjob.namespace, rayjob.desired, now - (why.finished_at or now)
                )
        what = " and ".join(f"{target.kind} {target.name}" for target in deleted)
        message = f"deleted {what} in {rayjob.namespace}: {why.reason}: {why.message}"
        objects = [
            {"kind": target.kind, "name": target.name, "uid": target.uid} for target in deleted
        ]
        self._log(
            logging.INFO, message, rayjob, why, {"deleted": objects, "lag_seconds": round(lag, 3)}
        )
        self._event(rayjob, why.reason, "Delete", events.deleted(deleted, why))

    def _log(
        self,
        level: int,
        message: str,
        rayjob: RayJob,
        why: Explanation,
        more: dict[str, Any] | None = None,
    ) -> None:
        log.log(level, _cut(message), extra={"fields": _fields(rayjob, why) | (more or {})})

    def _is_news(self, uid: str, said: str, resource_version: str) -> bool:
        versions = self._told.setdefault(uid, {})
        if resource_version not in versions and len(versions) == VERSIONS_AT_MOST:
            del versions[next(iter(versions))]
        told = versions.setdefault(resource_version, set())
        if said in told:
            return False
        told.add(said)
        return True

    def _event(
        self, thing: RayJob | Namespace | Policy, reason: Reason, action: str, note: str
    ) -> None:
        namespace = thing.namespace if isinstance(thing, RayJob) else "default"
        turn = _whose_turn(thing)
        event = events.body(events.About(thing, reason, action, note), self._now(), self._instance)
        if not self._events.add(turn, (next(self._numbers), namespace, event)):
            self._metrics.events_dropped.inc()


def _whose_turn(thing: RayJob | Namespace | Policy) -> str:
    """The namespace whose turn an Event takes; policies take turns with them under a name of no namespace."""
    if isinstance(thing, RayJob):
        return thing.namespace
    return thing.name if isinstance(thing, Namespace) else ""


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


def _fields(rayjob: RayJob, why: Explanation) -> dict[str, Any]:
    """The documented part of every decision's log line (docs/reference/annotations.md tells the sources, docs/reference/log-lines.md the schema)."""
    return {
        "namespace": rayjob.namespace,
        "name": rayjob.name,
        "uid": rayjob.uid,
        "resource_version": rayjob.resource_version,
        "reason": why.reason.value,
        "check": why.check,
        "message": _cut(why.message),
        "outcome": why.outcome,
        "finished_at": _written(why.finished_at),
        "due_at": _written(why.due_at),
        "ttl": _sourced(why.ttl),
        "cluster_ttl": _sourced(why.cluster_ttl),
    }


def _written(time: datetime | None) -> str | None:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z") if time else None


def _sourced(said: SourcedDuration | None) -> dict[str, str | None] | None:
    return (
        {"value": format_duration(said.value), "source": said.source, "clamp": said.clamp or None}
        if said
        else None
    )
