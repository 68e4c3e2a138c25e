"""The first process in the namespaces of a head: it starts the head and relays a UNIX socket to it.

It runs as a script under `unshare`, so it imports the standard library only.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys

DASHBOARD = ("127.0.0.1", 8265)
SIOCSIFFLAGS = 0x8914
IFF_UP_RUNNING = 0x1 | 0x40


def loopback_up() -> None:
    """Enables the loopback interface by ioctl, because not every machine has `ip`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Relays a connection. If the head does not listen, the connection is closed."""
    with contextlib.suppress(OSError):
        there_reader, there_writer = await asyncio.open_connection(*DASHBOARD)
        await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))
    writer.close()


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


async def main(path: str, *command: str) -> int:
    """Runs until the head ends. Returns its exit code.

    It is process 1 of its namespace, so the kernel then kills all that the head started.
    """
    loopback_up()
    head = subprocess.Popen(command)  # noqa: ASYNC220 - asyncio would call waitpid as reap() does
    ended = asyncio.get_running_loop().create_future()

    def reap() -> None:
        with contextlib.suppress(ChildProcessError):
            while (reaped := os.waitpid(-1, os.WNOHANG))[0] != 0:
                if reaped[0] == head.pid:
                    code = os.waitstatus_to_exitcode(reaped[1])
                    ended.set_result(code if code >= 0 else 128 - code)

    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, reap)
    server = await asyncio.start_unix_server(relay, path, backlog=1000)
    reap()
    code: int = await ended
    server.close()
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
