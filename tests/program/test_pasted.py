"""Printed commands run exactly the intended words in a shell (H22), whatever names contain."""

import asyncio
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from raysweep.cli.keep import handover_patch
from raysweep.clients.connection.overrides import Overrides
from raysweep.core.text import command_line, in_quotes
from tests.support.builders import Body, a_rayjob, raycluster_json, rayjob_json
from tests.support.cli import ENVIRONMENT, write_kubeconfig
from tests.support.hostile_cluster import HostileCluster, connected
from tests.support.scripted_api import json_response, object_not_found, serving

TOUCH = "touch${IFS}owned"
HOSTILE = [
    f"$({TOUCH})",
    f"`{TOUCH}`",
    f"';{TOUCH};'",
    f'";{TOUCH};"',
    f"x&{TOUCH}&",
    f"x|{TOUCH}",
    f"\\';{TOUCH};'",
    "!!",
    "~",
    "*",
]


@dataclass(frozen=True)
class Desk:
    """A folder with programs that record their arguments.

    An injected command leaves a file `owned` there.
    """

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> "Desk":
        for name in ("kubectl", "raysweep"):
            program = folder / name
            record = f"open({str(folder / 'called')!r}, 'a')"
            code = f"import json, sys; {record}.write(json.dumps(sys.argv[1:]) + chr(10))"
            program.write_text(f"#!{sys.executable}\n{code}\n")
            program.chmod(0o755)
        return cls(folder)

    def pastes(self, line: str, shell: str = "/bin/sh") -> list[list[str]]:
        """Runs the line in a shell. Returns the arguments of each recorded call."""
        path = f"{self.folder}:/usr/bin:/bin"
        subprocess.run(
            [shell, "-c", line],
            env={"PATH": path},
            cwd=self.folder,
            check=False,
            timeout=60,
            capture_output=True,
        )
        assert not (self.folder / "owned").exists(), line
        return [json.loads(call) for call in (self.folder / "called").read_text().splitlines()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    folder = tmp_path / "desk"
    folder.mkdir()
    return Desk.at(folder)


async def _run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raysweep", *words]
    return await asyncio.to_thread(
        subprocess.run,
        command,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )


def _in_namespace(namespace: str, config: Path) -> str:
    body = json.loads(config.read_text())
    body["contexts"][0]["context"]["namespace"] = namespace
    config.write_text(json.dumps(body))
    return str(config)


class Taken:
    """A cluster whose Ray head accepts a job, and gives it an ID of its own choice."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.made: Body = {}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path.endswith("/api/jobs/"):
            return (
                json_response({"submission_id": self.job_id})
                if request.method == "POST"
                else json_response([])
            )
        if path.endswith("/rayjobs") and request.method == "POST":
            body = json.loads(await request.read())
            waiting = {"jobDeploymentStatus": "Waiting", "jobStatus": "", "jobId": ""}
            self.made = rayjob_json(
                metadata=body["metadata"] | {"uid": "u", "resourceVersion": "1"}, status=waiting
            )
            return json_response(self.made)
        if path.endswith("/rayjobs/train") and self.made:
            return json_response(self.made)
        if path.endswith("/rayclusters/train-cluster"):
            return json_response(raycluster_json())
        return await object_not_found(request)


USABLE_IDS = [job_id for job_id in HOSTILE if "\\" not in job_id]
"""A submission ID with a backslash is not usable."""


@pytest.mark.parametrize("job_id", USABLE_IDS)
async def test_h22_the_commands_after_an_unconfirmed_submission(
    tmp_path: Path, desk: Desk, job_id: str
) -> None:
    async with serving(Taken(job_id).handle) as script:
        config = write_kubeconfig(tmp_path / "config", script.url)
        words = [
            "--name",
            "train",
            "--submission-id",
            "mine",
            "--submit-timeout",
            "10s",
            "--kubeconfig",
            config,
        ]
        done = await _run("submit", *words, "--", "true")
    assert done.returncode == 5, done.stderr
    # The commands may contain backticks, so the words around them separate them.
    commands = done.stderr.partition("To see the log, run `")[2].strip().removesuffix("`")
    log, _, commands = commands.partition("`. To record the submission ID, run `")
    patch, _, delete = commands.partition("`. To give the job up, run `")
    calls = desk.pastes("\n".join((log, patch, delete)))

    assert calls[0] == ["raysweep", "logs", "train", "-n", "team-a", "--kubeconfig", config]
    assert calls[1][:6] == ["patch", "rayjob", "train", "-n", "team-a", "--type"]
    assert json.loads(calls[1][calls[1].index("-p") + 1]) == {"spec": {"jobId": job_id}}
    assert calls[2] == ["delete", "rayjob", "train", "-n", "team-a", "--kubeconfig", config]


@pytest.mark.parametrize("namespace", HOSTILE)
async def test_h22_the_query_of_the_operators_log(
    tmp_path: Path, desk: Desk, namespace: str
) -> None:
    async def nothing(request: web.BaseRequest) -> web.StreamResponse:
        return (
            await object_not_found(request)
            if "configmaps" in request.path
            else json_response({"metadata": {}, "items": []})
        )

    async with serving(nothing) as script:
        config = _in_namespace(namespace, Path(write_kubeconfig(tmp_path / "config", script.url)))
        done = await _run("why", "train", "--kubeconfig", config)
    query = done.stdout.splitlines()[-1].strip()
    assert shlex.split(query)[-1] == f'"namespace": "{namespace}", "name": "train"'
    assert desk.pastes(query) == [
        ["-n", "raysweep", "logs", "deploy/raysweep", "--kubeconfig", config]
    ]


@pytest.mark.parametrize(
    "word", [*HOSTILE, "import ray\nprint('train')", "caf\xe9 \u202e\x1b[2J", ""]
)
async def test_h22_the_command_that_replaces_a_rayjob(
    tmp_path: Path, desk: Desk, word: str
) -> None:
    async with connected(HostileCluster(), tmp_path) as (_, way):
        words = [
            "submit",
            "--name",
            "train",
            *way,
            "--metadata-json",
            "{}",
            "--",
            "python",
            "-c",
            word,
        ]
        done = await _run(*words)
    line = done.stderr.partition("To replace it, run `")[2].strip().removesuffix("`")
    assert desk.pastes(line, "/bin/bash") == [
        [
            "submit",
            "--replace-finished",
            *words[1 : words.index("{}")],
            "...",
            *words[words.index("--") :],
        ]
    ]


@pytest.mark.parametrize("word", HOSTILE)
def test_h22_the_command_that_hands_a_deletion_over(desk: Desk, word: str) -> None:
    changes = {"metadata": {"annotations": {word: word}}}
    line = handover_patch.patch_command(
        a_rayjob(),
        changes,
        Overrides(context=word, kubeconfig=Path(f"/{word}/config"), as_user=word),
    )
    (call,) = desk.pastes(line)
    at = call.index("-p") + 1
    assert call[:at] == ["patch", "rayjob", "train", "-n", "team-a", "--type", "merge", "-p"]
    assert call[at + 1 :] == ["--kubeconfig", f"/{word}/config", "--context", word, "--as", word]
    assert json.loads(call[at]) == changes


WORDS = st.lists(
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20),
    min_size=1,
)


@given(WORDS)
def test_a_command_line_is_printable(words: Sequence[str]) -> None:
    assert command_line(*words).isprintable()


@given(WORDS)
@settings(max_examples=50, deadline=None)
def test_a_shell_reads_a_command_line_as_the_same_words(words: Sequence[str]) -> None:
    script = f"printf '%s\\0' {command_line(*words)}"
    done = subprocess.run(["/bin/bash", "-c", script], capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().split("\0")[:-1] == list(words)


@given(st.lists(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])), min_size=1))
def test_printable_words_are_quoted_for_any_posix_shell(
    words: Sequence[str],
) -> None:
    assert shlex.split(command_line(*words)) == list(words)
    assert [shlex.split(in_quotes(word)) for word in words] == [[word] for word in words]
