"""The body of POST /api/jobs/: what the flags say, laid over what a RayJob's spec says. Pure but for local requirements files.

Sources: ray.dashboard.modules.job.common.JobSubmitRequest; kuberay rayjob_types.go for the fields of the spec.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysweep.core.text import quoted
from raysweep.submission import runtime_env
from raysweep.submission.head import is_usable
from raysweep.submission.runtime_env import RuntimeEnvError

Json = Mapping[str, Any]


class JobError(Exception):
    """A job that no head would take; the text names the value, the place and the remedy."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What was said about the job itself; None where nothing. The entrypoint and environment may hold secrets."""

    submission_id: str | None = None
    runtime_env: Path | None = None
    runtime_env_json: str | None = field(default=None, repr=False)
    working_dir: str | None = None
    excludes: tuple[str, ...] = ()
    metadata: Json | None = None
    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    resources: Json | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """The body, but for the working directory, which is to be packed where it is a local path; base: what it is relative to."""

    body: dict[str, Any] = field(repr=False)
    working_dir: str = ""
    excludes: tuple[str, ...] = ()

    def at(self, uri: str) -> dict[str, Any]:
        """The body with the working directory at that URI, "" where there is none."""
        env = dict(self.body.get("runtime_env") or {}) | ({"working_dir": uri} if uri else {})
        return self.body | ({"runtime_env": env} if env else {})


def compose(spec: Json, flags: Flags, base: Path) -> Job:
    """spec: of the RayJob, with its entrypoint; base: the folder that relative paths of its file start from."""
    if not spec.get("entrypoint"):
        raise JobError("there is no command to run; write it after --, as: -- python train.py")
    env = _environment(spec, flags, base)
    excludes = env.pop("excludes", None) or []
    if not isinstance(excludes, list) or not all(isinstance(one, str) for one in excludes):
        raise JobError("excludes of the runtime environment: write a list of patterns, as ['*.bin', 'data/']")
    working_dir = env.pop("working_dir", None) or ""
    if not isinstance(working_dir, str):
        raise JobError(f"working_dir of the runtime environment: {quoted(working_dir)} is no path and no URI")
    job_id = flags.submission_id or spec.get("jobId") or ""
    if job_id and not is_usable(job_id):
        raise JobError(f"--submission-id: {quoted(job_id)} cannot be asked for; use letters, digits, '-', '_' and '.'")
    body = {
        "entrypoint": spec["entrypoint"],
        "submission_id": job_id,
        "runtime_env": env,
        "metadata": _either(flags.metadata, spec.get("metadata")),
        "entrypoint_num_cpus": _either(flags.num_cpus, spec.get("entrypointNumCpus")),
        "entrypoint_num_gpus": _either(flags.num_gpus, spec.get("entrypointNumGpus")),
        "entrypoint_memory": flags.memory,
        "entrypoint_resources": _either(flags.resources, _resources(spec)),
    }
    return Job(
        {key: value for key, value in body.items() if value not in (None, "", {})}, working_dir, (*excludes, *flags.excludes)
    )


def _environment(spec: Json, flags: Flags, base: Path) -> dict[str, Any]:
    """As in Ray's own command line: the JSON instead of the file, and both instead of the spec's; --working-dir over all."""
    if flags.runtime_env and flags.runtime_env_json:
        raise JobError("--runtime-env and --runtime-env-json: give one of them")
    if flags.runtime_env_json:
        env, base = runtime_env.parse(flags.runtime_env_json, "--runtime-env-json"), Path()
    elif flags.runtime_env:
        env, base = runtime_env.read_file(flags.runtime_env), Path()
    else:
        env = runtime_env.parse(str(spec.get("runtimeEnvYAML") or ""), "spec.runtimeEnvYAML")
    env = runtime_env.resolve(env, base)
    if isinstance(env.get("working_dir"), str) and "://" not in env["working_dir"]:
        env["working_dir"] = str(base / env["working_dir"])
    return env | ({"working_dir": flags.working_dir} if flags.working_dir else {})


def _resources(spec: Json) -> Any:
    """A JSON text in the spec."""
    text = spec.get("entrypointResources")
    if not text:
        return None
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        raise JobError(f"spec.entrypointResources: {quoted(text)} is no JSON object, as '{{\"Custom_1\": 1}}'") from None


def _either(flag: Any, field_of_spec: Any) -> Any:
    return field_of_spec if flag is None else flag


__all__ = ["Flags", "Job", "JobError", "RuntimeEnvError", "compose"]
