"""A job's runtime environment as the head wants it: flags laid over a file, and what stands in local files read in.

Ray's own client reads requirements and conda files where the job is submitted (ray._private.runtime_env.validation), since
the head cannot. The working directory is packed by package.py. Nothing is sent here.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from raysweep.core.text import quoted

Env = dict[str, Any]


class JsonLoader(yaml.SafeLoader):
    """As KubeRay reads it (sigs.k8s.io/yaml): what looks like a date is text."""


JsonLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class RuntimeEnvError(Exception):
    """A runtime environment that cannot be used; the text names the value, the place and the remedy."""


def read_file(path: Path, place: str = "--runtime-env") -> Env:
    """A YAML file with a runtime environment."""
    try:
        return parse(path.read_text(), f"{place} {path}")
    except OSError as error:
        raise RuntimeEnvError(f"{place}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RuntimeEnvError(f"{place}: {path} is no text file") from None


def parse(text: str, place: str) -> Env:
    """YAML, of which JSON is a part; an empty one is {}."""
    try:
        found = yaml.load(text, JsonLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        raise RuntimeEnvError(f"{place}: no YAML{line}") from None
    if found is None:
        return {}
    try:
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RuntimeEnvError(f"{place}: what stands there is sent as JSON, which has no such value: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise RuntimeEnvError(f"{place}: write a mapping, as {{'pip': ['emoji'], 'env_vars': {{'KEY': 'value'}}}}")
    return found


def resolve(env: Env, base: Path) -> Env:
    """The same with local requirements and conda files read in; base: the folder that paths are relative to."""
    found = dict(env)
    for key in ("pip", "uv"):
        if isinstance(found.get(key), str):
            found[key] = _requirements(base / found[key], key)
        elif isinstance(found.get(key), Mapping) and isinstance(found[key].get("packages"), str):
            found[key] = {**found[key], "packages": _requirements(base / found[key]["packages"], f"{key}.packages")}
    if isinstance(found.get("conda"), str) and found["conda"].endswith((".yml", ".yaml")):
        found["conda"] = read_file(base / found["conda"], "conda")
    if local := [module for module in found.get("py_modules") or () if not _is_uri(module)]:
        raise RuntimeEnvError(
            f"py_modules: {quoted(local[0])} is a local path, and only the working directory is uploaded; "
            "put the module into --working-dir, or name a URI"
        )
    return found


def _requirements(path: Path, key: str) -> list[str]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "no text file"
        raise RuntimeEnvError(f"{key}: the requirements file {path} cannot be read: {said}") from None
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _is_uri(module: object) -> bool:
    return isinstance(module, str) and "://" in module
