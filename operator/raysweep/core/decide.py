"""Decides what happens to a RayJob now. Pure.

`CHECKS` is the ordered list of checks. Each one answers Keep, Wait, ProbeHead or Delete, or None to
leave the decision to the next one. The operator, the commands, the documentation and the tests use
the same list.
"""

from raysweep.core.assessment import Assessment
from raysweep.core.checks.answers import Check
from raysweep.core.checks.deletion import bulk_expiry_limit, expired, will_be_recreated
from raysweep.core.checks.eligibility import (
    being_deleted,
    invalid,
    managed_elsewhere,
    not_finished,
    protected_namespace,
    suspended,
    unreadable,
)
from raysweep.core.checks.head import ambiguous, cluster_in_use, head_silent, still_running
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
    being_deleted,
    protected_namespace,
    managed_elsewhere,
    suspended,
    unreadable,
    invalid,
    not_finished,
    no_ttl,
    not_due,
    kept_by_user,
    not_owned,
    waiting_for_kuberay,
    bulk_expiry_delay,
    probe_head,  # the checks after it need the probe
    head_silent,
    ambiguous,
    still_running,
    cluster_in_use,
    will_be_recreated,
    bulk_expiry_limit,
    expired,
)

TIME_CHECKS = (no_ttl, not_due, waiting_for_kuberay, bulk_expiry_delay, bulk_expiry_limit)
SWEEP_CHECKS = tuple(check for check in CHECKS if check not in TIME_CHECKS)
"""The checks of a sweep, in which a user asks to delete a RayJob now."""


def decide(assessment: Assessment) -> Decision:
    """The answer of the first check that has one."""
    for check in SWEEP_CHECKS if assessment.swept else CHECKS:
        decision = check(assessment)
        if decision:
            return decision
    raise AssertionError("the last check always answers")
