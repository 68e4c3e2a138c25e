"""Starts programs and ends them, each by its own recorded id, also those of a sandbox whose owner was killed.

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


WITH_ITS_OWNER = ("setpriv", "--pdeathsig", "KILL", "--")
"""The kernel ends a program with the thread that started it, however that ends; only a fork in that very moment escapes it."""
LOOK_EVERY = 0.1


class SandboxError(RuntimeError):
    """The sandbox cannot go on; the text says why, and names the remedy where there is one."""


class ProgramDiedError(SandboxError):
    """A program ended that nobody had told to; the text holds its exit code and the end of its log."""


class Identity(NamedTuple):
    """A process for ever: the kernel gives its number to another one later, but never with the same start time."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        found = _stat(pid)
        return None if found is None or found[0] in "ZX" else cls(pid, int(found[19]))

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
    """One started program, with its log. `title` is what people call it."""

    def __init__(
        self, title: str, child: subprocess.Popen[bytes], identity: Identity, log: Path
    ) -> None:
        self.title = title
        self.identity = identity
        self._child = child
        self._log = log
        self._is_told_to_end = False
        self.was_stopped = False  # it was still running when it was told to end

    def is_alive(self) -> bool:
        return self._child.poll() is None

    def check(self) -> None:
        """Raises ProgramDiedError if it has ended by itself."""
        if not self.is_alive() and not self._is_told_to_end:
            raise ProgramDiedError(
                f"{self.title} ended with code {self._code()}; the end of its log:\n{self.tail()}"
            )

    def check_success(self) -> None:
        """Raises SandboxError if it ended with another exit code than 0."""
        if self._child.poll():
            raise SandboxError(f"{self.title} failed with code {self._code()}:\n{self.tail(20)}")

    async def ended(self) -> None:
        """Returns when it has ended, by itself or not."""
        await until(lambda: not self.is_alive(), timeout=None, every=LOOK_EVERY)

    def _code(self) -> str:
        code = self._child.returncode
        return str(code) if code >= 0 else f"{code} ({signal.Signals(-code).name})"

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.output().splitlines()[-lines:])

    def output(self) -> str:
        """All it wrote."""
        return self._log.read_text(errors="replace")

    def descendants(self) -> list[Identity]:
        """Everything below it, itself not included."""
        return descendants(self.identity.pid)

    def kill(self) -> None:
        """SIGKILL, for it alone."""
        self._expect_end()
        self.identity.signal(signal.SIGKILL)

    async def stop(self, *, grace: float = 5) -> None:
        """SIGTERM, then SIGKILL, for it and what it started: bounded, and harmless if it has ended."""
        self._expect_end()
        self._signal_group(signal.SIGCONT)
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
            if patience and self.is_alive():
                self._signal_group(number)
                with contextlib.suppress(TimeoutError):
                    await until(lambda: not self.is_alive(), timeout=patience, every=0.02)

    def _expect_end(self) -> None:
        self._is_told_to_end = True
        self.was_stopped |= self.is_alive()

    def _signal_group(self, number: int) -> None:
        if self.is_alive():  # so nobody else has its number yet
            os.killpg(self.identity.pid, number)


class Processes:
    """The programs of one folder, which holds their logs."""

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
        """A program that runs until it is stopped. Its output goes to NAME.log."""
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
        """A program that ends by itself: its output. SandboxError if it fails; left early, it is stopped."""
        program = self._spawn(name, command, environment, title=name, cwd=cwd or self._folder)
        try:
            await program.ended()
        finally:
            await program.stop()
        program.check_success()
        return program.output()

    def log(self, name: str) -> Path:
        """Where the program of that name writes."""
        return self._folder / f"{name}.log"

    def check(self) -> None:
        """Raises ProgramDiedError if one that was started has ended by itself."""
        for program in self._programs:
            program.check()

    async def watch(self) -> None:
        """Raises ProgramDiedError as soon as a program that was started has ended by itself."""
        try:
            while True:
                self.check()
                await asyncio.sleep(LOOK_EVERY)
        except asyncio.CancelledError:
            await asyncio.sleep(
                LOOK_EVERY
            )  # a request may fail a moment before the end of who answered it is seen
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
        """In a session of its own, which keeps the terminal's Ctrl-C from it: we end it in order."""
        log = self.log(name)
        try:
            with log.open("wb") as output:
                child = subprocess.Popen(
                    [*WITH_ITS_OWNER, *(str(word) for word in command)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(os.environ | (environment or {})),
                    cwd=cwd,
                    start_new_session=True,
                )
        except FileNotFoundError as error:
            raise SandboxError(
                f"{title} cannot be started, there is no {error.filename}; setpriv comes with util-linux"
            ) from error
        identity = Identity.of(child.pid) or Identity(child.pid, 0)
        with (self._folder / PIDS).open("a") as record:
            record.write(f"{identity}\n")
        program = Program(title, child, identity, log)
        _started[:] = [each for each in _started if each.is_alive()] + [program]
        return program


_started: list[Program] = []


def running() -> list[Program]:
    """What this process has started and what has not ended yet, the last first."""
    return [program for program in reversed(_started) if program.is_alive()]


@contextlib.asynccontextmanager
async def scratch_folder() -> AsyncIterator[Path]:
    """A folder for one sandbox, after the leftovers of dead owners were ended. Short: Ray's socket paths end at 107."""
    base = Path(tempfile.gettempdir()) / f"raysweep-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    if base.stat().st_uid != os.getuid():
        raise PermissionError(
            f"{base} belongs to somebody else; set TMPDIR to a folder of your own"
        )
    async with locked(base / "lock"):
        for left in [path.parent for path in base.glob(f"*/{OWNER}")]:
            if not Identity.parse((left / OWNER).read_text()).is_alive():
                await asyncio.to_thread(_end_leftover, left)
        folder = Path(tempfile.mkdtemp(dir=base, prefix="s"))
        (folder / OWNER).write_text(str(Identity.of(os.getpid())))
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def descendants(root: int) -> list[Identity]:
    """All processes below that one, as /proc tells at this moment."""
    children: dict[int, list[Identity]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := _stat(int(entry.name))):
            children.setdefault(int(found[1]), []).append(Identity(int(entry.name), int(found[19])))
    below: list[Identity] = []
    waiting = [root]
    while waiting:
        new = children.get(waiting.pop(), [])
        below += new
        waiting += [process.pid for process in new]
    return below


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name (which may itself hold blanks and brackets): state, parent, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _end_leftover(folder: Path) -> None:
    record = folder / PIDS
    recorded = (
        [Identity.parse(line) for line in record.read_text().splitlines()]
        if record.exists()
        else []
    )
    for process in recorded:
        # No SIGTERM first: nobody wants their data any more, and unshare passes only SIGKILL on to its namespace.
        below = descendants(process.pid) if process.is_alive() else []
        for each in (process, *below):
            each.signal(signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
