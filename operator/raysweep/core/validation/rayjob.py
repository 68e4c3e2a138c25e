"""Rules about a RayJob's own fields: suspension, TTL, selector, modes, deadlines.

Source: kuberay validation.go (ValidateRayJobSpec), rayjob_controller.go, common/job.go; 1.5 to 1.7.
"""

import json
import re

from raysweep import names
from raysweep.core.text import quoted
from raysweep.core.validation.violation import (
    Authority,
    Candidate,
    FieldError,
    FieldErrors,
    Severity,
    rule,
)

MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
MANAGERS = (names.KUBERAY_MANAGER, "kueue.x-k8s.io/multikueue")
NEVER_RUNS = "so KubeRay never runs the job"
_VERSION = re.compile(r"v?(\d+)(\.\d+)?(\.\d+)?([-+.].*)?")


@rule(Authority.KUBERAY)
def suspend_without_shutdown(job: Candidate) -> FieldErrors:
    """A suspended RayJob has shutdownAfterJobFinishes: true."""
    if job.spec.get("suspend") and not job.has_shutdown:
        problem = "true without shutdownAfterJobFinishes: true"
        yield FieldError(("spec", "suspend"), problem, "set that, or leave suspend out")


@rule(Authority.KUBERAY)
def suspend_with_selector(job: Candidate) -> FieldErrors:
    """A RayJob with a clusterSelector is not suspended."""
    if job.spec.get("suspend") and job.selector:
        problem = "true with a clusterSelector"
        yield FieldError(("spec", "suspend"), problem, "leave out one of the two")


@rule(Authority.KUBERAY)
def negative_ttl(job: Candidate) -> FieldErrors:
    """ttlSecondsAfterFinished is 0 or more."""
    seconds = job.spec.get("ttlSecondsAfterFinished", 0)
    if seconds < 0:
        path = ("spec", "ttlSecondsAfterFinished")
        yield FieldError(path, f"{seconds} is below 0", "use 0 or more")


@rule(Authority.KUBERAY)
def ttl_without_shutdown(job: Candidate) -> FieldErrors:
    """A TTL above 0 needs shutdownAfterJobFinishes: true."""
    seconds = job.spec.get("ttlSecondsAfterFinished", 0)
    if seconds > 0 and not job.has_shutdown:
        problem = f"{seconds} without shutdownAfterJobFinishes: true"
        yield FieldError(("spec", "ttlSecondsAfterFinished"), problem, "set that, or leave it out")


@rule(Authority.KUBERAY)
def no_cluster(job: Candidate) -> FieldErrors:
    """A RayJob has a rayClusterSpec or a clusterSelector."""
    if job.is_complete and not job.selector and "rayClusterSpec" not in job.spec:
        problem = "neither a rayClusterSpec nor a clusterSelector is set"
        yield FieldError(("spec",), problem, "add one of the two")


@rule(Authority.KUBERAY)
def selector_without_cluster(job: Candidate) -> FieldErrors:
    """A clusterSelector names the RayCluster under the key ray.io/cluster."""
    if job.selector and not job.selector.get(names.CLUSTER_SELECTOR_KEY):
        problem = f"it does not name a RayCluster under the key {names.CLUSTER_SELECTOR_KEY}"
        yield FieldError(("spec", "clusterSelector"), problem, "use its name there")


@rule(Authority.KUBERAY)
def selector_in_sidecar_mode(job: Candidate) -> FieldErrors:
    """A RayJob in SidecarMode creates its own RayCluster."""
    if job.selector and job.mode == "SidecarMode":
        hint = "use K8sJobMode, or a rayClusterSpec"
        yield FieldError(("spec", "clusterSelector"), "set in SidecarMode", hint)


@rule(
    Authority.KUBERAY,
    verdict="which KubeRay 1.6 or later refuses, and 1.5 deletes the selected RayCluster to retry",
)
def selector_with_retries(job: Candidate) -> FieldErrors:
    """A RayJob with a clusterSelector has no retries."""
    limit = job.spec.get("backoffLimit", 0)
    if job.selector and limit > 0:
        yield FieldError(
            ("spec", "backoffLimit"), f"{limit} with a clusterSelector", "leave it out"
        )


@rule(Authority.KUBERAY)
def interactive_mode_with_retries(job: Candidate) -> FieldErrors:
    """A RayJob in InteractiveMode has no retries."""
    limit = job.spec.get("backoffLimit", 0)
    if job.mode == names.INTERACTIVE_MODE and limit > 0:
        yield FieldError(("spec", "backoffLimit"), f"{limit} in InteractiveMode", "leave it out")


@rule(Authority.KUBERAY)
def negative_backoff_limit(job: Candidate) -> FieldErrors:
    """backoffLimit is 0 or more."""
    limit = job.spec.get("backoffLimit", 0)
    if limit < 0:
        yield FieldError(("spec", "backoffLimit"), f"{limit} is below 0", "use 0 or more")


@rule(Authority.KUBERAY)
def submitter_in_sidecar_mode(job: Candidate) -> FieldErrors:
    """A RayJob in SidecarMode has neither a submitterPodTemplate nor a submitterConfig."""
    for key in ("submitterPodTemplate", "submitterConfig"):
        if job.mode == "SidecarMode" and key in job.spec:
            hint = "leave it out, or use K8sJobMode"
            yield FieldError(("spec", key), "set in SidecarMode", hint)


@rule(Authority.KUBERAY)
def head_restarts_in_sidecar_mode(job: Candidate) -> FieldErrors:
    """In SidecarMode the head Pod has the restartPolicy Never, or none."""
    policy = job.head.get("template", {}).get("spec", {}).get("restartPolicy", "")
    if job.mode == "SidecarMode" and policy not in ("", "Never"):
        path = ("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "restartPolicy")
        yield FieldError(path, f"{quoted(policy)} in SidecarMode", "use Never, or leave it out")


@rule(Authority.KUBERAY, verdict=NEVER_RUNS)
def unknown_submission_mode(job: Candidate) -> FieldErrors:
    """submissionMode is one of KubeRay's modes."""
    if job.mode not in MODES:
        problem = f"{quoted(job.mode)} is not a submission mode"
        yield FieldError(("spec", "submissionMode"), problem, f"use one of {', '.join(MODES)}")


@rule(Authority.CRD)
def unknown_manager(job: Candidate) -> FieldErrors:
    """managedBy is KubeRay or MultiKueue."""
    for path, fields in ((("spec",), job.spec), (("spec", "rayClusterSpec"), job.cluster)):
        manager = fields.get("managedBy")
        if manager is not None and manager not in MANAGERS:
            problem = f"{quoted(manager)} is not a known manager"
            hint = f"use {' or '.join(MANAGERS)}, or leave it out"
            yield FieldError((*path, "managedBy"), problem, hint)


@rule(Authority.KUBERAY)
def deadline_not_positive(job: Candidate) -> FieldErrors:
    """activeDeadlineSeconds and preRunningDeadlineSeconds are 1 or more."""
    for key in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        seconds = job.spec.get(key, 1)
        if seconds <= 0:
            hint = "use 1 or more, or leave it out"
            yield FieldError(("spec", key), f"{seconds} is not above 0", hint)


@rule(Authority.KUBERAY)
def runtime_env_not_yaml(job: Candidate) -> FieldErrors:
    """runtimeEnvYAML is a YAML mapping."""
    text = job.spec.get("runtimeEnvYAML", "")
    path, hint = ("spec", "runtimeEnvYAML"), "use a mapping, as 'pip: [emoji]'"
    try:
        env = job.parse_yaml(text)
    except ValueError as error:
        yield FieldError(path, f"it {error}", hint)
        return
    if env is not None and not isinstance(env, dict):
        yield FieldError(path, "it is not a mapping", hint)


@rule(Authority.KUBERAY, verdict=NEVER_RUNS)
def no_entrypoint(job: Candidate) -> FieldErrors:
    """A RayJob that KubeRay submits has an entrypoint, unless its submitter has its own command."""
    has_entrypoint = bool(job.spec.get("entrypoint", "").strip())
    if has_entrypoint or not job.is_complete or job.mode == names.INTERACTIVE_MODE:
        return
    containers = job.spec.get("submitterPodTemplate", {}).get("spec", {}).get("containers", [])
    if job.mode == "K8sJobMode" and any(container.get("command") for container in containers):
        return
    hint = "add one, as 'entrypoint: python train.py'"
    yield FieldError(("spec",), "no entrypoint is set", hint)


@rule(Authority.KUBERAY, verdict=NEVER_RUNS)
def entrypoint_resources_not_json(job: Candidate) -> FieldErrors:
    """entrypointResources is a text with a JSON object of numbers."""
    text = job.spec.get("entrypointResources", "")
    if text and not _is_json_of_numbers(text):
        problem = f"{quoted(text)} is not a JSON object of numbers"
        yield FieldError(("spec", "entrypointResources"), problem, "use one, as '{\"TPU\": 4}'")


def _is_json_of_numbers(text: str) -> bool:
    try:
        resources = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(resources, dict):
        return False
    return all(
        isinstance(amount, int | float) and not isinstance(amount, bool)
        for amount in resources.values()
    )


@rule(Authority.KUBERAY, verdict=NEVER_RUNS)
def metadata_without_ray_version(job: Candidate) -> FieldErrors:
    """A RayJob whose submitter passes metadata on has a rayVersion of 2.6 or later."""
    has_submitter = job.mode in ("K8sJobMode", "SidecarMode")
    if not has_submitter or not job.spec.get("metadata") or not job.cluster:
        return
    version = job.cluster.get("rayVersion", "")
    if ray_version(version) < (2, 6):
        problem = f"spec.metadata needs Ray 2.6.0 or later, not {quoted(version)}"
        path = ("spec", "rayClusterSpec", "rayVersion")
        yield FieldError(path, problem, "use the version of the image")


def ray_version(text: str) -> tuple[int, int]:
    """The first two numbers of a version. (0, 0) for any other text."""
    version = _VERSION.fullmatch(text.strip())
    if version is None:
        return 0, 0
    minor = (version[2] or ".0").removeprefix(".")
    return int(version[1]), int(minor)


@rule(
    Authority.CRD,
    versions="KubeRay 1.5 or later",
    severity=Severity.WARNING,
    verdict="which KubeRay 1.5 or later drops as unknown",
)
def dropped_deletion_policy(job: Candidate) -> FieldErrors:
    """deletionPolicy is a field of KubeRay 1.3 and 1.4 only."""
    policy = job.spec.get("deletionPolicy")
    if policy is not None:
        hint = "use deletionStrategy.deletionRules"
        yield FieldError(("spec", "deletionPolicy"), quoted(policy), hint)


RULES = (
    suspend_without_shutdown,
    suspend_with_selector,
    negative_ttl,
    ttl_without_shutdown,
    no_cluster,
    selector_without_cluster,
    selector_in_sidecar_mode,
    selector_with_retries,
    interactive_mode_with_retries,
    negative_backoff_limit,
    submitter_in_sidecar_mode,
    head_restarts_in_sidecar_mode,
    unknown_submission_mode,
    unknown_manager,
    deadline_not_positive,
    runtime_env_not_yaml,
    no_entrypoint,
    entrypoint_resources_not_json,
    metadata_without_ray_version,
    dropped_deletion_policy,
)
