"""The first process in the namespaces of a container: it starts the program and relays connections.

`relay.py head SOCKET COMMAND...` relays a UNIX socket to the dashboard of a head.
`relay.py script EGRESS TARGETS HOSTS COMMAND...` relays port 8265 of the addresses in TARGETS, a
JSON object, to the proxy at the UNIX socket EGRESS. The script resolves names with the file HOSTS.

It runs under `unshare`, so it imports the standard library only.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping

PORT = 8265
SIOCSIFFLAGS = 0x8914
IFF_UP_RUNNING = 0x1 | 0x40


def loopback_up() -> None:
    """Enables the loopback interface by ioctl, because not every machine has `ip`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))


async def relay_to_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Relays a connection. If the head does not listen, the connection is closed."""
    with contextlib.suppress(OSError):
        await join(reader, writer, *await asyncio.open_connection("127.0.0.1", PORT))
    writer.close()


class Egress:
    """Relays connections of a script to the proxy of the sandbox."""

    def __init__(self, path: str, targets: Mapping[str, str]) -> None:
        self._path = path
        self._targets = targets

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relays a connection by the address that the script connected to."""
        target = self._targets.get(writer.get_extra_info("sockname")[0], "")
        with contextlib.suppress(OSError, EOFError):
            there_reader, there_writer = await asyncio.open_unix_connection(self._path)
            there_writer.write(f"CONNECT {target}:{PORT} HTTP/1.1\r\n\r\n".encode())
            answer = await there_reader.readuntil(b"\r\n\r\n")
            if b" 200 " in answer:
                await join(reader, writer, there_reader, there_writer)
        writer.close()


async def join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    there_reader: asyncio.StreamReader,
    there_writer: asyncio.StreamWriter,
) -> None:
    await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except OSError:
        pass
    finally:
        target.close()


async def run(command: tuple[str, ...]) -> int:
    """Runs a program to its end. Returns its exit code.

    This process is process 1 of its namespace, so the kernel then kills all that it started.
    """
    program = subprocess.Popen(command)  # noqa: ASYNC220 - asyncio would call waitpid as reap() does
    ended = asyncio.get_running_loop().create_future()

    def reap() -> None:
        with contextlib.suppress(ChildProcessError):
            while (reaped := os.waitpid(-1, os.WNOHANG))[0] != 0:
                if reaped[0] == program.pid:
                    code = os.waitstatus_to_exitcode(reaped[1])
                    ended.set_result(code if code >= 0 else 128 - code)

    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, reap)
    reap()
    code: int = await ended
    return code


async def head(path: str, *command: str) -> int:
    running = asyncio.create_task(run(command))
    server = await asyncio.start_unix_server(relay_to_head, path, backlog=1000)
    code = await running
    server.close()
    return code


async def script(egress: str, targets: str, hosts: str, *command: str) -> int:
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)  # noqa: ASYNC221
    relay = Egress(egress, json.loads(targets)).relay
    server = await asyncio.start_server(relay, "0.0.0.0", PORT)  # in its own network
    code = await run(command)
    server.close()
    return code


async def main(kind: str, *arguments: str) -> int:
    loopback_up()
    return await (head(*arguments) if kind == "head" else script(*arguments))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
