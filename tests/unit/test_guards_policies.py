"""What policies change on the ladder: rows for the guards that ask them, each boundary twice."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from raysweep.core.assessment import Assessment
from raysweep.core.checks.answers import Check
from raysweep.core.checks.deletion import expired
from raysweep.core.checks.eligibility import invalid, not_finished, unreadable
from raysweep.core.checks.head import cluster_in_use, head_silent, still_running
from raysweep.core.checks.timing import (
    bulk_expiry_delay,
    kept_by_user,
    no_ttl,
    not_due,
    probe_head,
    waiting_for_kuberay,
)
from raysweep.core.decide import decide
from raysweep.core.durations import NEVER
from raysweep.core.model.decisions import Delete
from raysweep.core.model.facts import KubeRayCleanup, Policy
from raysweep.core.model.memory import Memory
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.own_times import own_times
from raysweep.core.model.parameters import Mode, Parameters
from raysweep.core.model.reasons import Reason
from raysweep.core.update_memory import update_memory
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    MOMENT,
    a_driver,
    a_policy,
    a_probe,
    a_rayjob,
    a_running,
    a_silent_probe,
    a_submission,
    an_assessment,
    an_interactive,
    says,
)
from tests.support.sentences import BOTH, MINUTE, PASSES, TTL_1H, Row, boundary, in_words

DAY = timedelta(days=1)
STOP = a_policy("stop", is_dry_run=True)
BROKEN = a_policy("broken", errors=("spec.stuck: odd",))


def _by(policy: Policy, assessment: Assessment = BOTH) -> Assessment:
    return replace(assessment, policies=(policy,))


def _sets(**times: timedelta) -> Policy:
    return a_policy(times={path.replace("_", "."): time for path, time in times.items()})


FAR_NATIVE = an_assessment(
    rayjob=a_rayjob(
        annotations=says(ttl="5d", cluster_ttl="0"),
        kuberay_cleanup=KubeRayCleanup(shutdown=True, seconds=10 * 24 * 3600),
    )
)
"""Its cluster is due, and KubeRay itself would delete it ten days after END."""
RUNS_ON = an_assessment(probe=a_probe(a_submission("RUNNING")))
"""The RayJob says that it succeeded at END, and its head calls the job running."""
IN_USE = an_assessment(probe=a_probe(a_submission(), a_driver()))
"""It ended, and a driver is connected to its cluster."""
SILENT_LONG = an_assessment(
    probe=a_silent_probe(),
    memory=Memory(first_finished=END, silent_probes=2, silent_since=55 * MINUTE),
    uptime=60 * MINUTE,
)
"""Its head is silent for the third time, five minutes after the first; Ray never said that the job ended."""
UNREAD = an_assessment(
    probe=a_probe(a_submission("SUCCEEDED", "another"), unreadable="it is larger than 4 MiB")
)
WAITED = an_assessment(
    rayjob=a_rayjob(
        annotations=says(ttl="1h", keep_until="2026-12-24T18:00:00Z", keep_reason="audit")
    )
)
FINISHED_1H = (
    "succeeded 2026-11-22T18:00:00Z, ttl 1h (RayJob team-a/train annotation raysweep.io/ttl, lowered from 1w by "
    "RayJobCleanupPolicy base spec.limits.rayJob.max)"
)
NOT_READY = an_assessment(
    rayjob=a_rayjob(
        deployment_status="Initializing",
        job_status="",
        end_time=None,
        start_time=END,
        annotations={},
    )
)

ROWS: list[Row] = [
    # unreadable
    pytest.param(
        unreadable,
        an_assessment(policies=None),
        DUE,
        "Keep: PoliciesUnknown: RayJobCleanupPolicies could not be listed",
        id="policies that cannot be read may say keep",
    ),
    pytest.param(
        unreadable, an_assessment(policies=()), DUE, PASSES, id="that there are none is known"
    ),
    # malformed
    pytest.param(
        invalid,
        _by(BROKEN),
        DUE,
        "Keep: Invalid: RayJobCleanupPolicy broken: spec.stuck: odd",
        id="a malformed policy keeps what it selects, whatever its own annotations say",
    ),
    pytest.param(
        invalid,
        replace(
            BOTH,
            policies=(
                a_policy("a", times={"limits.rayJob.min": DAY}),
                a_policy("b", times={"limits.rayJob.max": HOUR}),
            ),
        ),
        DUE,
        "Keep: LimitsConflict: RayJobCleanupPolicy a spec.limits.rayJob.min 1d contradicts "
        "RayJobCleanupPolicy b spec.limits.rayJob.max 1h",
        id="limits that contradict each other keep",
    ),
    pytest.param(invalid, _by(_sets(limits_rayJob_max=HOUR)), DUE, PASSES, id="limits that do not"),
    pytest.param(
        invalid,
        _by(BROKEN, an_assessment(rayjob=a_running())),
        DUE,
        PASSES,
        id="nothing is said of a job that runs",
    ),
    pytest.param(
        invalid,
        an_assessment(rayjob=a_rayjob(annotations=says(ttl="1h", outcome="done"))),
        DUE,
        PASSES,
        id="raysweep.io/outcome is not read where there is a cluster, so nobody keeps one with it",
    ),
    pytest.param(
        invalid,
        _by(
            _sets(limits_keep_max=DAY),
            an_assessment(rayjob=a_rayjob(annotations=says(ttl="1h", keep_until="tomorrow"))),
        ),
        DUE,
        PASSES,
        id="a malformed keep-until ends with the limit",
    ),
    # not_finished
    pytest.param(
        not_finished,
        _by(_sets(stuck_initializing=DAY), NOT_READY),
        END,
        PASSES,
        id="a policy puts an end to a cluster not ready",
    ),
    pytest.param(
        not_finished,
        NOT_READY,
        END,
        "Keep: NotFinished: jobDeploymentStatus is 'Initializing'",
        id="without one it goes on",
    ),
    pytest.param(
        not_finished,
        an_assessment(
            rayjob=a_running(annotations={}),
            policies=(_sets(retention_rayJob_default=DAY),),
            uptime=HOUR,
        ),
        DUE,
        "Wait until 22 19:30:00.250000: NotFinished: jobDeploymentStatus is 'Running'",
        id="a policy's retention is a time for which heads are polled",
    ),
    # no_ttl, not_due
    pytest.param(
        no_ttl,
        _by(_sets(retention_rayJob_default=DAY), an_assessment(rayjob=a_rayjob(annotations={}))),
        DUE,
        PASSES,
        id="set",
    ),
    *boundary(
        not_due,
        _by(
            _sets(limits_rayJob_max=HOUR),
            replace(BOTH, rayjob=a_rayjob(annotations=says(ttl="1w"))),
        ),
        DUE,
        f"Wait until 22 19:00:00.250000: NotDue: {FINISHED_1H}",
        id="a limit lowers the time",
    ),
    *boundary(
        not_due,
        _by(_sets(stuck_initializing=HOUR), NOT_READY),
        DUE,
        "Wait until 22 19:00:00.250000: NotDue: stuck since 2026-11-22T18:00:00Z, ttl 1h "
        "(RayJobCleanupPolicy base spec.stuck.initializing)",
        id="a policy for clusters that never became ready",
    ),
    # kept_by_user
    *boundary(
        kept_by_user,
        _by(_sets(limits_keep_max=DAY), WAITED),
        DUE + DAY,
        "Wait until 23 19:00:00.250000: KeptByUser: until 2026-11-23T19:00:00Z, because 'audit'; asked for longer, "
        "limited to 1d by RayJobCleanupPolicy base spec.limits.keep.max",
        id="a keep ends with its limit",
    ),
    # native_first: KubeRay would come at END + 10 d
    *boundary(
        waiting_for_kuberay,
        _by(_sets(limits_rayCluster_max=DAY), FAR_NATIVE),
        END + DAY,
        "Wait until 23 18:00:00.250000: WaitingForKubeRay: KubeRay will at 2026-12-02T18:00:02Z",
        id="KubeRay is not waited for beyond a limit for clusters",
    ),
    *boundary(
        waiting_for_kuberay,
        _by(_sets(limits_rayJob_max=2 * DAY), FAR_NATIVE),
        END + 2 * DAY,
        "Wait until 24 18:00:00.250000: WaitingForKubeRay: KubeRay will at 2026-12-02T18:00:02Z",
        id="nor beyond one for RayJobs",
    ),
    # backlog
    pytest.param(
        bulk_expiry_delay,
        _by(
            _sets(retention_rayJob_default=HOUR),
            an_assessment(
                rayjob=a_rayjob(annotations={}),
                memory=Memory(
                    first_finished=END,
                    own_times=own_times(a_rayjob(annotations={})),
                    due_at=DUE + DAY,
                ),
            ),
        ),
        DUE,
        "Wait until 22 19:15:00.250000: BulkExpiryDelay: succeeded 2026-11-22T18:00:00Z, ttl 1h (RayJobCleanupPolicy base "
        "spec.retention.rayJob.default); 0 wait",
        id="a policy that was made shorter puts what it made due into the backlog",
    ),
    pytest.param(
        bulk_expiry_delay,
        _by(
            _sets(limits_rayJob_max=HOUR),
            an_assessment(
                rayjob=a_rayjob(annotations=says(ttl="1w")), started_at=DUE, memory=Memory()
            ),
        ),
        DUE + MOMENT,
        f"Wait until 22 19:15:00.250000: BulkExpiryDelay: {FINISHED_1H}; 0 wait",
        id="at first sight what a limit made due waits too",
    ),
    # ask_head
    pytest.param(
        probe_head,
        replace(
            an_assessment(
                memory=Memory(
                    kept_by_probe=replace(decide(replace(BOTH, now=DUE)).explanation),
                    probe_again_at=DUE + HOUR,
                    probed_version="100",
                )
            )
        ),
        DUE,
        f"AskHead: Expired: {TTL_1H}",
        id="what was only observed is asked again as soon as nothing observes",
    ),
    pytest.param(
        probe_head,
        _by(
            STOP,
            an_assessment(
                memory=Memory(
                    kept_by_probe=decide(replace(BOTH, now=DUE)).explanation,
                    probe_again_at=DUE + HOUR,
                    probed_version="100",
                )
            ),
        ),
        DUE,
        f"Wait until 22 20:00:00.250000: Expired: {TTL_1H}",
        id="but not again and again while it is observed",
    ),
    # still_running
    *boundary(
        still_running,
        _by(_sets(stuck_stillRunning=DAY), RUNS_ON),
        END + DAY,
        "Keep: StillRunning: jobDeploymentStatus Complete, jobStatus 'SUCCEEDED'; the head says 'train-x7k2p' is RUNNING",
        id="a policy puts an end to a job that runs on",
    ),
    *boundary(
        still_running,
        _by(
            _sets(stuck_stillRunning=DAY),
            replace(RUNS_ON, rayjob=a_rayjob(end_time=None, status_written_at=END + HOUR)),
        ),
        END + HOUR + DAY,
        "Keep: StillRunning: jobDeploymentStatus Complete, jobStatus 'SUCCEEDED'; the head says 'train-x7k2p' is RUNNING",
        id="without an endTime it counts from when the status was written",
    ),
    pytest.param(
        still_running,
        replace(_by(_sets(stuck_stillRunning=DAY), RUNS_ON), swept=True),
        END + 2 * DAY,
        "Keep: StillRunning: jobDeploymentStatus Complete, jobStatus 'SUCCEEDED'; the head says 'train-x7k2p' is RUNNING",
        id="a sweep never takes a job that runs",
    ),
    # cluster_in_use
    *boundary(
        cluster_in_use,
        _by(_sets(stuck_clusterInUse=DAY), IN_USE),
        DUE + DAY,
        "Keep: ClusterInUse: 1 unfinished in the cluster: driver '02000000' RUNNING",
        id="a policy puts an end to the use by others, counted from the due time",
    ),
    pytest.param(
        cluster_in_use,
        _by(_sets(stuck_clusterInUse=DAY), replace(UNREAD, rayjob=a_rayjob(ray_end_time=END))),
        DUE + DAY,
        PASSES,
        id="also where the list cannot be read",
    ),
    pytest.param(
        cluster_in_use,
        _by(_sets(stuck_clusterInUse=DAY), UNREAD),
        DUE + DAY,
        "Keep: ClusterInUse: the head's list of jobs cannot be read: it is larger than 4 MiB",
        id="but not where nobody knows whether the job itself has ended",
    ),
    pytest.param(
        cluster_in_use,
        replace(
            _by(
                _sets(stuck_clusterInUse=DAY, stuck_neverSubmitted=HOUR),
                an_assessment(rayjob=an_interactive(annotations={})),
            ),
            probe=a_probe(a_driver()),
        ),
        DUE + 2 * DAY,
        "Keep: ClusterInUse: 1 unfinished in the cluster: driver '02000000' RUNNING",
        id="nor for a job that has not finished",
    ),
    # expired
    pytest.param(
        expired,
        _by(_sets(stuck_stillRunning=DAY), RUNS_ON),
        END + DAY,
        f"Delete RayJob uid-train at 100, RayCluster uid-cluster: StuckRunning: {TTL_1H}",
        id="it goes with a job that runs on, and is called so",
    ),
    pytest.param(
        expired,
        _by(_sets(stuck_clusterInUse=DAY), IN_USE),
        DUE + DAY,
        f"Delete RayJob uid-train at 100, RayCluster uid-cluster: StuckInUse: {TTL_1H}",
        id="it goes though something uses the cluster, and is called so",
    ),
    *boundary(
        head_silent,
        _by(_sets(stuck_headUnreachable=DAY), SILENT_LONG),
        DUE + DAY,
        "Keep: HeadUnreachable: connection refused",
        id="a policy puts an end to the wait for a silent head, counted from the due time",
    ),
    pytest.param(
        expired,
        _by(_sets(stuck_headUnreachable=DAY), SILENT_LONG),
        DUE + DAY,
        f"Delete RayJob uid-train at 100, RayCluster uid-cluster: StuckUnreachable: {TTL_1H}",
        id="it is deleted without a word of its head, and is called so",
    ),
    pytest.param(
        expired,
        replace(
            BOTH, rayjob=a_rayjob(reason="DeadlineExceeded"), probe=a_probe(a_submission("RUNNING"))
        ),
        DUE,
        f"Delete RayJob uid-train at 100, RayCluster uid-cluster: Expired: {TTL_1H}",
        id="a deadline wanted the end: that is no stuck job",
    ),
]


@pytest.mark.parametrize(("check", "assessment", "now", "answer"), ROWS)
def test_a_guard(check: Check, assessment: Assessment, now: datetime, answer: str) -> None:
    assert in_words(check(replace(assessment, now=now))) == answer


@pytest.mark.parametrize(
    ("assessment", "by"),
    [
        pytest.param(an_assessment(), "", id="nothing observes"),
        pytest.param(
            an_assessment(parameters=Parameters(mode=Mode.DRY_RUN)),
            "the setting mode",
            id="the setting",
        ),
        pytest.param(
            an_assessment(policies=(a_policy(), STOP)),
            "RayJobCleanupPolicy stop",
            id="any policy that selects it",
        ),
    ],
)
def test_what_lets_nothing_go(assessment: Assessment, by: str) -> None:
    assert assessment.dry_run_by == by


def test_a_wish_to_keep_and_an_explicit_never_are_stronger_than_what_is_stuck() -> None:
    policy = _sets(stuck_stillRunning=HOUR, stuck_clusterInUse=HOUR)
    never = _by(policy, replace(RUNS_ON, rayjob=a_rayjob(annotations=says(ttl="never"))))
    kept = _by(policy, replace(RUNS_ON, rayjob=WAITED.rayjob))
    assert decide(replace(never, now=END + 9 * DAY)).explanation.reason is Reason.NO_TTL
    assert decide(replace(kept, now=END + 9 * DAY)).explanation.reason is Reason.KEPT_BY_USER


@pytest.mark.parametrize(
    ("assessment", "stuck_at"),
    [
        pytest.param(
            _by(_sets(stuck_stillRunning=HOUR + 10 * MINUTE), RUNS_ON),
            DUE + 10 * MINUTE,
            id="a job that runs on",
        ),
        pytest.param(
            _by(_sets(stuck_clusterInUse=10 * MINUTE), IN_USE),
            DUE + 10 * MINUTE,
            id="a cluster in use",
        ),
    ],
)
def test_it_is_looked_at_again_when_its_policys_patience_ends_at_the_latest(
    assessment: Assessment, stuck_at: datetime
) -> None:
    memory = Memory(first_finished=END)
    for _ in range(9):
        memory = update_memory(
            replace(replace(assessment, memory=memory), now=DUE),
            decide(replace(assessment, now=DUE)),
        )
    assert memory.probe_again_at == stuck_at
    assert isinstance(decide(replace(assessment, now=stuck_at)), Delete)


@pytest.mark.parametrize(
    ("times", "looked_at", "reason"),
    [
        pytest.param(
            {"stuck_stillRunning": HOUR},
            DUE - MOMENT,
            Reason.EXPIRED,
            id="its policy came after the last look",
        ),
        pytest.param(
            {"stuck_stillRunning": HOUR}, DUE, Reason.STILL_RUNNING, id="the last look knew it"
        ),
        pytest.param(
            {"stuck_stillRunning": HOUR + 5 * MINUTE},
            DUE,
            Reason.STILL_RUNNING,
            id="it is not over",
        ),
        pytest.param(
            {"stuck_clusterInUse": timedelta()},
            DUE - MOMENT,
            Reason.STILL_RUNNING,
            id="it is for another reason",
        ),
    ],
)
def test_a_policy_that_puts_an_end_to_it_is_heeded_before_the_next_look_would_come(
    times: dict[str, timedelta], looked_at: datetime, reason: Reason
) -> None:
    seen = Memory(
        first_finished=END,
        last_probe_at=looked_at,
        probe_again_at=DUE + HOUR,
        kept_by_probe=decide(replace(RUNS_ON, now=DUE)).explanation,
        probed_version="100",
    )
    assessment = _by(_sets(**times), replace(RUNS_ON, probe=None, memory=seen))
    assert decide(replace(assessment, now=DUE)).explanation.reason is reason


def test_what_could_not_be_judged_without_policies_waits_for_no_other_look() -> None:
    assessment = replace(BOTH, policies=None, memory=Memory(first_finished=END))
    assert (
        update_memory(
            replace(assessment, now=DUE), decide(replace(assessment, now=DUE))
        ).kept_by_probe
        is None
    )


def test_what_is_kept_by_a_fault_has_no_due_time_so_that_its_correction_waits_in_the_backlog() -> (
    None
):
    assessment = _by(BROKEN)
    memory = update_memory(replace(assessment, now=DUE), decide(replace(assessment, now=DUE)))
    corrected = replace(BOTH, probe=None, policies=(), memory=memory)
    assert memory.due_at is None
    assert (
        decide(replace(corrected, now=DUE + MINUTE)).explanation.reason is Reason.BULK_EXPIRY_DELAY
    )


def test_a_policys_never_is_a_reason_to_stay() -> None:
    assessment = an_assessment(
        rayjob=a_rayjob(annotations={}),
        policies=(a_policy(times={"retention.rayJob.default": NEVER}),),
    )
    assert decide(replace(assessment, now=DUE)).explanation.reason is Reason.NO_TTL
    assert replace(assessment, now=DUE).due.end.outcome is Outcome.SUCCEEDED
