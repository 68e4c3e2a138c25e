"""Free TCP ports on loopback."""

import contextlib
import random
import socket

PORTS = range(20000, 32000)
"""Below the range of outgoing connections, which would take a port before its server does."""
_RANDOM = random.SystemRandom()  # pytest-randomly gives each worker the same random numbers


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago. Raises OSError if there are not enough."""
    ports: list[int] = []
    for port in _RANDOM.sample(PORTS, 1000):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise OSError(f"no free port between {PORTS.start} and {PORTS.stop}")


def free_port() -> int:
    """A port that was free a moment ago."""
    return free_ports(1)[0]
