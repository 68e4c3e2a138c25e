"""The body of POST /api/jobs/: what the flags say, laid over what a RayJob's spec says. Pure but for local requirements files.

Sources: ray.dashboard.modules.job.common.JobSubmitRequest; kuberay rayjob_types.go for the fields of the spec.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from raysweep.core.text import in_quotes, quoted
from raysweep.submission import runtime_env, runtime_env_schema
from raysweep.submission.head import is_usable
from raysweep.submission.runtime_env import Environment, RuntimeEnvError
from raysweep.submission.runtime_env_schema import is_uri

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
    plugins: tuple[str, ...] = ()
    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: int | None = None
    resources: Json | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """The body of the request, without a working directory of this machine: that is uploaded first.

    working_dir: that folder or archive, "" if there is none; place: where it was given; notes: what
    the person should know.
    """

    body: dict[str, Any] = field(repr=False)
    working_dir: str = ""
    excludes: tuple[str, ...] = ()
    place: str = ""
    notes: tuple[str, ...] = ()

    def at(self, uri: str) -> dict[str, Any]:
        """The body with the uploaded working directory at that URI, "" if nothing was uploaded."""
        if not uri:
            return self.body
        return self.body | {"runtime_env": self.body.get("runtime_env", {}) | {"working_dir": uri}}


def compose(spec: Json, flags: Flags) -> Job:
    """spec: of the RayJob, with its entrypoint. Raises JobError, RuntimeEnvError."""
    if not spec.get("entrypoint"):
        raise JobError("there is no command to run; write it after --, as: -- python train.py")
    job_id = flags.submission_id or spec.get("jobId") or ""
    if job_id and not is_usable(job_id):
        place = "--submission-id" if flags.submission_id else "spec.jobId"
        hint = "use letters, digits, '-', '_' and '.'"
        raise JobError(f"{place}: {quoted(job_id)} cannot be asked for; {hint}")
    found = _environment(spec, flags)
    env, notes = _checked(found, flags)
    excludes = env.pop("excludes", [])
    is_uploaded = "working_dir" in env and _is_here(env["working_dir"], found, flags)
    working_dir = env.pop("working_dir") if is_uploaded else ""
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
    sent = {key: value for key, value in body.items() if value not in (None, "", {})}
    place = "--working-dir" if flags.working_dir else found.named(("working_dir",))
    return Job(sent, working_dir, (*excludes, *flags.excludes), place, tuple(notes))


def _environment(spec: Json, flags: Flags) -> Environment:
    """As in Ray's own command line: a flag instead of the spec's, and --working-dir over all."""
    if flags.runtime_env and flags.runtime_env_json is not None:
        raise JobError("--runtime-env and --runtime-env-json: give one of them")
    if flags.runtime_env_json is not None:
        found = runtime_env.parse_json(flags.runtime_env_json)
    elif flags.runtime_env:
        found = runtime_env.read_file(flags.runtime_env)
    else:
        found = runtime_env.parse_spec(spec)
    given = {"working_dir": flags.working_dir} if flags.working_dir else {}
    return replace(found, env=found.env | given)


def _checked(found: Environment, flags: Flags) -> tuple[dict[str, Any], list[str]]:
    """As it is sent, and what the person should know. Raises RuntimeEnvError with every problem."""
    refused: list[str] = []
    notes: list[str] = []
    sound = dict(found.env)
    for problem in runtime_env_schema.problems(found.env, found.written, flags.plugins):
        is_flags = flags.working_dir and problem.path == ("working_dir",)
        place = "--working-dir" if is_flags else f"{found.place}: {problem.place}"
        told = f"{place}: {problem.text}"
        if problem.is_unknown_key:
            flag = f"--runtime-env-plugin {in_quotes(problem.path[0])}"
            told += f" (if the cluster's Ray has a plugin of this name, add {flag})"
        (notes if problem.is_ignored else refused).append(told)
        if not problem.is_ignored:
            sound.pop(problem.path[0], None)
    try:
        resolved = runtime_env.resolve(replace(found, env=sound)).env
    except RuntimeEnvError as error:
        refused += error.problems
    if refused:
        raise RuntimeEnvError(*refused)
    working_dir = found.env.get("working_dir")
    if working_dir and not is_uri(working_dir) and not _is_here(working_dir, found, flags):
        inside = f"working_dir {quoted(working_dir)} of {found.place} is a path inside the image"
        hint = "to upload a folder of this machine give --working-dir"
        notes.append(f"{inside} and used as it is; {hint}")
    return runtime_env.without_empty(resolved), notes


def _is_here(working_dir: str, found: Environment, flags: Flags) -> bool:
    """Whether it is a path of this machine, and neither a URI nor a path inside the image."""
    return not is_uri(working_dir) and bool(found.is_local or flags.working_dir)


def _resources(spec: Json) -> Any:
    """A JSON text in the spec."""
    text = spec.get("entrypointResources")
    if not text:
        return None
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        raise JobError(
            f"spec.entrypointResources: {quoted(text)} is no JSON object, as '{{\"Custom_1\": 1}}'"
        ) from None


def _either(flag: Any, field_of_spec: Any) -> Any:
    return field_of_spec if flag is None else flag
