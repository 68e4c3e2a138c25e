"""The program's face: help, settings that are wrong, and how little is loaded for it."""

import os
import subprocess
import sys

import pytest

from raysweep.settings import Settings, flag, variable

CLEAN = {key: value for key, value in os.environ.items() if not key.startswith("RAYSWEEP_")} | {"COLUMNS": "200"}


def _raysweep(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raysweep", *words]
    return subprocess.run(command, env=CLEAN | environment, capture_output=True, text=True, check=False, timeout=50)


def test_help_names_the_commands_and_how_to_begin() -> None:
    done = _raysweep("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "run" in done.stdout
    assert "kubectl annotate namespace team-a raysweep.io/ttl=1d" in done.stdout


def test_help_of_run_lists_every_setting_with_its_flag_its_variable_and_its_meaning() -> None:
    shown = "".join(_raysweep("run", "--help").stdout.split())
    for name, field in Settings.model_fields.items():
        told = f"{flag(name)} VALUE {field.description}. Environment: {variable(name)}."
        assert "".join(told.split()) in shown  # wherever the lines break


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"]], ids=" ".join)
def test_for_help_neither_kopf_nor_a_client_is_loaded(words: list[str]) -> None:
    code = (
        "import sys; from raysweep.__main__ import main; main.main(sys.argv[1:], standalone_mode=False);"
        "print(sorted({'kopf', 'aiohttp', 'kubernetes_asyncio'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], env=CLEAN, capture_output=True, text=True, check=True, timeout=50)
    assert done.stderr.strip() == "[]"


def test_wrong_settings_end_it_with_2_and_all_are_named_at_once() -> None:
    done = _raysweep("run", "--deletion-burst", "many", "--listen", "nowhere", RAYSWEEP_RELIST_EVERY="soon")
    assert done.returncode == 2
    assert [line.split(": ")[:2] for line in done.stderr.splitlines()] == [
        ["raysweep", "--deletion-burst"],
        ["raysweep", "RAYSWEEP_RELIST_EVERY"],
        ["raysweep", "--listen"],
    ]


@pytest.mark.parametrize("words", [["sweep-everything"], ["run", "--no-such-flag"], ["run", "extra"]], ids=" ".join)
def test_words_that_it_does_not_know_end_it_with_2(words: list[str]) -> None:
    assert _raysweep(*words).returncode == 2


def test_missing_credentials_end_it_with_1_and_a_last_line_that_names_file_and_remedy() -> None:
    done = _raysweep("run", "--kubeconfig", "/nowhere/config", "--listen", "127.0.0.1:0", "--log-format", "text")
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "kubeconfig /nowhere/config" in line
    assert "--kubeconfig" in line
