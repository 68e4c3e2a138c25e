"""An API server and a Ray head whose every text tries to control a terminal."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from tests.support.builders import Body, raycluster_json, rayjob_json, says
from tests.support.cli import write_kubeconfig
from tests.support.scripted_api import (
    Script,
    json_response,
    object_not_found,
    serving,
    status_response,
)
from tests.support.terminal import HOSTILE

COLORED = b"\x1b[1;31mloss\x1b[0m 0.3\r 10%\r100%\n"
LOG = f"before {HOSTILE} after\n".encode() + b"\x9b2J and \xff\n" + COLORED
JOB_ID = "train-x7k2p"


class HostileCluster:
    """An API server with one RayJob in team-a, and its Ray head behind the service proxy."""

    def __init__(self, *, entry: Body | None = None, refuses: bool = False) -> None:
        self.entry = {
            "type": "SUBMISSION",
            "submission_id": JOB_ID,
            "status": "RUNNING",
            "driver_node_id": "abc123",
        }
        self.entry |= entry or {}
        self.job_id = self.entry["submission_id"] if self.entry["submission_id"] == JOB_ID else ""
        self.refuses = refuses

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if "/proxy/" in path:
            return self._head(path.partition("/proxy")[2])
        if path.endswith("/configmaps/raysweep"):
            return await object_not_found(request)
        if self.refuses:
            return status_response(403, f"forbidden: {HOSTILE}")
        found = next((body for end, body in self._objects().items() if path.endswith(end)), None)
        return json_response(found) if found else await object_not_found(request)

    def _objects(self) -> dict[str, Body]:
        """By the end of their path."""
        note = {
            "reason": HOSTILE,
            "note": HOSTILE,
            "type": "Normal",
            "regarding": {"name": "gone", "uid": "u"},
        }
        team = {
            "name": "team-a",
            "uid": "u",
            "resourceVersion": "1",
            "annotations": says(ttl=HOSTILE),
        }
        return {
            "/rayjobs/train": self._rayjob(),
            "/rayjobs": {"metadata": {}, "items": [self._rayjob()]},
            "/rayclusters/train-cluster": raycluster_json(),
            "/rayclusters": {"metadata": {}, "items": [raycluster_json()]},
            "/rayjobcleanuppolicies": {"metadata": {}, "items": [self._policy()]},
            "/namespaces/team-a": {"metadata": team},
            "/events": {"metadata": {}, "items": [{"metadata": {"name": "e", "uid": "e"}, **note}]},
        }

    def _rayjob(self) -> Body:
        odd = {
            "keep-reason": HOSTILE,
            "keep-until": "2199-01-01T00:00:00Z",
            HOSTILE: HOSTILE,
            "ttl-failed": HOSTILE,
        }
        metadata = {"annotations": says(**odd), "labels": {HOSTILE: HOSTILE}}
        return rayjob_json(
            metadata=metadata, status={"message": HOSTILE, "reason": HOSTILE, "jobId": self.job_id}
        )

    def _policy(self) -> Body:
        metadata = {"name": "base", "uid": "p", "resourceVersion": "1", "generation": 1}
        return {
            "metadata": metadata,
            "spec": {"limits": {"rayJob": {"max": HOSTILE}}, HOSTILE: HOSTILE},
        }

    def _head(self, path: str) -> web.StreamResponse:
        if path.startswith("/api/v0/logs/"):
            return web.Response(body=LOG)
        if path.startswith("/api/v0/"):
            return web.Response(status=500, body=HOSTILE.encode())
        if path.endswith("/stop"):
            return json_response({"stopped": False})
        return json_response([self.entry] if path == "/api/jobs/" else self.entry)


@contextlib.asynccontextmanager
async def connected(
    cluster: HostileCluster, tmp_path: Path
) -> AsyncIterator[tuple[Script, list[str]]]:
    """The way there, as words of the command line."""
    async with serving(cluster.handle) as script:
        yield script, ["--kubeconfig", write_kubeconfig(tmp_path / "config", script.url)]
