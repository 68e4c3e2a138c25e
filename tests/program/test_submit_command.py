"""`raysweep submit --dry-run` in a process of its own, without a cluster."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml

from raysweep.cli.submit.command import command
from refused_specs import BASE, merge
from tests.support.cli import ENVIRONMENT
from tests.support.yaml_bombs import BOMBS, ERROR

RAYJOB = """\
apiVersion: ray.io/v1
kind: RayJob
metadata: {name: from-file}
spec:
  entrypoint: python /home/ray/samples/sample_code.py
  runtimeEnvYAML: |
    working_dir: /home/ray/samples
    env_vars: {COUNTER: %s}
  rayClusterSpec:
    headGroupSpec:
      rayStartParams: {}
      template: {spec: {containers: [{name: ray-head, image: ray}]}}
"""
TRAIN = ("--", "python", "train.py")
QUEUE = "kueue.x-k8s.io/queue-name=lq"


def submit(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raysweep", "submit", "--dry-run=client", *words]
    return subprocess.run(
        command,
        input=stdin,
        env=ENVIRONMENT,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def write(folder: Path, text: str) -> str:
    (folder / "file.yaml").write_text(text)
    return "file.yaml"


def test_c15_invalid_values_are_refused_with_what_to_write(tmp_path: Path) -> None:
    env = write(tmp_path, "env_vars:\n  EPOCHS: 10\npypi: [emoji]\n")
    done = submit(tmp_path, "--name", "x", "--runtime-env", env, *TRAIN)
    assert (done.returncode, done.stdout) == (2, "")
    number, unknown_key = done.stderr.splitlines()
    assert number.startswith("raysweep: --runtime-env file.yaml: env_vars.EPOCHS: 10 is a number")
    assert number.endswith('write EPOCHS: "10"')
    assert "--runtime-env-plugin 'pypi'" in unknown_key


def test_c15_a_key_of_a_plugin_is_accepted_if_a_flag_names_it(tmp_path: Path) -> None:
    env = write(tmp_path, "secrets: {from: vault}\n")
    plugin = ("--runtime-env-plugin", "secrets")
    done = submit(tmp_path, "--name", "x", "--runtime-env", env, *plugin, *TRAIN)
    assert done.returncode == 0, done.stderr


def test_c16_files_that_are_not_uploaded_are_reported_once(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    (tmp_path / ".#train.py").symlink_to("user@host.1")
    os.mkfifo(tmp_path / "pipe")
    done = submit(tmp_path, "--name", "x", "--working-dir", ".", *TRAIN)
    assert done.returncode == 0, done.stderr
    (note,) = done.stderr.splitlines()
    assert note.endswith("(2): '.#train.py' (dangling link), 'pipe' (a fifo)")


def test_c16_every_problem_of_the_working_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a\\b").write_text("")
    (tmp_path / "c:d").write_text("")
    done = submit(tmp_path, "--name", "x", "--working-dir", ".", *TRAIN)
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert "a\\b" in first
    assert "c:d" in second


def test_c26_a_path_of_the_image_is_not_changed(tmp_path: Path) -> None:
    text = RAYJOB % '"1"'
    done = submit(tmp_path, "-f", write(tmp_path, text))
    assert done.returncode == 0, done.stderr
    field = "runtimeEnvYAML"
    assert yaml.safe_load(done.stdout)["spec"][field] == yaml.safe_load(text)["spec"][field]
    assert "'/home/ray/samples' of spec.runtimeEnvYAML is a path inside the image" in done.stderr


def test_c26_an_error_names_the_place_that_the_user_wrote(tmp_path: Path) -> None:
    done = submit(tmp_path, "-f", write(tmp_path, RAYJOB % "1"))
    (error,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert error.startswith("raysweep: spec.runtimeEnvYAML: env_vars.COUNTER: ")
    env = '{"working_dir": "/nowhere/at/all"}'
    done = submit(tmp_path, "--name", "x", "--runtime-env-json", env, *TRAIN)
    (error,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert error.startswith("raysweep: --runtime-env-json: working_dir: '/nowhere/at/all' is not")


def test_c26_every_problem_of_the_runtime_environment_is_reported(tmp_path: Path) -> None:
    done = submit(
        tmp_path, "-f", write(tmp_path, (RAYJOB % "1").replace("COUNTER: 1", "A: 1, B: 2"))
    )
    places = [line.split(": ")[2] for line in done.stderr.splitlines()]
    assert (done.returncode, places) == (2, ["env_vars.A", "env_vars.B"])


def test_c27_the_head_replaces_variables_and_blanks_remain(tmp_path: Path) -> None:
    words = ("--", "python", "train.py", "--out", "$DATA_DIR/x", "a b")
    done = submit(tmp_path, "--name", "x", *words)
    assert done.returncode == 0, done.stderr
    entrypoint = yaml.safe_load(done.stdout)["spec"]["entrypoint"]
    assert entrypoint == "python train.py --out \"$DATA_DIR/x\" 'a b'"


@pytest.mark.parametrize("flags", [("-f",), ("--name", "x", "--runtime-env")], ids=" ".join)
def test_h26_a_file_that_expands_to_a_huge_value_is_refused(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    done = submit(tmp_path, *flags, write(tmp_path, BOMBS["merges"]), *TRAIN)
    (error,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert re.search(ERROR, error)


def test_c5_a_killed_submit_keeps_its_rayjob_as_long_as_it_could_wait(tmp_path: Path) -> None:
    """The waits: 3 h for the head, 30 min for the upload, 2 x 1 h for the submission."""
    timeouts = ("--head-timeout", "3h", "--upload-timeout", "30m", "--submit-timeout", "1h")
    done = submit(tmp_path, "--name", "train", "-o", "json", *timeouts, *TRAIN)
    annotations = json.loads(done.stdout)["metadata"]["annotations"]
    assert annotations["raysweep.io/ttl-unsubmitted"] == "5h40m"


def test_c17_the_label_of_a_queue_sets_the_shutdown(tmp_path: Path) -> None:
    flags = ("--label", QUEUE, "--ttl-failed", "1d")
    done = submit(tmp_path, "--name", "train", "-o", "json", *flags, *TRAIN)
    spec = json.loads(done.stdout)["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] == 86400
    assert f"label {QUEUE}" in done.stderr


def test_c14_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    spec = {
        "suspend": True,
        "runtimeEnvYAML": "- emoji",
        "entrypointResources": "TPU",
        "entrypoint": None,
    }
    rayjob = yaml.safe_dump(merge(BASE, {"spec": spec}))
    done = submit(tmp_path, "-f", "-", "--label", "team=a b", stdin=rayjob)
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        "--label team",
        "spec.suspend",
        "spec.runtimeEnvYAML",
        "spec.entrypointResources",
        "the command is missing",
    ]


def test_the_help_lists_its_options_by_section() -> None:
    with click.Context(command, info_name="raysweep submit") as context:
        text = command.get_help(context)
    sections = re.findall(r"^(\w[^\n]*):$", text, re.MULTILINE)
    assert sections == [
        "Options",
        "Job",
        "RayJob and RayCluster",
        "Cleanup",
        "Working directory and runtime environment",
        "Waiting and output",
        "Connection",
        "Ray head",
    ]
