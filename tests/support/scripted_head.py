"""A scripted Ray head, and a Dashboard whose requests all reach it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from raysweep.clients.ray.dashboard import Dashboard
from raysweep.clients.ray.probe_limits import ProbeLimits
from raysweep.clients.ray.tokens import Tokens
from raysweep.clients.ray.transport import HeadTransport, api_server_transport, direct_transport
from raysweep.core.model.facts import HeadList, HeadSilent
from tests.support.builders import END, a_raycluster
from tests.support.scripted_api import Answer, Script, serving

OWN: dict[str, Any] = {
    "type": "SUBMISSION",
    "submission_id": "train-x7k2p",
    "status": "SUCCEEDED",
    "end_time": 1795370400000,
    "job_id": None,
}
NODE = "33b6e5f0a1"
RUNNING = {**OWN, "status": "RUNNING", "end_time": None, "driver_node_id": NODE}
ADDRESS = "http://train-cluster-head-svc.team-a.svc.cluster.local:8265"
MIB = 2**20
QUICKLY = timedelta(milliseconds=10)


@dataclass
class Head:
    """A scripted head, its Dashboard, and the results of its probes."""

    script: Script
    dashboard: Dashboard
    probes: list[str]
    transport: HeadTransport
    limits: ProbeLimits

    async def jobs(self, job_id: str = "", **cluster: Any) -> HeadList | HeadSilent:
        return await self.dashboard.jobs(a_raycluster(**cluster), job_id)

    async def job(self, job_id: str = "train-x7k2p", **cluster: Any) -> HeadList | HeadSilent:
        return await self.dashboard.job(a_raycluster(**cluster), job_id)

    def dashboard_with_timeout(self, answer_within: timedelta) -> Dashboard:
        """Another client with the same transport and the same limits, but with less time."""
        return Dashboard(
            self.transport,
            lambda: END,
            lambda _: None,
            limits=self.limits,
            answer_within=answer_within,
        )

    @property
    def paths(self) -> list[str]:
        """The paths of all requests, still encoded."""
        return [request.target.removeprefix(ADDRESS) for request in self.script.requests]


@contextlib.asynccontextmanager
async def scripted_head(
    *answers: Answer,
    by_api_server: bool = False,
    tokens: Tokens | None = None,
    answer_within: timedelta = timedelta(seconds=5),
    limits: ProbeLimits | None = None,
) -> AsyncIterator[Head]:
    """Runs a scripted head as a forward proxy, so that the real addresses are requested."""
    probes: list[str] = []
    limits = limits or ProbeLimits()
    async with serving(*answers) as script:
        transport = direct_transport("cluster.local", script.url)
        if by_api_server:
            transport = api_server_transport(script.url, transport.session)
        dashboard = Dashboard(
            transport,
            lambda: END,
            probes.append,
            tokens=tokens,
            limits=limits,
            pause_up_to=QUICKLY,
            answer_within=answer_within,
        )
        try:
            yield Head(script, dashboard, probes, transport, limits)
        finally:
            await dashboard.close()
