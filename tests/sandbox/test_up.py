"""`python -m sandbox up` as people use it; and that nothing stays behind. How it ends is in test_ends.py."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from sandbox.processes import OWNER, PIDS, Identity, scratch_folder
from tests.support.started import Started, started


@pytest_asyncio.fixture
async def up() -> AsyncIterator[Started]:
    async with started("sandbox", "up") as running:
        await running.says("Ctrl-C ends everything")
        yield running


async def test_what_a_killed_one_left_ends_with_the_next_start() -> None:
    """A program that escaped the kernel, for its owner was killed at the moment of the fork."""
    left = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    identity = Identity.of(left.pid)
    assert identity is not None
    async with scratch_folder() as folder:
        (folder / PIDS).write_text(f"{identity}\n")
        killed = await asyncio.to_thread(
            shutil.copytree, folder, folder.with_name(f"{folder.name}-killed")
        )
    (killed / OWNER).write_text(str(identity._replace(started=identity.started - 1)))
    async with scratch_folder():
        assert await left.wait() == -signal.SIGKILL
        assert not killed.exists()


async def test_what_a_living_one_has_is_left_alone_by_the_next_start(up: Started) -> None:
    async with scratch_folder() as mine:
        assert mine != up.folder
        assert len(up.recorded) == 3
        assert all(program.is_alive() for program in up.recorded)


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
    async with started(
        "sandbox", "up", environment={"KUBEBUILDER_ASSETS": str(tmp_path)}
    ) as running:
        assert await running.ended() == 1
    assert "ended with code 3" in running.said
    assert "this machine is too small" in running.said
