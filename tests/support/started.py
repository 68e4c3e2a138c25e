"""A command of the sandbox as a process: what it said, its folder, its programs. What is expected of it must not enter here."""

import asyncio
import contextlib
import json
import os
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
END_WITHIN = 40.0
"""Seconds. The demo gives up by itself after 150."""


@dataclass
class Started:
    """The process, and all that it wrote to stdout and stderr."""

    process: asyncio.subprocess.Process
    output: bytearray = field(default_factory=bytearray)

    @property
    def said(self) -> str:
        return self.output.decode()

    @property
    def folder(self) -> Path:
        """Of its sandbox; FileNotFoundError before there is one."""
        base = Path(tempfile.gettempdir()) / f"raysweep-{os.getuid()}"
        for owner in base.glob(f"*/{OWNER}"):
            with contextlib.suppress(FileNotFoundError, ValueError):
                if Identity.parse(owner.read_text()).pid == self.process.pid:
                    return owner.parent
        raise FileNotFoundError(f"process {self.process.pid} has no sandbox")

    @property
    def recorded(self) -> list[Identity]:
        """The programs that it wrote down, in the order of their starts: etcd, kube-apiserver, kube-controller-manager, ..."""
        try:
            return [Identity.parse(line) for line in (self.folder / PIDS).read_text().splitlines()]
        except FileNotFoundError:
            return []

    @property
    def programs(self) -> list[Identity]:
        """Everything below it."""
        return descendants(self.process.pid)

    def program(self, words: str) -> Identity:
        """The first process below it whose command line has these words."""
        return next(each for each in self.programs if words in command_line(each))

    def has_program(self, words: str) -> bool:
        return any(words in command_line(each) for each in self.programs)

    async def says(self, words: str, *, timeout: float = 120) -> None:
        """Waits for these words."""
        await until(
            lambda: words in self.said or self.process.returncode is not None, timeout=timeout
        )
        assert words in self.said, self.said

    async def hears_signals(self) -> None:
        """Waits until it has taken SIGTERM for itself, which it does before its imports."""
        status = Path(f"/proc/{self.process.pid}/status")

        def caught() -> bool:
            (line,) = [
                line for line in status.read_text().splitlines() if line.startswith("SigCgt:")
            ]
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

        await until(caught, timeout=30, every=0.002)

    async def run_a_light_head(self) -> None:
        """By a RayJob in the namespace default."""
        job = rayjob("left", "light", sample("rayjob-succeeded")["spec"])
        command = (
            str(binaries.find_or_build(print) / "kubectl"),
            f"--kubeconfig={self.folder / 'admin.kubeconfig'}",
        )
        kubectl = await asyncio.create_subprocess_exec(
            *command, "create", "-f", "-", stdin=-1, stdout=-1
        )
        await kubectl.communicate(json.dumps(job).encode())
        await until((self.folder / "h1" / "http").exists, timeout=90)

    async def ended(self) -> int:
        """Its exit code, when it has ended and nobody holds its stdout any more."""
        async with asyncio.timeout(END_WITHIN):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def started(
    *words: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Started]:
    """`python -m WORDS`, ended with SIGTERM at the end of the block if it is still there, and then with SIGKILL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *words,
        cwd=ROOT,
        env=os.environ | (environment or {}),
        stdout=-1,
        stderr=-2,
    )
    running = Started(process)
    reading = asyncio.create_task(_read(process, running.output))
    try:
        yield running
    finally:
        for end in (process.terminate, process.kill):
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                if process.returncode is None:
                    end()
                    await running.ended()
        await reading


def command_line(process: Identity) -> str:
    """Its words; none if it has ended."""
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


async def _read(process: asyncio.subprocess.Process, into: bytearray) -> None:
    assert process.stdout is not None
    while piece := await process.stdout.read(4096):
        into += piece
