"""`python -m sandbox up` and the leftovers of killed sandboxes. test_ends.py covers its end."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from sandbox.processes import OWNER, PIDS, Identity, scratch_folder
from tests.support.sandbox_command import SandboxCommand, running_command


@pytest_asyncio.fixture
async def up() -> AsyncIterator[SandboxCommand]:
    async with running_command("sandbox", "up") as running:
        await running.wait_for_output("Press Ctrl-C to stop everything")
        yield running


async def test_the_next_start_kills_the_leftovers_of_a_killed_sandbox() -> None:
    """A program whose owner was killed during the fork, so that the kernel did not kill it."""
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


async def test_the_next_start_leaves_running_sandboxes_alone(up: SandboxCommand) -> None:
    async with scratch_folder() as mine:
        assert mine != up.folder
        assert len(up.recorded) == 4
        assert all(program.is_alive() for program in up.recorded)


async def test_a_reused_pid_is_not_the_old_process() -> None:
    own = Identity.of(os.getpid())
    assert own is not None
    assert own.is_alive()
    recycled = Identity(own.pid, own.started - 1)
    assert not recycled.is_alive()
    recycled.signal(signal.SIGKILL)


async def test_a_program_that_exits_at_the_start_is_reported_with_its_log(tmp_path: Path) -> None:
    for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho this machine is too small >&2\nexit 3\n")
        program.chmod(0o755)
    async with running_command(
        "sandbox", "up", environment={"KUBEBUILDER_ASSETS": str(tmp_path)}
    ) as running:
        assert await running.wait() == 1
    assert "exited with code 3" in running.text
    assert "this machine is too small" in running.text
