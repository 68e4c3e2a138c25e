"""What a Ray head reports about the job of a RayJob. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from raysweep.core.job_status import is_unfinished
from raysweep.core.model.facts import HeadList, HeadSilent, JobEntry, ProbeResult, RayJob

KEPT_ENTRIES = 8
"""How many own submissions, and how many unfinished other entries, of a long list are kept."""


class ReportedState(Enum):
    """The state of the RayJob's own job by its head."""

    TERMINAL = "terminal"
    ACTIVE = "active"
    NOT_FOUND = "no such job"
    AMBIGUOUS = "several jobs"
    NO_ANSWER = "no usable answer"
    NO_HEAD = "no cluster to ask"


@dataclass(frozen=True, slots=True)
class HeadReport:
    """The state of the RayJob's own job, its entry if there is one, and all other entries."""

    state: ReportedState
    own: JobEntry | None = None
    others: tuple[JobEntry, ...] = ()


def own_submissions(entries: Iterable[JobEntry], job_id: str) -> list[JobEntry]:
    """The submissions that may be the RayJob's own: the one with its ID; without an ID, all."""
    submissions = (entry for entry in entries if entry.type == "SUBMISSION")
    return [entry for entry in submissions if job_id in ("", entry.submission_id)]


def decisive_entries(entries: tuple[JobEntry, ...], job_id: str) -> tuple[JobEntry, ...]:
    """The entries that a decision about this job needs, at most 2 * KEPT_ENTRIES + 1.

    These are its own submissions, unfinished entries, and the entry that ended last: since then
    the cluster is unused. An entry of a hostile head takes up to 16 KiB, and every pass in progress
    holds a list.
    """
    if len(entries) <= 2 * KEPT_ENTRIES:
        return entries
    own = own_submissions(entries, job_id)[:KEPT_ENTRIES]
    unfinished = [entry for entry in entries if is_unfinished(entry) and entry not in own]
    kept = (*own, *unfinished[:KEPT_ENTRIES])
    ended = [entry for entry in entries if entry.end_time and entry not in kept]
    return (*kept, *sorted(ended, key=_end)[-1:])


def _end(entry: JobEntry) -> float:
    return entry.end_time.timestamp() if entry.end_time else 0.0


def read_report(rayjob: RayJob, probe: ProbeResult) -> HeadReport:
    """The head's report. If the RayJob has no submission ID, the only submission is its own."""
    if probe.cluster is None or probe.cluster.deleting:
        return HeadReport(ReportedState.NO_HEAD)
    entries = _entries(probe.head)
    own = own_submissions(entries, rayjob.job_id)
    others = tuple(entry for entry in entries if entry not in own)
    if not isinstance(probe.head, HeadList):
        return HeadReport(ReportedState.NO_ANSWER, others=others)
    if len(own) > 1:
        return HeadReport(ReportedState.AMBIGUOUS, others=entries)
    if not own:
        return HeadReport(ReportedState.NOT_FOUND, others=others)
    state = ReportedState.ACTIVE if is_unfinished(own[0]) else ReportedState.TERMINAL
    return HeadReport(state, own[0], others)


def _entries(head: HeadList | HeadSilent | None) -> tuple[JobEntry, ...]:
    if isinstance(head, HeadList):
        return head.entries
    if head is None or head.listed is None:
        return ()
    return head.listed
