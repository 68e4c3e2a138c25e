"""Asks an operator's /livez again and again, as a process of its own, and reports the longest wait.

`python -m benchmarks.probe HOST PORT PID` runs until its standard input ends. Then it prints one
line of JSON: the fields of Samples. The operator answers /livez in its event loop, so the longest
wait is how long the loop stood still. A busy machine delays this process too; `machine_late_s` is
by how much at most. `hold_s` is the longest wait without the time for which either process waited
for a CPU: how long the operator's own work held its loop.
"""

import contextlib
import json
import os
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass

from benchmarks.processes import cpu_wait_seconds, peak_mib

EVERY = 0.02
MEMORY_EVERY = 0.1
REQUEST = b"GET /livez HTTP/1.1\r\nHost: operator\r\n\r\n"


@dataclass
class Samples:
    """Seconds, MiB and counts since the first answer."""

    stall_s: float = 0.0
    hold_s: float = 0.0
    machine_late_s: float = 0.0
    peak_mib: float = 0.0
    answers: int = 0
    broken: int = 0  # connections that the operator closed or refused after the first answer
    unhealthy: int = 0  # answers other than 200


def main() -> int:
    """Samples until standard input ends."""
    host, port, pid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    samples = Samples()
    memory_at = 0.0
    connection: socket.socket | None = None
    while not _is_told_to_end():
        if time.monotonic() >= memory_at:
            _read_memory(pid, samples)
            memory_at = time.monotonic() + MEMORY_EVERY
        try:
            connection = connection or socket.create_connection((host, port), timeout=30)
            _ask(connection, pid, samples)
        except OSError:
            samples.broken += samples.answers > 0
            connection = None
        began = time.monotonic()
        time.sleep(EVERY)
        samples.machine_late_s = max(samples.machine_late_s, time.monotonic() - began - EVERY)
    print(json.dumps(asdict(samples)))
    return 0


def _read_memory(pid: int, samples: Samples) -> None:
    """A process that has ended keeps what was read before."""
    with contextlib.suppress(OSError):
        samples.peak_mib = peak_mib(pid)


def _ask(connection: socket.socket, pid: int, samples: Samples) -> None:
    """One request. An answer that has not come when told to end counts as well."""
    began, without_cpu = time.monotonic(), _without_cpu(pid)
    try:
        connection.sendall(REQUEST)
        answer = _answer(connection)
    finally:
        stall = time.monotonic() - began
        samples.stall_s = max(samples.stall_s, stall)
        samples.hold_s = max(samples.hold_s, stall - (_without_cpu(pid) - without_cpu))
    samples.answers += answer is not None
    samples.unhealthy += answer is not None and not answer.startswith(b"HTTP/1.1 200")


def _without_cpu(pid: int) -> float:
    """Seconds for which this process and the operator waited for a CPU. Raises OSError."""
    return cpu_wait_seconds(pid) + cpu_wait_seconds(os.getpid())


def _answer(connection: socket.socket) -> bytes | None:
    """None if told to end before."""
    received = b""
    while not _is_whole(received):
        ready, _, _ = select.select([connection, sys.stdin], [], [])
        if connection not in ready:
            return None
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError
        received += data
    return received


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return not lengths or len(body) >= int(lengths[0].partition(b":")[2])


def _is_told_to_end() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


if __name__ == "__main__":
    sys.exit(main())
