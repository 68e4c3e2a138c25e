"""Installs and starts `raysweep run` in a sandbox, and reads its log and metrics.

What a test expects of Raysweep must not enter here.
"""

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from sandbox.api import ApiError
from sandbox.cluster import Cluster
from sandbox.ports import free_port
from sandbox.story import SLOW_LEASE
from sandbox.waiting import until

Body = dict[str, Any]

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS, CRDS = DEPLOY / "manifests", DEPLOY / "crds"
PROTECTED_NAMESPACE = "protected-by-setting"
POLICIES = "/apis/raysweep.io/v1alpha1/rayjobcleanuppolicies"
PROGRAM = Path(sys.executable).parent / "raysweep"

SERVED_IN_A_ROW = 10
"""The parts of the API server discover a CRD one after the other."""

_numbers = itertools.count(1)


@dataclass
class Operator:
    """A running `raysweep run`, under its own service account."""

    process: asyncio.subprocess.Process
    url: str
    output: Path

    def log(self) -> list[Body]:
        """The JSON log lines so far."""
        lines = self.output.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def log_tail(self, lines: int = 40) -> str:
        if not self.output.exists():
            return "the log file was removed"
        return "\n".join(self.output.read_text().splitlines()[-lines:])

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of /livez, /readyz or /metrics; status 0 while nothing listens."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{self.url}{path}") as response,
            ):
                return response.status, await response.text()
        except aiohttp.ClientError:
            return 0, ""

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of one metric over all series with these labels; 0 if there is none."""
        _, text = await self.get("/metrics")
        required = {f'{key}="{value}"' for key, value in labels.items()}
        total = 0.0
        for line in text.splitlines():
            series = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if series and required <= set((series[1] or "").split(",")):
                total += float(series[2])
        return total

    async def is_ready(self) -> bool:
        assert self.process.returncode is None, self.output.read_text()
        return (await self.get("/readyz"))[0] == 200

    async def wait_for_relist(self) -> None:
        """Waits until a relist that started after this call is complete."""
        metric = "raysweep_last_relist_timestamp_seconds"
        for _ in range(2):  # the first relist to end may have started before this call
            previous = await self.metric(metric)

            async def is_newer(previous: float = previous) -> bool:
                return await self.metric(metric) > previous

            await until(is_newer, timeout=60)

    async def kill(self) -> None:
        """Sends SIGKILL and waits for the end of the process."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


started_operators: list[Operator] = []
"""The operators that ran during the current test. The report of a failed test shows their logs."""


async def deploy(cluster: Cluster, *, crds: bool = True) -> Path:
    """Applies deploy/manifests and the CRDs. Returns the operator's kubeconfig."""
    await apply(cluster, MANIFESTS)
    if crds:
        await apply(cluster, CRDS)
        await wait_for_policy_crd(cluster)
    return await cluster.kubeconfig_for("raysweep", "raysweep")


async def wait_for_policy_crd(cluster: Cluster) -> None:
    """Waits until the API server serves policies. It answers 404 and 429 at first."""
    in_a_row = 0

    async def is_served() -> bool:
        nonlocal in_a_row
        try:
            in_a_row = in_a_row + 1 if await cluster.api.find(POLICIES) is not None else 0
        except ApiError:
            in_a_row = 0
        return in_a_row == SERVED_IN_A_ROW

    await until(is_served, timeout=90)


async def apply(cluster: Cluster, path: Path) -> None:
    """Runs `kubectl apply -f` as the administrator of the cluster."""
    process = await asyncio.create_subprocess_exec(
        *(str(cluster.kubectl), "apply", "-f", str(path)),
        env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


@contextlib.asynccontextmanager
async def running_operator(
    cluster: Cluster, kubeconfig: Path, *, ready: bool = True, **settings: str
) -> AsyncIterator[Operator]:
    """Runs the installed program and ends it with SIGTERM. `settings` are named as in `Settings`.

    Each operator has its own Lease unless the test names one. So several run in one sandbox, and
    none waits for the Lease of an operator that was killed.
    """
    number = next(_numbers)
    output = cluster.folder / f"operator-{number}.log"
    if "lease_name" not in settings:
        settings["lease_name"] = f"raysweep-{number}"
        await _grant_lease(cluster, settings["lease_name"])
    settings["listen"] = f"127.0.0.1:{free_port()}"
    with output.open("wb") as log:
        process = await start_operator(cluster, kubeconfig, log.fileno(), **settings)
    operator = Operator(process, f"http://{settings['listen']}", output)
    started_operators.append(operator)
    try:
        if ready:
            await until(operator.is_ready, timeout=90)
        yield operator
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(15):
                await process.wait()
        except TimeoutError:
            await operator.kill()


async def start_operator(
    cluster: Cluster, kubeconfig: Path, output: int, **settings: str
) -> asyncio.subprocess.Process:
    """Starts the installed program. `output` is the file descriptor of its log."""
    settings = {"kubeconfig": str(kubeconfig), "head_proxy": cluster.head_proxy, **settings}
    flags: list[str] = []
    for name, value in settings.items():
        if value:
            flags += [f"--{name.replace('_', '-')}", value]
    return await asyncio.create_subprocess_exec(
        *(str(PROGRAM), "run", *flags, "--log-format", "json"),
        stderr=output,
        stdout=output,
        env=os.environ | SLOW_LEASE,
    )


async def _grant_lease(cluster: Cluster, name: str) -> None:
    """Grants the operator what the manifests grant for the Lease `raysweep`, for another Lease."""
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/raysweep"
    rule = {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": [name],
        "verbs": ["get", "update"],
    }
    role = {"metadata": {"name": name}, "rules": [rule]}
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "raysweep", "namespace": "raysweep"}],
    }
    await cluster.api.request("POST", f"{rbac}/roles", role)
    await cluster.api.request("POST", f"{rbac}/rolebindings", binding)
