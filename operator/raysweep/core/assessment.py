"""Everything a decision rests on, and what follows from it at once: whether and when the job ended, and when what is due."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

from raysweep import names
from raysweep.core import recreation
from raysweep.core.durations import after
from raysweep.core.finish import WHOLE_SECOND, JobEnd, earliest_ends, finish, not_earlier, plausible
from raysweep.core.head_pod import head_is_gone, head_is_up
from raysweep.core.head_report import HeadReport, ReportedState, read_report
from raysweep.core.job_status import (
    DEADLINE_REASONS,
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
    ProbeResult,
    RayCluster,
    RayJob,
)
from raysweep.core.model.memory import NOTHING, Memory, Observation
from raysweep.core.model.outcome import Outcome
from raysweep.core.model.own_times import own_times
from raysweep.core.model.parameters import DEFAULTS, Mode, Parameters
from raysweep.core.model.provenance import BUILT_IN, InvalidValue, SourcedDuration
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import annotations, kuberay_spec, policies, resolve
from raysweep.core.retention.resolve import Retention, Sources

MAY_HANG = ("Running", "Waiting")
"""jobDeploymentStatus that a hung submitter, a dead head or a KubeRay that is down can leave standing for ever."""
MAY_RUN = (*MAY_HANG, "Initializing")
"""jobDeploymentStatus with which a job may run; in SidecarMode it starts while KubeRay says Initializing."""


@dataclass(frozen=True)
class Assessment:
    """Everything a decision rests on. `look` is None until the cluster and its head were looked at live."""

    rayjob: RayJob
    namespace: Namespace | None  # None: it could not be read
    policies: (
        tuple[Policy, ...] | None
    ) = ()  # that select it, strongest first. None: they could not be read
    owned: tuple[
        RayCluster, ...
    ] = ()  # RayClusters whose controller is this RayJob's uid, from the last complete list
    selected_by: tuple[
        str, ...
    ] = ()  # unfinished RayJobs whose clusterSelector names this RayJob's cluster
    parameters: Parameters = DEFAULTS
    memory: Memory = NOTHING
    probe: ProbeResult | None = None
    uptime: timedelta = timedelta()  # a monotonic clock, for graces between two looks of ours
    started_at: datetime | None = (
        None  # when this process began; None: it does not last, as a command
    )
    heads_fail: bool = False  # so many heads, there or everywhere, gave no usable answer lately that the fault is probably ours
    bulk_expiry_size: int = 0  # RayJobs in the backlog, see Store.backlog_size
    clock_settles_at: timedelta | None = (
        None  # uptime: until then the wall clock is not trusted, it was set forward
    )
    swept: bool = False  # a person asked for it to go now

    @cached_property
    def sources(self) -> Sources:
        """Everything that may say how long it is kept. Namespace and policies are known: a guard keeps before this is asked."""
        assert self.namespace is not None
        assert self.policies is not None
        return Sources(self.rayjob, self.namespace, self.policies, self.parameters.kuberay_ttl)

    @property
    def dry_run_by(self) -> str:
        """What lets nothing go and only tells what would; "" where deletions are carried out."""
        if self.parameters.mode is Mode.DRY_RUN:
            return "the setting mode"
        return policies.dry_run_policy(self.policies or ())

    @cached_property
    def head_report(self) -> HeadReport:
        """What the look told; Says.NO_HEAD before any look."""
        return (
            read_report(self.rayjob, self.probe)
            if self.probe
            else HeadReport(ReportedState.NO_HEAD)
        )

    @cached_property
    def cluster(self) -> RayCluster | None:
        """The owned RayCluster that is not on its way out: by the look where there was one, else by the last list.

        None where the RayJob selects a cluster: that is never a target, whoever owns it.
        """
        if self.rayjob.has_selector:
            return None
        seen = (
            (self.probe.cluster,) if self.probe and not self.probe.is_status_probe else self.owned
        )
        mine = (c for c in seen if c and c.controller_uid == self.rayjob.uid and not c.deleting)
        return next(mine, None)

    @property
    def other_clusters(self) -> tuple[str, ...]:
        """Owned besides the one that the status names. A list that is minutes old may tell of an earlier attempt's, long gone.

        So they count once a live look has confirmed them, or where everything was listed just now, as by a command.
        """
        is_fresh = self.started_at is None or (
            self.probe is not None and not self.probe.is_status_probe
        )
        job, there = self.rayjob, [cluster.name for cluster in self.owned if not cluster.deleting]
        return (
            tuple(sorted(name for name in there if job.has_selector or name != job.cluster_name))
            if is_fresh
            else ()
        )

    @property
    def may_have_cluster(self) -> bool:
        """Whether there may be a RayCluster to delete. Lists are minutes old, so without a look the status counts too."""
        is_unseen = self.probe is None or self.probe.is_status_probe
        named = (
            is_unseen
            and self.rayjob.cluster_name
            and not self.memory.cluster_gone
            and not self.rayjob.has_selector
        )
        return self.cluster is not None or bool(named)

    def conclusion(self, now: datetime) -> JobEnd | None:
        """How and when the job ended, or from when on it counts as stuck; None: it has not ended."""
        if now not in self._conclusions:
            self._conclusions[now] = self._concluded(now)
        return self._conclusions[now]

    @cached_property
    def _conclusions(self) -> dict[datetime, JobEnd | None]:
        """By time: every guard asks again, and a head's list may be long."""
        return {}

    def _concluded(self, now: datetime) -> JobEnd | None:
        if kuberay_reports_end(self.rayjob):
            written = None if self.may_have_cluster else annotations.recorded_outcome(self.rayjob)
            if isinstance(written, InvalidValue) or (written and not plausible((written[1],), now)):
                written = None
            first_finished = self.memory.first_finished or now
            return finish(
                self.rayjob, self.probe, first_finished, written, not_before=self._not_before(now)
            )
        return (
            self._unreported(now)
            or self._by_rays_word(now)
            or (None if self.swept else self._stuck(now))
        )

    def _not_before(self, now: datetime) -> datetime | None:
        """The job did not end before this time, by what this process saw. None: it saw nothing.

        While the status alone tells of an end, its own sight counts. Once the head tells of one,
        the head's counts too. A status that is stuck tells nothing by calling the job unfinished.
        An end that the head told of counts even after the head has forgotten the job.
        """
        seen = self.memory
        status = seen.last_seen_unfinished if kuberay_reports_end(self.rayjob) else None
        is_told = self.head_tells_of_the_end or not kuberay_reports_end(self.rayjob)
        head = seen.last_seen_active if is_told else None
        moments = [self._by_wall_clock(one, now) for one in (status, head) if one]
        moments += [seen.reported_end] if seen.reported_end else []
        return max(moments, default=None)

    @property
    def head_tells_of_the_end(self) -> bool:
        """Whether a look found that the job is not at work any more. A silent head tells nothing, see may_have_ended_lately."""
        return self.probe is not None and self.head_report.state in (
            ReportedState.TERMINAL,
            ReportedState.NOT_FOUND,
            ReportedState.NO_HEAD,
        )

    def _by_wall_clock(self, seen: Observation, now: datetime) -> datetime:
        """If the wall clock was set back since, by the monotonic one."""
        return min(seen.at, now - (self.uptime - seen.uptime))

    def finish(self, now: datetime) -> JobEnd:
        """The conclusion, where there is one."""
        found = self.conclusion(now)
        assert found is not None
        return found

    def retention(self, now: datetime) -> Retention:
        """The two times, and where they come from."""
        end = self.finish(now)
        return self._kept[(end.outcomes, end.by)]

    @cached_property
    def _kept(self) -> "_Kept":
        return _Kept(self.sources, is_swept=self.swept)

    def rayjob_due_at(self, now: datetime) -> datetime | None:
        """When the RayJob may go: not before its cluster, while that is there. None: never."""
        ttl, cluster = self._elapses_at(self.retention(now).ttl, now), self.cluster_due_at(now)
        if self.cluster is None or ttl is None:
            return ttl
        return max(ttl, cluster) if cluster else None

    def cluster_due_at(self, now: datetime) -> datetime | None:
        """When the RayCluster may go, whether it is there or not. None: never."""
        return self._elapses_at(self.retention(now).cluster_ttl, now)

    def _elapses_at(self, ttl: SourcedDuration, now: datetime) -> datetime | None:
        """When that long has passed since the end: by the wall clock, and by uptime if this process saw the end."""
        due, end = _after(self.finish(now).at, ttl), self._end_seen(now)
        if due is None or end is None or not isinstance(ttl.value, timedelta):
            return due
        left = end + ttl.value - self.uptime
        return max(due, now + left) if left > timedelta() else due

    def _end_seen(self, now: datetime) -> timedelta | None:
        """The uptime since which this process sees the job ended; None: it may have ended before."""
        if self.finish(now).outcome is None:
            return None
        seen = self.memory
        if (
            seen.first_seen_ended is not None
            or seen.last_seen_active is None
            or not self.head_tells_of_the_end
        ):
            return seen.first_seen_ended
        return self.uptime if seen.terminal_since is None else seen.terminal_since

    def due_at(self, now: datetime) -> datetime | None:
        """When the first of them may go. None: nothing ever."""
        if self.retention(now).keeps_all:
            return None
        times = [
            self.rayjob_due_at(now),
            self.cluster_due_at(now) if self.may_have_cluster else None,
        ]
        return min((time for time in times if time), default=None)

    def is_for_cluster_alone(self, now: datetime) -> bool:
        """Whether what is due now is the RayCluster without its RayJob, which stays as the record. A sweep takes both."""
        if self.swept:
            return False
        due = self.rayjob_due_at(now)
        return self.may_have_cluster and (due is None or now < due)

    def comes_back_by(self, now: datetime) -> str:
        """What would create the RayJob again, where it does not say itself that it may go; "" where nothing would."""
        job, end = self.rayjob, self.finish(now)
        if job.deleting_since or (end.outcome and annotations.has_own_ttl(job, end.outcome)):
            return ""
        return recreation.creator(job, self.parameters.recreated_by)

    def would_be_deleted(self, now: datetime) -> bool:
        """Whether a look at the head could end in a deletion: not in dry run, nor if it would only be created again."""
        if self.dry_run_by:
            return False
        cluster_due = self.cluster_due_at(now) if self.may_have_cluster else None
        is_cluster_due = cluster_due is not None and cluster_due <= now
        return is_cluster_due or not self.comes_back_by(now)

    def kuberay_deletes_cluster_at(self) -> datetime | None:
        """When KubeRay itself will delete the RayCluster; None: it will not."""
        return kuberay_spec.forecast(self.rayjob).raycluster_at

    def cluster_kept_at_most_until(self, now: datetime) -> datetime | None:
        """When a limit wants the RayCluster gone at the latest; None: no limit does."""
        kept = self.retention(now)
        limit = (
            policies.longest_for_cluster(self.policies or (), kept.ttl)
            if kept.cluster_ttl != BUILT_IN
            else None
        )
        return _after(self.finish(now).at, limit) if limit else None

    def unchanged_for(self) -> timedelta:
        """For how long the two words of the status have been as they are, as far as this process has seen."""
        since = self.memory.status_since if self._is_status_as_before else None
        return self.uptime - since if since is not None else timedelta()

    def bulk_expiry_until(self, now: datetime) -> datetime | None:
        """Until when it waits, because not the RayJob but a default, a clock or our absence put its due time into the past."""
        due = self.due_at(now)
        if due is None or due > now:
            return None
        waits = (self._bulk_expiry_until(due, now), self._clock_settles(now))
        return max((until for until in waits if until), default=None)

    def _clock_settles(self, now: datetime) -> datetime | None:
        """After the wall clock was set forward nothing that it makes due is deleted at once."""
        settles = self.clock_settles_at
        return (
            now + (settles - self.uptime) if settles is not None and settles > self.uptime else None
        )

    def _bulk_expiry_until(self, due: datetime, now: datetime) -> datetime | None:
        seen = self.memory
        if self._is_own_wish(now):
            return None
        if seen.bulk_expiry_until:
            return seen.bulk_expiry_until
        if seen.first_finished is None and seen.status_since is None:
            until = self.started_at + self.parameters.bulk_expiry_wait if self.started_at else now
            return until if self._may_have_been_moved(due, now) and until > now else None
        if seen.own_times is None:
            return None  # it has just ended
        was_unknown = (
            seen.due_at is None and seen.first_finished is None
        )  # what would say it could not be read then
        was_moved = (
            self._may_have_been_moved(due, now)
            if was_unknown
            else seen.due_at is None or seen.due_at > now
        )
        return now + self.parameters.bulk_expiry_wait if was_moved else None

    def _is_own_wish(self, now: datetime) -> bool:
        """Whether a change of the times that the RayJob sets itself made it due, and no default or limit did."""
        if self.memory.own_times in (None, own_times(self.rayjob)):
            return False
        kept = self.retention(now)
        times = ((self.rayjob_due_at(now), kept.ttl), (self.cluster_due_at(now), kept.cluster_ttl))
        return not any(due and due <= now and ttl.inherited for due, ttl in times)

    def _may_have_been_moved(self, due: datetime, now: datetime) -> bool:
        """At first sight nobody remembers whether a default put its due time into the past just before."""
        kept = self.retention(now)
        return (
            now - due > self.parameters.bulk_expiry_overdue
            or kept.ttl.inherited
            or kept.cluster_ttl.inherited
        )

    def kept_until(self, now: datetime) -> datetime | InvalidValue | None:
        """Until when somebody asked to keep it, within the limits, which a sweep leaves out; a Fault keeps without an end."""
        due = None if self.swept else self.due_at(now)
        return resolve.keep_until(self.sources, due, self.parameters.bulk_expiry_wait)

    def still_running_ends_at(self) -> datetime | None:
        """When a job that the head still calls active may go all the same, by policy. None: never."""
        since = self.rayjob.end_time or self.rayjob.status_written_at
        is_final = self.has_ended_by_status and not self.swept
        return (
            resolve.stuck_deadline(
                self.sources, "stillRunning", since, self.parameters.bulk_expiry_wait
            )
            if is_final
            else None
        )

    def in_use_ends_at(self, now: datetime) -> datetime | None:
        """When a cluster that something else uses may go all the same, by policy. None: never."""
        due = None if self.swept else self.due_at(now)
        return resolve.stuck_deadline(
            self.sources, "clusterInUse", due, self.parameters.bulk_expiry_wait
        )

    def unreachable_ends_at(self, now: datetime) -> datetime | None:
        """When a policy ends the wait for a head that gives no usable answer. None: never.

        Only an answer of its head ends the wait for a lost job. A job on a dead node is kept no longer than
        a running one.
        """
        if self.swept or self.finish(now).by is Reason.JOB_LOST:
            return None
        since = self.due_at(now)
        ends = resolve.stuck_deadline(
            self.sources, "headUnreachable", since, self.parameters.bulk_expiry_wait
        )
        running_ends = self.still_running_ends_at() if self.is_on_dead_node else None
        return min((time for time in (ends, running_ends) if time), default=None)

    def patience_ends_at(self, reason: Reason, now: datetime) -> datetime | None:
        """When a policy puts an end to what a look is kept by. None: never."""
        if reason is Reason.STILL_RUNNING:
            return self.still_running_ends_at()
        if reason in (Reason.HEAD_UNREACHABLE, Reason.HEAD_UNAUTHORIZED):
            return self.unreachable_ends_at(now)
        return self.in_use_ends_at(now) if reason is Reason.CLUSTER_IN_USE else None

    @property
    def has_ended_by_status(self) -> bool:
        """Whether the status alone says that the job has ended, by KubeRay's word or by Ray's."""
        return kuberay_reports_end(self.rayjob) or self.has_unreported_end

    @property
    def has_unreported_end(self) -> bool:
        """Whether the status holds Ray's word of the job's end, and KubeRay did not finish the RayJob by it."""
        job = self.rayjob
        if job.deployment_status not in MAY_RUN or not ray_reports_end(job):
            return False
        return not retries_are_left(job, TERMINAL_JOB_STATUS[job.job_status])

    @property
    def is_on_dead_node(self) -> bool:
        """Whether the head says that the node of the job is dead, and what else is in the cluster."""
        head = self.probe.head if self.probe else None
        return isinstance(head, HeadSilent) and head.node_is_dead and head.listed is not None

    @property
    def is_missed(self) -> bool:
        """Whether the head answers that it does not know the job, or that the job's node is dead."""
        head = self.probe.head if self.probe else None
        if isinstance(head, HeadSilent):
            return head.node_is_dead
        is_whole = isinstance(head, HeadList) and not head.unreadable
        return is_whole and self.head_report.state is ReportedState.NOT_FOUND

    def needs_no_head(self, now: datetime) -> bool:
        """Whether a head without a usable answer says enough: no job can have reached it, or its job is lost."""
        by, cluster = self.finish(now).by, self.probe.cluster if self.probe else None
        if by is Reason.JOB_LOST:
            return self.is_on_dead_node
        if by is not Reason.STUCK_INITIALIZING:
            return False
        if self.rayjob.submission_mode == names.INTERACTIVE_MODE:
            return cluster is None or not head_is_up(cluster)
        return self.rayjob.submission_mode in names.MODES_SUBMITTED_TO_A_READY_CLUSTER

    def is_good_enough_without_the_head(self) -> bool:
        """Whether a silent head may be done without: the status holds what Ray once said, or there is no head any more."""
        job, cluster = self.rayjob, self.probe.cluster if self.probe else None
        if self.has_ended_by_status and ray_reports_end(job):
            return True
        is_final = kuberay_reports_end(job)
        if is_final and job.reason in DEADLINE_REASONS:
            return True
        if not is_final and job.deployment_status != "Initializing":
            return False
        return cluster is not None and head_is_gone(cluster)

    def was_silent_long_enough(self) -> bool:
        """This look counted: so many in a row, over so long a time."""
        since = self.memory.silent_since
        is_long = since is not None and self.uptime - since >= self.parameters.unconfirmed_after
        return is_long and self.memory.silent_probes + 1 >= self.parameters.unconfirmed_probes

    def may_have_ended_lately(self, now: datetime) -> bool:
        """Whether its head called the job active less than its TTL ago, by the monotonic clock, and tells nothing since."""
        active, kept = self.memory.last_seen_active, self.retention(now)
        ttl = kept.cluster_ttl.value if self.is_for_cluster_alone(now) else kept.ttl.value
        return (
            active is not None and isinstance(ttl, timedelta) and self.uptime - active.uptime < ttl
        )

    @property
    def _is_status_as_before(self) -> bool:
        return self.memory.status == (self.rayjob.deployment_status, self.rayjob.job_status)

    def _unreported(self, now: datetime) -> JobEnd | None:
        """Row FinishedUnreported: the status stands still, and the head said twice, some time apart, that the job ended."""
        entry, since = self._terminal_entry(), self.memory.terminal_since
        if (
            self.rayjob.deployment_status not in MAY_HANG
            or self.unchanged_for() < self.parameters.unchanged_after
        ):
            return None
        if entry is None or since is None or self.uptime - since < self.parameters.unreported_after:
            return None
        outcome = TERMINAL_JOB_STATUS[entry.status]
        if retries_are_left(self.rayjob, outcome):
            return None
        answered_at = (
            self.probe.head.answered_at
            if self.probe and isinstance(self.probe.head, HeadList)
            else now
        )
        times = plausible((entry.end_time, self.rayjob.ray_end_time), answered_at)
        at = max(times, default=self.memory.first_finished or now)
        at = not_earlier(at, self._earliest_unreported(now))
        reported = TERMINAL_JOB_STATUS.get(self.rayjob.job_status, outcome)
        return JobEnd(outcome, at, reported, Reason.FINISHED_UNREPORTED)

    def _by_rays_word(self, now: datetime) -> JobEnd | None:
        """Row FinishedUnreported: the status holds Ray's own word of the end, and has not changed.

        A head that answers is stronger: its entry gives the outcome, or keeps the job as still running.
        """
        if not self.has_unreported_end or self.unchanged_for() < self.parameters.unchanged_after:
            return None
        end = finish(self.rayjob, self.probe, self.memory.first_finished or now)
        if end.outcome and retries_are_left(self.rayjob, end.outcome):
            return None
        return replace(
            end,
            at=not_earlier(end.at, self._earliest_unreported(now)),
            by=Reason.FINISHED_UNREPORTED,
        )

    def _earliest_unreported(self, now: datetime) -> list[datetime]:
        """No end before the last write of a status that KubeRay has not made final: the API server's clock."""
        earliest = earliest_ends(self.rayjob, self._not_before(now), now)
        return [*earliest, *plausible((self.rayjob.status_written_at,), now)]

    def _terminal_entry(self) -> JobEntry | None:
        if self.probe is None or self.head_report.state is ReportedState.NO_ANSWER:
            return self.memory.terminal
        return self.head_report.own if self.head_report.state is ReportedState.TERMINAL else None

    def _stuck(self, now: datetime) -> JobEnd | None:
        """A cluster that never became ready, lost jobs, and interactive jobs that nobody submitted."""
        job = self.rayjob
        if self.has_unreported_end:
            return None
        if job.deployment_status == "Initializing":
            return (
                JobEnd(None, job.start_time, None, Reason.STUCK_INITIALIZING)
                if job.start_time
                else None
            )
        if job.deployment_status not in MAY_HANG or self.head_report.own is not None:
            return None
        if job.job_status or job.ray_start_time:
            since = self.memory.missed_since if self._is_status_as_before else None
            missed = since or (now if self.is_missed else None)
            return JobEnd(None, missed, None, Reason.JOB_LOST) if missed else None
        if job.submission_mode != names.INTERACTIVE_MODE:
            return None
        since = self._submittable_since(now)
        if since is None:
            return None
        entries = (
            self.probe.head.entries if self.probe and isinstance(self.probe.head, HeadList) else ()
        )
        ends = [entry.end_time for entry in entries if entry.end_time]
        return JobEnd(None, max([since, *ends]), None, Reason.NEVER_SUBMITTED)

    def _submittable_since(self, now: datetime) -> datetime | None:
        """Since when a person can submit to the cluster. None: that is not known, and so nothing ends.

        KubeRay writes the status Waiting once the cluster is ready, and nothing after it; a head that
        became ready later counts from then.
        """
        head = self.probe.cluster.head_ready_since if self.probe and self.probe.cluster else None
        known = plausible((self.rayjob.status_written_at, head), now)
        started = [self.rayjob.start_time] if self.rayjob.start_time else []
        return max([*known, *started]) if known else None


def _after(start: datetime, ttl: SourcedDuration) -> datetime | None:
    """Kubernetes writes whole seconds, cut off: the job may have ended almost a second later than the status says."""
    due = after(start, ttl.value)
    return after(due, WHOLE_SECOND if start.microsecond == 0 else timedelta()) if due else None


class _Kept(dict[tuple[frozenset[Outcome], Reason], Retention]):
    """The retention by outcomes and kind of end, found once each: the guards ask for it again and again."""

    def __init__(self, sources: Sources, *, is_swept: bool) -> None:
        super().__init__()
        self._sources, self._is_swept = sources, is_swept

    def __missing__(self, end: tuple[frozenset[Outcome], Reason]) -> Retention:
        outcomes, by = end
        found = (
            resolve.resolve(self._sources, outcomes)
            if outcomes
            else resolve.resolve_unsubmitted(self._sources, by)
        )
        self[end] = resolve.for_sweep(found) if self._is_swept else found
        return self[end]
