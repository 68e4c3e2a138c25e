"""Every reason to keep, delay or delete a RayJob, with its description and hint.

The same word is the reason of an Event, the label of a metric, the field of a log line and the
answer of a command.
"""

from enum import Enum, StrEnum


class Effect(Enum):
    """What a reason leads to."""

    KEEP = "keep"
    WARN = "keep, with an Event on the RayJob"
    DELETE = "delete"


class Reason(StrEnum):
    """One word for a decision.

    description and hint: one sentence each. ends: what ends a keep. bounds: the annotations, the
    fields of a RayJobCleanupPolicy (spec...) and the settings that limit how long it lasts. Without
    one, only a user or another controller ends it.
    """

    description: str
    hint: str
    is_warning: bool
    deletes: bool
    ends: str
    bounds: tuple[str, ...]

    def __new__(
        cls,
        word: str,
        effect: Effect,
        description: str,
        hint: str,
        ends: str = "",
        bounds: tuple[str, ...] = (),
    ) -> "Reason":
        """A member of that word."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.description, member.hint = description, hint
        member.ends, member.bounds = ends, bounds
        member.is_warning = effect is Effect.WARN
        member.deletes = effect is Effect.DELETE
        return member

    NOT_FINISHED = (
        "NotFinished",
        Effect.KEEP,
        "The job of the RayJob has not finished.",
        "Nothing to do: Raysweep checks it again when its status changes.",
        "The job ends. A lost job, or one that was never submitted, ends after the time that a "
        "policy sets. KubeRay or you end any other job.",
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
        Effect.KEEP,
        "The job has finished, and no TTL is set or the TTL is never.",
        "Set raysweep.io/ttl on the RayJob or its Namespace, or a retention in a "
        "RayJobCleanupPolicy.",
        "You set a TTL.",
        (
            "raysweep.io/ttl",
            "raysweep.io/cluster-ttl",
            "spec.retention.rayJob.default",
            "spec.retention.rayCluster.default",
        ),
    )
    NOT_DUE = (
        "NotDue",
        Effect.KEEP,
        "The job has finished, and its TTL has not elapsed.",
        "Wait, or shorten the TTL at the named source.",
        "The TTL elapses.",
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
        Effect.KEEP,
        "An annotation keeps the RayJob until a given time.",
        "Remove raysweep.io/keep-until to allow an earlier deletion.",
        "The time in the annotation passes, or you remove the annotation.",
        ("raysweep.io/keep-until", "spec.limits.keep.max"),
    )
    BEING_DELETED = (
        "BeingDeleted",
        Effect.KEEP,
        "The RayJob is already being deleted.",
        "If it stays, check its finalizers: KubeRay removes its own while it runs.",
        "The last finalizer is removed. KubeRay removes its own, and you remove any other.",
    )
    SUSPENDED = (
        "Suspended",
        Effect.KEEP,
        "The RayJob is suspended, and Kueue or a user may resume it.",
        "Resume the RayJob, or delete it.",
        "Kueue or a user resumes the RayJob, or you delete it.",
    )
    MANAGED_ELSEWHERE = (
        "ManagedElsewhere",
        Effect.KEEP,
        "Another controller or another cluster manages the RayJob (spec.managedBy, MultiKueue).",
        "Delete it where it is managed.",
        "The controller in spec.managedBy deletes the RayJob, or you delete it.",
    )
    PROTECTED_NAMESPACE = (
        "ProtectedNamespace",
        Effect.KEEP,
        "The namespace of the RayJob is protected.",
        "Use another namespace, or remove this one from the setting protected-namespaces.",
        "You delete the RayJob, or remove its namespace from the setting.",
        ("protected-namespaces",),
    )
    STILL_RUNNING = (
        "StillRunning",
        Effect.WARN,
        "The RayJob reports an end, and the Ray head reports the job as pending or running.",
        "Wait for the job, stop it, or set spec.stuck.stillRunning in a policy.",
        "The job ends, you stop it, or the time in the policy elapses.",
        ("spec.stuck.stillRunning",),
    )
    CLUSTER_IN_USE = (
        "ClusterInUse",
        Effect.WARN,
        "Other work uses the RayCluster, or may use it.",
        "End the named job, driver or RayJob, or set spec.stuck.clusterInUse in a policy.",
        "The other work ends. If the RayJob's own job has ended, the time in the policy ends the "
        "wait too.",
        ("spec.stuck.clusterInUse",),
    )
    NOT_OWNED = (
        "NotOwned",
        Effect.WARN,
        "The RayCluster in the status does not belong to this RayJob.",
        "If you do not need the RayJob, delete it: the RayCluster has another owner.",
        "The named RayCluster is deleted, or you delete the RayJob.",
    )
    OTHER_CLUSTER = (
        "OtherCluster",
        Effect.WARN,
        "The RayJob owns a RayCluster that its status does not name.",
        "Find out which of the two is in use, and delete the other one.",
        "You delete one of the RayClusters.",
    )
    AMBIGUOUS = (
        "Ambiguous",
        Effect.WARN,
        "The RayJob has no submission ID, and the Ray head has several submissions.",
        "Set spec.jobId to the ID of the right submission.",
        "You delete the RayJob, or the head forgets all submissions but one.",
    )
    HEAD_UNREACHABLE = (
        "HeadUnreachable",
        Effect.WARN,
        "The Ray head gave no usable answer, so the end of the job is not confirmed.",
        "Check the head's Pod and the network between it and Raysweep, or set "
        "spec.stuck.headUnreachable in a policy.",
        "The head answers, its Pod is gone, or the time in the policy elapses. Only the head or "
        "you end the wait for a lost job.",
        ("spec.stuck.headUnreachable", "spec.stuck.stillRunning", "unconfirmed-after"),
    )
    HEAD_UNAUTHORIZED = (
        "HeadUnauthorized",
        Effect.WARN,
        "The Ray head requires a token that Raysweep does not have.",
        "Set head-tokens, set spec.stuck.headUnreachable in a policy, or delete the RayJob once "
        "its job has finished.",
        "The head accepts the token, or the time in the policy elapses.",
        ("head-tokens", "spec.stuck.headUnreachable", "unconfirmed-after"),
    )
    HEADS_UNREACHABLE = (
        "HeadsUnreachable",
        Effect.WARN,
        "So many heads gave no usable answer lately that Raysweep is the likely cause.",
        "Check DNS, network policies and the permissions of Raysweep: without answers of heads it "
        "deletes nothing unconfirmed.",
        "Enough heads answer again, or the failed probes are older than the setting.",
        ("heads-window", "heads-at-least", "heads-silent-share"),
    )
    WILL_BE_RECREATED = (
        "WillBeRecreated",
        Effect.KEEP,
        "A tool or controller would create the RayJob again, and its job would run again.",
        "Remove it from the tool that tracks it, or set raysweep.io/ttl on the RayJob itself.",
        "You set the annotation on the RayJob, or remove it from the tool. For a RayCronJob, the "
        "time of its schedule passes.",
        ("raysweep.io/ttl", "cron-grace"),
    )
    WOULD_BE_REBUILT = (
        "WouldBeRebuilt",
        Effect.KEEP,
        "KubeRay has not finished the RayJob, so it would create the cluster again and rerun "
        "the job.",
        "Nothing to do: the RayCluster is deleted with the RayJob.",
        "The TTL of the RayJob elapses, or KubeRay finishes the RayJob.",
        ("raysweep.io/ttl", "spec.retention.rayJob.default"),
    )
    WAITING_FOR_KUBERAY = (
        "WaitingForKubeRay",
        Effect.KEEP,
        "KubeRay deletes the RayCluster itself.",
        "Nothing to do: Raysweep deletes it if KubeRay is late by more than kuberay-grace.",
        "KubeRay deletes the RayCluster or is late by more than the setting, or the RayJob is due.",
        ("kuberay-grace",),
    )
    BULK_EXPIRY_DELAY = (
        "BulkExpiryDelay",
        Effect.KEEP,
        "A changed default, a pause of Raysweep or a jump of the clock made it due at once, so "
        "the deletion waits.",
        "Wait, or undo the change within that time.",
        "The setting elapses.",
        ("bulk-expiry-wait",),
    )
    BULK_EXPIRY_BLOCKED = (
        "BulkExpiryBlocked",
        Effect.WARN,
        "Too many RayJobs of the namespace became due at once, so none of them is deleted.",
        "Undo the change, raise the setting bulk-expiry-max, or sweep the RayJobs.",
        "Fewer RayJobs wait, you raise the setting, or you sweep the RayJobs.",
        ("bulk-expiry-max",),
    )
    INVALID = (
        "Invalid",
        Effect.WARN,
        "A raysweep.io annotation or a policy is invalid, so everything it covers is kept.",
        "Correct the named value, and find all invalid values with `kubectl raysweep lint`.",
        "You correct the value. Limits of policies apply to an invalid time of a RayJob.",
        ("spec.limits.rayJob.max", "spec.limits.rayCluster.max", "spec.limits.keep.max"),
    )
    LIMITS_CONFLICT = (
        "LimitsConflict",
        Effect.WARN,
        "The limits of the policies for the RayJob contradict each other, so it is kept.",
        "Change one of the two named limits.",
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
        Effect.WARN,
        "Raysweep cannot read the RayJob, its RayCluster or its Namespace.",
        "Correct the named field.",
        "You correct the field, or delete the RayJob.",
    )
    NAMESPACE_UNKNOWN = (
        "NamespaceUnknown",
        Effect.KEEP,
        "Raysweep has not read the Namespace, which may keep the RayJob.",
        "Wait if the Namespace is new, or check whether Raysweep may list and watch Namespaces.",
        "The Namespace is listed.",
        ("relist-every",),
    )
    POLICIES_UNKNOWN = (
        "PoliciesUnknown",
        Effect.KEEP,
        "Raysweep could not read the cleanup policies, which may keep the RayJob.",
        "Check whether the API server answers, and whether Raysweep may list "
        "rayjobcleanuppolicies.",
        "The policies are listed.",
        ("policies-every",),
    )
    INTERNAL_ERROR = (
        "InternalError",
        Effect.WARN,
        "An error in Raysweep prevents a decision about this RayJob, so it is kept.",
        "Find the traceback in the log and report it.",
        "A later pass succeeds, or you delete the RayJob.",
    )
    EXPIRED = (
        "Expired",
        Effect.DELETE,
        "The job has finished, and its TTL has elapsed.",
        "Set a longer TTL for later jobs.",
    )
    KUBERAY_CLEANUP_MISSED = (
        "KubeRayCleanupMissed",
        Effect.DELETE,
        "KubeRay did not delete the RayCluster within kuberay-grace of its deadline.",
        "Check the KubeRay operator, which may be down or behind.",
    )
    UNCONFIRMED = (
        "Unconfirmed",
        Effect.DELETE,
        "The head did not answer, and the status of the RayJob proves the end.",
        "Nothing to do: the head was gone, or the status holds what Ray reported.",
    )
    FINISHED_UNREPORTED = (
        "FinishedUnreported",
        Effect.DELETE,
        "Ray reports the end of the job, and KubeRay did not finish the RayJob.",
        "Check for a hung submitter, or for a KubeRay operator that is down.",
    )
    NEVER_SUBMITTED = (
        "NeverSubmitted",
        Effect.DELETE,
        "No job was submitted to the cluster.",
        "Submit the job sooner, or raise raysweep.io/ttl-unsubmitted or spec.stuck.neverSubmitted.",
    )
    JOB_LOST = (
        "JobLost",
        Effect.DELETE,
        "The head does not know the job any more, or the node of the job is dead.",
        "Find out why the head or node was lost, and submit the job again if you need it.",
    )
    STUCK_INITIALIZING = (
        "StuckInitializing",
        Effect.DELETE,
        "The cluster did not become ready in time.",
        "Check the Pods of the cluster: their image, resources and quota.",
    )
    STUCK_RUNNING = (
        "StuckRunning",
        Effect.DELETE,
        "The RayJob reports an end, and the head reported the job active for longer than "
        "spec.stuck.stillRunning.",
        "Find out why KubeRay gave up a running job: a broken log stream, or a hung submitter.",
    )
    STUCK_IN_USE = (
        "StuckInUse",
        Effect.DELETE,
        "Other work used the cluster of a finished job for longer than spec.stuck.clusterInUse.",
        "Use a separate cluster for work that outlasts its RayJob.",
    )
    STUCK_UNREACHABLE = (
        "StuckUnreachable",
        Effect.DELETE,
        "The head of a due RayJob gave no usable answer for longer than the time in a policy.",
        "Check why the head does not answer: its Pod, its node, its token, or the network.",
    )
    DELETION_UNFINISHED = (
        "DeletionUnfinished",
        Effect.DELETE,
        "The RayJob is being deleted, and its RayCluster still exists.",
        "Find out why KubeRay does not remove its finalizer from the RayJob.",
    )
    SWEPT = (
        "Swept",
        Effect.DELETE,
        "A user asked to delete the RayJob now, and its job has finished.",
        "Nothing to do.",
    )
