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
        "Set raysweep.io/ttl on the RayJob or on its Namespace.",
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
        "Wait for the job, or stop it; the head is asked again.",
        "warn",
    )
    CLUSTER_IN_USE = (
        "ClusterInUse",
        "Something else uses the cluster, or it cannot be told that nothing does.",
        "End the other job, driver or RayJob that is named; the head is asked again.",
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
    MALFORMED = (
        "Malformed",
        "A raysweep.io annotation that would decide cannot be understood, so everything is kept.",
        "Correct the value that is named.",
        "warn",
    )
    UNREADABLE = (
        "Unreadable",
        "The RayJob or its RayCluster could not be read.",
        "Correct the field that is named.",
        "warn",
    )
    NAMESPACE_UNKNOWN = (
        "NamespaceUnknown",
        "The RayJob's Namespace, which may say keep, has not been seen.",
        "Nothing to do where it is new; otherwise see whether Raysweep may list and watch Namespaces.",
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
    DELETION_UNFINISHED = (
        "DeletionUnfinished",
        "The RayJob is being deleted, finished and due, and its RayCluster was still there.",
        "Look why KubeRay does not remove its finalizer from the RayJob.",
        "delete",
    )
