"""A runtime environment, read like Ray or KubeRay reads it, with its local files (C15)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from raysweep.submission.job import JobFlags, compose
from raysweep.submission.runtime_env import RuntimeEnvError, parse_spec, read_file
from tests.support.yaml_bombs import BOMBS, ERROR

NUMBERS = """
env_vars:
  LEARNING_RATE: 1e-5
  EPOCHS: 10
  DEBUG: true
  WHEN: 2026-01-01
  EMPTY:
  OCTAL: 010
"""


def spec(runtime_env: Any = "") -> dict[str, Any]:
    return {"entrypoint": "python train.py", "runtimeEnvYAML": runtime_env}


def problems(runtime_env: Any = "", /, **flags: Any) -> list[str]:
    with pytest.raises(RuntimeEnvError) as caught:
        compose(spec(runtime_env), JobFlags(**flags))
    return list(caught.value.problems)


def env_of(runtime_env: Any = "", /, **flags: Any) -> Any:
    return compose(spec(runtime_env), JobFlags(**flags)).body.get("runtime_env")


def write(folder: Path, text: str) -> Path:
    (folder / "env.yaml").write_text(text)
    return folder / "env.yaml"


def proposals(texts: list[str], place: str) -> list[str]:
    """What each problem proposes to write."""
    assert all(text.startswith(f"{place}: env_vars.") for text in texts), texts
    return [text.rpartition("write ")[2] for text in texts]


def test_a_file_is_read_like_rays_own_client(tmp_path: Path) -> None:
    path = write(tmp_path, NUMBERS)
    assert proposals(problems(runtime_env=path), f"--runtime-env {path}") == [
        'EPOCHS: "10"',
        'DEBUG: "true"',
        'WHEN: "2026-01-01"',
        'EMPTY: ""',
        'OCTAL: "010"',
    ]


def test_a_spec_is_read_like_kuberay() -> None:
    assert proposals(problems(NUMBERS), "spec.runtimeEnvYAML") == [
        'LEARNING_RATE: "1e-5"',
        'EPOCHS: "10"',
        'DEBUG: "true"',
        'EMPTY: ""',
        'OCTAL: "010"',
    ]
    environment = parse_spec({"runtimeEnvYAML": "env_vars: {START: 2026-01-31, 1: one}"})
    assert environment.env == {"env_vars": {"START": "2026-01-31", "1": "one"}}


def test_json_is_read_as_json() -> None:
    texts = problems(runtime_env_json='{"env_vars": {"LEARNING_RATE": 1e-5, "OFF": false}}')
    assert proposals(texts, "--runtime-env-json") == ['LEARNING_RATE: "1e-5"', 'OFF: "false"']
    for text in ("{env_vars: {}}", '{"env_vars": {"A": NaN}}', "", "[" * 100_000):
        assert problems(runtime_env_json=text)[0].startswith("--runtime-env-json: invalid JSON")
    assert problems(runtime_env_json="[]")[0].startswith("--runtime-env-json: not a mapping")


def test_an_unknown_key_is_refused_unless_a_plugin_reads_it() -> None:
    (problem,) = problems("pypi: [emoji]")
    assert problem.startswith("spec.runtimeEnvYAML: pypi: unknown key: did you mean pip? ")
    assert "--runtime-env-plugin 'pypi'" in problem
    assert env_of("pypi: [emoji]", plugins=("pypi",)) == {"pypi": ["emoji"]}


def test_a_key_that_ray_ignores_is_a_note() -> None:
    (note,) = compose(spec("config: {setup_timeout: 5}"), JobFlags()).notes
    assert note.startswith("spec.runtimeEnvYAML: config.setup_timeout: ")
    assert note.endswith("did you mean setup_timeout_seconds?")


def test_every_problem_is_reported_with_unreadable_files() -> None:
    env = {
        "pip": "emoji",
        "conda": "env.yml",
        "py_modules": ["./a", "b"],
        "pypi": [],
        "env_vars": {"A": 1},
    }
    texts = problems(runtime_env_json=json.dumps(env), working_dir="ftp://host/a.zip")
    places = [text.removeprefix("--runtime-env-json: ").partition(": ")[0] for text in texts]
    assert places == [
        "pypi",
        "env_vars.A",
        "--working-dir",
        "pip",
        "conda",
        "py_modules.0",
        "py_modules.1",
    ]


def test_a_requirements_file_is_read(tmp_path: Path) -> None:
    (problem,) = problems(runtime_env_json='{"pip": "emoji"}')
    assert problem.startswith("--runtime-env-json: pip: emoji cannot be read: No such file")
    assert problem.endswith("write pip: [emoji]")
    requirements, conda = f"{tmp_path}/r.txt", f"{tmp_path}/c.yml"
    Path(requirements).write_text("# packages\nemoji\n\nrequests==2.32.0\n")
    Path(conda).write_text("dependencies: [pip]\n")
    packages = ["emoji", "requests==2.32.0"]
    for env, resolved in (
        ({"pip": requirements}, {"pip": packages}),
        ({"uv": requirements}, {"uv": packages}),
        ({"pip": {"packages": requirements}}, {"pip": {"packages": packages}}),
        ({"conda": conda}, {"conda": {"dependencies": ["pip"]}}),
    ):
        assert env_of(runtime_env_json=json.dumps(env)) == resolved, env


def test_empty_values_are_not_sent() -> None:
    env: dict[str, Any] = {"env_vars": [], "pip": [], "excludes": [], "conda": None, "config": {}}
    assert env_of(runtime_env_json=json.dumps(env)) == {"config": {}}


def test_a_spec_with_a_mapping_instead_of_a_text_is_refused() -> None:
    (problem,) = problems({"pip": ["emoji"]})
    assert problem.startswith("spec.runtimeEnvYAML: not a text")


def test_h26_a_text_that_expands_to_a_huge_value_is_refused(tmp_path: Path) -> None:
    for name, text in BOMBS.items():
        for texts in (problems(text), problems(runtime_env=write(tmp_path, text))):
            assert re.search(ERROR, texts[0]), name


def test_what_json_does_not_support_is_refused(tmp_path: Path) -> None:
    for value in ("!!binary aGk=", "!!set {a, b}", ".nan", ".inf"):
        text = f"conda: {{name: {value}}}"
        for texts in (problems(text), problems(runtime_env=write(tmp_path, text))):
            assert re.search("conda.name: .*JSON", texts[0]), value


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    pattern = r"^--runtime-env: .*/none.yaml cannot be read: No such file"
    with pytest.raises(RuntimeEnvError, match=pattern):
        read_file(tmp_path / "none.yaml")
