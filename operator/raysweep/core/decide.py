"""What happens to a RayJob now? The guards in their order, and decide(), which takes the first answer. Pure.

Every guard is a question with a name: it answers Keep, Wait, AskHead or Delete, or lets the next one speak. The operator, the
command line, the documents and the tests walk this same LADDER. Facts come in as a Case, time as an argument.
"""

from datetime import datetime

from raysweep.core.assessment import Case
from raysweep.core.checks.answers import Guard
from raysweep.core.checks.eligibility import (
    being_deleted,
    malformed,
    managed_elsewhere,
    not_finished,
    protected_namespace,
    suspended,
    unreadable,
)  # fmt: skip
from raysweep.core.checks.head import (
    ambiguous,
    backlog_limit,
    cluster_in_use,
    expired,
    head_silent,
    still_running,
    will_be_recreated,
)  # fmt: skip
from raysweep.core.checks.timing import ask_head, backlog, kept_by_user, native_first, no_ttl, not_due, not_owned
from raysweep.core.model.decisions import Decision

LADDER: tuple[Guard, ...] = (
    being_deleted,  # it goes already; its cluster may need a hand
    protected_namespace,
    managed_elsewhere,
    suspended,  # it may be resumed
    unreadable,
    malformed,  # nobody knows what was meant
    not_finished,
    no_ttl,  # nobody asked for its deletion
    not_due,
    kept_by_user,
    not_owned,  # its cluster is somebody else's, or would come back
    native_first,  # KubeRay will do it
    backlog,  # it became due all at once, by no doing of its own
    ask_head,  # from here on a live look speaks
    head_silent,
    ambiguous,
    still_running,
    cluster_in_use,
    will_be_recreated,
    backlog_limit,  # too many became due at once
    expired,
)


SWEEP = tuple(guard for guard in LADDER if guard not in (no_ttl, not_due, native_first, backlog, backlog_limit))
"""The rungs that count where a person asks for it to go now: all but those about time."""


def decide(case: Case, now: datetime) -> Decision:
    """The first answer on the ladder."""
    for guard in SWEEP if case.swept else LADDER:
        if decision := guard(case, now):
            return decision
    raise AssertionError("the last guard always answers")
