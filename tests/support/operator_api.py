"""An API server in memory that the operator can start against: discovery, rights and deletions."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from sandbox.ports import free_port
from tests.support.builders import Body
from tests.support.cli import PROGRAM, write_kubeconfig
from tests.support.operator_process import Operator
from tests.support.scripted_api import json_response
from tests.support.watched_api import Api, serving_api

VERBS = ["delete", "get", "list", "patch", "watch"]


def _resources(group_version: str, *resources: tuple[str, str]) -> Body:
    entries = [
        {
            "name": plural,
            "singularName": kind.lower(),
            "kind": kind,
            "namespaced": kind != "Namespace",
            "verbs": VERBS,
        }
        for plural, kind in resources
    ]
    kind = {"kind": "APIResourceList", "apiVersion": "v1"}
    return {**kind, "groupVersion": group_version, "resources": entries}


RAY = {"groupVersion": "ray.io/v1", "version": "v1"}
DISCOVERY: dict[str, Body] = {
    "/api": {"versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [{"name": "ray.io", "versions": [RAY], "preferredVersion": RAY}],
    },
    "/api/v1": _resources("v1", ("namespaces", "Namespace")),
    "/apis/ray.io/v1": _resources(
        "ray.io/v1", ("rayjobs", "RayJob"), ("rayclusters", "RayCluster")
    ),
}


@dataclass
class OperatorApi(Api):
    """`requests` has the method, the path and the query of each request for RayJobs."""

    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    listed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the response of a complete list of RayJobs waits for `may_answer`."""
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def deleted(self) -> list[str]:
        return [path.rpartition("/")[2] for verb, path, _ in self.requests if verb == "DELETE"]

    @property
    def lists(self) -> list[dict[str, str]]:
        """The queries of all lists of RayJobs, Kopf's and Raysweep's."""
        return [
            query
            for verb, path, query in self.requests
            if verb == "GET" and path.endswith("/rayjobs") and "watch" not in query
        ]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path in DISCOVERY:
            return json_response(DISCOVERY[request.path])
        if request.path.endswith("/selfsubjectaccessreviews"):
            return json_response({"status": {"allowed": True}}, 201)
        query = dict(request.query)
        is_list = request.method == "GET" and request.path.endswith("/rayjobs")
        if "/rayjobs" in request.path:
            self.requests.append((request.method, request.path, query))
        if request.method == "DELETE":
            self.delete("rayjobs", self.deleted[-1])
            return json_response({"kind": "Status", "status": "Success"})
        if "fieldSelector" in query and "watch" not in query:
            metadata = {"resourceVersion": str(self.version)}
            return json_response({"metadata": metadata, "items": []})
        response = super().handle(request)
        if not is_list or "watch" in query:
            return await response
        answer = await response
        self.listed.set()
        await self.may_answer.wait()
        return answer


@contextlib.asynccontextmanager
async def operator_of(api: OperatorApi, folder: Path) -> AsyncIterator[Operator]:
    """Runs the operator without leader election until the end of the block."""
    listen, output = f"127.0.0.1:{free_port()}", folder / "operator.log"
    async with serving_api(api) as url:
        kubeconfig = write_kubeconfig(folder / "config", url)
        flags = ["--kubeconfig", kubeconfig, "--listen", listen, "--leader-election", "false"]
        with output.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *PROGRAM, "run", *flags, "--log-format", "json", stdout=log, stderr=log
            )
        try:
            yield Operator(process, f"http://{listen}", output)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
