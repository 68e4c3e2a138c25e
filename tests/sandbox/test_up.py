"""`python -m sandbox up` as people use it; and that nothing stays behind, however it ends."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import binaries
from sandbox.processes import PIDS, Identity, descendants, scratch_folder
from sandbox.waiting import until
from tests.sandbox.helpers import rayjob, sample

ROOT = Path(__file__).parents[2]


class Up:
    """A started `python -m sandbox up`: its own process, its sandbox's folder and the programs in it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.folder = Path()

    async def until_ready(self) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            async for line in self.process.stdout:
                if found := re.search(rb"KUBECONFIG=(\S+)/admin.kubeconfig", line):
                    self.folder = Path(found[1].decode())
                if b"Ctrl-C ends" in line:
                    return
        pytest.fail("it ended before it was ready")

    @property
    def programs(self) -> list[Identity]:
        recorded = [Identity.parse(line) for line in (self.folder / PIDS).read_text().splitlines()]
        return recorded + [below for each in recorded for below in descendants(each.pid)]

    async def run_a_light_head(self) -> None:
        job = rayjob("left", "light", sample("rayjob-succeeded")["spec"])
        command = (str(binaries.find_or_build(print) / "kubectl"), f"--kubeconfig={self.folder / 'admin.kubeconfig'}")
        kubectl = await asyncio.create_subprocess_exec(*command, "create", "-f", "-", stdin=-1, stdout=-1)
        await kubectl.communicate(json.dumps(job).encode())
        await until((self.folder / "h1" / "http").exists, timeout=90)

    async def ended(self) -> int:
        async with asyncio.timeout(20):
            await self.process.communicate()
        return self.process.returncode or 0


@pytest_asyncio.fixture
async def up() -> AsyncIterator[Up]:
    command = (sys.executable, "-m", "sandbox", "up")
    running = Up(await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=-1, stderr=-2))
    await running.until_ready()
    yield running
    if running.process.returncode is None:
        running.process.send_signal(signal.SIGTERM)
        await running.ended()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_told_to_end_it_leaves_nothing_behind(how: signal.Signals, up: Up) -> None:
    programs = up.programs
    assert len(programs) == 3
    up.process.send_signal(how)
    assert await up.ended() == 0
    assert [program for program in programs if program.is_alive()] == []
    assert not up.folder.exists()


async def test_what_a_killed_one_left_ends_with_the_next_start(up: Up) -> None:
    await up.run_a_light_head()
    programs = up.programs
    assert len(programs) > 5
    up.process.kill()
    assert await up.ended() == -signal.SIGKILL
    assert all(program.is_alive() for program in programs)
    async with scratch_folder():
        await until(lambda: not any(program.is_alive() for program in programs), timeout=90)
        assert not up.folder.exists()


async def test_what_a_living_one_has_is_left_alone_by_the_next_start(up: Up) -> None:
    async with scratch_folder() as mine:
        assert mine != up.folder
        assert all(program.is_alive() for program in up.programs)


async def test_a_recycled_process_id_is_not_taken_for_the_old_process() -> None:
    own = Identity.of(os.getpid())
    assert own is not None
    assert own.is_alive()
    recycled = Identity(own.pid, own.started - 1)
    assert not recycled.is_alive()
    recycled.signal(signal.SIGKILL)


async def test_a_program_that_dies_at_the_start_is_reported_with_its_log(tmp_path: Path) -> None:
    for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho this machine is too small >&2\nexit 3\n")
        program.chmod(0o755)
    command = (sys.executable, "-m", "sandbox", "up")
    environment = os.environ | {"KUBEBUILDER_ASSETS": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=-1, stderr=-2)
    output, _ = await process.communicate()
    assert process.returncode == 1
    assert "ended with code 3" in output.decode()
    assert "this machine is too small" in output.decode()
