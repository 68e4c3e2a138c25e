"""The closed vocabulary: every reason to keep, to wait or to delete, each with its meaning and its remedy.

The same word is the Event's reason, the metric's label, the log's field and the command line's answer.
"""

from enum import StrEnum


class Reason(StrEnum):
    """One word, and why it is said. `.meaning` is one sentence, `.remedy` another."""

    meaning: str
    remedy: str
    is_warning: bool
    deletes: bool

    def __new__(cls, word: str, meaning: str, remedy: str, kind: str = "keep") -> "Reason":
        """kind: keep (silent), warn (an Event on the RayJob) or delete."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning, member.remedy = meaning, remedy
        member.is_warning, member.deletes = kind == "warn", kind == "delete"
        return member

    NOT_FINISHED = (
        "NotFinished",
        "The RayJob has not reached an end that KubeRay calls final.",
        "Nothing to do; it is judged again whenever its status changes.",
    )
    NO_TTL = (
        "NoTTL",
        "The job has finished and nothing says when it may go: no TTL is set, or it is never.",
        "Set raysweep.io/ttl on the RayJob or on its Namespace, or a retention in a RayJobCleanupPolicy.",
    )
    NOT_DUE = (
        "NotDue",
        "The job has finished and its time has not elapsed yet.",
        "Wait, or shorten the TTL at the source that is named.",
    )
    KEPT_BY_USER = (
        "KeptByUser",
        "Somebody asked to keep it until a given time.",
        "Remove raysweep.io/keep-until to let it go earlier.",
    )
    BEING_DELETED = (
        "BeingDeleted",
        "The RayJob is being deleted already.",
        "If it stays, look at its finalizers: KubeRay removes its own when it runs.",
    )
    SUSPENDED = (
        "Suspended",
        "The RayJob is suspended and may be resumed, as Kueue does.",
        "Resume it, or delete it by hand.",
    )
    MANAGED_ELSEWHERE = (
        "ManagedElsewhere",
        "Another controller or another cluster answers for this RayJob (spec.managedBy, MultiKueue).",
        "Clean it up where it is managed.",
    )
    PROTECTED_NAMESPACE = (
        "ProtectedNamespace",
        "The namespace is protected.",
        "Move the RayJob, or take the namespace off the setting protected-namespaces.",
    )
    STILL_RUNNING = (
        "StillRunning",
        "The RayJob says it has ended and the Ray head says the job is still pending or running.",
        "Wait for the job, or stop it; the head is asked again, and a policy's spec.stuck.stillRunning puts an end to it.",
        "warn",
    )
    CLUSTER_IN_USE = (
        "ClusterInUse",
        "Something else uses the cluster, or it cannot be told that nothing does.",
        "End the other job, driver or RayJob that is named; the head is asked again, and a policy's "
        "spec.stuck.clusterInUse puts an end to it.",
        "warn",
    )
    NOT_OWNED = (
        "NotOwned",
        "The RayCluster that the status names does not belong to this RayJob.",
        "Delete the RayJob by hand if it is no longer wanted; the cluster is somebody else's.",
        "warn",
    )
    OTHER_CLUSTER = (
        "OtherCluster",
        "The RayJob owns a RayCluster other than the one its status names.",
        "Find out which of the two is in use and delete the other by hand.",
        "warn",
    )
    AMBIGUOUS = (
        "Ambiguous",
        "The RayJob names no submission ID and the head knows several submitted jobs.",
        "Set spec.jobId to the submission ID that is meant.",
        "warn",
    )
    HEAD_UNREACHABLE = (
        "HeadUnreachable",
        "The Ray head gave no usable answer, and unknown is not finished.",
        "Look at the head's Pod and at the network between Raysweep and it; the head is asked again.",
        "warn",
    )
    HEAD_UNAUTHORIZED = (
        "HeadUnauthorized",
        "The Ray head wants a token that Raysweep does not have.",
        "Delete the RayJob by hand once you know that it has finished.",
        "warn",
    )
    HEADS_UNREACHABLE = (
        "HeadsUnreachable",
        "So many heads gave no usable answer lately that the fault is probably on Raysweep's side.",
        "Look at DNS, network policies and Raysweep's rights; nothing goes unconfirmed until heads answer again.",
        "warn",
    )
    WILL_BE_RECREATED = (
        "WillBeRecreated",
        "Something would create the RayJob again, and its job would run again.",
        "Take it out of the tool that tracks it, or set raysweep.io/ttl on the RayJob itself.",
    )
    WOULD_BE_REBUILT = (
        "WouldBeRebuilt",
        "KubeRay would rebuild the cluster of a RayJob that it has not brought to an end, and run the job again.",
        "Nothing to do; the cluster goes with the RayJob at its own time.",
    )
    NATIVE_FIRST = (
        "NativeFirst",
        "KubeRay itself will delete the RayCluster.",
        "Nothing to do; Raysweep acts if KubeRay has not a minute after its time.",
    )
    BACKLOG = (
        "Backlog",
        "A change of a default, or a time when Raysweep was away, made it due all at once, so it waits to be stopped in case.",
        "Wait, or undo the change within that time.",
    )
    BACKLOG_TOO_LARGE = (
        "BacklogTooLarge",
        "More than the allowed number became due all at once, so none of them goes.",
        "Undo the change; once you are sure, raise the setting backlog-max, or sweep them.",
        "warn",
    )
    MALFORMED = (
        "Malformed",
        "A raysweep.io annotation or a policy that would decide cannot be understood, so everything is kept.",
        "Correct the value that is named; `raysweep lint` finds them all.",
        "warn",
    )
    LIMITS_CONFLICT = (
        "LimitsConflict",
        "The limits of the policies that select it contradict each other, so it is kept.",
        "Change one of the two limits that are named.",
        "warn",
    )
    UNREADABLE = (
        "Unreadable",
        "The RayJob, its RayCluster or its Namespace could not be read.",
        "Correct the field that is named.",
        "warn",
    )
    NAMESPACE_UNKNOWN = (
        "NamespaceUnknown",
        "The RayJob's Namespace, which may say keep, has not been seen.",
        "Nothing to do where it is new; otherwise see whether Raysweep may list and watch Namespaces.",
    )
    POLICIES_UNKNOWN = (
        "PoliciesUnknown",
        "The cleanup policies, which may say keep, could not be read.",
        "See whether the API server answers and Raysweep may list rayjobcleanuppolicies; they are asked for again.",
    )
    INTERNAL_ERROR = (
        "InternalError",
        "Raysweep failed while judging this object, so it is kept; the others go on.",
        "Look for the traceback in the log and report it.",
        "warn",
    )
    EXPIRED = (
        "Expired",
        "The job has finished and its TTL has elapsed.",
        "Set a longer TTL for the jobs to come.",
        "delete",
    )
    NATIVE_CLEANUP_MISSED = (
        "NativeCleanupMissed",
        "KubeRay should have deleted the RayCluster and had not a minute after its time.",
        "Look at the KubeRay operator: it may be down or behind.",
        "delete",
    )
    UNCONFIRMED = (
        "Unconfirmed",
        "The head stayed silent, and the RayJob's own word of its end was good enough.",
        "Nothing to do; the head was gone, or the status holds what Ray once said.",
        "delete",
    )
    FINISHED_UNREPORTED = (
        "FinishedUnreported",
        "The head said twice that the job has ended, and the RayJob never noticed.",
        "Look for a hung submitter, or a KubeRay that is down.",
        "delete",
    )
    NEVER_SUBMITTED = (
        "NeverSubmitted",
        "No job was ever submitted to the cluster.",
        "Nothing to do; raysweep.io/ttl-unsubmitted, or a policy's spec.stuck.neverSubmitted, had elapsed.",
        "delete",
    )
    JOB_LOST = (
        "JobLost",
        "The head does not know the job any more, and nobody will bring it back.",
        "Look why the head was lost, and submit the job again if it is still wanted; raysweep.io/ttl-unsubmitted, or a policy's "
        "spec.stuck.jobLost, had elapsed.",
        "delete",
    )
    STUCK_INITIALIZING = (
        "StuckInitializing",
        "The cluster never became ready.",
        "Look at the cluster's Pods: their image, resources or quota; raysweep.io/ttl-unsubmitted, or a policy's "
        "spec.stuck.initializing, had elapsed.",
        "delete",
    )
    STUCK_RUNNING = (
        "StuckRunning",
        "The RayJob says it has ended and the Ray head still calls the job active, for longer than a policy's "
        "spec.stuck.stillRunning.",
        "Look why KubeRay gave the job up while it ran: a broken log stream, or a hung submitter.",
        "delete",
    )
    STUCK_IN_USE = (
        "StuckInUse",
        "Something else still used the cluster of a finished job, and a policy's spec.stuck.clusterInUse had elapsed.",
        "Give work that outlasts its RayJob a cluster of its own.",
        "delete",
    )
    DELETION_UNFINISHED = (
        "DeletionUnfinished",
        "The RayJob is being deleted, finished and due, and its RayCluster was still there.",
        "Look why KubeRay does not remove its finalizer from the RayJob.",
        "delete",
    )
    SWEPT = (
        "Swept",
        "A person asked for it to go now, and the job has finished.",
        "Nothing to do.",
        "delete",
    )
