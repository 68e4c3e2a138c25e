"""A user of kubectl with the plugin on the PATH, a kubeconfig, a shell, and signals."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.waiting import until
from tests.support.workbench import Body, Lab

BIN = Path(sys.executable).parent
USER_AGENT = "kubectl-raysweep"
SEES_JOBS: Body = {
    "apiGroups": ["ray.io"],
    "resources": ["rayjobs", "rayclusters"],
    "verbs": ["get", "list"],
}
SEES_NAMESPACE: Body = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}


@dataclass
class Answer:
    """The output and the exit code of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out, self.err
        return json.loads(self.out)

    @property
    def rows(self) -> dict[str, Any]:
        return {item["name"]: item for item in self.json["items"]}


@dataclass
class RunningCommand:
    """A running command, and its output so far."""

    process: asyncio.subprocess.Process
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    terminal: int = -1  # its stdin, if that is a terminal

    def enters(self, line: str) -> None:
        """Types a line and presses Enter."""
        os.write(self.terminal, f"{line}\n".encode())

    async def says(self, words: str, *, timeout: float = 90) -> None:
        """Waits for words on stdout or stderr."""
        await until(lambda: words.encode() in self.out + self.err, timeout=timeout)

    def press_ctrl_c(self) -> None:
        self.process.send_signal(signal.SIGINT)

    async def kill(self) -> None:
        """Kills the process, as kill -9 does."""
        self.process.kill()
        await self.process.wait()


@dataclass
class Person:
    """A user. `types` runs `kubectl WORDS` to its end."""

    kubeconfig: Path
    kubectl: Path
    namespace: str
    variables: Mapping[str, str] = field(default_factory=dict)

    async def types(self, *words: str, timeout: float = 150) -> Answer:
        return await _to_its_end(self.typing(*words), timeout)

    async def pastes(self, line: str, *, timeout: float = 150) -> Answer:
        """Runs the line in a shell, unchanged."""
        return await _to_its_end(self._running("/bin/sh", "-c", line), timeout)

    async def is_asked(self, *words: str, answers: str, timeout: float = 150) -> Answer:
        """Runs a command at a terminal, and answers its question."""
        return await _to_its_end(self.typing(*words, at_terminal=True), timeout, answers)

    async def submits(self, *words: str, timeout: float = 150) -> Answer:
        return await self.types("raysweep", "submit", "-n", self.namespace, *words, timeout=timeout)

    @asynccontextmanager
    async def typing(self, *words: str, at_terminal: bool = False) -> AsyncIterator[RunningCommand]:
        """A running command. kubectl becomes the plugin (exec), so signals reach it."""
        async with self._running(str(self.kubectl), *words, at_terminal=at_terminal) as typed:
            yield typed

    @asynccontextmanager
    async def _running(
        self, *command: str, at_terminal: bool = False
    ) -> AsyncIterator[RunningCommand]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RAYSWEEP_")}
        path = os.pathsep.join(
            (str(BIN), str(self.kubectl.parent), os.environ.get("PATH", os.defpath))
        )
        terminal, stdin = os.openpty() if at_terminal else (-1, asyncio.subprocess.DEVNULL)
        process = await asyncio.create_subprocess_exec(
            *command,
            env=clean | {"KUBECONFIG": str(self.kubeconfig), "PATH": path, **self.variables},
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        typed = RunningCommand(process, terminal=terminal)
        assert process.stdout
        assert process.stderr
        reading = asyncio.gather(_read(process.stdout, typed.out), _read(process.stderr, typed.err))
        try:
            yield typed
        finally:
            if process.returncode is None:
                await typed.kill()
            await reading
            for descriptor in (terminal, stdin) if at_terminal else ():
                os.close(descriptor)


async def _to_its_end(
    running: AbstractAsyncContextManager[RunningCommand], timeout: float, answers: str | None = None
) -> Answer:
    async with running as typed:
        if answers is not None:
            await typed.says("[y/N] ")
            typed.enters(answers)
        async with asyncio.timeout(timeout):
            code = await typed.process.wait()
    return Answer(code, typed.out.decode(), typed.err.decode())


async def kubeconfig_with(lab: Lab, name: str, *rules: Body) -> Path:
    """The kubeconfig of a service account with these rights in the namespace of the lab."""
    api, core = lab.cluster.api, f"/api/v1/namespaces/{lab.namespace}"
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{lab.namespace}"
    await api.request("POST", f"{core}/serviceaccounts", {"metadata": {"name": name}})
    await api.request("POST", f"{rbac}/roles", {"metadata": {"name": name}, "rules": list(rules)})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": lab.namespace}]
    await api.request(
        "POST",
        f"{rbac}/rolebindings",
        {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects},
    )
    return await lab.cluster.kubeconfig_for(lab.namespace, name)


async def _read(stream: asyncio.StreamReader, into: bytearray) -> None:
    while piece := await stream.read(4096):
        into += piece
