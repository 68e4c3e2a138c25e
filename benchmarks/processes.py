"""What Linux says about a process: CPU seconds and memory. Nothing is started here."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU so far (utime and stime of /proc/PID/stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_by_program() -> Counter[str]:
    """CPU seconds so far of this process and its children, by the name of the program."""
    seconds: Counter[str] = Counter()
    seconds["benchmark"] = cpu_seconds(os.getpid())  # type: ignore[assignment]
    for pid in _children():
        try:
            seconds[_program(pid)] += cpu_seconds(pid)  # type: ignore[assignment]
        except FileNotFoundError:
            continue  # it has ended meanwhile
    return seconds


def _children() -> Iterator[int]:
    for task in Path("/proc/self/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def _program(pid: int) -> str:
    """The name of the program, or of the script if Python runs it."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    names = [Path(word).name for word in words[:3] if word != "-m"]
    return names[1] if names[0].startswith("python") else names[0]


def cpu_wait_seconds(pid: int) -> float:
    """Seconds so far for which its main thread was ready and had no CPU (/proc/PID/schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def peak_mib(pid: int) -> float:
    """The largest resident memory so far, in MiB (VmHWM of /proc/PID/status)."""
    return _status_mib(pid, "VmHWM")


def resident_mib(pid: int) -> float:
    """The resident memory now, in MiB (VmRSS of /proc/PID/status)."""
    return _status_mib(pid, "VmRSS")


def _status_mib(pid: int, field: str) -> float:
    """Raises OSError if the process has ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = [line for line in lines if line.startswith(f"{field}:")]
    if not found:
        raise ProcessLookupError(pid)
    return int(found[0].split()[1]) / 1024
