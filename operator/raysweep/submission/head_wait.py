"""Waits until the head of a new RayJob is ready. The time in a queue such as Kueue's is separate.

Every wait is limited, and tolerates an API server that is unavailable for a moment.
"""

import asyncio
import math
from dataclasses import dataclass
from datetime import timedelta

from raysweep import names
from raysweep.clients.kubernetes.errors import ApiError
from raysweep.clients.kubernetes.user_writer import UserWriter
from raysweep.clients.parsing.rayjob import parse_rayjob
from raysweep.core.model.facts import RayCluster, RayJob
from raysweep.core.text import plain
from raysweep.submission.progress import Report
from raysweep.submission.rayjob import UNAVAILABLE

PROBE_INTERVAL = timedelta(seconds=1)
QUEUE_REASON_INTERVAL = timedelta(seconds=15)
WAITING_FOR_HEAD = "waiting for the Ray head"
NEVER_READY = ("ValidationFailed", "Failed", "Complete")


class NotReadyError(Exception):
    """The RayJob has no usable head, or did not get one in time."""


class StillQueuedError(NotReadyError):
    """The RayJob was queued for longer than --queue-timeout."""


@dataclass(frozen=True, slots=True)
class HeadTimeouts:
    """How long to wait for the head, and before that in a queue. None: without a limit."""

    head: timedelta
    queue: timedelta | None = None


@dataclass(frozen=True, slots=True)
class ReadyRayJob:
    """A RayJob whose head accepts requests."""

    rayjob: RayJob
    cluster: RayCluster


@dataclass(frozen=True, slots=True)
class _State:
    """The RayJob as it is now, with KubeRay's status.message."""

    rayjob: RayJob
    message: str = ""

    @property
    def is_suspended(self) -> bool:
        """Whether nothing of it may run. KubeRay follows spec.suspend a moment later."""
        return self.rayjob.suspend or self.rayjob.deployment_status in ("Suspending", "Suspended")

    @property
    def stage(self) -> str:
        """`Initializing, RayCluster train-x7k2p, message`."""
        rayjob = self.rayjob
        if not rayjob.deployment_status:
            hint = "check that it is running and watches this namespace"
            return f"KubeRay has not processed the RayJob: {hint}"
        parts = [rayjob.deployment_status]
        if rayjob.cluster_name:
            parts.append(f"RayCluster {rayjob.cluster_name}")
        if self.message:
            parts.append(plain(self.message))
        return ", ".join(parts)


async def wait_for_head(
    writer: UserWriter, created: RayJob, timeouts: HeadTimeouts, report: Report
) -> ReadyRayJob:
    """Waits until KubeRay reports the cluster ready. Raises NotReadyError, StillQueuedError.

    The time for the head starts when the RayJob is resumed, and again after each eviction.
    """
    queue = _Queue(writer, created)
    clock = asyncio.get_running_loop().time
    is_queued, began = False, clock()
    while True:
        state = await _read(writer, created)
        if state and state.is_suspended != is_queued:
            is_queued, began = state.is_suspended, clock()
        if state and not is_queued and (cluster := await _ready_cluster(writer, state.rayjob)):
            return ReadyRayJob(state.rayjob, cluster)
        stage = state.stage if state else "the API server does not answer"
        limit = timeouts.queue if is_queued else timeouts.head
        if limit and clock() - began >= limit.total_seconds():
            raise _timeout_error(limit, stage, is_queued=is_queued)
        if is_queued:
            report(await queue.stage(stage), queue.title)
        else:
            report(stage, WAITING_FOR_HEAD)
        await asyncio.sleep(PROBE_INTERVAL.total_seconds())


async def _read(writer: UserWriter, created: RayJob) -> _State | None:
    """Reads the RayJob. Returns None if the API server is unavailable.

    Raises NotReadyError if the RayJob can have no head any more.
    """
    try:
        body = await writer.raw_rayjob(created.namespace, created.name)
    except UNAVAILABLE:
        return None
    rayjob = parse_rayjob(body) if body else None
    if rayjob is None or rayjob.uid != created.uid or rayjob.deleting_since:
        raise NotReadyError("the RayJob was deleted before its cluster was ready")
    if rayjob.unreadable:
        raise NotReadyError(f"the status of the RayJob cannot be read: {rayjob.unreadable}")
    message = str((body or {}).get("status", {}).get("message") or "")
    if rayjob.deployment_status in NEVER_READY:
        cause = plain(message or rayjob.reason or "no message")
        raise NotReadyError(f"KubeRay reports {rayjob.deployment_status}: {cause}")
    return _State(rayjob, message)


async def _ready_cluster(writer: UserWriter, rayjob: RayJob) -> RayCluster | None:
    if rayjob.deployment_status not in ("Waiting", "Running") or not rayjob.cluster_name:
        return None
    try:
        return await writer.raycluster(rayjob.namespace, rayjob.cluster_name)
    except UNAVAILABLE:
        return None


def _timeout_error(limit: timedelta, stage: str, *, is_queued: bool) -> NotReadyError:
    seconds = f"{limit.total_seconds():g} s"
    if is_queued:
        return StillQueuedError(f"still queued after {seconds} ({stage})")
    return NotReadyError(f"no Ray head within {seconds} ({stage})")


@dataclass
class _Queue:
    """Why a RayJob waits in a queue. Kueue's own message is read at intervals, if it can be."""

    writer: UserWriter
    rayjob: RayJob
    message: str = ""
    read_at: float = -math.inf

    @property
    def title(self) -> str:
        """What the wait is for."""
        queue = self.rayjob.labels.get(names.KUEUE_QUEUE_LABEL)
        if queue:
            return f"waiting in Kueue queue {plain(queue)}"
        return "waiting until the RayJob is resumed (spec.suspend is true)"

    async def stage(self, stage: str) -> str:
        """Kueue's message, or else the RayJob's own stage."""
        now = asyncio.get_running_loop().time()
        if now - self.read_at >= QUEUE_REASON_INTERVAL.total_seconds():
            self.message, self.read_at = await self._kueue_message(), now
        return f"{self.message or stage} (Ctrl-C deletes the RayJob)"

    async def _kueue_message(self) -> str:
        if names.KUEUE_QUEUE_LABEL not in self.rayjob.labels:
            return ""
        try:
            message = await self.writer.kueue_message(self.rayjob.namespace, self.rayjob.uid)
        except ApiError:  # this version of Kueue has no such list, or the user may not read it
            return ""
        return plain(message)
