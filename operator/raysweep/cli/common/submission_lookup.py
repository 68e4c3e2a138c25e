"""Finds a RayJob's submission at its Ray head, for `logs` and `stop`. It only reads."""

from dataclasses import dataclass

from raysweep.cli.common.session import FailedError, Session, this_program
from raysweep.clients.ray.tokens import NoTokenError, Tokens
from raysweep.core.model.facts import HeadList, JobEntry, RayCluster, RayJob
from raysweep.core.text import plain, quoted
from raysweep.submission.head import Head, head_of


class NoSuchRayJobError(Exception):
    """There is no RayJob of that name."""


@dataclass(frozen=True, slots=True)
class Located:
    """A RayJob, its cluster's head, and the head's entry of its submission."""

    rayjob: RayJob
    cluster: RayCluster
    head: Head
    entry: JobEntry


async def locate(session: Session, name: str) -> Located:
    """By the submission ID that the RayJob names, else by the head's only submission. Raises FailedError, NoSuchRayJobError."""
    job = await session.kubernetes.rayjob(session.namespace, name)
    if job is None:
        why = this_program("why", name, "-n", session.namespace)
        raise NoSuchRayJobError(
            f"there is no RayJob {session.namespace}/{name}; `{why}` tells what became of it"
        )
    cluster = (
        await session.kubernetes.raycluster(job.namespace, job.cluster_name)
        if job.cluster_name
        else None
    )
    if cluster is None:
        missing = (
            f"RayCluster {job.cluster_name} is gone"
            if job.cluster_name
            else "it has no RayCluster yet"
        )
        raise FailedError(f"RayJob {job.key}: {missing}, so there is no head to ask")
    return Located(job, cluster, await _head(session, cluster), await _entry(session, job, cluster))


async def _head(session: Session, cluster: RayCluster) -> Head:
    try:
        return await head_of(session.transport, Tokens(session.kubernetes), cluster)
    except NoTokenError as error:
        raise FailedError(
            f"the head of RayCluster {cluster.name} cannot be asked: {error}"
        ) from error


async def _entry(session: Session, job: RayJob, cluster: RayCluster) -> JobEntry:
    ask = session.dashboard
    found = await (ask.job(cluster, job.job_id) if job.job_id else ask.jobs(cluster))
    if not isinstance(found, HeadList):
        raise FailedError(
            f"the head of RayCluster {cluster.name} gives no usable answer: {plain(found.detail)}"
        )
    submissions = [entry for entry in found.entries if entry.type == "SUBMISSION"]
    if len(submissions) == 1:
        return submissions[0]
    if found.unreadable:
        raise FailedError(f"the head's list of jobs cannot be read: {plain(found.unreadable)}")
    known = f"does not know {quoted(job.job_id)}" if job.job_id else "has no submission"
    if len(submissions) > 1:
        known = f"has {len(submissions)} submissions, and spec.jobId does not say which is meant"
    raise FailedError(f"the head of RayCluster {cluster.name} {known}")
