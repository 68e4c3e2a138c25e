"""Until when a RayJob waits whose due time was moved into the past, with many others. Pure.

Not the RayJob itself made it due, but a default, a clock or a time when Raysweep did not run. The
wait gives people time to correct a mistake.
"""

from datetime import datetime

from raysweep.core.due import DueTimes
from raysweep.core.inputs import Inputs
from raysweep.core.model.own_times import own_times


def bulk_expiry_until(inputs: Inputs, due: DueTimes) -> datetime | None:
    """Until when the deletion waits. None: it is not due, or does not wait."""
    if due.first_at is None or due.first_at > inputs.now:
        return None
    waits = (_default_settles(inputs, due), _clock_settles(inputs))
    return max((until for until in waits if until), default=None)


def _clock_settles(inputs: Inputs) -> datetime | None:
    """Nothing that a jump of the wall clock makes due is deleted at once."""
    settles_at = inputs.clock_settles_at
    if settles_at is None or settles_at <= inputs.uptime:
        return None
    return inputs.now + (settles_at - inputs.uptime)


def _default_settles(inputs: Inputs, due: DueTimes) -> datetime | None:
    memory, wait = inputs.memory, inputs.parameters.bulk_expiry_wait
    if _is_moved_by_rayjob(inputs, due):
        return None
    if memory.bulk_expiry_until:
        return memory.bulk_expiry_until
    if memory.first_finished is None and memory.status_since is None:
        return _start_settles(inputs, due)
    if memory.own_times is None:
        return None  # the job has just ended
    return inputs.now + wait if _is_moved(inputs, due) else None


def _start_settles(inputs: Inputs, due: DueTimes) -> datetime | None:
    """Until when a RayJob waits that this process sees for the first time."""
    if inputs.started_at is None or not _may_be_moved(inputs, due):
        return None
    until = inputs.started_at + inputs.parameters.bulk_expiry_wait
    return until if until > inputs.now else None


def _is_moved(inputs: Inputs, due: DueTimes) -> bool:
    memory = inputs.memory
    if memory.due_at is not None:
        return memory.due_at > inputs.now
    if memory.first_finished is not None:
        return True
    return _may_be_moved(inputs, due)  # a source of retention could not be read before


def _may_be_moved(inputs: Inputs, due: DueTimes) -> bool:
    """Whether a default may have moved the due time before this process observed it."""
    assert due.first_at is not None
    if inputs.now - due.first_at > inputs.parameters.bulk_expiry_overdue:
        return True
    return due.retention.ttl.inherited or due.retention.cluster_ttl.inherited


def _is_moved_by_rayjob(inputs: Inputs, due: DueTimes) -> bool:
    """Whether the RayJob's own change of its times made it due, and no default or limit."""
    if inputs.memory.own_times in (None, own_times(inputs.rayjob)):
        return False
    times = (
        (due.rayjob_at, due.retention.ttl),
        (due.cluster_at, due.retention.cluster_ttl),
    )
    return not any(time and time <= inputs.now and ttl.inherited for time, ttl in times)
