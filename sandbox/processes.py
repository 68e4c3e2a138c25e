"""Starts programs and ends them, each by its own recorded id, also those of a sandbox whose owner was killed.

What the programs are for must not enter here.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sandbox.waiting import until

PIDS = "pids"
OWNER = "owner"


class ProgramDiedError(RuntimeError):
    """A program ended while it was starting; the text holds the tail of its log."""


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
    """One started program, with its log."""

    def __init__(self, name: str, child: subprocess.Popen[bytes], identity: Identity, log: Path) -> None:
        self.name = name
        self.identity = identity
        self._child = child
        self._log = log

    def is_alive(self) -> bool:
        return self._child.poll() is None

    def check(self) -> None:
        if not self.is_alive():
            raise ProgramDiedError(f"{self.name} ended with code {self._child.returncode}:\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def descendants(self) -> list[Identity]:
        """Everything below it, itself not included."""
        return descendants(self.identity.pid)

    async def stop(self, *, grace: float = 5) -> None:
        """SIGTERM, then SIGKILL: bounded, and harmless where it is gone already."""
        self.identity.signal(signal.SIGCONT)
        for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
            if patience and self.is_alive():
                self.identity.signal(number)
                with contextlib.suppress(TimeoutError):
                    await until(lambda: not self.is_alive(), timeout=patience, every=0.02)


class Processes:
    """The programs of one sandbox."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs: list[Program] = []

    def start(self, name: str, *command: str | Path, environment: Mapping[str, str] | None = None) -> Program:
        """Its output goes to NAME.log. A session of its own keeps the terminal's Ctrl-C from it: we end it in order."""
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(os.environ | (environment or {})),
                cwd=self._folder,
                start_new_session=True,
            )
        identity = Identity.of(child.pid) or Identity(child.pid, 0)
        with (self._folder / PIDS).open("a") as record:
            record.write(f"{identity}\n")
        program = Program(name, child, identity, log)
        self._programs.append(program)
        return program

    def check(self) -> None:
        for program in self._programs:
            program.check()

    async def stop_all(self) -> None:
        for program in reversed(self._programs):
            await program.stop()


@contextlib.asynccontextmanager
async def scratch_folder() -> AsyncIterator[Path]:
    """A folder for one sandbox, after the leftovers of dead owners were ended. Short: Ray's socket paths end at 107."""
    base = Path(tempfile.gettempdir()) / f"raysweep-{os.getuid()}"
    base.mkdir(mode=0o700, exist_ok=True)
    if base.stat().st_uid != os.getuid():
        raise PermissionError(f"{base} belongs to somebody else; set TMPDIR to a folder of your own")
    with _locked(base):
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
    recorded = [Identity.parse(line) for line in record.read_text().splitlines()] if record.exists() else []
    for process in recorded:
        # No SIGTERM first: nobody wants their data any more, and unshare passes only SIGKILL on to its namespace.
        below = descendants(process.pid) if process.is_alive() else []
        for each in (process, *below):
            each.signal(signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(base: Path) -> Iterator[None]:
    with (base / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
