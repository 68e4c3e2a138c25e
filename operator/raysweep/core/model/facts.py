"""Frozen records of what was seen: RayJobs, RayClusters, Namespaces and what a Ray head said. They carry no judgement.

A field is empty ("" or None) where the object does not have it. Times are aware datetimes in UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from raysweep.core.durations import Duration


@dataclass(frozen=True, slots=True)
class Resources:
    """What a cluster asks for (RayJob status.rayClusterStatus.desiredCPU, desiredGPU, desiredMemory): cores, GPUs, bytes."""

    cpu: float = 0.0
    gpu: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True, slots=True)
class DeletionRule:
    """One of RayJob spec.deletionStrategy.deletionRules; exactly one of the two conditions is set."""

    policy: str  # DeleteSelf, DeleteCluster, DeleteWorkers or DeleteNone
    seconds: int
    job_status: str = ""
    deployment_status: str = ""


@dataclass(frozen=True, slots=True)
class KubeRayCleanup:
    """What a RayJob's spec asks of KubeRay itself, in the forms of KubeRay 1.3 to 1.7."""

    shutdown: bool = False  # shutdownAfterJobFinishes
    seconds: int = 0  # ttlSecondsAfterFinished
    has_strategy: bool = (
        False  # a deletionStrategy, or 1.3's and 1.4's deletionPolicy: the two above are off then
    )
    rules: tuple[DeletionRule, ...] = ()
    on_success: str = ""  # policies of the older form of deletionStrategy
    on_failure: str = ""
    policy: str = ""  # deletionPolicy, for every outcome


@dataclass(frozen=True, slots=True)
class RayJob:
    """The part of a ray.io/v1 RayJob that a decision rests on; source: KubeRay's rayjob_types.go."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    controller_kind: str = ""
    controller_group: str = (
        ""  # of ownerReferences[].apiVersion; "" also for the core group, and if it is not known
    )
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
    status_written_at: datetime | None = (
        None  # newest status entry of metadata.managedFields: the API server's clock
    )
    desired: Resources = Resources()
    keys: frozenset[str] = (
        frozenset()
    )  # of labels and annotations, those that the reader asked for (setting recreated_by)
    submission_mode: str = ""
    start_time: datetime | None = None  # status.startTime, of the current attempt
    ray_start_time: datetime | None = None  # status.rayJobInfo.startTime
    failed: int = 0  # status.failed: attempts that failed
    backoff_limit: int = 0
    cron_tick: datetime | None = None  # of a RayCronJob's child
    kuberay_cleanup: KubeRayCleanup = KubeRayCleanup()
    unreadable: str = ""  # the first field that does not parse: place, value and what was expected
    head_service: str = ""  # status.rayClusterStatus.head.serviceName
    dashboard_port: int | None = None  # status.rayClusterStatus.endpoints.dashboard
    more_unknown_keys: int = 0  # unknown raysweep.io annotations besides those in `annotations`

    @property
    def key(self) -> str:
        """namespace/name, as people and logs write it."""
        return f"{self.namespace}/{self.name}"

    @property
    def controller(self) -> str:
        """`RayCluster.ray.io`: kind and group of the controller owner, "" if there is none."""
        return f"{self.controller_kind}.{self.controller_group}".rstrip(".")


@dataclass(frozen=True, slots=True)
class RayCluster:
    """A ray.io/v1 RayCluster. A list of metadata alone knows nothing of the fields after `deleting`."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    controller_uid: str = ""
    deleting: bool = False
    head_service: str = ""  # status.head.serviceName
    dashboard_port: int | None = None  # the head container's port named dashboard
    unreadable: str = ""
    head_ready: bool | None = None  # condition HeadPodReady; None: it does not say
    auth_secret: str = (
        ""  # the Secret with the head's token, "" where spec.authOptions.mode is not token
    )
    has_status: bool = False  # KubeRay has written the status
    head_reason: str | None = (
        None  # reason of condition HeadPodReady; None: there is no such condition
    )
    head_ready_since: datetime | None = None  # when condition HeadPodReady became True
    head_pod_name: str = ""  # status.head.podName
    head_pod_ip: str = ""  # status.head.podIP
    is_fault_tolerant: bool = (
        False  # GCS fault tolerance: a new head Pod knows the jobs of the last one
    )


@dataclass(frozen=True, slots=True)
class Service:
    """A Service, as far as it tells whose it is and where it leads."""

    controller_uid: str = ""
    leads_to_pods: bool = False  # by a selector; without one, or as ExternalName, it leads anywhere


@dataclass(frozen=True, slots=True)
class Namespace:
    """A Namespace with what it says about every RayJob in it."""

    name: str
    uid: str
    resource_version: str
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    unreadable: str = ""  # as for a RayJob
    more_unknown_keys: int = 0  # as for a RayJob


@dataclass(frozen=True, slots=True)
class Requirement:
    """One of a LabelSelector's matchExpressions (meta/v1): the operator is In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Selector:
    """A LabelSelector (meta/v1). The empty one selects everything."""

    labels: Mapping[str, str] = field(default_factory=dict)
    requirements: tuple[Requirement, ...] = ()


EVERYTHING = Selector()


@dataclass(frozen=True, slots=True)
class Policy:
    """A RayJobCleanupPolicy. What is wrong with it stands in `faults`; a selector that cannot be read selects everything."""

    name: str
    uid: str
    resource_version: str
    generation: int = 1
    written_at: datetime | None = None  # when its spec was last written: the API server's clock
    priority: int = 0
    is_dry_run: bool = False
    namespaces: Selector = EVERYTHING
    rayjobs: Selector = EVERYTHING
    times: Mapping[str, Duration] = field(
        default_factory=dict
    )  # by path below spec, as `retention.rayJob.failed`
    errors: tuple[str, ...] = ()  # `spec.limits.rayJob.min: 'soon' is no duration; ...`
    status: Mapping[str, Any] = field(default_factory=dict)  # as it was last written, by us


@dataclass(frozen=True, slots=True)
class JobEntry:
    """One entry of Ray's GET /api/jobs/. The entrypoint and runtime_env carry secrets and are not read."""

    type: str  # SUBMISSION or DRIVER
    submission_id: str
    status: str
    job_id: str = ""  # Ray's own number, all that a DRIVER entry has
    end_time: datetime | None = None
    node_id: str = ""  # the node that its driver runs on


@dataclass(frozen=True, slots=True)
class HeadList:
    """A head's list of jobs, or of the one asked for by ID. `unreadable` says what could not be read, "" where all could.

    The entries before the first unreadable one are there, and the RayJob's own if the head was asked for it by its ID.
    """

    entries: tuple[JobEntry, ...]
    answered_at: datetime
    unreadable: str = ""
    whole: bool = True  # False: asked by ID, so it tells nothing about other jobs


@dataclass(frozen=True, slots=True)
class HeadSilent:
    """A head that gave no usable answer: refused, timed out, a proxy's page, an error; or one that wants a token.

    It never proves that there is no head: Services do not publish unready Pods.
    """

    detail: str  # of what was answered it holds Ray's own known sentences only
    unauthorized: bool = False
    node_is_dead: bool = (
        False  # it calls the RayJob's job unfinished, and the node of its driver DEAD
    )
    listed: tuple[JobEntry, ...] | None = (
        None  # the head's whole list of jobs, if the node is dead; None: unknown
    )


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
    """None: there is no head to ask."""
    kind: ProbeKind = ProbeKind.BEFORE_DELETION
