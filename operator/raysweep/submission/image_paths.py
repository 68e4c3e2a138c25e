"""Paths inside the image in a runtime environment, for the REST API of a head. Pure.

KubeRay's submitter runs `ray job submit` in a Pod of the same image, whose Ray client packs such a
folder and uploads it. The REST API accepts URIs only: with a path the job fails, measured on Ray
2.52 and 2.60. So the folder is used in place, since every node of the cluster has it.
"""

import posixpath
import re
import shlex
from collections.abc import Mapping
from typing import Any

from raysweep.submission.runtime_env_schema import is_archive, is_uri

Json = Mapping[str, Any]

FIRST_WITH_LOCAL_URIS = (2, 60)
"""From this Ray version on, `local:///path` is a folder of every node (ray#65245)."""


def has_any(job: Json) -> bool:
    """Whether the body of POST /api/jobs/ names a path inside the image."""
    env = job.get("runtime_env") or {}
    paths = [*(env.get("py_modules") or ())]
    if env.get("working_dir"):
        paths.append(env["working_dir"])
    return not all(is_uri(path) for path in paths)


def resolve(job: Json, ray_version: str) -> dict[str, Any]:
    """Returns the job with URIs instead of these paths, or without them if Ray has no such URI.

    Without a URI the command starts in the working directory, and PYTHONPATH has it for every
    worker. Tasks and actors then start in Ray's own working directory.
    """
    env, entrypoint = dict(job["runtime_env"]), job["entrypoint"]
    import_paths = []
    working_dir = env.get("working_dir") or ""
    if working_dir and not is_uri(working_dir):
        uri = _uri(working_dir, ray_version)
        if uri:
            env["working_dir"] = uri
        else:
            del env["working_dir"]
            entrypoint = f"cd {shlex.quote(working_dir)} || exit; {entrypoint}"
            import_paths.append(working_dir)
    uris = []
    for module in env.pop("py_modules", None) or ():
        uri = module if is_uri(module) else _archive_uri(module)
        if uri:
            uris.append(uri)
        else:
            import_paths.append(posixpath.dirname(module.rstrip("/")) or ".")
    if uris:
        env["py_modules"] = uris
    if import_paths:
        variables = env.get("env_vars") or {}
        # Ray replaces PYTHONPATH, so the value of the cluster is appended.
        inherited = variables.get("PYTHONPATH", "${PYTHONPATH}")
        env["env_vars"] = {**variables, "PYTHONPATH": ":".join((*import_paths, inherited))}
    return {**job, "runtime_env": env, "entrypoint": entrypoint}


def _uri(path: str, ray_version: str) -> str:
    """The URI of a path inside the image; "" if this Ray version has none."""
    if not posixpath.isabs(path) or is_archive(path):
        return _archive_uri(path)
    version = re.match(r"(\d+)\.(\d+)", ray_version)
    if version and (int(version[1]), int(version[2])) >= FIRST_WITH_LOCAL_URIS:
        return f"local://{path}"
    return ""


def _archive_uri(path: str) -> str:
    """The URI of an archive with an absolute path; "" for anything else."""
    return f"file://{path}" if posixpath.isabs(path) and is_archive(path) else ""
