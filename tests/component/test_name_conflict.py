"""The command that a name conflict proposes, and generated names."""

import sys

import click
import pytest

from raysweep.cli.submit.name_conflict import replace_command
from raysweep.cli.submit.request import identified
from raysweep.core.validation.metadata import LONGEST_NAME
from raysweep.submission.manifest import Manifest


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        pytest.param(
            ["--headers", '{"Cookie": "S3CRET"}'], "--headers ...", id="a word of its own"
        ),
        pytest.param(
            ["--runtime-env-json={'env_vars': {'K': 'S3CRET'}}"],
            "--runtime-env-json=...",
            id="joined",
        ),
        pytest.param(["--name", "train"], "--name train", id="no secret"),
    ],
)
def test_the_command_is_shown_without_what_may_be_secret(
    monkeypatch: pytest.MonkeyPatch, words: list[str], shown: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["raysweep", "submit", *words, "--", "true"])
    with click.Context(click.Command("raysweep"), info_name="raysweep"):
        assert replace_command() == f"raysweep submit --replace-finished {shown} -- true"


def test_a_generated_name_is_one_that_kuberay_takes() -> None:
    manifest = Manifest({"metadata": {"name": "a" * LONGEST_NAME}})
    name = identified(manifest, generate_name=True).body["metadata"]["name"]
    assert (len(name), name[-6]) == (LONGEST_NAME, "-")
