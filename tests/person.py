"""Somebody at a terminal: kubectl with the plugin on the PATH, a kubeconfig, and signals."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.waiting import until

BIN = Path(sys.executable).parent


@dataclass
class Answer:
    """What the program said."""

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
class Typed:
    """A command that runs; what it said so far."""

    process: asyncio.subprocess.Process
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)

    async def says(self, words: str, *, timeout: float = 90) -> None:
        """Waits for words on stdout or stderr."""
        await until(lambda: words.encode() in self.out + self.err, timeout=timeout)

    def press_ctrl_c(self) -> None:
        self.process.send_signal(signal.SIGINT)

    async def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        await self.process.wait()


@dataclass
class Person:
    """`types` runs `kubectl WORDS` to its end."""

    kubeconfig: Path
    kubectl: Path
    namespace: str
    variables: Mapping[str, str] = field(default_factory=dict)

    async def types(self, *words: str, timeout: float = 150) -> Answer:
        async with self.typing(*words) as typed:
            async with asyncio.timeout(timeout):
                code = await typed.process.wait()
        return Answer(code, typed.out.decode(), typed.err.decode())

    async def submits(self, *words: str, timeout: float = 150) -> Answer:
        return await self.types("raysweep", "submit", "-n", self.namespace, *words, timeout=timeout)

    @asynccontextmanager
    async def typing(self, *words: str) -> AsyncIterator[Typed]:
        """kubectl becomes the plugin (exec), so signals reach it."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RAYSWEEP_")}
        path = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        process = await asyncio.create_subprocess_exec(
            self.kubectl,
            *words,
            env=clean | {"KUBECONFIG": str(self.kubeconfig), "PATH": path, **self.variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        typed = Typed(process)
        assert process.stdout
        assert process.stderr
        reading = asyncio.gather(_read(process.stdout, typed.out), _read(process.stderr, typed.err))
        try:
            yield typed
        finally:
            if process.returncode is None:
                await typed.kill()
            await reading


async def _read(stream: asyncio.StreamReader, into: bytearray) -> None:
    while piece := await stream.read(4096):
        into += piece
