"""Paths inside the image: URIs from Ray 2.60 on, and PYTHONPATH before that (C26)."""

from typing import Any

from raysweep.submission.image_paths import has_any, resolve

WITH_URIS = ("2.60.0", "2.61.1", "3.0.0.dev0")
WITHOUT_URIS = ("2.9.3", "2.52.0", "2.59.0", "", "odd")
ENTRYPOINT = "python a.py; python b.py"


def resolved(env: dict[str, Any], version: str) -> tuple[Any, str]:
    """(runtime environment, entrypoint)"""
    job = {"entrypoint": ENTRYPOINT, "runtime_env": env, "metadata": {"a": "b"}}
    result = resolve(job, version)
    assert result["metadata"] == {"a": "b"}
    return result["runtime_env"], result["entrypoint"]


def test_a_folder_has_a_uri() -> None:
    for version in WITH_URIS:
        env = {"working_dir": "/home/ray/samples", "env_vars": {"A": "b"}}
        with_uri = {"working_dir": "local:///home/ray/samples", "env_vars": {"A": "b"}}
        assert resolved(env, version) == (with_uri, ENTRYPOINT), version


def test_without_a_uri_the_command_starts_in_the_folder() -> None:
    for version in WITHOUT_URIS:
        env = {"working_dir": "/home/ray/my samples", "env_vars": {"PYTHONPATH": "/opt"}}
        assert resolved(env, version) == (
            {"env_vars": {"PYTHONPATH": "/home/ray/my samples:/opt"}},
            f"cd '/home/ray/my samples' || exit; {ENTRYPOINT}",
        ), version
        assert resolved({"working_dir": "/a"}, version)[0] == {
            "env_vars": {"PYTHONPATH": "/a:${PYTHONPATH}"}
        }


def test_archives_modules_and_relative_paths() -> None:
    modules = ["/opt/lib/mine/", "/opt/one.py", "/opt/lib.whl", "s3://b/c.whl"]
    for version in ("2.52.0", "2.60.0"):
        archive = {"working_dir": "/home/ray/code.zip"}
        assert resolved(archive, version)[0] == {"working_dir": "file:///home/ray/code.zip"}
        assert resolved({"working_dir": "samples"}, version) == (
            {"env_vars": {"PYTHONPATH": "samples:${PYTHONPATH}"}},
            f"cd samples || exit; {ENTRYPOINT}",
        )
        assert resolved({"py_modules": modules}, version) == (
            {
                "py_modules": ["file:///opt/lib.whl", "s3://b/c.whl"],
                "env_vars": {"PYTHONPATH": "/opt/lib:/opt:${PYTHONPATH}"},
            },
            ENTRYPOINT,
        )


def test_whether_a_job_names_a_path_of_the_image() -> None:
    for env, expected in (
        ({}, False),
        ({"working_dir": "gcs://a.zip"}, False),
        ({"working_dir": "/a"}, True),
        ({"py_modules": ["s3://a.whl", "/b"]}, True),
        ({"py_modules": None}, False),
    ):
        assert has_any({"entrypoint": "ls", "runtime_env": env}) is expected, env
    assert not has_any({"entrypoint": "ls"})
