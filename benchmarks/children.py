"""Runs parts of benchmarks as separate processes, so that their CPU and memory are their own."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.bare import Cost
from tests.support.operator_process import Operator

ROOT = Path(__file__).parent.parent


@contextlib.asynccontextmanager
async def probe(operator: Operator) -> AsyncIterator[dict[str, Any]]:
    """Filled with benchmarks.probe's Samples when the block ends."""
    host, _, port = operator.url.removeprefix("http://").partition(":")
    process = await _started("benchmarks.probe", host, port, str(operator.process.pid))
    samples: dict[str, Any] = {}
    try:
        yield samples
    finally:
        samples.update(await _answer(process))


async def bare_list(kubeconfig: Path) -> Cost:
    """What a bare list of all RayJobs costs."""
    process = await _started("benchmarks.bare", "list", str(kubeconfig))
    return Cost(**await _answer(process))


@dataclass
class BareWatch:
    """A bare watch of all RayJobs. cost: set when it ends."""

    pid: int
    cost: Cost | None = None


@contextlib.asynccontextmanager
async def bare_watch(kubeconfig: Path) -> AsyncIterator[BareWatch]:
    """A bare watch that ends with the block."""
    process = await _started("benchmarks.bare", "watch", str(kubeconfig))
    watch = BareWatch(process.pid)
    try:
        yield watch
    finally:
        watch.cost = Cost(**await _answer(process))


async def _started(module: str, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *words),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def _answer(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """Ends its standard input and returns the JSON that it prints."""
    output, _ = await process.communicate(b"")
    answer: dict[str, Any] = json.loads(output)
    return answer
