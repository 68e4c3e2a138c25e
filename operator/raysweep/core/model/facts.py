"""Frozen records of what Raysweep read: RayJobs, RayClusters, Namespaces, policies, Ray heads.

A field is "" or None if the object does not have it. Times are aware datetimes in UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from raysweep.core.durations import Duration


@dataclass(frozen=True, slots=True)
class Resources:
    """What a cluster requests, in cores, GPUs and bytes.

    Source: status.rayClusterStatus of the RayJob, desiredCPU, desiredGPU and desiredMemory.
    """

    cpu: float = 0.0
    gpu: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True, slots=True)
class DeletionRule:
    """One of spec.deletionStrategy.deletionRules of a RayJob. Exactly one condition is set."""

    policy: str  # DeleteSelf, DeleteCluster, DeleteWorkers or DeleteNone
    seconds: int
    job_status: str = ""
    deployment_status: str = ""


@dataclass(frozen=True, slots=True)
class KubeRayCleanup:
    """What the spec of a RayJob asks of KubeRay itself, in the forms of KubeRay 1.3 to 1.7."""

    shutdown: bool = False  # shutdownAfterJobFinishes
    seconds: int = 0  # ttlSecondsAfterFinished
    has_strategy: bool = False  # deletionStrategy or deletionPolicy, which replace both above
    rules: tuple[DeletionRule, ...] = ()
    on_success: str = ""  # policies of the older form of deletionStrategy
    on_failure: str = ""
    policy: str = ""  # deletionPolicy, for every outcome


@dataclass(frozen=True, slots=True)
class RayJob:
    """The fields of a ray.io/v1 RayJob that decisions need. Source: KubeRay's rayjob_types.go."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    controller_kind: str = ""
    controller_group: str = ""  # of ownerReferences[].apiVersion; "" also for the core group
    deleting_since: datetime | None = None
    suspend: bool = False
    managed_by: str = ""
    selected_cluster: str = ""  # spec.clusterSelector["ray.io/cluster"]
    has_selector: bool = False
    deployment_status: str = ""  # status.jobDeploymentStatus
    job_status: str = ""  # status.jobStatus
    job_id: str = ""  # the submission ID: status.jobId, else spec.jobId
    cluster_name: str = ""  # status.rayClusterName
    reason: str = ""  # status.reason
    end_time: datetime | None = None  # status.endTime: KubeRay's clock
    ray_end_time: datetime | None = None  # status.rayJobInfo.endTime: the head's clock
    status_written_at: datetime | None = None  # metadata.managedFields: the API server's clock
    desired: Resources = Resources()
    keys: frozenset[str] = frozenset()  # of labels and annotations, for the setting recreated-by
    submission_mode: str = ""
    start_time: datetime | None = None  # status.startTime, of the current attempt
    ray_start_time: datetime | None = None  # status.rayJobInfo.startTime
    failed: int = 0  # status.failed: attempts that failed
    backoff_limit: int = 0
    cron_tick: datetime | None = None  # if a RayCronJob created it
    kuberay_cleanup: KubeRayCleanup = KubeRayCleanup()
    unreadable: str = ""  # the first invalid field: its place, its value, and a valid form
    head_service: str = ""  # status.rayClusterStatus.head.serviceName
    dashboard_port: int | None = None  # status.rayClusterStatus.endpoints.dashboard
    more_unknown_keys: int = 0  # unknown raysweep.io annotations besides those in `annotations`

    @property
    def key(self) -> str:
        """`team-a/train`."""
        return f"{self.namespace}/{self.name}"

    @property
    def controller(self) -> str:
        """`RayCronJob.ray.io`: the kind and group of the controller owner; "" if there is none."""
        return f"{self.controller_kind}.{self.controller_group}".rstrip(".")


@dataclass(frozen=True, slots=True)
class RayCluster:
    """A ray.io/v1 RayCluster. A list of metadata has no fields after `deleting`."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    controller_uid: str = ""
    deleting: bool = False
    head_service: str = ""  # status.head.serviceName
    dashboard_port: int | None = None  # the head container's port named dashboard
    unreadable: str = ""
    head_ready: bool | None = None  # condition HeadPodReady; None: unknown
    auth_secret: str = ""  # the Secret with the token, if spec.authOptions.mode is token
    has_status: bool = False  # KubeRay has written the status
    head_reason: str | None = None  # of condition HeadPodReady; None: no such condition
    head_ready_since: datetime | None = None  # when condition HeadPodReady became True
    head_pod_name: str = ""  # status.head.podName
    head_pod_ip: str = ""  # status.head.podIP
    is_fault_tolerant: bool = False  # GCS fault tolerance: the next head Pod knows the jobs


@dataclass(frozen=True, slots=True)
class Pod:
    """The identity and the owner of a Pod."""

    namespace: str
    name: str
    uid: str
    raycluster_uid: str = ""  # its controller, if that is a RayCluster and the only owner
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """The owner of a Service, and whether it leads to Pods."""

    controller_uid: str = ""
    leads_to_pods: bool = False  # by a selector, and not as ExternalName


@dataclass(frozen=True, slots=True)
class Namespace:
    """A Namespace. Its annotations apply to every RayJob in it."""

    name: str
    uid: str
    resource_version: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    unreadable: str = ""  # as for a RayJob
    more_unknown_keys: int = 0  # as for a RayJob


@dataclass(frozen=True, slots=True)
class Requirement:
    """One of the matchExpressions of a LabelSelector (meta/v1).

    The operator is In, NotIn, Exists or DoesNotExist.
    """

    key: str
    operator: str
    values: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Selector:
    """A LabelSelector (meta/v1). An empty one selects everything."""

    labels: Mapping[str, str] = field(default_factory=dict)
    requirements: tuple[Requirement, ...] = ()


EVERYTHING = Selector()


@dataclass(frozen=True, slots=True)
class Policy:
    """A RayJobCleanupPolicy. An invalid selector selects everything."""

    name: str
    uid: str
    resource_version: str
    generation: int = 1
    written_at: datetime | None = None  # the last write of its spec, by the API server's clock
    priority: int = 0
    is_dry_run: bool = False
    namespaces: Selector = EVERYTHING
    rayjobs: Selector = EVERYTHING
    times: Mapping[str, Duration] = field(default_factory=dict)
    """By path below spec, such as `retention.rayJob.failed`."""
    errors: tuple[str, ...] = ()  # validation errors, each with its path
    status: Mapping[str, Any] = field(default_factory=dict)  # as Raysweep last wrote it


@dataclass(frozen=True, slots=True)
class JobEntry:
    """An entry of Ray's GET /api/jobs/, without entrypoint and runtime_env: they hold secrets."""

    type: str  # SUBMISSION or DRIVER
    submission_id: str
    status: str
    job_id: str = ""  # Ray's own number; the only ID of a DRIVER entry
    end_time: datetime | None = None
    node_id: str = ""  # the node that its driver runs on


@dataclass(frozen=True, slots=True)
class HeadList:
    """The list of jobs of a head, or the answer about one job by its ID.

    If an entry is unreadable, `unreadable` says why. The entries before it are in the list, and the
    RayJob's own entry if the head was asked for it by ID. Of a long list only the entries that a
    decision needs may be present (core/head_report.py).
    """

    entries: tuple[JobEntry, ...]
    answered_at: datetime
    unreadable: str = ""
    whole: bool = True  # False: by ID, without the other jobs


@dataclass(frozen=True, slots=True)
class HeadSilent:
    """A head that gave no usable answer, or requires a token.

    The connection was refused or timed out, or a proxy or an error answered. This does not prove
    that the head is gone: Services do not publish unready Pods.
    """

    detail: str  # of an answer it holds only known sentences of Ray
    unauthorized: bool = False
    node_is_dead: bool = False  # the job is unfinished, and the node of its driver DEAD
    listed: tuple[JobEntry, ...] | None = None  # all jobs, if the node is dead; None: unknown


class ProbeKind(Enum):
    """What a probe of a head is for."""

    STATUS = "whether a job that seems to run forever has ended"
    """By the submission ID. It costs no API request, and never leads to a deletion alone."""
    BEFORE_DELETION = "what uses the cluster that is about to be deleted"
    """The RayCluster and its head's whole list of jobs."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """A RayCluster and its head's list of jobs, as they are now."""

    cluster: RayCluster | None
    """None: the RayCluster does not exist, or the status names none."""
    head: HeadList | HeadSilent | None = None
    """None: no head was asked."""
    kind: ProbeKind = ProbeKind.BEFORE_DELETION
