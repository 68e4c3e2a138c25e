"""The guards about time and ownership, up to the question to the head: when is it due, whose is it, who acts first? Pure."""

from datetime import datetime

from raysweep import names
from raysweep.core.assessment import Case
from raysweep.core.checks.answers import keep_finished, times, wait, why
from raysweep.core.durations import Never, format_duration
from raysweep.core.finish import TERMINAL_JOB_STATUS, WANTED_AN_END, Says, has_ended_by_its_own_word, shown_status
from raysweep.core.model.decisions import AskHead, Decision, Question, Wait
from raysweep.core.model.provenance import Fault
from raysweep.core.model.reasons import Reason
from raysweep.core.retention import annotations, policies
from raysweep.core.text import quoted


def no_ttl(case: Case, now: datetime) -> Decision | None:
    """Nothing is deleted until somebody has set a TTL."""
    if case.due_at(now) is not None:
        return None
    kept = case.retention(now)
    told = [("ttl", kept.ttl)] if isinstance(kept.ttl.value, Never) else []
    told += [("cluster-ttl", kept.cluster_ttl)] if case.may_have_cluster else []
    evidence = ", ".join(f"{key} never ({said.origin})" for key, said in told)
    return keep_finished(no_ttl, Reason.NO_TTL, evidence, (case, now))


def not_due(case: Case, now: datetime) -> Decision | None:
    """The TTL has not elapsed."""
    due = case.due_at(now)
    if due is None or now >= due:
        return None
    if _is_doubtful(case):
        return AskHead(why(not_due, Reason.NOT_DUE, times(case, now), (case, now)), Question.POLL)
    own = case.testimony.own
    if case.testimony.says is Says.ACTIVE and own is not None:  # told now, so that nobody is surprised when it is due
        evidence = f"the head says {quoted(own.submission_id)} is {shown_status(own)}"
        return wait(not_due, Reason.STILL_RUNNING, due, (evidence, case, now))
    return wait(not_due, Reason.NOT_DUE, due, (times(case, now), case, now))


def _is_doubtful(case: Case) -> bool:
    """It ended by KubeRay's word and not by Ray's, and nobody wanted that end: its head is asked once, long before it is due."""
    job = case.rayjob
    is_final = has_ended_by_its_own_word(job) and job.deleting_since is None
    is_odd = is_final and job.job_status not in TERMINAL_JOB_STATUS and job.reason not in WANTED_AN_END
    return is_odd and case.look is None and not case.memory.polls and case.may_have_cluster


def kept_by_user(case: Case, now: datetime) -> Decision | None:
    """Somebody asked for more time, on the RayJob or for the whole Namespace."""
    until = case.kept_until(now)
    if not isinstance(until, datetime) or now >= until:
        return None
    things = (case.rayjob, case.sources.namespace)
    said = next((reason for thing in things if (reason := thing.annotations.get(names.KEEP_REASON))), "")
    asked = [annotations.keep_until(thing) for thing in things]
    is_cut = any(isinstance(one, Fault) or (one and one > until) for one in asked)
    limit = policies.tightest(case.sources.policies, "limits.keep.max") if is_cut else None
    evidence = f"until {until:%Y-%m-%dT%H:%M:%SZ}" + (f", because {quoted(said)}" if said else "")
    evidence += f"; asked for longer, limited to {format_duration(limit.value)} by {limit.source}" if limit else ""
    return wait(kept_by_user, Reason.KEPT_BY_USER, until, (evidence, case, now))


def not_owned(case: Case, now: datetime) -> Decision | None:
    """A RayCluster goes only if this RayJob owns it, is done with it, and it is the one its status names."""
    job, look = case.rayjob, case.look
    if job.has_selector and not case.owned:
        return None  # its cluster is never a target, see Case.cluster
    if not job.has_selector and look and look.cluster and not look.is_poll and look.cluster.controller_uid != job.uid:
        evidence = f"RayCluster {look.cluster.name} has another owner, or none"
        return keep_finished(not_owned, Reason.NOT_OWNED, evidence, (case, now))
    if case.other_clusters:
        evidence = f"status names {quoted(job.cluster_name)}, owned is {', '.join(case.other_clusters)}"
        return keep_finished(not_owned, Reason.OTHER_CLUSTER, evidence, (case, now))
    return _would_be_rebuilt(case, now)


def _would_be_rebuilt(case: Case, now: datetime) -> Decision | None:
    if has_ended_by_its_own_word(case.rayjob) or not case.is_for_cluster_alone(now):
        return None
    due, evidence = case.rayjob_due_at(now), f"jobDeploymentStatus is {quoted(case.rayjob.deployment_status)}"
    if due is None:
        return keep_finished(not_owned, Reason.WOULD_BE_REBUILT, evidence, (case, now))
    return wait(not_owned, Reason.WOULD_BE_REBUILT, due, (evidence, case, now))


def native_first(case: Case, now: datetime) -> Decision | None:
    """KubeRay deletes the cluster by itself; we do where it has not. A RayJob that is due itself goes, cluster included."""
    native_at = case.native_cluster_at()
    is_alone = case.is_for_cluster_alone(now) or (case.may_have_cluster and case.comes_back_by(now))
    if native_at is None or case.rayjob.deleting_since or not is_alone:
        return None
    limit = case.cluster_kept_at_most_until(now)
    ours = min(one for one in (native_at + case.rules.native_grace, limit) if one)
    if now >= ours:
        return None
    return wait(native_first, Reason.NATIVE_FIRST, ours, (f"KubeRay will at {native_at:%Y-%m-%dT%H:%M:%SZ}", case, now))


def backlog(case: Case, now: datetime) -> Decision | None:
    """What a change of a default, or our own absence, made due at once waits, so that a mistake can be stopped."""
    until = case.backlog_until(now)
    if until is None or now >= until or case.rayjob.deleting_since:
        return None
    return wait(backlog, Reason.BACKLOG, until, (f"{times(case, now)}; {case.backlog_size} wait", case, now))


def ask_head(case: Case, now: datetime) -> Decision | None:
    """Right before a deletion the head is asked, but not again and again while it gives the same answer."""
    if case.look is not None and not case.look.is_poll:
        return None
    told, again_at = case.memory.kept_by_look, _look_again_at(case, now)
    if told and again_at and now < again_at:
        return Wait(again_at, told)
    return AskHead(why(ask_head, case.finish(now).by, times(case, now), (case, now)))


def _look_again_at(case: Case, now: datetime) -> datetime | None:
    """When the last look's answer is to be asked for again; None: at once."""
    seen = case.memory
    if seen.kept_by_look is None or seen.looked_at != case.rayjob.resource_version:
        return None
    if seen.kept_by_look.reason.deletes and not case.observed_by:
        return None  # it was only observed, and may go now
    ends = case.patience_ends_at(seen.kept_by_look.reason, now)
    is_news = ends and seen.last_look_at and seen.look_again_at and seen.last_look_at < ends < seen.look_again_at
    return ends if is_news else seen.look_again_at
