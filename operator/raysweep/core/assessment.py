"""An assessment of one RayJob: its inputs, and what follows from them. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from raysweep import names
from raysweep.core import bulk_expiry, due, recreation
from raysweep.core.due import DueTimes
from raysweep.core.finish import JobEnd, job_end
from raysweep.core.head_pod import head_is_gone, head_is_up
from raysweep.core.inputs import Inputs
from raysweep.core.job_status import DEADLINE_REASONS, kuberay_reports_end, ray_reports_end
from raysweep.core.model.provenance import InvalidValue
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import annotations, resolve
from raysweep.core.retention.resolve import Retention


@dataclass(frozen=True)
class Assessment(Inputs):
    """Everything that the checks ask about one RayJob at one time.

    Each answer is computed once. `dataclasses.replace(assessment, now=...)` assesses another time.
    """

    @cached_property
    def end(self) -> JobEnd | None:
        """How and when the job ended, or since when it is stuck. None: it has not ended."""
        return job_end(self)

    @cached_property
    def retention(self) -> Retention:
        """How long the RayJob and its RayCluster are kept. The job has ended."""
        assert self.end is not None
        if self.end.outcomes:
            retention = resolve.resolve(self.sources, self.end.outcomes)
        else:
            retention = resolve.resolve_unsubmitted(self.sources, self.end.reason)
        return resolve.for_sweep(retention) if self.swept else retention

    @cached_property
    def due(self) -> DueTimes:
        """When the RayJob and its RayCluster are due. The job has ended."""
        assert self.end is not None
        return due.due_times(self, self.end, self.retention)

    @cached_property
    def kept_until(self) -> datetime | InvalidValue | None:
        """Until when a user keeps the RayJob. An invalid value keeps it forever."""
        return due.kept_until(self, self.due)

    @cached_property
    def bulk_expiry_until(self) -> datetime | None:
        """Until when the deletion waits in bulk expiry. None: it does not wait."""
        return bulk_expiry.bulk_expiry_until(self, self.due)

    @property
    def cluster_limit(self) -> datetime | None:
        """When a limit of the policies ends the life of the RayCluster at the latest."""
        return due.cluster_limit(self, self.due)

    def stuck_limit(self, reason: Reason) -> datetime | None:
        """When a time of spec.stuck ends what a probe keeps the RayJob for."""
        return due.stuck_limit(self, self.due, reason)

    def is_past_stuck_limit(self, reason: Reason) -> bool:
        """Whether a time of spec.stuck has ended what a probe keeps the RayJob for."""
        limit = self.stuck_limit(reason)
        return limit is not None and limit <= self.now

    @cached_property
    def recreator(self) -> str:
        """What would create the RayJob again after its deletion; "" if nothing would.

        A TTL on the RayJob itself allows the deletion anyway.
        """
        job, end = self.rayjob, self.due.end
        is_allowed = end.outcome is not None and annotations.has_own_ttl(job, end.outcome)
        if job.deleting_since or is_allowed:
            return ""
        return recreation.creator(job, self.parameters.recreated_by)

    @property
    def can_be_deleted(self) -> bool:
        """Whether a probe of the head could lead to a deletion."""
        if self.dry_run_by:
            return False
        is_cluster_due = self.may_have_cluster and self.due.is_cluster_due
        return is_cluster_due or not self.recreator

    @property
    def needs_no_head(self) -> bool:
        """Whether no answer of the head is needed: no job can have reached it, or it is lost."""
        reason, cluster = self.due.end.reason, self.probe.cluster if self.probe else None
        if reason is Reason.JOB_LOST:
            return self.is_on_dead_node
        if reason is not Reason.STUCK_INITIALIZING:
            return False
        if self.rayjob.submission_mode == names.INTERACTIVE_MODE:
            return cluster is None or not head_is_up(cluster)
        return self.rayjob.submission_mode in names.MODES_SUBMITTED_TO_A_READY_CLUSTER

    @property
    def is_status_sufficient(self) -> bool:
        """Whether the status proves the end without an answer of the head.

        It holds Ray's report or an end by deadline, or the head is gone.
        """
        job, cluster = self.rayjob, self.probe.cluster if self.probe else None
        if self.status_reports_end and ray_reports_end(job):
            return True
        is_final = kuberay_reports_end(job)
        if is_final and job.reason in DEADLINE_REASONS:
            return True
        if not is_final and job.deployment_status != "Initializing":
            return False
        return cluster is not None and head_is_gone(cluster)

    @property
    def is_silence_confirmed(self) -> bool:
        """Whether enough probes in a row, over enough time, gave no usable answer. This counts."""
        since = self.memory.silent_since
        if since is None or self.uptime - since < self.parameters.unconfirmed_after:
            return False
        return self.memory.silent_probes + 1 >= self.parameters.unconfirmed_probes

    @property
    def may_have_just_ended(self) -> bool:
        """Whether the head reported the job active less than its TTL ago, by the monotonic clock.

        The head has given no answer since.
        """
        observation = self.memory.last_seen_active
        is_alone = self.due.is_cluster_alone
        ttl = self.retention.cluster_ttl.value if is_alone else self.retention.ttl.value
        if observation is None or not isinstance(ttl, timedelta):
            return False
        return self.uptime - observation.uptime < ttl
