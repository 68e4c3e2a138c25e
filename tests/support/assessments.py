"""Assessments that several tests start from. They contain no expectation."""

from dataclasses import replace
from datetime import datetime, timedelta

from raysweep.core.assessment import Assessment
from raysweep.core.model.facts import KubeRayCleanup, Policy, ProbeResult
from raysweep.core.model.memory import Memory
from raysweep.core.model.own_times import own_times
from raysweep.core.model.reasons import Reason
from tests.support.builders import (
    DUE,
    END,
    HOUR,
    a_driver,
    a_list,
    a_namespace,
    a_policy,
    a_probe,
    a_raycluster,
    a_rayjob,
    a_running,
    a_silent_probe,
    a_submission,
    an_assessment,
    an_interactive,
    says,
)

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
LATE = DUE + DAY
ARGO_CD = "argocd.argoproj.io/tracking-id"


def at(time: datetime, assessment: Assessment) -> Assessment:
    """The same facts at another time."""
    return replace(assessment, now=time)


def a_job(**fields: object) -> Assessment:
    """an_assessment() of a RayJob with these fields."""
    return an_assessment(rayjob=a_rayjob(**fields))


def probed(probe: ProbeResult, **fields: object) -> Assessment:
    """a_job() after this probe."""
    return an_assessment(rayjob=a_rayjob(**fields), probe=probe)


def by(policy: Policy, assessment: Assessment) -> Assessment:
    """The assessment with this policy."""
    return replace(assessment, policies=(policy,))


def sets(**times: object) -> Policy:
    """`sets(stuck_stillRunning=DAY)` is a policy with spec.stuck.stillRunning: 1d."""
    return a_policy(times={path.replace("_", "."): time for path, time in times.items()})


EXPIRED = an_assessment(probe=a_probe())
"""It is due and probed, and nothing keeps it."""
RECORD = probed(a_probe(), annotations=says(ttl="1d", cluster_ttl="1h"))
"""Its cluster is due at DUE, the RayJob a day after END."""
DELETING = a_rayjob(deleting_since=END)

UNCHANGED = Memory(status=("Running", "RUNNING"), status_since=timedelta())
"""The status of a_running() has not changed since the process started."""
UNREPORTED = an_assessment(
    rayjob=a_running(),
    memory=replace(UNCHANGED, terminal=a_submission(end_time=END), terminal_since=20 * MINUTE),
    uptime=30 * MINUTE,
    probe=a_probe(a_submission(end_time=END)),
)
"""It ended at END. The head reported so 10 minutes ago and now, and KubeRay did not."""
UNSUBMITTED = an_assessment(rayjob=an_interactive())
LOST = an_assessment(
    rayjob=an_interactive(deployment_status="Running", job_status="RUNNING", job_id="train-x7k2p"),
    memory=replace(UNCHANGED, missing_since=END),
    uptime=30 * MINUTE,
)
"""Its head has not known it since END."""
NOT_READY = an_assessment(rayjob=an_interactive(deployment_status="Initializing"))

READY = a_raycluster(head_ready=True, head_reason="HeadPodRunningAndReady", has_status=True)
UNREADY = a_raycluster(head_ready=False, head_reason="ContainersNotReady", has_status=True)
OLD_WITH_HEAD = a_raycluster(has_status=True, head_pod_name="head-x", head_pod_ip="10.0.0.1")
"""KubeRay up to 1.2 writes no condition HeadPodReady."""
OLD_WITHOUT_HEAD = a_raycluster(has_status=True)

SILENT_MEMORY = Memory(first_finished=END, silent_probes=2, silent_since=55 * MINUTE)
RUNS_ON = probed(a_probe(a_submission("RUNNING")))
"""The RayJob succeeded at END by its status, and its head reports the job as running."""
IN_USE = probed(a_probe(a_submission(), a_driver()))
"""It ended, and a driver is connected to its cluster."""
TRACKED = an_assessment(
    rayjob=a_rayjob(annotations={}, keys=frozenset({ARGO_CD})),
    namespace=a_namespace(ttl="1h"),
    probe=ProbeResult(None),
    owned=(),
)
"""Argo CD would create it again."""


def silent(probe: ProbeResult | None = None, **fields: object) -> Assessment:
    """Its head gives no answer for the third time, five minutes after the first."""
    return replace(
        probed(probe or a_silent_probe(), **fields), memory=SILENT_MEMORY, uptime=60 * MINUTE
    )


KUBERAY_CLEANS = a_job(
    annotations=says(ttl="1d", cluster_ttl="1h"),
    kuberay_cleanup=KubeRayCleanup(shutdown=True, seconds=3600),
)
"""Its cluster is due at DUE, and KubeRay deletes it two seconds later."""
JUDGED = Memory(first_finished=END, own_times=own_times(a_rayjob()), due_at=None)
"""An earlier pass judged the same RayJob, which was not due."""
BLOCKED = replace(
    EXPIRED, memory=Memory(first_finished=END, bulk_expiry_until=DUE), bulk_expiry_size=101
)

_NO_JOBS = ProbeResult(a_raycluster(), a_list())
EXAMPLES: dict[Reason, Assessment] = {
    Reason.NOT_FINISHED: a_job(deployment_status="Initializing"),
    Reason.NO_TTL: a_job(annotations={}),
    Reason.NOT_DUE: at(END, a_job()),
    Reason.KEPT_BY_USER: a_job(annotations=says(ttl="1h", keep_until="2026-11-22T20:00:00Z")),
    Reason.BEING_DELETED: an_assessment(rayjob=DELETING, owned=()),
    Reason.SUSPENDED: a_job(deployment_status="Suspended"),
    Reason.MANAGED_ELSEWHERE: a_job(managed_by="kueue.x-k8s.io/multikueue"),
    Reason.PROTECTED_NAMESPACE: a_job(namespace="kube-system"),
    Reason.STILL_RUNNING: RUNS_ON,
    Reason.CLUSTER_IN_USE: IN_USE,
    Reason.NOT_OWNED: replace(
        probed(a_probe(cluster=a_raycluster(controller_uid="uid-other"))), owned=()
    ),
    Reason.OTHER_CLUSTER: an_assessment(
        owned=(a_raycluster(), a_raycluster(name="older", uid="uid-older"))
    ),
    Reason.AMBIGUOUS: probed(a_probe(a_submission(), a_submission("FAILED", "b")), job_id=""),
    Reason.HEAD_UNREACHABLE: probed(a_silent_probe()),
    Reason.HEAD_UNAUTHORIZED: probed(a_silent_probe("401", unauthorized=True)),
    Reason.HEADS_UNREACHABLE: replace(at(LATE, silent(ray_end_time=END)), heads_fail=True),
    Reason.WILL_BE_RECREATED: TRACKED,
    Reason.WOULD_BE_REBUILT: replace(
        UNREPORTED, rayjob=a_running(annotations=says(ttl="1d", cluster_ttl="1h"))
    ),
    Reason.WAITING_FOR_KUBERAY: KUBERAY_CLEANS,
    Reason.BULK_EXPIRY_DELAY: an_assessment(memory=JUDGED),
    Reason.BULK_EXPIRY_BLOCKED: BLOCKED,
    Reason.INVALID: a_job(annotations=says(ttl="soon")),
    Reason.LIMITS_CONFLICT: by(sets(limits_rayJob_min=DAY, limits_rayJob_max=HOUR), a_job()),
    Reason.UNREADABLE: a_job(unreadable="spec.suspend: 'yes': not a boolean"),
    Reason.NAMESPACE_UNKNOWN: an_assessment(namespace=None),
    Reason.POLICIES_UNKNOWN: an_assessment(policies=None),
    Reason.EXPIRED: EXPIRED,
    Reason.KUBERAY_CLEANUP_MISSED: replace(KUBERAY_CLEANS, now=DUE + HOUR, probe=a_probe()),
    Reason.UNCONFIRMED: at(LATE, silent(ray_end_time=END)),
    Reason.FINISHED_UNREPORTED: UNREPORTED,
    Reason.NEVER_SUBMITTED: replace(UNSUBMITTED, probe=_NO_JOBS),
    Reason.JOB_LOST: replace(LOST, probe=_NO_JOBS),
    Reason.STUCK_INITIALIZING: replace(NOT_READY, probe=a_silent_probe()),
    Reason.STUCK_RUNNING: at(END + DAY, by(sets(stuck_stillRunning=DAY), RUNS_ON)),
    Reason.STUCK_IN_USE: at(DUE + DAY, by(sets(stuck_clusterInUse=DAY), IN_USE)),
    Reason.STUCK_UNREACHABLE: at(DUE + DAY, by(sets(stuck_headUnreachable=DAY), silent())),
    Reason.DELETION_UNFINISHED: an_assessment(rayjob=DELETING, probe=a_probe()),
    Reason.SWEPT: replace(at(END, EXPIRED), swept=True),
}
"""An assessment for each reason that a check can give."""
