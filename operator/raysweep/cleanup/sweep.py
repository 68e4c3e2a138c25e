"""Deletes one finished RayJob now, because a person asked for it.

The checks, their order and the preconditions are those of every deletion (reconcile.py), without
the checks about time.
"""

import asyncio
import contextlib
import socket
from dataclasses import replace
from datetime import timedelta

from raysweep.cleanup import events, reconcile
from raysweep.cleanup.observe import Observer
from raysweep.cleanup.reconcile import Pass
from raysweep.clients.kubernetes.client import Kubernetes
from raysweep.clients.kubernetes.errors import ApiError, BusyError, UnreachableError
from raysweep.core.model.facts import RayJob

POLL_INTERVAL = timedelta(seconds=0.5)


async def sweep(observer: Observer, uid: str) -> Pass | None:
    """Runs one pass with a probe, and emits an Event about what it deleted.

    Raises ApiError if the probe fails.
    """
    result = await reconcile.clean(replace(observer, swept=True), uid)
    if result is None or not result.deletion.deleted:
        return result
    explanation = result.decision.explanation
    note = events.deletion_note(result.deletion, explanation)
    content = events.EventContent(result.rayjob, explanation.reason, "Delete", note)
    event = events.body(content, observer.now(), socket.gethostname())
    # The Event is optional: the user may lack the permission, and sees the result anyway.
    with contextlib.suppress(ApiError):
        await observer.kubernetes.post_event(result.rayjob.namespace, event)
    return result


async def wait_until_deleted(kubernetes: Kubernetes, rayjob: RayJob, within: timedelta) -> str:
    """Waits until the RayJob and its RayCluster no longer exist.

    Returns "", or what still exists when the time is up.
    """
    remaining = f"RayJob {rayjob.name}"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within.total_seconds()):
            while remaining := await _remaining(kubernetes, rayjob, remaining):  # noqa: ASYNC110
                await asyncio.sleep(POLL_INTERVAL.total_seconds())
    return remaining


async def _remaining(kubernetes: Kubernetes, rayjob: RayJob, previous: str) -> str:
    """What still exists. previous: the answer if the API server does not respond for a moment."""
    cluster = None
    try:
        current = await kubernetes.rayjob(rayjob.namespace, rayjob.name)
        if current and current.uid == rayjob.uid:
            if not current.finalizers:
                return f"RayJob {current.name}"
            finalizers = ", ".join(current.finalizers)
            return f"RayJob {current.name} waits for finalizers {finalizers}"
        if rayjob.cluster_name:
            cluster = await kubernetes.raycluster(rayjob.namespace, rayjob.cluster_name)
    except (BusyError, UnreachableError):
        return previous
    if cluster and cluster.controller_uid == rayjob.uid:
        return f"RayCluster {cluster.name}"
    return ""
