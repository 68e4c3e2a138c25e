"""The command that a name conflict proposes, and generated names."""

import sys

import click
import pytest

from raysweep.cli.submit.name_conflict import replace_command
from raysweep.cli.submit.request import identified
from raysweep.core.validation.metadata import LONGEST_NAME
from raysweep.submission.manifest import Manifest


def test_the_proposed_command_shows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for words, shown in (
        (["--headers", '{"Cookie": "S3CRET"}'], "--headers ..."),
        (["--runtime-env-json={'env_vars': {'K': 'S3CRET'}}"], "--runtime-env-json=..."),
        (["--name", "train"], "--name train"),
    ):
        monkeypatch.setattr(sys, "argv", ["raysweep", "submit", *words, "--", "true"])
        with click.Context(click.Command("raysweep"), info_name="raysweep"):
            assert replace_command() == f"raysweep submit --replace-finished {shown} -- true"


def test_a_generated_name_is_short_enough_for_kuberay() -> None:
    manifest = Manifest({"metadata": {"name": "a" * LONGEST_NAME}})
    name = identified(manifest, generate_name=True).body["metadata"]["name"]
    assert (len(name), name[-6]) == (LONGEST_NAME, "-")
