"""What the status words of KubeRay and Ray mean. Pure.

Sources: KubeRay's rayjob_types.go (jobDeploymentStatus, reason) and Ray's
ray.job_submission.JobStatus (jobStatus).
"""

from raysweep.core.model.facts import JobEntry, RayJob
from raysweep.core.model.outcome import Outcome

TERMINAL_JOB_STATUS = {
    "SUCCEEDED": Outcome.SUCCEEDED,
    "FAILED": Outcome.FAILED,
    "STOPPED": Outcome.STOPPED,
}
"""Ray's statuses of an ended job. A job with any other status has not ended."""
KNOWN_JOB_STATUS = frozenset({"PENDING", "RUNNING", *TERMINAL_JOB_STATUS})

FINAL_DEPLOYMENT_STATUS = frozenset({"Complete", "Failed", "ValidationFailed"})
"""KubeRay stops acting on these: it neither runs the job again nor rebuilds its cluster."""
MAY_HANG = ("Running", "Waiting")
"""A hung submitter, a dead head or a KubeRay that is down can leave these in place forever."""
MAY_RUN = (*MAY_HANG, "Initializing")
"""The job may run. In SidecarMode it starts while the status is still Initializing."""
KNOWN_DEPLOYMENT_STATUS = FINAL_DEPLOYMENT_STATUS | {
    "",
    *MAY_RUN,
    "Retrying",
    "Suspending",
    "Suspended",
}
"""All statuses of KubeRay. An unknown one is counted, and its job has not finished."""

DEADLINE_REASONS = frozenset({"DeadlineExceeded", "PreRunningDeadlineExceeded"})
"""status.reason after a deadline of the spec: KubeRay leaves the Ray job running, at RUNNING."""


def kuberay_reports_end(rayjob: RayJob) -> bool:
    """Whether KubeRay has finished with the job, by jobDeploymentStatus."""
    return rayjob.deployment_status in FINAL_DEPLOYMENT_STATUS


def ray_reports_end(rayjob: RayJob) -> bool:
    """Whether the status holds Ray's report of the end: a terminal jobStatus with an end time.

    KubeRay itself writes jobStatus FAILED too, after a broken log stream. Without
    rayJobInfo.endTime it proves nothing.
    """
    return rayjob.job_status in TERMINAL_JOB_STATUS and rayjob.ray_end_time is not None


def retries_are_left(rayjob: RayJob, outcome: Outcome) -> bool:
    """Whether KubeRay would run a failed job again, this attempt counted (spec.backoffLimit)."""
    return outcome is Outcome.FAILED and rayjob.failed < rayjob.backoff_limit


def is_unfinished(entry: JobEntry) -> bool:
    """Whether the job or driver of a head's entry may still run. An unknown status counts."""
    return entry.status not in TERMINAL_JOB_STATUS


def shown_status(entry: JobEntry) -> str:
    """The status of a head's entry for people: only Ray's words, never foreign text."""
    return entry.status if entry.status in KNOWN_JOB_STATUS else "an unknown status"


def shown_type(entry: JobEntry) -> str:
    """The type of a head's entry for people."""
    return {"SUBMISSION": "submission", "DRIVER": "driver"}.get(entry.type, "entry")
