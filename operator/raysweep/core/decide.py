"""What happens to a RayJob now? The guards in their order, and decide(), which takes the first answer. Pure.

Every guard is a question with a name: it answers Keep, Wait, AskHead or Delete, or lets the next one speak. The operator, the
command line, the documents and the tests walk this same LADDER. Facts come in as a Case, time as an argument.
"""

from datetime import datetime

from raysweep.core.assessment import Assessment
from raysweep.core.checks.answers import Check
from raysweep.core.checks.eligibility import (
    being_deleted,
    invalid,
    managed_elsewhere,
    not_finished,
    protected_namespace,
    suspended,
    unreadable,
)  # fmt: skip
from raysweep.core.checks.head import (
    ambiguous,
    bulk_expiry_limit,
    cluster_in_use,
    expired,
    head_silent,
    still_running,
    will_be_recreated,
)  # fmt: skip
from raysweep.core.checks.timing import (
    bulk_expiry_delay,
    kept_by_user,
    no_ttl,
    not_due,
    not_owned,
    probe_head,
    waiting_for_kuberay,
)
from raysweep.core.model.decisions import Decision

CHECKS: tuple[Check, ...] = (
    being_deleted,  # it goes already; its cluster may need a hand
    protected_namespace,
    managed_elsewhere,
    suspended,  # it may be resumed
    unreadable,
    invalid,  # nobody knows what was meant
    not_finished,
    no_ttl,  # nobody asked for its deletion
    not_due,
    kept_by_user,
    not_owned,  # its cluster is somebody else's, or would come back
    waiting_for_kuberay,  # KubeRay will do it
    bulk_expiry_delay,  # it became due all at once, by no doing of its own
    probe_head,  # from here on a live look speaks
    head_silent,
    ambiguous,
    still_running,
    cluster_in_use,
    will_be_recreated,
    bulk_expiry_limit,  # too many became due at once
    expired,
)


SWEEP_CHECKS = tuple(
    check
    for check in CHECKS
    if check not in (no_ttl, not_due, waiting_for_kuberay, bulk_expiry_delay, bulk_expiry_limit)
)
"""The rungs that count where a person asks for it to go now: all but those about time."""


def decide(assessment: Assessment, now: datetime) -> Decision:
    """The first answer on the ladder."""
    for check in SWEEP_CHECKS if assessment.swept else CHECKS:
        if decision := check(assessment, now):
            return decision
    raise AssertionError("the last guard always answers")
