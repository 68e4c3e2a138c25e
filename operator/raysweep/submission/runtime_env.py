"""Reads a job's runtime environment from a file, a flag or a spec, with the local files it names.

Ray's own client reads requirements and conda files where the job is submitted
(ray._private.runtime_env.validation), since the head cannot. Paths in the spec of a RayJob are
paths of its image, and the head reads those. Nothing is sent here.
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

SPEC_FIELD = "spec.runtimeEnvYAML"
EXAMPLE = "{'pip': ['emoji'], 'env_vars': {'KEY': 'value'}}"
MEANINGLESS_IF_EMPTY = ("env_vars", "pip", "uv", "excludes", "working_dir")

Env = dict[str, Any]


class RuntimeEnvError(Exception):
    """A runtime environment that cannot be used. Each problem names value, place and remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class RuntimeEnv:
    """A runtime environment and the place where it was set.

    written: the same with each scalar as the text in the file. is_local: whether its paths belong
    to this machine.
    """

    env: Env
    place: str = ""
    written: Any = None
    is_local: bool = True

    def place_of(self, path: schema.Path) -> str:
        """How an error names the value at that path."""
        return ": ".join(filter(None, (self.place, ".".join(path))))


def read_file(path: Path, flag: str = "--runtime-env") -> RuntimeEnv:
    """Reads a YAML file like Ray's own client. Raises RuntimeEnvError."""
    place = f"{flag} {path}"
    text = _read_text(path, flag)
    return RuntimeEnv(_parse(text, place, Dialect.PYYAML), place, _written(text))


def parse_json(text: str, flag: str = "--runtime-env-json") -> RuntimeEnv:
    """Parses JSON like Ray's own client. Raises RuntimeEnvError."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RuntimeEnvError(f"{flag}: invalid JSON: {error}: write a JSON object") from None
    return RuntimeEnv(_mapping(value, flag), flag, _written(text))


def parse_spec(spec: Mapping[str, Any], place: str = SPEC_FIELD) -> RuntimeEnv:
    """Parses spec.runtimeEnvYAML of a RayJob like KubeRay. Raises RuntimeEnvError."""
    text = spec.get("runtimeEnvYAML")
    if text is None or text == "":
        return RuntimeEnv({}, place, is_local=False)
    if not isinstance(text, str):
        hint = "write the mapping as a text, after runtimeEnvYAML: |"
        raise RuntimeEnvError(f"{place}: not a text: {hint}")
    env = _parse(text, place, Dialect.KUBERNETES)
    return RuntimeEnv(env, place, _written(text), is_local=False)


def resolve(environment: RuntimeEnv) -> RuntimeEnv:
    """Replaces local files by their content. Raises RuntimeEnvError with every problem."""
    if not environment.is_local:
        return environment
    env = dict(environment.env)
    problems: list[str] = []
    for key, resolver in _RESOLVERS.items():
        if not env.get(key):
            continue
        try:
            env[key] = resolver(environment, env[key])
        except RuntimeEnvError as error:
            problems += error.problems
    if problems:
        raise RuntimeEnvError(*problems)
    return replace(environment, env=env)


def without_empty(env: Env) -> Env:
    """Leaves out values without a meaning, like Ray's client. Heads fail on empty lists."""
    set_values = {key: value for key, value in env.items() if value is not None}
    return {
        key: value for key, value in set_values.items() if value or key not in MEANINGLESS_IF_EMPTY
    }


def _parse(text: str, place: str, dialect: Dialect) -> Env:
    try:
        return _mapping(yaml_text.load(text, dialect), place)
    except YamlError as error:
        raise RuntimeEnvError(f"{place}: {error}") from None


def _written(text: str) -> Any:
    """The scalars as written in a text that was parsed before."""
    try:
        return yaml_text.load(text, Dialect.WRITTEN)
    except YamlError:
        return None


def _mapping(value: object, place: str) -> Env:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        message = "not a mapping of texts to values"
        raise RuntimeEnvError(f"{place}: {message}: write a mapping such as {EXAMPLE}")
    return value


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not a JSON value")


def _resolve_installer(environment: RuntimeEnv, value: Any, key: str) -> Any:
    """`pip` or `uv`, with the packages of the requirements file that it names."""
    if isinstance(value, str):
        hint = f"to install one package, write {key}: [{value}]"
        return _read_requirements(value, environment.place_of((key,)), hint)
    if isinstance(value, Mapping) and isinstance(value.get("packages"), str):
        file, place = value["packages"], environment.place_of((key, "packages"))
        hint = f"to install one package, write a list: [{file}]"
        return {**value, "packages": _read_requirements(file, place, hint)}
    return value


def _resolve_pip(environment: RuntimeEnv, value: Any) -> Any:
    return _resolve_installer(environment, value, "pip")


def _resolve_uv(environment: RuntimeEnv, value: Any) -> Any:
    return _resolve_installer(environment, value, "uv")


def _resolve_conda(environment: RuntimeEnv, value: Any) -> Any:
    """`conda`, with the content of the file that it names."""
    if not isinstance(value, str) or not value.endswith((".yml", ".yaml")):
        return value
    place = environment.place_of(("conda",))
    return _parse(_read_text(Path(value), place), f"{place} {value}", Dialect.PYYAML)


def _check_py_modules(environment: RuntimeEnv, value: Any) -> Any:
    """Refuses local modules, since only the working directory is uploaded."""
    hint = "put the module into --working-dir, or use a URI"
    problems = [
        f"{environment.place_of(('py_modules', str(number)))}: local path {quoted(module)}: {hint}"
        for number, module in enumerate(value)
        if not is_uri(module)
    ]
    if problems:
        raise RuntimeEnvError(*problems)
    return value


_RESOLVERS = {
    "pip": _resolve_pip,
    "uv": _resolve_uv,
    "conda": _resolve_conda,
    "py_modules": _check_py_modules,
}


def _read_requirements(file: str, place: str, hint: str) -> list[str]:
    try:
        lines = [line.strip() for line in _read_text(Path(file), place).splitlines()]
    except RuntimeEnvError as error:
        meaning = "a text is the path of a requirements file"
        raise RuntimeEnvError(f"{error} ({meaning}): {hint}") from None
    return [line for line in lines if line and not line.startswith("#")]


def _read_text(path: Path, place: str) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise RuntimeEnvError(f"{place}: {path} cannot be read: {error.strerror}") from None
    except ValueError:  # not UTF-8, or a name with a NUL character
        raise RuntimeEnvError(f"{place}: {path} is not a text file") from None
