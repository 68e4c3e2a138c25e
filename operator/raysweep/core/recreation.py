"""Who would create a RayJob again once it is deleted: a tool that marks it, or its controller owner. Pure."""

from collections.abc import Iterable, Set

from raysweep import names
from raysweep.core.model.facts import RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.retention import annotations

AMBIGUOUS = (
    f"the label {names.INSTANCE_LABEL} is set by Helm charts, and by Argo CD if it tracks by label, as it does by default before "
    f"3.0. If Argo CD creates the RayJob again, add {names.INSTANCE_LABEL} to the setting recreated-by"
)
"""What to do about a mark that may mean nothing."""


def creator(job: RayJob, recreated_by: Set[str]) -> str:
    """The mark or the owner that would create the RayJob again, as evidence; "" if there is none.

    recreated_by: keys of labels and annotations. An owner of a kind that is not known counts as one that would.
    """
    marks = sorted(recreated_by & job.keys)
    if marks:
        return marks[0]
    owner = (job.controller_group, job.controller_kind)
    if (
        not job.controller_kind
        or owner in names.OWNERS_THAT_DO_NOT_RECREATE
        or names.is_raycronjob(*owner)
    ):
        return ""
    return f"controller {job.controller}"


def is_mark_ambiguous(
    job: RayJob, recreated_by: Set[str], outcomes: Iterable[Outcome] = Outcome
) -> bool:
    """Whether Argo CD may create the RayJob again although no known mark says so.

    Helm charts and Argo CD before 3.0 set the same label; only the setting recreated-by can tell them apart. What Helm itself
    installed carries its annotation. outcomes: those that the job may have; if the RayJob sets a ttl for each, it is deleted.
    """
    if names.INSTANCE_LABEL not in job.keys or names.HELM_RELEASE in job.keys or job.deleting_since:
        return False
    is_own_wish = all(annotations.has_own_ttl(job, outcome) for outcome in outcomes)
    return not is_own_wish and not creator(job, recreated_by)
