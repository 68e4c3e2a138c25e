"""A runtime environment is refused if Ray refuses it: every row is put to Ray's own client too (C15)."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.runtime_env import RuntimeEnv
from ray.runtime_env.runtime_env import _validate_no_local_paths

from raysweep.submission.runtime_env_schema import PUBLIC, problems

TAKEN: list[dict[str, Any]] = [
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
    (
        {"env_vars": {"EPOCHS": 10}},
        ['env_vars.EPOCHS: 10 is a number, and Ray takes text only; write EPOCHS: "10"'],
    ),
    (
        {"env_vars": {"LR": 0.5}},
        ['env_vars.LR: 0.5 is a number, and Ray takes text only; write LR: "0.5"'],
    ),
    (
        {"env_vars": {"DEBUG": True}},
        ['env_vars.DEBUG: true is a boolean, and Ray takes text only; write DEBUG: "true"'],
    ),
    (
        {"env_vars": {"EMPTY": None}},
        ['env_vars.EMPTY: is empty, and Ray takes text only; write EMPTY: ""'],
    ),
    (
        {"env_vars": {"L": ["a"]}},
        ["env_vars.L: is a list, and Ray takes text only; write a text in quotes"],
    ),
    (
        {"env_vars": {"M": {}}},
        ["env_vars.M: is a mapping, and Ray takes text only; write a text in quotes"],
    ),
    (
        {"env_vars": {1: "a"}},
        ['env_vars.1: the name is a number, and Ray takes text only; write "1"'],
    ),
    ({"env_vars": ["A=b"]}, ["env_vars: is a list; write a mapping of names to texts"]),
    ({"env_vars": "A=b"}, ["env_vars: is a text; write a mapping of names to texts"]),
    ({"env_vars": 0}, ["env_vars: is a number; write a mapping of names to texts"]),
    (
        {"env_vars": {"A": 1, "B": False}},
        [
            'env_vars.A: 1 is a number, and Ray takes text only; write A: "1"',
            'env_vars.B: false is a boolean, and Ray takes text only; write B: "false"',
        ],
    ),
    (
        {"pip": 5},
        [
            "pip: is a number; write a list of packages, the path of a requirements file, or a mapping"
        ],
    ),
    ({"pip": [1]}, ["pip.0: is a number; write a text"]),
    ({"pip": {}}, ["pip: has no packages; write packages: [...]"]),
    ({"pip": {"packages": {"a": 1}}}, ["pip.packages: is a mapping; write a list of texts"]),
    (
        {"pip": {"packages": ["a"], "pip_check": "no"}},
        ["pip.pip_check: is a text; write true or false"],
    ),
    (
        {"pip": {"packages": ["a"], "pip_version": 22.0}},
        ["pip.pip_version: is a number; write a text"],
    ),
    (
        {"pip": {"packages": ["a"], "pip_install_options": "-q"}},
        ["pip.pip_install_options: is a text; write a list of texts"],
    ),
    (
        {"pip": {"packages": ["a"], "pip_check": None}},
        ["pip.pip_check: is empty; write true or false"],
    ),
    (
        {"pip": {"package": ["a"], "packages": ["a"]}},
        ["pip.package: unknown key; did you mean packages?"],
    ),
    (
        {"uv": {"packages": ["a"], "version": "1"}},
        ["uv.version: unknown key; did you mean uv_version?"],
    ),
    ({"uv": {"packages": "a"}}, ["uv.packages: is a text; write a list of texts"]),
    ({"uv": {"packages": [1]}}, ["uv.packages.0: is a number; write a text"]),
    ({"conda": ["a"]}, ["conda: is a list; write a text or a mapping"]),
    ({"excludes": "*.bin"}, ["excludes: is a text; write a list of texts"]),
    (
        {"excludes": [1, "a", 2]},
        ["excludes.0: is a number; write a text", "excludes.2: is a number; write a text"],
    ),
    ({"working_dir": 5}, ["working_dir: is a number; write a path or a URI"]),
    ({"working_dir": ["."]}, ["working_dir: is a list; write a path or a URI"]),
    (
        {"working_dir": "https://u:secret@host/repo?token=secret"},
        [
            "working_dir: 'https://host/repo' is not an archive that Ray unpacks; use a .zip, .whl, .tar.gz, .tgz, .tar.xz file"
        ],
    ),
    (
        {"working_dir": "git+https://host/repo.zip"},
        [
            "working_dir: 'git+https://host/repo.zip' has a protocol that Ray does not fetch; "
            "use one of gcs, http, https, s3, gs, azure, abfss, file, local"
        ],
    ),
    (
        {"working_dir": "local://samples"},
        [
            "working_dir: 'local://samples' is not the absolute path of a folder; write local:///path/in/image"
        ],
    ),
    (
        {"working_dir": "local:///home/code.zip"},
        [
            "working_dir: 'local:///home/code.zip' is not the absolute path of a folder; write local:///path/in/image"
        ],
    ),
    ({"py_modules": "s3://bucket/lib.whl"}, ["py_modules: is a text; write a list of URIs"]),
    ({"py_modules": [5]}, ["py_modules.0: is a number; write a path or a URI"]),
    ({"config": "x"}, ["config: is a text; write a mapping"]),
    (
        {"config": {"setup_timeout_seconds": "5"}},
        [
            "config.setup_timeout_seconds: '5' is not a time limit; write whole seconds, or -1 for none"
        ],
    ),
    (
        {"config": {"setup_timeout_seconds": 0}},
        [
            "config.setup_timeout_seconds: '0' is not a time limit; write whole seconds, or -1 for none"
        ],
    ),
    (
        {"config": {"eager_install": "yes"}},
        ["config.eager_install: is a text; write true or false"],
    ),
    ({"config": {"log_files": ["a", 1]}}, ["config.log_files.1: is a number; write a text"]),
    ({"worker_process_setup_hook": 5}, ["worker_process_setup_hook: is a number; write a text"]),
    (
        {"pip": ["a"], "conda": "x"},
        [
            "pip: excludes conda: Ray takes one of them; keep one; conda installs what pip would if its dependencies name it"
        ],
    ),
    (
        {"uv": ["a"], "pip": []},
        [
            "pip: excludes uv: Ray takes one of them; keep one; conda installs what pip would if its dependencies name it"
        ],
    ),
    (
        {"image_uri": "x", "working_dir": "s3://b/c.zip", "nsight": "default"},
        ["image_uri: excludes working_dir, nsight; keep only config and env_vars beside it"],
    ),
    (
        {"container": {"image": "x"}, "pip": ["a"]},
        ["container: excludes pip; keep only config and env_vars beside it"],
    ),
]

FAILS_ON_THE_HEAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"pip": {"packages": ["a", 3]}}, ["pip.packages.1: is a number; write a text"]),
    ({"py_executable": 5}, ["py_executable: is a number; write a text"]),
    ({"image_uri": 5}, ["image_uri: is a number; write a text"]),
    ({"nsight": 5}, ["nsight: is a number; write a text or a mapping"]),
    ({"java_jars": "a.jar"}, ["java_jars: is a text; write a list of texts"]),
    ({"container": "ray:2.52"}, ["container: is a text; write a mapping"]),
]
"""Ray's client lets these through, and the job then fails or waits for ever."""

UNKNOWN = [
    ("pypi", "did you mean pip?"),
    ("pips", "did you mean pip?"),
    ("PIP", "did you mean pip?"),
    ("workingDir", "did you mean working_dir?"),
    ("working-dir", "did you mean working_dir?"),
    ("workdir", "did you mean working_dir?"),
    ("env", "did you mean env_vars?"),
    ("envVars", "did you mean env_vars?"),
    ("environment", "did you mean env_vars?"),
    ("exclude", "did you mean excludes?"),
    ("py_module", "did you mean py_modules?"),
    ("image", "did you mean image_uri?"),
    ("setup_timeout_seconds", "did you mean config.setup_timeout_seconds?"),
    ("packages", "did you mean pip.packages?"),
    ("pip_version", "did you mean pip.pip_version?"),
    ("quux", f"the known keys are {', '.join(PUBLIC)}"),
]


@pytest.fixture(autouse=True)
def _silent_ray(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.CRITICAL, logger="ray"):
        yield


def taken_by_ray(env: dict[str, Any]) -> bool:
    """Whether Ray's job client would post it: JobSubmissionClient.submit_job, without the upload."""
    hook = env.get("worker_process_setup_hook")
    try:
        _validate_no_local_paths(RuntimeEnv(**env))
    except (TypeError, ValueError):
        return False
    return not hook or isinstance(hook, str)


def told(env: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in problems(env) if not problem.is_ignored]


@pytest.mark.parametrize("env", TAKEN, ids=str)
def test_c15_what_ray_takes_is_not_refused(env: dict[str, Any]) -> None:
    assert taken_by_ray(env)
    assert told(env) == []


@pytest.mark.parametrize(("env", "said"), REFUSED, ids=[str(env) for env, _ in REFUSED])
def test_c15_what_ray_refuses_is_refused_with_its_place(
    env: dict[str, Any], said: list[str]
) -> None:
    assert not taken_by_ray(env)
    assert told(env) == said


@pytest.mark.parametrize(
    ("env", "said"), FAILS_ON_THE_HEAD, ids=[str(env) for env, _ in FAILS_ON_THE_HEAD]
)
def test_c15_what_cannot_work_on_the_head_is_refused(env: dict[str, Any], said: list[str]) -> None:
    assert taken_by_ray(env)
    assert told(env) == said


@pytest.mark.parametrize(("key", "hint"), UNKNOWN)
def test_c15_a_key_that_ray_does_not_know_is_refused_with_a_suggestion(key: str, hint: str) -> None:
    (problem,) = problems({key: ["emoji"]})
    assert (str(problem), problem.is_unknown_key) == (f"{key}: unknown key; {hint}", True)
    assert list(problems({key: ["emoji"]}, plugins=(key,))) == []


def test_c15_a_key_that_ray_passes_over_is_told_and_not_refused() -> None:
    env = {"config": {"setup_timeout": 5}}
    (problem,) = problems(env)
    assert taken_by_ray(env)
    assert problem.is_ignored
    assert (
        str(problem)
        == "config.setup_timeout: Ray ignores this key; did you mean setup_timeout_seconds?"
    )


@pytest.mark.parametrize("key", sorted({*RuntimeEnv.known_fields, "nsight", "rocprof_sys"}))
def test_c15_every_key_of_ray_is_known(key: str) -> None:
    assert not any(problem.is_unknown_key for problem in problems({key: "x"}))


def test_c15_every_problem_is_told_at_once() -> None:
    env = {
        "pypi": [],
        "env_vars": {"A": 1, "B": None},
        "pip": {"pip_check": 1},
        "config": {"eager_install": 1},
        "uv": [],
    }
    assert [problem.path for problem in problems(env)] == [
        ("pypi",),
        ("env_vars", "A"),
        ("env_vars", "B"),
        ("pip",),
        ("pip", "pip_check"),
        ("config", "eager_install"),
        ("pip",),
    ]


def test_c15_what_is_shown_is_safe_and_short() -> None:
    (problem,) = problems({"env_vars": {"A\x1b[2J": 1}})
    assert "\x1b" not in str(problem)
    (problem,) = problems({"working_dir": f"ftp://host/{'x' * 1000}"})
    assert len(str(problem)) < 400


def test_c15_a_requirements_file_that_ray_reads(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("emoji\n")
    for env in (
        {"pip": str(tmp_path / "requirements.txt")},
        {"pip": {"packages": str(tmp_path / "requirements.txt")}},
    ):
        assert taken_by_ray(env)
        assert told(env) == []
