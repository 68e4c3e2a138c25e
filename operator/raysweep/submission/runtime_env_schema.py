"""Checks a runtime environment as Ray's client and head do. Pure: no file is read.

Sources: ray.runtime_env.RuntimeEnv, ray._private.runtime_env.validation and
ray._common.runtime_env_uri of Ray 2.60, and the keys of Ray 2.9 to 2.59. Some values pass Ray's
client although the job then fails on the head, such as a number among the packages. They are
problems here.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from raysweep.core.text import quoted
from raysweep.submission.runtime_env_keys import (
    INNER_KEYS,
    PUBLIC_KEYS,
    suggest_inner_key,
    suggest_key,
)

Env = Mapping[str, Any]
Path = tuple[str, ...]
"""The keys that lead to a value. An item of a list is given by its number."""

INSTALLERS = ("pip", "uv", "conda")
IMAGE_KEYS = ("container", "image_uri")
ALLOWED_WITH_IMAGE = frozenset({"config", "env_vars"})
PROTOCOLS = ("gcs", "http", "https", "s3", "gs", "azure", "abfss", "file", "local")
UNCHECKED_PROTOCOLS = ("conda", "pip", "uv")
"""Ray's client does not check URIs with these protocols."""
ARCHIVES = (".zip", ".whl", ".tar.gz", ".tgz", ".tar.xz")
LONGEST_EXAMPLE = 200

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:")
_PLAIN_KEY = re.compile(r"[\w.-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem in a runtime environment, and its place.

    value: the value in the file. example: what to write instead. Both may be secrets: show them
    only to the user who submits. is_ignored: Ray ignores the key and runs the job.
    """

    path: Path
    message: str
    hint: str
    value: str = ""
    example: str = ""
    is_unknown_key: bool = False
    is_ignored: bool = False

    @property
    def place(self) -> str:
        """The keys that lead to the value, such as `env_vars.EPOCHS`."""
        return ".".join(map(_shown_key, self.path))

    @property
    def text(self) -> str:
        """The problem and the remedy, without the place."""
        message = f"{self.value} {self.message}" if self.value else self.message
        hint = f"write {self.example}" if self.example else self.hint
        return f"{message}: {hint}"

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def problems(env: Env, written: Any = None, plugins: tuple[str, ...] = ()) -> Iterator[Problem]:
    """Yields every problem.

    written: the same with each scalar as the text in the file, which the proposals quote.
    plugins: keys for which the cluster's Ray has a plugin.
    """
    for key, value in env.items():
        if key in plugins or value is None:
            yield from _check_json((key,), value)
        elif key == "env_vars":
            yield from _check_env_vars(value, written)
        elif key not in _CHECKS:
            yield _unknown_key(key)
        else:
            yield from [*_CHECKS[key]((key,), value)] or _check_json((key,), value)
    yield from _check_combinations(env)


def is_uri(text: str) -> bool:
    """Whether Ray treats the text as a URI and not as a path."""
    return bool(_SCHEME.match(text))


def is_archive(path: str) -> bool:
    """Whether Ray unpacks or installs the file, instead of using it as a folder."""
    return path.endswith(ARCHIVES)


def _kind(value: object) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case bytes():
            return "binary data"
        case list():
            return "a list"
        case Mapping():
            return "a mapping"
    return "a date" if hasattr(value, "isoformat") else f"a {type(value).__name__}"


def _wrong_type(path: Path, value: object, expected: str) -> Problem:
    return Problem(path, f"is {_kind(value)}", f"write {expected}")


def _check_text(path: Path, value: object) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield _wrong_type(path, value, "a text")


def _check_boolean(path: Path, value: object) -> Iterator[Problem]:
    if not isinstance(value, bool):
        yield _wrong_type(path, value, "true or false")


def _check_texts(path: Path, value: object) -> Iterator[Problem]:
    if not isinstance(value, list):
        yield _wrong_type(path, value, "a list of texts")
        return
    for number, item in enumerate(value):
        yield from _check_text((*path, str(number)), item)


def _check_text_or_mapping(path: Path, value: object) -> Iterator[Problem]:
    if not isinstance(value, str | Mapping):
        yield _wrong_type(path, value, "a text or a mapping")


def _check_mapping(path: Path, value: object) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield _wrong_type(path, value, "a mapping")


def _check_nothing(_path: Path, _value: object) -> Iterator[Problem]:
    return iter(())


def _check_package(path: Path, value: object) -> Iterator[Problem]:
    """Checks a path, or a URI that Ray can fetch."""
    if not isinstance(value, str):
        yield _wrong_type(path, value, "a path or a URI")
    elif is_uri(value):
        yield from _check_uri(path, value)


def _check_uri(path: Path, value: str) -> Iterator[Problem]:
    protocol = value.partition(":")[0].lower()
    if protocol in UNCHECKED_PROTOCOLS:
        return
    try:
        parts = urlsplit(value)
    except ValueError as error:
        yield Problem(path, "is an invalid URI", f"correct it ({error})")
        return
    # User information and query may be secrets.
    host = parts.netloc.rpartition("@")[2]
    shown = quoted(f"{protocol}://{host}{parts.path}")
    if protocol not in PROTOCOLS:
        hint = f"use one of {', '.join(PROTOCOLS)}"
        yield Problem(path, "has a protocol that Ray does not support", hint, shown)
    elif protocol == "local":
        if not value.lower().startswith("local:///") or is_archive(value):
            hint = "write local:///path/in/image"
            yield Problem(path, "is not the absolute path of a folder", hint, shown)
    elif not is_archive(parts.netloc + parts.path):
        hint = f"use a {', '.join(ARCHIVES)} file"
        yield Problem(path, "is not an archive that Ray can unpack", hint, shown)


def _check_packages(path: Path, value: object) -> Iterator[Problem]:
    if not isinstance(value, list):
        yield _wrong_type(path, value, "a list of URIs")
        return
    for number, item in enumerate(value):
        yield from _check_package((*path, str(number)), item)


def _check_installer(path: Path, value: object) -> Iterator[Problem]:
    """Checks `pip` or `uv`: a list of packages, a requirements file, or a mapping."""
    if isinstance(value, list):
        yield from _check_texts(path, value)
    elif isinstance(value, Mapping):
        yield from _check_installer_mapping(path, value)
    elif not isinstance(value, str):
        expected = "a list of packages, the path of a requirements file, or a mapping"
        yield _wrong_type(path, value, expected)


def _check_installer_mapping(path: Path, options: Mapping[Any, Any]) -> Iterator[Problem]:
    installer = path[0]
    if "packages" not in options:
        yield Problem(path, "has no packages", "write packages: [...]")
    for key, value in options.items():
        option_path = (*path, key)
        if key not in INNER_KEYS[installer]:
            yield _unknown_inner_key(key, installer)
        elif key != "packages":
            check = _INSTALLER_OPTIONS[key.removeprefix(f"{installer}_")]
            yield from check(option_path, value)
        elif not (isinstance(value, str) and installer == "pip"):  # pip accepts a file
            yield from _check_texts(option_path, value)


_INSTALLER_OPTIONS: Mapping[str, Callable[[Path, object], Iterator[Problem]]] = {
    "check": _check_boolean,
    "version": _check_text,
    "install_options": _check_texts,
    "pip_install_options": _check_texts,
}


def _check_config(path: Path, value: object) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield from _check_mapping(path, value)
        return
    for key, option in value.items():
        option_path = (*path, str(key))
        if key not in INNER_KEYS["config"]:
            yield _unknown_inner_key(key, "config", is_ignored=True)
        elif key == "eager_install":
            yield from _check_boolean(option_path, option)
        elif key == "log_files":
            if option is not None:
                yield from _check_texts(option_path, option)
        elif not isinstance(option, int) or (option <= 0 and option != -1):
            hint = "write whole seconds, or -1 for no limit"
            yield Problem(option_path, "is not a time limit", hint, quoted(option))


_CHECKS: Mapping[str, Callable[[Path, Any], Iterator[Problem]]] = {
    "working_dir": _check_package,
    "py_modules": _check_packages,
    "py_executable": _check_text,
    "excludes": _check_texts,
    "pip": _check_installer,
    "uv": _check_installer,
    "conda": _check_text_or_mapping,
    "container": _check_mapping,
    "image_uri": _check_text,
    "worker_process_setup_hook": _check_text,
    "config": _check_config,
    "java_jars": _check_texts,
    "nsight": _check_text_or_mapping,
    "_nsight": _check_text_or_mapping,
    "rocprof_sys": _check_text_or_mapping,
    "_rocprof_sys": _check_text_or_mapping,
    "mpi": _check_mapping,
    "_ray_release": _check_nothing,
    "_ray_commit": _check_nothing,
    "_inject_current_ray": _check_nothing,
}


def _check_env_vars(value: Any, written: Any) -> Iterator[Problem]:
    """Checks that names and values are texts."""
    if value is None or value == [] or value == "":
        return
    if not isinstance(value, Mapping):
        yield _wrong_type(("env_vars",), value, "a mapping of names to texts")
        return
    texts = written.get("env_vars") if isinstance(written, Mapping) else None
    texts = texts if isinstance(texts, Mapping) else {}
    for name, variable in value.items():
        path = ("env_vars", str(name))
        if not isinstance(name, str):
            message = f"the name is {_kind(name)}, but Ray accepts only text"
            yield Problem(path, message, "write it in quotes", example=_in_quotes(name))
        if not isinstance(variable, str):
            yield _non_text_variable(path, variable, texts.get(str(name)))


def _non_text_variable(path: Path, value: object, text: object) -> Problem:
    message = f"is {_kind(value)}, but Ray accepts only text"
    proposal = _proposal(value, text)
    if proposal is None:
        return Problem(path, message, "write a text in quotes")
    shown = "" if value is None else proposal[1:-1]
    example = f"{_shown_key(path[-1])}: {proposal}"
    return Problem(path, message, "write a text in quotes", shown, example)


def _proposal(value: object, text: object) -> str | None:
    """The scalar in quotes, as written in the file if that is known."""
    if isinstance(value, Mapping | list):
        return None
    if value is None:
        return '""'
    if isinstance(text, str) and text:
        return _in_quotes(text)
    is_json = isinstance(value, bool | int | float)
    return _in_quotes(json.dumps(value) if is_json else value)


def _in_quotes(value: object) -> str:
    return json.dumps(str(value)[:LONGEST_EXAMPLE], ensure_ascii=False)


def _check_combinations(env: Env) -> Iterator[Problem]:
    """Checks keys that exclude each other."""
    keys = [key for key, value in env.items() if value is not None]
    installers = [key for key in INSTALLERS if key in keys]
    if len(installers) > 1:
        rest = " and ".join(installers[1:])
        hint = "keep one of them. Dependencies of conda can include pip packages"
        yield Problem((installers[0],), f"cannot be combined with {rest}", hint)
    for key in IMAGE_KEYS:
        excluded = [name for name in keys if name not in {key, *ALLOWED_WITH_IMAGE}]
        if env.get(key) and excluded:
            shown = ", ".join(map(_shown_key, excluded))
            hint = "keep only config and env_vars beside it"
            yield Problem((key,), f"cannot be combined with {shown}", hint)


def _unknown_key(key: object) -> Problem:
    hint = _key_hint(suggest_key(str(key)), PUBLIC_KEYS)
    return Problem((str(key),), "unknown key", hint, is_unknown_key=True)


def _unknown_inner_key(key: object, outer: str, *, is_ignored: bool = False) -> Problem:
    hint = _key_hint(suggest_inner_key(str(key), outer), INNER_KEYS[outer])
    message = "Ray ignores this key" if is_ignored else "unknown key"
    return Problem((outer, str(key)), message, hint, is_ignored=is_ignored)


def _key_hint(suggestion: str | None, keys: tuple[str, ...]) -> str:
    return f"did you mean {suggestion}?" if suggestion else f"the known keys are {', '.join(keys)}"


def _check_json(path: Path, value: object) -> Iterator[Problem]:
    """Checks that the value can be sent: a head receives the runtime environment as JSON."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _check_json((*path, str(key)), inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _check_json((*path, str(number)), inner)
    elif isinstance(value, float) and not math.isfinite(value):
        hint = "write another number, or a text in quotes"
        yield Problem(path, "is a number that JSON does not support", hint, str(value))
    elif not isinstance(value, str | int | float | None):
        message = f"is {_kind(value)}, which JSON does not support"
        yield Problem(path, message, "write a text in quotes")


def _shown_key(key: str) -> str:
    """The key, in quotes if it has unusual characters."""
    return key if _PLAIN_KEY.fullmatch(key) else quoted(key)
