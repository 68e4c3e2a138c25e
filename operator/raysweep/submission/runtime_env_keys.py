"""The keys of a runtime environment, and suggestions for misspelled ones. Pure.

Source: ray.runtime_env.RuntimeEnv of Ray 2.9 to 2.60.
"""

import difflib
import re

PUBLIC_KEYS = (
    "env_vars",
    "working_dir",
    "py_modules",
    "py_executable",
    "excludes",
    "pip",
    "uv",
    "conda",
    "container",
    "image_uri",
    "worker_process_setup_hook",
    "config",
    "java_jars",
    "nsight",
    "rocprof_sys",
    "mpi",
)
INNER_KEYS = {
    "pip": ("packages", "pip_check", "pip_version", "pip_install_options"),
    "uv": ("packages", "uv_check", "uv_version", "uv_pip_install_options"),
    "config": ("setup_timeout_seconds", "eager_install", "log_files"),
}
LONGEST_WORD = 100

_SYNONYMS = {
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
"""Words that people use for a key and that are spelled differently."""
_NESTED = {key: f"{outer}.{key}" for outer, keys in reversed(INNER_KEYS.items()) for key in keys}
"""The full path of each inner key. `packages` is that of pip."""


def suggest_key(key: str) -> str | None:
    """The key that was probably meant, such as `pip` or `config.log_files`."""
    word = _normalized(key)
    if word in _SYNONYMS:
        return _SYNONYMS[word]
    if word in _NESTED:
        return _NESTED[word]
    if word in PUBLIC_KEYS:
        return word
    matches = difflib.get_close_matches(word, [*PUBLIC_KEYS, *_SYNONYMS, *_NESTED], n=1)
    if not matches:
        return None
    match = matches[0]
    return _SYNONYMS.get(match) or _NESTED.get(match) or match


def suggest_inner_key(key: str, outer: str) -> str | None:
    """The key that was probably meant inside the key `outer`."""
    word = _normalized(key)
    synonym_outer, _, synonym = _SYNONYMS.get(word, "").partition(".")
    if synonym and synonym_outer == outer:
        return synonym
    matches = difflib.get_close_matches(word, INNER_KEYS[outer], n=1)
    return matches[0] if matches else None


def _normalized(key: str) -> str:
    """The key in snake case: `workingDir` and `working-dir` become `working_dir`."""
    snake_case = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key[:LONGEST_WORD])
    return snake_case.lower().replace("-", "_")
