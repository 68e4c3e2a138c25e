"""Ray heads that answer as they are told: one HTTP server on a UNIX socket for all of a tenant.

The sandbox's network leads the Services to it, as to a real head; the Host header names the
Service. What is expected of Raysweep has no place here.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from sandbox.heads import Head

Entry = dict[str, Any]
Respond = Callable[[str, Entry], Awaitable[bytes]]
"""The body for a path and the entry of the job of the Service that is asked."""

SUFFIX = "-c-head-svc"
"""tests.support.workbench names the head Service of RayJob NAME so. KubeRay has five random letters
instead of "c"."""


async def own_list(path: str, entry: Entry) -> bytes:
    """Ray's GET /api/jobs/ and GET /api/jobs/ID of a head that knows this one job."""
    told = entry if path.startswith("/api/jobs/") and path != "/api/jobs/" else [entry]
    return json.dumps(told).encode()


async def never(path: str, entry: Entry) -> bytes:  # noqa: ARG001 - one signature for all
    """The head accepts the connection and does not answer for two minutes."""
    await asyncio.sleep(120)
    return b""


class ScriptedHead(Head):
    """Answers for every Service of a namespace that leads to its socket."""

    def __init__(self, namespace: str, path: Path, respond: Respond) -> None:
        self.name = namespace
        self.can_run = False
        self.folder = path.parent
        self.socket = path
        self._headers = {}
        self._respond = respond
        self._entries: dict[str, Entry] = {}  # by submission ID

    def is_alive(self) -> bool:
        return True

    async def ended(self) -> None:
        """Never ends: its server stops with the benchmark."""
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Nothing to stop, because it has no process."""

    async def put_record(
        self,
        submission_id: str,
        *,
        status: str,
        start_time: datetime,  # noqa: ARG002 - Head's signature
        end_time: datetime | None = None,
        message: str | None = None,  # noqa: ARG002
        entrypoint: str = "true",  # noqa: ARG002
        runtime_env: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> None:
        ended = round(end_time.timestamp() * 1000) if end_time else None
        self._entries[submission_id] = {
            "type": "SUBMISSION",
            "submission_id": submission_id,
            "job_id": None,
            "status": status,
            "end_time": ended,
            "driver_node_id": "33b6e5f0a1",
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One answer; the Host header names the Service, and so the RayJob."""
        service = request.headers.get("Host", "").partition(".")[0]
        rayjob = service.removesuffix("-head-svc").rpartition("-")[0]
        entry = self._entries.get(f"{self.name}-{rayjob}")
        if entry is None:
            return web.Response(status=404, text="no such Service")
        body = await self._respond(request.path, entry)
        return web.Response(body=body, content_type="application/json")


@contextlib.asynccontextmanager
async def scripted_head(
    namespace: str,
    folder: Path,
    respond: Respond = own_list,
) -> AsyncIterator[ScriptedHead]:
    """A head for a namespace, on a socket in the folder."""
    path = folder / f"{namespace}.http"
    head = ScriptedHead(namespace, path, respond)
    async with _serving(head) as runner:
        await web.UnixSite(runner, path).start()
        yield head


@contextlib.asynccontextmanager
async def address_transport(head: ScriptedHead, address: tuple[str, int]) -> AsyncIterator[None]:
    """The same head at an address, besides its socket."""
    async with _serving(head) as runner:
        await web.TCPSite(runner, *address).start()
        yield


@contextlib.asynccontextmanager
async def _serving(head: ScriptedHead) -> AsyncIterator[web.ServerRunner]:
    server = web.Server(head.handle)
    runner = web.ServerRunner(server, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()
