"""Finds the submission of a RayJob at its Ray head, for `logs` and `stop`. It only reads."""

from dataclasses import dataclass

from raysweep.cli.common.errors import FailedError
from raysweep.cli.common.session import Session, this_program
from raysweep.clients.ray.tokens import NoTokenError, Tokens
from raysweep.core.head_report import own_submissions
from raysweep.core.model.facts import HeadList, JobEntry, RayCluster, RayJob
from raysweep.core.text import plain, quoted
from raysweep.submission.head import Head, head_of


class NoSuchRayJobError(Exception):
    """No RayJob has this name."""


@dataclass(frozen=True, slots=True)
class Located:
    """A RayJob, its RayCluster, the Ray head, and the head's entry of the submission."""

    rayjob: RayJob
    cluster: RayCluster
    head: Head
    entry: JobEntry


async def locate(session: Session, name: str) -> Located:
    """Looks for the submission ID of the RayJob; without an ID, for the only submission.

    Raises FailedError, NoSuchRayJobError.
    """
    job = await session.kubernetes.rayjob(session.namespace, name)
    if job is None:
        why = this_program("why", name, "-n", session.namespace)
        key = f"{session.namespace}/{name}"
        raise NoSuchRayJobError(
            f"RayJob {key} does not exist; to see what happened to it, run `{why}`"
        )
    cluster = await _raycluster(session, job)
    head = await _head(session, cluster)
    return Located(job, cluster, head, await _entry(session, job, cluster))


async def _raycluster(session: Session, job: RayJob) -> RayCluster:
    if not job.cluster_name:
        raise FailedError(f"RayJob {job.key} has no RayCluster yet, so it has no Ray head")
    cluster = await session.kubernetes.raycluster(job.namespace, job.cluster_name)
    if cluster is None:
        raise FailedError(f"RayCluster {job.cluster_name} of RayJob {job.key} does not exist")
    return cluster


async def _head(session: Session, cluster: RayCluster) -> Head:
    try:
        return await head_of(session.transport, Tokens(session.kubernetes), cluster)
    except NoTokenError as error:
        raise FailedError(
            f"the Ray head of RayCluster {cluster.name} cannot be asked: {error}"
        ) from error


async def _entry(session: Session, job: RayJob, cluster: RayCluster) -> JobEntry:
    head = f"the Ray head of RayCluster {cluster.name}"
    if job.job_id:
        answer = await session.dashboard.job(cluster, job.job_id)
    else:
        answer = await session.dashboard.jobs(cluster)
    if not isinstance(answer, HeadList):
        raise FailedError(f"{head} gives no usable answer: {plain(answer.detail)}")
    submissions = own_submissions(answer.entries, job.job_id)
    if len(submissions) == 1:
        return submissions[0]
    if answer.unreadable:
        raise FailedError(f"the job list of {head} cannot be read: {plain(answer.unreadable)}")
    if len(submissions) > 1:
        raise FailedError(
            f"{head} has {len(submissions)} submissions; set spec.jobId to select one"
        )
    if job.job_id:
        raise FailedError(f"{head} does not know submission {quoted(job.job_id)}")
    raise FailedError(f"{head} has no submission")
