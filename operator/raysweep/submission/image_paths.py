"""Paths inside the image in a runtime environment that the head's REST API is given. Pure.

KubeRay's submitter runs `ray job submit` in a Pod of the same image, whose Ray client packs such a
folder and uploads it. The REST API takes URIs only: with a path the job fails, measured on Ray 2.52
and 2.60. So the folder is used where it lies: every node of the cluster has it.
"""

import posixpath
import re
import shlex
from collections.abc import Mapping
from typing import Any

from raysweep.submission.runtime_env_schema import is_archive, is_uri

Json = Mapping[str, Any]

LOCAL_URIS_SINCE = (2, 60)
"""From this Ray on `local:///path` is a folder of every node (ray#65245)."""


def has_any(job: Json) -> bool:
    """Whether the body of POST /api/jobs/ names a path inside the image."""
    env = job.get("runtime_env") or {}
    working_dir, modules = env.get("working_dir"), env.get("py_modules") or ()
    return any(not is_uri(path) for path in ([working_dir] if working_dir else []) + [*modules])


def in_place(job: Json, ray_version: str) -> dict[str, Any]:
    """The same job with URIs instead of these paths, or without them if its Ray has no such URI.

    Then the command starts in the working directory, and PYTHONPATH has it for every worker. Unlike
    with a URI, tasks and actors start in Ray's own working directory.
    """
    env, entrypoint = dict(job["runtime_env"]), job["entrypoint"]
    working_dir, imported = env.get("working_dir") or "", []
    if working_dir and not is_uri(working_dir):
        if uri := _uri(working_dir, ray_version):
            env["working_dir"] = uri
        else:
            del env["working_dir"]
            entrypoint = f"cd {shlex.quote(working_dir)} || exit; {entrypoint}"
            imported.append(working_dir)
    modules = []
    for module in env.pop("py_modules", None) or ():
        if is_uri(module):
            modules.append(module)
        elif is_archive(module) and posixpath.isabs(module):
            modules.append(f"file://{module}")
        else:
            imported.append(posixpath.dirname(module.rstrip("/")) or ".")
    if modules:
        env["py_modules"] = modules
    if imported:
        variables = env.get("env_vars") or {}
        beside = variables.get("PYTHONPATH", "${PYTHONPATH}")  # Ray replaces it: the cluster's own
        env["env_vars"] = {**variables, "PYTHONPATH": ":".join((*imported, beside))}
    return {**job, "runtime_env": env, "entrypoint": entrypoint}


def _uri(path: str, ray_version: str) -> str:
    """Of a path inside the image; "" if that Ray has none for it."""
    if not posixpath.isabs(path):
        return ""
    if is_archive(path):
        return f"file://{path}"
    found = re.match(r"(\d+)\.(\d+)", ray_version)
    is_new = found is not None and (int(found[1]), int(found[2])) >= LOCAL_URIS_SINCE
    return f"local://{path}" if is_new else ""
