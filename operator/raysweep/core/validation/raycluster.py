"""Rules about a RayJob's rayClusterSpec.

Source: kuberay validation.go (ValidateRayClusterSpec, ValidateRayClusterUpgradeOptions), the CRD.
"""

from collections.abc import Iterator

from raysweep.core.text import quoted
from raysweep.core.validation.metadata import is_key, is_label_value
from raysweep.core.validation.rayjob import ray_version
from raysweep.core.validation.violation import (
    Authority,
    Candidate,
    FieldError,
    FieldErrors,
    Json,
    Path,
    Severity,
    rule,
)

CLUSTER: Path = ("spec", "rayClusterSpec")
HEAD: Path = (*CLUSTER, "headGroupSpec")
WORKERS: Path = (*CLUSTER, "workerGroupSpecs")
TEMPLATE: Path = ("template", "spec")
RESOURCE_PARAMETERS = ("num-cpus", "num-gpus", "memory", "resources")
AUTOSCALER_V2 = "RAY_enable_autoscaler_v2"
REDIS_ADDRESS = "RAY_REDIS_ADDRESS"
FAULT_TOLERANCE = "ray.io/ft-enabled"
EXTERNAL_STORAGE = "ray.io/external-storage-namespace"
TOKEN_AUTH_SINCE = (2, 52)
PRIORITY_SINCE = (2, 56)
GATED = {
    "networkPolicy": "RayClusterNetworkPolicy",
    "tlsOptions": "RayClusterMTLS",
    "historyServerOptions": "RayClusterHistoryServer",
}
VALUES = {
    ("authOptions", "mode"): ("disabled", "token"),
    ("autoscalerOptions", "version"): ("v1", "v2"),
    ("autoscalerOptions", "upscalingMode"): ("Default", "Aggressive", "Conservative"),
    ("gcsFaultToleranceOptions", "backend"): ("redis", "rocksdb"),
}


def _workers(job: Candidate) -> Iterator[tuple[Path, Json]]:
    for number, group in enumerate(job.worker_groups):
        yield (*WORKERS, number), group


def _groups(job: Candidate) -> Iterator[tuple[Path, Json]]:
    """The head's group, then the workers'."""
    if job.head:
        yield HEAD, job.head
    yield from _workers(job)


def _containers(group: Json) -> list[Json]:
    containers: list[Json] = group.get("template", {}).get("spec", {}).get("containers", [])
    return containers


def _head_env(job: Candidate) -> dict[str, str]:
    """The environment of the head's Ray container. Of duplicate variables the first one counts."""
    containers = _containers(job.head)
    env = containers[0].get("env", []) if containers else []
    return {entry.get("name", ""): entry.get("value", "") for entry in reversed(env)}


def _head_env_path(job: Candidate, name: str) -> Path:
    env = _containers(job.head)[0].get("env", [])
    number = next(number for number, entry in enumerate(env) if entry.get("name") == name)
    return (*HEAD, *TEMPLATE, "containers", 0, "env", number)


def _options(job: Candidate, key: str) -> Json:
    options: Json = job.cluster.get(key, {})
    return options


def _is_autoscaler_v2(job: Candidate) -> bool:
    is_in_env = _head_env(job).get(AUTOSCALER_V2) in ("1", "true")
    return _options(job, "autoscalerOptions").get("version") == "v2" or is_in_env


@rule(Authority.CRD)
def no_head_group(job: Candidate) -> FieldErrors:
    """A rayClusterSpec has a headGroupSpec."""
    if "rayClusterSpec" in job.spec and "headGroupSpec" not in job.cluster:
        yield FieldError(CLUSTER, "it has no headGroupSpec", "add one")


@rule(Authority.CRD)
def incomplete_group(job: Candidate) -> FieldErrors:
    """A group has a template, and a worker group also has a groupName."""
    if "headGroupSpec" in job.cluster and "template" not in job.head:
        yield FieldError(HEAD, "it has no template", "add one")
    for path, group in _workers(job):
        for key in ("groupName", "template"):
            if key not in group:
                yield FieldError(path, f"it has no {key}", "add one")


@rule(Authority.KUBERAY)
def no_containers(job: Candidate) -> FieldErrors:
    """The template of a group has a container. The first one runs Ray."""
    for path, group in _groups(job):
        if "template" in group and not _containers(group):
            yield FieldError(
                (*path, *TEMPLATE), "it has no containers", "add the one that runs Ray"
            )


@rule(Authority.CRD)
def container_without_name(job: Candidate) -> FieldErrors:
    """A container has a name."""
    for path, group in _groups(job):
        for number, container in enumerate(_containers(group)):
            if "name" not in container:
                place = (*path, *TEMPLATE, "containers", number)
                yield FieldError(place, "it has no name", "add one")


@rule(Authority.KUBERAY, versions="KubeRay 1.6 or later", severity=Severity.WARNING)
def replicas_out_of_range(job: Candidate) -> FieldErrors:
    """minReplicas and maxReplicas are 0 or more, in this order."""
    for path, group in _workers(job):
        least, most = group.get("minReplicas", 0), group.get("maxReplicas", 2**31 - 1)
        for key, number in (("minReplicas", least), ("maxReplicas", most)):
            if number < 0:
                yield FieldError((*path, key), f"{number} is below 0", "use 0 or more")
        if least > most >= 0:
            problem = f"{least} is more than maxReplicas {most}"
            yield FieldError((*path, "minReplicas"), problem, "use at most that")


@rule(Authority.KUBERAY)
def resources_twice(job: Candidate) -> FieldErrors:
    """A group sets resources in its rayStartParams or in its resources, not in both."""
    for path, group in _groups(job):
        parameters = group.get("rayStartParams", {})
        given = [key for key in RESOURCE_PARAMETERS if parameters.get(key)]
        if given and group.get("resources"):
            problem = f"set together with rayStartParams {', '.join(given)}"
            yield FieldError((*path, "resources"), problem, "leave out one of the two")


@rule(Authority.KUBERAY)
def labels_in_start_parameters(job: Candidate) -> FieldErrors:
    """A group does not set labels in its rayStartParams."""
    for path, group in _groups(job):
        if "labels" in group.get("rayStartParams", {}):
            place = (*path, "rayStartParams", "labels")
            yield FieldError(place, "not allowed here", "use the group's labels")


@rule(Authority.KUBERAY)
def invalid_group_label(job: Candidate) -> FieldErrors:
    """The labels of a group have the syntax of Kubernetes labels."""
    for path, group in _groups(job):
        for key, value in group.get("labels", {}).items():
            if not is_key(key) or not is_label_value(value):
                problem = f"{quoted(f'{key}: {value}')} is not a valid label"
                yield FieldError((*path, "labels", key), problem, "use it as a label of Kubernetes")


@rule(Authority.KUBERAY)
def fault_tolerance_twice(job: Candidate) -> FieldErrors:
    """Either gcsFaultToleranceOptions or an annotation turns on GCS fault tolerance, not both."""
    if job.annotations.get(FAULT_TOLERANCE) and "gcsFaultToleranceOptions" in job.cluster:
        path = (*CLUSTER, "gcsFaultToleranceOptions")
        problem = f"set together with the annotation {FAULT_TOLERANCE}"
        yield FieldError(path, problem, "leave out the annotation")


@rule(Authority.KUBERAY)
def redis_without_fault_tolerance(job: Candidate) -> FieldErrors:
    """RAY_REDIS_ADDRESS of the head needs GCS fault tolerance."""
    is_on = job.annotations.get(FAULT_TOLERANCE, "").lower() == "true"
    if is_on or "gcsFaultToleranceOptions" in job.cluster:
        return
    if REDIS_ADDRESS in _head_env(job):
        hint = "use gcsFaultToleranceOptions.redisAddress"
        yield FieldError(_head_env_path(job, REDIS_ADDRESS), f"{REDIS_ADDRESS} is set", hint)


@rule(Authority.KUBERAY)
def redis_outside_its_options(job: Candidate) -> FieldErrors:
    """With gcsFaultToleranceOptions, only they configure Redis."""
    if "gcsFaultToleranceOptions" not in job.cluster:
        return
    parameters, env = job.head.get("rayStartParams", {}), _head_env(job)
    hint = "use gcsFaultToleranceOptions"
    if parameters.get("redis-password"):
        yield FieldError((*HEAD, "rayStartParams", "redis-password"), "it is set", hint)
    for name in ("REDIS_PASSWORD", REDIS_ADDRESS):
        if name in env:
            yield FieldError(_head_env_path(job, name), f"{name} is set", hint)
    if job.annotations.get(EXTERNAL_STORAGE):
        yield FieldError(("metadata", "annotations", EXTERNAL_STORAGE), "it is set", hint)


@rule(Authority.KUBERAY)
def redis_username(job: Candidate) -> FieldErrors:
    """Only gcsFaultToleranceOptions set the user name for Redis."""
    hint = "use gcsFaultToleranceOptions.redisUsername"
    if job.head.get("rayStartParams", {}).get("redis-username"):
        yield FieldError((*HEAD, "rayStartParams", "redis-username"), "it is set", hint)
    if "REDIS_USERNAME" in _head_env(job):
        yield FieldError(_head_env_path(job, "REDIS_USERNAME"), "REDIS_USERNAME is set", hint)


@rule(Authority.KUBERAY)
def suspended_workers_with_autoscaling(job: Candidate) -> FieldErrors:
    """A worker group of an autoscaled RayCluster is not suspended."""
    for path, group in _workers(job):
        if job.has_autoscaling and group.get("suspend"):
            problem = "true with enableInTreeAutoscaling"
            yield FieldError((*path, "suspend"), problem, "leave out one of the two")


@rule(Authority.KUBERAY)
def autoscaler_v2_without_autoscaling(job: Candidate) -> FieldErrors:
    """The environment of the head turns on autoscaler v2 only with enableInTreeAutoscaling."""
    if not job.has_autoscaling and _head_env(job).get(AUTOSCALER_V2) in ("1", "true"):
        problem = f"{AUTOSCALER_V2} is set without enableInTreeAutoscaling: true"
        yield FieldError(_head_env_path(job, AUTOSCALER_V2), problem, "set that, or leave it out")


@rule(Authority.KUBERAY)
def autoscaler_version_twice(job: Candidate) -> FieldErrors:
    """autoscalerOptions or the environment sets the version of the autoscaler, not both."""
    has_version = "version" in _options(job, "autoscalerOptions")
    if job.has_autoscaling and has_version and AUTOSCALER_V2 in _head_env(job):
        problem = f"{AUTOSCALER_V2} with autoscalerOptions.version"
        yield FieldError(_head_env_path(job, AUTOSCALER_V2), problem, "leave out the variable")


@rule(Authority.KUBERAY)
def restarts_with_autoscaler_v2(job: Candidate) -> FieldErrors:
    """With autoscaler v2 the Pods have the restartPolicy Never, or none."""
    if not job.has_autoscaling or _options(job, "autoscalerOptions").get("version") != "v2":
        return
    for path, group in _groups(job):
        policy = group.get("template", {}).get("spec", {}).get("restartPolicy", "")
        if policy not in ("", "Never"):
            problem = f"{quoted(policy)} with autoscaler v2"
            yield FieldError(
                (*path, *TEMPLATE, "restartPolicy"), problem, "use Never, or leave it out"
            )


@rule(Authority.KUBERAY, versions="KubeRay 1.6 or later", severity=Severity.WARNING)
def idle_timeout(job: Candidate) -> FieldErrors:
    """Idle timeouts are 0 or more, and that of a worker group needs autoscaler v2."""
    options = ((*CLUSTER, "autoscalerOptions"), _options(job, "autoscalerOptions"))
    for path, fields in (options, *_workers(job)):
        seconds = fields.get("idleTimeoutSeconds", 0)
        if seconds < 0:
            yield FieldError(
                (*path, "idleTimeoutSeconds"), f"{seconds} is below 0", "use 0 or more"
            )
    for path, group in _workers(job):
        if group.get("idleTimeoutSeconds", -1) >= 0 and not _is_autoscaler_v2(job):
            hint = "set autoscalerOptions.version: v2"
            yield FieldError((*path, "idleTimeoutSeconds"), "it is set without autoscaler v2", hint)


@rule(Authority.CRD)
def unknown_value(job: Candidate) -> FieldErrors:
    """Values of authOptions, autoscalerOptions and gcsFaultToleranceOptions are known ones."""
    for (key, field), allowed in VALUES.items():
        value = _options(job, key).get(field, allowed[0])
        if value not in allowed:
            problem = f"{quoted(value)} is not one of its values"
            yield FieldError((*CLUSTER, key, field), problem, f"use {' or '.join(allowed)}")


@rule(Authority.KUBERAY)
def token_auth_without_ray_version(job: Candidate) -> FieldErrors:
    """Token authentication needs rayVersion 2.52.0 or later."""
    version = job.cluster.get("rayVersion", "")
    has_token = _options(job, "authOptions").get("mode") == "token"
    if has_token and ray_version(version) < TOKEN_AUTH_SINCE:
        problem = f"{quoted(version)} with authOptions.mode token"
        yield FieldError((*CLUSTER, "rayVersion"), problem, "use Ray 2.52.0 or later")


@rule(Authority.KUBERAY)
def kubernetes_token_auth(job: Candidate) -> FieldErrors:
    """A RayJob does not use enableK8sTokenAuth."""
    if _options(job, "authOptions").get("enableK8sTokenAuth"):
        path = (*CLUSTER, "authOptions", "enableK8sTokenAuth")
        yield FieldError(path, "true in a RayJob", "leave it out")


@rule(Authority.KUBERAY)
def upgrade_strategy(job: Candidate) -> FieldErrors:
    """The RayCluster of a RayJob has no upgradeStrategy."""
    if "type" in _options(job, "upgradeStrategy"):
        yield FieldError((*CLUSTER, "upgradeStrategy"), "not allowed in a RayJob", "leave it out")


@rule(Authority.KUBERAY)
def group_priority(job: Candidate) -> FieldErrors:
    """The priority of a worker group needs autoscaler v2 and rayVersion 2.56.0 or later."""
    version = job.cluster.get("rayVersion", "")
    for path, group in _workers(job):
        if not group.get("priority"):
            continue
        if ray_version(version) < PRIORITY_SINCE:
            problem = f"it needs Ray 2.56.0 or later, not {quoted(version)}"
            yield FieldError((*path, "priority"), problem, "use a later Ray, or leave it out")
        if not _is_autoscaler_v2(job):
            hint = "set autoscalerOptions.version: v2"
            yield FieldError((*path, "priority"), "it is set without autoscaler v2", hint)


@rule(Authority.KUBERAY)
def storage_for_redis(job: Candidate) -> FieldErrors:
    """gcsFaultToleranceOptions.storage is for the backend rocksdb."""
    options = _options(job, "gcsFaultToleranceOptions")
    if "storage" in options and options.get("backend", "redis") == "redis":
        path = (*CLUSTER, "gcsFaultToleranceOptions", "storage")
        yield FieldError(path, "it is set for the backend redis", "leave it out")


@rule(Authority.KUBERAY, versions="KubeRay 1.7", severity=Severity.WARNING)
def autoscaler_start_command(job: Candidate) -> FieldErrors:
    """KUBERAY_GEN_AUTOSCALER_START_CMD is set by KubeRay alone."""
    env = _options(job, "autoscalerOptions").get("env", [])
    for number, entry in enumerate(env):
        if entry.get("name") == "KUBERAY_GEN_AUTOSCALER_START_CMD":
            path = (*CLUSTER, "autoscalerOptions", "env", number)
            yield FieldError(path, f"{entry['name']} is set", "leave it out")


@rule(
    Authority.KUBERAY,
    versions="KubeRay 1.7 without the feature gate of the field",
    severity=Severity.NOTE,
)
def field_behind_a_gate(job: Candidate) -> FieldErrors:
    """networkPolicy, tlsOptions, historyServerOptions and rocksdb need a gate of KubeRay 1.7."""
    for key, gate in GATED.items():
        if key in job.cluster:
            yield FieldError((*CLUSTER, key), key, f"turn {gate} on, or leave it out")
    if _options(job, "gcsFaultToleranceOptions").get("backend") == "rocksdb":
        path = (*CLUSTER, "gcsFaultToleranceOptions", "backend")
        hint = "turn GCSFaultToleranceEmbeddedStorage on, or use redis"
        yield FieldError(path, "rocksdb", hint)


RULES = (
    no_head_group,
    incomplete_group,
    no_containers,
    container_without_name,
    replicas_out_of_range,
    resources_twice,
    labels_in_start_parameters,
    invalid_group_label,
    fault_tolerance_twice,
    redis_without_fault_tolerance,
    redis_outside_its_options,
    redis_username,
    suspended_workers_with_autoscaling,
    autoscaler_v2_without_autoscaling,
    autoscaler_version_twice,
    restarts_with_autoscaler_v2,
    idle_timeout,
    unknown_value,
    token_auth_without_ray_version,
    kubernetes_token_auth,
    upgrade_strategy,
    group_priority,
    storage_for_redis,
    autoscaler_start_command,
    field_behind_a_gate,
)
