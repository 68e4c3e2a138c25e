"""A command of the sandbox as a process, with its output, its folder and its programs.

What a test expects of it must not enter here.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import binaries
from sandbox.processes import OWNER, PIDS, Identity, descendants
from sandbox.waiting import until
from tests.support.sandbox import rayjob, sample

ROOT = Path(__file__).parents[2]
END_TIMEOUT = 90.0
"""Seconds. The demo gives up after 300."""


@dataclass
class SandboxCommand:
    """The process and its output on stdout and stderr."""

    process: asyncio.subprocess.Process
    output: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        return self.output.decode()

    @property
    def folder(self) -> Path:
        """The folder of its sandbox. Raises FileNotFoundError before it exists."""
        base = Path(tempfile.gettempdir()) / f"raysweep-{os.getuid()}"
        for owner in base.glob(f"*/{OWNER}"):
            with contextlib.suppress(FileNotFoundError, ValueError):
                if Identity.parse(owner.read_text()).pid == self.process.pid:
                    return owner.parent
        raise FileNotFoundError(f"process {self.process.pid} has no sandbox")

    @property
    def recorded(self) -> list[Identity]:
        """The programs that it recorded, in the order of their starts: etcd, kube-apiserver, ..."""
        try:
            return [Identity.parse(line) for line in (self.folder / PIDS).read_text().splitlines()]
        except FileNotFoundError:
            return []

    @property
    def programs(self) -> list[Identity]:
        """Its descendants."""
        return descendants(self.process.pid)

    def program(self, words: str) -> Identity:
        """The first descendant whose command line contains these words."""
        return next(each for each in self.programs if words in command_line(each))

    def has_program(self, words: str) -> bool:
        return any(words in command_line(each) for each in self.programs)

    async def wait_for_output(self, words: str, *, timeout: float = 120) -> None:
        """Waits for these words in its output."""
        await until(
            lambda: words in self.text or self.process.returncode is not None, timeout=timeout
        )
        assert words in self.text, self.text

    async def wait_for_handlers(self) -> None:
        """Waits until it has a handler for SIGTERM, which it installs before its imports."""
        status = Path(f"/proc/{self.process.pid}/status")

        def is_handled() -> bool:
            mask = re.search(r"^SigCgt:\s*(\w+)", status.read_text(), re.MULTILINE)
            return bool(mask and int(mask[1], 16) >> (signal.SIGTERM - 1) & 1)

        await until(is_handled, timeout=30, every=0.002)

    async def run_a_light_head(self) -> None:
        """Creates a RayJob with a light head in the namespace default and waits for the head."""
        job = rayjob("left", "light", sample("rayjob-succeeded")["spec"])
        command = (
            str(binaries.KUBERNETES.folder / "kubectl"),
            f"--kubeconfig={self.folder / 'admin.kubeconfig'}",
        )
        kubectl = await asyncio.create_subprocess_exec(
            *command, "create", "-f", "-", stdin=-1, stdout=-1
        )
        await kubectl.communicate(json.dumps(job).encode())
        await until((self.folder / "h1" / "http").exists, timeout=90)

    async def wait(self) -> int:
        """Waits for its end. Returns its exit code."""
        async with asyncio.timeout(END_TIMEOUT):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def running_command(
    *words: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[SandboxCommand]:
    """Runs `python -m WORDS`. At the end of the block it gets SIGTERM and then SIGKILL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *words,
        cwd=ROOT,
        env=os.environ | (environment or {}),
        stdout=-1,
        stderr=-2,
    )
    running = SandboxCommand(process)
    reading = asyncio.create_task(_read(process, running.output))
    try:
        yield running
    finally:
        for end in (process.terminate, process.kill):
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                if process.returncode is None:
                    end()
                    await running.wait()
        await reading


def command_line(process: Identity) -> str:
    """The command line of a process. Empty if the process has ended."""
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


async def _read(process: asyncio.subprocess.Process, into: bytearray) -> None:
    assert process.stdout is not None
    while piece := await process.stdout.read(4096):
        into += piece
