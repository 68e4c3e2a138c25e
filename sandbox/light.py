"""The light head: Ray's gcs_server and dashboard, and a socket that writes job records.

It has no node, so it runs no jobs. It runs as a script, so it imports nothing of the sandbox.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.dashboard.modules.job.common import JobInfo, JobInfoStorageClient

RAY = Path(ray.__file__).parent
GCS = "127.0.0.1:6379"


def start_gcs(session: Path) -> subprocess.Popen[bytes]:
    command = (
        RAY / "core/src/ray/gcs/gcs_server",
        f"--log_dir={session / 'logs'}",
        "--config_list=e30=",
    )
    rest = ("--gcs_server_port=6379", "--metrics-agent-port=0", "--node-ip-address=127.0.0.1")
    names = (
        f"--session-name={session.name}",
        f"--ray-commit={ray.__commit__}",
        f"--session-dir={session}",
    )
    return subprocess.Popen([*command, *rest, *names, f"--node-id={'0' * 56}"])


def start_dashboard(session: Path, cluster: str) -> subprocess.Popen[bytes]:
    address = ("--host=127.0.0.1", "--port=8265", "--port-retries=0", "--node-ip-address=127.0.0.1")
    folders = (
        f"--temp-dir={session.parent}",
        f"--log-dir={session / 'logs'}",
        f"--session-dir={session}",
    )
    gcs = (f"--gcs-address={GCS}", f"--cluster-id-hex={cluster}", "--modules-to-load=JobHead")
    return subprocess.Popen(
        [sys.executable, str(RAY / "dashboard/dashboard.py"), *address, *folders, *gcs]
    )


async def main(folder: Path, path: str) -> None:
    session = folder / "session_1"
    (session / "logs").mkdir(parents=True)
    gcs = start_gcs(session)
    client = await asyncio.to_thread(GcsClient, address=GCS)  # it waits for the server
    dashboard = start_dashboard(session, client.cluster_id.hex())
    storage = JobInfoStorageClient(client)

    async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            await asyncio.gather(*(put(storage, record) for record in json.loads(line)))
            writer.write(b"done\n")
            await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(write, path, limit=64 * 2**20):
        for program in (gcs, dashboard):
            asyncio.get_running_loop().run_in_executor(None, _end_with, program)
        await asyncio.Event().wait()


def _end_with(program: subprocess.Popen[bytes]) -> None:
    """Exits with a program. The threads of GcsClient would keep this process alive otherwise."""
    program.wait()
    os._exit(1)


async def put(storage: JobInfoStorageClient, record: dict[str, Any]) -> None:
    await storage.put_info(record.pop("submission_id"), JobInfo(**record))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
