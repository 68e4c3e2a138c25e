"""Runs Prometheus and promtool for tests."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox.ports import free_port
from sandbox.waiting import until

Body = dict[str, Any]

_PATH = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
PROMTOOL, PROMETHEUS = (shutil.which(name, path=_PATH) for name in ("promtool", "prometheus"))
needed = pytest.mark.skipif(
    not (PROMTOOL and PROMETHEUS),
    reason="this machine lacks promtool or prometheus; `make tools` fetches them on Debian",
)


async def promtool(*arguments: str | Path, stdin: str = "") -> tuple[int, str]:
    """Runs promtool. Returns its exit code and output."""
    assert PROMTOOL
    process = await asyncio.create_subprocess_exec(
        PROMTOOL, *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return process.returncode, output.decode()


@dataclass(frozen=True)
class Prometheus:
    """A server that scrapes one address every second and evaluates one rule file."""

    url: str

    async def query(self, expression: str) -> list[Body]:
        """The series of an instant query. The query must be valid."""
        data = await self._get("query", query=expression)
        assert data["resultType"] == "vector", expression
        series: list[Body] = data["result"]
        return series

    async def rules(self) -> list[Body]:
        """Every rule with its health and its alerts."""
        return [rule for group in (await self._get("rules"))["groups"] for rule in group["rules"]]

    async def has(self, expression: str) -> bool:
        """Whether a query returns a series."""
        return bool(await self.query(expression))

    async def _get(self, endpoint: str, **query: str) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/api/v1/{endpoint}", params=query) as response,
        ):
            body = await response.json()
        assert body["status"] == "success", (query, body.get("error"))
        return body["data"]


@contextlib.asynccontextmanager
async def scraping(folder: Path, address: str, rules: Path, job: str) -> AsyncIterator[Prometheus]:
    """Runs Prometheus. The block starts after its first scrape of the address."""
    assert PROMETHEUS
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [
            {"job_name": job, "honor_labels": True, "static_configs": [{"targets": [address]}]}
        ],
    }
    (folder / "prometheus.json").write_text(json.dumps(config))  # JSON is YAML
    with (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            PROMETHEUS,
            f"--config.file={folder}/prometheus.json",
            f"--storage.tsdb.path={folder}/prometheus",
            f"--web.listen-address=127.0.0.1:{port}", stdout=log, stderr=log,
        )  # fmt: skip
    running = Prometheus(f"http://127.0.0.1:{port}")

    async def has_scraped() -> bool:
        assert process.returncode is None, (folder / "prometheus.log").read_text()
        try:
            return await running.has("up == 1")
        except (aiohttp.ClientError, json.JSONDecodeError):
            return False  # it does not listen yet, or is not ready

    try:
        await until(has_scraped, timeout=90)
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
