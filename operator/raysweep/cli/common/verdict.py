"""What becomes of a RayJob: as one word, and as a sentence."""

from datetime import datetime
from enum import StrEnum

from raysweep.cli.common.formatting import relative, rfc3339
from raysweep.core.timeline import Timeline


class Verdict(StrEnum):
    """What becomes of a RayJob, as far as the present state shows."""

    DELETE = "delete"  # now
    WAIT = "wait"  # it is deleted later
    KEEP = "keep"


def verdict(timeline: Timeline, now: datetime) -> Verdict:
    """The verdict at this time."""
    if timeline.at is None:
        return Verdict.KEEP
    return Verdict.WAIT if timeline.at > now else Verdict.DELETE


def verdict_sentence(timeline: Timeline, now: datetime) -> str:
    """The verdict as a sentence without its subject, such as `is kept: NoTTL`."""
    reason = timeline.explanation.reason
    targets = " and ".join(f"{target.kind} {target.name}" for target in timeline.targets)
    if timeline.at is None:
        return f"is kept: {reason}"
    if timeline.at > now:
        when = f"{relative(timeline.at, now)}, at {rfc3339(timeline.at)} at the earliest"
        return f"waits: {reason}. Raysweep deletes {targets} {when}"
    if timeline.head_not_asked:
        return (
            f"is due: {reason}. Raysweep deletes {targets} unless the Ray head reports a reason "
            "to keep it (the head was not asked)"
        )
    if timeline.assessment.dry_run_by:
        dry_run_by = timeline.assessment.dry_run_by
        return f"is due: {reason}. {dry_run_by} is set to DryRun, so {targets} is kept"
    return f"is due: {reason}. Raysweep deletes {targets} now"
