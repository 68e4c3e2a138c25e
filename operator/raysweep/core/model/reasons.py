"""The closed vocabulary: every reason to keep, to wait or to delete, each with its meaning and its remedy.

The same word is the Event's reason, the metric's label, the log's field and the command line's answer.
"""

from enum import StrEnum


class Reason(StrEnum):
    """One word, and why it is said. `.meaning` is one sentence, `.remedy` another."""

    description: str
    hint: str
    is_warning: bool
    deletes: bool
    ends: str
    bounds: tuple[str, ...]

    def __new__(
        cls,
        word: str,
        description: str,
        hint: str,
        kind: str = "keep",
        ends: str = "",
        bounds: tuple[str, ...] = (),
    ) -> "Reason":
        """kind: keep (silent), warn (an Event on the RayJob) or delete.

        ends: what ends a keep. bounds: the annotations, fields of a RayJobCleanupPolicy (spec...) and settings that say
        when; without one, only a person or another controller ends it.
        """
        member = str.__new__(cls, word)
        member._value_ = word
        member.description, member.hint = description, hint
        member.ends, member.bounds = ends, bounds
        member.is_warning, member.deletes = kind == "warn", kind == "delete"
        return member

    NOT_FINISHED = (
        "NotFinished",
        "The RayJob has not reached an end that KubeRay calls final.",
        "Nothing to do; it is judged again whenever its status changes.",
        "keep",
        "The job ends. A job that is lost or that nobody submitted ends after the time "
        "that a policy sets; any other is ended by KubeRay, or by you.",
        (
            "spec.stuck.neverSubmitted",
            "spec.stuck.jobLost",
            "spec.stuck.initializing",
            "raysweep.io/ttl-unsubmitted",
            "unchanged-after",
        ),
    )
    NO_TTL = (
        "NoTTL",
        "The job has finished and nothing says when it may go: no TTL is set, or it is never.",
        "Set raysweep.io/ttl on the RayJob or on its Namespace, or a retention in a RayJobCleanupPolicy.",
        "keep",
        "You set a time.",
        (
            "raysweep.io/ttl",
            "raysweep.io/cluster-ttl",
            "spec.retention.rayJob.default",
            "spec.retention.rayCluster.default",
        ),
    )
    NOT_DUE = (
        "NotDue",
        "The job has finished and its time has not elapsed yet.",
        "Wait, or shorten the TTL at the source that is named.",
        "keep",
        "The time elapses.",
        (
            "raysweep.io/ttl",
            "raysweep.io/cluster-ttl",
            "raysweep.io/ttl-unsubmitted",
            "spec.limits.rayJob.max",
            "spec.limits.rayCluster.max",
        ),
    )
    KEPT_BY_USER = (
        "KeptByUser",
        "Somebody asked to keep it until a given time.",
        "Remove raysweep.io/keep-until to let it go earlier.",
        "keep",
        "The time in the annotation passes, or the annotation is removed.",
        ("raysweep.io/keep-until", "spec.limits.keep.max"),
    )
    BEING_DELETED = (
        "BeingDeleted",
        "The RayJob is being deleted already.",
        "If it stays, look at its finalizers: KubeRay removes its own when it runs.",
        "keep",
        "The last finalizer is removed: KubeRay removes its own, and you remove any other.",
        (),
    )
    SUSPENDED = (
        "Suspended",
        "The RayJob is suspended and may be resumed, as Kueue does.",
        "Resume it, or delete it by hand.",
        "keep",
        "Kueue or a user resumes the RayJob, or you delete it.",
        (),
    )
    MANAGED_ELSEWHERE = (
        "ManagedElsewhere",
        "Another controller or another cluster answers for this RayJob (spec.managedBy, MultiKueue).",
        "Clean it up where it is managed.",
        "keep",
        "The controller that spec.managedBy names deletes the RayJob, or you delete it.",
        (),
    )
    PROTECTED_NAMESPACE = (
        "ProtectedNamespace",
        "The namespace is protected.",
        "Move the RayJob, or take the namespace off the setting protected-namespaces.",
        "keep",
        "You delete the RayJob, or take its namespace off the setting.",
        ("protected-namespaces",),
    )
    STILL_RUNNING = (
        "StillRunning",
        "The RayJob says it has ended and the Ray head says the job is still pending or running.",
        "Wait for the job, or stop it; the head is asked again, and a policy's spec.stuck.stillRunning puts an end to it.",
        "warn",
        "The job ends, you stop it, or the time that a policy sets elapses.",
        ("spec.stuck.stillRunning",),
    )
    CLUSTER_IN_USE = (
        "ClusterInUse",
        "Something else uses the cluster, or it cannot be told that nothing does.",
        "End the other job, driver or RayJob that is named; the head is asked again, and a policy's "
        "spec.stuck.clusterInUse puts an end to it.",
        "warn",
        "The other work ends; if the own job is known to have ended, the time that a policy sets ends the wait too.",
        ("spec.stuck.clusterInUse",),
    )
    NOT_OWNED = (
        "NotOwned",
        "The RayCluster that the status names does not belong to this RayJob.",
        "Delete the RayJob by hand if it is no longer wanted; the cluster is somebody else's.",
        "warn",
        "The named RayCluster is deleted, or you delete the RayJob.",
        (),
    )
    OTHER_CLUSTER = (
        "OtherCluster",
        "The RayJob owns a RayCluster other than the one its status names.",
        "Find out which of the two is in use and delete the other by hand.",
        "warn",
        "You delete one of the RayClusters.",
        (),
    )
    AMBIGUOUS = (
        "Ambiguous",
        "The RayJob names no submission ID and the head knows several submitted jobs.",
        "Set spec.jobId to the submission ID that is meant.",
        "warn",
        "You delete the RayJob, or the head forgets all but one of the submissions.",
        (),
    )
    HEAD_UNREACHABLE = (
        "HeadUnreachable",
        "The Ray head gave no usable answer, and unknown is not finished.",
        "Look at the head's Pod and at the network between Raysweep and it; the head is asked again, and a policy's "
        "spec.stuck.headUnreachable puts an end to it.",
        "warn",
        "The head answers, or its Pod is gone, or the time that a policy sets elapses; "
        "only the head or you end the wait for a lost job.",
        ("spec.stuck.headUnreachable", "spec.stuck.stillRunning", "unconfirmed-after"),
    )
    HEAD_UNAUTHORIZED = (
        "HeadUnauthorized",
        "The Ray head wants a token that Raysweep does not have.",
        "Set head-tokens, set a policy's spec.stuck.headUnreachable, or delete the RayJob once you know that it has finished.",
        "warn",
        "The head takes the token, or the time that a policy sets elapses.",
        ("head-tokens", "spec.stuck.headUnreachable", "unconfirmed-after"),
    )
    HEADS_UNREACHABLE = (
        "HeadsUnreachable",
        "So many heads gave no usable answer lately that the fault is probably on Raysweep's side.",
        "Look at DNS, network policies and Raysweep's rights; nothing goes unconfirmed until heads answer again.",
        "warn",
        "Enough heads answer again, or the last answers are older than the setting.",
        ("heads-window", "heads-at-least", "heads-silent-share"),
    )
    WILL_BE_RECREATED = (
        "WillBeRecreated",
        "Something would create the RayJob again, and its job would run again.",
        "Take it out of the tool that tracks it, or set raysweep.io/ttl on the RayJob itself.",
        "keep",
        "You set the annotation on the RayJob, or take it out of the tool; the tick of a RayCronJob passes.",
        ("raysweep.io/ttl", "cron-grace"),
    )
    WOULD_BE_REBUILT = (
        "WouldBeRebuilt",
        "KubeRay would rebuild the cluster of a RayJob that it has not brought to an end, and run the job again.",
        "Nothing to do; the cluster goes with the RayJob at its own time.",
        "keep",
        "The time of the RayJob itself elapses, or KubeRay ends the RayJob.",
        ("raysweep.io/ttl", "spec.retention.rayJob.default"),
    )
    WAITING_FOR_KUBERAY = (
        "WaitingForKubeRay",
        "KubeRay itself will delete the RayCluster.",
        "Nothing to do; Raysweep acts if KubeRay has not a minute after its time.",
        "keep",
        "KubeRay deletes the RayCluster, or does not within the setting after its time.",
        ("kuberay-grace",),
    )
    BULK_EXPIRY_DELAY = (
        "BulkExpiryDelay",
        "A change of a default, a time when Raysweep was away or a clock that was set forward made it due all at once, "
        "so it waits to be stopped in case.",
        "Wait, or undo the change within that time.",
        "keep",
        "The setting elapses.",
        ("bulk-expiry-wait",),
    )
    BULK_EXPIRY_BLOCKED = (
        "BulkExpiryBlocked",
        "More than the allowed number of the namespace became due all at once, so none of them is deleted.",
        "Undo the change; once you are sure, raise the setting bulk-expiry-max, or sweep them.",
        "warn",
        "Fewer RayJobs wait, or you raise the setting, or you sweep them.",
        ("bulk-expiry-max",),
    )
    INVALID = (
        "Invalid",
        "A raysweep.io annotation or a policy that would decide cannot be understood, so everything is kept.",
        "Correct the value that is named; `raysweep lint` finds them all.",
        "warn",
        "You correct the value; a malformed time on a RayJob is kept within the limits of policies.",
        ("spec.limits.rayJob.max", "spec.limits.rayCluster.max", "spec.limits.keep.max"),
    )
    LIMITS_CONFLICT = (
        "LimitsConflict",
        "The limits of the policies that select it contradict each other, so it is kept.",
        "Change one of the two limits that are named.",
        "warn",
        "You change one of the limits.",
        (
            "spec.limits.rayJob.min",
            "spec.limits.rayJob.max",
            "spec.limits.rayCluster.min",
            "spec.limits.rayCluster.max",
        ),
    )
    UNREADABLE = (
        "Unreadable",
        "The RayJob, its RayCluster or its Namespace could not be read.",
        "Correct the field that is named.",
        "warn",
        "You correct the field, or delete the RayJob.",
        (),
    )
    NAMESPACE_UNKNOWN = (
        "NamespaceUnknown",
        "The RayJob's Namespace, which may say keep, has not been seen.",
        "Nothing to do where it is new; otherwise see whether Raysweep may list and watch Namespaces.",
        "keep",
        "The Namespace is listed.",
        ("relist-every",),
    )
    POLICIES_UNKNOWN = (
        "PoliciesUnknown",
        "The cleanup policies, which may say keep, could not be read.",
        "See whether the API server answers and Raysweep may list rayjobcleanuppolicies; they are asked for again.",
        "keep",
        "The policies are listed.",
        ("policies-every",),
    )
    INTERNAL_ERROR = (
        "InternalError",
        "Raysweep failed while judging this object, so it is kept; the others go on.",
        "Look for the traceback in the log and report it.",
        "warn",
        "A later judgement succeeds, or you delete the RayJob.",
        (),
    )
    EXPIRED = (
        "Expired",
        "The job has finished and its TTL has elapsed.",
        "Set a longer TTL for the jobs to come.",
        "delete",
    )
    KUBERAY_CLEANUP_MISSED = (
        "KubeRayCleanupMissed",
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
        "Ray says that the job has ended, twice at its head or in jobStatus with rayJobInfo.endTime, "
        "and KubeRay did not finish the RayJob.",
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
        "The head does not know the job any more, or the node of the job is dead.",
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
    STUCK_UNREACHABLE = (
        "StuckUnreachable",
        "The deletion was due and the Ray head gave no usable answer, for longer than a policy's spec.stuck.headUnreachable, or "
        "than spec.stuck.stillRunning for a job on a dead node.",
        "Check why the head does not answer: its Pod, its node, its token, or the network.",
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
