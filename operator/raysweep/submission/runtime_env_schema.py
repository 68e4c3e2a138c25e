"""What a runtime environment may hold, as Ray's client and head check it. Pure: no file is read.

Sources: ray.runtime_env.RuntimeEnv, ray._private.runtime_env.validation and
ray._common.runtime_env_uri of Ray 2.60, and the keys of Ray 2.9 to 2.59. What Ray's client lets
through although the job then fails on the head, as a number among the packages, is a problem here.
"""

import difflib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from raysweep.core.text import quoted

Env = Mapping[str, Any]
Path = tuple[str, ...]
"""The keys that lead to a value; an item of a list by its number."""

PIP = ("packages", "pip_check", "pip_version", "pip_install_options")
UV = ("packages", "uv_check", "uv_version", "uv_pip_install_options")
CONFIG = ("setup_timeout_seconds", "eager_install", "log_files")
INSTALLERS = ("pip", "uv", "conda")
ALONE = ("container", "image_uri")
BESIDE_AN_IMAGE = frozenset({"config", "env_vars"})
PROTOCOLS = ("gcs", "http", "https", "s3", "gs", "azure", "abfss", "file", "local")
UNCHECKED_PROTOCOLS = ("conda", "pip", "uv")
"""Ray's client lets these through."""
ARCHIVES = (".zip", ".whl", ".tar.gz", ".tgz", ".tar.xz")

_MEANT = {
    "pypi": "pip",
    "requirements": "pip",
    "dependencies": "conda",
    "env": "env_vars",
    "environment": "env_vars",
    "environment_variables": "env_vars",
    "variables": "env_vars",
    "vars": "env_vars",
    "cwd": "working_dir",
    "workdir": "working_dir",
    "code": "working_dir",
    "exclude": "excludes",
    "ignore": "excludes",
    "image": "image_uri",
    "docker": "image_uri",
    "modules": "py_modules",
    "pythonpath": "py_modules",
    "python": "py_executable",
    "setup_hook": "worker_process_setup_hook",
    "timeout": "config.setup_timeout_seconds",
    "log_to_driver": "config.log_files",
    "options": "pip.pip_install_options",
}
"""What people write for a key, where the spelling alone does not tell."""
_HAS_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:")
_INNER = {"pip": PIP, "uv": UV, "config": CONFIG}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing in a runtime environment that is wrong, and where.

    value: what stands there; example: what to write instead. Both may be secrets, and are for the
    person alone who submits it.
    """

    path: Path
    message: str
    hint: str
    value: str = ""
    example: str = ""
    is_unknown_key: bool = False
    is_ignored: bool = False  # Ray leaves the key out and runs the job

    @property
    def place(self) -> str:
        """The keys that lead to it."""
        return ".".join(map(_shown, self.path))

    @property
    def text(self) -> str:
        """What is wrong and what to write, without the place."""
        value = f"{self.value} " if self.value else ""
        hint = f"write {self.example}" if self.example else self.hint
        return f"{value}{self.message}; {hint}"

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def problems(env: Env, written: Any = None, plugins: tuple[str, ...] = ()) -> Iterator[Problem]:
    """Everything that is wrong.

    written: the same with each scalar as the text that stood in the file, to propose it in quotes;
    plugins: keys that the cluster's Ray has a plugin for.
    """
    for key, value in env.items():
        if key in plugins or value is None:
            yield from _not_json((key,), value)
        elif key == "env_vars":
            yield from _env_vars(value, written)
        elif key not in _CHECKS:
            yield _unknown(key)
        else:
            yield from [*_CHECKS[key]((key,), value)] or _not_json((key,), value)
    yield from _combinations(env)


def is_uri(text: str) -> bool:
    """Whether Ray takes it for a URI and not for a path."""
    return bool(_HAS_SCHEME.match(text))


def is_archive(path: str) -> bool:
    """Whether Ray unpacks or installs it, and does not take it for a folder."""
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


def _text(path: Path, value: object) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield Problem(path, f"is {_kind(value)}", "write a text")


def _flag(path: Path, value: object) -> Iterator[Problem]:
    if not isinstance(value, bool):
        yield Problem(path, f"is {_kind(value)}", "write true or false")


def _texts(path: Path, value: object) -> Iterator[Problem]:
    if not isinstance(value, list):
        yield Problem(path, f"is {_kind(value)}", "write a list of texts")
        return
    for number, item in enumerate(value):
        yield from _text((*path, str(number)), item)


def _text_or_mapping(path: Path, value: object) -> Iterator[Problem]:
    if not isinstance(value, str | Mapping):
        yield Problem(path, f"is {_kind(value)}", "write a text or a mapping")


def _mapping(path: Path, value: object) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem(path, f"is {_kind(value)}", "write a mapping")


def _anything(_path: Path, _value: object) -> Iterator[Problem]:
    return iter(())


def _package(path: Path, value: object) -> Iterator[Problem]:
    """A path, or a URI that Ray can fetch."""
    if not isinstance(value, str):
        yield Problem(path, f"is {_kind(value)}", "write a path or a URI")
    elif is_uri(value):
        yield from _uri(path, value)


def _uri(path: Path, value: str) -> Iterator[Problem]:
    protocol = value.partition(":")[0].lower()
    if protocol in UNCHECKED_PROTOCOLS:
        return
    try:
        parts = urlsplit(value)
    except ValueError as error:
        yield Problem(path, "is not a valid URI", f"mend it ({error})")
        return
    host = parts.netloc.rpartition("@")[2]
    shown = quoted(f"{protocol}://{host}{parts.path}")  # user information and query hold secrets
    if protocol not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        yield Problem(path, "has a protocol that Ray does not fetch", f"use one of {known}", shown)
    elif protocol == "local":
        if not value.lower().startswith("local:///") or is_archive(value):
            hint = "write local:///path/in/image"
            yield Problem(path, "is not the absolute path of a folder", hint, shown)
    elif not is_archive(parts.netloc + parts.path):
        formats = ", ".join(ARCHIVES)
        yield Problem(path, "is not an archive that Ray unpacks", f"use a {formats} file", shown)


def _packages(path: Path, value: object) -> Iterator[Problem]:
    """A list of py_modules."""
    if not isinstance(value, list):
        yield Problem(path, f"is {_kind(value)}", "write a list of URIs")
        return
    for number, item in enumerate(value):
        yield from _package((*path, str(number)), item)


def _installer(path: Path, value: object) -> Iterator[Problem]:
    """`pip` or `uv`: a list of packages, the path of a requirements file, or a mapping."""
    own = path[0]
    if isinstance(value, list):
        yield from _texts(path, value)
    elif isinstance(value, Mapping):
        if "packages" not in value:
            yield Problem(path, "has no packages", "write packages: [...]")
        for key, inner in value.items():
            if key not in _INNER[own]:
                yield _unknown(key, path)
            elif key == "packages":
                is_file = isinstance(inner, str) and own == "pip"
                yield from () if is_file else _texts((*path, key), inner)
            else:
                yield from _INSTALLER_OPTIONS[key.removeprefix(f"{own}_")]((*path, key), inner)
    elif not isinstance(value, str):
        hint = "write a list of packages, the path of a requirements file, or a mapping"
        yield Problem(path, f"is {_kind(value)}", hint)


_INSTALLER_OPTIONS: Mapping[str, Callable[[Path, object], Iterator[Problem]]] = {
    "check": _flag,
    "version": _text,
    "install_options": _texts,
    "pip_install_options": _texts,
}


def _config(path: Path, value: object) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield from _mapping(path, value)
        return
    for key, inner in value.items():
        place = (*path, str(key))
        if key not in CONFIG:
            yield _unknown(key, path, is_ignored=True)
        elif key == "eager_install":
            yield from _flag(place, inner)
        elif key == "log_files":
            yield from () if inner is None else _texts(place, inner)
        elif not isinstance(inner, int) or (inner <= 0 and inner != -1):
            hint = "write whole seconds, or -1 for none"
            yield Problem(place, "is not a time limit", hint, quoted(inner))


_CHECKS: Mapping[str, Callable[[Path, Any], Iterator[Problem]]] = {
    "working_dir": _package,
    "py_modules": _packages,
    "py_executable": _text,
    "excludes": _texts,
    "pip": _installer,
    "uv": _installer,
    "conda": _text_or_mapping,
    "container": _mapping,
    "image_uri": _text,
    "worker_process_setup_hook": _text,
    "config": _config,
    "java_jars": _texts,
    "nsight": _text_or_mapping,
    "_nsight": _text_or_mapping,
    "rocprof_sys": _text_or_mapping,
    "_rocprof_sys": _text_or_mapping,
    "mpi": _mapping,
    "_ray_release": _anything,
    "_ray_commit": _anything,
    "_inject_current_ray": _anything,
}
PUBLIC = tuple(key for key in ("env_vars", *_CHECKS) if not key.startswith("_"))


def _env_vars(value: Any, written: Any) -> Iterator[Problem]:
    """Names and values are text, and nothing else."""
    if value is None or value == [] or value == "":
        return
    if not isinstance(value, Mapping):
        yield Problem(("env_vars",), f"is {_kind(value)}", "write a mapping of names to texts")
        return
    texts = written.get("env_vars") if isinstance(written, Mapping) else None
    texts = texts if isinstance(texts, Mapping) else {}
    for name, inner in value.items():
        place = ("env_vars", str(name))
        if not isinstance(name, str):
            message = f"the name is {_kind(name)}, and Ray takes text only"
            yield Problem(place, message, "write it in quotes", example=_in_quotes(name))
        if not isinstance(inner, str):
            proposal = _proposal(inner, texts.get(str(name)))
            message = f"is {_kind(inner)}, and Ray takes text only"
            shown = proposal[1:-1] if inner is not None else ""
            example = f"{_shown(str(name))}: {proposal}" if proposal else ""
            yield Problem(place, message, "write a text in quotes", shown, example)


def _proposal(value: object, text: object) -> str:
    """The value in quotes, as it stood in the file if that is known; "" for what is no scalar."""
    if isinstance(value, Mapping | list):
        return ""
    if isinstance(text, str) and text and value is not None:
        return _in_quotes(text)
    if value is None:
        return '""'
    return _in_quotes(json.dumps(value) if isinstance(value, bool | int | float) else value)


def _in_quotes(value: object) -> str:
    return json.dumps(str(value)[:200], ensure_ascii=False)


def _combinations(env: Env) -> Iterator[Problem]:
    """Keys that Ray takes only one of, or only alone."""
    given = [key for key, value in env.items() if value is not None]
    installers = [key for key in INSTALLERS if key in given]
    if len(installers) > 1:
        hint = "keep one; conda installs what pip would if its dependencies name it"
        others = " and ".join(installers[1:])
        yield Problem((installers[0],), f"excludes {others}: Ray takes one of them", hint)
    for key in ALONE:
        beside = [other for other in given if other != key and other not in BESIDE_AN_IMAGE]
        if env.get(key) and beside:
            others = ", ".join(map(_shown, beside))
            yield Problem((key,), f"excludes {others}", "keep only config and env_vars beside it")


def _unknown(key: object, inside: Path = (), *, is_ignored: bool = False) -> Problem:
    known = _INNER[inside[0]] if inside else PUBLIC
    meant = _meant(str(key), inside)
    hint = f"did you mean {meant}?" if meant else f"the known keys are {', '.join(known)}"
    ignored = "Ray ignores this key" if is_ignored else "unknown key"
    path = (*inside, str(key))
    return Problem(path, ignored, hint, is_unknown_key=not inside, is_ignored=is_ignored)


def _meant(key: str, inside: Path) -> str:
    """The known key that was probably meant, "" if nobody can tell."""
    word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key[:100]).lower().replace("-", "_")
    if inside:
        outer, _, exact = _MEANT.get(word, "").partition(".")
        close = difflib.get_close_matches(word, _INNER[inside[0]], n=1)
        return exact if outer == inside[0] else "".join(close)
    nested = {key: f"{outer}.{key}" for outer, keys in reversed(_INNER.items()) for key in keys}
    if exact := _MEANT.get(word) or nested.get(word) or (word if word in PUBLIC else ""):
        return exact
    close = difflib.get_close_matches(word, [*PUBLIC, *_MEANT, *nested], n=1)
    return (_MEANT.get(close[0]) or nested.get(close[0]) or close[0]) if close else ""


def _not_json(path: Path, value: object) -> Iterator[Problem]:
    """What cannot be sent: the head is told the runtime environment as JSON."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _not_json((*path, str(key)), inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _not_json((*path, str(number)), inner)
    elif isinstance(value, float) and not math.isfinite(value):
        hint = "write another, or a text in quotes"
        yield Problem(path, "is a number that JSON does not have", hint, str(value))
    elif not isinstance(value, str | int | float | None):
        message = f"is {_kind(value)}, which JSON does not have"
        yield Problem(path, message, "write a text in quotes")


def _shown(key: str) -> str:
    """A key as it is written, safe to show."""
    return key if re.fullmatch(r"[\w.-]{1,100}", key, re.ASCII) else quoted(key)
