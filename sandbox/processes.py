"""Starts and stops programs by their recorded IDs, also those of a sandbox whose owner was killed.

What the programs are for must not enter here.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sandbox.lock import locked
from sandbox.waiting import until

PIDS = "pids"
OWNER = "owner"


DIE_WITH_OWNER = ("setpriv", "--pdeathsig", "KILL", "--")
"""The kernel kills a program when the thread that started it ends, except during a fork."""
CHECK_EVERY = 0.1


class SandboxError(RuntimeError):
    """The sandbox cannot continue. The message says why and what to do."""


class ProgramDiedError(SandboxError):
    """A program exited unexpectedly. The message has its exit code and the end of its log."""


class Identity(NamedTuple):
    """Identifies a process. The kernel reuses a PID, but never with the same start time."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        fields = _stat(pid)
        if fields is None or fields[0] in "ZX":
            return None
        return cls(pid, int(fields[19]))

    @classmethod
    def parse(cls, line: str) -> "Identity":
        pid, started = line.split()
        return cls(int(pid), int(started))

    def is_alive(self) -> bool:
        return Identity.of(self.pid) == self

    def signal(self, number: int) -> None:
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def __str__(self) -> str:
        return f"{self.pid} {self.started}"


class Program:
    """A program that was started, with its log. Messages call it by its `title`."""

    def __init__(
        self, title: str, child: subprocess.Popen[bytes], identity: Identity, log: Path
    ) -> None:
        self.title = title
        self.identity = identity
        self._child = child
        self._log = log
        self._is_stopping = False
        self.was_stopped = False  # it was running when it was stopped

    def is_alive(self) -> bool:
        return self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, -N after signal N. None while it runs."""
        return self._child.poll()

    def check(self) -> None:
        """Raises ProgramDiedError if it exited unexpectedly."""
        if not self.is_alive() and not self._is_stopping:
            raise ProgramDiedError(
                f"{self.title} exited with code {self._code()}. Its last log lines:\n{self.tail()}"
            )

    def check_success(self) -> None:
        """Raises SandboxError if its exit code is not 0."""
        if self._child.poll():
            raise SandboxError(f"{self.title} failed with code {self._code()}:\n{self.tail(20)}")

    async def ended(self) -> None:
        """Waits for its end."""
        await until(lambda: not self.is_alive(), timeout=None, every=CHECK_EVERY)

    def _code(self) -> str:
        code = self._child.returncode
        return str(code) if code >= 0 else f"{code} ({signal.Signals(-code).name})"

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.output().splitlines()[-lines:])

    def output(self) -> str:
        """All that it wrote."""
        return self._log.read_text(errors="replace")

    def descendants(self) -> list[Identity]:
        """Its child processes and their descendants."""
        return descendants(self.identity.pid)

    def kill(self) -> None:
        """Sends SIGKILL to the program alone."""
        self._expect_end()
        self.identity.signal(signal.SIGKILL)

    async def stop(self, *, grace: float = 5) -> None:
        """Sends SIGTERM and after `grace` seconds SIGKILL to the program and its children."""
        self._expect_end()
        self._signal_group(signal.SIGCONT)
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
            if patience and self.is_alive():
                self._signal_group(number)
                with contextlib.suppress(TimeoutError):
                    await until(lambda: not self.is_alive(), timeout=patience, every=0.02)

    def _expect_end(self) -> None:
        self._is_stopping = True
        self.was_stopped |= self.is_alive()

    def _signal_group(self, number: int) -> None:
        if self.is_alive():  # so its PID is not reused yet
            os.killpg(self.identity.pid, number)


class Processes:
    """Starts programs whose logs are in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs: list[Program] = []

    def start(
        self,
        name: str,
        *command: str | Path,
        environment: Mapping[str, str] | None = None,
        title: str = "",
    ) -> Program:
        """Starts a program that runs until it is stopped. Its output is written to NAME.log."""
        program = self._spawn(name, command, environment, title=title or name, cwd=self._folder)
        self._programs.append(program)
        return program

    async def run(
        self,
        name: str,
        *command: str | Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> str:
        """Runs a program to its end and returns its output. A cancellation stops it.

        Raises SandboxError if it fails.
        """
        program = self._spawn(name, command, environment, title=name, cwd=cwd or self._folder)
        try:
            await program.ended()
        finally:
            await program.stop()
        program.check_success()
        return program.output()

    def log(self, name: str) -> Path:
        """The file to which the program of that name writes."""
        return self._folder / f"{name}.log"

    def check(self) -> None:
        """Raises ProgramDiedError if one of the programs exited unexpectedly."""
        for program in self._programs:
            program.check()

    async def watch(self) -> None:
        """Raises ProgramDiedError as soon as one of the programs exits unexpectedly."""
        try:
            while True:
                self.check()
                await asyncio.sleep(CHECK_EVERY)
        except asyncio.CancelledError:
            # A request to a program can fail a moment before its end is visible.
            await asyncio.sleep(CHECK_EVERY)
            self.check()
            raise

    async def stop_all(self) -> None:
        for program in reversed(self._programs):
            await program.stop()

    def _spawn(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str] | None,
        *,
        title: str,
        cwd: Path,
    ) -> Program:
        """Starts a program in a new session. Ctrl-C at the terminal does not reach it there."""
        log = self.log(name)
        try:
            with log.open("wb") as output:
                child = subprocess.Popen(
                    [*DIE_WITH_OWNER, *(str(word) for word in command)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(os.environ | (environment or {})),
                    cwd=cwd,
                    start_new_session=True,
                )
        except FileNotFoundError as error:
            raise SandboxError(
                f"cannot start {title}: {error.filename} does not exist (setpriv is in util-linux)"
            ) from error
        identity = Identity.of(child.pid) or Identity(child.pid, 0)
        with (self._folder / PIDS).open("a") as record:
            record.write(f"{identity}\n")
        program = Program(title, child, identity, log)
        _started[:] = [each for each in _started if each.is_alive()] + [program]
        return program


_started: list[Program] = []


def running() -> list[Program]:
    """The programs of this process that are running, the last first."""
    return [program for program in reversed(_started) if program.is_alive()]


@contextlib.asynccontextmanager
async def scratch_folder() -> AsyncIterator[Path]:
    """Creates a folder for one sandbox, after it removed the leftovers of dead owners.

    Its path is short because the path of a Ray socket has at most 107 bytes.
    """
    base = Path(tempfile.gettempdir()) / f"raysweep-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    if base.stat().st_uid != os.getuid():
        raise PermissionError(f"{base} belongs to another user: set TMPDIR to your own folder")
    async with locked(base / "lock"):
        for owner in list(base.glob(f"*/{OWNER}")):
            if not Identity.parse(owner.read_text()).is_alive():
                await asyncio.to_thread(_remove_leftover, owner.parent)
        folder = Path(tempfile.mkdtemp(dir=base, prefix="s"))
        (folder / OWNER).write_text(str(Identity.of(os.getpid())))
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def descendants(root: int) -> list[Identity]:
    """All descendants of a process, as /proc lists them now."""
    children: dict[int, list[Identity]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            process = Identity(int(entry.name), int(fields[19]))
            children.setdefault(int(fields[1]), []).append(process)
    result: list[Identity] = []
    pending = [root]
    while pending:
        new = children.get(pending.pop(), [])
        result += new
        pending += [process.pid for process in new]
    return result


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, which can hold blanks and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _remove_leftover(folder: Path) -> None:
    record = folder / PIDS
    lines = record.read_text().splitlines() if record.exists() else []
    for process in map(Identity.parse, lines):
        # SIGKILL: their data is useless, and unshare passes no other signal to its namespace.
        children = descendants(process.pid) if process.is_alive() else []
        for each in (process, *children):
            each.signal(signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
