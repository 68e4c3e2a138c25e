"""The check of a runtime environment, compared with Ray's own client (C15)."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.runtime_env import RuntimeEnv
from ray.runtime_env.runtime_env import _validate_no_local_paths

from raysweep.submission.runtime_env_keys import PUBLIC_KEYS
from raysweep.submission.runtime_env_schema import problems

ACCEPTED: list[dict[str, Any]] = [
    {},
    {"pip": ["emoji", "requests==2.32.0"]},
    {"pip": []},
    {"pip": {"packages": ["emoji"]}},
    {"pip": {"packages": [], "pip_check": False}},
    {
        "pip": {
            "packages": ["emoji"],
            "pip_check": True,
            "pip_version": "==22.0.2",
            "pip_install_options": ["--no-cache-dir"],
        }
    },
    {"uv": ["emoji"]},
    {
        "uv": {
            "packages": ["emoji"],
            "uv_check": False,
            "uv_version": "==0.4.0",
            "uv_pip_install_options": ["--no-cache"],
        }
    },
    {"conda": "pytorch_p36"},
    {"conda": {"dependencies": ["python=3.11", {"pip": ["emoji"]}]}},
    {"env_vars": {"EPOCHS": "10", "EMPTY": "", "with.dot": "x"}},
    {"env_vars": {}},
    {"env_vars": []},
    {"env_vars": None},
    {"pip": None, "conda": None, "uv": ["emoji"]},
    {"excludes": []},
    {"excludes": ["*.bin", "data/"]},
    {"working_dir": "s3://bucket/code.zip"},
    {"working_dir": "https://host/code.tar.gz?X-Amz-Signature=1"},
    {"working_dir": "gs://bucket/a/b.tgz"},
    {"working_dir": "file:///home/ray/code.zip"},
    {"working_dir": "gcs://_ray_pkg_1234.zip"},
    {"working_dir": "local:///home/ray/samples"},
    {"py_modules": ["s3://bucket/lib.whl", "https://host/lib.tar.xz", "local:///opt/lib"]},
    {"py_modules": []},
    {"py_executable": "python -m pdb"},
    {"worker_process_setup_hook": "my_module.hook"},
    {"image_uri": "rayproject/ray:2.52.0"},
    {
        "image_uri": "rayproject/ray:2.52.0",
        "env_vars": {"A": "b"},
        "config": {"eager_install": False},
    },
    {"container": {"image": "ray", "run_options": ["--cap-drop SYS_ADMIN"]}},
    {"container": {"image": "ray"}, "env_vars": {"A": "b"}},
    {"container": {}, "pip": ["emoji"]},
    {"image_uri": "", "pip": ["emoji"]},
    {"nsight": "default"},
    {"nsight": {"t": "cuda,cudnn", "stop-on-exit": "true"}},
    {"_nsight": "default"},
    {"rocprof_sys": {"env": {"A": "b"}, "args": {"c": "d"}}},
    {"java_jars": ["s3://bucket/a.jar"]},
    {"config": {"setup_timeout_seconds": 5, "eager_install": True, "log_files": ["/tmp/log"]}},
    {"config": {"setup_timeout_seconds": -1, "log_files": None}},
    {"config": {"setup_timeout_seconds": True}},
    {"config": {}},
    {"_ray_release": "2.52.0", "_ray_commit": "abc", "_inject_current_ray": True},
]

REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"env_vars": {"EPOCHS": 10}}, ["env_vars.EPOCHS"]),
    ({"env_vars": {"LR": 0.5}}, ["env_vars.LR"]),
    ({"env_vars": {"DEBUG": True}}, ["env_vars.DEBUG"]),
    ({"env_vars": {"EMPTY": None}}, ["env_vars.EMPTY"]),
    ({"env_vars": {"L": ["a"]}}, ["env_vars.L"]),
    ({"env_vars": {"M": {}}}, ["env_vars.M"]),
    ({"env_vars": {1: "a"}}, ["env_vars.1"]),
    ({"env_vars": ["A=b"]}, ["env_vars"]),
    ({"env_vars": "A=b"}, ["env_vars"]),
    ({"env_vars": 0}, ["env_vars"]),
    ({"env_vars": {"A": 1, "B": False}}, ["env_vars.A", "env_vars.B"]),
    ({"pip": 5}, ["pip"]),
    ({"pip": [1]}, ["pip.0"]),
    ({"pip": {}}, ["pip"]),
    ({"pip": {"packages": {"a": 1}}}, ["pip.packages"]),
    ({"pip": {"packages": ["a"], "pip_check": "no"}}, ["pip.pip_check"]),
    ({"pip": {"packages": ["a"], "pip_version": 22.0}}, ["pip.pip_version"]),
    ({"pip": {"packages": ["a"], "pip_install_options": "-q"}}, ["pip.pip_install_options"]),
    ({"pip": {"packages": ["a"], "pip_check": None}}, ["pip.pip_check"]),
    ({"pip": {"package": ["a"], "packages": ["a"]}}, ["pip.package"]),
    ({"uv": {"packages": ["a"], "version": "1"}}, ["uv.version"]),
    ({"uv": {"packages": "a"}}, ["uv.packages"]),
    ({"uv": {"packages": [1]}}, ["uv.packages.0"]),
    ({"conda": ["a"]}, ["conda"]),
    ({"excludes": "*.bin"}, ["excludes"]),
    ({"excludes": [1, "a", 2]}, ["excludes.0", "excludes.2"]),
    ({"working_dir": 5}, ["working_dir"]),
    ({"working_dir": ["."]}, ["working_dir"]),
    ({"working_dir": "https://u:secret@host/repo?token=secret"}, ["working_dir"]),
    ({"working_dir": "git+https://host/repo.zip"}, ["working_dir"]),
    ({"working_dir": "local://samples"}, ["working_dir"]),
    ({"working_dir": "local:///home/code.zip"}, ["working_dir"]),
    ({"py_modules": "s3://bucket/lib.whl"}, ["py_modules"]),
    ({"py_modules": [5]}, ["py_modules.0"]),
    ({"config": "x"}, ["config"]),
    ({"config": {"setup_timeout_seconds": "5"}}, ["config.setup_timeout_seconds"]),
    ({"config": {"setup_timeout_seconds": 0}}, ["config.setup_timeout_seconds"]),
    ({"config": {"eager_install": "yes"}}, ["config.eager_install"]),
    ({"config": {"log_files": ["a", 1]}}, ["config.log_files.1"]),
    ({"worker_process_setup_hook": 5}, ["worker_process_setup_hook"]),
    ({"pip": ["a"], "conda": "x"}, ["pip"]),
    ({"uv": ["a"], "pip": []}, ["pip"]),
    ({"image_uri": "x", "working_dir": "s3://b/c.zip", "nsight": "default"}, ["image_uri"]),
    ({"container": {"image": "x"}, "pip": ["a"]}, ["container"]),
]
"""Environments, and the places of their problems."""

FAILS_ON_THE_HEAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"pip": {"packages": ["a", 3]}}, ["pip.packages.1"]),
    ({"py_executable": 5}, ["py_executable"]),
    ({"image_uri": 5}, ["image_uri"]),
    ({"nsight": 5}, ["nsight"]),
    ({"java_jars": "a.jar"}, ["java_jars"]),
    ({"container": "ray:2.52"}, ["container"]),
]
"""Ray's client accepts these, and the job then fails or waits forever."""

SUGGESTIONS = {
    "pypi": "pip",
    "pips": "pip",
    "PIP": "pip",
    "workingDir": "working_dir",
    "working-dir": "working_dir",
    "workdir": "working_dir",
    "env": "env_vars",
    "envVars": "env_vars",
    "environment": "env_vars",
    "exclude": "excludes",
    "py_module": "py_modules",
    "image": "image_uri",
    "setup_timeout_seconds": "config.setup_timeout_seconds",
    "packages": "pip.packages",
    "pip_version": "pip.pip_version",
    "quux": None,
}


@pytest.fixture(autouse=True)
def _silent_ray(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL, logger="ray"):
        yield


def accepted_by_ray(env: dict[str, Any]) -> bool:
    """Whether Ray's job client accepts it: JobSubmissionClient.submit_job without the upload."""
    hook = env.get("worker_process_setup_hook")
    try:
        _validate_no_local_paths(RuntimeEnv(**env))
    except (TypeError, ValueError):
        return False
    return not hook or isinstance(hook, str)


def places_of(env: dict[str, Any]) -> list[str]:
    return [".".join(problem.path) for problem in problems(env) if not problem.is_ignored]


def test_c15_what_ray_accepts_is_accepted() -> None:
    for env in ACCEPTED:
        assert accepted_by_ray(env), env
        assert places_of(env) == [], env


def test_c15_what_ray_refuses_is_refused_with_its_place() -> None:
    for env, places in REFUSED:
        assert not accepted_by_ray(env), env
        assert places_of(env) == places, env


def test_c15_what_fails_on_the_head_is_refused() -> None:
    for env, places in FAILS_ON_THE_HEAD:
        assert accepted_by_ray(env), env
        assert places_of(env) == places, env


def test_c15_a_problem_names_value_place_and_remedy() -> None:
    for env, text in (
        (
            {"env_vars": {"EPOCHS": 10}},
            'env_vars.EPOCHS: 10 is a number, but Ray accepts only text: write EPOCHS: "10"',
        ),
        (
            {"env_vars": {"DEBUG": True}},
            'env_vars.DEBUG: true is a boolean, but Ray accepts only text: write DEBUG: "true"',
        ),
        (
            {"env_vars": {"EMPTY": None}},
            'env_vars.EMPTY: is empty, but Ray accepts only text: write EMPTY: ""',
        ),
        (
            {"env_vars": {"L": ["a"]}},
            "env_vars.L: is a list, but Ray accepts only text: write a text in quotes",
        ),
        (
            {"env_vars": {1: "a"}},
            'env_vars.1: the name is a number, but Ray accepts only text: write "1"',
        ),
        ({"excludes": "*.bin"}, "excludes: is a text: write a list of texts"),
    ):
        (problem,) = problems(env)
        assert str(problem) == text


def test_c15_a_uri_is_shown_without_its_secrets() -> None:
    (problem,) = problems({"working_dir": "https://u:secret@host/repo?token=secret"})
    assert "'https://host/repo'" in str(problem)
    assert "secret" not in str(problem)


def test_c15_an_unknown_key_is_refused_with_a_suggestion() -> None:
    for key, suggestion in SUGGESTIONS.items():
        (problem,) = problems({key: ["emoji"]})
        assert problem.is_unknown_key, key
        hint = f"did you mean {suggestion}?" if suggestion else f"{', '.join(PUBLIC_KEYS)}"
        assert problem.hint.endswith(hint), key
        assert list(problems({key: ["emoji"]}, plugins=(key,))) == [], key


def test_c15_a_key_that_ray_ignores_is_reported_and_not_refused() -> None:
    env = {"config": {"setup_timeout": 5}}
    (problem,) = problems(env)
    assert accepted_by_ray(env)
    assert problem.is_ignored
    assert (problem.path, problem.hint) == (
        ("config", "setup_timeout"),
        "did you mean setup_timeout_seconds?",
    )


def test_c15_every_key_of_ray_is_known() -> None:
    for key in {*RuntimeEnv.known_fields, "nsight", "rocprof_sys"}:
        assert not any(problem.is_unknown_key for problem in problems({key: "x"})), key


def test_c15_every_problem_is_reported_at_once() -> None:
    env = {
        "pypi": [],
        "env_vars": {"A": 1, "B": None},
        "pip": {"pip_check": 1},
        "config": {"eager_install": 1},
        "uv": [],
    }
    assert places_of(env) == [
        "pypi",
        "env_vars.A",
        "env_vars.B",
        "pip",
        "pip.pip_check",
        "config.eager_install",
        "pip",
    ]


def test_c15_what_is_shown_is_safe_and_short() -> None:
    (problem,) = problems({"env_vars": {"A\x1b[2J": 1}})
    assert "\x1b" not in str(problem)
    (problem,) = problems({"working_dir": f"ftp://host/{'x' * 1000}"})
    assert len(str(problem)) < 400


def test_c15_a_requirements_file_that_ray_reads(tmp_path: Path) -> None:
    path = str(tmp_path / "requirements.txt")
    Path(path).write_text("emoji\n")
    for env in ({"pip": path}, {"pip": {"packages": path}}):
        assert accepted_by_ray(env)
        assert places_of(env) == []
