"""An operator that resolves names by a DNS server of ours, which is silent for one namespace.

The operator runs in a mount namespace with its own /etc/resolv.conf and asks heads directly. A
name of another namespace leads to a loopback address where the healthy tenant's head listens.
Linux only; needs the right to mount and to listen at port 53.
"""

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import cast

from sandbox.cluster import Cluster
from sandbox.ports import free_port
from tests.support.operator_process import Operator

SERVER = ("127.77.0.53", 53)
HEAD = ("127.77.0.1", 8265)
TYPE_A = 1
MOUNTED = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


class _Names(asyncio.DatagramProtocol):
    """Answers A queries with HEAD's address (RFC 1035, section 4), or with nothing at all."""

    def __init__(self, silent_namespace: str) -> None:
        self._silent = silent_namespace

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        labels, end = _labels(data)
        if self._silent in labels:
            return
        (kind,) = struct.unpack_from("!H", data, end)
        record = struct.pack("!HHHIH", 0xC00C, TYPE_A, 1, 0, 4) + socket.inet_aton(HEAD[0])
        answers = [record] if kind == TYPE_A else []
        header = data[:2] + struct.pack("!HHHHH", 0x8580, 1, len(answers), 0, 0)
        self._transport.sendto(header + data[12 : end + 4] + b"".join(answers), addr)


def _labels(query: bytes) -> tuple[list[str], int]:
    """The labels of the name that is asked for, and where they end."""
    labels, position = [], 12
    while query[position]:
        size = query[position]
        labels.append(query[position + 1 : position + 1 + size].decode())
        position += 1 + size
    return labels, position + 1


@contextlib.asynccontextmanager
async def started(
    cluster: Cluster, kubeconfig: Path, silent_namespace: str, settings: Mapping[str, str]
) -> AsyncIterator[Operator]:
    """The installed program; it may not be ready yet."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Names(silent_namespace),
        local_addr=SERVER,
    )
    resolv = cluster.folder / "resolv.conf"
    resolv.write_text(f"nameserver {SERVER[0]}\noptions timeout:5 attempts:2\n")
    address = f"127.0.0.1:{free_port()}"
    flags = {**settings, "kubeconfig": str(kubeconfig), "listen": address, "log_format": "json"}
    given = [part for key, value in flags.items() for part in (_flag(key), value)]
    program = str(Path(sys.executable).parent / "raysweep")
    output = cluster.folder / "operator-slow-names.log"
    command = ("--mount", "sh", "-c", MOUNTED, str(resolv), program, "run", *given)
    with output.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "unshare",
            *command,
            stdout=log.fileno(),
            stderr=log.fileno(),
        )
    operator = Operator(process, f"http://{address}", output)
    try:
        yield operator
    finally:
        await operator.kill()  # its threads may wait for DNS much longer
        transport.close()


def _flag(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"
