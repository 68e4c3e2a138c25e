"""Names that other programs and users see: API groups, annotations, labels, finalizers."""

# The APIs of KubeRay and Kubernetes

RAY_GROUP = "ray.io"
RAY_VERSION = "v1"
RAYJOBS = "rayjobs"
RAYCLUSTERS = "rayclusters"
PODS = "pods"
LEASE_GROUP = "coordination.k8s.io"
LEASES = "leases"

ALWAYS_PROTECTED_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Namespaces of Kubernetes itself. The setting protected-namespaces adds to them."""
ORPHAN_FINALIZER = "orphan"
"""Set by the API server for a deletion with propagationPolicy Orphan, which keeps dependents."""

# Annotations of Raysweep

ANNOTATION_PREFIX = "raysweep.io/"
TTL = "raysweep.io/ttl"
CLUSTER_TTL = "raysweep.io/cluster-ttl"
TTL_UNSUBMITTED = "raysweep.io/ttl-unsubmitted"
OUTCOME = "raysweep.io/outcome"
"""The only annotation that the operator writes. It is read if no owned RayCluster is left."""
KEEP_UNTIL = "raysweep.io/keep-until"
KEEP_REASON = "raysweep.io/keep-reason"

OUTCOMES = ("succeeded", "failed", "stopped")
DURATION_ANNOTATIONS = tuple(
    f"{key}{suffix}"
    for key in (TTL, CLUSTER_TTL)
    for suffix in ("", *(f"-{outcome}" for outcome in OUTCOMES))
)
ANNOTATIONS = frozenset({*DURATION_ANNOTATIONS, TTL_UNSUBMITTED, KEEP_UNTIL, KEEP_REASON, OUTCOME})

# RayJobCleanupPolicy

POLICY_GROUP = "raysweep.io"
POLICY_VERSION = "v1alpha1"
POLICIES = "rayjobcleanuppolicies"
POLICY_KIND = "RayJobCleanupPolicy"

RETENTION_DURATIONS = tuple(
    f"retention.{kind}.{outcome}"
    for kind in ("rayJob", "rayCluster")
    for outcome in ("default", *OUTCOMES)
)
LIMIT_DURATIONS = (
    "limits.rayJob.min",
    "limits.rayJob.max",
    "limits.rayCluster.min",
    "limits.rayCluster.max",
    "limits.keep.max",
)
STUCK_KINDS = (
    "neverSubmitted",
    "jobLost",
    "initializing",
    "stillRunning",
    "clusterInUse",
    "headUnreachable",
)
STUCK_DURATIONS = tuple(f"stuck.{kind}" for kind in STUCK_KINDS)
POLICY_DURATIONS = (*RETENTION_DURATIONS, *LIMIT_DURATIONS, *STUCK_DURATIONS)
"""The paths of all durations in the spec of a RayJobCleanupPolicy."""

# How Raysweep identifies itself

APP_NAME = "raysweep"
"""The operator's User-Agent and its name in labels."""
CLI_NAME = "kubectl-raysweep"
"""The command line's User-Agent and field manager. It differs from the operator's in audit logs."""
EVENT_REPORTER = "raysweep.io/operator"
"""The reportingController of Events."""
SUBMISSION_ID = "submit.raysweep.io/id"
"""On RayJobs from `submit`: the ID of the call, which finds its RayJob after a lost response."""

# RayJobs and RayClusters (KubeRay)

KUBERAY_MANAGER = "ray.io/kuberay-operator"
"""The value of RayJob spec.managedBy for KubeRay itself (rayjob_types.go)."""
INTERACTIVE_MODE = "InteractiveMode"
MODES_SUBMITTED_TO_A_READY_CLUSTER = frozenset({"", "K8sJobMode", "HTTPMode"})
"""Submission modes in which KubeRay submits after Initializing (rayjob_controller.go)."""
CLUSTER_SELECTOR_KEY = "ray.io/cluster"
"""The only key of RayJob spec.clusterSelector that KubeRay reads.

KubeRay labels Pods and Services with it: the value is the name of their RayCluster (constant.go).
"""
CRON_KIND = "RayCronJob"
CRON_TIMESTAMP = "ray.io/cronjob-scheduled-timestamp"
"""On RayJobs of a RayCronJob, whose names are derived from it (raycronjob_controller.go)."""
FAULT_TOLERANCE = "ray.io/ft-enabled"
"""Annotation of a RayCluster: "true" enables GCS fault tolerance, like gcsFaultToleranceOptions."""
HEAD_SERVICE_SUFFIX = "-head-svc"
DASHBOARD_PORT_NAME = "dashboard"
DASHBOARD_PORT = 8265

# Kueue

KUEUE_GROUP = "kueue.x-k8s.io"
KUEUE_JOB_UID_LABEL = "kueue.x-k8s.io/job-uid"
"""On the Workload that Kueue creates for a RayJob."""
KUEUE_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""On RayJobs that Kueue queues. They need shutdownAfterJobFinishes (kueue rayjob_webhook.go)."""
MULTIKUEUE_ORIGIN_LABEL = "kueue.x-k8s.io/multikueue-origin"
"""On RayJobs from a MultiKueue manager, which recreates one that is deleted early (kueue#14734)."""

# Tools and controllers that create a deleted RayJob again

RECREATED_BY = frozenset(
    {
        "argocd.argoproj.io/tracking-id",
        "argocd.argoproj.io/instance",
        "kustomize.toolkit.fluxcd.io/name",
        "helm.toolkit.fluxcd.io/name",
        "objectset.rio.cattle.io/id",
        "kapp.k14s.io/app",
        "kapp.k14s.io/identity",
        "configsync.gke.io/resource-id",
        "configmanagement.gke.io/managed",
        "karmada.io/managed",
        "projectsveltos.io/reference-name",
        "pipecd.dev/managed-by",
    }
)
"""Labels and annotations of tools that create a deleted object again (argo-cd#8586).

Only these tools set them. The setting recreated-by adds keys. Sources: Argo CD "Resource Tracking"
(it recommends `instance` as a custom label), the labels of Flux's kustomize-controller and
helm-controller, Rancher Fleet internal/helmdeployer/postrender.go, Carvel kapp "Apply", Config Sync
"Labels and annotations", Karmada ManagedByKarmadaLabel, Sveltos ReferenceNameLabel, and PipeCD's
builtin labels.
"""
NOT_MANAGED = frozenset({("configmanagement.gke.io/managed", "disabled")})
"""Keys with the value by which a tool ignores an object (Config Sync "Manage existing objects")."""
INSTANCE_LABEL = "app.kubernetes.io/instance"
"""Ambiguous: Helm charts set it, and Argo CD before 3.0 tracks objects by it by default."""
HELM_RELEASE = "meta.helm.sh/release-name"
"""The annotation that Helm writes on what it installs. Argo CD renders charts without it."""

OWNERS_THAT_DO_NOT_RECREATE = frozenset(
    {
        (RAY_GROUP, "RayCluster"),
        (RAY_GROUP, "RayService"),
        (RAY_GROUP, "RayJob"),
        ("argoproj.io", "Workflow"),
        ("tekton.dev", "TaskRun"),
        ("tekton.dev", "PipelineRun"),
    }
)
"""API group and kind of controller owners that do not create a deleted RayJob again after its end.

All other owners count as owners that do. A batch Job or a Pod starts its program again by default.
A CronWorkflow can create a RayJob with a fixed name only after the old one is deleted.

Sources: KubeRay creates RayJobs for RayCronJobs only (raycronjob_controller.go). A Workflow, a
TaskRun and a PipelineRun run each step once, unless it has retries (Argo Workflows "Kubernetes
Resources", Tekton "TaskRuns").
"""


def is_raycronjob(group: str, kind: str) -> bool:
    """Whether a controller owner is KubeRay's RayCronJob. The group may be left out."""
    return kind == CRON_KIND and group in ("", RAY_GROUP)
