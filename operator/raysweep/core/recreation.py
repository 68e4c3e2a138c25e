"""What would create a RayJob again after its deletion: a tool that marks it, or its owner. Pure."""

from collections.abc import Iterable, Set

from raysweep import names
from raysweep.core.model.facts import RayJob
from raysweep.core.model.outcome import Outcome
from raysweep.core.retention import annotations

AMBIGUOUS = (
    f"Helm charts set the label {names.INSTANCE_LABEL}. Argo CD sets it too if it tracks by label, "
    "which is its default before 3.0. If Argo CD creates the RayJob again, add "
    f"{names.INSTANCE_LABEL} to the setting recreated-by"
)
"""What to do about a label that two tools set."""


def creator(job: RayJob, recreated_by: Set[str]) -> str:
    """The mark or owner that would create the RayJob again; "" if there is none.

    recreated_by: keys of labels and annotations. An owner of an unknown kind counts.
    """
    marks = sorted(recreated_by & job.keys)
    if marks:
        return marks[0]
    owner = (job.controller_group, job.controller_kind)
    if not job.controller_kind or owner in names.OWNERS_THAT_DO_NOT_RECREATE:
        return ""
    return "" if names.is_raycronjob(*owner) else f"controller {job.controller}"


def is_mark_ambiguous(
    job: RayJob, recreated_by: Set[str], outcomes: Iterable[Outcome] = Outcome
) -> bool:
    """Whether Argo CD may create the RayJob again without a mark of `recreated_by`.

    Helm charts and Argo CD before 3.0 set the same label. Only the setting recreated-by
    distinguishes them. What Helm installs has its annotation. outcomes: the possible outcomes of
    the job. If the RayJob sets a TTL for each of them, it is deleted anyway.
    """
    if names.INSTANCE_LABEL not in job.keys or names.HELM_RELEASE in job.keys or job.deleting_since:
        return False
    is_deletion_requested = all(annotations.has_own_ttl(job, outcome) for outcome in outcomes)
    return not is_deletion_requested and not creator(job, recreated_by)
