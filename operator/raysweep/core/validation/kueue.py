"""Rules of Kueue's webhook about a RayJob that names a queue.

Source: kueue rayjob_webhook.go, raycluster/common.go, jobframework/validation.go; 0.9 to 0.19.
"""

import re

from raysweep import names
from raysweep.core.text import quoted
from raysweep.core.validation.metadata import is_subdomain
from raysweep.core.validation.violation import (
    Authority,
    Candidate,
    FieldError,
    FieldErrors,
    Severity,
    rule,
)

PREBUILT_WORKLOAD = "kueue.x-k8s.io/prebuilt-workload-name"
LONGEST_TIME = "kueue.x-k8s.io/max-exec-time-seconds"
ELASTIC_JOB = "kueue.x-k8s.io/elastic-job"
MOST_WORKER_GROUPS = 7
"""A Workload has at most 8 sets of Pods, of which one is the head."""
CLUSTER = ("spec", "rayClusterSpec")


def is_queued(job: Candidate) -> bool:
    """Whether Kueue queues the RayJob: not if it selects an existing RayCluster."""
    return bool(job.labels.get(names.KUEUE_QUEUE_LABEL)) and not job.selector


@rule(Authority.KUEUE)
def queue_without_shutdown(job: Candidate) -> FieldErrors:
    """A RayJob in a queue has shutdownAfterJobFinishes: true, and so no deletionRules."""
    if not is_queued(job) or job.has_shutdown:
        return
    problem = f"not true, although the label {names.KUEUE_QUEUE_LABEL} is set"
    hint = "set it to true"
    if job.deletion_rules:
        hint += (
            " and leave out deletionRules, which KubeRay refuses with it"
            " (annotations such as raysweep.io/ttl-failed set a time for each outcome)"
        )
    yield FieldError(("spec", "shutdownAfterJobFinishes"), problem, hint)


@rule(Authority.KUEUE)
def queue_with_selector_and_cluster(job: Candidate) -> FieldErrors:
    """A RayJob in a queue does not have both a clusterSelector and a rayClusterSpec."""
    if job.labels.get(names.KUEUE_QUEUE_LABEL) and job.selector and "rayClusterSpec" in job.spec:
        problem = f"set with rayClusterSpec and the label {names.KUEUE_QUEUE_LABEL} is set"
        yield FieldError(("spec", "clusterSelector"), problem, "leave it out")


@rule(
    Authority.KUEUE,
    versions="Kueue 0.12 or earlier",
    severity=Severity.WARNING,
    verdict="which Kueue 0.12 or earlier refuses and later versions do not queue",
)
def queue_with_selector(job: Candidate) -> FieldErrors:
    """A RayJob in a queue makes its own RayCluster."""
    has_cluster = "rayClusterSpec" in job.spec
    if job.labels.get(names.KUEUE_QUEUE_LABEL) and job.selector and not has_cluster:
        problem = f"set with the label {names.KUEUE_QUEUE_LABEL}"
        yield FieldError(("spec", "clusterSelector"), problem, "leave out one of the two")


@rule(Authority.KUEUE)
def queue_with_autoscaling(job: Candidate) -> FieldErrors:
    """The RayCluster of a RayJob in a queue is not autoscaled, unless it is an elastic job."""
    is_elastic = job.annotations.get(ELASTIC_JOB) == "true"
    if is_queued(job) and job.has_autoscaling and not is_elastic:
        path = (*CLUSTER, "enableInTreeAutoscaling")
        problem = f"true, although the label {names.KUEUE_QUEUE_LABEL} is set"
        hint = f'leave it out, or set {ELASTIC_JOB}: "true" if Kueue has elastic jobs on'
        yield FieldError(path, problem, hint)


@rule(Authority.KUEUE)
def queue_with_many_groups(job: Candidate) -> FieldErrors:
    """A RayJob in a queue has at most 7 worker groups."""
    count = len(job.worker_groups)
    if is_queued(job) and count > MOST_WORKER_GROUPS:
        problem = f"there are {count} worker groups"
        yield FieldError(
            (*CLUSTER, "workerGroupSpecs"), problem, f"use at most {MOST_WORKER_GROUPS}"
        )


@rule(Authority.KUEUE)
def queue_with_a_group_named_head(job: Candidate) -> FieldErrors:
    """No worker group of a RayJob in a queue is called head."""
    for number, group in enumerate(job.worker_groups):
        if is_queued(job) and group.get("groupName") == "head":
            path = (*CLUSTER, "workerGroupSpecs", number, "groupName")
            yield FieldError(path, "'head' is Kueue's name for the head", "use another name")


@rule(Authority.KUEUE)
def invalid_queue_name(job: Candidate) -> FieldErrors:
    """A label that names a queue or a prebuilt Workload holds a valid name of an object."""
    for key in (names.KUEUE_QUEUE_LABEL, PREBUILT_WORKLOAD):
        value = job.labels.get(key)
        if value is not None and not is_subdomain(value):
            problem = f"{quoted(value)} is not a valid name of an object"
            hint = "use lowercase letters, digits, '-' and '.', a letter or digit at both ends"
            yield FieldError(("metadata", "labels", key), problem, hint)


@rule(Authority.KUEUE)
def invalid_longest_time(job: Candidate) -> FieldErrors:
    """The label for the longest time of a job is a whole number of seconds above 0."""
    value = job.labels.get(LONGEST_TIME)
    if value is not None and not re.fullmatch(r"\+?0*[1-9][0-9]{0,17}", value):
        problem = f"{quoted(value)} is not a number of seconds above 0"
        yield FieldError(("metadata", "labels", LONGEST_TIME), problem, 'use one, as "3600"')


RULES = (
    queue_without_shutdown,
    queue_with_selector_and_cluster,
    queue_with_selector,
    queue_with_autoscaling,
    queue_with_many_groups,
    queue_with_a_group_named_head,
    invalid_queue_name,
    invalid_longest_time,
)
