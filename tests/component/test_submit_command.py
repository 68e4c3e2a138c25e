"""`raysweep submit` as a person calls it, without a cluster: what it would create, and what it refuses."""

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml

from refused_specs import BASE, merged
from tests.component.test_cli import CLEAN

COMMAND = ("--", "python", "train.py")
QUEUE = "kueue.x-k8s.io/queue-name"


def submit(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raysweep", "submit", "--dry-run=client", "-o", "json", *words]
    return subprocess.run(command, input=stdin, env=CLEAN, capture_output=True, text=True, check=False, timeout=150)


def made(*words: str) -> Any:
    done = submit("--name", "train", *words, *COMMAND)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("flags", "written"),
    [
        pytest.param((), "1h", id="the waits that are built in"),
        pytest.param(("--head-timeout", "3h", "--upload-timeout", "30m"), "3h42m", id="C5 as it was reported"),
        pytest.param(("--submit-timeout", "2h"), "4h25m", id="taking and confirming the job"),
        pytest.param(("--head-timeout", "3h", "--ttl-unsubmitted", "5h"), "5h", id="a longer one"),
        pytest.param(("--head-timeout", "3h", "--ttl-unsubmitted", "1m"), "3h17m", id="a shorter one"),
        pytest.param(("--ttl-unsubmitted", "3s"), "3s", id="a short one alone is what was asked for"),
    ],
)
def test_c5_what_a_killed_submit_leaves_stays_as_long_as_it_could_wait(flags: tuple[str, ...], written: str) -> None:
    annotations = made(*flags)["metadata"]["annotations"]
    assert annotations["raysweep.io/ttl-unsubmitted"] == written


@pytest.mark.parametrize(
    ("flags", "seconds"), [pytest.param((), None, id="no TTL"), pytest.param(("--ttl-failed", "1d"), 86400, id="C17")]
)
def test_c17_the_label_of_a_queue_sets_the_shutdown_and_says_so(flags: tuple[str, ...], seconds: int | None) -> None:
    done = submit("--name", "train", "--label", f"{QUEUE}=lq", *flags, *COMMAND)
    spec = json.loads(done.stdout)["spec"]
    assert (spec["shutdownAfterJobFinishes"], spec.get("ttlSecondsAfterFinished")) == (True, seconds)
    assert (
        f"shutdownAfterJobFinishes is set to true: Kueue requires it of every RayJob in a queue (label {QUEUE}=lq)" in done.stderr
    )


def test_c14_everything_that_is_wrong_is_told_at_once() -> None:
    patch = {"spec": {"suspend": True, "runtimeEnvYAML": "- emoji", "entrypointResources": "TPU", "entrypoint": None}}
    done = submit("-f", "-", "--label", "team=a b", stdin=yaml.safe_dump(merged(BASE, patch)))
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        "--label team",
        "spec.suspend",
        "spec.runtimeEnvYAML",
        "spec.entrypointResources",
        "there is no command to run; write it after --, as",
    ]
