"""Builds the body of POST /api/jobs/: the flags, laid over the spec of a RayJob.

It reads local requirements files and nothing else. Sources:
ray.dashboard.modules.job.common.JobSubmitRequest; kuberay rayjob_types.go for the spec.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from raysweep.core.text import in_quotes, quoted
from raysweep.submission import runtime_env, runtime_env_schema
from raysweep.submission.head import is_usable
from raysweep.submission.runtime_env import RuntimeEnv, RuntimeEnvError
from raysweep.submission.runtime_env_schema import Problem, is_uri

Json = Mapping[str, Any]


class JobError(Exception):
    """A job that every head would refuse. The text names the value, the place and the remedy."""


@dataclass(frozen=True, slots=True)
class JobFlags:
    """The flags about the job itself. None: not set. The runtime environment may hold secrets."""

    submission_id: str | None = None
    runtime_env: Path | None = None
    runtime_env_json: str | None = field(default=None, repr=False)
    working_dir: str | None = None
    excludes: tuple[str, ...] = ()
    metadata: Json | None = None
    plugins: tuple[str, ...] = ()
    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    resources: Json | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """The body of the request, without a working directory of this machine.

    working_dir: the folder or archive to upload first, "" if there is none. place: where it was
    set. notes: what the user should know.
    """

    body: dict[str, Any] = field(repr=False)
    working_dir: str = ""
    excludes: tuple[str, ...] = ()
    place: str = ""
    notes: tuple[str, ...] = ()

    def with_working_dir(self, uri: str | None) -> dict[str, Any]:
        """Returns the body with the URI of the uploaded working directory, if there is one."""
        if uri is None:
            return self.body
        env = self.body.get("runtime_env", {}) | {"working_dir": uri}
        return self.body | {"runtime_env": env}


def compose(spec: Json, flags: JobFlags) -> Job:
    """Builds the job from the spec of the RayJob and the flags.

    Raises JobError, RuntimeEnvError.
    """
    if not spec.get("entrypoint"):
        raise JobError("the command is missing: write it after --, such as -- python train.py")
    environment = _environment(spec, flags)
    env, notes = _checked_env(environment, flags)
    excludes = env.pop("excludes", [])
    is_uploaded = "working_dir" in env and _is_local(env["working_dir"], environment, flags)
    working_dir = env.pop("working_dir") if is_uploaded else ""
    body = {
        "entrypoint": spec["entrypoint"],
        "submission_id": _submission_id(spec, flags),
        "runtime_env": env,
        "metadata": _either(flags.metadata, spec.get("metadata")),
        "entrypoint_num_cpus": _either(flags.num_cpus, spec.get("entrypointNumCpus")),
        "entrypoint_num_gpus": _either(flags.num_gpus, spec.get("entrypointNumGpus")),
        "entrypoint_memory": flags.memory,
        "entrypoint_resources": _either(flags.resources, _resources(spec)),
    }
    body = {key: value for key, value in body.items() if value not in (None, "", {})}
    place = "--working-dir" if flags.working_dir else environment.place_of(("working_dir",))
    return Job(body, working_dir, (*excludes, *flags.excludes), place, tuple(notes))


def _submission_id(spec: Json, flags: JobFlags) -> str:
    job_id = flags.submission_id or spec.get("jobId") or ""
    if job_id and not is_usable(job_id):
        place = "--submission-id" if flags.submission_id else "spec.jobId"
        hint = "use letters, digits, '-', '_' and '.'"
        raise JobError(f"{place}: invalid submission ID {quoted(job_id)}: {hint}")
    return str(job_id)


def _environment(spec: Json, flags: JobFlags) -> RuntimeEnv:
    """As in Ray's own command line: a flag replaces the spec's, --working-dir overrides both."""
    if flags.runtime_env and flags.runtime_env_json is not None:
        raise JobError("--runtime-env and --runtime-env-json cannot be combined")
    if flags.runtime_env_json is not None:
        environment = runtime_env.parse_json(flags.runtime_env_json)
    elif flags.runtime_env:
        environment = runtime_env.read_file(flags.runtime_env)
    else:
        environment = runtime_env.parse_spec(spec)
    if flags.working_dir:
        return replace(environment, env=environment.env | {"working_dir": flags.working_dir})
    return environment


def _checked_env(environment: RuntimeEnv, flags: JobFlags) -> tuple[dict[str, Any], list[str]]:
    """Returns the environment to send, and notes. Raises RuntimeEnvError with every problem."""
    errors: list[str] = []
    notes: list[str] = []
    valid_keys = dict(environment.env)
    for problem in runtime_env_schema.problems(environment.env, environment.written, flags.plugins):
        message = _message_of(problem, environment, flags)
        if problem.is_ignored:
            notes.append(message)
        else:
            errors.append(message)
            valid_keys.pop(problem.path[0], None)
    try:
        resolved = runtime_env.resolve(replace(environment, env=valid_keys)).env
    except RuntimeEnvError as error:
        errors += error.problems
    if errors:
        raise RuntimeEnvError(*errors)
    notes += _image_notes(environment, flags)
    return runtime_env.without_empty(resolved), notes


def _message_of(problem: Problem, environment: RuntimeEnv, flags: JobFlags) -> str:
    place = f"{environment.place}: {problem.place}"
    if flags.working_dir and problem.path == ("working_dir",):
        place = "--working-dir"
    message = f"{place}: {problem.text}"
    if problem.is_unknown_key:
        flag = f"--runtime-env-plugin {in_quotes(problem.path[0])}"
        message += f" (if the cluster's Ray has a plugin of this name, add {flag})"
    return message


def _image_notes(environment: RuntimeEnv, flags: JobFlags) -> list[str]:
    """A note about a working directory that is a path inside the image."""
    working_dir = environment.env.get("working_dir")
    if not working_dir or is_uri(working_dir) or _is_local(working_dir, environment, flags):
        return []
    path = f"working_dir {quoted(working_dir)} of {environment.place}"
    hint = "to upload a folder of this machine, use --working-dir"
    return [f"{path} is a path inside the image, and used in place: {hint}"]


def _is_local(working_dir: str, environment: RuntimeEnv, flags: JobFlags) -> bool:
    """Whether the working directory is a path of this machine."""
    return not is_uri(working_dir) and bool(environment.is_local or flags.working_dir)


def _resources(spec: Json) -> Any:
    """spec.entrypointResources, which is a JSON text."""
    text = spec.get("entrypointResources")
    if not text:
        return None
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        hint = "write a JSON object such as '{\"Custom_1\": 1}'"
        message = f"spec.entrypointResources: invalid value {quoted(text)}: {hint}"
        raise JobError(message) from None


def _either(flag: Any, spec_value: Any) -> Any:
    return spec_value if flag is None else flag
