"""Containers that run a script, each in its own network, PID and mount namespace.

Kubernetes must not enter here.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.namespaces import RAY, unshare
from sandbox.processes import Processes, Program

HERE = Path(__file__).parent


class Scripts:
    """Starts scripts that reach Ray heads by the names of their Services."""

    def __init__(self, folder: Path, processes: Processes, egress: Path) -> None:
        """`egress` is the UNIX socket of the proxy that takes CONNECT requests."""
        self._folder = folder
        self._processes = processes
        self._egress = egress
        self._started = 0

    def start(
        self,
        title: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        own: str,
        services: Sequence[str],
    ) -> Program:
        """Runs a command until it ends.

        In it 127.0.0.1:8265 leads to the Pod address `own`, and each of the `services`, such as
        `train-head-svc.team-a`, to the head behind that Service.
        """
        self._started += 1
        name = f"script{self._started}"
        targets = {f"127.0.1.{number}": one for number, one in enumerate(services, start=1)}
        hosts = self._folder / f"{name}.hosts"
        lines = [_host_line(address, target) for address, target in targets.items()]
        hosts.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        routes = json.dumps(targets | {"127.0.0.1": own})
        relay: tuple[str | Path, ...] = (
            sys.executable,
            HERE / "relay.py",
            "script",
            self._egress,
            routes,
            hosts,
        )
        path = f"{RAY}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return self._processes.start(
            name,
            *(*unshare(), *relay, *command),
            environment={"PATH": path, **environment},
            title=title,
        )

    async def stop_all(self) -> None:
        await self._processes.stop_all()


def _host_line(address: str, target: str) -> str:
    return f"{address} {target}.svc.cluster.local {target}.svc {target} {target.partition('.')[0]}"
