"""The program's face: help, completion, what is wrong in one sentence, and how little is loaded for it."""

import asyncio
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from aiohttp import web

from raysweep.__main__ import COMMANDS
from tests.support.builders import rayjob_json
from tests.support.cli import ENVIRONMENT, run_raysweep, status_response, write_kubeconfig
from tests.support.scripted_api import Answer, json_response, object_not_found, serving

ROOT = Path(__file__).parents[2]


def test_help_names_the_commands_and_how_to_begin() -> None:
    done = run_raysweep("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "run" in done.stdout
    assert "kubectl annotate namespace team-a raysweep.io/ttl=1d" in done.stdout


HELPS = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]


@pytest.mark.parametrize("words", HELPS, ids=" ".join)
def test_for_help_neither_kopf_nor_a_client_is_loaded(words: list[str]) -> None:
    code = (
        "import sys; from raysweep.__main__ import main; main.main(sys.argv[1:], standalone_mode=False);"
        "print(sorted({'kopf', 'aiohttp', 'kubernetes_asyncio', 'rich'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
        timeout=150,
    )
    assert done.stderr.strip() == "[]"


def test_wrong_settings_end_it_with_2_and_all_are_named_at_once() -> None:
    done = run_raysweep(
        "run", "--deletion-burst", "many", "--listen", "nowhere", RAYSWEEP_RELIST_EVERY="soon"
    )
    assert done.returncode == 2
    assert [line.split(": ")[:2] for line in done.stderr.splitlines()] == [
        ["raysweep", "--deletion-burst"],
        ["raysweep", "RAYSWEEP_RELIST_EVERY"],
        ["raysweep", "--listen"],
    ]


WRONG_WORDS = [
    ["sweep-everything"],
    ["run", "--no-such-flag"],
    ["run", "extra"],
    ["plan", "extra"],
    ["plan", "-o", "xml"],
    ["plan", "-n", "../kube-system"],
    ["plan", "-n", "UPPER"],
    ["plan", "--head-access", "telepathy"],
    ["plan", "--head-proxy", "socks5://somewhere"],
    ["why"],
    ["why", "one", "two"],
    ["why", "../../secrets/token"],
    ["why", "x?watch=1"],
    ["why", "train", "-n", "a b"],
    ["why", "train", "-A"],
    ["why", "train", "-o", "wide"],
    ["keep", "train"],
    ["keep", "train", "never"],
    ["keep", "train", "0"],
    ["keep", "train", "yesterday"],
    ["keep", "train", "2020-01-01T00:00:00Z"],
    ["keep", "train", "3d", "--clear"],
    ["keep", "train", "--clear", "--reason", "why"],
    ["keep", "../../secrets/token", "3d"],
    ["keep", "train", "3d", "-A"],
    ["sweep", "--yes"],
    ["sweep", "train", "../other", "--yes"],
    ["sweep", "train", "--all-finished", "--yes"],
    ["sweep", "train", "-l", "team=vision", "--yes"],
    ["sweep", "train", "-A", "--yes"],
    ["sweep", "-A", "--yes"],
    ["sweep", "-A", "-n", "team-a", "--all-finished", "--yes"],
    ["sweep", "-l", "", "--yes"],
    ["sweep", "-l", " ", "--all-finished", "--yes"],
    ["sweep", "train"],
    ["completion"],
    ["completion", "cmd"],
    ["lint"],
    ["lint", "jobs.yaml", "--live"],
    ["lint", "jobs.yaml", "-A"],
    ["lint", "jobs.yaml", "-n", "team-a"],
    ["lint", "jobs.yaml", "--kubeconfig", "config"],
    ["lint", "--live", "-o", "table"],
]


@pytest.mark.parametrize("words", WRONG_WORDS, ids=" ".join)
def test_words_that_it_does_not_know_end_it_with_2(words: list[str]) -> None:
    assert run_raysweep(*words).returncode == 2


def test_missing_credentials_end_it_with_1_and_a_last_line_that_names_file_and_remedy() -> None:
    done = run_raysweep(
        "run", "--kubeconfig", "/nowhere/config", "--listen", "127.0.0.1:0", "--log-format", "text"
    )
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "kubeconfig /nowhere/config" in line
    assert "--kubeconfig" in line


def test_as_a_kubectl_plugin_help_says_kubectl(tmp_path: Path) -> None:
    plugin = tmp_path / "kubectl-raysweep"
    plugin.write_text(f"#!{sys.executable}\nfrom raysweep.__main__ import main\nmain()\n")
    plugin.chmod(0o755)
    for words in (
        ["--help"],
        ["plan", "--help"],
        ["why", "--help"],
        ["keep", "--help"],
        ["sweep", "--help"],
    ):
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


def test_both_names_are_installed() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == dict.fromkeys(("raysweep", "kubectl-raysweep"), "raysweep.__main__:main")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_help_has_examples(name: str) -> None:
    assert "Examples:\n" in run_raysweep(name, "--help").stdout
    assert re.search(rf"^ +raysweep {name}", run_raysweep(name, "--help").stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("plan", "0 1 2 130"),
        ("why", "0 1 2 3 130"),
        ("completion", "0 2"),
        ("keep", "0 1 2 3"),
        ("sweep", "0 1 2 3 130"),
        ("lint", "0 1 2 3"),
    ],
)
def test_exit_codes_are_in_the_help(name: str, codes: str) -> None:
    told = run_raysweep(name, "--help").stdout.partition("Exit codes:\n")[2]
    assert (
        sorted(re.findall(r"(?:^|  )(\d+) {2,4}\w", told, re.MULTILINE), key=int) == codes.split()
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_and_completes(shell: str) -> None:
    script = run_raysweep("completion", shell).stdout
    assert "_RAYSWEEP_COMPLETE" in script
    asked = {
        "COMP_WORDS": "raysweep pl",
        "COMP_CWORD": "1",
        "_RAYSWEEP_COMPLETE": f"{shell}_complete",
    }
    if shell == "fish":
        asked |= {"COMP_WORDS": "raysweep", "COMP_CWORD": "pl"}
    assert "plan" in run_raysweep(**asked).stdout


FORBIDDEN = status_response(
    403, 'rayjobs.ray.io is forbidden: User "ann" cannot list resource "rayjobs"'
)


async def _no_kuberay(request: web.BaseRequest) -> web.StreamResponse:
    if request.path == "/apis":
        return json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
    return await object_not_found(request)


WRONG = {"data": {"RAYSWEEP_KUBERAY_GRACE": "soon"}}
COMMANDS_THAT_ASK = [
    ["plan"],
    ["why", "train"],
    ["keep", "train", "3d"],
    ["sweep", "train", "--yes"],
    ["sweep", "train", "--dry-run"],
    ["lint", "--live"],
]
LISTING = [words for words in COMMANDS_THAT_ASK if words[0] not in ("keep", "lint")]


@pytest.mark.parametrize("words", LISTING, ids=" ".join)
@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        pytest.param([FORBIDDEN], 'cannot list resource "rayjobs"', id="no rights"),
        pytest.param([_no_kuberay], "KubeRay's CRDs are not installed there", id="no KubeRay"),
        pytest.param(
            [status_response(500, "etcd is on fire")],
            "500 etcd is on fire",
            id="a server in trouble",
        ),
        pytest.param(
            [json_response("<html>hotel wifi</html>")],
            "the response is not a JSON object",
            id="not Kubernetes at all",
        ),
        pytest.param(
            [ConnectionResetError()], "/configmaps/raysweep", id="connections that are cut"
        ),
        pytest.param(
            [json_response(WRONG)],
            "RAYSWEEP_KUBERAY_GRACE",
            id="settings that the operator would refuse",
        ),
        pytest.param(
            [json_response({"data": []})],
            "cannot parse the response",
            id="a ConfigMap that is none",
        ),
        pytest.param(
            [object_not_found, status_response(401, "Unauthorized")],
            "401 Unauthorized",
            id="a token that has expired",
        ),
        pytest.param(
            [status_response(403, "\x1b[2J\u202eno\r\nroot")],
            "403  [2J no  root",
            id="hostile words",
        ),
    ],
)
async def test_what_stops_it_is_one_sentence_and_exit_code_1(
    tmp_path: Path, answers: list[Answer], sentence: str, words: list[str]
) -> None:
    async with serving(*answers) as script:
        config = write_kubeconfig(tmp_path / "config", script.url)
        done = await asyncio.to_thread(run_raysweep, *words, "--kubeconfig", config)
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert sentence in last
    assert last.startswith("raysweep: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", COMMANDS_THAT_ASK, ids=" ".join)
def test_an_address_where_nobody_listens_is_named(tmp_path: Path, words: list[str]) -> None:
    done = run_raysweep(
        *words, "--kubeconfig", write_kubeconfig(tmp_path / "config", "http://127.0.0.1:9")
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "127.0.0.1:9" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("words", COMMANDS_THAT_ASK, ids=" ".join)
def test_without_a_kubeconfig_file_and_remedy_are_named(words: list[str]) -> None:
    done = run_raysweep(*words, "--kubeconfig", "/nowhere/config")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].endswith("Name another with --kubeconfig.")
    assert "/nowhere/config" in done.stderr


NO_CONFIG_MAP = object_not_found


def _rayjob(**metadata: str) -> web.Response:
    return json_response(rayjob_json(metadata=dict(metadata)))


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        pytest.param([object_not_found], "there is no RayJob team-a/train", id="no such RayJob"),
        pytest.param(
            [_rayjob(deletionTimestamp="2026-11-22T18:00:00Z")], "is being deleted since 2026-11-22T18:00:00Z", id="being deleted"
        ),
        pytest.param([status_response(403, 'cannot get resource "rayjobs"')], 'cannot get resource "rayjobs"', id="it may not be read"),
        pytest.param(
            [_rayjob(), status_response(403, 'cannot patch resource "rayjobs"')], 'cannot patch resource "rayjobs"', id="no rights"
        ),
        pytest.param([_rayjob(), object_not_found], "was deleted just now", id="deleted in between"),
        pytest.param([_rayjob(), status_response(409, "the UID does not match")], "was deleted just now", id="replaced in between"),
        pytest.param(
            [_rayjob(), json_response({}), _rayjob(deletionTimestamp="2026-11-22T18:00:00Z")], "and cannot be kept",
            id="being deleted since",
        ),
        pytest.param([_rayjob(), json_response({}), object_not_found], "there is no RayJob team-a/train", id="gone since"),
    ],
)  # fmt: skip
async def test_what_cannot_be_kept_is_one_sentence_and_exit_code_1(
    tmp_path: Path, answers: list[Answer], sentence: str
) -> None:
    async with serving(NO_CONFIG_MAP, *answers) as script:
        config = write_kubeconfig(tmp_path / "config", script.url)
        done = await asyncio.to_thread(run_raysweep, "keep", "train", "3d", "--kubeconfig", config)
    assert (done.returncode, done.stdout) == (1, "")
    assert sentence in done.stderr.splitlines()[-1]


async def test_what_keep_writes_is_two_annotations_on_that_very_rayjob_and_it_is_kept_though_nothing_can_be_listed(
    tmp_path: Path,
) -> None:
    async with serving(
        NO_CONFIG_MAP, _rayjob(), json_response({}), _rayjob(), status_response(403, "cannot list")
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
        patch = next(asked for asked in script.requests if asked.method == "PATCH")
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


async def test_clear_takes_both_annotations_away(tmp_path: Path) -> None:
    async with serving(
        NO_CONFIG_MAP, _rayjob(), json_response({}), _rayjob(), status_response(403, "cannot list")
    ) as script:
        config = write_kubeconfig(tmp_path / "config", script.url)
        done = await asyncio.to_thread(
            run_raysweep, "keep", "train", "--clear", "--kubeconfig", config
        )
        patch = next(asked for asked in script.requests if asked.method == "PATCH")
    assert done.returncode == 0
    nothing = {"raysweep.io/keep-until": None, "raysweep.io/keep-reason": None}
    assert patch.body == {"metadata": {"uid": "uid-train", "annotations": nothing}}
