"""Keeps the data of an etcd that holds CRDs, so that a sandbox starts from a copy of it.

The API server works for seconds on each CRD of KubeRay when it is created: a start without the
copy takes three times the CPU time.
"""

import asyncio
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from sandbox import binaries, controlplane
from sandbox.lifetime import lifetime
from sandbox.lock import locked
from sandbox.processes import Processes, scratch_folder


async def etcd_data(crds: Path, say: Callable[[str], None]) -> Path:
    """A folder in the user's cache with the data. If it is missing, says so and makes it."""
    cache = binaries.cache_folder()
    data = cache / f"data-{_fingerprint(crds)}"
    if not data.is_dir():
        async with locked(cache / "data.lock"):
            # Another sandbox can have made it while this one waited for the lock.
            if not data.is_dir():
                say("preparing the data of etcd with the CRDs: once, about 20 seconds")
                await _make(crds, data)
    return data


async def _make(crds: Path, data: Path) -> None:
    part = data.with_name(f"{data.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    async with lifetime() as life:
        folder = await life.stack.enter_async_context(scratch_folder())
        processes = Processes(folder)
        life.stack.push_async_callback(processes.stop_all)
        life.watchers.create_task(processes.watch())
        plane = await controlplane.start(folder, processes, connect_socket=folder / "unused")
        async with plane.client("sandbox") as api:
            await controlplane.install_crds(api, crds)
        await processes.stop_all()
        await asyncio.to_thread(shutil.copytree, controlplane.data_folder(folder), part)
    part.rename(data)


def _fingerprint(crds: Path) -> str:
    """A hash of all that the data depends on: the CRDs, the programs and how they are started."""
    digest = hashlib.sha256(Path(controlplane.__file__).read_bytes())
    for file in sorted(crds.glob("*.y*ml")):
        digest.update(file.read_bytes())
    for build in binaries.CONTROL_PLANE:
        for program in build.programs:
            state = (build.folder / program).stat()
            digest.update(f"{program} {state.st_size} {state.st_mtime_ns}".encode())
    return digest.hexdigest()[:12]
