"""A job's runtime environment, read from a file, flag or spec, with what stands in local files.

Ray's own client reads requirements and conda files where the job is submitted
(ray._private.runtime_env.validation), since the head cannot. Paths in a RayJob's spec are paths of
its image, and the head reads those. Nothing is sent here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Never

from raysweep.clients.parsing import yaml_text
from raysweep.clients.parsing.yaml_text import Dialect, YamlError
from raysweep.core.text import quoted
from raysweep.submission import runtime_env_schema as schema
from raysweep.submission.runtime_env_schema import is_uri

SPEC = "spec.runtimeEnvYAML"
SAMPLE = "{'pip': ['emoji'], 'env_vars': {'KEY': 'value'}}"
MAY_BE_EMPTY = ("env_vars", "pip", "uv", "excludes", "working_dir")

Env = dict[str, Any]


class RuntimeEnvError(Exception):
    """A runtime environment that cannot be used; each problem names value, place and remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Environment:
    """A runtime environment and where it was given.

    written: the same with each scalar as the text that stands there; is_local: its paths are of
    this machine.
    """

    env: Env
    place: str = ""
    written: Any = None
    is_local: bool = True

    def named(self, path: schema.Path) -> str:
        """How an error names the value at that path."""
        return ": ".join(part for part in (self.place, ".".join(path)) if part)


def read_file(path: Path, flag: str = "--runtime-env") -> Environment:
    """A YAML file, read as Ray's own client reads it."""
    place = f"{flag} {path}"
    text = _text_of(path, flag)
    return Environment(_parse(text, place, Dialect.PYYAML), place, _written(text))


def parse_json(text: str, flag: str = "--runtime-env-json") -> Environment:
    """JSON, read as Ray's own client reads it."""
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RuntimeEnvError(f"{flag}: is not valid JSON: {error}; write a JSON object") from None
    return Environment(_mapping(found, flag), flag, _written(text))


def parse_spec(spec: Mapping[str, Any], place: str = SPEC) -> Environment:
    """spec.runtimeEnvYAML of a RayJob, read as KubeRay reads it; nothing where there is none."""
    text = spec.get("runtimeEnvYAML")
    if text is None or text == "":
        return Environment({}, place, is_local=False)
    if not isinstance(text, str):
        hint = "write the mapping as a text, after runtimeEnvYAML: |"
        raise RuntimeEnvError(f"{place}: is not a text; {hint}")
    env = _parse(text, place, Dialect.KUBERNETES)
    return Environment(env, place, _written(text), is_local=False)


def resolve(found: Environment) -> Environment:
    """The same with local files read in. Raises RuntimeEnvError with every problem."""
    if not found.is_local:
        return found
    env = dict(found.env)
    failures: list[str] = []
    for key, read in _READ.items():
        try:
            env |= {key: read(found, env[key])} if env.get(key) else {}
        except RuntimeEnvError as error:
            failures += error.problems
    if failures:
        raise RuntimeEnvError(*failures)
    return replace(found, env=env)


def without_empty(env: Env) -> Env:
    """The same without what means nothing, as Ray's client sends it; heads fail by empty lists."""
    given = {key: value for key, value in env.items() if value is not None}
    return {key: value for key, value in given.items() if value or key not in MAY_BE_EMPTY}


def _parse(text: str, place: str, dialect: Dialect) -> Env:
    try:
        return _mapping(yaml_text.load(text, dialect), place)
    except YamlError as error:
        raise RuntimeEnvError(f"{place}: {error}") from None


def _written(text: str) -> Any:
    """The scalars as they stand in a text that was read before."""
    try:
        return yaml_text.load(text, Dialect.WRITTEN)
    except YamlError:
        return None


def _mapping(found: object, place: str) -> Env:
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        message = f"is not a mapping of keys to values; write one, as {SAMPLE}"
        raise RuntimeEnvError(f"{place}: {message}")
    return found


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not a JSON value")


def _installer(found: Environment, value: Any, key: str) -> Any:
    """`pip` or `uv`, its packages read from the requirements file that it names."""
    if isinstance(value, str):
        hint = f"to install one package write {key}: [{value}]"
        return _requirements(value, found.named((key,)), hint)
    if isinstance(value, Mapping) and isinstance(value.get("packages"), str):
        file, place = value["packages"], found.named((key, "packages"))
        return {**value, "packages": _requirements(file, place, f"or write a list: [{file}]")}
    return value


def _conda(found: Environment, value: Any) -> Any:
    """The content of a conda file, if it names one."""
    if not isinstance(value, str) or not value.endswith((".yml", ".yaml")):
        return value
    place = found.named(("conda",))
    return _parse(_text_of(Path(value), place), f"{place} {value}", Dialect.PYYAML)


def _py_modules(found: Environment, value: Any) -> Any:
    hint = "put the module into --working-dir, which alone is uploaded, or name a URI"
    local = [
        f"{found.named(('py_modules', str(number)))}: {quoted(module)} is a local path; {hint}"
        for number, module in enumerate(value)
        if not is_uri(module)
    ]
    if local:
        raise RuntimeEnvError(*local)
    return value


_READ = {
    "pip": lambda found, value: _installer(found, value, "pip"),
    "uv": lambda found, value: _installer(found, value, "uv"),
    "conda": _conda,
    "py_modules": _py_modules,
}


def _requirements(file: str, place: str, hint: str) -> list[str]:
    try:
        lines = _text_of(Path(file), place).splitlines()
    except RuntimeEnvError as error:
        what = "a text is the path of a requirements file"
        raise RuntimeEnvError(f"{error}; {what}, {hint}") from None
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _text_of(path: Path, place: str) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise RuntimeEnvError(f"{place}: {path} cannot be read: {error.strerror}") from None
    except ValueError:  # not UTF-8, or a name with a NUL
        raise RuntimeEnvError(f"{place}: {path} is not a text file") from None
