"""`raysweep submit` as a person calls it, without a cluster: what it would create, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from refused_specs import BASE, merge
from tests.component.test_cli import CLEAN
from tests.component.test_yaml_text import BOMBS

RAYJOB = """\
apiVersion: ray.io/v1
kind: RayJob
metadata: {name: from-file}
spec:
  entrypoint: python /home/ray/samples/sample_code.py
  runtimeEnvYAML: |
    working_dir: /home/ray/samples
    env_vars: {COUNTER: %s}
  rayClusterSpec: {headGroupSpec: {rayStartParams: {}, template: {spec: {containers: [{name: ray-head, image: ray}]}}}}
"""
TRAIN = ("--", "python", "train.py")


def typed(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raysweep", "submit", "--dry-run=client", *words]
    return subprocess.run(
        command, env=CLEAN, cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


def file(folder: Path, text: str) -> str:
    (folder / "file.yaml").write_text(text)
    return "file.yaml"


def test_c15_numbers_and_a_typo_are_refused_with_what_to_write(tmp_path: Path) -> None:
    numbers = file(tmp_path, "env_vars:\n  EPOCHS: 10\n  DEBUG: true\npypi: [emoji]\n")
    done = typed(tmp_path, "--name", "x", "--runtime-env", numbers, *TRAIN)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        'raysweep: --runtime-env file.yaml: env_vars.EPOCHS: 10 is a number, but Ray accepts only text: write EPOCHS: "10"',
        'raysweep: --runtime-env file.yaml: env_vars.DEBUG: true is a boolean, but Ray accepts only text: write DEBUG: "true"',
        "raysweep: --runtime-env file.yaml: pypi: unknown key: did you mean pip? "
        "(if the cluster's Ray has a plugin of this name, add --runtime-env-plugin 'pypi')",
    ]


def test_c15_a_key_of_a_plugin_is_taken_on_demand(tmp_path: Path) -> None:
    env = file(tmp_path, "secrets: {from: vault}\n")
    done = typed(
        tmp_path, "--name", "x", "--runtime-env", env, "--runtime-env-plugin", "secrets", *TRAIN
    )
    assert done.returncode == 0, done.stderr


def test_c16_what_is_left_out_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("")
    (tmp_path / ".#train.py").symlink_to("user@host.1")
    os.mkfifo(tmp_path / "pipe")
    done = typed(tmp_path, "--name", "x", "--working-dir", ".", *TRAIN)
    assert done.returncode == 0, done.stderr
    (note,) = done.stderr.splitlines()
    assert note.endswith("(2): '.#train.py' (dangling link), 'pipe' (a fifo)")


def test_c16_everything_else_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a\\b").write_text("")
    (tmp_path / "c:d").write_text("")
    os.mkfifo(tmp_path / "pipe")
    done = typed(tmp_path, "--name", "x", "--working-dir", ".", *TRAIN)
    assert done.returncode == 2
    assert ["a\\b" in done.stderr.splitlines()[0], "c:d" in done.stderr.splitlines()[1]] == [
        True,
        True,
    ]


def test_c26_a_path_of_the_image_stays_as_it_is(tmp_path: Path) -> None:
    text = RAYJOB % '"1"'
    done = typed(tmp_path, "-f", file(tmp_path, text))
    assert done.returncode == 0, done.stderr
    assert (
        yaml.safe_load(done.stdout)["spec"]["runtimeEnvYAML"]
        == yaml.safe_load(text)["spec"]["runtimeEnvYAML"]
    )
    assert "'/home/ray/samples' of spec.runtimeEnvYAML is a path inside the image" in done.stderr


def test_c26_an_error_names_no_flag_that_nobody_gave(tmp_path: Path) -> None:
    done = typed(tmp_path, "-f", file(tmp_path, RAYJOB % "1"))
    said = 'raysweep: spec.runtimeEnvYAML: env_vars.COUNTER: 1 is a number, but Ray accepts only text: write COUNTER: "1"'
    assert (done.returncode, done.stderr.splitlines()) == (2, [said])
    env = '{"working_dir": "/nowhere/at/all"}'
    done = typed(tmp_path, "--name", "x", "--runtime-env-json", env, *TRAIN)
    said = "raysweep: --runtime-env-json: working_dir: '/nowhere/at/all' is not a directory, a .zip file or a URI"
    assert (done.returncode, done.stderr.splitlines()) == (2, [said])


def test_c27_a_variable_is_left_to_the_head_and_blanks_stay(tmp_path: Path) -> None:
    done = typed(tmp_path, "--name", "x", "--", "python", "train.py", "--out", "$DATA_DIR/x", "a b")
    assert done.returncode == 0, done.stderr
    assert (
        yaml.safe_load(done.stdout)["spec"]["entrypoint"]
        == "python train.py --out \"$DATA_DIR/x\" 'a b'"
    )


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("flag", ["-f", "--runtime-env"])
def test_h26_a_bomb_in_a_file_is_refused(text: str, flag: str, tmp_path: Path) -> None:
    done = typed(
        tmp_path, *(() if flag == "-f" else ("--name", "x")), flag, file(tmp_path, text), *TRAIN
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "nested too deeply" in done.stderr or "nodes, aliases included" in done.stderr


COMMAND = ("--", "python", "train.py")
QUEUE = "kueue.x-k8s.io/queue-name"


def submit(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raysweep", "submit", "--dry-run=client", "-o", "json", *words]
    return subprocess.run(
        command, input=stdin, env=CLEAN, capture_output=True, text=True, check=False, timeout=150
    )


def made(*words: str) -> Any:
    done = submit("--name", "train", *words, *COMMAND)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("flags", "written"),
    [
        pytest.param((), "1h", id="the waits that are built in"),
        pytest.param(
            ("--head-timeout", "3h", "--upload-timeout", "30m"), "3h42m", id="C5 as it was reported"
        ),
        pytest.param(("--submit-timeout", "2h"), "4h25m", id="taking and confirming the job"),
        pytest.param(("--head-timeout", "3h", "--ttl-unsubmitted", "5h"), "5h", id="a longer one"),
        pytest.param(
            ("--head-timeout", "3h", "--ttl-unsubmitted", "1m"), "3h17m", id="a shorter one"
        ),
        pytest.param(
            ("--ttl-unsubmitted", "3s"), "27m", id="a short one beside the waits that are built in"
        ),
    ],
)
def test_c5_what_a_killed_submit_leaves_stays_as_long_as_it_could_wait(
    flags: tuple[str, ...], written: str
) -> None:
    annotations = made(*flags)["metadata"]["annotations"]
    assert annotations["raysweep.io/ttl-unsubmitted"] == written


@pytest.mark.parametrize(
    ("flags", "seconds"),
    [pytest.param((), None, id="no TTL"), pytest.param(("--ttl-failed", "1d"), 86400, id="C17")],
)
def test_c17_the_label_of_a_queue_sets_the_shutdown_and_says_so(
    flags: tuple[str, ...], seconds: int | None
) -> None:
    done = submit("--name", "train", "--label", f"{QUEUE}=lq", *flags, *COMMAND)
    spec = json.loads(done.stdout)["spec"]
    assert (spec["shutdownAfterJobFinishes"], spec.get("ttlSecondsAfterFinished")) == (
        True,
        seconds,
    )
    assert (
        f"shutdownAfterJobFinishes is set to true: Kueue requires it of every RayJob in a queue (label {QUEUE}=lq)"
        in done.stderr
    )


def test_c14_everything_that_is_wrong_is_told_at_once() -> None:
    patch = {
        "spec": {
            "suspend": True,
            "runtimeEnvYAML": "- emoji",
            "entrypointResources": "TPU",
            "entrypoint": None,
        }
    }
    done = submit("-f", "-", "--label", "team=a b", stdin=yaml.safe_dump(merge(BASE, patch)))
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        "--label team",
        "spec.suspend",
        "spec.runtimeEnvYAML",
        "spec.entrypointResources",
        "the command is missing",
    ]
