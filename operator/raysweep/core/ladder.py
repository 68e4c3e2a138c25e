"""What happens to a RayJob now? The guards in their order, and decide(), which takes the first answer. Pure.

Every guard is a question with a name: it answers Keep, Wait, AskHead or Delete, or lets the next one speak. The operator and
its tests walk this same LADDER. Facts come in as a Case, time as an argument; nothing here waits, asks or writes.
"""

from collections.abc import Callable
from datetime import datetime

from raysweep import names
from raysweep.core import retention
from raysweep.core.case import Case
from raysweep.core.decisions import AskHead, Decision, Delete, Keep, Target, Wait, Why
from raysweep.core.durations import Never, format_duration
from raysweep.core.facts import HeadList, HeadSilent
from raysweep.core.finished import WANTED_AN_END, Says, has_ended_by_its_own_word, is_unfinished
from raysweep.core.reasons import Reason
from raysweep.core.retention import Fault
from raysweep.core.text import plain, quoted

Guard = Callable[[Case, datetime], Decision | None]


def being_deleted(case: Case, now: datetime) -> Decision | None:
    """Lets one pass whose cluster must still go: KubeRay may be down, and we may have died between the two deletions."""
    if case.rayjob.deleting_since is None:
        return None
    if names.ORPHAN_FINALIZER in case.rayjob.finalizers:
        return _keep(being_deleted, Reason.BEING_DELETED, "somebody deletes it and wants its cluster to stay (finalizer orphan)")
    if case.cluster is None or not has_ended_by_its_own_word(case.rayjob):
        return _keep(being_deleted, Reason.BEING_DELETED, f"since {case.rayjob.deleting_since:%Y-%m-%dT%H:%M:%SZ}")
    return None


def protected_namespace(case: Case, now: datetime) -> Decision | None:
    """Kubernetes' own namespaces, and those that a setting adds."""
    if case.rayjob.namespace not in case.protected:
        return None
    return _keep(protected_namespace, Reason.PROTECTED_NAMESPACE, f"namespace {case.rayjob.namespace}")


def managed_elsewhere(case: Case, now: datetime) -> Decision | None:
    """Deleting a copy that another cluster dispatched makes it run again (kueue#14734)."""
    if case.rayjob.managed_by not in ("", names.KUBERAY_MANAGER):
        return _keep(managed_elsewhere, Reason.MANAGED_ELSEWHERE, f"spec.managedBy is {quoted(case.rayjob.managed_by)}")
    if names.MULTIKUEUE_ORIGIN_LABEL in case.rayjob.labels:
        return _keep(managed_elsewhere, Reason.MANAGED_ELSEWHERE, f"label {names.MULTIKUEUE_ORIGIN_LABEL}")
    return None


def suspended(case: Case, now: datetime) -> Decision | None:
    """Kueue's evictions look like this; a job that has ended stays ended, whatever spec.suspend says later."""
    if case.rayjob.deployment_status in ("Suspending", "Suspended"):
        return _keep(suspended, Reason.SUSPENDED, f"jobDeploymentStatus {case.rayjob.deployment_status}")
    if case.rayjob.suspend and not has_ended_by_its_own_word(case.rayjob):
        return _keep(suspended, Reason.SUSPENDED, "spec.suspend is true")
    return None


def unreadable(case: Case, now: datetime) -> Decision | None:
    """What cannot be read might say keep."""
    if case.rayjob.unreadable:
        return _keep(unreadable, Reason.UNREADABLE, f"RayJob {case.rayjob.key}: {case.rayjob.unreadable}")
    if case.look and case.look.cluster and case.look.cluster.unreadable:
        return _keep(unreadable, Reason.UNREADABLE, f"RayCluster {case.look.cluster.name}: {case.look.cluster.unreadable}")
    if case.namespace is None:
        return _keep(unreadable, Reason.NAMESPACE_UNKNOWN, f"Namespace {case.rayjob.namespace}")
    return None


def malformed(case: Case, now: datetime) -> Decision | None:
    """A value that nobody can understand keeps what it would have decided about."""
    if case.namespace is None or not has_ended_by_its_own_word(case.rayjob):
        return None
    fault = case.retention(now).fault or retention.keep_until(case.rayjob, case.namespace)
    return _keep(malformed, Reason.MALFORMED, str(fault), case, now) if isinstance(fault, Fault) else None


def not_finished(case: Case, now: datetime) -> Decision | None:
    """On the RayJob's own word; the head is asked further down, once everything else says that it is due."""
    if has_ended_by_its_own_word(case.rayjob):
        return None
    status = case.rayjob.deployment_status
    return _keep(
        not_finished,
        Reason.NOT_FINISHED,
        f"jobDeploymentStatus is {quoted(status)}" if status else "it has no status yet",
    )


def no_ttl(case: Case, now: datetime) -> Decision | None:
    """Nothing is deleted until somebody has set a TTL."""
    if case.due_at(now) is not None:
        return None
    kept = case.retention(now)
    told = [("ttl", kept.ttl)] if isinstance(kept.ttl.value, Never) else []
    told += [("cluster-ttl", kept.cluster_ttl)] if case.may_have_cluster else []
    return _keep(no_ttl, Reason.NO_TTL, ", ".join(f"{key} never ({said.source})" for key, said in told), case, now)


def not_due(case: Case, now: datetime) -> Decision | None:
    """The TTL has not elapsed."""
    due = case.due_at(now)
    return Wait(due, _why(not_due, Reason.NOT_DUE, _times(case, now), case, now)) if due and now < due else None


def kept_by_user(case: Case, now: datetime) -> Decision | None:
    """Somebody asked for more time, on the RayJob or for the whole Namespace."""
    assert case.namespace is not None
    until = retention.keep_until(case.rayjob, case.namespace)
    if not isinstance(until, datetime) or now >= until:
        return None
    said = case.rayjob.annotations.get(names.KEEP_REASON) or case.namespace.annotations.get(names.KEEP_REASON)
    evidence = f"until {until:%Y-%m-%dT%H:%M:%SZ}" + (f", because {quoted(said)}" if said else "")
    return Wait(until, _why(kept_by_user, Reason.KEPT_BY_USER, evidence, case, now))


def not_owned(case: Case, now: datetime) -> Decision | None:
    """A RayCluster goes only if this RayJob owns it, and only if it is the one its status names."""
    if case.rayjob.has_selector:
        return _keep(not_owned, Reason.NOT_OWNED, f"spec.clusterSelector names {quoted(case.rayjob.selected_cluster)}", case, now)
    if case.look and case.look.cluster and case.look.cluster.controller_uid != case.rayjob.uid:
        return _keep(not_owned, Reason.NOT_OWNED, f"RayCluster {case.look.cluster.name} has another owner, or none", case, now)
    others = [cluster.name for cluster in case.owned if cluster.name != case.rayjob.cluster_name]
    if others:
        evidence = f"status names {quoted(case.rayjob.cluster_name)}, owned is {', '.join(sorted(others))}"
        return _keep(not_owned, Reason.OTHER_CLUSTER, evidence, case, now)
    return None


def ask_head(case: Case, now: datetime) -> Decision | None:
    """Right before a deletion the head is asked, but not again and again while it gives the same answer."""
    if case.look is not None:
        return None
    seen = case.memory
    if seen.look_again_at and seen.kept_by_look and now < seen.look_again_at and seen.looked_at == case.rayjob.resource_version:
        return Wait(seen.look_again_at, seen.kept_by_look)
    return AskHead(_why(ask_head, Reason.EXPIRED, _times(case, now), case, now))


def head_silent(case: Case, now: datetime) -> Decision | None:
    """Unknown is not finished."""
    if case.look is None or case.testimony.says is not Says.NOTHING:
        return None
    silent = case.look.head if isinstance(case.look.head, HeadSilent) else HeadSilent("it was not asked")
    reason = Reason.HEAD_UNAUTHORIZED if silent.unauthorized else Reason.HEAD_UNREACHABLE
    return _keep(head_silent, reason, plain(silent.detail), case, now)


def ambiguous(case: Case, now: datetime) -> Decision | None:
    """No ID and several submissions: any of them may be the one."""
    if case.testimony.says is not Says.AMBIGUOUS:
        return None
    ids = ", ".join(quoted(e.submission_id) for e in case.testimony.others[:5] if e.type == "SUBMISSION")
    return _keep(ambiguous, Reason.AMBIGUOUS, f"submissions {ids}", case, now)


def still_running(case: Case, now: datetime) -> Decision | None:
    """The head has the last word, unless somebody set a deadline and so wanted the end."""
    if case.testimony.says is not Says.ACTIVE or case.testimony.own is None or case.rayjob.reason in WANTED_AN_END:
        return None
    claimed = f"jobDeploymentStatus {case.rayjob.deployment_status}, jobStatus {quoted(case.rayjob.job_status)}"
    own = case.testimony.own
    return _keep(
        still_running,
        Reason.STILL_RUNNING,
        f"{claimed}; the head says {quoted(own.submission_id)} is {plain(own.status)}",
        case,
        now,
    )


def cluster_in_use(case: Case, now: datetime) -> Decision | None:
    """Another job, a driver such as a notebook, or another RayJob may still be at work in the cluster."""
    head = case.look.head if case.look else None
    if isinstance(head, HeadList) and head.unreadable:
        return _keep(
            cluster_in_use,
            Reason.CLUSTER_IN_USE,
            f"the head's list of jobs cannot be read: {plain(head.unreadable)}",
            case,
            now,
        )
    if busy := [entry for entry in case.testimony.others if is_unfinished(entry)]:
        shown = ", ".join(f"{plain(e.type).lower()} {quoted(e.submission_id or e.job_id)} {plain(e.status)}" for e in busy[:3])
        return _keep(cluster_in_use, Reason.CLUSTER_IN_USE, f"{len(busy)} unfinished in the cluster: {shown}", case, now)
    if case.cluster and case.selected_by:
        return _keep(cluster_in_use, Reason.CLUSTER_IN_USE, f"selected by RayJob {', '.join(case.selected_by[:3])}", case, now)
    return None


def expired(case: Case, now: datetime) -> Decision | None:
    """Nothing speaks against it."""
    job, cluster, due = case.rayjob, case.cluster, case.rayjob_due_at(now)
    if job.deleting_since and cluster:
        only = Target("RayCluster", job.namespace, cluster.name, cluster.uid)
        return Delete((only,), _why(expired, Reason.DELETION_UNFINISHED, _times(case, now), case, now))
    why = _why(expired, Reason.EXPIRED, _times(case, now), case, now)
    if cluster and (due is None or now < due):  # its cluster-ttl elapsed earlier; the RayJob stays as the record
        return Delete((Target("RayCluster", job.namespace, cluster.name, cluster.uid, cluster.resource_version),), why)
    targets = [Target("RayJob", job.namespace, job.name, job.uid, job.resource_version)]
    targets += [Target("RayCluster", job.namespace, cluster.name, cluster.uid)] if cluster else []
    return Delete(tuple(targets), why)


LADDER: tuple[Guard, ...] = (
    being_deleted,  # it goes already; its cluster may need a hand
    protected_namespace,
    managed_elsewhere,
    suspended,  # it may be resumed
    unreadable,
    malformed,  # nobody knows what was meant
    not_finished,
    no_ttl,  # nobody asked for its deletion
    not_due,
    kept_by_user,
    not_owned,  # its cluster is somebody else's
    ask_head,  # from here on a live look speaks
    head_silent,
    ambiguous,
    still_running,
    cluster_in_use,
    expired,
)


def decide(case: Case, now: datetime) -> Decision:
    """The first answer on the ladder."""
    for guard in LADDER:
        if decision := guard(case, now):
            return decision
    raise AssertionError("the last guard always answers")


def _keep(guard: Guard, reason: Reason, evidence: str, case: Case | None = None, now: datetime | None = None) -> Keep:
    return Keep(_why(guard, reason, evidence, case, now))


def _why(guard: Guard, reason: Reason, evidence: str, case: Case | None, now: datetime | None) -> Why:
    name = guard.__name__
    if case is None or now is None:
        return Why(name, reason, evidence)
    end, kept = case.finish(now), case.retention(now)
    return Why(name, reason, evidence, end.outcome, end.at, case.due_at(now), kept.ttl, kept.cluster_ttl)


def _times(case: Case, now: datetime) -> str:
    """`failed 2026-11-22T19:38:36Z, ttl 1h (Namespace team-a annotation raysweep.io/ttl-failed)`."""
    end, kept = case.finish(now), case.retention(now)
    told = f"{end.outcome} {end.at:%Y-%m-%dT%H:%M:%SZ}, ttl {format_duration(kept.ttl.value)} ({kept.ttl.source})"
    if kept.cluster_ttl == kept.ttl:
        return told
    return f"{told}, cluster-ttl {format_duration(kept.cluster_ttl.value)} ({kept.cluster_ttl.source})"
