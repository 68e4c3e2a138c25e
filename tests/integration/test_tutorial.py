"""Executes docs/tutorial.md: every command of the page, in the terminals that it names."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest_asyncio

from tests.support.sandbox_command import SandboxCommand, running_command

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PAGE = (ROOT / "docs" / "tutorial.md").read_text()
FILES = re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    command
    for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for command in re.findall(r"^\$ (.*)", block, re.MULTILINE)
]
SANDBOX, PATH, OPERATOR, *TYPED = COMMANDS


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[SandboxCommand]:
    """The first terminal."""
    async with running_command("sandbox", "up") as running:
        await running.wait_for_output("Press Ctrl-C to stop everything")
        yield running


def exported(sandbox: SandboxCommand) -> Mapping[str, str]:
    """The environment of the other terminals: the printed exports, and the programs on the PATH."""
    printed = dict(re.findall(r"^ *export (\w+)=(\S+)$", sandbox.text, re.MULTILINE))
    kubectl = re.search(r"^ *kubectl: (\S+)$", sandbox.text, re.MULTILINE)
    assert kubectl, sandbox.text
    folders = [str(BIN), str(Path(kubectl[1]).parent), os.environ.get("PATH", os.defpath)]
    return {**os.environ, **printed, "PATH": os.pathsep.join(folders)}


async def run(command: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Runs a command in a shell and returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euc",
        command,
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"{command}\n{output.decode()}"
    return output.decode()


async def test_the_tutorial_works_as_it_is_written(sandbox: SandboxCommand, tmp_path: Path) -> None:
    assert SANDBOX == "make sandbox"
    assert "$(BIN)/python -m sandbox up" in (ROOT / "Makefile").read_text()
    assert PATH.startswith("export PATH=")
    for name, text in FILES:
        (tmp_path / name).write_text(text)
    environment = exported(sandbox)
    operator = await asyncio.create_subprocess_exec(
        *OPERATOR.split(), "--listen", "127.0.0.1:0", env=environment, cwd=tmp_path
    )
    try:
        printed = {command: await run(command, tmp_path, environment) for command in TYPED}
    finally:
        operator.terminate()
        await operator.wait()
    assert "Complete" in printed["kubectl get rayjobs"]
