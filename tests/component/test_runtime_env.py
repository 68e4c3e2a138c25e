"""A runtime environment where a job is submitted: read as Ray or KubeRay reads it, checked, and whose its paths are."""

import json
from pathlib import Path
from typing import Any

import pytest

from raysweep.submission.image_paths import has_any, resolve
from raysweep.submission.job import Job, JobFlags, compose
from raysweep.submission.runtime_env import RuntimeEnvError, parse_spec, read_file
from tests.component.test_yaml_text import BOMBS

NUMBERS = """
env_vars:
  LEARNING_RATE: 1e-5
  EPOCHS: 10
  DEBUG: true
  WHEN: 2026-01-01
  EMPTY:
  OCTAL: 010
"""
IN_IMAGE = "working_dir: /home/ray/samples\nenv_vars: {COUNTER: '1'}\npip: requirements.txt\nconda: env.yml\n"


def spec(runtime_env: Any = "") -> dict[str, Any]:
    return {"entrypoint": "python train.py", "runtimeEnvYAML": runtime_env}


def problems(yaml: Any = "", /, **flags: Any) -> list[str]:
    """What is refused."""
    with pytest.raises(RuntimeEnvError) as refused:
        compose(spec(yaml), JobFlags(**flags))
    return list(refused.value.problems)


def file(folder: Path, text: str) -> Path:
    (folder / "env.yaml").write_text(text)
    return folder / "env.yaml"


def test_c15_a_file_is_read_as_rays_own_client_reads_it(tmp_path: Path) -> None:
    path = file(tmp_path, NUMBERS)
    assert problems(runtime_env=path) == [
        f'--runtime-env {path}: env_vars.EPOCHS: 10 is a number, but Ray accepts only text: write EPOCHS: "10"',
        f'--runtime-env {path}: env_vars.DEBUG: true is a boolean, but Ray accepts only text: write DEBUG: "true"',
        f'--runtime-env {path}: env_vars.WHEN: 2026-01-01 is a date, but Ray accepts only text: write WHEN: "2026-01-01"',
        f'--runtime-env {path}: env_vars.EMPTY: is empty, but Ray accepts only text: write EMPTY: ""',
        f'--runtime-env {path}: env_vars.OCTAL: 010 is a number, but Ray accepts only text: write OCTAL: "010"',
    ]


def test_c15_a_spec_is_read_as_kuberay_reads_it() -> None:
    place = "spec.runtimeEnvYAML"
    assert problems(NUMBERS) == [
        f'{place}: env_vars.LEARNING_RATE: 1e-5 is a number, but Ray accepts only text: write LEARNING_RATE: "1e-5"',
        f'{place}: env_vars.EPOCHS: 10 is a number, but Ray accepts only text: write EPOCHS: "10"',
        f'{place}: env_vars.DEBUG: true is a boolean, but Ray accepts only text: write DEBUG: "true"',
        f'{place}: env_vars.EMPTY: is empty, but Ray accepts only text: write EMPTY: ""',
        f'{place}: env_vars.OCTAL: 010 is a number, but Ray accepts only text: write OCTAL: "010"',
    ]
    assert parse_spec({"runtimeEnvYAML": "env_vars: {START: 2026-01-31, 1: one}"}).env == {
        "env_vars": {"START": "2026-01-31", "1": "one"}
    }


def test_c15_json_is_read_as_json() -> None:
    reported = problems(runtime_env_json='{"env_vars": {"LEARNING_RATE": 1e-5, "OFF": false}}')
    assert reported[0].endswith(
        'env_vars.LEARNING_RATE: 1e-5 is a number, but Ray accepts only text: write LEARNING_RATE: "1e-5"'
    )
    assert reported[1].endswith(
        'env_vars.OFF: false is a boolean, but Ray accepts only text: write OFF: "false"'
    )
    for text in ("{env_vars: {}}", '{"env_vars": {"A": NaN}}', "", "[" * 100_000):
        assert problems(runtime_env_json=text)[0].startswith("--runtime-env-json: invalid JSON")
    assert problems(runtime_env_json="[]")[0].startswith("--runtime-env-json: not a mapping")


def test_c15_a_key_that_ray_does_not_know_unless_a_plugin_does() -> None:
    (reported,) = problems("pypi: [emoji]")
    assert reported == (
        "spec.runtimeEnvYAML: pypi: unknown key: did you mean pip? "
        "(if the cluster's Ray has a plugin of this name, add --runtime-env-plugin 'pypi')"
    )
    job = compose(spec("pypi: [emoji]"), JobFlags(plugins=("pypi",)))
    assert job.body["runtime_env"] == {"pypi": ["emoji"]}


def test_c15_a_key_that_ray_passes_over_is_a_note() -> None:
    job = compose(spec("config: {setup_timeout: 5}"), JobFlags())
    assert job.notes == (
        "spec.runtimeEnvYAML: config.setup_timeout: Ray ignores this key: "
        "did you mean setup_timeout_seconds?",
    )


def test_c15_every_problem_is_told_at_once_files_that_are_not_there_included(
    tmp_path: Path,
) -> None:
    env = {
        "pip": "emoji",
        "conda": "env.yml",
        "py_modules": ["./a", "b"],
        "pypi": [],
        "env_vars": {"A": 1},
    }
    reported = problems(runtime_env_json=json.dumps(env), working_dir="ftp://host/a.zip")
    begins = [
        "pypi: unknown",
        "env_vars.A: 1 is",
        "pip: cannot be combined with conda",
        "conda: env.yml",
        "py_modules.0: local path './a'",
        "py_modules.1: local path 'b'",
    ]
    for begin in begins:
        assert any(one.startswith(f"--runtime-env-json: {begin}") for one in reported), begin
    assert (
        "--working-dir: 'ftp://host/a.zip' has a protocol that Ray does not support"
        in "\n".join(reported)
    )


def test_c15_a_text_for_pip_is_a_file(tmp_path: Path) -> None:
    (problem,) = problems(runtime_env_json='{"pip": "emoji"}')
    assert problem.startswith("--runtime-env-json: pip: emoji cannot be read: No such file")
    assert problem.endswith("write pip: [emoji]")
    (tmp_path / "r.txt").write_text("# packages\nemoji\n\nrequests==2.32.0\n")
    (tmp_path / "c.yml").write_text("dependencies: [pip]\n")
    for env, read in (
        ({"pip": f"{tmp_path}/r.txt"}, {"pip": ["emoji", "requests==2.32.0"]}),
        ({"uv": f"{tmp_path}/r.txt"}, {"uv": ["emoji", "requests==2.32.0"]}),
        (
            {"pip": {"packages": f"{tmp_path}/r.txt"}},
            {"pip": {"packages": ["emoji", "requests==2.32.0"]}},
        ),
        ({"conda": f"{tmp_path}/c.yml"}, {"conda": {"dependencies": ["pip"]}}),
    ):
        assert (
            compose(spec(), JobFlags(runtime_env_json=json.dumps(env))).body["runtime_env"] == read
        )


def test_c15_what_means_nothing_is_not_sent() -> None:
    env: dict[str, Any] = {"env_vars": [], "pip": [], "excludes": [], "conda": None, "config": {}}
    assert compose(spec(), JobFlags(runtime_env_json=json.dumps(env))).body["runtime_env"] == {
        "config": {}
    }


def test_c15_a_spec_whose_environment_is_no_text() -> None:
    assert problems({"pip": ["emoji"]}) == [
        "spec.runtimeEnvYAML: not a text: write the mapping as a text, after runtimeEnvYAML: |"
    ]


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_h26_a_bomb_is_refused_wherever_it_stands(text: str, tmp_path: Path) -> None:
    for reported in (problems(text), problems(runtime_env=file(tmp_path, text))):
        assert "nested too deeply" in reported[0] or "nodes, aliases included" in reported[0]


@pytest.mark.parametrize("value", ["!!binary aGk=", "!!set {a, b}", ".nan", ".inf"])
def test_what_json_cannot_say_is_refused_before_anything_is_created(
    value: str, tmp_path: Path
) -> None:
    for reported in (
        problems(f"conda: {{it: {value}}}"),
        problems(runtime_env=file(tmp_path, f"conda: {{it: {value}}}")),
    ):
        assert "conda.it: " in reported[0]
        assert "JSON" in reported[0]


def test_c26_a_path_of_the_image_stays_as_it_is() -> None:
    job = compose(spec(IN_IMAGE.replace("conda: env.yml\n", "")), JobFlags())
    assert job.body["runtime_env"] == {
        "working_dir": "/home/ray/samples",
        "env_vars": {"COUNTER": "1"},
        "pip": "requirements.txt",
    }
    assert (job.working_dir, job.with_working_dir(None)) == ("", job.body)
    assert job.notes == (
        "working_dir '/home/ray/samples' of spec.runtimeEnvYAML is a path inside the image, "
        "and used in place: to upload a folder of this machine, use --working-dir",
    )


@pytest.mark.parametrize(
    "path", ["/home/ray/samples", "samples", "./samples", "~/samples", "/home/ray/code.zip"]
)
def test_c26_any_path_of_a_spec_is_one_of_the_image(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samples").mkdir()
    job = compose(spec(f"working_dir: {path}"), JobFlags())
    assert (job.working_dir, job.body["runtime_env"]) == ("", {"working_dir": path})


def test_c26_the_flag_wins_and_other_paths_stay_the_images() -> None:
    job = compose(spec(IN_IMAGE.replace("conda: env.yml\n", "")), JobFlags(working_dir="src"))
    assert (job.working_dir, job.place, job.notes) == ("src", "--working-dir", ())
    assert job.with_working_dir("gcs://p.zip")["runtime_env"] == {
        "working_dir": "gcs://p.zip",
        "env_vars": {"COUNTER": "1"},
        "pip": "requirements.txt",
    }


def test_c26_a_path_of_a_flags_environment_is_one_of_this_machine(tmp_path: Path) -> None:
    job = compose(
        spec(IN_IMAGE),
        JobFlags(runtime_env=file(tmp_path, "working_dir: src\nexcludes: ['*.bin']")),
    )
    assert (job.working_dir, job.excludes) == ("src", ("*.bin",))
    assert job.place == f"--runtime-env {tmp_path}/env.yaml: working_dir"
    assert "runtime_env" not in job.body


def test_c26_a_uri_is_sent_as_it_is() -> None:
    for job in (
        compose(spec("working_dir: s3://b/c.zip"), JobFlags()),
        compose(spec(), JobFlags(working_dir="s3://b/c.zip")),
    ):
        assert (job.working_dir, job.body["runtime_env"], job.notes) == (
            "",
            {"working_dir": "s3://b/c.zip"},
            (),
        )


def placed(
    env: dict[str, Any], version: str, entrypoint: str = "python a.py; python b.py"
) -> tuple[Any, str]:
    job = resolve({"entrypoint": entrypoint, "runtime_env": env, "metadata": {"a": "b"}}, version)
    assert job["metadata"] == {"a": "b"}
    return job["runtime_env"], job["entrypoint"]


@pytest.mark.parametrize("version", ["2.60.0", "2.61.1", "3.0.0.dev0"])
def test_c26_from_ray_2_60_a_folder_of_the_image_has_a_uri(version: str) -> None:
    env, entrypoint = placed({"working_dir": "/home/ray/samples", "env_vars": {"A": "b"}}, version)
    assert env == {"working_dir": "local:///home/ray/samples", "env_vars": {"A": "b"}}
    assert entrypoint == "python a.py; python b.py"


@pytest.mark.parametrize("version", ["2.9.3", "2.52.0", "2.59.0", "", "odd"])
def test_c26_before_that_the_command_starts_there(version: str) -> None:
    env, entrypoint = placed(
        {"working_dir": "/home/ray/my samples", "env_vars": {"PYTHONPATH": "/opt"}}, version
    )
    assert env == {"env_vars": {"PYTHONPATH": "/home/ray/my samples:/opt"}}
    assert entrypoint == "cd '/home/ray/my samples' || exit; python a.py; python b.py"
    assert placed({"working_dir": "/a"}, version)[0] == {
        "env_vars": {"PYTHONPATH": "/a:${PYTHONPATH}"}
    }


@pytest.mark.parametrize("version", ["2.52.0", "2.60.0"])
def test_c26_archives_modules_and_relative_paths_of_the_image(version: str) -> None:
    assert placed({"working_dir": "/home/ray/code.zip"}, version)[0] == {
        "working_dir": "file:///home/ray/code.zip"
    }
    assert placed({"working_dir": "samples"}, version, "ls") == (
        {"env_vars": {"PYTHONPATH": "samples:${PYTHONPATH}"}},
        "cd samples || exit; ls",
    )
    modules = ["/opt/lib/mine/", "/opt/one.py", "/opt/lib.whl", "s3://b/c.whl"]
    assert placed({"py_modules": modules}, version, "ls") == (
        {
            "py_modules": ["file:///opt/lib.whl", "s3://b/c.whl"],
            "env_vars": {"PYTHONPATH": "/opt/lib:/opt:${PYTHONPATH}"},
        },
        "ls",
    )


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, False),
        ({"working_dir": "gcs://a.zip"}, False),
        ({"working_dir": "/a"}, True),
        ({"py_modules": ["s3://a.whl", "/b"]}, True),
        ({"py_modules": None}, False),
    ],
)
def test_c26_whether_a_job_names_a_path_of_the_image(env: dict[str, Any], expected: bool) -> None:
    assert has_any({"entrypoint": "ls", "runtime_env": env}) is expected
    assert not has_any({"entrypoint": "ls"})


def test_an_error_names_what_was_given(tmp_path: Path) -> None:
    with pytest.raises(
        RuntimeEnvError, match=r"^--runtime-env: .*/none.yaml cannot be read: No such file"
    ):
        read_file(tmp_path / "none.yaml")
    assert isinstance(compose(spec(), JobFlags()), Job)
