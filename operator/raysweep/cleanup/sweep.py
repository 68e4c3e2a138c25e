"""A person's sweep: what has finished goes now, down the operator's own ladder without the rungs about time.

The guards, the order and the preconditions are those of every deletion (reconcile.py); only who asked is another.
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

AGAIN_AFTER = timedelta(seconds=0.5)


async def sweep(observer: Observer, uid: str) -> Pass | None:
    """One pass with a live look; what it deleted is told in an Event, where we may. Raises ApiError where the look fails."""
    found = await reconcile.clean(replace(observer, swept=True), uid)
    if found and found.deletion.deleted:
        why = found.decision.explanation
        told = events.About(
            found.rayjob, why.reason, "Delete", events.deleted(found.deletion.deleted, why)
        )
        with contextlib.suppress(ApiError):  # an Event is a courtesy; who swept knows already
            event = events.body(told, observer.now(), socket.gethostname())
            await observer.kubernetes.post_event(found.rayjob.namespace, event)
    return found


async def gone(kubernetes: Kubernetes, rayjob: RayJob, within: timedelta) -> str:
    """Waits until neither that RayJob nor the RayCluster that its status names is there; "" or what is left when time is up."""
    left = f"RayJob {rayjob.name}"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within.total_seconds()):
            while left := await _left(kubernetes, rayjob, left):  # noqa: ASYNC110 - it asks the API server each time
                await asyncio.sleep(AGAIN_AFTER.total_seconds())
    return left


async def _left(kubernetes: Kubernetes, rayjob: RayJob, before: str) -> str:
    """What is still there; as before where the API server is away for a moment."""
    try:
        job = await kubernetes.rayjob(rayjob.namespace, rayjob.name)
        if job and job.uid == rayjob.uid:
            return f"RayJob {job.name}" + (
                f" waits for finalizers {', '.join(job.finalizers)}" if job.finalizers else ""
            )
        cluster = (
            await kubernetes.raycluster(rayjob.namespace, rayjob.cluster_name)
            if rayjob.cluster_name
            else None
        )
    except (BusyError, UnreachableError):
        return before
    return f"RayCluster {cluster.name}" if cluster and cluster.controller_uid == rayjob.uid else ""
