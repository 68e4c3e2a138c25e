"""What an assessment of one RayJob starts from: facts, memory, parameters and the time. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from raysweep.core.head_report import HeadReport, ReportedState, read_report
from raysweep.core.job_status import (
    MAY_RUN,
    TERMINAL_JOB_STATUS,
    kuberay_reports_end,
    ray_reports_end,
    retries_are_left,
)
from raysweep.core.model.facts import (
    HeadList,
    HeadSilent,
    JobEntry,
    Namespace,
    Policy,
    ProbeKind,
    ProbeResult,
    RayCluster,
    RayJob,
)
from raysweep.core.model.memory import NOTHING, Memory
from raysweep.core.model.parameters import DEFAULTS, Mode, Parameters
from raysweep.core.retention import policies
from raysweep.core.retention.resolve import Sources


@dataclass(frozen=True)
class Inputs:
    """The facts about one RayJob at one time, and what they say directly."""

    now: datetime
    rayjob: RayJob
    namespace: Namespace | None
    """None: it could not be read."""
    policies: tuple[Policy, ...] | None = ()
    """The policies that select the RayJob, strongest first. None: they could not be read."""
    owned: tuple[RayCluster, ...] = ()
    """RayClusters whose controller is this RayJob's uid, from the last complete list."""
    selected_by: tuple[str, ...] = ()
    """Unfinished RayJobs whose clusterSelector names this RayJob's cluster."""
    parameters: Parameters = DEFAULTS
    memory: Memory = NOTHING
    probe: ProbeResult | None = None
    """None until the cluster and its head are probed."""
    uptime: timedelta = timedelta()
    """A monotonic clock, for grace periods between two probes."""
    started_at: datetime | None = None
    """When this process began. None: a command, which runs once."""
    heads_fail: bool = False
    """The circuit breaker is open: so many heads failed lately that the cause is on this side."""
    bulk_expiry_size: int = 0
    """How many RayJobs wait in bulk expiry, see Store.bulk_expiry_size."""
    clock_settles_at: timedelta | None = None
    """The uptime until which the wall clock is not trusted after a jump forward."""
    swept: bool = False
    """A user asked to delete the RayJob now."""

    @cached_property
    def sources(self) -> Sources:
        """Every source of retention. The check `unreadable` ensures that all could be read."""
        assert self.namespace is not None
        assert self.policies is not None
        return Sources(self.rayjob, self.namespace, self.policies, self.parameters.kuberay_ttl)

    @property
    def dry_run_by(self) -> str:
        """The setting or policy that prevents deletions; "" if they are carried out."""
        if self.parameters.mode is Mode.DRY_RUN:
            return "the setting mode"
        return policies.dry_run_policy(self.policies or ())

    @property
    def deletion_probe(self) -> ProbeResult | None:
        """The probe before a deletion: of the cluster and its head's whole list of jobs."""
        if self.probe is None or self.probe.kind is ProbeKind.STATUS:
            return None
        return self.probe

    @cached_property
    def cluster(self) -> RayCluster | None:
        """The owned RayCluster that is not being deleted: by the probe, else by the last list.

        None if the RayJob selects a cluster: a selected cluster is never a target.
        """
        if self.rayjob.has_selector:
            return None
        clusters = (self.deletion_probe.cluster,) if self.deletion_probe else self.owned
        for cluster in clusters:
            if cluster and cluster.controller_uid == self.rayjob.uid and not cluster.deleting:
                return cluster
        return None

    @property
    def other_clusters(self) -> tuple[str, ...]:
        """Owned RayClusters besides the one that the status names.

        The last list may be minutes old and hold the deleted cluster of an earlier attempt. So
        they count once a probe confirms them, or if a command listed everything just now.
        """
        if self.started_at is not None and self.deletion_probe is None:
            return ()
        names = {cluster.name for cluster in self.owned if not cluster.deleting}
        if not self.rayjob.has_selector:
            names.discard(self.rayjob.cluster_name)
        return tuple(sorted(names))

    @property
    def may_have_cluster(self) -> bool:
        """Whether a RayCluster may exist. Lists are minutes old, so the status counts too."""
        if self.cluster is not None:
            return True
        if self.deletion_probe or self.memory.cluster_gone or self.rayjob.has_selector:
            return False
        return self.rayjob.cluster_name != ""

    @cached_property
    def head_report(self) -> HeadReport:
        """What the head reports about the job; NO_HEAD before a probe."""
        if self.probe is None:
            return HeadReport(ReportedState.NO_HEAD)
        return read_report(self.rayjob, self.probe)

    @property
    def head_list(self) -> HeadList | None:
        """The list of jobs that the head answered."""
        head = self.probe.head if self.probe else None
        return head if isinstance(head, HeadList) else None

    @property
    def head_silence(self) -> HeadSilent | None:
        """Why the head gave no usable answer."""
        head = self.probe.head if self.probe else None
        return head if isinstance(head, HeadSilent) else None

    @property
    def head_entries(self) -> tuple[JobEntry, ...]:
        """The entries of the head's list; none if it gave no list."""
        return self.head_list.entries if self.head_list else ()

    @property
    def head_confirms_end(self) -> bool:
        """Whether a probe found that the job does not run. A silent head confirms nothing."""
        return self.probe is not None and self.head_report.state in (
            ReportedState.TERMINAL,
            ReportedState.NOT_FOUND,
            ReportedState.NO_HEAD,
        )

    @property
    def is_on_dead_node(self) -> bool:
        """Whether the head reports that the job's node is dead, and lists the other jobs."""
        silence = self.head_silence
        return silence is not None and silence.node_is_dead and silence.listed is not None

    @property
    def is_missing(self) -> bool:
        """Whether the head does not know the job, or reports that its node is dead."""
        if self.head_silence:
            return self.head_silence.node_is_dead
        is_complete = self.head_list is not None and not self.head_list.unreadable
        return is_complete and self.head_report.state is ReportedState.NOT_FOUND

    @property
    def unchanged_for(self) -> timedelta:
        """How long both status words have been the same, as far as this process observed."""
        if not self.is_status_unchanged or self.memory.status_since is None:
            return timedelta()
        return self.uptime - self.memory.status_since

    @property
    def is_status_unchanged(self) -> bool:
        """Whether both status words are those of the last pass."""
        return self.memory.status == (self.rayjob.deployment_status, self.rayjob.job_status)

    @property
    def has_unreported_end(self) -> bool:
        """Whether the status holds Ray's report of the end, and KubeRay did not finish the job."""
        job = self.rayjob
        if job.deployment_status not in MAY_RUN or not ray_reports_end(job):
            return False
        return not retries_are_left(job, TERMINAL_JOB_STATUS[job.job_status])

    @property
    def status_reports_end(self) -> bool:
        """Whether the status alone says that the job has ended, by KubeRay or by Ray."""
        return kuberay_reports_end(self.rayjob) or self.has_unreported_end
