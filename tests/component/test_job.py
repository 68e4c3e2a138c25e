"""The working directory of a job: a path of this machine, a path of the image, or a URI (C26)."""

from pathlib import Path

import pytest

from raysweep.submission.job import JobFlags, compose

IN_IMAGE = "working_dir: /home/ray/samples\nenv_vars: {COUNTER: '1'}\npip: requirements.txt\n"
IMAGE_ENV = {
    "working_dir": "/home/ray/samples",
    "env_vars": {"COUNTER": "1"},
    "pip": "requirements.txt",
}


def spec(runtime_env: str = "") -> dict[str, str]:
    return {"entrypoint": "python train.py", "runtimeEnvYAML": runtime_env}


def test_paths_of_the_image_are_not_changed() -> None:
    job = compose(spec(IN_IMAGE), JobFlags())
    assert job.body["runtime_env"] == IMAGE_ENV
    assert (job.working_dir, job.with_working_dir(None)) == ("", job.body)
    (note,) = job.notes
    assert "'/home/ray/samples' of spec.runtimeEnvYAML is a path inside the image" in note


def test_every_path_in_a_spec_is_a_path_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samples").mkdir()
    for path in ("/home/ray/samples", "samples", "./samples", "~/samples", "/home/ray/code.zip"):
        job = compose(spec(f"working_dir: {path}"), JobFlags())
        assert (job.working_dir, job.body["runtime_env"]) == ("", {"working_dir": path})


def test_the_flag_overrides_the_working_directory_of_the_spec() -> None:
    job = compose(spec(IN_IMAGE), JobFlags(working_dir="src"))
    assert (job.working_dir, job.place, job.notes) == ("src", "--working-dir", ())
    env = job.with_working_dir("gcs://p.zip")["runtime_env"]
    assert env == IMAGE_ENV | {"working_dir": "gcs://p.zip"}


def test_a_path_in_the_file_of_a_flag_is_a_path_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "env.yaml"
    path.write_text("working_dir: src\nexcludes: ['*.bin']")
    job = compose(spec(IN_IMAGE), JobFlags(runtime_env=path))
    assert (job.working_dir, job.excludes) == ("src", ("*.bin",))
    assert job.place == f"--runtime-env {path}: working_dir"
    assert "runtime_env" not in job.body


def test_a_uri_is_sent_without_a_change() -> None:
    uri = "s3://b/c.zip"
    for job in (
        compose(spec(f"working_dir: {uri}"), JobFlags()),
        compose(spec(), JobFlags(working_dir=uri)),
    ):
        assert (job.working_dir, job.notes) == ("", ())
        assert job.body["runtime_env"] == {"working_dir": uri}
