"""The command line as a whole: help, completion, wrong usage, and errors in one sentence."""

import asyncio
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from aiohttp import web

from raysweep.__main__ import COMMANDS, main
from tests.support.builders import rayjob_json
from tests.support.cli import ENVIRONMENT, run_raysweep, write_kubeconfig
from tests.support.scripted_api import (
    Answer,
    json_response,
    object_not_found,
    serving,
    status_response,
)

ROOT = Path(__file__).parents[2]


def test_help_lists_the_commands_and_first_steps() -> None:
    done = run_raysweep("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert set(COMMANDS) <= set(done.stdout.split())
    assert "kubectl annotate namespace team-a raysweep.io/ttl=1d" in done.stdout


HELP_CODE = """
import contextlib, io, sys
from raysweep.__main__ import COMMANDS, main
helps = {}
for words in ([], ["--version"], *([name] for name in COMMANDS)):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main.main([*words, "--help"], standalone_mode=False, prog_name="raysweep")
    helps[" ".join(words)] = printed.getvalue()
import json
print(json.dumps([helps, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def helps_and_modules() -> tuple[dict[str, str], list[str]]:
    """The help of every command, and the modules that are loaded for all of them."""
    command = [sys.executable, "-c", HELP_CODE]
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=150
    )
    helps, modules = json.loads(done.stdout)
    return helps, modules


def test_help_loads_neither_kopf_nor_a_client(
    helps_and_modules: tuple[dict[str, str], list[str]],
) -> None:
    _, modules = helps_and_modules
    assert {"kopf", "aiohttp", "kubernetes_asyncio", "rich"} & set(modules) == set()


def test_the_help_of_every_command_has_examples(
    helps_and_modules: tuple[dict[str, str], list[str]],
) -> None:
    helps, _ = helps_and_modules
    for name in COMMANDS:
        assert "Examples:\n" in helps[name], name
        assert re.search(rf"^ +raysweep {name}", helps[name], re.MULTILINE), name


def test_the_help_of_connecting_commands_lists_connection_flags_apart(
    helps_and_modules: tuple[dict[str, str], list[str]],
) -> None:
    helps, _ = helps_and_modules
    for name in ("plan", "why", "keep", "sweep"):
        own, _, connection = helps[name].partition("\nConnection:\n")
        assert "--kubeconfig FILE" in connection, name
        assert "--namespace NAME" in connection, name
        assert "--output" in own, name


def test_exit_codes_are_in_the_help(
    helps_and_modules: tuple[dict[str, str], list[str]],
) -> None:
    helps, _ = helps_and_modules
    codes = {
        "plan": "0 1 2 130",
        "why": "0 1 2 3 130",
        "completion": "0 2",
        "keep": "0 1 2 3",
        "sweep": "0 1 2 3 130",
        "lint": "0 1 2 3",
    }
    for name, expected in codes.items():
        lines = helps[name].partition("Exit codes:\n")[2]
        listed = re.findall(r"(?:^|  )(\d+) {2,4}\w", lines, re.MULTILINE)
        assert sorted(listed, key=int) == expected.split(), name


def test_invalid_settings_are_all_named_at_once() -> None:
    done = run_raysweep(
        "run", "--deletion-burst", "many", "--listen", "nowhere", RAYSWEEP_RELIST_EVERY="soon"
    )
    assert done.returncode == 2
    assert [line.split(": ")[:2] for line in done.stderr.splitlines()] == [
        ["raysweep", "--deletion-burst"],
        ["raysweep", "RAYSWEEP_RELIST_EVERY"],
        ["raysweep", "--listen"],
    ]


WRONG_USAGE = """
sweep-everything
run --no-such-flag
run extra
plan extra
plan -o xml
plan -n ../kube-system
plan -n UPPER
plan --head-access telepathy
plan --head-proxy socks5://somewhere
plan --watch -o name
why
why one two
why ../../secrets/token
why x?watch=1
why train -n 'a b'
why train -A
why train -o wide
keep train
keep train never
keep train 0
keep train yesterday
keep train 2020-01-01T00:00:00Z
keep train 3d --clear
keep train --clear --reason why
keep ../../secrets/token 3d
keep train 3d -A
sweep --yes
sweep train ../other --yes
sweep train --all-finished --yes
sweep train -l team=vision --yes
sweep train -A --yes
sweep -A --yes
sweep -A -n team-a --all-finished --yes
sweep -l '' --yes
sweep -l ' ' --all-finished --yes
sweep train
completion
completion cmd
lint
lint jobs.yaml --live
lint jobs.yaml -A
lint jobs.yaml -n team-a
lint jobs.yaml --kubeconfig config
lint --live -o table
"""


def test_wrong_usage_is_an_error_of_usage() -> None:
    for line in WRONG_USAGE.strip().splitlines():
        with pytest.raises(click.UsageError) as error:
            main.main(shlex.split(line), standalone_mode=False, prog_name="raysweep")
        assert error.value.exit_code == 2, line


def test_wrong_usage_ends_the_program_with_code_2() -> None:
    assert run_raysweep("plan", "extra").returncode == 2
    assert run_raysweep("keep", "train", "0").returncode == 2


def test_a_missing_kubeconfig_of_run_is_named_with_a_remedy() -> None:
    done = run_raysweep(
        "run", "--kubeconfig", "/nowhere/config", "--listen", "127.0.0.1:0", "--log-format", "text"
    )
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "kubeconfig /nowhere/config" in line
    assert "--kubeconfig" in line


def test_the_help_of_the_kubectl_plugin_says_kubectl(tmp_path: Path) -> None:
    plugin = tmp_path / "kubectl-raysweep"
    plugin.write_text(f"#!{sys.executable}\nfrom raysweep.__main__ import main\nmain()\n")
    plugin.chmod(0o755)
    for words in (["--help"], ["plan", "--help"]):
        done = subprocess.run(
            [plugin, *words],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=True,
            timeout=150,
        )
        assert done.stdout.startswith("Usage: kubectl raysweep ")
        assert not re.search(r"^ +raysweep ", done.stdout, re.MULTILINE)


def test_both_program_names_are_installed() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == dict.fromkeys(("raysweep", "kubectl-raysweep"), "raysweep.__main__:main")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_completes(shell: str) -> None:
    script = run_raysweep("completion", shell).stdout
    assert "_RAYSWEEP_COMPLETE" in script
    variables = {
        "COMP_WORDS": "raysweep pl",
        "COMP_CWORD": "1",
        "_RAYSWEEP_COMPLETE": f"{shell}_complete",
    }
    if shell == "fish":
        variables |= {"COMP_WORDS": "raysweep", "COMP_CWORD": "pl"}
    assert "plan" in run_raysweep(**variables).stdout


FORBIDDEN = status_response(
    403, 'rayjobs.ray.io is forbidden: User "ann" cannot list resource "rayjobs"'
)


async def _no_kuberay(request: web.BaseRequest) -> web.StreamResponse:
    if request.path == "/apis":
        return json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
    return await object_not_found(request)


INVALID_SETTINGS = json_response({"data": {"RAYSWEEP_KUBERAY_GRACE": "soon"}})
CONNECTING = [
    ["plan"],
    ["why", "train"],
    ["keep", "train", "3d"],
    ["sweep", "train", "--yes"],
    ["sweep", "train", "--dry-run"],
    ["lint", "--live"],
]
ERRORS: dict[str, tuple[list[Answer], str]] = {
    "no KubeRay": ([_no_kuberay], "KubeRay's CRDs are not installed there"),
    "an internal error": ([status_response(500, "etcd is on fire")], "500 etcd is on fire"),
    "not Kubernetes": ([json_response("<html></html>")], "the response is not a JSON object"),
    "closed connections": ([ConnectionResetError()], "/configmaps/raysweep"),
    "invalid settings": ([INVALID_SETTINGS], "RAYSWEEP_KUBERAY_GRACE"),
    "an odd list": ([json_response({"data": []})], "cannot parse the response"),
    "an expired token": ([object_not_found, status_response(401, "Unauthorized")], "401 Unauth"),
    "hostile text": ([status_response(403, "\x1b[2J\u202eno\r\nroot")], "403  [2J no  root"),
}


async def _stderr_of_failure(folder: Path, answers: list[Answer], words: list[str]) -> list[str]:
    """The lines on stderr of a command that ends with code 1 and prints no answer."""
    async with serving(*answers) as script:
        config = write_kubeconfig(folder / "config", script.url)
        done = await asyncio.to_thread(run_raysweep, *words, "--kubeconfig", config)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


@pytest.mark.parametrize("error", ERRORS)
async def test_an_error_is_one_sentence_and_exit_code_1(tmp_path: Path, error: str) -> None:
    answers, sentence = ERRORS[error]
    lines = await _stderr_of_failure(tmp_path, answers, ["plan"])
    assert lines[-1].startswith("raysweep: ")
    assert sentence in lines[-1]


@pytest.mark.parametrize(
    "words", [words for words in CONNECTING if words[0] != "lint"], ids=" ".join
)
async def test_missing_rights_are_named(tmp_path: Path, words: list[str]) -> None:
    lines = await _stderr_of_failure(tmp_path, [FORBIDDEN], words)
    assert lines[-1].startswith("raysweep: ")
    assert 'cannot list resource "rayjobs"' in lines[-1]


@pytest.mark.parametrize("words", CONNECTING, ids=" ".join)
def test_an_unreachable_address_is_named(tmp_path: Path, words: list[str]) -> None:
    done = run_raysweep(
        *words, "--kubeconfig", write_kubeconfig(tmp_path / "config", "http://127.0.0.1:9")
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "127.0.0.1:9" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("words", CONNECTING, ids=" ".join)
def test_a_missing_kubeconfig_is_named_with_a_remedy(words: list[str]) -> None:
    done = run_raysweep(*words, "--kubeconfig", "/nowhere/config")
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert "kubeconfig /nowhere/config" in last
    assert "--kubeconfig" in last


NO_CONFIG_MAP = object_not_found
EMPTY_LIST = json_response({"metadata": {"resourceVersion": "1"}, "items": []})


def _rayjob(**metadata: str) -> web.Response:
    return json_response(rayjob_json(metadata=dict(metadata)))


DELETING = "2026-11-22T18:00:00Z"
FAILED_HOLDS: dict[str, tuple[list[Answer], str]] = {
    "absent": ([object_not_found], "RayJob team-a/train does not exist"),
    "being deleted": ([_rayjob(deletionTimestamp=DELETING)], f"is being deleted since {DELETING}"),
    "unreadable": ([status_response(403, "cannot get rayjobs")], "cannot get rayjobs"),
    "no rights": ([_rayjob(), status_response(403, "cannot patch")], "cannot patch"),
    "deleted meanwhile": ([_rayjob(), object_not_found], "was deleted just now"),
    "replaced meanwhile": ([_rayjob(), status_response(409, "UID")], "was deleted just now"),
    "deletion began meanwhile": (
        [_rayjob(), _rayjob(deletionTimestamp=DELETING)],
        "and cannot be kept",
    ),
    "deleted afterwards": (
        [_rayjob(), _rayjob(), EMPTY_LIST],
        "RayJob team-a/train was deleted just now",
    ),
}


@pytest.mark.parametrize("failure", FAILED_HOLDS)
async def test_a_failed_hold_is_one_sentence_and_exit_code_1(tmp_path: Path, failure: str) -> None:
    answers, sentence = FAILED_HOLDS[failure]
    answers = [NO_CONFIG_MAP, *answers]
    lines = await _stderr_of_failure(tmp_path, answers, ["keep", "train", "3d"])
    assert sentence in lines[-1]


async def test_keep_writes_two_annotations_even_if_nothing_can_be_listed(
    tmp_path: Path,
) -> None:
    async with serving(
        NO_CONFIG_MAP, _rayjob(), _rayjob(), status_response(403, "cannot list")
    ) as script:
        config = write_kubeconfig(tmp_path / "config", script.url)
        words = (
            "keep",
            "train",
            "2199-01-01T00:00:00Z",
            "--reason",
            "to look at it",
            "--kubeconfig",
            config,
        )
        done = await asyncio.to_thread(run_raysweep, *words)
        patch = next(request for request in script.requests if request.method == "PATCH")
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0)
    assert "Not everything could be read: " in done.stdout
    wishes = {
        "raysweep.io/keep-until": "2199-01-01T00:00:00Z",
        "raysweep.io/keep-reason": "to look at it",
    }
    assert patch.body == {"metadata": {"uid": "uid-train", "annotations": wishes}}
    assert patch.path == "/apis/ray.io/v1/namespaces/team-a/rayjobs/train"
    assert patch.query == {"fieldManager": "kubectl-raysweep"}
    assert patch.headers["Content-Type"] == "application/merge-patch+json"


async def test_clear_removes_both_annotations(tmp_path: Path) -> None:
    async with serving(
        NO_CONFIG_MAP, _rayjob(), _rayjob(), status_response(403, "cannot list")
    ) as script:
        config = write_kubeconfig(tmp_path / "config", script.url)
        done = await asyncio.to_thread(
            run_raysweep, "keep", "train", "--clear", "--kubeconfig", config
        )
        patch = next(request for request in script.requests if request.method == "PATCH")
    assert done.returncode == 0
    nothing = {"raysweep.io/keep-until": None, "raysweep.io/keep-reason": None}
    assert patch.body == {"metadata": {"uid": "uid-train", "annotations": nothing}}


async def test_clear_succeeds_even_if_the_rayjob_is_deleted_at_once(tmp_path: Path) -> None:
    async with serving(NO_CONFIG_MAP, _rayjob(), _rayjob(), EMPTY_LIST) as script:
        config = write_kubeconfig(tmp_path / "config", script.url)
        words = ("keep", "train", "--clear", "--kubeconfig", config)
        done = await asyncio.to_thread(run_raysweep, *words)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert "RayJob team-a/train has no hold of its own anymore" in done.stdout
    assert "the RayJob was deleted just now" in done.stdout
