"""Every string that others see: API groups, annotation keys, labels, finalizers. Constants, and what they mean."""

RAY_GROUP = "ray.io"
RAY_VERSION = "v1"
RAYJOBS = "rayjobs"
RAYCLUSTERS = "rayclusters"
LEASE_GROUP = "coordination.k8s.io"
LEASES = "leases"

ANNOTATION_PREFIX = "raysweep.io/"
TTL = "raysweep.io/ttl"
CLUSTER_TTL = "raysweep.io/cluster-ttl"
TTL_UNSUBMITTED = "raysweep.io/ttl-unsubmitted"
OUTCOME = "raysweep.io/outcome"
"""Written by the operator, the only thing it ever writes on a RayJob; read where no owned RayCluster is left to ask."""
KEEP_UNTIL = "raysweep.io/keep-until"
KEEP_REASON = "raysweep.io/keep-reason"

OUTCOMES = ("succeeded", "failed", "stopped")
DURATION_ANNOTATIONS = tuple(
    f"{key}{suffix}" for key in (TTL, CLUSTER_TTL) for suffix in ("", *(f"-{o}" for o in OUTCOMES))
)
ANNOTATIONS = frozenset({*DURATION_ANNOTATIONS, TTL_UNSUBMITTED, KEEP_UNTIL, KEEP_REASON, OUTCOME})

POLICY_GROUP = "raysweep.io"
POLICY_VERSION = "v1alpha1"
POLICIES = "rayjobcleanuppolicies"
POLICY_KIND = "RayJobCleanupPolicy"

RETENTION_DURATIONS = tuple(
    f"retention.{what}.{of}" for what in ("rayJob", "rayCluster") for of in ("default", *OUTCOMES)
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
"""Every duration of a RayJobCleanupPolicy, by its path below spec."""

ALWAYS_PROTECTED_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Kubernetes' own namespaces; a setting adds to them and never replaces them."""

KUBERAY_MANAGER = "ray.io/kuberay-operator"
"""The value of RayJob spec.managedBy that means KubeRay itself (kuberay rayjob_types.go)."""
MULTIKUEUE_ORIGIN_LABEL = "kueue.x-k8s.io/multikueue-origin"
"""On RayJobs that a MultiKueue manager dispatched to this cluster; deleting one early dispatches it again (kueue#14734)."""
KUEUE_GROUP = "kueue.x-k8s.io"
KUEUE_JOB_UID_LABEL = "kueue.x-k8s.io/job-uid"
"""On the Workload that Kueue makes of a RayJob."""
KUEUE_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""On RayJobs that Kueue queues; it requires shutdownAfterJobFinishes of every one of them (kueue rayjob_webhook.go)."""

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
"""Labels and annotations by which a tool marks what it creates again (argo-cd#8586). Only that tool sets them.

Sources: Argo CD "Resource Tracking" (`instance` is the label that it recommends as a custom one); the labels of Flux's
kustomize-controller and helm-controller; Rancher Fleet internal/helmdeployer/postrender.go; Carvel kapp "Apply"; Config Sync
"Labels and annotations"; Karmada ManagedByKarmadaLabel; Sveltos ReferenceNameLabel; PipeCD's builtin labels. The setting
recreated-by adds keys.
"""
NOT_MANAGED = frozenset({("configmanagement.gke.io/managed", "disabled")})
"""Pairs of key and value that say that the tool does not manage the object (Config Sync "Manage existing cluster objects")."""
INSTANCE_LABEL = "app.kubernetes.io/instance"
"""Ambiguous: Helm charts set it, and Argo CD before 3.0 tracks by it by default (Argo CD "Resource Tracking")."""
HELM_RELEASE = "meta.helm.sh/release-name"
"""The annotation that Helm itself writes on what it installs. Argo CD renders charts and does not write it."""

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
"""(API group, kind) of controller owners whose controller does not create a RayJob that was deleted after its end.

Sources: KubeRay creates RayJobs for RayCronJobs only (raycronjob_controller.go). A Workflow, TaskRun or PipelineRun runs
each step once, unless the step asks for retries (Argo Workflows "Kubernetes Resources", Tekton "TaskRuns"). Not here, and so
taken to create it again: a batch Job or a Pod, which start their program again by default; a CronWorkflow, whose next run
could create a RayJob of a fixed name only once the old one is deleted; and every kind that is not known.
"""
CRON_KIND = "RayCronJob"
CRON_TIMESTAMP = "ray.io/cronjob-scheduled-timestamp"
"""On the RayJobs of a RayCronJob, whose names follow from their tick (kuberay raycronjob_controller.go)."""
INTERACTIVE_MODE = "InteractiveMode"
MODES_SUBMITTED_TO_A_READY_CLUSTER = frozenset({"", "K8sJobMode", "HTTPMode"})
"""Values of spec.submissionMode with which KubeRay submits after Initializing (kuberay rayjob_controller.go)."""

CLUSTER_SELECTOR_KEY = "ray.io/cluster"
"""The only key of RayJob spec.clusterSelector that KubeRay reads."""
ORPHAN_FINALIZER = "orphan"
"""The API server's own: a deletion asked for with propagationPolicy Orphan, whose dependents are meant to stay."""

FAULT_TOLERANCE = "ray.io/ft-enabled"
"""Annotation of a RayCluster: "true" turns GCS fault tolerance on, as gcsFaultToleranceOptions does."""
HEAD_SERVICE_SUFFIX = "-head-svc"
DASHBOARD_PORT_NAME = "dashboard"
DASHBOARD_PORT = 8265

EVENT_REPORTER = "raysweep.io/operator"
"""reportingController of our Events."""
APP_NAME = "raysweep"
"""Our name as User-Agent and in labels."""
CLI_NAME = "kubectl-raysweep"
"""The command line's, as User-Agent and field manager: audit logs tell people and operator apart by it."""
SUBMISSION_ID = "submit.raysweep.io/id"
"""On RayJobs that `submit` made: which call of it, so that it knows its own RayJob again when an answer got lost."""


def is_raycronjob(group: str, kind: str) -> bool:
    """Whether a controller owner is KubeRay's RayCronJob. The group "" counts: the core group has no such kind."""
    return kind == CRON_KIND and group in ("", RAY_GROUP)
