"""The display of progress: in place on a terminal, in lines through a pipe, hidden with -q."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from raysweep.cli.common.progress_lines import repeat_after
from sandbox.waiting import until
from tests.support.builders import Body, raycluster_json, rayjob_json
from tests.support.cli import AT_TERMINAL, ENVIRONMENT, PROGRAM, write_kubeconfig
from tests.support.scripted_api import json_response, listening, object_not_found
from tests.support.terminal import HOSTILE, TerminalSession, terminal_session

MIB = 2**20
JOB_ID = "raysubmit_1"
DRAWN = re.compile(r"\x1b\[(?!\?25)")


@dataclass
class Slow:
    """An API server and a Ray head that answer when the test lets them."""

    message: str = ""
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    reads: asyncio.Event = field(
        default_factory=asyncio.Event
    )  # the head goes on reading the upload
    uploads: list[tuple[int, int]] = field(default_factory=list)  # Content-Length, and what came
    cuts: int = 0  # so many uploads are cut off in the middle
    body: Body = field(default_factory=dict)
    posted: bool = False
    probes: int = 0  # at the RayJob
    job_id: str = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if "/proxy/" in path:
            return await self._head(request, path.partition("/proxy")[2])
        if path.endswith("/rayjobs") and request.method == "POST":
            body = json.loads(await request.read())
            self.body = body["metadata"] | {"uid": "u", "resourceVersion": "1"}
            return json_response(self._rayjob())
        if path.endswith("/rayjobs/train") and request.method == "DELETE":
            self.body = {}
            return json_response({})
        if path.endswith("/rayjobs/train") and self.body:  # also a PATCH of it
            self.probes += 1
            return json_response(self._rayjob())
        if path.endswith("/rayclusters/train-cluster"):
            return json_response(raycluster_json())
        return await object_not_found(request)

    def _rayjob(self) -> Body:
        stage = "Waiting" if self.is_ready.is_set() else "Initializing"
        status = {
            "jobDeploymentStatus": stage,
            "jobStatus": "",
            "jobId": self.job_id,
            "message": self.message,
        }
        return rayjob_json(metadata=self.body, status=status)

    async def _head(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if path.startswith("/api/packages/"):
            return await self._package(request)
        if path == "/api/jobs/" and request.method == "POST":
            self.posted = True
            return json_response({"submission_id": JOB_ID})
        entry = {"type": "SUBMISSION", "submission_id": JOB_ID, "status": "SUCCEEDED"}
        if path == "/api/jobs/":
            return json_response([entry] if self.posted else [])
        return json_response(entry)

    async def _package(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            return web.Response(status=404)
        length, read = int(request.headers["Content-Length"]), 0
        async for piece in request.content.iter_any():
            read += len(piece)
            if read >= length // 4:
                await self.reads.wait()
            if self.cuts and read >= length // 4:
                self.cuts -= 1
                assert request.transport is not None
                request.transport.abort()
                break
        self.uploads.append((length, read))
        return json_response({})


@contextlib.asynccontextmanager
async def submitting(
    cluster: Slow, folder: Path, *words: str, columns: int = 100, **environment: str
) -> AsyncIterator[TerminalSession]:
    """`submit` of a working directory of 32 MiB that cannot be compressed."""
    code = folder / "code"
    code.mkdir()
    (code / "data.bin").write_bytes(os.urandom(32 * MIB))
    (code / "train.py").write_text("print('trains')\n")
    async with listening(cluster.handle) as url:
        config = write_kubeconfig(folder / "config", url)
        command = [
            *PROGRAM,
            "submit",
            "--name",
            "train",
            "--working-dir",
            str(code),
            "--kubeconfig",
            config,
            *words,
        ]
        async with terminal_session(
            [*command, "--", "true"], AT_TERMINAL | environment, columns=columns
        ) as person:
            yield person


async def test_a_wait_shows_its_stage_and_duration_in_one_line(tmp_path: Path) -> None:
    cluster = Slow()
    async with submitting(cluster, tmp_path) as person:
        for seconds in range(3):
            await person.sees(
                f"0:00:0{seconds} waiting for the Ray head: Initializing, RayCluster train-cluster"
            )
        assert person.text.count("waiting for the Ray head") == 1, (
            "it is drawn again, not printed again"
        )
        cluster.is_ready.set()
        cluster.reads.set()
        await person.ends(0)
    assert re.search(
        r"^raysweep: waiting for the Ray head: done \(\d+ s\)$", person.text, re.MULTILINE
    )
    assert "0:00:0" not in person.text, "nothing that was drawn remains"
    assert person.is_as_before


async def test_an_upload_shows_sent_bytes_and_rate(tmp_path: Path) -> None:
    cluster = Slow()
    cluster.is_ready.set()
    async with submitting(cluster, tmp_path) as person:
        await person.sees_that(
            lambda text: bool(
                re.search(r"uploading .* \d+\.\d of 32\.0 MiB, \d+\.\d MiB/s, \d+ s left", text)
            )
        )
        cluster.reads.set()
        await person.ends(0)
    assert re.search(
        r"^raysweep: uploaded the working directory \(2 files, 32\.0 MiB\) in \d+ s$",
        person.text,
        re.MULTILINE,
    )
    assert "MiB/s" not in person.text
    assert [length == read for length, read in cluster.uploads] == [True]
    assert person.is_as_before


@pytest.mark.parametrize("cuts", [1, 2])
async def test_an_interrupted_upload_begins_again(tmp_path: Path, cuts: int) -> None:
    """aiohttp itself repeats the first request, because the connection is an old one."""
    cluster = Slow(cuts=cuts)
    cluster.is_ready.set()
    cluster.reads.set()
    async with submitting(cluster, tmp_path) as person:
        await person.ends(0)
    lost = r"uploading the working directory \(2 files, 32\.0 MiB\): \d+\.\d MiB sent in \d+ s"
    assert bool(re.search(lost, person.text)) == (cuts > 1)
    assert "uploaded the working directory" in person.text
    assert len(cluster.uploads) == cuts + 1
    assert cluster.uploads[-1][0] == cluster.uploads[-1][1]


ENDINGS = [
    ("Ctrl-C", "waiting for the Ray head", lambda person: person.types("\x03"), 130),
    ("Ctrl-C", "uploading", lambda person: person.types("\x03"), 130),
    (
        "SIGTERM",
        "waiting for the Ray head",
        lambda person: person.process.send_signal(signal.SIGTERM),
        130,
    ),
    ("SIGKILL", "uploading", lambda person: person.process.send_signal(signal.SIGKILL), -9),
]


@pytest.mark.parametrize(
    ("how", "during", "end", "code"),
    ENDINGS,
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_the_terminal_is_restored(
    tmp_path: Path, how: str, during: str, end: object, code: int
) -> None:
    cluster = Slow()
    if during == "uploading":
        cluster.is_ready.set()
    async with submitting(cluster, tmp_path) as person:
        await person.sees(during)
        assert callable(end)
        end(person)
        await person.ends(code)
    assert b"\x1b[?25l" not in person.raw, (
        "the cursor is never hidden, so nothing has to bring it back"
    )
    assert how == "SIGKILL" or person.is_as_before
    assert how == "SIGKILL" or "nothing was submitted" in person.text.lower()


async def test_text_of_the_cluster_is_neither_markup_nor_control(tmp_path: Path) -> None:
    cluster = Slow(message=f"[red]quota[/red] {HOSTILE}")
    async with submitting(cluster, tmp_path) as person:
        await person.sees("[red]quota[/red]")
        cluster.is_ready.set()
        cluster.reads.set()
        await person.ends(0)
    assert b"\x1b]0;" not in person.raw
    assert b"\x1b[2J" not in person.raw
    assert "\u202e" not in person.raw.decode()


async def test_on_a_narrow_terminal_progress_fits_on_one_line(tmp_path: Path) -> None:
    cluster = Slow()
    async with submitting(cluster, tmp_path, columns=44) as person:
        await person.sees("0:00:01 waiting for the Ray head: ")
        assert [line for line in person.lines if "waiting" in line][-1].endswith("…")
        cluster.is_ready.set()
        await person.sees_that(
            lambda text: bool(re.search(r"upload\S* .*\d+\.\d of 32\.0 MiB", text))
        )
        cluster.reads.set()
        await person.ends(0)
    assert person.text.count("MiB sent") == 0
    assert sum("of 32.0 MiB" in line for line in person.lines) == 0


async def test_no_color_prints_no_colors(tmp_path: Path) -> None:
    cluster = Slow()
    cluster.is_ready.set()
    async with submitting(cluster, tmp_path, NO_COLOR="1") as person:
        await person.sees("of 32.0 MiB")
        cluster.reads.set()
        await person.ends(0)
    assert re.findall(rb"\x1b\[[0-9;]*m", bytes(person.raw)) == []


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
async def test_quiet_prints_the_answer_and_warnings(tmp_path: Path, flag: str) -> None:
    cluster = Slow()
    cluster.is_ready.set()
    cluster.reads.set()
    async with submitting(cluster, tmp_path, flag, "--ttl-seconds-after-finished", "60") as person:
        await person.ends(0)
    assert [line for line in person.lines if line] == [
        "raysweep: a TTL implies --shutdown-after-job-finishes, which KubeRay requires with it",
        f"RayJob team-a/train submitted as {JOB_ID}",
        f"raysweep: {JOB_ID} succeeded",
    ]
    assert not DRAWN.search(person.raw.decode())


async def test_quiet_prints_errors(tmp_path: Path) -> None:
    async with submitting(Slow(), tmp_path, "-q", "--head-timeout", "2s") as person:
        await person.ends(5)
    (line,) = (" ".join(person.text.split("\n")),)
    assert line.startswith("raysweep: no Ray head within 2 s (Initializing")


LINES = [
    "created RayJob team-a/train",
    "waiting for the Ray head: Initializing, RayCluster train-cluster (N s)",
    "uploading the working directory (2 files, 32.0 MiB)",
    "submitting the job",
    f"{JOB_ID} succeeded",
]


@pytest.mark.parametrize("why", ["a pipe", "a terminal that cannot draw"])
async def test_without_a_drawing_terminal_progress_is_plain_lines(tmp_path: Path, why: str) -> None:
    cluster = Slow()
    cluster.reads.set()
    log = tmp_path / "log"
    environment = {"TERM": "dumb"} if why == "a terminal that cannot draw" else {}
    (code := tmp_path / "code").mkdir()
    (code / "data.bin").write_bytes(os.urandom(32 * MIB))
    (code / "train.py").write_text("print('trains')\n")
    async with listening(cluster.handle) as url:
        words = [
            "--name",
            "train",
            "--working-dir",
            str(code),
            "--kubeconfig",
            write_kubeconfig(tmp_path / "config", url),
        ]
        with log.open("wb") as file:
            stderr = file.fileno() if why == "a pipe" else None
            async with terminal_session(
                [*PROGRAM, "submit", *words, "--", "true"], AT_TERMINAL | environment, stderr=stderr
            ) as person:
                await until(lambda: cluster.probes > 1, timeout=90)
                cluster.is_ready.set()
                await person.ends(0)
    said = log.read_text() if why == "a pipe" else person.text
    lines = [
        line.removeprefix("raysweep: ")
        for line in said.split("\n")
        if line.startswith("raysweep: ")
    ]
    assert [re.sub(r"\d+ s\)", "N s)", line) for line in lines] == LINES
    assert "\x1b" not in said


@dataclass
class Fleet:
    """An API server with finished RayJobs. It deletes as many as the test allows."""

    size: int
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    deleted: set[str] = field(default_factory=set)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, name = request.path, request.path.rpartition("/")[2]
        if request.method == "DELETE":
            await self.places.acquire()
            self.deleted.add(name)
            return json_response({})
        if path.endswith("/namespaces/team-a"):
            return json_response(
                {"metadata": {"name": "team-a", "uid": "n", "resourceVersion": "1"}}
            )
        if path.endswith("/rayjobs"):
            return json_response(
                {
                    "metadata": {},
                    "items": [self._rayjob(f"job-{number}") for number in range(self.size)],
                }
            )
        if path.endswith(("/rayclusters", "/rayjobcleanuppolicies")):
            return json_response({"metadata": {}, "items": []})
        if "/rayjobs/" in path and name not in self.deleted:
            return json_response(self._rayjob(name))
        return await object_not_found(request)

    def _rayjob(self, name: str) -> Body:
        return rayjob_json(
            metadata={"name": name, "uid": name, "resourceVersion": "1", "annotations": {}}
        )


@contextlib.asynccontextmanager
async def sweeping(fleet: Fleet, folder: Path, *words: str) -> AsyncIterator[TerminalSession]:
    async with listening(fleet.handle) as url:
        config = write_kubeconfig(folder / "config", url)
        command = [*PROGRAM, "sweep", "--all-finished", "--yes", "--kubeconfig", config, *words]
        async with terminal_session(command, AT_TERMINAL) as person:
            yield person


async def test_a_sweep_counts_deletions(tmp_path: Path) -> None:
    fleet = Fleet(17)
    async with sweeping(fleet, tmp_path) as person:
        await person.sees_that(lambda text: bool(re.search(r"deleting RayJobs .* 0/17", text)))
        for _ in range(3):
            fleet.places.release()
        await person.sees_that(lambda text: bool(re.search(r"deleting RayJobs .* 3/17", text)))
        for _ in range(14):
            fleet.places.release()
        await person.ends(0)
    assert "/17" not in person.text
    assert "namespace team-a: 17 deleted; frees -" in person.lines
    assert person.is_as_before


async def test_an_interrupted_sweep_says_so_above_its_count(
    tmp_path: Path,
) -> None:
    fleet = Fleet(17)
    async with sweeping(fleet, tmp_path) as person:
        await person.sees_that(lambda text: bool(re.search(r"deleting RayJobs .* 0/17", text)))
        person.types("\x03")
        await person.sees("interrupted: waiting for the deletions in progress")
        await person.sees_that(lambda text: bool(re.search(r"deleting RayJobs .* 0/17\Z", text)))
        for _ in range(8):
            fleet.places.release()
        await person.ends(130)
    assert "8 deleted, 9 not reached" in person.text
    assert "/17" not in person.text
    assert person.is_as_before


async def test_a_quiet_sweep_prints_only_the_answer(tmp_path: Path) -> None:
    fleet = Fleet(3)
    for _ in range(3):
        fleet.places.release()
    async with sweeping(fleet, tmp_path, "-q", "-o", "name") as person:
        await person.ends(0)
    assert sorted(line for line in person.lines if line.startswith("rayjob")) == [
        f"rayjob.ray.io/job-{n}" for n in range(3)
    ]
    assert not DRAWN.search(person.raw.decode())


@dataclass
class Stubborn(Slow):
    """A cluster whose Ray head reports RUNNING after a stop."""

    async def _head(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        entry = {"type": "SUBMISSION", "submission_id": JOB_ID, "status": "RUNNING"}
        if path.endswith("/stop"):
            return json_response({"stopped": True})
        return json_response([entry] if path == "/api/jobs/" else entry)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM], ids=lambda end: end.name)
async def test_an_interrupted_command_restores_the_terminal(
    tmp_path: Path, end: signal.Signals
) -> None:
    cluster = Stubborn(body={"name": "train", "namespace": "team-a", "uid": "u"}, job_id=JOB_ID)
    async with listening(cluster.handle) as url:
        command = [
            *PROGRAM,
            "stop",
            "train",
            "--kubeconfig",
            write_kubeconfig(tmp_path / "config", url),
        ]
        async with terminal_session(command, AT_TERMINAL) as person:
            await person.sees(f"0:00:01 waiting until {JOB_ID} has ended")
            person.process.send_signal(end)
            await person.ends(130)
    assert [line for line in person.lines if line][-1] == "raysweep: interrupted"
    assert f"waiting until {JOB_ID} has ended" not in person.text
    assert person.is_as_before


async def test_printed_lines_appear_above_the_progress(tmp_path: Path) -> None:
    cluster = Slow()
    async with submitting(cluster, tmp_path, "-v", "6") as person:
        await person.sees("0:00:02 waiting for the Ray head: ")
        requests = [line for line in person.lines if line.startswith("raysweep: GET http")]
        assert len(requests) > 2
        assert [line for line in person.lines if line][-1].startswith("0:00:0")
        assert person.text.count(" waiting for the Ray head: ") == 1
        cluster.is_ready.set()
        cluster.reads.set()
        await person.ends(0)


@pytest.mark.parametrize(
    "words", [["plan"], ["plan", "--watch", "-o", "json"], ["sweep", "x", "--dry-run"]]
)
def test_a_command_that_draws_nothing_does_not_load_rich(words: list[str]) -> None:
    """It takes a tenth of a second."""
    code = (
        "import sys; from raysweep.__main__ import main\n"
        "try: main.main(sys.argv[1:], standalone_mode=False)\n"
        "finally: print('rich' in sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *words, "--kubeconfig", "/nowhere/config"]
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr.splitlines()[-1] == "False"


TWO_WAITS = """
import time
from raysweep.cli.common import terminal
terminal.protect()
from raysweep.cli.common.progress import progress_for
from raysweep.cli.common.session import say
with progress_for(say, quiet=False).wait("waiting for the Ray head") as report:
    report("pending", "waiting in the queue")
    time.sleep(2)
    report("admitted")
    report("Initializing", "waiting for the Ray head")
    report("Initializing", "waiting for the Ray head")
    time.sleep(0.6)
"""


async def test_the_next_wait_counts_from_zero() -> None:
    async with terminal_session([sys.executable, "-c", TWO_WAITS], AT_TERMINAL) as person:
        await person.sees("0:00:01 waiting in the queue: pending")
        await person.sees("0:00:00 waiting for the Ray head: Initializing")
        await person.ends(0)
    assert [line for line in person.lines if line] == [
        "raysweep: waiting in the queue: admitted (2 s)",
        "raysweep: waiting for the Ray head: done (1 s)",
    ]


async def test_each_stage_of_each_wait_is_one_plain_line(tmp_path: Path) -> None:
    async with terminal_session(
        [sys.executable, "-c", TWO_WAITS], AT_TERMINAL | {"TERM": "dumb"}
    ) as person:
        await person.ends(0)
    assert [line for line in person.lines if line] == [
        "raysweep: waiting in the queue: pending (0 s)",
        "raysweep: waiting in the queue: admitted (2 s)",
        "raysweep: waiting for the Ray head: Initializing (0 s)",
    ]


def test_a_stage_that_lasts_is_repeated_and_later_less_often() -> None:
    assert repeat_after(0) == repeat_after(299) == timedelta(seconds=15)
    assert repeat_after(300) == repeat_after(36_000) == timedelta(minutes=1)
